"""Whether the predicted distributions hold what they promise."""

from __future__ import annotations

import numpy as np
import torch

from upgan.distribution import GeneralizedNormal

LEVELS = (0.5, 0.8, 0.9, 0.95)


def coverage(
    image: np.ndarray,
    alpha: np.ndarray,
    beta: np.ndarray,
    reference: np.ndarray,
    levels: tuple[float, ...] = LEVELS,
) -> dict[float, float]:
    """Share of voxels whose reference lies in the central interval of each level; equal to the level when true.

    All arrays have one shape, in one unit (β without). A reference is inside at level p when P(1/β, z^β) ≤ p, so no
    quantile is needed.
    """
    loc, scale, concentration, value = (
        torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64)) for array in (image, alpha, beta, reference)
    )
    distribution = GeneralizedNormal(loc, scale, concentration, validate_args=False)
    central = (2 * distribution.cdf(value) - 1).abs()
    return {level: float((central <= level).double().mean()) for level in levels}
