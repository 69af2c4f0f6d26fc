"""What the Inspect panel says where something is missing, and how it says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.scene.familiarity import Familiarity
from UncertaintyGuidedI2ILib.scene.results import Result
from UncertaintyGuidedI2ILib.text import formatValue, oneLine

# QWIDGETSIZE_MAX.
NO_LIMIT = 16777215


def missingText(quantities: Sequence[str]) -> str:
    """Return a sentence on the maps that are missing, or nothing where none is."""
    names = {"image": _("translated image"), "alpha": "α", "beta": "β", "sigma": "σ", "epistemic": _("epistemic map")}
    if not quantities:
        return ""
    text = (
        _("The result's {names} is not in the scene: it was deleted or not asked for.")
        if len(quantities) == 1
        else _("The result's {names} are not in the scene: they were deleted or not asked for.")
    )
    return text.format(names=", ".join(names[quantity] for quantity in quantities))


def noResultText() -> str:
    """Return a sentence that says that there is nothing to inspect, and what to do."""
    return _("There is no result in the scene. Translate a volume first.")


def unitText(result: Result) -> str:
    """Return a sentence on intensities that have no unit but the input's own, or nothing where they have one."""
    if result.unit:
        return ""
    text = _("Intensities and σ are in the input's own unit (a.u.).")
    if result.reference is None:
        return text
    reference = _("Its reference, about the brightness of the brightest tissue, is {reference} a.u.")
    return f"{text} {reference.format(reference=formatValue(result.reference))}"


def verdictText(familiarity: Familiarity) -> str:
    """Return what is known of the input's likeness to the training data, with scores and limits."""
    if not familiarity.sentence and not familiarity.isUnlike:
        return _("Whether the image is like the training data cannot be told: the result says nothing of it.")
    sentence = oneLine(familiarity.sentence)
    return f"⚠ {sentence}\n{withheldText()}" if familiarity.isUnlike else sentence


def withheldText() -> str:
    """Return a sentence on why no interval is shown."""
    return _("Intervals are withheld: how much of the truth they hold was measured on images like the training data.")


def say(label: Any, text: str) -> None:
    """Show a text in a label, which takes no room where the text is empty."""
    label.text = text
    # Not hidden: collapsible sections show and hide their children themselves.
    label.maximumHeight = NO_LIMIT if text else 0
