"""Frozen phases: what they hand on to the phase that is trained, computed once for all steps of its stage."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from lightning_fabric import Fabric

from upgan.images.outline import Window
from upgan.networks.build import Network
from upgan.networks.in_plane import InPlaneGrid
from upgan.progress import Progress
from upgan.training.slices.handed_on import HandedOn


def keep_handed_on(
    handed_on: HandedOn, cascade: Network, phase: int, subjects: Sequence[str], fabric: Fabric, progress: Progress
) -> None:
    """Have all that a phase, index from 1, is given of those before it computed and kept; what is kept stays.

    The phases before answer as they will in use, on slices padded as the engine pads them, in the run's precision.

    Args:
        handed_on: Where it is kept.
        cascade: The networks on the device.
        phase: The index of the phase that is trained.
        subjects: Whose slices.
        fabric: The run's device and precision.
        progress: Told of each patient; what it raises ends the work, which can go on later.

    Raises:
        OutputError: What ``HandedOn.keep`` raises.
    """
    before = cascade.generators[:phase].eval()

    def compute(slices: np.ndarray) -> np.ndarray:
        rows, columns = slices.shape[1:]
        # They have the networks' pixels already; how large these are does not matter any more.
        grid = InPlaneGrid((rows, columns), Window.whole((rows, columns)), (rows, columns))
        a = fabric.to_device(torch.from_numpy(slices)[:, None])
        with torch.inference_mode(), fabric.autocast():
            maps: np.ndarray = grid.leave(cascade.handed_on(grid.enter(a), phase)).cpu().numpy()
        return maps

    weights = hashlib.sha256()
    for name, tensor in before.state_dict().items():
        weights.update(name.encode() + tensor.cpu().numpy().tobytes())
    handed_on.keep(subjects, compute, weights.hexdigest(), progress)
