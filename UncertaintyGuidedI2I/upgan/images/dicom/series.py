"""Folders of DICOM slices as one volume that lies where its own slices say. Nothing is resampled or guessed."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from upgan.errors import InputError
from upgan.images.axes import RAS_FROM_LPS
from upgan.images.dicom.headers import Header, looks_like_dicom, quiet, read_header
from upgan.images.dicom.pixels import check_pixels, quantity
from upgan.images.dicom.reader_process import ReaderProcess
from upgan.images.stored_voxels import room_for
from upgan.images.unreadable import several_frames, truncated

Image = tuple[np.ndarray, np.ndarray, str | None]

# Slices count as evenly spaced while they lie within 1 % of the gap, or 0.05 mm, of where they should.
GAP_TOLERANCE = 0.01
GAP_TOLERANCE_MM = 0.05

# Slices nearer than this to each other show the same place: at other times or with other settings.
SAME_PLACE_MM = 1e-3

# Direction cosines and relative pixel spacings of one series differ by rounding only.
SAME_GRID_TOLERANCE = 1e-4

# Objects with pixels that are about a series and no images of the patient's body in slices: segmentations and raw data,
# visible light and microscopy, radiotherapy's dose and projections.
ABOUT_A_SERIES = tuple(f"1.2.840.10008.5.1.4.1.1.{group}." for group in (66, 77, 481))

# What a download or copy in progress adds to a file's name.
UNFINISHED = re.compile(r"\.(part|partial|filepart|crdownload|download|tmp|aria2|!ut)$", re.IGNORECASE)
SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,6}$")
DICOM_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
HASH = re.compile(r"[0-9A-Fa-f-]{16,}")
# What may be shown of a header: a code, and numbers that name nobody.
MODALITY = re.compile(r"[A-Z]{2,10}")
UID = re.compile(r"[0-9.]{1,64}")
NUMBER = re.compile(r"\d+(\.\d+)*")

# How many files a message names.
NAMED = 3


# --- One file ---------------------------------------------------------------------------------------------------------


@quiet()
def read_dicom_file(path: Path) -> Image:
    """Read one DICOM file as a volume of one slice.

    Args:
        path: A regular file for which ``looks_like_dicom`` is true.

    Returns:
        See ``upgan.images.reading.read_image``.

    Raises:
        InputError: ``truncated_file``, ``unreadable_image``, ``dicom_without_image``, ``multi_frame``,
            ``colour_image``, ``not_three_dimensional``, ``unsupported_format`` or ``missing_geometry``.
        OSError: The file cannot be read.
    """
    header = read_header(path)
    if not header.whole:
        raise truncated(path)
    if header.pixels is None:
        raise InputError(
            "dicom_without_image", f"'{path.name}' is DICOM but holds no image.", "Choose the folder of the series."
        )
    return _volume(path, [header])


# --- Folders of DICOM slices ------------------------------------------------------------------------------------------


@quiet()
def read_series(folder: Path, series: str | None) -> Image:
    """Read the one series of a folder, or the one of several that has this Series Instance UID.

    Folders below it are not entered. Slices that are there twice (same SOP Instance UID, same place) are read once.

    Returns:
        See ``upgan.images.reading.read_image``.

    Raises:
        InputError: ``no_dicom``, ``several_series``, ``no_such_series``, ``truncated_file``, ``unreadable_image``,
            ``multi_frame``, ``colour_image``, ``unsupported_format``, ``missing_geometry``, ``mixed_slices``,
            ``differing_copies``, ``uneven_slices`` or ``not_three_dimensional``.
        OSError: The folder cannot be read.
    """
    headers, unreadable = _listed_files(folder)
    return _volume(folder, _slices_of_one_series(folder, headers, unreadable, series))


def _listed_files(folder: Path) -> tuple[list[Header], list[Path]]:
    """Return the headers of a folder's DICOM files, and what else is there, in order of names.

    Nothing but regular files is opened: a pipe would wait for ever. Folders are left out, unless their name ends as a
    file's does.
    """
    headers, others = [], []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = Path(entry.path)
            try:
                if entry.is_file() and looks_like_dicom(path):
                    headers.append(read_header(path))
                elif not entry.is_dir() or SUFFIX.search(entry.name):
                    others.append(path)
            except OSError:  # It may not be read, or links go round in a circle.
                others.append(path)
    return headers, others


def _slices_of_one_series(
    folder: Path, headers: Sequence[Header], unreadable: Sequence[Path], series: str | None
) -> list[Header]:
    """Return the headers of the one series, or of the one asked for, if all of its slices are there and whole."""
    found: dict[str, list[Header]] = {}
    with_pixels = [header for header in headers if header.pixels is not None]
    of_body = [header for header in with_pixels if not header.storage_class.startswith(ABOUT_A_SERIES)]
    wanted = [header for header in of_body if series in (None, header.text("SeriesInstanceUID"))]
    for header in of_body if wanted else with_pixels:
        found.setdefault(header.text("SeriesInstanceUID"), []).append(header)
    damaged = [header for header in headers if not header.whole]
    if not found:
        lost = [header.path for header in damaged if header.is_to_hold_an_image or not header.storage_class]
        lost += [path for path in unreadable if path.suffix.lower() in DICOM_SUFFIXES]
        if lost:
            raise _lost_slices(folder, lost)
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
    uid = next(iter(found)) if series is None else series
    slices = found[uid]
    classes = {header.storage_class for header in slices}
    lost = [
        header.path
        for header in damaged
        if header.storage_class in {"", *classes} and header.text("SeriesInstanceUID") in ("", uid)
    ]
    lost += lost_slices([header.path.name for header in slices], unreadable)
    if lost:
        raise _lost_slices(folder, lost)
    return slices


def _listed(found: dict[str, list[Header]]) -> str:
    """Describe series without anything that identifies the patient."""
    lines = []
    for uid, headers in found.items():
        # Not its description: people write names into it. A modality is a code, or somebody's text as well.
        modality = headers[0].text("Modality")
        kind = modality if MODALITY.fullmatch(modality) else "without modality"
        lines.append(f"{uid if UID.fullmatch(uid) else 'an invalid UID'} ({kind}, {len(headers)} files)")
    return "; ".join(lines)


# --- Slices that are not there ----------------------------------------------------------------------------------------


def lost_slices(names: Sequence[str], unreadable: Sequence[Path]) -> list[Path]:
    """Return the files of a folder that stand for slices of a series, though nothing of DICOM can be read from them.

    Interrupted copies and downloads leave files that are empty or full of zeros, that hold a web page or a pointer of
    Git LFS or git-annex, links to nothing, and so on. Their content says nothing, so that their names must: a file
    stands for a slice if its name differs from that of one of the slices by its numbers only (``IM-0001-0007.dcm``
    beside ``IM-0001-0012.dcm``; a UID counts as one number, and so does a hash), with what a download in progress adds
    left off. Other names (``Thumbs.db``, ``notes.txt``, ``007.json``, ``DICOMDIR``, ``dose.dcm``) are other files'.
    Where the names of the slices have no numbers, a file counts if it ends as DICOM files do. Hidden files do not
    count: macOS keeps one beside each file on foreign disks.

    Args:
        names: The file names of the slices that can be read.
        unreadable: Entries of the folder in which no DICOM was found.
    """
    forms = {_form(name) for name in names}
    numbered = any("#" in form for form in forms)
    lost = []
    for path in unreadable:
        finished = UNFINISHED.sub("", path.name)
        if path.name.startswith(".") or (finished != path.name and finished in names):
            continue
        if _form(finished) in forms if numbered else Path(finished).suffix.lower() in DICOM_SUFFIXES:
            lost.append(path)
    return lost


def _form(name: str) -> str:
    """Return a file's name with a mark in place of each number."""
    suffix = SUFFIX.search(name)
    stem, end = (name[: suffix.start()], suffix[0].lower()) if suffix else (name, "")
    return ("#" if HASH.fullmatch(stem) else NUMBER.sub("#", stem)) + end


def _lost_slices(folder: Path, lost: Sequence[Path]) -> InputError:
    named = ", ".join(f"'{path.name}'" + (" (a broken link)" if _leads_nowhere(path) else "") for path in lost[:NAMED])
    more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
    what = "1 slice" if len(lost) == 1 else f"{len(lost)} slices"
    are = "is" if len(lost) == 1 else "are"
    return InputError(
        "truncated_file",
        f"{what} in the folder '{folder.name}' {are} damaged, incomplete or not readable: {named}{more}.",
        "Copy, download or export the series again; files that do not belong to it go into another folder.",
    )


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not os.path.exists(path)


# --- From slices to a volume ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Slice:
    """One file of a series: where its first pixel lies and how its rows and columns run, in LPS mm."""

    header: Header
    position: np.ndarray
    directions: np.ndarray  # [2, 3]: along a row, along a column
    spacing: np.ndarray  # (along a row, along a column)
    size: tuple[int, int]  # (columns, rows)
    modality: str

    @property
    def height(self) -> float:
        return float(self.position @ np.cross(*self.directions))


def _volume(source: Path, headers: Sequence[Header]) -> Image:
    """Return the volume of whole slices that are to be of one series; the source is for messages."""
    slices = sorted((_slice(header) for header in headers), key=lambda s: s.height)
    _check_one_grid(source, slices)
    places = _without_copies(slices)
    first = slices[0]
    step = _slice_step(source, np.array([copies[0].position for copies in places]), np.cross(*first.directions))
    lps = np.eye(4)
    # The step between slices need not be perpendicular to them: this keeps the tilt of a gantry.
    lps[:3, :3] = np.column_stack([*(first.directions * first.spacing[:, None]), step])
    lps[:3, 3] = first.position
    return _voxels(source, places), RAS_FROM_LPS @ lps, first.modality or None


def _slice(header: Header) -> _Slice:
    check_pixels(header)
    try:
        directions = header.numbers("ImageOrientationPatient", 6).reshape(2, 3)
        position = header.numbers("ImagePositionPatient", 3)
        # DICOM names the distance between rows first.
        spacing = header.numbers("PixelSpacing", 2)[::-1]
    except ValueError as error:
        raise InputError(
            "missing_geometry",
            f"'{header.path.name}' does not say where its pixels lie.",
            "Choose a series of axial, coronal or sagittal slices, not a projection or a screenshot.",
        ) from error
    return _Slice(header, position, directions, spacing, header.size, header.text("Modality"))


def _without_copies(slices: Sequence[_Slice]) -> list[list[_Slice]]:
    """Return the slices in their order, each with its copies: same SOP Instance UID at the same place."""
    places: list[list[_Slice]] = []
    known: dict[tuple[str, bytes], list[_Slice]] = {}
    for one in slices:
        uid = one.header.text("SOPInstanceUID")
        copies = known.setdefault((uid, one.position.tobytes()), []) if uid else []
        if not copies:
            places.append(copies)
        copies.append(one)
    return places


def _voxels(source: Path, places: Sequence[Sequence[_Slice]]) -> np.ndarray:
    """Return the slices' pixels as float32 [K, J, I]."""
    with ReaderProcess() as reader:  # It starts only where a slice needs it.
        return _filled(source, places, reader)


def _filled(source: Path, places: Sequence[Sequence[_Slice]], reader: ReaderProcess) -> np.ndarray:
    columns, rows = places[0][0].size
    voxels = room_for((len(places), rows, columns))
    damaged = []
    for target, copies in zip(voxels, places, strict=True):
        filled = False
        for one in copies:
            try:
                # Each file has its own rescale slope (PET), so that each is read by itself.
                values = quantity(one.header, reader)
            except InputError as error:
                if error.code != "truncated_file" or source == one.header.path:
                    raise
                damaged.append(one.header.path)
                continue
            if filled and not np.array_equal(values, target, equal_nan=True):
                names = f"'{copies[0].header.path.name}' and '{one.header.path.name}'"
                raise InputError(
                    "differing_copies",
                    f"{names} claim to be the same slice and differ.",
                    "Keep one of the two in the folder.",
                )
            target[...] = values
            filled = True
    if damaged:
        raise _lost_slices(source, damaged)
    return voxels


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
        folder: The folder of the series, for the message.
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
