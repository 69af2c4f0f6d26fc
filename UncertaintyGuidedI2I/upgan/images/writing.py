"""Images to files, whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import SimpleITK
from nibabel.spatialimages import HeaderDataError
from numpy.typing import DTypeLike

from upgan.errors import OutputError
from upgan.files import atomically, refusal
from upgan.images.axes import RAS_FROM_LPS
from upgan.images.nifti_forms import decide
from upgan.images.placement import CERTAIN, Placement, are_one_place, mark_of, remarks_of

if TYPE_CHECKING:
    from upgan.images.volume import Volume

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
DTYPES = ("uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")


def write_image(
    voxels: np.ndarray, ijk_to_ras: np.ndarray, path: Path, dtype: np.dtype, placement: Placement = CERTAIN
) -> None:
    """Write an image under a temporary name beside its place and move it there when it is complete.

    It is readable by this user only, for it may show a patient.

    Args:
        voxels: The voxels, real numbers, [K, J, I].
        ijk_to_ras: The affine from the voxels' indices to RAS, 4x4, mm; shear is kept.
        path: The image's path, which ends in one of ``SUFFIXES``.
        dtype: One of ``DTYPES``; integer types round and clip, and NaN becomes 0.
        placement: How sure ``ijk_to_ras`` is: NIfTI repeats its forms as long as they are this affine's. Where it is
            not certain and no form says so, the header has a remark that ``read_image`` understands.

    Raises:
        OutputError: ``unsupported_format``, ``unsupported_dtype``, ``not_writable``, ``disk_full``,
            ``out_of_memory`` or ``not_written``.
    """
    suffix = suffix_of(path)
    if dtype.name not in DTYPES:
        raise OutputError(
            "unsupported_dtype", f"Voxels cannot be written as {dtype.name}.", f"Choose one of {', '.join(DTYPES)}."
        )
    try:
        # The suffix tells the libraries which format to write; by themselves they make files that all may read.
        with atomically(path, suffix=suffix, private=True) as temporary:
            # ITK would take foreign byte order for its own.
            data = _converted(voxels, dtype.newbyteorder("="))
            if suffix.startswith(".nii"):
                _write_nifti(data, ijk_to_ras, temporary, placement)
            else:
                _write_itk(data, ijk_to_ras, temporary, placement)
    except (OSError, RuntimeError, HeaderDataError, MemoryError) as error:
        raise _explained(error, path, voxels.size * dtype.itemsize) from error


def suffix_of(path: Path) -> str:
    """Return the one of ``SUFFIXES`` that a path ends in, in lower case.

    Raises:
        OutputError: ``unsupported_format``.
    """
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    raise OutputError(
        "unsupported_format",
        f"Images cannot be written to '{path.name}'.",
        f"Choose a name that ends in one of {', '.join(SUFFIXES)}.",
    )


def _converted(voxels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the voxels in another type, C-contiguous; slice by slice, as float64 holds every integer type here."""
    if dtype.kind == "f" or voxels.dtype == dtype:
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(voxels, dtype=dtype)
    limits = np.iinfo(dtype)
    result = np.empty(voxels.shape, dtype)
    for target, part in zip(result, voxels, strict=True):
        exact = np.nan_to_num(part.astype(np.float64), nan=0.0, posinf=limits.max, neginf=limits.min)
        target[...] = np.clip(np.rint(exact), limits.min, limits.max)
    return result


def _write_nifti(data: np.ndarray, ijk_to_ras: np.ndarray, path: Path, placement: Placement) -> None:
    image = nibabel.Nifti1Image(data.T, None, dtype=data.dtype)
    image.header.set_xyzt_units("mm")
    forms = placement.forms_of(ijk_to_ras)
    if forms is not None:
        forms.write_to(image.header)
    else:
        image.header.set_sform(ijk_to_ras, code=1)
        image.header.set_qform(ijk_to_ras, code=1)
        # A quaternion cannot hold shear; code 0 tells readers to leave it alone.
        if not are_one_place(image.header.get_qform(), ijk_to_ras, data.shape):
            image.header["qform_code"] = 0
    # A mark would outlive a correction of forms that say it themselves.
    if forms is None or decide(forms, data.shape, path.name)[1].is_certain:
        image.header["descrip"] = mark_of(placement)
    image.to_filename(path)


def opens_as_nifti(volume: Volume) -> bool:
    """Tell whether ITK, and with it Slicer, opens a NIfTI file of an image: none with slanted axes.

    Forms that were copied from a file are taken to open as well as that did.
    """
    if volume.placement.forms_of(volume.ijk_to_ras) is not None:
        return True
    header = nibabel.Nifti1Header()
    header.set_qform(volume.ijk_to_ras)
    return are_one_place(header.get_qform(), volume.ijk_to_ras, volume.voxels.shape)


def _write_itk(data: np.ndarray, ijk_to_ras: np.ndarray, path: Path, placement: Placement) -> None:
    lps = RAS_FROM_LPS @ ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(data)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    for name, remark in remarks_of(placement, ijk_to_ras).items():
        # A remark may quote the name of a file that is not UTF-8.
        image.SetMetaData(name, remark.encode("utf-8", "backslashreplace").decode())
    write_by_itk(image, path, is_compressed=path.suffix == ".nrrd")


def write_by_itk(image: SimpleITK.Image, path: Path, *, is_compressed: bool) -> None:
    """Write an image of ITK's to any path: one that is no UTF-8 would end the process, if it came to ITK.

    Raises:
        RuntimeError: It cannot be written; ITK does not say why.
        OSError: The folder through which it goes, or the file at its path, cannot be written.
    """
    if _is_utf8(path):
        SimpleITK.WriteImage(image, str(path), useCompression=is_compressed)
        return
    with tempfile.TemporaryDirectory(prefix="upgan-") as folder:
        elsewhere = Path(folder, f"image{path.suffix}")
        if not _is_utf8(elsewhere):
            raise RuntimeError("neither the folder nor the temporary one has a name that ITK can write to")
        SimpleITK.WriteImage(image, str(elsewhere), useCompression=is_compressed)
        shutil.copyfile(elsewhere, path)


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _tells_of_memory(error: RuntimeError) -> bool:
    """Tell what ITK says where it finds no memory; its errors are of one type."""
    text = str(error).lower()
    return any(sign in text for sign in ("memory", "bad_alloc", "bad alloc"))


def _explained(error: Exception, path: Path, needed: int) -> OutputError:
    """Say why an image was not written; SimpleITK does not, so that the folder and its disk are asked."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _tells_of_memory(error)):
        return OutputError(
            "out_of_memory",
            f"There is too little memory to write '{path.name}'.",
            "Close other programs, keep the last phase only, or crop the image.",
        )
    if not isinstance(error, OSError):
        error = _reason(path.parent, needed) or error
    code = "" if isinstance(error, OSError) else "not_written"
    remedy = "Free some space, or choose another name, another format, or another folder, which must be there."
    return refusal(error, f"'{path.name}'", remedy, code)


def _reason(folder: Path, needed: int) -> OSError | None:
    """Return the error with which the system would refuse so many bytes in a folder; None where it takes them."""
    if not folder.is_dir():
        number = errno.ENOENT
    elif not os.access(folder, os.W_OK):
        number = errno.EACCES
    elif shutil.disk_usage(folder).free < needed:
        number = errno.ENOSPC
    else:
        return None
    return OSError(number, os.strerror(number))


def write_volume(volume: Volume, path: str | Path, *, dtype: DTypeLike = np.float32) -> None:
    """Write an image whole or not at all.

    A NIfTI file repeats the qform, sform and codes of the one that the image, or the input it was made of, came from.

    Args:
        volume: The image.
        path: The path to write to, ending in .nii.gz, .nii, .nrrd or .mha; an existing file is replaced.
        dtype: Type in the file; for an integer type values are rounded and clipped to its range and NaN becomes 0.

    Raises:
        OutputError: What ``upgan.images.writing.write_image`` raises.

    Example:
        >>> from upgan import read_volume, write_volume
        >>> write_volume(read_volume("pet.nii.gz"), "pet.nrrd")  # on the same grid
    """
    write_image(volume.voxels, volume.ijk_to_ras, Path(path), np.dtype(dtype), volume.placement)
