"""The readers of images: every format, in one file and in two, plain and compressed."""

from __future__ import annotations

import bz2
import gzip
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from Fuzz.dicom_seeds import (
    DEFLATED,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    compressed_file,
    mutate_elements,
    mutate_frame,
    plain_file,
)
from Fuzz.mutation import Bytes, damaged, fields, lines, one_of, packed
from Fuzz.target import Files, Target

K, J, I = 4, 5, 6  # noqa: E741
VOXELS = np.arange(K * J * I, dtype="<i2").reshape(K, J, I)
ODD_NAME = os.fsdecode(b"caf\xe9 %n")

# --- NRRD -------------------------------------------------------------------------------------------------------------

NRRD = f"""NRRD0004
# made up
type: short
dimension: 3
space: left-posterior-superior
sizes: {I} {J} {K}
space directions: (1,0,0) (0,2,0) (0,0,3)
kinds: domain domain domain
endian: little
encoding: %s
space origin: (10,-20,30)
"""
NRRD_WORDS = (
    *("raw", "gzip", "bzip2", "ascii", "hex", "zrl", "short", "double", "block", "uchar", "complex", "RGB-color"),
    *("none", "???", "(nan,nan,nan)", "(1e300,0,0)", "left-posterior-superior-time", "list", "byte skip: -1"),
    *('"mm" "mm" "mm"', '"furlong"', "line skip: 1000000000000", "data file: image.raw", "data file: LIST"),
)


def _nrrd(encoding: str, more: str = "") -> bytes:
    return (NRRD % encoding + more).encode()


def _attached_nrrd() -> list[Files]:
    raw = VOXELS.tobytes()
    packings = {"raw": raw, "gzip": gzip.compress(raw, mtime=0), "bzip2": bz2.compress(raw), "hex": raw.hex().encode()}
    packings["ascii"] = " ".join(map(str, VOXELS.ravel())).encode()
    return [{"image.nrrd": _nrrd(name) + b"\n" + data} for name, data in packings.items()]


def _detached_nrrd() -> list[Files]:
    raw = VOXELS.tobytes()
    return [
        {"image.nhdr": _nrrd("raw", "data file: image.raw\n"), "image.raw": raw},
        {
            "image.nhdr": _nrrd("gzip", "byte skip: 4\ndata file: image.raw.gz\n"),
            "image.raw.gz": gzip.compress(b"skip" + raw),
        },
        {"image.nhdr": _nrrd("raw", "line skip: 1\nbyte skip: -1\ndatafile: image.raw\n"), "image.raw": b"x\n" + raw},
        {"image.nhdr": _nrrd("raw", "data file: image%03d.raw 0 3 1\n"), "image000.raw": raw},
        {"image.nhdr": _nrrd("raw", "data file: LIST\nimage.raw\n"), "image.raw": raw},
    ]


# --- MetaImage --------------------------------------------------------------------------------------------------------

META = f"""ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 10 -20 30
CenterOfRotation = 0 0 0
ElementSpacing = 1 2 3
DimSize = {I} {J} {K}
ElementType = MET_SHORT
ElementDataFile = """
META_WORDS = (
    *("LOCAL", "LIST", "image.raw", "image%d.raw 0 3 1", "MET_DOUBLE", "MET_UCHAR", "MET_OTHER", "True", "False"),
    *("HeaderSize = -1", "HeaderSize = 4", "CompressedDataSize = 5", "ElementNumberOfChannels = 3", "NDims = 2"),
    *("DistanceUnits = um", "ElementToIntensityFunctionSlope = nan"),
)


def _attached_meta() -> list[Files]:
    raw, head = VOXELS.tobytes(), META.encode() + b"LOCAL\n"
    text = " ".join(map(str, VOXELS.ravel())).encode()
    return [
        {"image.mha": head + raw},
        {"image.mha": head.replace(b"CompressedData = False", b"CompressedData = True") + zlib.compress(raw)},
        {"image.mha": head.replace(b"BinaryData = True", b"BinaryData = False") + text},
    ]


def _detached_meta() -> list[Files]:
    raw, head = VOXELS.tobytes(), META.encode()
    compressed = head.replace(b"CompressedData = False", b"CompressedData = True\nCompressedDataSize = 200")
    return [
        {"image.mhd": head + b"image.raw\n", "image.raw": raw},
        {"image.mhd": compressed + b"image.zraw\n", "image.zraw": zlib.compress(raw)},
        {"image.mhd": b"HeaderSize = -1\n" + head + b"image.raw", "image.raw": b"junk" + raw},
        {"image.mhd": head + b"image%d.raw 1 4 1\n", "image1.raw": raw},
    ]


# --- NIfTI ------------------------------------------------------------------------------------------------------------

NIFTI_1 = {
    "h": (*range(40, 56, 2), 70, 72, 252, 254),
    "f": (*range(76, 108, 4), 108, 112, 116, *range(256, 328, 4)),
    "i": (0, 32, 348, 352),
    "b": (123, 344, 345, 346, 347, 348),
}
NIFTI_2 = {
    "h": (12, 14),
    "q": (*range(16, 80, 8), 168),
    "d": (*range(104, 168, 8), 176, 184, *range(352, 496, 8)),
    "i": (0, 344, 348, 500, 540, 544),
    "b": (4, 5, 6, 7),
}


def _nifti_1(
    voxels: bytes = VOXELS.tobytes(), *, order: str = "<", magic: bytes = b"n+1\0", offset: float = 352
) -> bytes:
    head = bytearray(348)
    for form, at, values in (
        ("i", 0, (348,)),
        ("8h", 40, (3, I, J, K, 1, 1, 1, 1)),
        ("2h", 70, (4, 16)),
        ("8f", 76, (1, 1, 2, 3, 1, 1, 1, 1)),
        ("3f", 108, (offset, 2.0, -3.0)),
        ("b", 123, (2,)),
        ("2h", 252, (1, 1)),
        ("6f", 256, (0, 0, 0, 10, -20, 30)),
        ("12f", 280, (1, 0, 0, 10, 0, 2, 0, -20, 0, 0, 3, 30)),
    ):
        struct.pack_into(order + form, head, at, *values)
    head[344:348] = magic
    return bytes(head) + (bytes(4) + voxels if magic == b"n+1\0" else b"")


def _nifti_2() -> bytes:
    head = bytearray(540)
    for form, at, values in (
        ("i", 0, (540,)),
        ("8s", 4, (b"n+2\0\r\n\x1a\n",)),
        ("2h", 12, (4, 16)),
        ("8q", 16, (3, I, J, K, 1, 1, 1, 1)),
        ("8d", 104, (1, 1, 2, 3, 1, 1, 1, 1)),
        ("q2d", 168, (544, 2.0, -3.0)),
        ("2i", 344, (1, 1)),
        ("6d", 352, (0, 0, 0, 10, -20, 30)),
        ("12d", 400, (1, 0, 0, 10, 0, 2, 0, -20, 0, 0, 3, 30)),
        ("i", 500, (2,)),
    ):
        struct.pack_into("<" + form, head, at, *values)
    return bytes(head) + bytes(4) + VOXELS.tobytes()


def _extended() -> bytes:
    """Return a NIfTI-1 file with an extension, as CIFTI has one, between header and voxels."""
    xml = b'<!DOCTYPE a [<!ENTITY b "bbbb">]><CIFTI>&b;</CIFTI>'.ljust(56)
    whole = _nifti_1(offset=352 + 64)
    return whole[:348] + b"\1\0\0\0" + struct.pack("<ii", 64, 32) + xml + whole[352:]


def _plain_nifti() -> list[Files]:
    swapped = _nifti_1(VOXELS.astype(">i2").tobytes(), order=">")
    return [{"image.nii": content} for content in (_nifti_1(), swapped, _extended())]


def _packed_nifti() -> list[Files]:
    return [{"image.nii.gz": gzip.compress(content, mtime=0)} for content in (_nifti_1(), _nifti_2(), _extended())]


def _nifti_pair() -> list[Files]:
    head = _nifti_1(magic=b"ni1\0", offset=0)
    raw = VOXELS.tobytes()
    return [
        {"image.hdr": head, "image.img": raw},
        {"image.hdr": gzip.compress(head, mtime=0), "image.img.gz": gzip.compress(raw, mtime=0)},
    ]


# --- Damage and reading -----------------------------------------------------------------------------------------------


def _mutated(main: Bytes, others: Bytes = damaged) -> Callable[[Files, random.Random], Files]:
    """Return a mutation of the first file, seldom of the others and of names."""

    def mutate(files: Files, chance: random.Random) -> Files:
        names = list(files)
        if len(names) > 1 and chance.random() < 0.2:
            name = chance.choice(names[1:])
            files[name] = others(files[name], chance)
        if len(names) > 1 and chance.random() < 0.03:
            del files[names[1]]
        if chance.random() < 0.9:
            files[names[0]] = main(files[names[0]], chance)
        if chance.random() < 0.03:
            suffix = "".join(Path(names[0]).suffixes)
            files = {ODD_NAME + suffix if name == names[0] else name: content for name, content in files.items()}
        return files

    return mutate


def _read(folder: Path) -> None:
    """Read the first file in order of importance: what a user would choose."""
    from upgan.images.reading import read_volume

    names = sorted(os.listdir(folder))
    heads = (".nhdr", ".mhd", ".hdr", ".nrrd", ".mha", ".nii", ".nii.gz", ".dcm")
    chosen = next(name for head in heads for name in names if name.lower().endswith(head))
    _check(read_volume(folder / chosen).voxels)


def _read_folder(folder: Path) -> None:
    from upgan.images.reading import read_volume

    _check(read_volume(folder).voxels)


def _read_slice(folder: Path) -> None:
    """Read one DICOM file as ``read_volume`` does, which refuses what is a single slice in the end."""
    from upgan.images.reading import read_image

    _check(read_image(folder / "0.dcm")[0])


def _check(voxels: np.ndarray) -> None:
    assert voxels.dtype == np.float32
    assert voxels.ndim == 3


class _WarmReader:
    """Decodes the frames of many inputs in one process, for its start would take most of the time."""

    def __init__(self) -> None:
        self._reader = None

    def __call__(self, folder: Path) -> None:
        from upgan.images.dicom import pixels as dicom_pixels
        from upgan.images.dicom.headers import quiet, read_header
        from upgan.images.dicom.reader_process import ReaderProcess
        from upgan.images.unreadable import truncated

        self._reader = self._reader or ReaderProcess()
        path = folder / "0.dcm"
        with quiet():
            header = read_header(path)
            if not header.whole or header.pixels is None:
                raise truncated(path)
            dicom_pixels.check_pixels(header)
            assert dicom_pixels.quantity(header, self._reader).dtype == np.float32


def _series(make: Callable[[float], bytes]) -> Files:
    return {f"{number}.dcm": make(3.0 * number) for number in range(3)}


def _mutated_slice(mutation: Bytes) -> Callable[[Files, random.Random], Files]:
    def mutate(files: Files, chance: random.Random) -> Files:
        for name in chance.sample(list(files), chance.choice((1, 1, len(files)))):
            files[name] = mutation(files[name], chance)
        return files

    return mutate


def _frames(syntax: str, what: str) -> Target:
    return Target(
        f"reader/DICOM frames, {what}",
        lambda: [{"0.dcm": compressed_file(0, syntax)}],
        _mutated_slice(one_of(mutate_frame, mutate_frame, mutate_frame, mutate_elements, damaged)),
        _WarmReader(),
    )


def _image(name: str, seeds: Callable[[], list[Files]], *mutations: Bytes, others: Bytes = damaged) -> Target:
    return Target(f"reader/{name}", seeds, _mutated(one_of(*mutations, damaged), others), _read)


_nrrd_lines, _meta_lines = lines(b"\n\n", NRRD_WORDS), lines(b"LOCAL\n", META_WORDS)
_of_1, _of_2 = fields(NIFTI_1), fields(NIFTI_2)
_in_gz = packed(one_of(_of_1, _of_2, damaged))

TARGETS = (
    _image("NRRD, attached", _attached_nrrd, _nrrd_lines, _nrrd_lines),
    _image("NRRD, detached", _detached_nrrd, lines(None, NRRD_WORDS)),
    _image("MetaImage, attached", _attached_meta, _meta_lines, _meta_lines),
    _image("MetaImage, detached", _detached_meta, lines(None, META_WORDS)),
    _image("NIfTI-1", _plain_nifti, _of_1, _of_1),
    _image("NIfTI-2", lambda: [{"image.nii": _nifti_2()}], _of_2, _of_2),
    _image("NIfTI, packed", _packed_nifti, _in_gz, _in_gz),
    _image("NIfTI, pair", _nifti_pair, one_of(_of_1, damaged)),
    Target(
        "reader/DICOM, one file",
        lambda: [{"0.dcm": plain_file(0)}, {"0.dcm": plain_file(0, DEFLATED)}, {"0.dcm": compressed_file(0, RLE)}],
        _mutated_slice(one_of(mutate_elements, mutate_elements, mutate_elements, damaged)),
        _read_slice,
    ),
    Target(
        "reader/DICOM, series",
        lambda: [_series(plain_file), _series(lambda height: compressed_file(height, RLE))],
        _mutated_slice(one_of(mutate_elements, mutate_elements, mutate_elements, damaged)),
        _read_folder,
    ),
    Target(
        "reader/DICOM, compressed series",
        lambda: [_series(lambda height: compressed_file(height, JPEG_2000))],
        _mutated_slice(one_of(mutate_frame, mutate_elements)),
        _read_folder,
    ),
    _frames(RLE, "RLE"),
    _frames(JPEG_BASELINE, "JPEG"),
    _frames(JPEG_LOSSLESS, "JPEG lossless"),
    _frames(JPEG_LS, "JPEG-LS"),
    _frames(JPEG_2000, "JPEG 2000"),
)
