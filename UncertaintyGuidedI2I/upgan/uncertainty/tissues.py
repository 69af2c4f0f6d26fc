"""What differs from tissue to tissue that a translated image shows: the factor of α, the table; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from upgan.images.hounsfield import TISSUES
from upgan.uncertainty.derived import interval_width

# Half the width, in HU, of the band around a limit between tissues in which one factor becomes the other: an edge in σ
# would be taken for something in the patient.
BAND_HU = 100.0

_LIMITS = [high for _low, high in TISSUES.values()][:-1]


def tissue_of(image: np.ndarray) -> np.ndarray:
    """Return which class of ``TISSUES`` each voxel is of, counted from 0, intp of the image's shape.

    Args:
        image: HU, any shape.
    """
    return np.searchsorted(_LIMITS, image, side="left")


def blended(scales: Sequence[float] | np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return the factor of α at each voxel: that of its tissue, and around a limit a straight line between two.

    Args:
        scales: Factors of the classes of ``TISSUES``, in their order.
        image: b̂ in HU, any shape.

    Returns:
        float64 of the image's shape, continuous in the image and nowhere beyond the factors themselves; NaN where the
        image is.
    """
    knots = [limit + side for limit in _LIMITS for side in (-BAND_HU, BAND_HU)]
    factor: np.ndarray = np.interp(image, knots, np.repeat(scales, 2)[1:-1])
    return factor


def enough_width(
    image: np.ndarray, alpha: np.ndarray, beta: np.ndarray, applied: Mapping[str, Any], share: float
) -> np.ndarray:
    """Width of the interval at each voxel that the conformal table of its tissue says is enough for a further patient.

    Args:
        image: b̂ of the last phase in HU, [N].
        alpha: α in HU as the engine gives it, [N].
        beta: β, [N].
        applied: ``calibration.Calibration.applied``, by tissue, as the provenance has it.
        share: The share of a patient's voxels of a tissue within the interval, one of the tables' own.

    Returns:
        From end to end, HU, float32 [N]; NaN where the table is silent.

    Raises:
        KeyError, TypeError, ValueError: ``applied`` is not what a calibration by tissue says.
    """
    tables = [applied[name] for name in TISSUES]
    own = alpha / blended(np.array([each["scale"] for each in tables], dtype=np.float64), image)
    levels = [each["conformal"].get(f"{share:g}") for each in tables]
    width = np.full(np.shape(image), np.nan, dtype=np.float32)
    member = tissue_of(image)
    for tissue, level in enumerate(levels):
        inside = member == tissue
        if level is not None and inside.any():
            width[inside] = interval_width(own[inside], beta[inside], float(level))
    return width
