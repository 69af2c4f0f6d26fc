"""The opening of every file that ITK reads. Nothing is resampled or guessed.

ITK and DICOM count towards the patient's left and back (LPS), so their affines are converted here.
"""

from pathlib import Path

import numpy as np
import SimpleITK

from upgan.errors import InputError
from upgan.images.dicom_headers import storage_class as _storage_class
from upgan.refusals import colour, complex_valued, not_an_image, several_frames, truncated

# ITK would print its warnings into the console of whoever calls; what matters is raised.
SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)

Image = tuple[np.ndarray, np.ndarray, str | None]

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

# ITK reads more formats, but those (TIFF, PNG, VTK, GIPL...) say no position or hide that they are cut short.
ITK_READERS = ("NrrdImageIO", "MetaImageIO", "GDCMImageIO")

MODALITY = "0008|0060"


# --- Files that ITK opens ---------------------------------------------------------------------------------------------


def open_itk(path: Path) -> SimpleITK.ImageFileReader:
    """Return a reader that knows the header; voxels are still on the disk."""
    io = SimpleITK.ImageFileReader.GetImageIOFromFileName(str(path))
    if not io:
        raise truncated(path) if _storage_class(path) else not_an_image(path)
    if io not in ITK_READERS:
        raise InputError(
            "unsupported_format",
            f"'{path.name}' is in a format that does not say reliably where its voxels lie.",
            "Load it into Slicer, check its position and spacing, and save it as NRRD or NIfTI.",
        )
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(io)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise not_an_image(path) from error
    pixel = SimpleITK.GetPixelIDValueAsString(reader.GetPixelIDValue())
    components = reader.GetNumberOfComponents()
    if "complex" in pixel:
        raise complex_valued(path)
    if components in (3, 4) and "8-bit unsigned" in pixel:
        raise colour(path)
    if components > 1:
        raise several_frames(path, components)
    return reader


def itk_voxels(reader: SimpleITK.ImageFileReader, path: Path) -> np.ndarray:
    """Return the voxels as float32, [K, J, I] or fewer dimensions, rescaled."""
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise truncated(path) from error
    with np.errstate(over="ignore"):
        return SimpleITK.GetArrayViewFromImage(image).astype(np.float32)


def read_tag(reader: SimpleITK.ImageFileReader, tag: str) -> str:
    """Return a DICOM tag's text, empty where the file does not have it."""
    return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""
