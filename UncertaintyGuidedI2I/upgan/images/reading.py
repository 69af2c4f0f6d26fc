"""Images from files: NIfTI, NRRD and MetaImage by headers of our own, DICOM by pydicom; see ``upgan.images``.

Nothing is resampled. Every function returns voxels as float32, C-contiguous [K, J, I], and places them in RAS
millimetres.
"""

import os
from pathlib import Path

import numpy as np

from upgan.errors import InputError
from upgan.images.dicom.headers import looks_like_dicom
from upgan.images.dicom.series import read_dicom_file, read_series
from upgan.images.formats.headers import read_header
from upgan.images.placement import CERTAIN, Placement
from upgan.images.unreadable import not_an_image
from upgan.images.volume import Volume

PlacedImage = tuple[np.ndarray, np.ndarray, str | None, Placement]

# First bytes of formats that say no position, or not reliably: PNG, TIFF, JPEG, GIF, VTK, HDF5 and MINC.
UNPLACED_FORMATS = (b"\x89PNG", b"II*\0", b"MM\0*", b"\xff\xd8\xff", b"GIF8", b"# vtk DataFile", b"\x89HDF", b"CDF")


def read_image(path: Path, series: str | None = None) -> PlacedImage:
    """Read an image file or a folder with a DICOM series.

    Args:
        path: .nii, .nii.gz or the .hdr of a NIfTI pair; a NRRD, MetaImage or DICOM file of any name; or a folder of
            DICOM files.
        series: The Series Instance UID to read where a folder holds several.

    Returns:
        Voxels (float32, C-contiguous [K, J, I], rescaled; what a DICOM CT declares as padding below air is air,
        -1000 HU), the 4x4 affine from (i, j, k) to RAS in mm, the DICOM modality where the file says it, and how sure
        its place is.

    Raises:
        InputError: ``file_not_found``, ``not_readable``, ``empty_file``, ``not_an_image``, ``unsupported_format``,
            ``bad_header``, ``truncated_file``, ``not_three_dimensional``, ``multi_frame``, ``colour_image``,
            ``not_real_valued``, ``singular_affine``, ``too_large``; for DICOM also ``dicom_without_image``,
            ``unreadable_image``, ``missing_geometry``, and for folders ``no_dicom``, ``several_series``,
            ``no_such_series``, ``mixed_slices``, ``differing_copies`` and ``uneven_slices``.
    """
    # Path.exists would raise where a folder above may not be entered.
    if not os.path.exists(path):
        raise InputError("file_not_found", f"There is no file or folder '{path.name}'.", "Check the path.")
    try:
        if path.is_dir():
            return *read_series(path, series), CERTAIN
        if path.stat().st_size == 0:
            raise InputError("empty_file", f"'{path.name}' is an empty file.", "Copy or export it again.")
        header = read_header(path)
        if header is not None:
            return header.voxels(), header.ijk_to_ras, None, header.placement
        if looks_like_dicom(path):
            return *read_dicom_file(path), CERTAIN
        raise _unknown(path)
    except MemoryError as error:
        raise InputError(
            "too_large", f"'{path.name}' does not fit into the memory.", "Crop the image or close other programs."
        ) from error
    except OSError as error:
        raise InputError(
            "not_readable", f"'{path.name}' may not or cannot be read.", "Check the permission to read it and its disk."
        ) from error


def _unknown(path: Path) -> InputError:
    with path.open("rb") as file:
        head = file.read(max(map(len, UNPLACED_FORMATS)))
    if head.startswith(UNPLACED_FORMATS):
        return InputError(
            "unsupported_format",
            f"'{path.name}' is in a format that does not say reliably where its voxels lie.",
            "Load it into Slicer, check its position and spacing, and save it as NRRD or NIfTI.",
        )
    return not_an_image(path)


def read_volume(path: str | Path, *, series: str | None = None) -> Volume:
    """Read an image file or a folder holding a DICOM series.

    Args:
        path: NIfTI, NRRD, MetaImage, DICOM or another format that ITK knows; or a folder of DICOM files.
        series: The Series Instance UID to read from a folder that holds several.

    Returns:
        The image with float32 voxels, C-contiguous [K, J, I]; rescale slopes and intercepts are applied, NaN kept.

    Raises:
        InputError: What ``upgan.images.reading.read_image`` and ``Volume`` refuse.

    Example:
        >>> from upgan import read_volume
        >>> pet = read_volume("pet.nii.gz")
        >>> pet.voxels.shape, pet.spacing.tolist()  # [K, J, I]; mm along I, J and K
        ((4, 56, 48), [4.0, 4.0, 12.0])
    """
    return Volume(*read_image(Path(path), series))
