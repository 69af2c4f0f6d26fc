"""The panel that translates: choose, see what to expect, translate in the background, cancel, show."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.parameters import PLANES, Binding
from UncertaintyGuidedI2ILib.scene.familiarity import Familiarity
from UncertaintyGuidedI2ILib.scene.nodes import Stamp, modality, provenanceOf
from UncertaintyGuidedI2ILib.scene.results import EPISTEMIC, QUANTITIES, QUANTITY
from UncertaintyGuidedI2ILib.scene.watch import NodeWatch
from UncertaintyGuidedI2ILib.text import duration
from UncertaintyGuidedI2ILib.translate import preflight
from UncertaintyGuidedI2ILib.translate.job import Nodes, TranslationChoices, TranslationJob
from UncertaintyGuidedI2ILib.translate.model_chooser import ModelChooser
from UncertaintyGuidedI2ILib.widgets import addMenu, enable, select
from UncertaintyGuidedI2ILib.work.action import Action, Consent
from UncertaintyGuidedI2ILib.work.engine_imports import EngineImports
from UncertaintyGuidedI2ILib.work.install_frame import InstallFrame
from UncertaintyGuidedI2ILib.work.upkeep import Upkeep
from UncertaintyGuidedI2ILib.work.worker import JobWorker

if TYPE_CHECKING:
    from upgan.bundles.library import InstalledModel

DOUBLE_CLICK_S = 0.5
RECHECK_MS = 100
# In the order in which they are asked for: those of every phase, then that of the last alone.
OUTPUTS = (*QUANTITIES, EPISTEMIC)


class TranslatePanel:
    """Choices, warnings and estimate before the translation; progress, log and Cancel during it; the result after it.

    Args:
        ui: Widgets of TranslatePanel.ui.
        client: The client of the worker, shared with the other panels.
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
        self.ui = ui
        self._client = client
        self._onTranslated = onTranslated
        self._onShow = onShow
        self._binding = Binding(ui, "translate", self._onChoicesChanged)
        self._choices = self._binding.choices
        self._upkeep = Upkeep()
        self.engine = EngineImports(self._onChoicesChanged)
        self.models = ModelChooser(ui, self._choices, self._askWorker, self._canReadModels, self._input)
        question = _("{refusal} Take them as 0 in what the engine sees? The image itself is not changed.")
        self._action = Action(
            ui,
            self._newJob,
            _("handing the image to the engine"),
            # Holes in the image may count as zero.
            Consent("not_finite", question, {"replaceNonfinite": 0.0}),
            self._onFinished,
            self._onFailed,
            self._showState,
        )
        needed = _("The engine needs packages that are not installed yet: {names}.")
        self._packages = InstallFrame(ui, needed, (), client.stop, self._showError, self.enter)
        # Of what is chosen, and of the translation that is under way.
        self._expected: preflight.Expectation | None = None
        self._expectedOfRun: preflight.Expectation | None = None
        self._refusal = ""
        self._warnings: list[str] = []
        self._checked: tuple[Any, ...] | None = None
        # What is chosen, what is being translated, and what was translated last, with whether it was familiar.
        self._judgeable: tuple[Any, ...] = ()
        self._judgeableOfRun: tuple[Any, ...] = ()
        self._judged: tuple[tuple[Any, ...], Familiarity] | None = None
        # IDs, not nodes: what was translated last may be deleted or the scene closed.
        self._shownIDs: tuple[str, str] | None = None
        changes = (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent)
        self._watch = NodeWatch(self._onInputModified, changes)
        # The input may be modified many times in a row, e.g. while a sequence plays.
        self._recheck = qt.QTimer()
        self._recheck.setSingleShot(True)
        self._recheck.interval = RECHECK_MS
        self._recheck.timeout.connect(self._onChoicesChanged)
        self._setUp()

    @property
    def isBusy(self) -> bool:
        """Whether a translation is under way, or being cancelled."""
        return not self._action.isIdle

    def setParameterNode(self, parameterNode: Any) -> None:
        """Bind the panel to these choices and to no others."""
        if parameterNode is not None and not parameterNode.translate.inputVolume:
            parameterNode.translate.inputVolume = _firstImage()
        self._binding.bind(parameterNode)
        self._onChoicesChanged()

    def enter(self) -> None:
        """Look what is installed: each time the user comes to the module, it may have changed."""
        self._packages.look()
        self.engine.start()
        self.models.refresh()
        self._onChoicesChanged()

    def onSceneStartClose(self) -> None:
        """Cancel a translation that is under way: its input is about to go."""
        self._shownIDs = self._judged = None
        self.onCancel()

    def onSceneEndClose(self) -> None:
        """Nothing is left to do: the choices come anew with the next parameter node."""

    def cleanup(self) -> None:
        """Let go of everything; the front door stops the worker."""
        self.engine.stop()
        self._recheck.stop()
        self._action.abandon()
        self.setParameterNode(None)

    def onApply(self, checked: bool = False) -> None:
        """Translate, or cancel the translation that is under way: the button does what it says."""
        # The second half of a double click on Apply is no wish to cancel.
        if self._action.isIdle or self._action.progress.elapsed_s > DOUBLE_CLICK_S:
            self._action.toggle(self._whyNot())

    def onCancel(self, checked: bool = False) -> None:
        """Stop the translation; the panel is idle again in less than a second."""
        self._action.cancel()

    def onShowResult(self, checked: bool = False) -> None:
        """Show sigma over the translated image, because the user asks for it."""
        nodes = self._shownNodes()
        if nodes:
            self._onShow(nodes[0])

    def onLoadFile(self, checked: bool = False) -> None:
        """Let the user load a volume, and take it as input."""
        before = _imageIDs()
        slicer.util.openAddVolumeDialog()
        loaded = [node for node in _images() if node.GetID() not in before]
        choices = self._choices()
        if loaded and choices is not None:
            choices.inputVolume = loaded[-1]

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
        ui.applyButton.connect("clicked(bool)", self.onApply)
        ui.showResultButton.connect("clicked(bool)", self.onShowResult)
        self._client.whenBusyChanges(self._showState)
        self.enter()

    def _newJob(self, *handlers: Any, replaceNonfinite: float | None = None) -> TranslationJob:
        choices = self._choices()
        self._expectedOfRun, self._judgeableOfRun = self._expected, self._judgeable
        models = tuple(model.name for model in self.models.members)
        self.log(f"Translating with {' and '.join(models)} on {choices.device}.")
        how = TranslationChoices(
            models=models,
            device=choices.device,
            precision=choices.precision,
            plane=None if choices.plane == PLANES[0] else choices.plane,
            allPhases=choices.allPhases,
            outputs=self._outputs(),
            replaceNonfinite=replaceNonfinite,
        )
        return TranslationJob(self._client, choices.inputVolume, how, *handlers)

    def _onFinished(self, nodes: Nodes, seconds: float) -> None:
        elapsed = self._action.progress.elapsed_s
        image, sigma = _nodeOf(nodes, "image"), _nodeOf(nodes, "sigma")
        shown = image or next(iter(nodes.values()))
        provenance = provenanceOf(shown)
        if self._expectedOfRun is not None:
            preflight.remember(self._expectedOfRun, provenance["device"], seconds)
        self.log(f"Done in {elapsed:.1f} s, of which the network took {seconds:.1f} s on {provenance['device']}.")
        self._shownIDs = (image.GetID(), sigma.GetID()) if image and sigma else None
        verdict = Familiarity.of(shown)
        if verdict.sentence:
            self.log(verdict.sentence)
        self._judged = self._judgeableOfRun, verdict
        self._showWarnings()
        done = _("Done in {time}: {name}.").format(time=duration(elapsed), name=shown.GetName())
        others = (sentence for sentence in provenance.get("warnings", []) if sentence != verdict.sentence)
        self._action.progress.show(" ".join([done, *others]))
        self._onTranslated(nodes)
        # What the next one will take is known better now; nothing else has changed that took long to find out.
        self._showEstimate()
        self._showState()

    def _onFailed(self, error: Exception) -> None:
        self._showError(error)
        # A model may be gone since it was listed.
        self.enter()

    def _showError(self, error: Exception) -> None:
        self.log(str(error))
        self._action.progress.showError(error)

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
        choices = self._choices()
        if choices is not None and index >= 0:
            choices.device = self.ui.deviceSelector.itemData(index)

    def _onChoicesChanged(self, caller: Any = None, event: Any = None) -> None:
        """Follow choices made here, by a script or by a loaded scene."""
        self._upkeep.run(
            {
                _("the device"): self._showDevice,
                _("the model"): self.models.showChoice,
                _("the input"): lambda: self._watch.follow(self._input()),
                _("the estimate"): self._showExpectations,
                _("the buttons"): self._showState,
            }
        )

    def _showDevice(self) -> None:
        choices = self._choices()
        if choices is not None:
            select(self.ui.deviceSelector, choices.device)

    def _onInputModified(self, caller: Any, event: str) -> None:
        self._recheck.start()

    def _showExpectations(self) -> None:
        """Show the model's card, warnings and the estimate for what is chosen, where that has changed."""
        models, node = self.models.members, self._input()
        outputs = self._outputs()
        choices = self._choices()
        settings = (choices.device, choices.precision, choices.plane, choices.allPhases) if choices else ()
        image = (node.GetID(), Stamp.of(node), modality(node)) if node else None
        self._judgeable = (models, image, choices.plane if choices else "")
        seen = (
            models,
            self.models.missing,
            image,
            outputs,
            settings,
            self._packages.whyNot(),
            self.engine.isReady,
        )
        if seen == self._checked:
            return
        self._checked = seen
        self.models.showCard()
        self._warnings = []
        self._refusal = preflight.refusal(node) if node is not None else ""
        pair = self._modelsAndInput()
        if pair is not None and not self._refusal:
            self._warnings = preflight.warnings(*pair, choices.plane) + self._notJoining()
            if choices.allPhases and not preflight.keepAllPhases(pair[0]):
                self._warnings.append(
                    _("The last phase alone will be kept: these models have different numbers of phases.")
                )
            if self._lacksMirror():
                self._warnings.append(
                    _("There will be no epistemic map: sagittal slices cannot be mirrored left to right.")
                )
        self._showWarnings()
        self._showEstimate()

    def _showWarnings(self) -> None:
        """Show what is odd, and whether the input was familiar where just this has been translated."""
        lines = [f"⚠ {sentence}" for sentence in self._warnings]
        if self._judged is not None and self._judged[0] == self._judgeable:
            verdict = self._judged[1]
            lines += [f"⚠ {verdict.sentence}" if verdict.isUnlike else verdict.sentence] if verdict.sentence else []
        self.ui.warningLabel.text = "\n".join(lines)
        self.ui.warningLabel.visible = bool(lines)

    def _notJoining(self) -> list[str]:
        """Say which of the models that were to join, by a scene or a script, do not."""
        return [
            _("“{name}” does not join: it is not installed here, or it translates something else.").format(name=name)
            for name in self.models.missing
        ]

    def _canReadModels(self) -> bool:
        """Whether what reads models' metadata is imported; imports end as well where packages are missing."""
        return self.engine.isReady and not self._packages.whyNot()

    def _modelsAndInput(self) -> tuple[list[InstalledModel], slicer.vtkMRMLScalarVolumeNode] | None:
        """Return the chosen models and input, where all is there that is needed to say how they will get on."""
        models, node = self.models.members, self._input()
        if not self._canReadModels() or node is None or not models or models[0].problem:
            return None
        return models, node

    def _showEstimate(self) -> None:
        pair, choices = self._modelsAndInput(), self._choices()
        ofEachPhase = len([output for output in self._outputs() if output != EPISTEMIC])
        self._expected = preflight.estimate(*pair, choices, ofEachPhase) if pair is not None else None
        self.ui.estimateLabel.text = preflight.estimateText(self._expected) if self._expected else ""
        self.ui.estimateLabel.visible = self._expected is not None

    def _showState(self) -> None:
        """Enable what makes sense now, and say why Apply does not."""
        ui, idle = self.ui, self._action.isIdle
        self._action.showButton(
            ui.applyButton,
            _("Apply"),
            self._whyNot(),
            _("Translate the input and add the outputs to the scene."),
            _("Stop the translation; nothing is added to the scene."),
        )
        for widget in (ui.inputSelector, ui.loadButton, ui.modelSelector, ui.modelsButton, ui.settingsButton):
            widget.enabled = idle
        ui.togetherButton.enabled = idle and self.models.hasCompanions
        ui.refreshDevicesButton.enabled = idle and not self._whyNoWorker()
        self._packages.show(idle and not self._client.isBusy)
        enable(
            ui.showResultButton,
            "" if self._shownNodes() else _("Translate a volume first, with its image and σ among the outputs."),
            _("Show the translated image in all slice views, with σ over it where it is high."),
        )
        ui.showResultButton.enabled = ui.showResultButton.enabled and idle

    def _whyNot(self) -> str:
        """Return why Apply cannot be clicked, or nothing."""
        model = self.models.model
        if not self._action.isIdle:
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
        if self._outputs() == (EPISTEMIC,) and self._lacksMirror():
            return _("Sagittal slices have no epistemic map: choose another output, too.")
        if self.models.isAwaited and not self.engine.isReady:
            return _("The models that are to join are being looked at.")
        return self._whyNoWorker()

    def _whyNoWorker(self) -> str:
        isBusy = _("The engine is at work for something else.") if self._client.isBusy else ""
        return self._packages.whyNot() or isBusy

    def _input(self) -> Any:
        choices = self._choices()
        return choices.inputVolume if choices is not None else None

    def _outputs(self) -> tuple[str, ...]:
        choices = self._choices()
        return tuple(quantity for quantity in OUTPUTS if choices is not None and getattr(choices, quantity))

    def _lacksMirror(self) -> bool:
        """Whether the epistemic map is asked for where there can be none."""
        models, choices = self.models.members, self._choices()
        # Several models need none.
        if EPISTEMIC not in self._outputs() or len(models) != 1 or not self._canReadModels():
            return False
        return preflight.lacksMirror(models[0], choices.plane)

    def _shownNodes(self) -> list[Any]:
        nodes = [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in self._shownIDs or ()]
        return nodes if all(nodes) else []


def _deviceLabel(device: dict[str, Any]) -> str:
    label = f"{device['name']}: {device['description']}"
    if device["free"] and device["total"]:
        label += f", {device['free'] / 2**30:.1f} of {device['total'] / 2**30:.1f} GiB free"
    return _("{device} (cannot be used)").format(device=label) if device["problem"] else label


def _nodeOf(nodes: Nodes, quantity: str) -> slicer.vtkMRMLScalarVolumeNode | None:
    return next((node for node in nodes.values() if node.GetAttribute(QUANTITY) == quantity), None)


def _images() -> list[Any]:
    """Return what the selector shows: label maps and colour images are scalar volumes too, to the scene."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node for node in nodes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]


def _imageIDs() -> set[str]:
    return {node.GetID() for node in _images()}


def _firstImage() -> Any:
    return next(iter(_images()), None)
