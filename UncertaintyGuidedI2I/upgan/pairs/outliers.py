"""Subjects whose figures are far from those of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

# Limit of the modified z-score (Iglewicz and Hoaglin, How to detect and handle outliers, 1993).
_LIMIT = 3.5

# The median absolute deviation of a normal distribution in standard deviations.
_DEVIATION = 1.4826

# Fewer subjects have no typical figure.
_FEWEST = 6


class _Figure(NamedTuple):
    """How a figure of a subject is compared with that of the others.

    Attributes:
        sentence: The sentence on an unusual figure, with the places ``value`` and ``median``.
        matters: The smallest difference worth a word, in the figure's unit; a factor where ``logarithmic``.
        logarithmic: Whether ratios count, and not differences.
        only_low: Whether only a low value is a fault.
    """

    sentence: str
    matters: float
    logarithmic: bool = False
    only_low: bool = False


_FIGURES = {
    "body_ml": _Figure("The patient's volume in the target is {value:.0f} ml, usually {median:.0f} ml.", 1.3, True),
    "target_median": _Figure("The target's median in the patient is {value:.0f} HU, usually {median:.0f} HU.", 100.0),
    "reference": _Figure("The input's intensity is {value:.4g} at its brightest, usually {median:.4g}.", 3.0, True),
    "overlap": _Figure(
        "The outlines of input and target overlap by {value:.0%}, usually by {median:.0%}.", 0.05, only_low=True
    ),
    "similarity": _Figure(
        "Input and target have less in common than in other subjects: normalised mutual information {value:.3f}, "
        "usually {median:.3f}.",
        0.02,
        only_low=True,
    ),
}


def outliers(figures: Mapping[str, Mapping[str, float]]) -> dict[str, list[str]]:
    """Name what is unusual about which subject, by modified z-scores: of median and median absolute deviation.

    Args:
        figures: The figures of each subject by name, as in ``upgan.pairs.findings.CheckedPair``.

    Returns:
        The sentences on each unusual subject; the others are not in it.
    """
    found: dict[str, list[str]] = {}
    for name, figure in _FIGURES.items():
        values = {subject: own[name] for subject, own in figures.items() if name in own}
        if len(values) < _FEWEST:
            continue
        scaled = np.array([math.log(max(v, 1e-12)) if figure.logarithmic else v for v in values.values()])
        median = np.median(scaled)
        matters = math.log(figure.matters) if figure.logarithmic else figure.matters
        limit = max(_LIMIT * _DEVIATION * float(np.median(np.abs(scaled - median))), matters)
        typical = math.exp(median) if figure.logarithmic else median
        for (subject, value), difference in zip(values.items(), scaled - median, strict=True):
            if difference < -limit or (difference > limit and not figure.only_low):
                found.setdefault(subject, []).append(figure.sentence.format(value=value, median=typical))
    return found
