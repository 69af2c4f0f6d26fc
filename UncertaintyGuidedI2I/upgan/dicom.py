"""Folders of DICOM slices, and the opening of every file that ITK reads. Nothing is resampled or guessed.

ITK and DICOM count towards the patient's left and back (LPS), so their affines are converted here.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK

from upgan.errors import InputError
from upgan.refusals import colour, complex_valued, multi_frame, not_an_image, several_frames, truncated

# ITK would print its warnings into the console of whoever calls; what matters is raised.
SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)

Image = tuple[np.ndarray, np.ndarray, str | None]

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

# ITK reads more formats, but those (TIFF, PNG, VTK, GIPL...) say no position or hide that they are cut short.
ITK_READERS = ("NrrdImageIO", "MetaImageIO", "GDCMImageIO")

# Slices count as evenly spaced while they lie within 1 % of the gap, or 0.05 mm, of where they should.
GAP_TOLERANCE = 0.01
GAP_TOLERANCE_MM = 0.05

# Slices nearer than this to each other show the same place: at other times or with other settings.
SAME_PLACE_MM = 1e-3

# Direction cosines and relative pixel spacings of one series differ by rounding only.
SAME_GRID_TOLERANCE = 1e-4

MODALITY, DESCRIPTION = "0008|0060", "0008|103e"
POSITION, ORIENTATION, PIXEL_SPACING = "0020|0032", "0020|0037", "0028|0030"


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


# --- Folders of DICOM slices ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Slice:
    """One file of a series: where its first pixel lies and how its rows and columns run, in LPS mm."""

    path: Path
    position: np.ndarray
    directions: np.ndarray  # [2, 3]: along a row, along a column
    spacing: np.ndarray  # (along a row, along a column)
    size: tuple[int, int]  # (columns, rows)
    modality: str

    @property
    def height(self) -> float:
        return float(self.position @ np.cross(*self.directions))


def read_series(folder: Path, series: str | None) -> Image:
    """Read the one series of a folder, or the one of several that has this Series Instance UID.

    Returns:
        See ``upgan.reading.read_image``.

    Raises:
        InputError: ``no_dicom``, ``several_series``, ``no_such_series``, ``truncated_file``, ``multi_frame``,
            ``missing_geometry``, ``mixed_slices``, ``uneven_slices`` or ``not_three_dimensional``.
    """
    files = _series_files(folder, series)
    slices = sorted((_read_slice(file) for file in files), key=lambda s: s.height)
    _check_one_grid(folder, slices)
    step = _slice_step(folder, np.array([s.position for s in slices]), np.cross(*slices[0].directions))
    first = slices[0]
    lps = np.eye(4)
    # The step between slices need not be perpendicular to them: this keeps the tilt of a gantry.
    lps[:3, :3] = np.column_stack([*(first.directions * first.spacing[:, None]), step])
    lps[:3, 3] = first.position
    voxels = np.empty((len(slices), first.size[1], first.size[0]), np.float32)
    for target, source in zip(voxels, slices, strict=True):
        # Each file has its own rescale slope (PET), so that each is read by itself.
        target[...] = itk_voxels(open_itk(source.path), source.path).reshape(target.shape)
    return voxels, RAS_FROM_LPS @ lps, first.modality or None


def _series_files(folder: Path, series: str | None) -> list[Path]:
    """Return the files of the one series, or of the one asked for."""
    found = {
        uid: [Path(name) for name in SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)]
        for uid in SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    }
    if not found:
        raise InputError(
            "no_dicom",
            f"The folder '{folder.name}' holds no DICOM images.",
            "Choose the folder that directly holds the slices of one series.",
        )
    if series is None and len(found) > 1:
        raise InputError(
            "several_series",
            f"The folder '{folder.name}' holds {len(found)} series: {_listed(found)}.",
            "Name the series to read, or put it into a folder of its own.",
        )
    if series is not None and series not in found:
        raise InputError(
            "no_such_series",
            f"The folder '{folder.name}' holds no series {series}, but: {_listed(found)}.",
            "Name one of these.",
        )
    files = found[next(iter(found)) if series is None else series]
    _check_all_slices_are_whole(folder, files, {file.name for names in found.values() for file in names})
    return files


def _listed(found: dict[str, list[Path]]) -> str:
    """Describe series without anything that identifies the patient."""
    lines = []
    for uid, files in found.items():
        description = read_tag(open_itk(files[0]), DESCRIPTION).encode("ascii", "replace").decode()
        lines.append(f"{uid} ({description or 'without description'}, {len(files)} files)")
    return "; ".join(lines)


def _check_all_slices_are_whole(folder: Path, files: Sequence[Path], readable: set[str]) -> None:
    """Refuse a folder with damaged slices, which GDCM leaves out without a word."""
    wanted = _storage_class(files[0])
    if wanted is None:
        return
    others = [file for file in folder.iterdir() if file.is_file() and file.name not in readable]
    damaged = sum(_storage_class(file) == wanted for file in others)
    if damaged:
        raise InputError(
            "truncated_file",
            f"{damaged} DICOM images in the folder '{folder.name}' are damaged or incomplete.",
            "Export the series again.",
        )


def _storage_class(path: Path) -> bytes | None:
    """Return the DICOM storage class from the file's first bytes, which outlive most damage; None if it is no DICOM."""
    with path.open("rb") as file:
        head = file.read(1024)
    if head[128:132] != b"DICM":
        return None
    element = re.search(rb"\x02\x00\x02\x00UI(..)", head, re.DOTALL)
    if element is None:
        return b""
    return head[element.end() :][: int.from_bytes(element[1], "little")].strip(b"\0")


def _read_slice(path: Path) -> _Slice:
    reader = open_itk(path)
    if math.prod(reader.GetSize()[2:]) > 1:
        raise multi_frame(path)
    try:
        directions = np.reshape(_numbers(reader, ORIENTATION, 6), (2, 3))
        position = _numbers(reader, POSITION, 3)
        # DICOM names the distance between rows first.
        spacing = _numbers(reader, PIXEL_SPACING, 2)[::-1]
    except ValueError as error:
        raise InputError(
            "missing_geometry",
            f"'{path.name}' does not say where its pixels lie.",
            "Choose a series of axial, coronal or sagittal slices, not a projection or a screenshot.",
        ) from error
    return _Slice(path, position, directions, spacing, reader.GetSize()[:2], read_tag(reader, MODALITY))


def _numbers(reader: SimpleITK.ImageFileReader, tag: str, count: int) -> np.ndarray:
    numbers = np.array([float(part) for part in read_tag(reader, tag).split("\\")])
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(tag)
    return numbers


def _check_one_grid(folder: Path, slices: Sequence[_Slice]) -> None:
    first = slices[0]
    for other in slices[1:]:
        if (
            other.size != first.size
            or other.modality != first.modality
            or np.abs(other.directions - first.directions).max() > SAME_GRID_TOLERANCE
            or np.abs(other.spacing / first.spacing - 1).max() > SAME_GRID_TOLERANCE
        ):
            raise InputError(
                "mixed_slices",
                f"The slices in '{folder.name}' differ in orientation, size, pixel spacing or modality.",
                "Load the folder through Slicer's DICOM module and translate one of the volumes it offers.",
            )


def _slice_step(folder: Path, positions: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Return the vector from each slice to the next.

    Args:
        folder: For the message.
        positions: [slices, 3] in mm, sorted along the normal.
        normal: Unit normal of the slices, used when there is only one.

    Raises:
        InputError: ``uneven_slices``, or ``not_three_dimensional`` if several slices lie at every position.
    """
    if len(positions) == 1:
        return normal
    gaps = np.diff(positions, axis=0)
    step = gaps.mean(axis=0)
    tolerance = max(GAP_TOLERANCE * float(np.linalg.norm(step)), GAP_TOLERANCE_MM)
    places = 1 + int(np.count_nonzero(gaps @ normal > SAME_PLACE_MM))
    if len(positions) > places and len(positions) % places == 0:
        raise several_frames(folder, len(positions) // places)
    # Small gaps of one sign would add up unseen; so the positions are held to the straight line too.
    expected = positions[0] + np.arange(len(positions))[:, None] * step
    off = np.concatenate([gaps - step, positions - expected])
    if np.linalg.norm(off, axis=1).max() > tolerance:
        distances = np.linalg.norm(gaps, axis=1)
        raise InputError(
            "uneven_slices",
            f"The slices in '{folder.name}' are {distances.min():.2f} to {distances.max():.2f} mm apart.",
            "Load the folder through Slicer's DICOM module, which regularises it, and translate the loaded volume.",
        )
    return step
