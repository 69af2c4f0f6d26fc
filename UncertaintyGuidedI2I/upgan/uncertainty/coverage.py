"""Whether the predicted distributions hold what they promise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from upgan.uncertainty.distribution import GeneralizedNormal

LEVELS = (0.5, 0.8, 0.9, 0.95)

# So many equally filled bins as leave the curve smooth on one patient.
BINS = 20


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


class Reliability(NamedTuple):
    """Predicted against observed error, in bins of similar σ, from the most certain to the least.

    Attributes:
        predicted: Root mean σ² of each bin, in the image's unit.
        observed: Root mean squared error of each bin, same unit; equal to ``predicted`` when σ is true.
        voxels: How many each bin holds.
    """

    predicted: np.ndarray
    observed: np.ndarray
    voxels: np.ndarray

    @property
    def ence(self) -> float:
        """Expected normalised calibration error: mean of |RMSE − RMV| / RMV over the bins (Levi et al. 2022)."""
        return float((np.abs(self.observed - self.predicted) / self.predicted).mean())

    @property
    def uce(self) -> float:
        """Uncertainty calibration error: Σ n_b/N·|MSE_b − mean σ²_b|, in the unit squared (Laves et al. 2020)."""
        weights = self.voxels / self.voxels.sum()
        return float((weights * np.abs(self.observed**2 - self.predicted**2)).sum())


def reliability(error: np.ndarray, sigma: np.ndarray, bins: int = BINS) -> Reliability:
    """Sort voxels by σ into equally filled bins; voxels of the same σ stay together, so that there may be fewer.

    Args:
        error: Image minus reference, [N].
        sigma: Predicted standard deviation > 0 in the same unit, [N].
        bins: At most so many.
    """
    edges = np.unique(np.quantile(sigma, np.linspace(0, 1, bins + 1)[1:-1]))
    member = np.searchsorted(edges, sigma, side="left")
    count = np.bincount(member)
    filled = count > 0
    mean_square = [
        np.bincount(member, np.square(values, dtype=np.float64))[filled] / count[filled] for values in (sigma, error)
    ]
    return Reliability(np.sqrt(mean_square[0]), np.sqrt(mean_square[1]), count[filled])
