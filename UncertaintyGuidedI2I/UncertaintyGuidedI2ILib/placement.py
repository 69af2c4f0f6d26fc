"""How sure it is where a volume lies, as far as the file tells that it was loaded from."""

from __future__ import annotations

import itertools
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import slicer

from UncertaintyGuidedI2ILib.scene import attributeName, ijkToRAS, provenanceOf

if TYPE_CHECKING:
    from upgan.images.placement import Placement

# Of the files whose headers may leave the place open; DICOM says it, and what Slicer saved has it.
SUFFIXES = (".nii", ".nii.gz", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd")

# Where Slicer and the header put a volume may differ by rounding, mm.
SAME_MM = 1e-3


def placementOf(node: slicer.vtkMRMLScalarVolumeNode) -> Placement:
    """Return how sure the place of a volume is: that of its file, until the user moves it or saves it from Slicer.

    Slicer itself does not know: it keeps no codes, and shows a guess like any other place. So the header of the file
    is read again, and no voxel: some milliseconds, once for each file.
    """
    from upgan.images.placement import CERTAIN

    # Who put it under a transform has looked where it lies.
    if node.GetTransformNodeID():
        return CERTAIN
    ofResult = _ofResult(node)
    if ofResult is not None:
        return ofResult
    found = _ofFile(_file(node))
    if found is None:
        return CERTAIN
    placement, corners = found
    return placement if not node.GetModifiedSinceRead() or _areSamePlaces(corners, _corners(node)) else CERTAIN


def _corners(node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Return where the corner voxels lie, [8, 3], RAS mm."""
    return _cornersOf(ijkToRAS(node), node.GetImageData().GetDimensions() if node.GetImageData() else (1, 1, 1))


def _cornersOf(affine: np.ndarray, dimensions: tuple[int, ...]) -> np.ndarray:
    corners = np.array(list(itertools.product(*((0, count - 1) for count in dimensions))))
    return corners @ affine[:3, :3].T + affine[:3, 3]


def _areSamePlaces(ones: np.ndarray, others: np.ndarray) -> bool:
    """Tell whether two grids have the same corners, in any order: Slicer turns left-handed axes round on loading."""
    distances = np.linalg.norm(ones[:, None] - others[None], axis=2)
    return bool(distances.min(axis=1).max() < SAME_MM)


def _ofResult(node: slicer.vtkMRMLScalarVolumeNode) -> Placement | None:
    """Return what a run knew of its input; None for volumes that no run made."""
    from upgan.images.placement import CERTAIN, Placement

    certainty = node.GetAttribute(attributeName("placement"))
    if certainty not in ("guessed", "ambiguous"):
        return CERTAIN if certainty else None
    said = provenanceOf(node).get("placement_note", "")
    return Placement(certainty, said or "Where the input of the translation lies was not certain.")


def _file(node: slicer.vtkMRMLScalarVolumeNode) -> Path | None:
    storage = node.GetStorageNode()
    name = storage.GetFullNameFromFileName() if storage is not None else ""
    return Path(name) if name and name.lower().endswith(SUFFIXES) else None


def _ofFile(path: Path | None) -> tuple[Placement, np.ndarray] | None:
    if path is None:
        return None
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return _ofHeader(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _ofHeader(path: Path, modified: int, size: int) -> tuple[Placement, np.ndarray] | None:
    """Return what the header of a file in this state says, and its corners; None where nothing can be read from it."""
    from upgan.errors import InputError
    from upgan.images.headers import read_header
    from upgan.images.placement import Placement

    try:
        header = read_header(path)
    except (InputError, OSError):
        return None
    if header is None:
        return None
    # Without the forms: what Slicer saves, it writes in its own way.
    corners = _cornersOf(header.ijk_to_ras, header.shape[::-1])
    return Placement(header.placement.certainty, header.placement.sentence), corners
