"""The header of an image file, whichever of the formats that are read here it is in."""

from __future__ import annotations

from pathlib import Path

from upgan.images.formats.metaimage import is_metaimage, read_metaimage_header
from upgan.images.formats.nifti import is_nifti, read_nifti_header
from upgan.images.formats.nrrd import MAGIC as NRRD_MAGIC
from upgan.images.formats.nrrd import read_nrrd_header
from upgan.images.stored_voxels import ImageHeader


def read_header(path: Path) -> ImageHeader | None:
    """Return the header of a NIfTI, NRRD or MetaImage file, None for others: a matter of milliseconds.

    Args:
        path: NIfTI is known by its name, the others also by their first bytes.

    Raises:
        InputError: What is wrong with the header, see ``upgan.images.reading.read_image``.
        OSError: The file cannot be read.
    """
    if is_nifti(path):
        return read_nifti_header(path)
    with path.open("rb") as file:
        is_nrrd = file.read(len(NRRD_MAGIC)) == NRRD_MAGIC
    if is_nrrd:
        return read_nrrd_header(path)
    return read_metaimage_header(path) if is_metaimage(path) else None
