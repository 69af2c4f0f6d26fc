"""Limits in a result's intensities: where probability and uncertain regions begin, and where their sliders end."""

from __future__ import annotations

import math
from typing import Any

from UncertaintyGuidedI2ILib.parameters import LARGEST, SIGMA_HU, THRESHOLD_HU
from UncertaintyGuidedI2ILib.scene.results import Result

# From air to dense bone.
HU_LIMITS = (-1000.0, 3000.0)
# Of the input's reference: between dark and bright tissue, and beyond the noise of a usual MR image.
THRESHOLD_SHARE, SIGMA_SHARE = 0.5, 0.05
# Digits of what is chosen for the user.
DIGITS = 3


def adaptLimits(ui: Any, choices: Any, result: Result) -> None:
    """Let threshold and lowest sigma mean in this result what they meant in the one before, and fit their sliders.

    In HU they are numbers, in arbitrary intensities fractions of the input's reference. From the one to the other there
    is no way: the usual ones are chosen then.

    Args:
        ui: Widgets of InspectPanel.ui.
        choices: The ``parameters.InspectChoices``.
        result: The result that is looked at now.
    """
    scale = result.reference or 0.0
    # As they were chosen: a slider that ends elsewhere from now on writes where it ends.
    before, chosen = choices.scale, (choices.threshold, choices.sigma)
    fitRanges(ui, result)
    if scale == before:
        return
    if scale and before:
        threshold, sigma = (limit / before * scale for limit in chosen)
    elif scale:
        threshold, sigma = THRESHOLD_SHARE * scale, SIGMA_SHARE * scale
    else:
        threshold, sigma = THRESHOLD_HU, SIGMA_HU
    # First: each that is written asks for this again.
    choices.scale = scale
    choices.threshold, choices.sigma = _chosen(threshold), _chosen(sigma)


def fitRanges(ui: Any, result: Result | None) -> None:
    """Let sliders of intensities end where the result's do: a choice as such may be in any unit."""
    unit = result.shownUnit if result is not None else "HU"
    low, high = HU_LIMITS
    if result is not None and result.unit != "HU":
        low, high = 0.0, _highest(result)
    step = 10.0 ** round(math.log10((high - low) / 400))
    # A slider keeps what its decimals can say.
    high = round(high / step) * step
    for widget, minimum in ((ui.thresholdSlider, low), (ui.sigmaSpinBox, 0.0)):
        ends = {"minimum": minimum, "maximum": high}
        # A slider refuses a step that is larger than its range.
        isWider = high - minimum > widget.maximum - widget.minimum
        wanted = {
            "suffix": f" {unit}",
            "decimals": max(0, -round(math.log10(step))),
            **(ends if isWider else {}),
            "singleStep": step,
            **ends,
        }
        for name, value in wanted.items():
            # Writing decimals lets a slider say that its value has changed; a suffix rewrites what is being typed.
            if getattr(widget, name) != value:
                setattr(widget, name, value)


def _highest(result: Result) -> float:
    """Return where the sliders end: twice the input's reference, or where that is not known, twice the window's end."""
    brightest = result.reference or 0.0
    shown = result.nodes["image"].GetDisplayNode() if "image" in result.nodes else None
    if not brightest and shown is not None:
        brightest = shown.GetWindowLevelMax()
    return float(min(2 * brightest, LARGEST)) if brightest > 0 else HU_LIMITS[1]


def _chosen(value: float) -> float:
    return min(max(float(f"{value:.{DIGITS}g}"), -LARGEST), LARGEST)
