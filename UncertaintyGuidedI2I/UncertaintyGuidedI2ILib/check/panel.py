"""The panel that checks: choose a result and a real image, compare them, read the figures, show charts and errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib import dependencies
from UncertaintyGuidedI2ILib.check.curves import DATA_RANGE, DEFINITION, MASK, NOTE, UNIT_OF_INTENSITIES
from UncertaintyGuidedI2ILib.check.job import CheckJob
from UncertaintyGuidedI2ILib.check.nodes import Check, checkOf, exportCheck
from UncertaintyGuidedI2ILib.messages import plain
from UncertaintyGuidedI2ILib.parameters import Binding
from UncertaintyGuidedI2ILib.scene.display import showOverlay
from UncertaintyGuidedI2ILib.scene.legends import showLegend
from UncertaintyGuidedI2ILib.scene.nodes import modality
from UncertaintyGuidedI2ILib.scene.results import UNIT, Result, resultOf, results
from UncertaintyGuidedI2ILib.scene.watch import NodeWatch
from UncertaintyGuidedI2ILib.text import oneLine, shownUnit
from UncertaintyGuidedI2ILib.widgets import enable
from UncertaintyGuidedI2ILib.work.action import Action, Consent
from UncertaintyGuidedI2ILib.work.install_frame import InstallFrame
from UncertaintyGuidedI2ILib.work.upkeep import Upkeep

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.work.worker import JobWorker

NEEDED = (dependencies.TRANSLATING, dependencies.CHECKING)
# Of the error map, which is black where there is no error: it darkens the anatomy there and no more.
ERROR_OPACITY = 0.5


class CheckPanel:
    """Compares in the background; shows what the scene holds of an earlier comparison of the same two volumes.

    Args:
        ui: Widgets of CheckPanel.ui.
        client: The client of the worker, shared with the other panels.
    """

    def __init__(self, ui: Any, client: JobWorker) -> None:
        self.ui = ui
        self._client = client
        self._binding = Binding(ui, "check", self._onChoicesChanged)
        self._upkeep = Upkeep()
        self._watch = NodeWatch(self._onResultChanged)
        # What the panel shows: translation, phase and reference.
        self._chosen: tuple[Any, ...] = ()
        question = _("{refusal}\n\nCompare them as they lie in the scene?")
        self._action = Action(
            ui,
            self._newJob,
            _("starting the engine"),
            # Images may lie right whose files do not say it.
            Consent("unsure_place", question, {"trustGuessedPlaces": True}),
            self._onFinished,
            self._showError,
            self._showState,
        )
        needed = _("The comparison needs packages that are not installed yet: {names}.")
        self._packages = InstallFrame(ui, needed, NEEDED, client.stop, self._showError, self.enter)
        self._setUp()

    def setParameterNode(self, parameterNode: Any) -> None:
        """Bind the panel to these choices and to no others."""
        if parameterNode is not None and not parameterNode.check.result:
            parameterNode.check.result = _newestImage()
        self._binding.bind(parameterNode)
        self._onChoicesChanged()

    def enter(self) -> None:
        """Look what is installed: each time the user comes to the module, it may have changed."""
        self._packages.look()
        self._showState()

    def onSceneStartClose(self) -> None:
        """Cancel a comparison that is under way: its volumes are about to go."""
        self._action.cancel()

    def onSceneEndClose(self) -> None:
        """Nothing is left to do: the choices come anew with the next parameter node."""

    def cleanup(self) -> None:
        """Let go of everything; the front door stops the worker."""
        self._action.abandon()
        self.setParameterNode(None)

    def onCompare(self, checked: bool = False) -> None:
        """Compare, or cancel the comparison that is under way: the button does what it says."""
        self._action.toggle(self._whyNot())

    def onShowChart(self, checked: bool = False) -> None:
        """Show the chosen chart in the layout, because the user asks for it."""
        check = self._check()
        chart = check.charts.get(self.ui.chartSelector.currentData) if check else None
        if chart is not None:
            slicer.modules.plots.logic().ShowChartInLayout(chart)

    def onShowError(self, checked: bool = False) -> None:
        """Show the error map over the reference in every slice view, with its colours explained."""
        check, reference = self._check(), self._reference()
        if check and reference:
            showOverlay(reference, check.error, ERROR_OPACITY, slicer.app.applicationLogic())
            title = _("Result - reference ({unit})")
            showLegend(check.error, title.format(unit=shownUnit(check.error.GetAttribute(UNIT) or "")))

    def onExport(self, checked: bool = False) -> None:
        """Write figures and curves into a folder that the user chooses."""
        from upgan.errors import UpganError

        check = self._check()
        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder for the tables"), "") if check else ""
        if not check or not folder:
            return
        try:
            written = exportCheck(check, Path(folder))
        except UpganError as error:
            self._showError(error)
        else:
            self.ui.statusLabel.text = _("{count} files written to {folder}.").format(count=len(written), folder=folder)

    def _setUp(self) -> None:
        ui = self.ui
        # Only what a translation made can be checked.
        ui.resultSelector.addAttribute("vtkMRMLScalarVolumeNode", "UncertaintyGuidedI2I.Quantity", "image")
        table = ui.figuresTable
        table.setColumnCount(3)
        table.setHorizontalHeaderLabels([_("Figure"), _("Value"), _("Unit")])
        header = table.horizontalHeader()
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        for title, curve in (
            (_("Coverage of the intervals"), "coverage"),
            (_("Reliability of sigma"), "reliability"),
            (_("Sparsification"), "sparsification"),
        ):
            ui.chartSelector.addItem(title, curve)
        ui.compareButton.connect("clicked(bool)", self.onCompare)
        ui.showChartButton.connect("clicked(bool)", self.onShowChart)
        ui.showErrorButton.connect("clicked(bool)", self.onShowError)
        ui.exportButton.connect("clicked(bool)", self.onExport)
        self._client.whenBusyChanges(self._showState)
        self.enter()

    def _newJob(self, *handlers: Any, trustGuessedPlaces: bool = False) -> CheckJob:
        result = self._result()
        assert result is not None
        return CheckJob(self._client, result, self._reference(), trustGuessedPlaces, *handlers)

    def _onFinished(self, check: Check) -> None:
        self._showCheck()

    def _showError(self, error: Exception) -> None:
        self._action.progress.showError(error)

    def _onChoicesChanged(self, caller: Any = None, event: Any = None) -> None:
        """Follow choices made here, by a script or by a loaded scene."""
        choices = self._binding.choices()
        self._watch.follow(choices.result if choices is not None else None)
        self._onResultChanged()

    def _onResultChanged(self, caller: Any = None, event: Any = None) -> None:
        """Other volumes or another phase may be chosen now: then their own comparison counts."""
        result, reference = self._result(), self._reference()
        chosen = (result.translationID, result.phase) if result else None, reference.GetID() if reference else None
        if chosen == self._chosen and result is not None:
            return
        self._chosen = chosen
        if self._action.isIdle:
            self._action.progress.show(self._whyNot(), fraction=0.0)
        self._showCheck()

    def _showCheck(self) -> None:
        """Show what the scene holds of a comparison of the chosen volumes."""
        self._upkeep.run({_("the figures"): self._showFigures, _("the buttons"): self._showState})

    def _showFigures(self) -> None:
        check = self._check()
        rows = _rows(check.figures) if check else []
        figures = [row for row in rows if row[0] not in (MASK, DATA_RANGE, DEFINITION, UNIT_OF_INTENSITIES, NOTE)]
        table = self.ui.figuresTable
        table.setRowCount(len(figures))
        for i, row in enumerate(figures):
            for j, text in enumerate(row):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(plain(text))
                if j == 1:
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(i, j, item)
        table.resizeRowsToContents()
        scope = dict(row[:2] for row in rows if row[0] != NOTE)
        self.ui.maskLabel.text = scope.get(MASK, "")
        self.ui.rangeLabel.text = scope.get(DATA_RANGE, "")
        self.ui.unitLabel.text = scope.get(UNIT_OF_INTENSITIES, (check.error.GetAttribute(UNIT) or "") if check else "")
        if DEFINITION in scope:
            self.ui.rangeLabel.toolTip = scope[DEFINITION]
        notes = [f"⚠ {text}" for name, text, unit in rows if name == NOTE]
        self.ui.notesLabel.text = "\n".join(notes)
        self.ui.notesLabel.visible = bool(notes)

    def _showState(self) -> None:
        """Enable what makes sense now, and say why Compare does not."""
        ui, check = self.ui, self._check()
        self._action.showButton(
            ui.compareButton,
            _("Compare"),
            self._whyNot(),
            _("Compare the result with the reference and add tables, charts and the error map to the scene."),
            _("Stop the comparison; nothing is added to the scene."),
        )
        ui.resultSelector.enabled = ui.referenceSelector.enabled = self._action.isIdle
        self._packages.show(self._action.isIdle and not self._client.isBusy)
        nothing = "" if check else _("Compare first.")
        noCharts = "" if check and check.charts else _("The result has no alpha and beta, which the charts need.")
        enable(ui.showChartButton, nothing or noCharts, _("Show the chart beside the views; the layout changes."))
        ui.chartSelector.enabled = ui.showChartButton.enabled
        error = _(
            "Show image minus reference over the reference: red where the result is too high, blue where too low."
        )
        enable(ui.showErrorButton, nothing, error)
        enable(ui.exportButton, nothing, _("Write the figures and curves as .csv files into a folder."))

    def _whyNot(self) -> str:
        """Return why Compare cannot be clicked, or nothing."""
        result, reference = self._result(), self._reference()
        if not self._action.isIdle:
            return _("A comparison is running.")
        if result is None:
            return _("Choose the result of a translation.")
        if "image" not in result.nodes:
            return _("The translated image is no longer in the scene.")
        if reference is None:
            if result.unit == "HU":
                return _("Choose the real image to compare with, e.g. a CT.")
            return _("Choose the real image to compare with: the undegraded one, in the input's own intensities.")
        other = resultOf(reference)
        if other is not None and other.translationID == result.translationID:
            return _("A result cannot be its own reference: choose the real image.")
        if why := _whyOfAnotherKind(result, reference):
            return why
        isBusy = _("The engine is at work for something else.") if self._client.isBusy else ""
        return self._packages.whyNot() or isBusy

    def _result(self) -> Result | None:
        choices = self._binding.choices()
        return resultOf(choices.result) if choices is not None else None

    def _reference(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        choices = self._binding.choices()
        return choices.reference if choices is not None else None

    def _check(self) -> Check | None:
        result, reference = self._result(), self._reference()
        if result is None or "image" not in result.nodes or reference is None:
            return None
        return checkOf(result.nodes["image"], result.phase, reference)


def _whyOfAnotherKind(result: Result, reference: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Return why a reference has other intensities than the result, as far as it is marked, or nothing."""
    marked = modality(reference)
    if marked is None or (marked == "CT") == (result.unit == "HU"):
        return ""
    text = (
        _("The reference is marked as {marked}, but the result is a {name} in HU: choose a CT.")
        if result.unit == "HU"
        else _("The reference is marked as {marked}, but the result is a {name}: choose the undegraded image.")
    )
    return text.format(marked=oneLine(marked), name=result.imageName)


def _newestImage() -> slicer.vtkMRMLScalarVolumeNode | None:
    images = [result.nodes["image"] for result in results(slicer.mrmlScene) if "image" in result.nodes]
    return images[-1] if images else None


def _rows(table: slicer.vtkMRMLTableNode) -> list[tuple[str, str, str]]:
    return [
        (table.GetCellText(row, 0), table.GetCellText(row, 1), table.GetCellText(row, 2))
        for row in range(table.GetNumberOfRows())
    ]
