"""Intervals that are enough for 9 of 10 further patients, where the model that made a result has measured them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from UncertaintyGuidedI2ILib.scene.familiarity import areIntervalsWithheld
from UncertaintyGuidedI2ILib.scene.nodes import provenanceOf

if TYPE_CHECKING:
    import numpy as np

    from UncertaintyGuidedI2ILib.scene.results import Result

# Of image, alpha and beta, [N], the width in HU at each voxel, [N]; NaN where nothing is claimed.
Widths = Callable[["np.ndarray", "np.ndarray", "np.ndarray"], "np.ndarray"]


def enoughWidths(result: Result, phase: int, level: float) -> Widths | None:
    """Return what gives the widths of a phase's conformal intervals; None where the model claims none.

    It claims none for another phase than the last, for a level that it has no table of, where it was measured on too
    few patients, and of an image that is unlike those it was measured on.

    Args:
        result: The result.
        phase: The first being 1.
        level: The share of a tissue's voxels within the interval, in (0, 1).
    """
    provenance = provenanceOf(next(iter(result.nodes.values())))
    applied: Any = provenance.get("calibration")
    if not isinstance(applied, dict) or phase != provenance.get("phases") or areIntervalsWithheld(result):
        return None
    import numpy as np

    from upgan.uncertainty.tissues import enough_width

    def widths(image: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
        return enough_width(image, alpha, beta, applied, level)

    try:
        # One voxel of each tissue; what stands in a scene's file may be anything.
        tried = widths(np.array([-1000.0, 0.0, 1000.0]), np.ones(3), np.full(3, 2.0))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return None if np.isnan(tried).all() else widths
