"""What an image looks like when the patient moves while it is measured."""

from __future__ import annotations

import numpy as np

# Of the published data script: largest turn and shift, and how often the patient moves during a slice.
MOTION_DEGREES, MOTION_MM, MOTION_EVENTS = 10.0, 2.0, 3

# TorchIO's own choice: of the time between two movements, how far each may come too early or too late.
_IRREGULARITY = 0.3


def move_during_acquisition(image: np.ndarray, rng: np.random.Generator, spacing_mm: tuple[float, float]) -> np.ndarray:
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
