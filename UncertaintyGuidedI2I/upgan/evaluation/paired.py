"""Two models on the same patients: is one better, or are there too few patients to say?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from upgan.evaluation.metrics import SSIM_3D

SIGNIFICANT = 0.05

# With fewer, even differences that all have one sign reach no p below 0.05: 2·2⁻⁵ = 0.0625.
FEWEST_PATIENTS = 6

Verdict = Literal["better", "worse", "not different", "too few"]

_NAMES = {"ssim_3d": SSIM_3D}


@dataclass(frozen=True)
class PairedTest:
    """A figure of two models on the same patients.

    Attributes:
        key: The figure's key: mae, psnr, ssim_3d.
        patients: The number of patients.
        ours: Median over the patients of our model's figure.
        theirs: Median over the patients of the other model's figure.
        difference: Median of the patients' differences, ours minus theirs.
        smallest: The smallest of these differences.
        largest: The largest of these differences.
        p: The two-sided p-value of Wilcoxon's signed-rank test; None with fewer than two patients.
        verdict: What may be said of our model: better, worse or not different, or that there are too few patients.
    """

    key: str
    patients: int
    ours: float
    theirs: float
    difference: float
    smallest: float
    largest: float
    p: float | None
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """Return the test as JSON keeps it."""
        return asdict(self)


def compare_paired(key: str, ours: Sequence[float], theirs: Sequence[float], *, higher_is_better: bool) -> PairedTest:
    """Test whether two models differ on the same patients (Wilcoxon, Biometrics 1945).

    The p-value is exact for up to 50 patients whose differences are all distinct and none zero.

    Args:
        key: The figure's key.
        ours: One number per patient.
        theirs: The same of the other model, in the same order.
        higher_is_better: Whether a higher figure is the better one, as for PSNR and SSIM and not for errors.
    """
    one, other = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    differences = one - other
    median = float(np.median(differences))
    p: float | None = None
    if not differences.any():
        p = 1.0
    elif differences.size > 1:
        p = float(stats.wilcoxon(differences, alternative="two-sided", method="auto").pvalue)
    # The test is of ranks: so is its direction, which the median's sign need not be.
    varied = differences[differences != 0]
    lean = float((np.sign(varied) * stats.rankdata(np.abs(varied))).sum())
    verdict: Verdict = "not different"
    if differences.size < FEWEST_PATIENTS:
        verdict = "too few"
    elif p is not None and p < SIGNIFICANT and lean:
        verdict = "better" if (lean > 0) == higher_is_better else "worse"
    return PairedTest(
        key,
        differences.size,
        float(np.median(one)),
        float(np.median(other)),
        median,
        float(differences.min()),
        float(differences.max()),
        p,
        verdict,
    )


def conclusion(mae: PairedTest, further: Sequence[PairedTest], other: str, unit: str) -> str:
    """Say in one sentence what the test of the mean absolute error tells of a new model, and in others who disagrees.

    Args:
        mae: The test.
        further: The tests of other figures on the same patients.
        other: Name of the model it was compared with.
        unit: The unit of the error, in words.
    """
    disagreeing = [test for test in further if test.verdict in ("better", "worse") and test.verdict != mae.verdict]
    return " ".join(
        [
            _verdict(mae, other, unit),
            *(f"Its {_NAMES.get(test.key, test.key.upper())} is {test.verdict}." for test in disagreeing),
        ]
    )


def _verdict(mae: PairedTest, other: str, unit: str) -> str:
    spread = f"median difference {mae.difference:+.4g} {unit}, from {mae.smallest:+.4g} to {mae.largest:+.4g}"
    tested = f"{spread}; Wilcoxon's signed-rank test, two-sided, p = {mae.p:.2g}" if mae.p is not None else spread
    if mae.verdict == "too few":
        return (
            f"Whether this model is better than {other} cannot be said: {mae.patients} test "
            f"{'patient is' if mae.patients == 1 else 'patients are'} too few (with fewer than {FEWEST_PATIENTS} no "
            f"difference reaches p < {SIGNIFICANT:g}; {spread})."
        )
    same = f"on the same {mae.patients} test patients"
    if mae.verdict == "better":
        return f"This model is better than {other}: its mean absolute error is lower {same} ({tested})."
    if mae.verdict == "worse":
        return f"This model is not better than {other} but worse: its mean absolute error is higher {same} ({tested})."
    return f"This model is not better than {other}: {same} the mean absolute errors do not differ ({tested})."
