"""The Inspect panel's figures: uncertain regions, statistics and slices, of the phase that is shown."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.inspection.overlays import ResultGoneError
from UncertaintyGuidedI2ILib.inspection.regions import (
    Regions,
    Rule,
    bodyMaskStepwise,
    lowestSigmaStepwise,
    segmentUncertainRegionsStepwise,
)
from UncertaintyGuidedI2ILib.inspection.statistics import (
    RankedSlice,
    Statistics,
    addTable,
    jumpTo,
    rankSlicesStepwise,
    segmentMasksStepwise,
    statisticsStepwise,
    tissueClassesStepwise,
)
from UncertaintyGuidedI2ILib.inspection.tables import clearTable, fillSlices, fillStatistics
from UncertaintyGuidedI2ILib.inspection.text import say, withheldText
from UncertaintyGuidedI2ILib.parameters import RULES
from UncertaintyGuidedI2ILib.scene.familiarity import areIntervalsWithheld
from UncertaintyGuidedI2ILib.scene.nodes import provenanceOf
from UncertaintyGuidedI2ILib.scene.results import Result
from UncertaintyGuidedI2ILib.widgets import enable
from UncertaintyGuidedI2ILib.work.cooperative import Cooperative


class FigureSections:
    """Computes when a button is clicked, a little at a time; meanwhile the button cancels, and the others wait.

    Args:
        ui: Widgets of InspectPanel.ui.
        result: Returns the result whose figures are asked for.
        choices: Returns the ``parameters.InspectChoices``.
        onChanged: Called when there are new figures.
    """

    def __init__(
        self, ui: Any, result: Callable[[], Result | None], choices: Callable[[], Any], onChanged: Callable[[], None]
    ) -> None:
        self.ui = ui
        self._result = result
        self._choices = choices
        self._onChanged = onChanged
        # Translation and phase of the figures in the tables.
        self._shown: tuple[str, int] | None = None
        self._body: tuple[tuple[Any, ...], np.ndarray] | None = None
        self._statistics: tuple[list[Statistics], float] | None = None
        self._slices: list[RankedSlice] = []
        # What is being computed, from what, and the button and the label of its section.
        self._work: Cooperative[Any] | None = None
        self._source: tuple[Any, ...] = ()
        self._button: Any = None
        self._label: Any = None
        self._why = ""
        buttons = (ui.segmentButton, ui.computeStatisticsButton, ui.rankButton)
        self._texts = [(button, button.text) for button in buttons]
        ui.segmentButton.connect("clicked(bool)", self.onSegment)
        ui.computeStatisticsButton.connect("clicked(bool)", self.onComputeStatistics)
        ui.copyTableButton.connect("clicked(bool)", self.onCopyTable)
        ui.rankButton.connect("clicked(bool)", self.onRank)
        ui.slicesTable.connect("cellClicked(int,int)", self.onSlice)
        for table in (ui.statisticsTable, ui.slicesTable):
            table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
            table.horizontalHeader().minimumSectionSize = 20
            # Low rows; regions are named in several lines where the panel is narrow.
            table.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)

    @property
    def isWorking(self) -> bool:
        """Whether regions, statistics or slices are being computed."""
        return self._work is not None

    def onSegment(self, checked: bool = False) -> None:
        """Add the uncertain regions to the translation's segmentation, or cancel that."""
        self._toggle(
            self.ui.segmentButton,
            self.ui.regionsInfoLabel,
            self._segmentStepwise,
            self._showRegions,
            _("The regions could not be segmented."),
        )

    def onComputeStatistics(self, checked: bool = False) -> None:
        """Fill the table of sigma by tissue class and by the user's segments, or cancel that."""
        self._toggle(
            self.ui.computeStatisticsButton,
            self.ui.statisticsInfoLabel,
            self._statisticsStepwise,
            self._showStatistics,
            _("The statistics failed."),
        )

    def onCopyTable(self, checked: bool = False) -> None:
        """Add the statistics to the scene as a table."""
        result = self._result()
        if result is not None and "sigma" in result.nodes and self._statistics is not None:
            table = addTable(result, *self._statistics)
            say(self.ui.statisticsInfoLabel, _("Copied to {table}.").format(table=table.GetName()))

    def onRank(self, checked: bool = False) -> None:
        """Find the most uncertain slices, or cancel that."""
        self._toggle(
            self.ui.rankButton,
            self.ui.slicesInfoLabel,
            self._rankStepwise,
            self._showSlices,
            _("The slices could not be ranked."),
        )

    def onSlice(self, row: int, column: int) -> None:
        """Let all slice views go to the chosen slice."""
        if 0 <= row < len(self._slices):
            jumpTo(slicer.mrmlScene, self._slices[row].point)

    def follow(self, result: Result | None) -> None:
        """Empty the tables when another result or phase is shown: it has other figures.

        What is being computed from maps that are gone, or show another phase, is given up.
        """
        if self._work is not None and _sourceOf(result) != self._source:
            self._cancel()
        shown = (result.translationID, result.phase) if result else None
        if shown != self._shown or result is None:
            self._shown = shown
            self._statistics, self._slices = None, []
            for table in (self.ui.statisticsTable, self.ui.slicesTable):
                clearTable(table)
            for label in (self.ui.statisticsInfoLabel, self.ui.slicesInfoLabel, self.ui.regionsInfoLabel):
                say(label, "")

    def forget(self) -> None:
        """Let go of the body's mask and of all figures, also of those that are being computed."""
        self._body = None
        self.follow(None)

    def showState(self, why: str) -> None:
        """Enable what makes sense now, or let it say why it does not.

        Args:
            why: Says why there is nothing to compute from; empty where there is.
        """
        self._why = why
        ui, choices = self.ui, self._choices()
        tips = (
            _("Add the regions as a segment, named after the rule."),
            _("Compute the table for the phase that is shown."),
            _("Find the ten slices with the highest mean sigma inside the body, in the plane of the model."),
        )
        for (button, text), tip in zip(self._texts, tips, strict=True):
            if self._work is not None and button is self._button:
                button.text = _("Cancel")
                enable(button, "", _("Stop; nothing changes."))
            else:
                button.text = text
                busy = _("Other figures are being computed.") if self._work is not None else ""
                enable(button, why or busy, tip)
        enable(
            ui.copyTableButton,
            why or ("" if self._statistics else _("Compute the statistics first.")),
            _("Add the statistics to the scene as a table, to be shown, plotted or exported."),
        )
        percentile = choices is not None and choices.rule == RULES[1]
        # Not hidden and shown: collapsible sections show and hide their children themselves.
        ui.limitStack.currentIndex = 1 if percentile else 0
        ui.limitLabel.text = _("Percentile:") if percentile else _("Lowest sigma:")

    def _rule(self) -> Rule:
        choices = self._choices()
        percentile = choices.rule == RULES[1]
        return Rule(choices.percentile if percentile else choices.sigma, percentile, choices.minimumSize)

    def _toggle(
        self,
        button: Any,
        label: Any,
        steps: Callable[[Result], Generator[None, None, Any]],
        show: Callable[[Result, Any], None],
        failed: str,
    ) -> None:
        """Start the stepwise work that a button stands for, or cancel it where it is under way."""
        if self._work is not None:
            if button is self._button:
                self._cancel()
            return
        result = self._result()
        if result is None or "sigma" not in result.nodes or self._choices() is None:
            return
        self._button, self._label, self._source = button, label, _sourceOf(result)
        self._work = Cooperative(
            steps(result), partial(self._finish, partial(show, result), failed), partial(self._fail, failed)
        )
        self.showState(self._why)

    def _cancel(self) -> None:
        if self._work is not None:
            self._work.cancel()
            self._end(_("Cancelled."))

    def _finish(self, show: Callable[[Any], None], failed: str, found: Any) -> None:
        gone = _sourceOf(self._result()) != self._source
        self._end("")
        if not gone:
            with slicer.util.tryWithErrorDisplay(failed):
                show(found)
        self._onChanged()

    def _fail(self, failed: str, error: Exception) -> None:
        self._end("")
        if not isinstance(error, ResultGoneError):
            # With its traceback in the Python console.
            with slicer.util.tryWithErrorDisplay(failed):
                raise error
        self._onChanged()

    def _end(self, text: str) -> None:
        self._work, self._source = None, ()
        say(self._label, text)
        self.showState(self._why)

    def _segmentStepwise(self, result: Result) -> Generator[None, None, Regions]:
        rule = self._rule()
        body = yield from self._bodyStepwise(result)
        say(self.ui.regionsInfoLabel, _("Finding the uncertain regions…"))
        return (yield from segmentUncertainRegionsStepwise(result, rule, body))

    def _showRegions(self, result: Result, regions: Regions) -> None:
        if regions.segmentation is None:
            text = _("No region: {rule}.").format(rule=regions.name)
        else:
            text = _("{count} regions, {volume:.1f} mL: {rule}, in {segmentation}.").format(
                count=regions.count,
                volume=regions.volume,
                rule=regions.name,
                segmentation=regions.segmentation.GetName(),
            )
        say(self.ui.regionsInfoLabel, text)

    def _statisticsStepwise(self, result: Result) -> Generator[None, None, tuple[list[Statistics], float]]:
        choices = self._choices()
        level, segmentation = choices.level / 100, choices.segmentation
        body = yield from self._bodyStepwise(result)
        say(self.ui.statisticsInfoLabel, _("Computing the statistics…"))
        masks = yield from tissueClassesStepwise(result, body)
        if segmentation is not None:
            segments = yield from segmentMasksStepwise(segmentation, result.nodes["sigma"])
            masks.update({_("segment {name}").format(name=name): mask for name, mask in segments.items()})
        return (yield from statisticsStepwise(result, masks, level)), level

    def _showStatistics(self, result: Result, statistics: tuple[list[Statistics], float]) -> None:
        self._statistics = rows, level = statistics
        fillStatistics(self.ui.statisticsTable, rows, result, level)
        text = _(
            "σ{unit} of phase {phase}: mean, median, 95th percentile, and mean width of the {level:g} % interval."
        ).format(unit=f" ({result.shownUnit})", phase=result.phase, level=100 * level)
        if areIntervalsWithheld(result):
            text += " " + withheldText()
        say(self.ui.statisticsInfoLabel, text)

    def _rankStepwise(self, result: Result) -> Generator[None, None, tuple[list[RankedSlice], float]]:
        rule = self._rule()
        body = yield from self._bodyStepwise(result)
        say(self.ui.slicesInfoLabel, _("Ranking the slices…"))
        sigma = slicer.util.arrayFromVolume(result.nodes["sigma"])
        threshold = yield from lowestSigmaStepwise(sigma, body, rule)
        return (yield from rankSlicesStepwise(result, body, threshold)), threshold

    def _showSlices(self, result: Result, ranked: tuple[list[RankedSlice], float]) -> None:
        self._slices, threshold = ranked
        fillSlices(self.ui.slicesTable, self._slices, result.shownUnit, float(f"{threshold:.4g}"))
        text = _("{plane} slices, phase {phase}, inside the body.").format(
            plane=str(provenanceOf(result.nodes["sigma"]).get("plane", "axial")).capitalize(), phase=result.phase
        )
        say(self.ui.slicesInfoLabel, text if self._slices else _("There is no body in the translated image."))

    def _bodyStepwise(self, result: Result) -> Generator[None, None, np.ndarray]:
        """Return the body's mask, computed once for an image."""
        node = result.nodes.get("image") or result.nodes["sigma"]
        key = (result.translationID, result.phase, node.GetID(), node.GetImageData().GetMTime())
        if self._body is None or self._body[0] != key:
            say(self._label, _("Finding the body…"))
            self._body = key, (yield from bodyMaskStepwise(result))
        return self._body[1]


def _sourceOf(result: Result | None) -> tuple[Any, ...]:
    """Return what figures are computed from: they are not true any more when it changes."""
    if result is None:
        return ()
    maps = ((quantity, node.GetID(), node.GetImageData()) for quantity, node in result.nodes.items())
    return (result.translationID, result.phase, *maps)
