"""Several predictions of one voxel taken as one: the moments of a mixture of generalised Gaussians of equal weight.

Mean and variance are exact (the law of total variance: the mean of the variances plus the variance of the means). The
distribution that stands for the mixture is the generalised Gaussian with its mean, its variance and its kurtosis; a
lopsided or a two-humped mixture is told by these alone. Predictions come one after another, so that never more than one
is held beside the sums (Welford, Technometrics 4 (1962); Pébay, Sandia report SAND2008-6212, for the higher moments).
Numpy and scipy alone, no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import special

# β of what stands for a mixture lies within these, as that of the networks does.
SHAPES = (0.1, 100.0)

# The range of β, by logarithm, in which variance and kurtosis are interpolated and the kurtosis is inverted: several
# times as quick as the log-gammas at each voxel, and within 3e-6 of them.
_LOG_SHAPE = np.linspace(np.log(SHAPES[0]), np.log(SHAPES[1]), 16384)
# That of a uniform distribution, towards which the kurtosis falls as β grows.
_UNIFORM = 1.8

_SMALLEST = float(np.finfo(np.float32).tiny)


class Matched(NamedTuple):
    """The generalised Gaussian that stands for a mixture, each float32 [K, J, I].

    Attributes:
        image: The mean of the predictions.
        alpha: Scale α, such that σ² is the mixture's variance; same unit.
        beta: Shape β, such that the kurtosis is the mixture's, within ``SHAPES``.
        spread: Standard deviation of the predictions' means, as of a sample; same unit.
    """

    image: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    spread: np.ndarray


class Mixture:
    """A mixture under way: predictions are added one by one, and all count the same.

    Five float32 values a voxel are held, whatever the number of predictions. Skewness and kurtosis are kept without
    unit: third and fourth powers of large σ would be beyond float32.

    Args:
        shape: The volume's [K, J, I].

    Raises:
        MemoryError: It does not fit.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._count = 0
        # Mean, root of the mean variance, standard deviation of the means (by their number), skewness, kurtosis.
        self._sums = tuple(np.zeros(shape, dtype=np.float32) for _ in range(5))

    def add(self, image: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> Iterator[int]:
        """Add a prediction slice by slice, and yield the number of each slice that is done; all must be asked for.

        Args:
            image: b̂, [K, J, I].
            alpha: Scale α > 0, [K, J, I].
            beta: Shape β > 0, [K, J, I].
        """
        for index, (mean, scale, shape) in enumerate(zip(image, alpha, beta, strict=True)):
            self._add([held[index] for held in self._sums], mean, scale, shape)
            yield index
        self._count += 1

    def _add(self, held: list[np.ndarray], image: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> None:
        """Merge one slice of a prediction into the moments that are held of it."""
        mean, within, between, skewness, kurtosis = (values.astype(np.float64) for values in held)
        new = 1.0 / (self._count + 1)
        old = 1.0 - new
        log_ratio, log_kurtosis = _of_shape(beta)
        variance = np.square(alpha, dtype=np.float64) * np.exp(log_ratio)
        within, between = np.square(within), np.square(between)
        before = within + between
        # How far the mean of what is held, and that of what comes, lie from the new one.
        step = image - mean
        here, there = -new * step, old * step
        here_2, there_2 = np.square(here), np.square(there)

        third = skewness * before * np.sqrt(before)
        fourth = old * (kurtosis * np.square(before) + 4 * third * here + 6 * before * here_2 + np.square(here_2))
        fourth += new * (np.exp(log_kurtosis) * np.square(variance) + 6 * variance * there_2 + np.square(there_2))
        third = old * here * (3 * before + here_2) + old * third + new * there * (3 * variance + there_2)
        within = np.maximum(old * within + new * variance, _SMALLEST**2)
        between = old * (between + new * np.square(step))
        after = within + between

        held[0][...] = mean + new * step
        held[1][...] = np.sqrt(within)
        held[2][...] = np.sqrt(between)
        held[3][...] = third / (after * np.sqrt(after))
        held[4][...] = fourth / np.square(after)

    def finish(self) -> Matched:
        """Return what stands for the mixture; it takes the memory of the sums, so that nothing can be added any more.

        The spread is zero where there is one prediction only.
        """
        mean, within, between, _, kurtosis = self._sums
        sample = np.float32(np.sqrt(self._count / (self._count - 1))) if self._count > 1 else np.float32(0)
        for index in range(len(mean)):
            sigma = np.hypot(within[index], between[index], dtype=np.float64)
            beta = shape_of_kurtosis(kurtosis[index])
            within[index] = sigma * np.exp(-0.5 * _of_shape(beta)[0])
            kurtosis[index] = beta
            between[index] *= sample
        return Matched(mean, within, kurtosis, between)


def shape_of_kurtosis(kurtosis: np.ndarray) -> np.ndarray:
    """Shape β of the generalised Gaussian with this kurtosis, or the nearest within ``SHAPES``; float64.

    Args:
        kurtosis: Fourth central moment over the squared variance, 1 or more, any shape: 6 at β = 1, 3 at β = 2.
    """
    least = np.exp(_LOG_BEYOND[-1])
    log_beyond = np.log(np.maximum(np.asarray(kurtosis, dtype=np.float64) - _UNIFORM, least))
    # np.interp wants what rises.
    return np.asarray(np.exp(np.interp(-log_beyond, -_LOG_BEYOND, _LOG_SHAPE)))


def _of_shape(beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ln(σ²/α²) = ln Γ(3/β)/Γ(1/β) and the logarithm of the kurtosis, Γ(5/β)Γ(1/β)/Γ(3/β)²; float64."""
    log_shape = np.log(beta, dtype=np.float64)
    found = [np.interp(log_shape, _LOG_SHAPE, table) for table in _TABLES]
    beyond = (log_shape < _LOG_SHAPE[0]) | (log_shape > _LOG_SHAPE[-1])
    if beyond.any():
        for values, exact in zip(found, _exact_of_shape(np.exp(log_shape[beyond])), strict=True):
            values[beyond] = exact
    return found[0], found[1]


def _exact_of_shape(beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, third, fifth = (special.gammaln(times / beta) for times in (1, 3, 5))
    return third - first, fifth + first - 2 * third


_TABLES = _exact_of_shape(np.exp(_LOG_SHAPE))
_LOG_BEYOND = np.log(np.exp(_TABLES[1]) - _UNIFORM)
