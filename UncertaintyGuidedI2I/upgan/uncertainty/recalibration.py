"""Corrections of a model's uncertainty, measured on patients it was not trained on.

**Scale.** All α of a phase are multiplied by one factor s, the most likely one on the validation patients. It changes
no image, no β, and not where σ is high.

**Tissues.** In HU one factor on average leaves too little to one tissue and too much to another. So the last phase has
a factor for each class of its image (air, soft tissue, bone), with which the central 90 % intervals hold 90 % of the
class's voxels, averaged over the patients. It is not the most likely one: where the errors have another shape than
predicted, that is right for no interval in particular. The class is that of the translated image, for nothing else is
known at inference. What is held among the voxels that *are* bone is less: those that the image shows as something else
are wrong by the whole step between two tissues, and no factor that is a function of the predicted values can tell them
from their neighbours. That is why it is measured and reported, and not promised.

**Conformal table.** For a level such as 90 %, each validation patient asks for a nominal level u of his own: that
whose central intervals hold 90 % of his body's voxels. Voxels and slices of a patient are alike, so that the patient
is what is counted, one number each. Of these numbers the table has one of the largest, chosen so that what
``statement`` says is true whatever the distribution of the errors. It needs validation patients drawn as later ones
are, and chosen for nothing else: where they also chose the checkpoint, the statement says so and claims less.

Each level of the table is a statement of its own. That a further patient has all the shares stated within all the
intervals stated is less likely than any of them.

The tables are for the network's own α, before the scale: a factor fitted on the same patients would spoil the argument.
The half-width is (α/s)·P⁻¹(1/β, u)^(1/β) with the calibrated α, P being the regularised lower incomplete gamma
function, and s what the voxel's α was multiplied with. Each tissue has a table of its own, of a patient's voxels that
the image shows as that tissue: conformal prediction with the classes as categories (Vovk's Mondrian conformal
prediction), as organs are in sem-CRC (Teneggi et al. 2025).

Sources: Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World" (2005): the k-th smallest of n scores, with
k = ⌈0.9(n + 1)⌉, is not exceeded by a further one with probability ≥ 90 %. Wilks, Ann. Math. Stat. 12 (1941) and, for
conformal sets, Vovk, "Conditional validity" (2012): with k such that P(Binomial(n, 0.9) < k) ≥ 90 %, it exceeds, with
confidence ≥ 90 %, the scores of at least 90 % of the population; there is such a k from n = 22 on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, special, stats

from upgan.errors import InputError
from upgan.images.hounsfield import TISSUES
from upgan.uncertainty.calibration import Calibration as Calibration
from upgan.uncertainty.coverage import LEVELS
from upgan.uncertainty.derived import interval_width
from upgan.uncertainty.tissues import blended, tissue_of

# Share of the patients that a conformal statement is about, and the confidence of a certificate.
PATIENTS = 0.9
CONFIDENCE = 0.9

# From so many patients on there is a bound at all, and one that holds with confidence.
FEWEST_FOR_TABLE = 9
FEWEST_FOR_CERTIFICATE = 22

# The interval that a tissue's factor makes true: that which is shown and spoken of.
TISSUE_LEVEL = 0.9
# A patient with fewer voxels of a tissue says nothing of it: its share within an interval is a matter of chance.
FEWEST_VOXELS = 100

# What a neighbour's factor holds too many of within the band, a class holds too few of elsewhere; but no less than with
# this share of what it would ask for by itself. Where nearly all of a class lies in the band no factor might be small
# enough, and it would shrink to nothing.
_LEAST = 0.5

# Factors of neighbouring tissues meet in the band between them, so that each depends a little on the others.
_MOST_SWEEPS = 50
_SETTLED = 1e-5


def scale_factor(residual: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> float:
    """Find the s > 0 that makes the α of generalised Gaussians most likely: Σ β·(|r|/(sα))^β = N.

    The sum falls strictly from ∞ to 0 as s grows, so that there is exactly one s; its logarithm is solved for.

    Args:
        residual: Reference minus image, [N], not all zero.
        alpha: Predicted scale > 0 in the same unit, [N].
        beta: Predicted shape > 0, [N].

    Raises:
        InputError: ``no_error`` where every residual is zero.
    """
    magnitude = np.abs(residual, dtype=np.float64)
    if not magnitude.any():
        raise InputError(
            "no_error",
            "The model's images equal their references exactly, so that there is no error to calibrate on.",
            "Check that the references are not the model's own results.",
        )
    shape = beta.astype(np.float64)
    with np.errstate(divide="ignore"):  # a residual of zero has z = 0 and adds nothing
        log_z = np.log(magnitude) - np.log(alpha, dtype=np.float64)
    log_shape = np.log(shape)

    def excess(log_s: float) -> float:
        return float(special.logsumexp(shape * (log_z - log_s) + log_shape)) - math.log(magnitude.size)

    # At the lower end the largest z alone makes up the sum, at the upper no voxel adds more than one.
    largest = int(np.argmax(log_z))
    lower = log_z[largest] - max(0.0, math.log(magnitude.size) - log_shape[largest]) / shape[largest]
    upper = log_z[largest] + max(0.0, float((log_shape / shape).max()))
    return math.exp(optimize.brentq(excess, lower - 1e-6, upper + 1e-6, xtol=1e-9))


def tissue_scales(
    residual: np.ndarray, alpha: np.ndarray, beta: np.ndarray, image: np.ndarray, patient: np.ndarray, otherwise: float
) -> np.ndarray:
    """Find the factors of α, one for each of ``TISSUES``, with which the 90 % intervals hold 90 % of each class.

    The share is averaged over the patients, of whom each counts as much as any other, however many such voxels he has,
    as long as they are ``FEWEST_VOXELS``. The factors are those of ``tissues.blended``.

    Args:
        residual: Reference minus image, HU, [N].
        alpha: Predicted scale > 0 in HU, [N].
        beta: Predicted shape > 0, [N].
        image: b̂ in HU, [N], of which the class is.
        patient: The patient whom each voxel is of, counted from 0, [N].
        otherwise: The factor of a class that no patient has enough of.

    Returns:
        The factors, [3]; 0 where nine tenths of a class have no error.
    """
    # A voxel is inside where its factor is at least this.
    needed = np.abs(residual, dtype=np.float64) / (interval_width(alpha, beta, TISSUE_LEVEL) / 2)
    member = tissue_of(image)
    chosen = []
    for tissue in range(len(TISSUES)):
        voxels = np.flatnonzero(member == tissue)
        counts = np.bincount(patient[voxels], minlength=1)
        voxels = voxels[counts[patient[voxels]] >= FEWEST_VOXELS]
        weights = 1.0 / counts[patient[voxels]]
        least = _LEAST * _quantile(needed[voxels], weights) if voxels.size else 0.0
        chosen.append((voxels, weights, least))
    scales = np.full(len(TISSUES), otherwise)
    for _sweep in range(_MOST_SWEEPS):
        before = scales.copy()
        for tissue, (voxels, weights, least) in enumerate(chosen):
            if voxels.size:
                factor = scales[tissue] * _quantile(needed[voxels] / blended(scales, image[voxels]), weights)
                scales[tissue] = max(factor, least)
        if not (scales > 0).all() or np.allclose(scales, before, rtol=_SETTLED, atol=0):
            break
    return scales


def _quantile(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the smallest value up to which ``TISSUE_LEVEL`` of the weight lies."""
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(below, TISSUE_LEVEL * below[-1])]])


def levels_needed(central: np.ndarray, levels: Sequence[float] = LEVELS) -> list[float]:
    """Nominal levels of the central intervals that hold these shares of one patient's voxels, at least.

    Args:
        central: ``coverage.central_probability`` of each voxel, [N].
        levels: The shares.
    """
    return [float(level) for level in np.quantile(central, levels, method="inverted_cdf")]


def conformal_table(needed: np.ndarray, levels: Sequence[float] = LEVELS) -> dict[float, float | None]:
    """Nominal levels that are enough for a further patient, in the sense of ``statement``; None if too few to say.

    Args:
        needed: What each patient asks for at each level, [patients, levels].
        levels: The shares of a patient's voxels.
    """
    rank = _rank(len(needed))
    if rank is None:
        return dict.fromkeys(levels)
    ordered = np.sort(needed, axis=0)
    return {level: float(enough) for level, enough in zip(levels, ordered[rank - 1], strict=True)}


def statement(patients: int, chosen: bool, voxels: str = "body voxels") -> str:
    """Say in words what the table of so many patients claims.

    Args:
        patients: The number of patients in the validation.
        chosen: Whether these patients also decided which weights were kept.
        voxels: Which of a patient's voxels the table is of.
    """
    certificate = f"a distribution-free certificate ({PATIENTS:.0%} of patients, {CONFIDENCE:.0%} confidence)"
    if patients < FEWEST_FOR_TABLE:
        return (
            f"{_counted(patients)} too few to say which interval is wide enough for a further patient: that takes at "
            f"least {FEWEST_FOR_TABLE}, and {certificate} at least {FEWEST_FOR_CERTIFICATE}. None is claimed."
        )
    if patients < FEWEST_FOR_CERTIFICATE:
        claim = (
            f"If a further patient is drawn as the {patients} validation patients were, the chance is at least "
            f"{PATIENTS:.0%} that the share of {voxels} stated lies within the interval stated. That is an average "
            f"over all such draws of {patients} and one; {certificate} takes at least {FEWEST_FOR_CERTIFICATE} "
            "independent patients and is not claimed."
        )
    else:
        claim = (
            f"With {CONFIDENCE:.0%} confidence over the draw of the {patients} validation patients, at least "
            f"{PATIENTS:.0%} of the patients drawn as they were have the share of {voxels} stated within the "
            "interval stated."
        )
    if chosen:
        claim += (
            " But the same patients chose which weights were kept, which this reasoning does not allow for: it holds "
            "approximately, and no certificate is claimed."
        )
    return f"{claim} Each level holds on its own; that several hold in the same patient is not claimed."


def _rank(patients: int) -> int | None:
    """Return which of the patients' sorted levels is enough, counted from one; None where none is."""
    if patients < FEWEST_FOR_TABLE:
        return None
    if patients < FEWEST_FOR_CERTIFICATE:
        # The hair's breadth keeps 0.9·10 from being rounded up to 10.
        return math.ceil(PATIENTS * (patients + 1) - 1e-9)
    return int(stats.binom.ppf(CONFIDENCE, patients, PATIENTS)) + 1


def _counted(patients: int) -> str:
    return "One validation patient is" if patients == 1 else f"{patients} validation patients are"
