"""Coverage: whether central intervals of the predicted distributions hold the share of voxels that they promise."""

from __future__ import annotations

import numpy as np
import torch

from upgan.uncertainty.distribution import GeneralizedNormal

LEVELS = (0.5, 0.8, 0.9, 0.95)


def coverage(
    image: np.ndarray,
    alpha: np.ndarray,
    beta: np.ndarray,
    reference: np.ndarray,
    levels: tuple[float, ...] = LEVELS,
) -> dict[float, float]:
    """Share of voxels whose reference lies in the central interval of each level; equal to the level when true.

    All arrays have one shape, in one unit (β without).
    """
    central = central_probability(image, alpha, beta, reference)
    return {level: float((central <= level).mean()) for level in levels}


def central_probability(image: np.ndarray, alpha: np.ndarray, beta: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Level of the smallest central interval that holds the reference: P(1/β, z^β), float64, of the arrays' shape.

    A reference is inside at level p when this is at most p, so no quantile is needed; uniform when true.
    """
    loc, scale, concentration, value = (
        torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64)) for array in (image, alpha, beta, reference)
    )
    distribution = GeneralizedNormal(loc, scale, concentration, validate_args=False)
    central: np.ndarray = (2 * distribution.cdf(value) - 1).abs().numpy()
    return central
