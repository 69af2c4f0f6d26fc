"""NIfTI files (nifti1.h, nifti2.h): headers are read and judged; plain or packed, whatever the file is called.

Not by nibabel, which takes a file's name at its word, guesses in silence, and is slow to import for a viewer.
"""

from __future__ import annotations

import contextlib
import math
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from upgan.images.formats.data_file import data_beside
from upgan.images.nifti_forms import NiftiForms, decide
from upgan.images.placement import marked
from upgan.images.stored_voxels import GZIP_MAGIC, ImageHeader, open_deflated
from upgan.images.unreadable import bad_header, colour, complex_valued, not_an_image, several_frames, truncated

# NIfTI's codes for metres and micrometres; anything else is taken as millimetres, as ITK and Slicer do.
UNITS_MM = {1: 1e3, 3: 1e-3}

_PACKED = ".gz"

# What follows the header of a single file before any voxel can.
_EXTENDER = 4

# The fields that say something of voxels and their place: type and offset in the header.
_FIELDS: dict[int, dict[str, tuple[str, int]]] = {
    348: {
        "dim": ("8i2", 40),
        "datatype": ("i2", 70),
        "pixdim": ("8f4", 76),
        "vox_offset": ("f4", 108),
        "scl_slope": ("f4", 112),
        "scl_inter": ("f4", 116),
        "xyzt_units": ("i1", 123),
        "descrip": ("S80", 148),
        "qform_code": ("i2", 252),
        "sform_code": ("i2", 254),
        "quatern": ("3f4", 256),
        "qoffset": ("3f4", 268),
        "srow": ("(3,4)f4", 280),
    },
    540: {
        "datatype": ("i2", 12),
        "dim": ("8i8", 16),
        "pixdim": ("8f8", 104),
        "vox_offset": ("i8", 168),
        "scl_slope": ("f8", 176),
        "scl_inter": ("f8", 184),
        "descrip": ("S80", 240),
        "qform_code": ("i4", 344),
        "sform_code": ("i4", 348),
        "quatern": ("3f8", 352),
        "qoffset": ("3f8", 376),
        "srow": ("(3,4)f8", 400),
        "xyzt_units": ("i4", 500),
    },
}
_LARGEST = max(_FIELDS)
_MAGIC = {348: (344, (b"n+1\0", b"ni1\0")), 540: (4, (b"n+2\0", b"ni2\0"))}

_NUMBERS = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_COMPLEX = (32, 1792, 2048)
_COLOURS = (128, 2304)


class _Header:
    """A header's bytes, and its fields by name."""

    def __init__(self, path: Path, first: bytes) -> None:
        self.path = path
        self.size = _header_size(first)
        if not self.size:
            raise not_an_image(path)
        if len(first) < self.size:
            raise truncated(path)
        # The first field is the header's own size.
        self.order: Literal["<", ">"] = ">" if int.from_bytes(first[:4], "big") == self.size else "<"
        self._fields = self._read(first)
        at = _MAGIC[self.size][0]
        self.is_single = first[at + 1 : at + 2] == b"+"

    def _read(self, first: bytes) -> np.void:
        fields = _FIELDS[self.size]
        dtype = np.dtype(
            {
                "names": list(fields),
                "formats": [np.dtype(kind).newbyteorder(self.order) for kind, _ in fields.values()],
                "offsets": [offset for _, offset in fields.values()],
                "itemsize": self.size,
            }
        )
        found: np.void = np.frombuffer(first[: self.size], dtype)[0]
        return found

    def array(self, name: str) -> np.ndarray:
        found: np.ndarray = np.asarray(self._fields[name], np.float64)
        return found

    def integers(self, name: str) -> list[int]:
        return [int(value) for value in np.ravel(self._fields[name])]

    def integer(self, name: str) -> int:
        return int(self._fields[name])

    def text(self, name: str) -> bytes:
        return bytes(self._fields[name])

    def number(self, name: str) -> float:
        return float(self._fields[name])


def is_nifti(path: Path) -> bool:
    """Tell whether a file is to be read as NIfTI: by its name, or as the header of a pair by its first bytes."""
    name = path.name.lower().removesuffix(_PACKED)
    if name.endswith(".nii"):
        return True
    if not name.endswith(".hdr"):
        return False
    with contextlib.suppress(EOFError, zlib.error):
        return _header_size(_first_bytes(path)) != 0
    return False


def read_nifti_header(path: Path) -> ImageHeader:
    """Read and judge a header, and what of the file lies before it; no voxel is touched.

    Args:
        path: A .nii file or the .hdr of a pair, plain or packed with gzip.

    Raises:
        InputError: ``not_an_image``, ``truncated_file``, ``bad_header``, ``file_not_found`` (of a pair's data),
            ``colour_image``, ``not_real_valued`` or ``not_three_dimensional``.
        OSError: The file cannot be read.
    """
    try:
        header = _Header(path, _first_bytes(path))
    except (EOFError, zlib.error) as error:
        raise truncated(path) from error
    shape = _shape(header)
    dtype = _dtype(header)
    slope, intercept = _scaling(header)
    offset = _offset(header)
    millimetres = UNITS_MM.get(header.integer("xyzt_units") & 7, 1.0)
    lengths = np.array([1, millimetres, millimetres, millimetres])
    forms = NiftiForms(
        codes=(_code(header.integer("qform_code")), _code(header.integer("sform_code"))),
        pixdim=header.array("pixdim")[:4] * lengths,
        quaternion=header.array("quatern"),
        offset=header.array("qoffset") * millimetres,
        rows=header.array("srow") * millimetres,
    )
    try:
        ijk_to_ras, placement = decide(forms, shape, path.name)
    except ValueError as error:
        raise bad_header(path, str(error)) from error
    mark = marked(header.text("descrip"), path.name)
    if placement.is_certain and not mark.is_certain:
        placement = replace(placement, certainty=mark.certainty, sentence=mark.sentence)
    data = path if header.is_single else _other_half(path)
    with data.open("rb") as file:
        is_packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return ImageHeader(
        path=path,
        data=data,
        packing="deflate" if is_packed else "raw",
        packed_offset=0,
        # Writers leave 0, or what is within the header itself, and mean what follows it.
        offset=max(offset, header.size + _EXTENDER) if header.is_single else offset,
        dtype=dtype,
        shape=shape,
        ijk_to_ras=ijk_to_ras,
        placement=placement,
        slope=slope,
        intercept=intercept,
    )


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        is_packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        return open_deflated(file).read(_LARGEST) if is_packed else file.read(_LARGEST)


def _header_size(first: bytes) -> int:
    """Return how long the header is by its magic string; 0 where there is none."""
    return next((size for size, (at, magics) in _MAGIC.items() if first[at : at + 4] in magics), 0)


def _shape(header: _Header) -> tuple[int, int, int]:
    """Return (K, J, I); an axis beyond the third that says 0 is not there."""
    dims = header.integers("dim")
    count = dims[0]
    if not 1 <= count <= 7:
        raise bad_header(header.path, f"it has {count} dimensions (dim[0])")
    sizes = dims[1 : count + 1]
    for axis, size in enumerate(sizes, start=1):
        if size < 0:
            raise bad_header(header.path, f"its dim[{axis}] is {size}")
    frames = math.prod(max(size, 1) for size in sizes[3:])
    if frames != 1:
        raise several_frames(header.path, frames)
    i, j, k = (*sizes[:3], *[1] * (3 - count))
    return k, j, i


def _dtype(header: _Header) -> np.dtype:
    code = header.integer("datatype")
    if code in _COLOURS:
        raise colour(header.path)
    if code in _COMPLEX:
        raise complex_valued(header.path)
    if code not in _NUMBERS:
        raise bad_header(header.path, f"its datatype is {code}, which is no type of number that can be read")
    return np.dtype(_NUMBERS[code]).newbyteorder(header.order)


def _code(code: int) -> int:
    """Return a qform or sform code; what the format's 16 bits cannot hold says as little as 0."""
    return code if 0 <= code < 1 << 15 else 0


def _scaling(header: _Header) -> tuple[float, float]:
    slope, intercept = header.number("scl_slope"), header.number("scl_inter")
    if slope == 0 or math.isnan(slope):  # NIfTI's and nibabel's ways to say that there is none
        return 1.0, 0.0
    if math.isinf(slope) or not math.isfinite(intercept):
        raise bad_header(
            header.path, f"its voxels are to be multiplied by {slope:g} (scl_slope) plus {intercept:g} (scl_inter)"
        )
    return slope, intercept


def _offset(header: _Header) -> int:
    offset = header.number("vox_offset")
    if not math.isfinite(offset) or offset < 0 or offset != int(offset):
        raise bad_header(header.path, f"its voxels begin at byte {offset:g} (vox_offset)")
    return int(offset)


def _other_half(path: Path) -> Path:
    """Return the .img of a pair, which may be packed, or not, independently of its .hdr."""
    stem = path.name.removesuffix(_PACKED).removesuffix(_PACKED.upper())[: -len(".hdr")]
    suffixes = (".IMG",) if ".HDR" in path.name else (".img", f".img{_PACKED}")
    found = next((name for suffix in suffixes if (path.parent / (name := stem + suffix)).is_file()), None)
    return data_beside(path, found or stem + suffixes[0])
