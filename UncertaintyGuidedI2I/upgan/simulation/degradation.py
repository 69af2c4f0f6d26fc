"""What makes a clean MR image worse: the inputs of the two MRI tasks of the paper, made from their targets."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from upgan.images.orientation import Plane, Reorientation
from upgan.images.volume import Volume

# Of the phase-encoding lines; 12.5-fold undersampling.
KEPT_LINES = 0.08

# Of the published data script: largest turn and shift, and how often the patient moves during a slice.
MOTION_DEGREES, MOTION_MM, MOTION_EVENTS = 10.0, 2.0, 3

# TorchIO's own choice: of the time between two movements, how far each may come too early or too late.
_IRREGULARITY = 0.3


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
        return np.stack([_move_during_acquisition(image, rng, spacing_mm) for image in slices])
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


def keep_central_lines(slices: np.ndarray) -> np.ndarray:
    """Keep the central round(0.08·H) of the H phase-encoding lines of k-space, at least one, and fill up with zeros.

    The mean is kept always. Of an even number, the line without counterpart is a negative one; the magnitude of a real
    image would be the same with the positive one.

    Args:
        slices: [N, H, W].

    Returns:
        Magnitudes, same shape, float32.
    """
    rows = slices.shape[-2]
    kept = max(1, round(KEPT_LINES * rows))
    lowest = -(kept // 2)
    # All frequencies along a line are kept, so that the transform along it would cancel out.
    spectrum = np.fft.fft(slices, axis=-2)
    line = np.fft.fftfreq(rows, 1 / rows).round()
    spectrum[..., (line < lowest) | (line >= lowest + kept), :] = 0
    return np.abs(np.fft.ifft(spectrum, axis=-2)).astype(np.float32)


def _move_during_acquisition(
    image: np.ndarray, rng: np.random.Generator, spacing_mm: tuple[float, float]
) -> np.ndarray:
    """Let the patient turn and shift within the plane between the lines of a slice [H, W]; magnitude, float32.

    The artefact is TorchIO's (Shaw et al. 2019): the lines come in their order from the image at rest and at each
    position, the middle ones at rest. Its RandomMotion, which the published data script ran on whole volumes, is no use
    on slices: it mixes positions along the last axis only, where a two-dimensional image has one element, so that it
    comes out moved and sharp. So its parameters are drawn here as it draws them, in the plane only, and from ``rng``
    instead of PyTorch's global state.
    """
    import torch
    import torchio

    angles = rng.uniform(-MOTION_DEGREES, MOTION_DEGREES, MOTION_EVENTS)
    shifts = rng.uniform(-MOTION_MM, MOTION_MM, (MOTION_EVENTS, 2))
    step = 1 / (MOTION_EVENTS + 1)
    times = step * (np.arange(1, MOTION_EVENTS + 1) + rng.uniform(-_IRREGULARITY, _IRREGULARITY, MOTION_EVENTS))
    nothing = np.zeros((MOTION_EVENTS, 1))
    motion = torchio.Motion(
        degrees=np.hstack([angles[:, None], nothing, nothing]),
        translation=np.hstack([nothing, shifts]),
        times=times,
        image_interpolation="linear",
    )
    # Axes of the tensor: channel, through the plane, columns, rows. TorchIO turns about the origin of the world.
    rows, columns = image.shape
    affine = np.diag([1.0, spacing_mm[1], spacing_mm[0], 1.0])
    affine[1:3, 3] = [-(columns - 1) / 2 * spacing_mm[1], -(rows - 1) / 2 * spacing_mm[0]]
    tensor = torch.from_numpy(np.ascontiguousarray(image.T, dtype=np.float32))[None, None]
    with torch.random.fork_rng(devices=[]):  # Every transform of TorchIO draws whether to act at all.
        moved = motion(torchio.ScalarImage(tensor=tensor, affine=affine))
    magnitude: np.ndarray = moved.data[0, 0].abs().numpy().T
    return magnitude


Degradation = Literal["none", "central_lines", "motion"]
