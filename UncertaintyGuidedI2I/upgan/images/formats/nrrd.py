"""NRRD files (https://teem.sourceforge.net/nrrd/format.html), attached and detached, with their units of length.

pynrrd is not used: it takes `space:=RAS`, a user's remark, for the field `space`, knows field names in lower case only,
takes no blanks within a vector and cuts 24.7 voxels to 24.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from upgan.images.formats.data_file import data_beside
from upgan.images.placement import CERTAIN, MAY_BE_WRONG, TAKEN_AS_SLICER_DOES, WITHOUT_PLACE, Placement, remarked
from upgan.images.stored_voxels import ImageHeader, Packing
from upgan.images.unreadable import (
    bad_header,
    colour,
    complex_valued,
    not_an_image,
    scattered_data,
    several_frames,
    shown,
    truncated,
)

MAGIC = b"NRRD000"

# Of a header: Slicer's sequences keep a remark for each of their frames there.
_LONGEST_HEADER = 4 << 20
_MOST_AXES = 16
# Of one field, in characters: 16 vectors need less than a thousand.
_LONGEST_FIELD = 1 << 14
# To be skipped before the voxels.
_MOST_LINES = 1 << 20

_RAS_FROM = {
    "right-anterior-superior": np.diag([1.0, 1.0, 1.0]),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0]),
    "left-posterior-superior": np.diag([-1.0, -1.0, 1.0]),
}
_RAS_FROM |= {"".join(word[0] for word in name.split("-")): matrix for name, matrix in _RAS_FROM.items()}
# Spaces with time have it as their fourth coordinate.
_RAS_FROM |= {name + ("t" if len(name) == 3 else "-time"): matrix for name, matrix in _RAS_FROM.items()}

_UNITS_MM = {
    **dict.fromkeys(("", "???", "none", "mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers"), 1e-3),
    **dict.fromkeys(("micrometre", "micrometres"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1e-6),
}

_TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_NUMPY = {name: code for code, names in _TYPES.items() for name in names.split(", ")}

_PACKINGS: dict[str, Packing] = {
    "raw": "raw",
    **dict.fromkeys(("gz", "gzip"), "deflate"),
    **dict.fromkeys(("bz2", "bzip2"), "bzip2"),
    **dict.fromkeys(("txt", "text", "ascii"), "text"),
    "hex": "hex",
}

_SPATIAL_KINDS = ("domain", "space", "???", "none")
# Python refuses to convert thousands of digits.
_COUNT = re.compile(r"[0-9]{1,18}")
_NUMBER = r"[-+0-9.eEnaifNAIF]+"
_VECTOR = re.compile(rf"none|\(\s*{_NUMBER}\s*(?:,\s*{_NUMBER}\s*)*\)", re.IGNORECASE)


def read_nrrd_header(path: Path) -> ImageHeader:
    """Read and judge a header; no voxel is touched.

    Raises:
        InputError: ``not_an_image``, ``bad_header``, ``unsupported_format`` for voxels in several files,
            ``file_not_found`` for a data file that is not there, ``colour_image``, ``not_real_valued`` or
            ``not_three_dimensional``.
        OSError: The file cannot be read.
    """
    fields, remarks, length = _fields(path)
    header = _Header(path, fields)
    shape, axes = header.spatial_axes()
    affine, placement = header.place(axes, shape)
    doubt = remarked(remarks, affine, shape)
    if placement.is_certain and not doubt.is_certain:
        placement = doubt
    packing = _PACKINGS.get(header.word("encoding"))
    if packing is None:
        raise bad_header(path, f"its encoding '{header.word('encoding')}' is none of {', '.join(_PACKINGS)}")
    dtype = header.dtype(packing)
    data, packed_offset, offset = header.data(length, packing, math.prod(shape) * dtype.itemsize)
    return ImageHeader(path, data, packing, packed_offset, offset, dtype, shape, affine, placement)


def _fields(path: Path) -> tuple[dict[str, str], dict[str, str], int]:
    """Return the fields by name (lower case, without blanks), the remarks, and where what follows begins."""
    fields: dict[str, str] = {}
    remarks: dict[str, str] = {}
    with path.open("rb") as file:
        if not re.fullmatch(rb"NRRD000[1-6]\s*", file.readline(32)):
            raise not_an_image(path)
        while line := file.readline(_LONGEST_HEADER):
            if file.tell() > _LONGEST_HEADER:
                raise not_an_image(path)
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            if not text.strip():
                break
            if text.startswith("#"):
                continue
            name, colon, value = text.partition(":")
            if not colon:
                if not line.endswith(b"\n"):
                    raise truncated(path)
                raise bad_header(path, f"it has a line without a colon ('{text[:40]}')")
            if value.startswith("="):
                remarks[name] = value[1:]
                continue
            name = name.replace(" ", "").lower()
            if len(value) > _LONGEST_FIELD:
                raise bad_header(path, f"its '{name[:40]}' is {len(value)} characters long")
            if name in fields:
                raise bad_header(path, f"it says '{name[:40]}' twice")
            fields[name] = value.strip()
            if name == "datafile" and fields[name].upper().startswith("LIST"):
                break
        else:
            # Only a header with its voxels elsewhere may end with the file.
            if "datafile" not in fields:
                raise truncated(path)
        return fields, remarks, file.tell()


class _Axis(NamedTuple):
    """One axis of the array; ``direction`` is None where the header has no vectors."""

    number: int
    direction: np.ndarray | None


class _Header:
    """Fields on their way to what they mean."""

    def __init__(self, path: Path, fields: dict[str, str]) -> None:
        self.path, self.fields = path, fields
        self.sizes = [int(size) if _COUNT.fullmatch(size) else -1 for size in self._needed("sizes").split()]
        dimension = self._needed("dimension")
        if not _COUNT.fullmatch(dimension) or int(dimension) != len(self.sizes) or len(self.sizes) > _MOST_AXES:
            raise bad_header(path, f"it has '{dimension[:20]}' dimensions and {len(self.sizes)} sizes")
        if min(self.sizes) < 1:
            raise bad_header(path, f"its sizes are '{self.fields['sizes'][:40]}'")

    def word(self, name: str) -> str:
        return self.fields.get(name, "").lower()

    def _needed(self, name: str) -> str:
        if not self.fields.get(name):
            raise bad_header(self.path, f"it does not say '{name}'")
        return self.fields[name]

    def dtype(self, packing: Packing) -> np.dtype:
        kind = self._needed("type").lower()
        if kind not in _NUMPY:
            raise bad_header(self.path, f"its type '{kind[:40]}' is no type of number")
        dtype = np.dtype(_NUMPY[kind])
        endian = self.word("endian")
        if dtype.itemsize > 1 and packing != "text" and endian not in ("little", "big"):
            raise bad_header(self.path, "it does not say whether its numbers are little or big 'endian'")
        return dtype.newbyteorder(">" if endian == "big" else "<")

    def spatial_axes(self) -> tuple[tuple[int, int, int], list[_Axis]]:
        """Return (K, J, I) and the axes along I, J, K; axes of one value that are none in space are dropped."""
        directions = self._vectors("spacedirections", len(self.sizes)) if "spacedirections" in self.fields else None
        kinds = self.fields.get("kinds", "").lower().split() or ["domain"] * len(self.sizes)
        if len(kinds) != len(self.sizes):
            raise bad_header(self.path, f"it has {len(self.sizes)} sizes and {len(kinds)} kinds")
        if directions is not None and any(direction is not None for direction in directions):
            # A step in time only has no direction in space.
            spatial = [index for index, vector in enumerate(directions) if vector is not None and vector[:3].any()]
        else:
            directions = None
            spatial = [index for index, kind in enumerate(kinds) if kind in _SPATIAL_KINDS]
        if not spatial:
            raise bad_header(self.path, "none of its axes lies in space")
        extra = [index for index in range(len(self.sizes)) if index not in spatial[:3]]
        frames = math.prod(self.sizes[index] for index in extra)
        if frames > 1:
            raise self._too_many(frames, [kinds[index] for index in extra if self.sizes[index] > 1])
        axes = [_Axis(index, directions[index] if directions else None) for index in spatial[:3]]
        i, j, k = (*(self.sizes[axis.number] for axis in axes), *[1] * (3 - len(axes)))
        return (k, j, i), axes

    def _too_many(self, frames: int, kinds: list[str]) -> Exception:
        if any("color" in kind for kind in kinds) or (frames in (3, 4) and _NUMPY.get(self.word("type")) == "u1"):
            return colour(self.path)
        return complex_valued(self.path) if "complex" in kinds else several_frames(self.path, frames)

    def place(self, axes: list[_Axis], shape: tuple[int, int, int]) -> tuple[np.ndarray, Placement]:
        """Return the affine, and how sure it is; what is not said is taken as ITK takes it."""
        space = self.word("space")
        to_ras = _RAS_FROM.get(space, WITHOUT_PLACE[:3, :3])
        origin = self._vectors("spaceorigin", 1)[0] if "spaceorigin" in self.fields else None
        lacking = []
        if space not in _RAS_FROM:
            lacking.append(f"how its space '{shown(space)}' lies in the patient" if space else "in which space it lies")
        if axes[0].direction is None:
            lacking.append(
                "which way its axes run" + ("" if "spacings" in self.fields else " and how large its voxels are")
            )
        if origin is None:
            lacking.append("where it begins")
        affine = np.eye(4)
        if axes[0].direction is not None:
            scale = self._units("spaceunits", [0, 1, 2])[:, None]
            affine[:3, :3] = to_ras @ (scale * self._whole([axis.direction for axis in axes]))
        else:
            steps, first = self._steps(axes)
            scale = self._units("units", [axis.number for axis in axes])
            affine[:3, :3] = to_ras @ np.diag([*steps * scale, *[1.0] * (3 - len(axes))])
            affine[: len(axes), 3] = first * scale
            affine[:3, 3] = to_ras @ affine[:3, 3]
        if origin is not None:
            affine[:3, 3] = to_ras @ (self._units("spaceunits", [0, 1, 2]) * origin[:3])
        if not lacking:
            units = self._units("spaceunits", [0, 1, 2])
            return affine, CERTAIN if (units == 1).all() else Placement("certain", self._other_unit())
        sentence = f"'{self.path.name}' does not say {_listed(lacking)}. "
        oriented = space in _RAS_FROM and len(lacking) == 1 and origin is None and axes[0].direction is not None
        if oriented:
            sentence += "Its first voxel was taken to lie at the origin, as Slicer takes it; it may lie elsewhere."
        elif axes[0].direction is not None:
            sentence += f"It was taken as LPS, as Slicer takes it; {MAY_BE_WRONG}."
        else:
            sentence += f"{TAKEN_AS_SLICER_DOES}; {MAY_BE_WRONG}."
        return affine, Placement("guessed", sentence)

    def _other_unit(self) -> str:
        units = " and ".join(sorted(set(re.findall(r"[^\s\"]+", self.fields["spaceunits"]))))
        return (
            f"'{self.path.name}' gives lengths in {units}, which were converted to mm. Slicer takes them for mm as "
            "they are, and so shows the file in another size and elsewhere than the result."
        )

    def _whole(self, directions: list[np.ndarray | None]) -> np.ndarray:
        """Return directions as columns [3, 3]; of an image that is flat, with a step of 1 out of its plane."""
        columns = [np.asarray(direction)[:3] for direction in directions]
        while len(columns) < 3:
            others = np.linalg.svd(np.array(columns))[2]
            columns.append(others[len(columns)])
        return np.column_stack(columns)

    def _steps(self, axes: list[_Axis]) -> tuple[np.ndarray, np.ndarray]:
        """Return each axis' spacing and first position, as ITK does of headers without a space."""
        count = len(self.sizes)
        spacings = self._numbers("spacings", count)
        mins, maxs = self._numbers("axismins", count), self._numbers("axismaxs", count)
        centres = self.fields.get("centerings", "").lower().split() or ["???"] * count
        steps, firsts = [], []
        for index, _ in axes:
            is_node = centres[index : index + 1] == ["node"]
            span = (maxs[index] - mins[index]) / max(self.sizes[index] - is_node, 1)
            step = spacings[index] if np.isfinite(spacings[index]) else 1.0
            width = spacings[index] if np.isfinite(spacings[index]) else span
            first = mins[index] + (0 if is_node else (width if np.isfinite(width) else 0.0) / 2)
            steps.append(step)
            firsts.append(first if np.isfinite(first) else 0.0)
        return np.array(steps), np.array(firsts)

    def _numbers(self, name: str, count: int) -> np.ndarray:
        """Return one number an axis; not a number where nothing is said."""
        words = self.fields[name].split() if name in self.fields else ["nan"] * count
        try:
            numbers = np.array([float(word) for word in words])
        except ValueError:
            numbers = np.array([])
        if numbers.shape != (count,):
            raise bad_header(self.path, f"its {name} are '{self.fields[name][:40]}'")
        return numbers

    def _vectors(self, name: str, count: int) -> list[np.ndarray | None]:
        """Return vectors of three coordinates, or four with time; None for those that are "none" or not numbers."""
        text = self.fields[name]
        words = _VECTOR.findall(text)
        if len(words) != count or _VECTOR.sub("", text).strip():
            raise bad_header(self.path, f"its {name} are '{text[:60]}'")
        vectors: list[np.ndarray | None] = []
        for word in words:
            try:
                vector = np.array([float(part) for part in word.strip("()").split(",")] if word[0] == "(" else [np.nan])
            except ValueError as error:
                raise bad_header(self.path, f"its {name} are '{text[:60]}'") from error
            if np.isnan(vector).all():
                vectors.append(None)
            elif vector.size in (2, 3, 4) and np.isfinite(vector).all():
                vectors.append(np.append(vector, [0.0] * (3 - vector.size)))
            else:
                raise bad_header(self.path, f"its {name} are '{text[:60]}'")
        return vectors

    def _units(self, name: str, wanted: list[int]) -> np.ndarray:
        """Return how many mm the units of the wanted coordinates, or axes, are."""
        words = re.findall(r'"([^"]*)"|(\S+)', self.fields.get(name, ""))
        units = [quoted or plain for quoted, plain in words] or [""] * (max(wanted) + 1)
        millimetres = []
        for index in wanted:
            # A flat image's space has two coordinates only.
            unit = units[index].strip().lower() if index < len(units) else ""
            if unit not in _UNITS_MM:
                raise bad_header(self.path, f"its {name} are in '{unit[:20]}', which is no known unit of length")
            millimetres.append(_UNITS_MM[unit])
        return np.array(millimetres)

    def data(self, length: int, packing: Packing, size: int) -> tuple[Path, int, int]:
        """Return the data file, where in it the packed voxels begin, and where they do once unpacked."""
        name = self.fields.get("datafile")
        if name is not None and (name.upper().startswith("LIST") or "%" in name):
            raise scattered_data(self.path)
        data = self.path if name is None else data_beside(self.path, name)
        start = length if name is None else 0
        skip = self._skip("byteskip", -1)
        if lines := self._skip("lineskip", 0):
            if lines > _MOST_LINES:
                raise bad_header(self.path, f"its voxels begin after {lines} lines")
            with data.open("rb") as file:
                file.seek(start)
                for _ in range(lines):
                    if not file.readline(_LONGEST_HEADER):
                        break
                start = file.tell()
        if skip == -1:  # the voxels are the file's last bytes
            if packing != "raw":
                raise bad_header(self.path, "its 'byte skip' is -1, though its voxels are packed")
            return data, max(data.stat().st_size - size, start), 0
        return (data, start + skip, 0) if packing in ("raw", "text", "hex") else (data, start, skip)

    def _skip(self, name: str, least: int) -> int:
        text = self.fields.get(name, "0")
        if not re.fullmatch(r"-?\d{1,15}", text) or int(text) < least:
            raise bad_header(self.path, f"its '{name}' is '{text[:20]}'")
        return int(text)


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
