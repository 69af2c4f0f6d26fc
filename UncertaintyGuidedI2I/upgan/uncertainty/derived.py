"""What follows from α and β voxel by voxel: σ, credible intervals and probabilities; numpy and scipy alone, no torch.

The distribution is that of ``uncertainty.distribution``, which equals ``scipy.stats.gennorm(β, loc, α)``. Each function
takes arrays of any shape and returns float32 of their common shape, so that a caller may go through a volume in slabs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import special

# The range of β, by logarithm, in which interval factors are interpolated: 12 times as quick as inverting the
# incomplete gamma function at each voxel, and within 2e-5 of it.
_LOG_BETA = np.linspace(np.log(0.1), np.log(100.0), 4096)
# α of zero means certainty; the smallest number above it gives the right limits without dividing by zero.
_SMALLEST = np.finfo(np.float32).tiny


def sigma(alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Standard deviation σ = α·√(Γ(3/β)/Γ(1/β)), Eq. 3 of the paper, in α's unit.

    Args:
        alpha: Scale α ≥ 0.
        beta: Shape β > 0.
    """
    inverse = 1.0 / np.asarray(beta, dtype=np.float64)
    ratio = 0.5 * (special.gammaln(3 * inverse) - special.gammaln(inverse))
    return (alpha * np.exp(ratio)).astype(np.float32)


def interval_width(alpha: np.ndarray, beta: np.ndarray, level: float) -> np.ndarray:
    """Width, from end to end, of the interval around the image that holds ``level`` of the probability, in α's unit.

    It is 2·α·P⁻¹(1/β, level)^(1/β), with P the regularised incomplete gamma function; the interval is image ± half
    of it.

    Args:
        alpha: Scale α ≥ 0.
        beta: Shape β > 0.
        level: The share of the distribution within the interval, in (0, 1), e.g. 0.9.
    """
    beta = np.asarray(beta)
    log_beta = np.log(beta, dtype=np.float64)
    factor = np.exp(np.interp(log_beta, _LOG_BETA, _log_factors(level)))
    beyond = (log_beta < _LOG_BETA[0]) | (log_beta > _LOG_BETA[-1])
    if beyond.any():
        factor = np.where(beyond, np.exp(_log_factor(np.where(beyond, beta, 1.0), level)), factor)
    return (2.0 * alpha * factor).astype(np.float32)


def probability_above(image: np.ndarray, alpha: np.ndarray, beta: np.ndarray, threshold: float) -> np.ndarray:
    """Probability that the true value exceeds a threshold: ½·Q(1/β, (|image − threshold|/α)^β) or one minus that.

    Args:
        image: Translated image.
        alpha: Scale α ≥ 0 in the image's unit; where it is 0 the answer is 0, ½ or 1.
        beta: Shape β > 0.
        threshold: The value in the image's unit, e.g. 300 HU for bone.
    """
    # In float64: an error of float32 in the exponent is one of 1e-4 in a far tail.
    deviation = np.subtract(image, threshold, dtype=np.float64)
    beta = np.asarray(beta, dtype=np.float64)
    with np.errstate(over="ignore"):
        exponent = np.power(np.abs(deviation) / np.maximum(alpha, _SMALLEST), beta)
    tail = 0.5 * special.gammaincc(1.0 / beta, exponent)
    return np.where(deviation > 0, 1.0 - tail, tail).astype(np.float32)


def probability_below(image: np.ndarray, alpha: np.ndarray, beta: np.ndarray, threshold: float) -> np.ndarray:
    """Probability that the true value lies below a threshold; see ``probability_above``."""
    # The mirror image and not one minus the other, which would lose a small probability.
    return probability_above(np.negative(image), alpha, beta, -threshold)


@lru_cache(maxsize=8)
def _log_factors(level: float) -> np.ndarray:
    return _log_factor(np.exp(_LOG_BETA), level)


def _log_factor(beta: np.ndarray, level: float) -> np.ndarray:
    """Return ln of the half width in units of α; by logarithm, because at small β it is astronomical."""
    inverse = 1.0 / np.asarray(beta, dtype=np.float64)
    return inverse * np.log(special.gammaincinv(inverse, level))
