"""What makes a clean MR image worse: the inputs of the two MRI tasks of the paper, made from their targets."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from upgan.images.orientation import Plane, Reorientation
from upgan.images.volume import Volume
from upgan.simulation.kspace import keep_central_lines
from upgan.simulation.motion import move_during_acquisition

Degradation = Literal["none", "central_lines", "motion"]


def degrade_slices(
    slices: np.ndarray, kind: Degradation, rng: np.random.Generator, spacing_mm: tuple[float, float]
) -> np.ndarray:
    """Degrade slices, each on its own; rows are the phase-encoding direction.

    Args:
        slices: Real intensities [N, H, W], any scale: whatever they are multiplied by, the result is too.
        kind: central_lines or motion; ``none`` hands them through.
        rng: What random motion is drawn from; nothing else is.
        spacing_mm: Distance of rows and of columns.

    Returns:
        Magnitudes, [N, H, W] float32.
    """
    if kind == "central_lines":
        return keep_central_lines(slices)
    if kind == "motion":
        return np.stack([move_during_acquisition(image, rng, spacing_mm) for image in slices])
    return slices


def degrade_volume(volume: Volume, kind: Degradation, plane: Plane, seed: int) -> Volume:
    """Degrade a volume slice by slice in a plane; the result lies on the volume's own grid.

    Args:
        volume: A clean image, any orientation.
        kind: central_lines or motion.
        plane: The plane of the slices; rows as a radiologist views them are the phase-encoding direction.
        seed: The same seed gives the same image; each slice has a motion of its own.
    """
    layout = Reorientation.of(volume.ijk_to_ras, plane)
    made = degrade_slices(layout.apply(volume.voxels), kind, np.random.default_rng(seed), layout.in_plane_spacing)
    return replace(volume, voxels=np.ascontiguousarray(layout.undo(made)))
