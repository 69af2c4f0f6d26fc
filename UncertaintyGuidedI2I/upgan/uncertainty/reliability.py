"""Whether σ is as large as the error is: reliability curve, ENCE and UCE."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# So many equally filled bins as leave the curve smooth on one patient.
BINS = 20


class Reliability(NamedTuple):
    """Predicted against observed error, in bins of similar σ, from the most certain to the least.

    Attributes:
        predicted: Root mean σ² of each bin, in the image's unit.
        observed: Root mean squared error of each bin, same unit; equal to ``predicted`` when σ is true.
        voxels: The number of voxels in each bin.
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
        bins: The largest number of bins.
    """
    edges = np.unique(np.quantile(sigma, np.linspace(0, 1, bins + 1)[1:-1]))
    member = np.searchsorted(edges, sigma, side="left")
    count = np.bincount(member)
    filled = count > 0
    mean_square = [
        np.bincount(member, np.square(values, dtype=np.float64))[filled] / count[filled] for values in (sigma, error)
    ]
    return Reliability(np.sqrt(mean_square[0]), np.sqrt(mean_square[1]), count[filled])
