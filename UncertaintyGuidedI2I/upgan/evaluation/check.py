"""The comparison as a request: arrays from files, a reference on any grid, an answer that JSON knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from upgan.errors import InputError
from upgan.evaluation.comparison import compare
from upgan.evaluation.request import CheckArguments
from upgan.images.hounsfield import AIR_HU, HIGHEST_HU, hounsfield
from upgan.images.npy import load_voxels, save_voxels
from upgan.images.orientation import Reorientation
from upgan.images.placement import apart_mm
from upgan.images.resampling import Grid, Resampled, resample
from upgan.images.scope import scope_in
from upgan.images.volume import Volume
from upgan.progress import Progress

# Grids whose voxels lie closer together than this are the same grid, mm.
_SAME_PLACE_MM = 1e-3

# Less of the grid than this is worth a note.
_NEARLY_ALL = 0.999


def run_check(request: CheckArguments, progress: Progress) -> dict[str, Any]:
    """Compare a translated image, and its distribution where it is there, with a reference on any grid.

    Args:
        request: The image and the reference, on any grids, and how to compare them.
        progress: Told what comes next; what it raises ends the work.

    Returns:
        ``{"figures": [{"key", "name", "value", "unit"}], "mask", "data_range", "definition", "curves", "notes",
        "error"}``: what ``Comparison.to_json`` returns, and in ``error`` the path of image minus reference, float32
        [K, J, I] on the image's grid.

    Raises:
        InputError: ``unsure_place``, ``no_overlap``, ``no_body``, ``no_foreground``, ``nothing_to_compare``,
            ``unequal_maps``, ``transfer_failed`` and what ``Volume`` refuses.
        OutputError: ``disk_full`` or ``not_writable``.
    """
    unit = request.unit
    progress.tell(0.0, "reading")
    image = Volume(_read(request.image), np.array(request.ijk_to_ras, dtype=np.float64))
    reference = Volume(_read(request.reference), np.array(request.reference_ijk_to_ras, dtype=np.float64))
    places = [note for note in (request.image_placement_note, request.reference_placement_note) if note]
    if places and not _are_one_grid(image, reference) and not request.trust_guessed_places:
        raise InputError(
            "unsure_place",
            f"The reference would be resampled, but where the images lie is not certain. {' '.join(places)}",
            "Look how they lie; move what lies wrong with a transform, or have them compared as they lie.",
        )
    metal = 0
    if unit == "HU":
        metal = int(np.count_nonzero(reference.voxels > HIGHEST_HU))
        reference = Volume(hounsfield(reference.voxels), reference.ijk_to_ras)
    # Slices are axial from here on, however the image is stored: the body is filled in them, and one SSIM computed.
    axial = Reorientation.of(image.ijk_to_ras, "axial")
    maps = [None if path is None else _read(path) for path in (request.alpha, request.beta)]
    if any(values is not None and values.shape != image.voxels.shape for values in maps):
        raise InputError("unequal_maps", "Image, alpha and beta differ in size.", "Translate the image again.")
    alpha, beta = (None if values is None else axial.apply(values) for values in maps)
    standing = image.reoriented("axial")

    grid = Grid(standing.voxels.shape, standing.ijk_to_ras)
    outside = AIR_HU if unit == "HU" else 0.0
    found = resample(reference, grid, outside, progress.part(0.05, 0.25, "resampling the reference"))
    if not found.covered.any():
        raise InputError(
            "no_overlap",
            "The reference and the result lie at different places: they share no voxel.",
            "Register the reference to the input first, or choose the reference of this patient.",
        )
    progress.tell(0.25, "finding the body" if unit == "HU" else "finding the foreground")
    known = _known(standing.voxels, alpha, beta) & found.covered
    scope = scope_in(found.voxels, found.covered, axial.spacing[::-1], unit)
    dropped = int(np.count_nonzero(scope.mask & ~known))
    notes = [*places, *_notes(image, reference, found, dropped, metal)]
    scope = replace(scope, mask=scope.mask & known, notes=(*notes, *scope.notes))
    if not scope.mask.any():
        raise InputError(
            "nothing_to_compare",
            "Where the reference shows the patient, the result has no valid values.",
            "Choose the reference of this patient, or translate the image again.",
        )
    # Where one of them is not known both are air: the error map says 0 there, and no NaN reaches a window of the SSIM.
    ours = np.where(known, standing.voxels, np.float32(outside))
    theirs = np.where(known, found.voxels, np.float32(outside))
    comparison = compare(ours, alpha, beta, theirs, scope, unit, progress.part(0.35, 0.95))
    progress.tell(0.95, "writing the error map")
    path = request.output / "error.npy"
    save_voxels(path, axial.undo(comparison.error))
    progress.tell(1.0, "done")
    return {**comparison.to_json(), "error": str(path)}


def _read(path: Path) -> np.ndarray:
    try:
        return load_voxels(path, mapped=True)
    except (OSError, ValueError) as error:
        raise InputError(
            "transfer_failed", "The images did not reach the engine.", "Try again; check the temporary folder's disk."
        ) from error


def _known(image: np.ndarray, alpha: np.ndarray | None, beta: np.ndarray | None) -> np.ndarray:
    """Return where the result says something, boolean [K, J, I]: finite intensity, and α and β positive and finite."""
    known = np.isfinite(image)
    for values in (alpha, beta):
        if values is not None:
            known &= np.isfinite(values) & (values > 0)
    return known


def _notes(image: Volume, reference: Volume, found: Resampled, dropped: int, metal: int) -> list[str]:
    notes = []
    if any(found.smoothing_mm):
        size = " x ".join(f"{sigma:.2g}" for sigma in found.smoothing_mm)
        notes.append(
            f"The reference is finer than the result: it was smoothed (standard deviation {size} mm along its I, J "
            "and K axes) before it was resampled."
        )
    if not _are_one_grid(image, reference):
        notes.append("The reference was resampled onto the result's grid (linear interpolation).")
    share = float(found.covered.mean())
    if share < _NEARLY_ALL:
        notes.append(f"The reference covers {share:.1%} of the result's grid; the rest is not compared.")
    if metal:
        notes.append(f"{metal} voxels of the reference lie above {HIGHEST_HU:g} HU, as metal does; they count as that.")
    if dropped:
        notes.append(f"{dropped} voxels were left out because the result has no valid values there.")
    return notes


def _are_one_grid(image: Volume, reference: Volume) -> bool:
    shape = image.voxels.shape
    return shape == reference.voxels.shape and apart_mm(image.ijk_to_ras, reference.ijk_to_ras, shape) < _SAME_PLACE_MM
