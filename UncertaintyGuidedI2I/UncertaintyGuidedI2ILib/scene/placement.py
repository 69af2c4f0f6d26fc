"""How sure it is where a volume lies, as far as the file tells that it was loaded from."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import slicer

from UncertaintyGuidedI2ILib.scene.nodes import attributeName, ijkToRAS, provenanceOf

if TYPE_CHECKING:
    from upgan.images.placement import Placement

# Of the files whose headers may leave the place open; DICOM says it, and what Slicer saved has it.
SUFFIXES = (".nii", ".nii.gz", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd")


def placementOf(node: slicer.vtkMRMLScalarVolumeNode) -> Placement:
    """Return how sure the place of a volume is: that of its file, until the user moves it or saves it from Slicer.

    Slicer itself does not know: it keeps no codes, and shows a guess like any other place. So the header of the file
    is read again, and no voxel: some milliseconds, once for each file.
    """
    from upgan.images.placement import CERTAIN, have_same_corners

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
    return placement if not node.GetModifiedSinceRead() or have_same_corners(corners, _corners(node)) else CERTAIN


def _corners(node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Return where the centres of the corner voxels lie, [8, 3], RAS in mm."""
    from upgan.images.placement import corners_of

    return corners_of(ijkToRAS(node), _shape(node))


def _shape(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[int, ...]:
    return node.GetImageData().GetDimensions()[::-1] if node.GetImageData() else (1, 1, 1)


def _ofResult(node: slicer.vtkMRMLScalarVolumeNode) -> Placement | None:
    """Return what a translation knew of its input, until the result is moved; None for any other volume."""
    from upgan.images.placement import CERTAIN, PLACE_AT_KEY, PLACE_KEY, Placement, remarked

    certainty = node.GetAttribute(attributeName("placement"))
    if certainty not in ("guessed", "ambiguous"):
        return CERTAIN if certainty else None
    at = node.GetAttribute(PLACE_AT_KEY)
    if at and remarked({PLACE_KEY: f"{certainty}: ", PLACE_AT_KEY: at}, ijkToRAS(node), _shape(node)).is_certain:
        return CERTAIN
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
    from upgan.images.formats.headers import read_header
    from upgan.images.placement import Placement, corners_of

    try:
        header = read_header(path)
    except (InputError, OSError):
        return None
    if header is None:
        return None
    # Without the forms: what Slicer saves, it writes in its own way.
    corners = corners_of(header.ijk_to_ras, header.shape)
    return Placement(header.placement.certainty, header.placement.sentence), corners
