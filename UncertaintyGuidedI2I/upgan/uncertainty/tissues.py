"""One factor of α for each tissue that a translated image shows, without edges between them; numpy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upgan.images.hounsfield import TISSUES

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
