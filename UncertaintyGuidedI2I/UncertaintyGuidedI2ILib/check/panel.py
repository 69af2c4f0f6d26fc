"""The panel that checks: choose a result and a real image, compare them, read the figures, show charts and errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from UncertaintyGuidedI2ILib import dependencies
from UncertaintyGuidedI2ILib.check.curves import DATA_RANGE, DEFINITION, MASK, NOTE
from UncertaintyGuidedI2ILib.check.job import CheckJob
from UncertaintyGuidedI2ILib.check.nodes import Check, checkOf, exportCheck
from UncertaintyGuidedI2ILib.messages import plain, showError
from UncertaintyGuidedI2ILib.parameters import ChoicesBinding
from UncertaintyGuidedI2ILib.scene.display import showOverlay
from UncertaintyGuidedI2ILib.scene.legends import showLegend
from UncertaintyGuidedI2ILib.scene.results import UNIT, Result, resultOf, results
from UncertaintyGuidedI2ILib.work.progress_line import ProgressLine
from UncertaintyGuidedI2ILib.work.run_state import Run, RunState, duration
from UncertaintyGuidedI2ILib.work.upkeep import Upkeep

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.work.worker import JobWorker

NEEDED = (dependencies.TRANSLATING, dependencies.CHECKING)
# Of the error map, which is black where there is no error: it darkens the anatomy there and no more.
ERROR_OPACITY = 0.5


class CheckPanel(VTKObservationMixin):
    """Compares in the background; shows what the scene holds of an earlier comparison of the same two volumes.

    Args:
        ui: Widgets of CheckPanel.ui.
        client: The worker's; shared with the other panels.
    """

    def __init__(self, ui: Any, client: JobWorker) -> None:
        VTKObservationMixin.__init__(self)
        self.ui = ui
        self._client = client
        self._run = Run(self._showState)
        self._job: CheckJob | None = None
        self._parameterNode: Any = None
        self._binding = ChoicesBinding(ui, self._onChoicesChanged)
        self._upkeep = Upkeep()
        self._observed: slicer.vtkMRMLScalarVolumeNode | None = None
        # What the panel shows: run, phase and reference.
        self._chosen: tuple[Any, ...] = ()
        self._missing: list[str] = []
        self._progress = ProgressLine(ui.progressBar, ui.statusLabel)
        self._setUp()

    def setParameterNode(self, parameterNode: Any) -> None:
        """Bind the panel to these choices and to no others."""
        self._parameterNode = parameterNode
        if parameterNode is not None and not parameterNode.check.result:
            parameterNode.check.result = _newestImage()
        self._binding.bind(parameterNode)
        self._onChoicesChanged()

    def enter(self) -> None:
        """Look what is installed: each time the user comes to the module, it may have changed."""
        self._missing = dependencies.missing(*NEEDED)
        self._showState()

    def onSceneStartClose(self) -> None:
        """Cancel what runs: its volumes are about to go."""
        self._cancel()

    def onSceneEndClose(self) -> None:
        """Nothing is left to do: the choices come anew with the next parameter node."""

    def cleanup(self) -> None:
        """Let go of everything; the front door stops the worker."""
        self._progress.stop()
        if self._job is not None:
            self._job.abandon()
            self._job = None
        self.setParameterNode(None)
        self.removeObservers()

    def onCompare(self, checked: bool = False) -> None:
        """Compare, or cancel what runs: the button does what it says."""
        if self._run.state is RunState.RUNNING:
            self._cancel()
        elif not self._whyNot() and self._run.start():
            self._start()

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
            unit = check.error.GetAttribute(UNIT)
            title = _("Result - reference ({unit})") if unit else _("Result - reference")
            showLegend(check.error, title.format(unit=unit))

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

    def onInstall(self, checked: bool = False) -> None:
        """Install what is missing; ``ensureInstalled`` asks first."""
        from upgan.errors import UpganError

        with slicer.util.tryWithErrorDisplay(_("The installation failed unexpectedly.")):
            try:
                if dependencies.ensureInstalled(slicer.util.confirmOkCancelDisplay, *NEEDED):
                    # A worker that runs already has looked for the packages and not found them.
                    self._client.stop()
            except UpganError as error:
                self._showError(error)
        self.enter()

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
        ui.installButton.connect("clicked(bool)", self.onInstall)
        self._client.whenBusyChanges(self._showState)
        self.enter()

    def _start(self, trustGuessedPlaces: bool = False) -> None:
        from upgan.errors import UpganError

        result, reference = self._result(), self._reference()
        assert result is not None
        self._progress.tell({"stage": _("starting the engine"), "fraction": 0.0, "remaining_s": None})
        try:
            self._job = CheckJob(
                self._client,
                result,
                reference,
                trustGuessedPlaces,
                self._onProgress,
                self._onFinished,
                self._onError,
            )
            self._job.start()
        except UpganError as error:
            self._onError(error)

    def _cancel(self) -> None:
        if self._run.cancel() and self._job is not None:
            self._progress.show(_("Cancelling…"))
            self._job.cancel()

    def _onProgress(self, progress: dict[str, Any]) -> None:
        if self._run.state is RunState.RUNNING:
            self._progress.tell(progress)

    def _onFinished(self, check: Check) -> None:
        self._progress.show(_("Done in {time}.").format(time=duration(self._progress.elapsed_s)), fraction=1.0)
        self._endRun()
        self._showCheck()

    def _onError(self, error: Exception) -> None:
        from upgan.errors import Cancelled

        self._progress.show("", fraction=0.0)
        self._endRun()
        if isinstance(error, Cancelled):
            self._progress.show(_("Cancelled. Nothing was added to the scene."))
        elif self._isTrusted(error) and self._run.start():
            self._start(trustGuessedPlaces=True)
        else:
            self._showError(error)

    def _isTrusted(self, error: Exception) -> bool:
        """Ask whether images lie right whose files do not say it, where that was why they were not compared."""
        from upgan.errors import UpganError

        if not isinstance(error, UpganError) or error.code != "unsure_place":
            return False
        question = _("{refusal}\n\nCompare them as they lie in the scene?")
        return bool(slicer.util.confirmOkCancelDisplay(plain(question.format(refusal=error.sentence))))

    def _endRun(self) -> None:
        self._job = None
        self._run.finish()

    def _showError(self, error: Exception) -> None:
        self._progress.show(showError(error))

    def _onChoicesChanged(self, caller: Any = None, event: Any = None) -> None:
        """Follow choices made here, by a script or by a loaded scene."""
        node = self._parameterNode.check.result if self._parameterNode is not None else None
        if node is not self._observed:
            if self._observed is not None:
                self.removeObserver(self._observed, vtk.vtkCommand.ModifiedEvent, self._onResultChanged)
            if node is not None:
                self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onResultChanged)
            self._observed = node
        self._onResultChanged()

    def _onResultChanged(self, caller: Any = None, event: Any = None) -> None:
        """Other volumes or another phase may be chosen now: then their own comparison counts."""
        result, reference = self._result(), self._reference()
        chosen = (result.runID, result.phase) if result else None, reference.GetID() if reference else None
        if chosen == self._chosen and result is not None:
            return
        self._chosen = chosen
        if self._run.state is RunState.IDLE:
            self._progress.show(self._whyNot(), fraction=0.0)
        self._showCheck()

    def _showCheck(self) -> None:
        """Show what the scene holds of a comparison of the chosen volumes."""
        self._upkeep.run({_("the figures"): self._showFigures, _("the buttons"): self._showState})

    def _showFigures(self) -> None:
        check = self._check()
        rows = _rows(check.figures) if check else []
        figures = [row for row in rows if row[0] not in (MASK, DATA_RANGE, DEFINITION, NOTE)]
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
        if DEFINITION in scope:
            self.ui.rangeLabel.toolTip = scope[DEFINITION]
        notes = [f"⚠ {text}" for name, text, unit in rows if name == NOTE]
        self.ui.notesLabel.text = "\n".join(notes)
        self.ui.notesLabel.visible = bool(notes)

    def _showState(self) -> None:
        """Enable what makes sense now, and say why Compare does not."""
        ui = self.ui
        idle = self._run.state is RunState.IDLE
        running = self._run.state is RunState.RUNNING
        why = self._whyNot()
        ui.compareButton.text = _("Compare") if idle else _("Cancel") if running else _("Cancelling…")
        ui.compareButton.enabled = running or not why
        compare = _("Compare the result with the reference and add tables, charts and the error map to the scene.")
        stop = _("Stop the comparison; nothing is added to the scene.")
        ui.compareButton.toolTip = stop if running else plain(why) or compare
        ui.resultSelector.enabled = ui.referenceSelector.enabled = idle
        # An installation ends the worker, whoever it works for.
        ui.installButton.enabled = idle and not self._client.isBusy
        ui.packagesFrame.visible = bool(self._missing)
        needed = _("The comparison needs packages that are not installed yet: {names}.")
        ui.packagesLabel.text = needed.format(names=", ".join(self._missing))
        check = self._check()
        nothing = _("Compare first.")
        charts = bool(check and check.charts)
        ui.chartSelector.enabled = ui.showChartButton.enabled = charts
        ui.showChartButton.toolTip = (
            _("Show the chart beside the views; the layout changes.")
            if charts
            else _("The result has no alpha and beta, which the charts need.")
            if check
            else nothing
        )
        ui.showErrorButton.enabled = ui.exportButton.enabled = check is not None
        ui.showErrorButton.toolTip = (
            _("Show image minus reference over the reference: red where the result is too high, blue where too low.")
            if check
            else nothing
        )
        ui.exportButton.toolTip = _("Write the figures and curves as .csv files into a folder.") if check else nothing

    def _whyNot(self) -> str:
        """Return why Compare cannot be clicked, or nothing."""
        result, reference = self._result(), self._reference()
        if self._run.state is not RunState.IDLE:
            return _("A comparison is running.")
        if result is None:
            return _("Choose the result of a translation.")
        if "image" not in result.nodes:
            return _("The translated image is no longer in the scene.")
        if reference is None:
            return _("Choose the real image to compare with, e.g. a CT.")
        other = resultOf(reference)
        if other is not None and other.runID == result.runID:
            return _("A result cannot be its own reference: choose the real image.")
        if self._missing:
            return _("Install the missing packages first.")
        if self._client.isBusy:
            return _("The engine is at work for something else.")
        return ""

    def _result(self) -> Result | None:
        return resultOf(self._parameterNode.check.result) if self._parameterNode is not None else None

    def _reference(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        return self._parameterNode.check.reference if self._parameterNode is not None else None

    def _check(self) -> Check | None:
        result, reference = self._result(), self._reference()
        if result is None or "image" not in result.nodes or reference is None:
            return None
        return checkOf(result.nodes["image"], result.phase, reference)


def _newestImage() -> slicer.vtkMRMLScalarVolumeNode | None:
    images = [result.nodes["image"] for result in results(slicer.mrmlScene) if "image" in result.nodes]
    return images[-1] if images else None


def _rows(table: slicer.vtkMRMLTableNode) -> list[tuple[str, str, str]]:
    return [
        (table.GetCellText(row, 0), table.GetCellText(row, 1), table.GetCellText(row, 2))
        for row in range(table.GetNumberOfRows())
    ]
