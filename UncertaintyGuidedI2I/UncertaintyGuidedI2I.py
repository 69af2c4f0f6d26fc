"""The front door: what Slicer sees of the extension. The work is done in UncertaintyGuidedI2ILib and upgan."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from unittest import mock

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

# Reload in developer mode runs this file again and no other: let it import the others afresh.
for loaded in [name for name in sys.modules if name.split(".")[0] == "UncertaintyGuidedI2ILib"]:
    del sys.modules[loaded]

from UncertaintyGuidedI2ILib import dependencies  # noqa: E402 - only after the old ones are dropped
from UncertaintyGuidedI2ILib import logic as translationLogic  # noqa: E402
from UncertaintyGuidedI2ILib.check.panel import CheckPanel  # noqa: E402
from UncertaintyGuidedI2ILib.inspection.comparison import registerLayout  # noqa: E402
from UncertaintyGuidedI2ILib.inspection.overlays import NOTHING_REMEMBERED  # noqa: E402
from UncertaintyGuidedI2ILib.inspection.panel import InspectPanel  # noqa: E402
from UncertaintyGuidedI2ILib.parameters import UncertaintyGuidedI2IParameterNode, choicesOf  # noqa: E402
from UncertaintyGuidedI2ILib.samples import SAMPLES, registerSampleData  # noqa: E402
from UncertaintyGuidedI2ILib.scene.legends import LegendKeeper  # noqa: E402
from UncertaintyGuidedI2ILib.scene.results import QUANTITY  # noqa: E402
from UncertaintyGuidedI2ILib.train.pairs import ScenePair, addPair  # noqa: E402
from UncertaintyGuidedI2ILib.train.panel import NEEDED as TRAINING_NEEDS  # noqa: E402
from UncertaintyGuidedI2ILib.train.panel import TrainPanel  # noqa: E402
from UncertaintyGuidedI2ILib.translate.panel import TranslatePanel  # noqa: E402
from UncertaintyGuidedI2ILib.work.client import WorkerClient  # noqa: E402
from UncertaintyGuidedI2ILib.work.upkeep import Upkeep  # noqa: E402

# One phase of a tiny network, for more epochs than the self-test waits for.
SMALL_TRAINING = {
    "architecture.width": 4,
    "loss.adversarial": 0.0,
    "schedule.batch": 1,
    "schedule.epochs": [1000],
    "schedule.joint_epochs": 0,
}


class UncertaintyGuidedI2I(ScriptedLoadableModule):
    """What the module selector and the help panel say about the module."""

    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Uncertainty-guided image translation")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        self.parent.dependencies = []
        self.parent.contributors = ["The UncertaintyGuidedI2I developers"]
        self.parent.helpText = _(
            "Translates images from one modality to another, for example PET without attenuation correction to a "
            "pseudo-CT, and says for every voxel how uncertain the result is (alpha, beta and sigma of a generalized "
            "normal distribution). It tells whether the image is like those that the model was trained on and, where "
            "asked to, where the model does not know (epistemic). The bundled model is for demonstration, not for "
            "patients. See the "
            '<a href="https://github.com/UncertaintyGuidedI2I/UncertaintyGuidedI2I">documentation</a>.'
        )
        self.parent.acknowledgementText = _(
            "The method is by Uddeshya Upadhyay, Yanbei Chen, Tobias Hepp, Sergios Gatidis and Zeynep Akata: "
            "Uncertainty-Guided Progressive GANs for Medical Image Translation, MICCAI 2021, "
            '<a href="https://doi.org/10.1007/978-3-030-87199-4_58">doi:10.1007/978-3-030-87199-4_58</a>. '
            "Please cite it when you use this module."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)
        # A scene that was saved in the comparison must find its layout before the panels are opened.
        slicer.app.connect("startupCompleted()", lambda: registerLayout(slicer.mrmlScene))


class UncertaintyGuidedI2IWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panels, one a tab, on one set of saved choices; trainings have a worker process of their own."""

    def __init__(self, parent: object = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.client = None
        self.panels = ()
        self._upkeep = Upkeep()
        self._parameterNode = None
        self._isAddition = False
        self._legendKeeper = None

    def setup(self) -> None:
        """Load the panels, when the user opens the module for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = UncertaintyGuidedI2ILogic()
        self.client = WorkerClient()
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/UncertaintyGuidedI2I.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        self.translatePanel = TranslatePanel(
            self._addTab("TranslatePanel", _("Translate")), self.client, self.onTranslated, self.onShowUncertainty
        )
        self.inspectPanel = InspectPanel(self._addTab("InspectPanel", _("Inspect")))
        self.checkPanel = CheckPanel(self._addTab("CheckPanel", _("Check")), self.client)
        self.trainPanel = TrainPanel(self._addTab("TrainPanel", _("Train")), self.logic.training, self.onModelSaved)
        self._legendKeeper = LegendKeeper(slicer.mrmlScene)
        self.panels = (self.translatePanel, self.inspectPanel, self.checkPanel, self.trainPanel)
        self.client.onLog = self.translatePanel.log

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        # Before and after the node selectors, which while they list the new nodes lose what was chosen in them.
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartImport, priority=100.0)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport, priority=-100.0)
        # The application may quit without closing its modules first.
        slicer.app.connect("aboutToQuit()", self.client.stop)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Stop and let go, when the application closes or the module is reloaded."""
        slicer.app.disconnect("aboutToQuit()", self.client.stop)
        self._toAllPanels("cleanup")
        if self._legendKeeper is not None:
            self._legendKeeper.close()
        self.client.stop()
        self.logic.training.close()
        self.removeObservers()

    def enter(self) -> None:
        """Look what is installed and connect to the saved choices, each time the user opens the module."""
        # Only where they are not bound yet: each binding costs connections.
        if self._parameterNode is None:
            self.initializeParameterNode()
        self._upkeep.run(
            {
                _("Translate"): self.translatePanel.enter,
                _("Check"): self.checkPanel.enter,
                _("Train"): self.trainPanel.enter,
            }
        )

    def exit(self) -> None:
        """Leave everything as it is, each time the user opens another module: translations and trainings go on."""

    def onSceneStartClose(self, caller: object = None, event: object = None) -> None:
        """Cancel what works on the scene, which is about to go; a training goes on."""
        self._toAllPanels("onSceneStartClose")
        self._bind(None)

    def onSceneEndClose(self, caller: object = None, event: object = None) -> None:
        """Start with new choices."""
        self._toAllPanels("onSceneEndClose")
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneStartImport(self, caller: object = None, event: object = None) -> None:
        """Let the choices be read as they were saved, not as the widgets happen to be meanwhile."""
        self._isAddition = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") > 0
        self._bind(None)

    def onSceneEndImport(self, caller: object = None, event: object = None) -> None:
        """Take up the choices that a loaded scene brings."""
        choices = self.logic.getParameterNode()
        # A script may hold them: what it read while the scene was being loaded lacks the nodes that came later.
        choices.Modified()
        if self._isAddition and choices.inspect.layersBefore:
            # Its volumes have new names for the scene; the old ones may now mean another patient's.
            choices.inspect.layersBefore = NOTHING_REMEMBERED
        self.initializeParameterNode()

    def onTranslated(self, nodes: dict) -> None:
        """Offer a new result to the panels that look at results."""
        image = next((node for node in nodes.values() if node.GetAttribute(QUANTITY) == "image"), None)
        if image is not None:
            self.inspectPanel.showResult(image)
            self.logic.getParameterNode().check.result = image

    def onShowUncertainty(self, imageNode: object) -> None:
        """Let the panel that looks at results lay sigma over an image: there that overlay is changed and taken off."""
        self.inspectPanel.showUncertainty(imageNode)

    def onModelSaved(self, name: str) -> None:
        """Choose a new model, by its name, in the panel that translates."""
        self.translatePanel.models.refresh()
        self.logic.getParameterNode().translate.model = name
        # Where it had the same name before, no choice has changed.
        self.translatePanel.models.showChoice()

    def initializeParameterNode(self) -> None:
        """Bind all panels to the choices of this scene."""
        self._bind(self.logic.getParameterNode())

    def _bind(self, parameterNode: UncertaintyGuidedI2IParameterNode | None) -> None:
        self._parameterNode = parameterNode
        self._toAllPanels("setParameterNode", parameterNode)

    def _toAllPanels(self, method: str, *arguments: object) -> None:
        """Tell all panels something; one that fails takes none of the others with it."""
        # By their classes: two titles may be one word in another language.
        self._upkeep.run({type(panel).__name__: partial(getattr(panel, method), *arguments) for panel in self.panels})

    def _addTab(self, name: str, title: str) -> object:
        uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{name}.ui"))
        self.ui.panels.addTab(uiWidget, title)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        return slicer.util.childWidgetVariables(uiWidget)


class UncertaintyGuidedI2ILogic(ScriptedLoadableModuleLogic, translationLogic.UncertaintyGuidedI2ILogic):
    """The logic for scripts in Slicer; see UncertaintyGuidedI2ILib.logic for ``translate``."""

    def __init__(self, parent: object = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self, parent)
        translationLogic.UncertaintyGuidedI2ILogic.__init__(self)

    def getParameterNode(self) -> UncertaintyGuidedI2IParameterNode:
        """Return the module's choices, typed; the panels hold the same object, and it may be kept."""
        return choicesOf(super().getParameterNode())


class UncertaintyGuidedI2ITest(ScriptedLoadableModuleTest):
    """The module's self-test: the user's journey through the panels on the bundled sample, offline."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test, one after another."""
        missing = dependencies.missing()
        if missing:
            self.delayDisplay(f"Skipped: not installed: {', '.join(missing)}")
            return
        self.setUp()
        self.test_sampleIsTranslatedOntoItsOwnGrid()
        self.setUp()
        self.test_sampleIsTranslatedInspectedAndCheckedInThePanels()
        self.setUp()
        self.test_modelIsTrainedInThePanelAndTranslates()
        self.delayDisplay("Test passed")

    def test_sampleIsTranslatedOntoItsOwnGrid(self) -> None:
        """Translate the sample PET by script and compare what came out with what went in."""
        pet = slicer.util.loadVolume(str(SAMPLES / "sample_nacpet.nrrd"))
        nodes = UncertaintyGuidedI2ILogic().translate(pet, device="cpu")
        assert set(nodes) == {"pseudo_ct", "alpha", "beta", "sigma"}
        for node in nodes.values():
            assert node.GetImageData().GetDimensions() == pet.GetImageData().GetDimensions()
            assert node.GetOrigin() == pet.GetOrigin()
            assert node.GetSpacing() == pet.GetSpacing()
        assert slicer.util.arrayFromVolume(nodes["sigma"]).min() > 0

    def test_sampleIsTranslatedInspectedAndCheckedInThePanels(self) -> None:
        """Translate, cancel, translate again, show, scrub the phases, overlay, and compare with the true CT."""
        widget = slicer.util.getModuleWidget("UncertaintyGuidedI2I")
        widget.enter()
        choices = widget.logic.getParameterNode()
        pet = slicer.util.loadVolume(str(SAMPLES / "sample_nacpet.nrrd"))
        pet.SetName("NAC-PET")
        choices.translate.inputVolume = pet
        choices.translate.device = "cpu"
        ui = widget.translatePanel.ui
        volumes = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")

        assert ui.applyButton.enabled, ui.applyButton.toolTip
        ui.applyButton.click()
        self._waitUntil(lambda: "slice" in ui.statusLabel.text or not widget.translatePanel.isBusy, 60)
        widget.translatePanel.onCancel()
        self._waitUntil(lambda: not widget.translatePanel.isBusy, 2)
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == volumes

        ui.applyButton.click()
        self._waitUntil(lambda: not widget.translatePanel.isBusy, 120)
        assert ui.statusLabel.text.startswith("Done"), ui.statusLabel.text
        image = choices.inspect.result
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == volumes + 4
        ui.showResultButton.click()

        browser = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
        last = slicer.util.arrayFromVolume(image).copy()
        browser.SetSelectedItemNumber(0)
        self._waitUntil(lambda: (slicer.util.arrayFromVolume(image) != last).any(), 5)
        browser.SetSelectedItemNumber(browser.GetNumberOfItems() - 1)
        self._waitUntil(lambda: (slicer.util.arrayFromVolume(image) == last).all(), 5)

        choices.inspect.overlay = "probability"
        choices.inspect.showOverlay = True
        self._waitUntil(lambda: slicer.mrmlScene.GetFirstNodeByName("NAC-PET probability"), 10)
        probability = slicer.util.arrayFromVolume(slicer.mrmlScene.GetFirstNodeByName("NAC-PET probability"))
        self._waitUntil(lambda: (probability[last > 1000] > 0.5).all(), 10)
        choices.inspect.showOverlay = False

        if not dependencies.missing(dependencies.TRANSLATING, dependencies.CHECKING):
            choices.check.reference = slicer.util.loadVolume(str(SAMPLES / "sample_ct.nrrd"))
            widget.checkPanel.ui.compareButton.click()
            self._waitUntil(lambda: widget.checkPanel.ui.figuresTable.rowCount > 0, 60)

    def test_modelIsTrainedInThePanelAndTranslates(self) -> None:
        """Train a small network on the sample: start, pause, resume, stop, save, translate.

        This checks the way and not the model: slabs of one patient are no patients.
        """
        widget = slicer.util.getModuleWidget("UncertaintyGuidedI2I")
        training = widget.logic.training
        if dependencies.missing(*TRAINING_NEEDS) or training.isBusy:
            self.delayDisplay("Training is not tested: its packages are missing, or it is under way")
            return
        widget.enter()
        choices, ui = widget.logic.getParameterNode(), widget.trainPanel.ui
        pet, ct = (slicer.util.loadVolume(str(SAMPLES / f"sample_{name}.nrrd")) for name in ("nacpet", "ct"))
        for number in range(5):
            first = 20 + 8 * number
            addPair(ScenePair(f"{number:02}", self._slab(pet, first), self._slab(ct, first)))
        choices.train.source = "scene"
        choices.train.trainPatients, choices.train.validationPatients, choices.train.testPatients = 3, 1, 1
        choices.train.preset, choices.train.device, choices.train.name = "quick", "cpu", "slabs"
        choices.train.changes = json.dumps(SMALL_TRAINING)

        with tempfile.TemporaryDirectory() as home:
            homes = {"UPGAN_RUNS": os.path.join(home, "runs"), "UPGAN_MODELS": os.path.join(home, "models")}
            with mock.patch.dict(os.environ, homes):
                assert ui.startButton.enabled, ui.startButton.toolTip
                ui.startButton.click()
                self._waitUntil(lambda: self._validations(training) or training.error, 120)
                ui.pauseButton.click()
                self._waitUntil(lambda: training.state != "pausing", 30)
                assert training.state == "paused", training.error
                before = len(training.journal)
                ui.pauseButton.click()
                self._waitUntil(lambda: len(training.journal) > before + 1 or training.error, 60)
                # Not by its button, which asks first.
                training.stop()
                self._waitUntil(lambda: training.state != "stopping", 30)
                assert training.state == "idle", training.error

                self._waitUntil(lambda: ui.saveModelButton.enabled, 5)
                ui.saveModelButton.click()
                self._waitUntil(lambda: not training.isBusy, 120)
                assert choices.translate.model == "slabs", ui.statusLabel.text
                nodes = widget.logic.translate(pet, model="slabs", device="cpu")
                assert slicer.util.arrayFromVolume(nodes["sigma"]).min() > 0
            training.select(None)
            widget.enter()

    def _slab(self, node: slicer.vtkMRMLScalarVolumeNode, first: int) -> slicer.vtkMRMLScalarVolumeNode:
        """Return some slices of a volume as one of its own."""
        voxels = slicer.util.arrayFromVolume(node)[first : first + 4].copy()
        slab = slicer.util.addVolumeFromArray(voxels, name=f"{node.GetName()} {first}")
        slab.CopyOrientation(node)
        return slab

    def _validations(self, training: object) -> int:
        return sum(line["kind"] == "validation" for line in training.journal)

    def _waitUntil(self, condition: Callable[[], bool], timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until, "It took too long."
            slicer.app.processEvents()
            time.sleep(0.01)
