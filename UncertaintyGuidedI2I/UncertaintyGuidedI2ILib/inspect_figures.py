"""The Inspect panel's figures: uncertain regions, statistics and slices, of the phase that is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.inspect_tables import clearTable, fillSlices, fillStatistics
from UncertaintyGuidedI2ILib.inspect_words import enable, say
from UncertaintyGuidedI2ILib.parameters import RULES
from UncertaintyGuidedI2ILib.regions import Rule, bodyMask, lowestSigma, segmentUncertainRegions
from UncertaintyGuidedI2ILib.results import Result
from UncertaintyGuidedI2ILib.scene import provenanceOf
from UncertaintyGuidedI2ILib.uncertainty_statistics import (
    RankedSlice,
    Statistics,
    addTable,
    jumpTo,
    rankSlices,
    segmentMasks,
    statisticsOf,
    tissueClasses,
)


class FigureSections:
    """Computes when a button is clicked, under a wait cursor: a second for ten million voxels, most of it the body.

    Args:
        ui: Widgets of InspectPanel.ui.
        result: Returns the result whose figures are asked for.
        choices: Returns the ``InspectChoices``.
        onChanged: Called when there are new figures.
    """

    def __init__(
        self, ui: Any, result: Callable[[], Result | None], choices: Callable[[], Any], onChanged: Callable[[], None]
    ) -> None:
        self.ui = ui
        self._result = result
        self._choices = choices
        self._onChanged = onChanged
        # Run and phase of the figures in the tables.
        self._shown: tuple[str, int] | None = None
        self._body: tuple[tuple[Any, ...], np.ndarray] | None = None
        self._statistics: tuple[list[Statistics], float] | None = None
        self._slices: list[RankedSlice] = []
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

    def onSegment(self, checked: bool = False) -> None:
        """Add the uncertain regions to the run's segmentation."""
        result = self._result()
        if result is None or "sigma" not in result.nodes:
            return
        with slicer.util.tryWithErrorDisplay(_("The regions could not be segmented.")), slicer.util.WaitCursor():
            regions = segmentUncertainRegions(result, self._rule(), self._bodyOf(result))
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

    def onComputeStatistics(self, checked: bool = False) -> None:
        """Fill the table of sigma by tissue class and by the user's segments."""
        result, choices = self._result(), self._choices()
        if result is None or "sigma" not in result.nodes or choices is None:
            return
        with slicer.util.tryWithErrorDisplay(_("The statistics failed.")), slicer.util.WaitCursor():
            masks = tissueClasses(result, self._bodyOf(result))
            if choices.segmentation is not None:
                for name, mask in segmentMasks(choices.segmentation, result.nodes["sigma"]).items():
                    masks[_("segment {name}").format(name=name)] = mask
            level = choices.level / 100
            rows = statisticsOf(result, masks, level)
            self._statistics = rows, level
            fillStatistics(self.ui.statisticsTable, rows, result, level)
            text = _(
                "σ{unit} of phase {phase}: mean, median, 95th percentile, and mean width of the {level:g} % interval."
            ).format(unit=f" ({result.unit})" if result.unit else "", phase=result.phase, level=100 * level)
            say(self.ui.statisticsInfoLabel, text)
        self._onChanged()

    def onCopyTable(self, checked: bool = False) -> None:
        """Add the statistics to the scene as a table."""
        result = self._result()
        if result is not None and "sigma" in result.nodes and self._statistics is not None:
            table = addTable(result, *self._statistics)
            say(self.ui.statisticsInfoLabel, _("Copied to {table}.").format(table=table.GetName()))

    def onRank(self, checked: bool = False) -> None:
        """Find the most uncertain slices."""
        result = self._result()
        if result is None or "sigma" not in result.nodes:
            return
        with slicer.util.tryWithErrorDisplay(_("The slices could not be ranked.")), slicer.util.WaitCursor():
            body = self._bodyOf(result)
            threshold = lowestSigma(slicer.util.arrayFromVolume(result.nodes["sigma"]), body, self._rule())
            self._slices = rankSlices(result, body, threshold)
            fillSlices(self.ui.slicesTable, self._slices, result.unit, float(f"{threshold:.4g}"))
            text = _("{plane} slices, phase {phase}, inside the body.").format(
                plane=str(provenanceOf(result.nodes["sigma"]).get("plane", "axial")).capitalize(), phase=result.phase
            )
            say(self.ui.slicesInfoLabel, text if self._slices else _("There is no body in the translated image."))

    def onSlice(self, row: int, column: int) -> None:
        """Let all slice views go to the chosen slice."""
        if 0 <= row < len(self._slices):
            jumpTo(slicer.mrmlScene, self._slices[row].point)

    def follow(self, result: Result | None) -> None:
        """Empty the tables when another result or phase is shown: it has other figures."""
        shown = (result.runID, result.phase) if result else None
        if shown != self._shown or result is None:
            self._shown = shown
            self._statistics, self._slices = None, []
            for table in (self.ui.statisticsTable, self.ui.slicesTable):
                clearTable(table)
            for label in (self.ui.statisticsInfoLabel, self.ui.slicesInfoLabel, self.ui.regionsInfoLabel):
                say(label, "")

    def forget(self) -> None:
        """Let go of the body's mask and of all figures."""
        self._body = None
        self.follow(None)

    def showState(self, why: str) -> None:
        """Enable what makes sense now, or let it say why it does not.

        Args:
            why: There is nothing to compute from; empty where there is.
        """
        ui, choices = self.ui, self._choices()
        enable(ui.segmentButton, why, _("Add the regions as a segment, named after the rule."))
        enable(ui.computeStatisticsButton, why, _("Compute the table for the phase that is shown."))
        enable(
            ui.rankButton,
            why,
            _("Find the ten slices with the highest mean sigma inside the body, in the plane of the model."),
        )
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

    def _bodyOf(self, result: Result) -> np.ndarray:
        """Return the body's mask, computed once for an image."""
        node = result.nodes.get("image") or result.nodes["sigma"]
        key = (result.runID, result.phase, node.GetID(), node.GetImageData().GetMTime())
        if self._body is None or self._body[0] != key:
            self._body = key, bodyMask(result)
        return self._body[1]
