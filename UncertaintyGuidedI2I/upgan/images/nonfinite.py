"""NaN and infinity in an image: counted, and refused or replaced by a number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from upgan.errors import InputError
from upgan.images.volume import Volume


def count_nonfinite(voxels: np.ndarray) -> tuple[int, int]:
    """Count NaN and infinite voxels, one slice at a time to spare memory.

    Args:
        voxels: Real numbers, [K, ...].

    Returns:
        The number of NaN and the number of infinite voxels.
    """
    if voxels.dtype.kind != "f":
        return 0, 0
    nan = sum(int(np.count_nonzero(np.isnan(part))) for part in voxels)
    infinite = sum(int(np.count_nonzero(np.isinf(part))) for part in voxels)
    return nan, infinite


def finite(volume: Volume, replacement: float | None) -> Volume:
    """Return an image that is a number everywhere.

    Args:
        volume: Any image.
        replacement: What is put in place of NaN and infinities, in the image's unit; None refuses them.

    Raises:
        InputError: ``not_finite``.
    """
    not_a_number, infinite = count_nonfinite(volume.voxels)
    if not not_a_number + infinite:
        return volume
    if replacement is None:
        raise InputError(
            "not_finite",
            f"The image holds {not_a_number} NaN and {infinite} infinite voxels.",
            "Repair it, or have them replaced by a number such as 0 (on the command line: --replace-nonfinite).",
        )
    voxels = np.nan_to_num(volume.voxels, nan=replacement, posinf=replacement, neginf=replacement)
    return replace(volume, voxels=voxels)
