"""Images from files: NIfTI by nibabel, DICOM by pydicom, NRRD and MetaImage by SimpleITK.

Nothing is resampled or guessed. Every function returns voxels as float32, C-contiguous [K, J, I], and places them in
RAS millimetres.
"""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import cast

import nibabel
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from upgan.dicom import MODALITY, RAS_FROM_LPS, Image, itk_voxels, open_itk, read_tag
from upgan.errors import InputError
from upgan.images.dicom_headers import looks_like_dicom
from upgan.images.dicom_series import read_dicom_file, read_series
from upgan.refusals import colour, complex_valued, multi_frame, not_an_image, several_frames, truncated

# NIfTI's codes for metres and micrometres; anything else is taken as millimetres, as ITK and Slicer do.
NIFTI_UNITS_MM = {1: 1e3, 3: 1e-3}

# More than nibabel reads to tell a format.
FIRST_BYTES = 4096

# Deflate cannot compress better than this: a smaller file cannot hold the voxels its header promises.
BEST_COMPRESSION = 1032


def read_image(path: Path, series: str | None = None) -> Image:
    """Read an image file or a folder with a DICOM series.

    Args:
        path: .nii or .nii.gz; a NRRD, MetaImage or DICOM file of any name; or a folder of DICOM files.
        series: The Series Instance UID to read where a folder holds several.

    Returns:
        Voxels (float32, C-contiguous [K, J, I], rescaled; what a DICOM CT declares as padding below -1000 HU is set to
        -1024 HU), the 4x4 affine from (i, j, k) to RAS in mm, and the DICOM modality where the file says it.

    Raises:
        InputError: ``file_not_found``, ``not_readable``, ``empty_file``, ``not_an_image``, ``unsupported_format``,
            ``truncated_file``, ``not_three_dimensional``, ``multi_frame``, ``colour_image``, ``not_real_valued``,
            ``singular_affine``, ``too_large``; for DICOM also ``dicom_without_image``, ``missing_geometry``, and for
            folders ``no_dicom``, ``several_series``, ``no_such_series``, ``mixed_slices``, ``differing_copies`` and
            ``uneven_slices``.
    """
    # Path.exists would raise where a folder above may not be entered.
    if not os.path.exists(path):
        raise InputError("file_not_found", f"There is no file or folder '{path.name}'.", "Check the path.")
    try:
        if path.is_dir():
            return read_series(path, series)
        if path.stat().st_size == 0:
            raise InputError("empty_file", f"'{path.name}' is an empty file.", "Copy or export it again.")
        if looks_like_dicom(path):
            return read_dicom_file(path)
        return _read_nifti(path) if path.name.lower().endswith((".nii", ".nii.gz")) else _read_itk(path)
    except MemoryError as error:
        raise InputError(
            "too_large", f"'{path.name}' does not fit into the memory.", "Crop the image or close other programs."
        ) from error
    except OSError as error:
        raise InputError(
            "not_readable", f"'{path.name}' may not or cannot be read.", "Check the permission to read it and its disk."
        ) from error


# --- NIfTI ------------------------------------------------------------------------------------------------------------


def _read_nifti(path: Path) -> Image:
    image = _load_nifti(path)
    dtype, extra = image.get_data_dtype(), image.shape[3:]
    if dtype.fields is not None:
        raise colour(path)
    if dtype.kind == "c":
        raise complex_valued(path)
    if math.prod(extra) != 1:
        raise several_frames(path, math.prod(extra))
    # A header that promises too much would otherwise cost the memory before the file's end is found.
    room = path.stat().st_size * (BEST_COMPRESSION if path.name.lower().endswith(".gz") else 1)
    if math.prod(image.shape) * dtype.itemsize > room:
        raise truncated(path)
    proxy = cast(ArrayProxy, image.dataobj)
    try:
        stored = proxy.get_unscaled()
    except (EOFError, zlib.error, OSError, ValueError) as error:
        raise truncated(path) from error
    stored = stored.reshape((*image.shape[:3], *[1] * (3 - len(image.shape)))).T
    units = NIFTI_UNITS_MM.get(int(image.header["xyzt_units"]) & 7, 1.0)
    affine = np.diag([units, units, units, 1.0]) @ image.affine
    return _rescaled(stored, proxy.slope, proxy.inter), affine, None


def _rescaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Return float32 voxels [K, J, I]; nibabel would scale them in one float64 array of twice that size."""
    voxels = np.empty(stored.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # What becomes infinite or NaN is for callers to count.
        for target, part in zip(voxels, stored, strict=True):
            target[...] = part.astype(np.float64) * slope + intercept
    return voxels


def _load_nifti(path: Path) -> nibabel.Nifti1Pair:
    try:
        # A memory map would hold the file open, so that Windows could not replace it.
        image = nibabel.load(path, mmap=False)
    except (EOFError, zlib.error) as error:
        raise truncated(path) from error
    except (ImageFileError, HeaderDataError, WrapStructError, OSError, ValueError) as error:
        raise truncated(path) if _ends_in_header(path) else not_an_image(path) from error
    if not isinstance(image, nibabel.Nifti1Pair):
        raise not_an_image(path)
    return image


def _ends_in_header(path: Path) -> bool:
    """Tell whether a compressed file is cut within its first bytes, which nibabel reports as an unknown format."""
    try:
        with gzip.open(path) as file:
            file.read(FIRST_BYTES)
    except (EOFError, zlib.error):
        return True
    except gzip.BadGzipFile:
        return False
    return False


# --- Files that ITK reads ---------------------------------------------------------------------------------------------


def _read_itk(path: Path) -> Image:
    reader = open_itk(path)
    size, dimension = reader.GetSize(), reader.GetDimension()
    if reader.GetImageIO() == "GDCMImageIO" and math.prod(size[2:]) > 1:
        raise multi_frame(path)
    if math.prod(size[3:]) > 1:
        raise several_frames(path, math.prod(size[3:]))
    lps = np.eye(4)
    spatial = min(dimension, 3)
    direction = np.reshape(reader.GetDirection(), (dimension, dimension))[:spatial, :spatial]
    lps[:spatial, :spatial] = direction * np.array(reader.GetSpacing()[:spatial])
    lps[:spatial, 3] = reader.GetOrigin()[:spatial]
    if np.linalg.det(lps) == 0:  # ITK refuses it too, but would not say why.
        raise InputError(
            "singular_affine",
            f"The axes of '{path.name}' do not span three dimensions.",
            "Export the image again from the original DICOM files.",
        )
    voxels = itk_voxels(reader, path)
    shape = (*reversed(size[:3]),)
    return voxels.reshape((*[1] * (3 - len(shape)), *shape)), RAS_FROM_LPS @ lps, read_tag(reader, MODALITY) or None
