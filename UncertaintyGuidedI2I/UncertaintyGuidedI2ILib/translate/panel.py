"""The panel that translates: choose, see what to expect, run in the background, cancel, show."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from UncertaintyGuidedI2ILib import dependencies
from UncertaintyGuidedI2ILib.messages import plain, showError
from UncertaintyGuidedI2ILib.parameters import PLANES, ChoicesBinding
from UncertaintyGuidedI2ILib.scene.nodes import Stamp, modality, provenanceOf
from UncertaintyGuidedI2ILib.translate import preflight
from UncertaintyGuidedI2ILib.translate.job import Nodes, TranslationChoices, TranslationJob
from UncertaintyGuidedI2ILib.translate.model_chooser import ModelChooser
from UncertaintyGuidedI2ILib.widgets import addMenu, select
from UncertaintyGuidedI2ILib.work.engine_imports import EngineImports
from UncertaintyGuidedI2ILib.work.progress_line import ProgressLine
from UncertaintyGuidedI2ILib.work.run_state import Run, RunState, duration
from UncertaintyGuidedI2ILib.work.upkeep import Upkeep
from UncertaintyGuidedI2ILib.work.worker import JobWorker

if TYPE_CHECKING:
    from upgan.bundles.library import InstalledModel

DOUBLE_CLICK_S = 0.5
RECHECK_MS = 100
QUANTITIES = ("image", "alpha", "beta", "sigma")


class TranslatePanel(VTKObservationMixin):
    """Choices, warnings and estimate before the run; progress, log and Cancel during it; the result after it.

    Args:
        ui: Widgets of TranslatePanel.ui.
        client: The worker's; shared with the other panels.
        onTranslated: Called with the new nodes by output name.
        onShow: Called with the translated image over which the user wants to see sigma.
    """

    def __init__(
        self,
        ui: Any,
        client: JobWorker,
        onTranslated: Callable[[Nodes], None],
        onShow: Callable[[slicer.vtkMRMLScalarVolumeNode], None],
    ) -> None:
        VTKObservationMixin.__init__(self)
        self.ui = ui
        self._client = client
        self._onTranslated = onTranslated
        self._onShow = onShow
        self._run = Run(self._showState)
        self._job: TranslationJob | None = None
        # An UncertaintyGuidedI2IParameterNode, to which the wrapper adds what binds it to widgets.
        self._parameterNode: Any = None
        self._binding = ChoicesBinding(ui, self._onChoicesChanged)
        self._upkeep = Upkeep()
        self.models = ModelChooser(ui, self._choices, self._askWorker)
        self.engine = EngineImports(self._onChoicesChanged)
        self._missing: list[str] = []
        self._progress = ProgressLine(ui.progressBar, ui.statusLabel)
        # Of what is chosen, and of the run that is under way.
        self._expected: preflight.Expectation | None = None
        self._expectedOfRun: preflight.Expectation | None = None
        self._refusal = ""
        self._checked: tuple[Any, ...] | None = None
        # IDs, not nodes: what was translated last may be deleted or the scene closed.
        self._shownIDs: tuple[str, str] | None = None
        self._watched: Any = None
        # The input may be modified many times in a row, e.g. while a sequence plays.
        self._recheck = qt.QTimer()
        self._recheck.setSingleShot(True)
        self._recheck.interval = RECHECK_MS
        self._recheck.timeout.connect(self._onChoicesChanged)
        self._setUp()

    @property
    def isBusy(self) -> bool:
        """Whether a run is under way, or being cancelled."""
        return self._run.state is not RunState.IDLE

    def setParameterNode(self, parameterNode: Any) -> None:
        """Bind the panel to these choices and to no others."""
        self._parameterNode = parameterNode
        if parameterNode is not None and not parameterNode.translate.inputVolume:
            parameterNode.translate.inputVolume = _firstImage()
        self._binding.bind(parameterNode)
        self._onChoicesChanged()

    def enter(self) -> None:
        """Look what is installed: each time the user comes to the module, it may have changed."""
        self._missing = dependencies.missing()
        self.engine.start()
        self.models.refresh()
        self._onChoicesChanged()

    def onSceneStartClose(self) -> None:
        """Cancel what runs: its input is about to go."""
        self._shownIDs = None
        self.onCancel()

    def onSceneEndClose(self) -> None:
        """Nothing is left to do: the choices come anew with the next parameter node."""

    def cleanup(self) -> None:
        """Let go of everything; the front door stops the worker."""
        self.engine.stop()
        self._progress.stop()
        self._recheck.stop()
        if self._job is not None:
            self._job.abandon()
            self._job = None
        self.setParameterNode(None)
        self.removeObservers()

    def onApply(self, checked: bool = False) -> None:
        """Translate, or cancel what runs: the button does what it says."""
        if self._run.state is RunState.RUNNING:
            # The second half of a double click on Apply is no wish to cancel.
            if self._progress.elapsed_s > DOUBLE_CLICK_S:
                self.onCancel()
        elif not self._whyNot() and self._run.start():
            self._start()

    def onCancel(self, checked: bool = False) -> None:
        """Stop the run; the panel is idle again in less than a second."""
        if self._run.cancel() and self._job is not None:
            self._progress.show(_("Cancelling…"))
            self._job.cancel()

    def onShowResult(self, checked: bool = False) -> None:
        """Show sigma over the translated image, because the user asks for it."""
        nodes = self._shownNodes()
        if nodes:
            self._onShow(nodes[0])

    def onInstall(self, checked: bool = False) -> None:
        """Install what is missing; ``ensureInstalled`` asks first."""
        from upgan.errors import UpganError

        with slicer.util.tryWithErrorDisplay(_("The installation failed unexpectedly.")):
            try:
                if dependencies.ensureInstalled(slicer.util.confirmOkCancelDisplay):
                    # A worker that runs already has looked for the packages and not found them.
                    self._client.stop()
            except UpganError as error:
                self._showError(error)
        self.enter()

    def onLoadFile(self, checked: bool = False) -> None:
        """Let the user load a volume, and take it as input."""
        before = _imageIDs()
        slicer.util.openAddVolumeDialog()
        loaded = [node for node in _images() if node.GetID() not in before]
        if loaded and self._parameterNode is not None:
            self._parameterNode.translate.inputVolume = loaded[-1]

    def onLoadDicom(self, checked: bool = False) -> None:
        """Go to the DICOM module; what is loaded there can be chosen here."""
        slicer.util.selectModule("DICOM")

    def onRefreshDevices(self, checked: bool = False) -> None:
        """Ask the engine which devices it can use."""
        self._askWorker("info", {}, _("Looking for devices…"), self._listDevices)

    def onSettingsToggled(self, collapsed: bool) -> None:
        """List the devices when somebody looks at the settings for the first time."""
        if not collapsed and self.ui.deviceSelector.count <= 1 and not self._whyNoWorker():
            self.onRefreshDevices()

    def log(self, line: str) -> None:
        """Add a line to the log."""
        self.ui.logEdit.appendPlainText(line)

    def _setUp(self) -> None:
        ui = self.ui
        addMenu(ui.loadButton, [(_("From a file…"), self.onLoadFile), (_("From DICOM images…"), self.onLoadDicom)])
        ui.logEdit.maximumBlockCount = 2000
        ui.deviceSelector.addItem(_("auto"), "auto")
        ui.deviceSelector.connect("currentIndexChanged(int)", self._onDeviceSelected)
        ui.settingsButton.connect("contentsCollapsed(bool)", self.onSettingsToggled)
        ui.refreshDevicesButton.connect("clicked(bool)", self.onRefreshDevices)
        ui.installButton.connect("clicked(bool)", self.onInstall)
        ui.applyButton.connect("clicked(bool)", self.onApply)
        ui.showResultButton.connect("clicked(bool)", self.onShowResult)
        self._client.whenBusyChanges(self._showState)
        self.enter()

    def _start(self, replaceNonfinite: float | None = None) -> None:
        from upgan.errors import UpganError

        choices = self._parameterNode.translate
        self._expectedOfRun = self._expected
        self._progress.tell({"stage": _("handing the image to the engine"), "fraction": 0.0, "remaining_s": None})
        self.log(f"Translating with {choices.model} on {choices.device}.")
        try:
            self._job = TranslationJob(
                self._client,
                choices.inputVolume,
                TranslationChoices(
                    model=choices.model,
                    device=choices.device,
                    precision=choices.precision,
                    plane=None if choices.plane == PLANES[0] else choices.plane,
                    allPhases=choices.allPhases,
                    outputs=self._outputs(),
                    replaceNonfinite=replaceNonfinite,
                ),
                self._onProgress,
                self._onFinished,
                self._onError,
            )
            self._job.start()
        except UpganError as error:
            self._onError(error)

    def _onProgress(self, progress: dict[str, Any]) -> None:
        if self._run.state is RunState.RUNNING:
            self._progress.tell(progress)

    def _onFinished(self, nodes: Nodes, seconds: float) -> None:
        elapsed = self._progress.elapsed_s
        self._endRun()
        shown = nodes.get(_imageName(nodes), next(iter(nodes.values())))
        provenance = provenanceOf(shown)
        if self._expectedOfRun is not None:
            preflight.remember(self._expectedOfRun, provenance["device"], seconds)
        self.log(f"Done in {elapsed:.1f} s, of which the network took {seconds:.1f} s on {provenance['device']}.")
        image, sigma = nodes.get(_imageName(nodes)), nodes.get("sigma")
        self._shownIDs = (image.GetID(), sigma.GetID()) if image and sigma else None
        done = _("Done in {time}: {name}.").format(time=duration(elapsed), name=shown.GetName())
        self._progress.show(" ".join([done, *provenance.get("warnings", [])]), fraction=1.0)
        self._onTranslated(nodes)
        # What the next run will take is known better now; nothing else has changed that took long to find out.
        self._showEstimate()
        self._showState()

    def _onError(self, error: Exception) -> None:
        from upgan.errors import Cancelled

        self._progress.show("", fraction=0.0)
        self._endRun()
        if isinstance(error, Cancelled):
            self._progress.show(_("Cancelled. Nothing was added to the scene."))
        elif self._isFilled(error) and self._run.start():
            self._start(replaceNonfinite=0.0)
        else:
            self._showError(error)
            # A model may be gone since it was listed.
            self.enter()

    def _isFilled(self, error: Exception) -> bool:
        """Ask whether holes in the image shall count as zero, where they were why it was refused."""
        from upgan.errors import UpganError

        if not isinstance(error, UpganError) or error.code != "not_finite":
            return False
        question = _("{refusal} Take them as 0 in what the engine sees? The image itself is not changed.")
        return bool(slicer.util.confirmOkCancelDisplay(plain(question.format(refusal=error.sentence))))

    def _endRun(self) -> None:
        self._job = None
        self._run.finish()

    def _showError(self, error: Exception) -> None:
        self.log(str(error))
        self._progress.show(showError(error))

    def _askWorker(
        self, command: str, arguments: dict[str, Any], status: str, onResult: Callable[[dict[str, Any]], None]
    ) -> None:
        """Ask for something quick; the panel waits for it without a job, and cannot start one meanwhile."""
        from upgan.errors import UpganError

        def finish(result: dict[str, Any]) -> None:
            self.ui.statusLabel.text = ""
            # First, so that a model that has just come can be chosen.
            self.models.refresh()
            onResult(result)
            self.enter()

        def fail(error: Exception) -> None:
            self.ui.statusLabel.text = ""
            self._showError(error)
            self._showState()

        self.ui.statusLabel.text = status
        try:
            self._client.request(command, arguments, lambda progress: None, finish, fail)
        except UpganError as error:
            fail(error)
        self._showState()

    def _listDevices(self, info: dict[str, Any]) -> None:
        selector = self.ui.deviceSelector
        blocked = selector.blockSignals(True)
        selector.clear()
        selector.addItem(_("auto"), "auto")
        for device in info["devices"]:
            selector.addItem(_deviceLabel(device), device["name"])
            if device["problem"]:
                self.log(device["problem"])
        selector.blockSignals(blocked)

    def _onDeviceSelected(self, index: int) -> None:
        if self._parameterNode is not None and index >= 0:
            self._parameterNode.translate.device = self.ui.deviceSelector.itemData(index)

    def _onChoicesChanged(self, caller: Any = None, event: Any = None) -> None:
        """Follow choices made here, by a script or by a loaded scene."""
        self._upkeep.run(
            {
                _("the device"): self._showDevice,
                _("the model"): self.models.showChoice,
                _("the input"): self._watchInput,
                _("the estimate"): self._showExpectations,
                _("the buttons"): self._showState,
            }
        )

    def _showDevice(self) -> None:
        if self._parameterNode is not None:
            select(self.ui.deviceSelector, self._parameterNode.translate.device)

    def _watchInput(self) -> None:
        """Hear of changes of the input itself: its voxels, spacing or modality."""
        node = self._input()
        if node is self._watched:
            return
        for event in (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent):
            if self._watched is not None:
                self.removeObserver(self._watched, event, self._onInputModified)
            if node is not None:
                self.addObserver(node, event, self._onInputModified)
        self._watched = node

    def _onInputModified(self, caller: Any, event: str) -> None:
        self._recheck.start()

    def _showExpectations(self) -> None:
        """Show the model's card, warnings and the estimate for what is chosen, where that has changed."""
        model, node = self.models.model, self._input()
        outputs = self._outputs()
        choices = self._choices()
        settings = (choices.device, choices.precision, choices.plane, choices.allPhases) if choices else ()
        seen = (
            model,
            (node.GetID(), Stamp.of(node), modality(node)) if node else None,
            outputs,
            settings,
            tuple(self._missing),
            self.engine.isReady,
        )
        if seen == self._checked:
            return
        self._checked = seen
        self.models.showCard()
        warnings: list[str] = []
        self._refusal = preflight.refusal(node) if node is not None else ""
        pair = self._modelAndInput()
        if pair is not None and not self._refusal:
            warnings = preflight.warnings(*pair, choices.plane)
        self.ui.warningLabel.text = "\n".join(f"⚠ {sentence}" for sentence in warnings)
        self.ui.warningLabel.visible = bool(warnings)
        self._showEstimate()
        self.ui.packagesFrame.visible = bool(self._missing)
        needed = _("The engine needs packages that are not installed yet: {names}.")
        self.ui.packagesLabel.text = needed.format(names=", ".join(self._missing))

    def _modelAndInput(self) -> tuple[InstalledModel, slicer.vtkMRMLScalarVolumeNode] | None:
        """Return them where all is there that is needed to say how they will get on."""
        model, node = self.models.model, self._input()
        if self._missing or not self.engine.isReady or node is None or model is None or model.problem:
            return None
        return model, node

    def _showEstimate(self) -> None:
        pair, choices = self._modelAndInput(), self._choices()
        self._expected = preflight.estimate(*pair, choices, len(self._outputs())) if pair is not None else None
        self.ui.estimateLabel.text = preflight.estimateText(self._expected) if self._expected else ""
        self.ui.estimateLabel.visible = self._expected is not None

    def _showState(self) -> None:
        """Enable what makes sense now, and say why Apply does not."""
        ui = self.ui
        idle = self._run.state is RunState.IDLE
        running = self._run.state is RunState.RUNNING
        why = self._whyNot()
        ui.applyButton.text = _("Apply") if idle else _("Cancel") if running else _("Cancelling…")
        ui.applyButton.enabled = running or not why
        translate = _("Translate the input and add the outputs to the scene.")
        stop = _("Stop the translation; nothing is added to the scene.")
        ui.applyButton.toolTip = stop if running else plain(why) or translate
        for widget in (ui.inputSelector, ui.loadButton, ui.modelSelector, ui.modelsButton, ui.settingsButton):
            widget.enabled = idle
        ui.refreshDevicesButton.enabled = idle and not self._whyNoWorker()
        # An installation ends the worker, whoever it works for.
        ui.installButton.enabled = idle and not self._client.isBusy
        shown = bool(self._shownNodes())
        ui.showResultButton.enabled = idle and shown
        ui.showResultButton.toolTip = (
            _("Show the translated image in all slice views, with σ over it where it is high.")
            if shown
            else _("Translate a volume first, with its image and σ among the outputs.")
        )

    def _whyNot(self) -> str:
        """Return why Apply cannot be clicked, or nothing."""
        model = self.models.model
        if self._run.state is not RunState.IDLE:
            return _("A translation is running.")
        if not self._input():
            return _("Choose the volume to translate.")
        if self._refusal:
            return self._refusal
        if model is None:
            return _("No model is installed: import one.")
        if model.problem:
            return _("This model cannot be used. {problem}").format(problem=model.problem)
        if not self._outputs():
            return _("Choose at least one output in the settings.")
        return self._whyNoWorker()

    def _whyNoWorker(self) -> str:
        if self._missing:
            return _("Install the missing packages first: {names}.").format(names=", ".join(self._missing))
        if self._client.isBusy:
            return _("The engine is at work for something else.")
        return ""

    def _input(self) -> Any:
        return self._parameterNode.translate.inputVolume if self._parameterNode is not None else None

    def _choices(self) -> Any:
        return self._parameterNode.translate if self._parameterNode is not None else None

    def _outputs(self) -> tuple[str, ...]:
        if self._parameterNode is None:
            return ()
        choices = self._parameterNode.translate
        return tuple(quantity for quantity in QUANTITIES if getattr(choices, quantity))

    def _shownNodes(self) -> list[Any]:
        nodes = [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in self._shownIDs or ()]
        return nodes if all(nodes) else []


def _deviceLabel(device: dict[str, Any]) -> str:
    label = f"{device['name']}: {device['description']}"
    if device["free"] and device["total"]:
        label += f", {device['free'] / 2**30:.1f} of {device['total'] / 2**30:.1f} GiB free"
    return _("{device} (cannot be used)").format(device=label) if device["problem"] else label


def _imageName(nodes: Nodes) -> str:
    return next((name for name in nodes if name not in QUANTITIES[1:]), "")


def _images() -> list[Any]:
    """Return what the selector shows: label maps and colour images are scalar volumes too, to the scene."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node for node in nodes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]


def _imageIDs() -> set[str]:
    return {node.GetID() for node in _images()}


def _firstImage() -> Any:
    return next(iter(_images()), None)
