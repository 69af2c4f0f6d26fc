"""What a DICOM file stores, with slope and intercept, is what is read: no more, no less, and nothing about display."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from Engine.made_images import code_of, save_series, save_slice
from upgan.errors import InputError
from upgan.images.dicom import headers as dicom_headers
from upgan.images.dicom.headers import read_header
from upgan.images.reading import read_image, read_volume

# Everything that says how an image is to be shown, as loudly as it can.
SHOWN = {
    "PhotometricInterpretation": "MONOCHROME1",
    "PresentationLUTShape": "INVERSE",
    "WindowCenter": 40,
    "WindowWidth": 80,
    "SmallestImagePixelValue": None,
    "PixelIntensityRelationship": "LOG",
}


def voi_lut() -> Dataset:
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData = [256, 0, 16], np.arange(255, -1, -1, "<u2").tobytes()
    return lut


def stored(kind: str, number: int) -> np.ndarray:
    """Return 5 x 6 values that need all bits and the sign of a kind of pixels."""
    values = np.random.default_rng(number).integers(*RANGES[kind], (5, 6))
    values[0, :2] = RANGES[kind][0], RANGES[kind][1] - 1
    return values


RANGES = {
    "u16": (0, 65536),
    "i16": (-32768, 32768),
    "u12": (0, 4096),
    "i12": (-2048, 2048),
    "i12 in 16 with other things in the spare bits": (-2048, 2048),
    "i12 in the upper bits": (-2048, 2048),
    "u8": (0, 256),
    "i32": (-(2**31), 2**31),
    "i16 big-endian": (-32768, 32768),
    "u8 big-endian": (0, 256),
    "i16 implicit": (-32768, 32768),
    "i16 deflated": (-32768, 32768),
    "i16 RLE": (-32768, 32768),
    "u12 RLE": (0, 4096),
}


def save_kind(path: Path, kind: str, number: int, **tags: object) -> np.ndarray:
    """Write a slice of a kind of pixels and return its stored values."""
    values = stored(kind, number)
    allocated = 8 if kind[:2] == "u8" else 32 if kind == "i32" else 16
    used = int(kind.split()[0][1:])
    pattern = values.astype(f"<i{allocated // 8 if allocated > 8 else 2}")
    if "spare" in kind:
        pattern = (pattern & 0x0FFF) | 0x5000
    if "upper" in kind:
        pattern = pattern << 4
    dataset = save_slice(
        path,
        np.array([7, -8, 3 * number]),
        Modality="PT",
        BitsAllocated=allocated,
        BitsStored=used,
        HighBit=15 if "upper" in kind else used - 1,
        PixelRepresentation=int(kind[0] == "i"),
        VOILUTSequence=[voi_lut()],
        **SHOWN | tags,
        PixelData=pattern.astype(f"<i{allocated // 8}").tobytes(),
    )
    syntaxes = {"implicit": ImplicitVRLittleEndian, "deflated": DeflatedExplicitVRLittleEndian}
    if "RLE" in kind:
        dataset.compress(RLELossless)
        dataset.save_as(path)
    elif "big-endian" in kind:
        # Words of two pixels are swapped where pixels are bytes.
        dataset.PixelData = pattern.astype(np.uint8 if allocated == 8 else ">i2").tobytes()
        if allocated == 8:
            dataset.PixelData = np.frombuffer(dataset.PixelData, ">u2").astype("<u2").tobytes()
            dataset["PixelData"].VR = "OW"
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        pydicom.dcmwrite(path, dataset, little_endian=False, implicit_vr=False)
    elif kind.split()[-1] in syntaxes:
        dataset.file_meta.TransferSyntaxUID = syntaxes[kind.split()[-1]]
        pydicom.dcmwrite(path, dataset)
    return values


@pytest.mark.parametrize("kind", RANGES)
def test_stored_values_with_each_files_own_slope_are_the_quantity_however_they_are_shown(
    kind: str, tmp_path: Path
) -> None:
    truth = []
    for n in range(3):
        values = save_kind(tmp_path / f"{n}.dcm", kind, n, RescaleSlope=1 + n / 4, RescaleIntercept=-7 * n)
        truth.append((values * (1 + n / 4) - 7 * n).astype(np.float32))
        single, _, modality, _ = read_image(tmp_path / f"{n}.dcm")
        np.testing.assert_array_equal(single, truth[-1:])
        assert modality == "PT"
        if "upper" not in kind:  # pydicom does not look at the highest bit.
            np.testing.assert_array_equal(pydicom.dcmread(tmp_path / f"{n}.dcm").pixel_array, values)
    np.testing.assert_array_equal(read_volume(tmp_path).voxels, truth)


@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "MR_small_RLE.dcm"])
def test_compressed_pixels_are_those_of_the_same_image_without_compression(name: str, tmp_path: Path) -> None:
    truth = pydicom.dcmread(get_testdata_file("MR_small.dcm", download=False)).pixel_array
    dataset = pydicom.dcmread(get_testdata_file(name, download=False))
    dataset.PhotometricInterpretation, dataset.RescaleSlope, dataset.RescaleIntercept = "MONOCHROME1", "0.5", "-3"
    dataset.save_as(tmp_path / "image.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "image.dcm")[0][0], truth * 0.5 - 3)


def fewer(share: float) -> Callable[[bytes], bytes]:
    return lambda pixels: pixels[: int(len(pixels) * share)]


@pytest.mark.parametrize("left", [fewer(0.5), lambda pixels: pixels[:-2], lambda pixels: pixels[:2], fewer(0)])
@pytest.mark.parametrize("which", [(0,), (2,), (3,), (0, 3)])
def test_slices_with_too_few_bytes_of_pixels_are_counted_and_refused(
    left: Callable[[bytes], bytes], which: tuple[int, ...], tmp_path: Path
) -> None:
    save_series(tmp_path, [0, 3, 6, 9], RescaleSlope=2)
    for number in which:
        path = tmp_path / f"00{number}.dcm"
        dataset = pydicom.dcmread(path)
        dataset.PixelData = left(dataset.PixelData)
        dataset.save_as(path)
        assert code_of(lambda: read_volume(path)) == "truncated_file"  # noqa: B023
    with pytest.raises(InputError, match=r"^1 slice " if len(which) == 1 else r"^2 slices ") as refusal:
        read_volume(tmp_path)
    assert refusal.value.code == "truncated_file"
    assert all(f"'00{number}.dcm'" in refusal.value.sentence for number in which)


def test_compressed_slices_that_end_too_early_are_counted_and_refused(tmp_path: Path) -> None:
    for n in range(4):
        save_kind(tmp_path / f"{n}.dcm", "i16 RLE", n)
    for n, pixels in ((1, 40), (2, 70)):
        dataset = pydicom.dcmread(tmp_path / f"{n}.dcm")
        dataset.PixelData = encapsulate([dataset.PixelData[16 : 16 + pixels]])
        dataset.save_as(tmp_path / f"{n}.dcm")
    with pytest.raises(InputError, match=r"^2 slices .*'1.dcm', '2.dcm'") as refusal:
        read_volume(tmp_path)
    assert refusal.value.code == "truncated_file"
    for name in ("MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"):
        jpeg = pydicom.dcmread(get_testdata_file(name, download=False))
        jpeg.PixelData = encapsulate([jpeg.PixelData[16:-20]])
        jpeg.save_as(tmp_path / "jpeg.dcm")
        assert code_of(lambda: read_image(tmp_path / "jpeg.dcm")) == "truncated_file"


def bomb(path: Path, syntax: str) -> None:
    """Write a file of less than 2 kB whose rows and columns make 8 GB."""
    dataset = save_slice(path, np.zeros(3), Rows=65535, Columns=65535)
    if syntax != "plain":
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([dataset.PixelData])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)


@pytest.mark.parametrize("syntax", ["plain", RLELossless, JPEGLSLossless])
def test_a_small_file_that_promises_much_costs_no_memory(syntax: str, tmp_path: Path) -> None:
    bomb(tmp_path / "0.dcm", syntax)
    # An element and a sequence that claim to be 4 GB long.
    whole = save_slice(tmp_path / "1.dcm", np.zeros(3))
    content = (tmp_path / "1.dcm").read_bytes()
    at = content.index(b"\x28\x00\x10\x00US")
    for name, element in (
        ("2", b"\x19\x00\x10\x10OB\0\0\xf0\xff\xff\xff"),
        ("3", b"\x19\x00\x10\x10SQ\0\0\xf0\xff\xff\xff"),
    ):
        (tmp_path / f"{name}.dcm").write_bytes(content[:at] + element + content[at:])
    assert whole.Rows == 5
    tracemalloc.start()
    try:
        for name in ("0", "2", "3"):
            assert code_of(lambda: read_volume(tmp_path / f"{name}.dcm")) == "truncated_file"  # noqa: B023
        assert code_of(lambda: read_volume(tmp_path)) == "truncated_file"
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["elements", "deflated elements", "fragments"])
def test_elements_or_fragments_without_end_are_no_image(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = save_slice(tmp_path / "0.dcm", np.zeros(3))
    if kind == "fragments":
        dataset.file_meta.TransferSyntaxUID = RLELossless
        dataset.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0" * 500
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.update(
            {pydicom.tag.Tag(0x0009, 0x1000 + n): DataElement((9, 0x1000 + n), "LO", "") for n in range(500)}
        )
        if "deflated" in kind:
            dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "0.dcm")
    assert read_header(tmp_path / "0.dcm").whole
    monkeypatch.setattr(dicom_headers, "MOST_READS", 400)
    assert not read_header(tmp_path / "0.dcm").whole
    assert code_of(lambda: read_image(tmp_path / "0.dcm")) == "truncated_file"


@pytest.mark.parametrize(
    ("tags", "air"),
    [
        ({"PixelPaddingValue": -2000}, -2000),
        ({"PixelPaddingValue": 63536}, -2000),  # The same pattern of bits, as some scanners state it.
        ({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}, range(-2000, -1989)),
        ({"PixelPaddingValue": -1990, "PixelPaddingRangeLimit": -2000}, range(-2000, -1989)),
        # Tissue can have this value, with an intercept of 0: it cannot be told from padding.
        ({"PixelPaddingValue": 0}, None),
        ({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": 0}, None),
        ({"PixelPaddingValue": -2000, "Modality": "PT"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("implicit", [False, True])
def test_what_a_ct_declares_as_padding_is_air_and_nothing_else_is_changed(
    tags: dict[str, object], air: object, implicit: bool, tmp_path: Path
) -> None:
    values = np.array([-2000, -1995, -1990, -1024, -1, 0, 1, 3071, 30000, *range(-2010, -1989)], "<i2").reshape(5, 6)
    dataset = save_slice(tmp_path / "0.dcm", np.zeros(3), RescaleIntercept=0, PixelData=values.tobytes())
    for name, value in tags.items():
        if isinstance(value, str):
            dataset.Modality = value
        else:
            dataset.add_new(name, "US" if value > 32767 else "SS", value)
    if implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    pydicom.dcmwrite(tmp_path / "0.dcm", dataset)
    padded = np.isin(values, list(air) if isinstance(air, range) else [] if air is None else [air])
    np.testing.assert_array_equal(read_image(tmp_path / "0.dcm")[0][0], np.where(padded, -1000, values))


def lut_sequence(dataset: FileDataset) -> None:
    dataset.ModalityLUTSequence = [voi_lut()]
    dataset.ModalityLUTSequence[0].ModalityLUTType = "HU"


def floats(dataset: FileDataset) -> None:
    del dataset.PixelData
    dataset.BitsAllocated, dataset.FloatPixelData = 32, bytes(4 * 30)


def of_bits(dataset: FileDataset) -> None:
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 0


def as_video(dataset: FileDataset) -> None:
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    dataset.PixelData = encapsulate([dataset.PixelData])
    dataset["PixelData"].is_undefined_length = True


def palette(dataset: FileDataset) -> None:
    dataset.PhotometricInterpretation = "PALETTE COLOR"


def rgb(dataset: FileDataset) -> None:
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "RGB", 3
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PlanarConfiguration, dataset.PixelData = 0, bytes(90)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lut_sequence, "unsupported_format", "Modality LUT Sequence"),
        (floats, "unsupported_format", "floating-point"),
        (of_bits, "unsupported_format", "1 bit"),
        (as_video, "unsupported_format", "MPEG2"),
        (palette, "colour_image", "0.dcm"),
        (rgb, "colour_image", "0.dcm"),
    ],
)
def test_pixels_that_are_no_plain_numbers_are_refused_by_name(
    change: Callable[[FileDataset], None], code: str, words: str, tmp_path: Path
) -> None:
    dataset = save_slice(tmp_path / "0.dcm", np.zeros(3))
    change(dataset)
    dataset.save_as(tmp_path / "0.dcm")
    for path in (tmp_path / "0.dcm", tmp_path):
        with pytest.raises(InputError, match=words) as refusal:
            read_volume(path)
        assert refusal.value.code == code


def test_a_number_of_bits_that_cannot_be_is_damage_and_no_lack_of_permission(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(get_testdata_file("MR_small_jp2klossless.dcm", download=False))
    dataset.BitsStored = 0
    dataset.save_as(tmp_path / "0.dcm")
    assert code_of(lambda: read_image(tmp_path / "0.dcm")) == "truncated_file"
