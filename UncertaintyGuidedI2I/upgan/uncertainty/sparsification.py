"""Whether σ ranks the voxels by their error: what remains when the most uncertain ones are removed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.integrate import trapezoid

# Removed shares, from none to all but one per cent.
REMOVED = np.linspace(0, 0.99, 100)


class Sparsification(NamedTuple):
    """Mean absolute error of the voxels that remain.

    Attributes:
        removed: Share of the voxels that was removed, 0 to 0.99.
        by_sigma: Mean absolute error of the rest, in the image's unit, when the most uncertain voxels go first.
        oracle: The same error when the voxels of the largest error go first: no σ can do better.
    """

    removed: np.ndarray
    by_sigma: np.ndarray
    oracle: np.ndarray

    @property
    def ause(self) -> float:
        """Area between the two curves, each divided by the error of all voxels (Ilg et al. 2018); 0 is perfect."""
        if self.by_sigma[0] == 0:
            return 0.0
        return float(trapezoid((self.by_sigma - self.oracle) / self.by_sigma[0], self.removed))


def sparsification(absolute_error: np.ndarray, sigma: np.ndarray) -> Sparsification:
    """Remove voxels one after another; which of several with the same σ goes first is left to chance (its mean).

    Args:
        absolute_error: |image − reference|, [N].
        sigma: Predicted standard deviation, [N].
    """
    order = np.argsort(sigma)
    by_sigma = _mean_of_ties(absolute_error[order].astype(np.float64), sigma[order])
    return Sparsification(REMOVED, _mean_of_first(by_sigma), _mean_of_first(np.sort(absolute_error)))


def _mean_of_ties(error: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Replace errors by their mean wherever neighbours have the same σ."""
    starts = np.flatnonzero(np.concatenate([[True], sigma[1:] != sigma[:-1]]))
    if starts.size == sigma.size:
        return error
    counts = np.diff(np.append(starts, sigma.size))
    return np.repeat(np.add.reduceat(error, starts) / counts, counts)


def _mean_of_first(error: np.ndarray) -> np.ndarray:
    """Mean of the first N·(1 − removed) errors, at least one."""
    kept = np.maximum(np.rint(error.size * (1 - REMOVED)).astype(int), 1)
    return np.cumsum(error, dtype=np.float64)[kept - 1] / kept
