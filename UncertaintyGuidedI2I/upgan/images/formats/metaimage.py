"""MetaImage files (.mha, .mhd): a few lines of text before or beside the voxels."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import numpy as np

from upgan.images.formats.data_file import data_beside
from upgan.images.placement import (
    CERTAIN,
    MAY_BE_WRONG,
    PLACE_AT_KEY,
    PLACE_KEY,
    TAKEN_AS_SLICER_DOES,
    WITHOUT_PLACE,
    Placement,
    remarked,
)
from upgan.images.stored_voxels import ImageHeader, Packing
from upgan.images.unreadable import bad_header, colour, not_an_image, scattered_data, several_frames, truncated

_LONGEST_HEADER = 1 << 20
_MOST_AXES = 10

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",  # whatever a compiler's long is
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}

_UNITS_MM = {"mm": 1.0, "cm": 10.0, "um": 1e-3}

# Other names that MetaIO takes for the same.
_SYNONYMS = {
    "origin": "offset",
    "position": "offset",
    "rotation": "transformmatrix",
    "orientation": "transformmatrix",
    "elementbyteordermsb": "binarydatabyteordermsb",
}


def is_metaimage(path: Path) -> bool:
    """Tell whether a file is to be read as MetaImage: by its name, or by its first bytes."""
    if path.name.lower().endswith((".mha", ".mhd")):
        return True
    with path.open("rb") as file:
        return re.match(rb"(ObjectType|NDims)\s*=", file.read(64)) is not None


def read_metaimage_header(path: Path) -> ImageHeader:
    """Read and judge a header; no voxel is touched.

    Raises:
        InputError: ``not_an_image``, ``bad_header``, ``unsupported_format`` for voxels in several files,
            ``file_not_found`` for a data file that is not there, ``colour_image`` or ``not_three_dimensional``.
        OSError: The file cannot be read.
    """
    fields, length = _fields(path)
    return _Header(path, fields).image(length)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields by name in lower case, the last being where the voxels are; and where what follows begins."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "elementdatafile" not in fields:
            line = file.readline(_LONGEST_HEADER)
            name, sign, value = (part.strip() for part in line.decode("latin-1").partition("="))
            if line.strip() and (not sign or file.tell() > _LONGEST_HEADER):
                raise not_an_image(path)
            if not line.endswith(b"\n") and not (name == "ElementDataFile" and os.path.isfile(path.parent / value)):
                # Only what was begun as a MetaImage can be one cut short.
                raise truncated(path) if fields else not_an_image(path)
            if not line.strip():
                continue
            name = _SYNONYMS.get(name.lower(), name.lower())
            if fields.get(name, value) != value:
                raise bad_header(path, f"it says '{name[:40]}' twice")
            fields[name] = value
        return fields, file.tell()


class _Header:
    """Fields on their way to what they mean."""

    def __init__(self, path: Path, fields: dict[str, str]) -> None:
        self.path, self.fields = path, fields

    def image(self, length: int) -> ImageHeader:
        axes = self._integers("ndims", 1)[0]
        if not 2 <= axes <= _MOST_AXES:
            raise bad_header(self.path, f"it has {axes} dimensions (NDims)")
        shape = self._shape(axes)
        dtype = self._dtype()
        affine, placement = self._place(axes)
        doubt = remarked(self._remarks(), affine, shape)
        if placement.is_certain and not doubt.is_certain:
            placement = doubt
        packing: Packing = "raw"
        if self._flag("compresseddata"):
            packing = "deflate"
        elif not self._flag("binarydata"):
            packing = "text"
        data, offset = self._data(length, packing, math.prod(shape) * dtype.itemsize)
        return ImageHeader(self.path, data, packing, offset, 0, dtype, shape, affine, placement)

    def _remarks(self) -> dict[str, str]:
        """Return the remarks on the place by the names that they have in NRRD, from what was read as Latin-1."""
        found = {name: self.fields.get(name.lower(), "") for name in (PLACE_KEY, PLACE_AT_KEY)}
        return {name: text.encode("latin-1").decode("utf-8", "replace") for name, text in found.items()}

    def _shape(self, axes: int) -> tuple[int, int, int]:
        sizes = self._integers("dimsize", axes)
        if min(sizes) < 1:
            raise bad_header(self.path, f"its dimsize is '{self.fields['dimsize'][:40]}'")
        channels = self._integers("elementnumberofchannels", 1)[0] if "elementnumberofchannels" in self.fields else 1
        if channels in (3, 4) and self.fields.get("elementtype", "").upper() == "MET_UCHAR":
            raise colour(self.path)
        frames = channels * math.prod(sizes[3:])
        if frames != 1:
            raise several_frames(self.path, frames)
        i, j, k = (*sizes[:3], *[1] * (3 - axes))
        return k, j, i

    def _dtype(self) -> np.dtype:
        kind = self.fields.get("elementtype", "").upper()
        if kind not in _TYPES:
            raise bad_header(self.path, f"its ElementType is '{kind[:40]}', none of {', '.join(_TYPES)}")
        scaling = [self.fields.get(f"elementtointensityfunction{name}") for name in ("slope", "offset")]
        for text, neutral in zip(scaling, (1.0, 0.0), strict=True):
            # Written by none that is known, and passed over by ITK: which values are meant is not clear.
            if text is not None and text not in (f"{neutral:g}", f"{neutral:.1f}"):
                raise bad_header(self.path, "it gives a scaling (ElementToIntensityFunction), which readers pass over")
        return np.dtype(_TYPES[kind]).newbyteorder(">" if self._flag("binarydatabyteordermsb") else "<")

    def _place(self, axes: int) -> tuple[np.ndarray, Placement]:
        spatial = min(axes, 3)
        sizes_name = "elementspacing" if "elementspacing" in self.fields else "elementsize"
        names = {"offset": "where it begins", "transformmatrix": "which way its axes run"}
        lacking = [words for name, words in names.items() if name not in self.fields]
        lacking += ["how large its voxels are"] if sizes_name not in self.fields else []
        sizes = self._numbers(sizes_name, axes)[:spatial] if sizes_name in self.fields else np.ones(spatial)
        origin = self._numbers("offset", axes)[:spatial] if "offset" in self.fields else np.zeros(spatial)
        matrix = np.eye(axes)
        if "transformmatrix" in self.fields:
            # A row for each axis of the image.
            matrix = self._numbers("transformmatrix", axes * axes).reshape(axes, axes).T
        unit = self.fields.get("distanceunits", "mm").lower()
        if unit not in (*_UNITS_MM, "?", ""):
            raise bad_header(self.path, f"its DistanceUnits are '{unit[:20]}', none of {', '.join(_UNITS_MM)}")
        lps = np.eye(4)
        lps[:spatial, :spatial] = matrix[:spatial, :spatial] * sizes * _UNITS_MM.get(unit, 1.0)
        lps[:spatial, 3] = origin * _UNITS_MM.get(unit, 1.0)
        if not lacking:
            return WITHOUT_PLACE @ lps, CERTAIN
        sentence = f"'{self.path.name}' does not say {' and '.join(lacking)}. "
        if lacking == ["where it begins"]:
            sentence += "Its first voxel was taken to lie at the origin, as Slicer takes it; it may lie elsewhere."
        elif lacking == ["how large its voxels are"]:
            sentence += "1 mm was taken, as Slicer does; distances may be wrong."
        else:
            sentence += f"{TAKEN_AS_SLICER_DOES}; {MAY_BE_WRONG}."
        return WITHOUT_PLACE @ lps, Placement("guessed", sentence)

    def _data(self, length: int, packing: Packing, size: int) -> tuple[Path, int]:
        """Return the data file, and where in it the voxels begin."""
        name = self.fields["elementdatafile"]
        is_local = name.upper() == "LOCAL"
        if name.upper().startswith("LIST") or "%" in name:
            raise scattered_data(self.path)
        data = self.path if is_local else data_beside(self.path, name)
        skip = self._integers("headersize", 1)[0] if "headersize" in self.fields else 0
        if skip == -1:  # the voxels are the file's last bytes
            if packing != "raw":
                raise bad_header(self.path, "its HeaderSize is -1, though its voxels are packed")
            return data, max(data.stat().st_size - size, 0)
        if skip < 0:
            raise bad_header(self.path, f"its HeaderSize is {skip}")
        return data, max(skip, length) if is_local else skip

    def _flag(self, name: str) -> bool:
        return self.fields.get(name, "").lower() in ("true", "t", "1", "yes")

    def _integers(self, name: str, count: int) -> list[int]:
        words = self.fields.get(name, "").split()
        if len(words) != count or not all(re.fullmatch(r"-?\d{1,18}", word) for word in words):
            raise bad_header(self.path, f"its {name} is '{' '.join(words)[:40]}'")
        return [int(word) for word in words]

    def _numbers(self, name: str, count: int) -> np.ndarray:
        text = self.fields.get(name, "")
        try:
            numbers = np.array([float(word) for word in text.split()])
        except ValueError:
            numbers = np.array([])
        if numbers.shape != (count,) or not np.isfinite(numbers).all():
            raise bad_header(self.path, f"its {name} is '{text[:60]}'")
        return numbers
