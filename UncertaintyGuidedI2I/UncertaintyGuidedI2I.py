"""The front door: what Slicer sees of the extension. The work is done in UncertaintyGuidedI2ILib and upgan."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import slicer
import vtk
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
from UncertaintyGuidedI2ILib.display import showOverlay  # noqa: E402
from UncertaintyGuidedI2ILib.parameters import UncertaintyGuidedI2IParameterNode  # noqa: E402
from UncertaintyGuidedI2ILib.run_state import Run, RunState, progressText  # noqa: E402
from UncertaintyGuidedI2ILib.samples import SAMPLES, registerSampleData  # noqa: E402
from UncertaintyGuidedI2ILib.scene import provenanceOf  # noqa: E402

if TYPE_CHECKING:
    from upgan.inference import Progress


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
            "normal distribution). The bundled model is for demonstration, not for patients. See the "
            '<a href="https://github.com/UncertaintyGuidedI2I/UncertaintyGuidedI2I">documentation</a>.'
        )
        self.parent.acknowledgementText = _(
            "The method is by Uddeshya Upadhyay, Yanbei Chen, Tobias Hepp, Sergios Gatidis and Zeynep Akata: "
            "Uncertainty-Guided Progressive GANs for Medical Image Translation, MICCAI 2021, "
            '<a href="https://doi.org/10.1007/978-3-030-87199-4_58">doi:10.1007/978-3-030-87199-4_58</a>. '
            "Please cite it when you use this module."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


class UncertaintyGuidedI2IWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel: choose a volume and a model, translate, watch and cancel."""

    def __init__(self, parent: object = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._run = Run(self._showState)
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        # IDs, not nodes: what was translated last may be deleted or the scene closed.
        self._shownIDs = None

    def setup(self) -> None:
        """Load the panel, when the user opens the module for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/UncertaintyGuidedI2I.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = UncertaintyGuidedI2ILogic()
        for name in self.logic.modelNames():
            self.ui.modelSelector.addItem(name)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.modelSelector.connect("currentIndexChanged(int)", self.onModelSelected)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.ui.cancelButton.connect("clicked(bool)", self.onCancel)
        self.ui.showOverlayButton.connect("clicked(bool)", self.onShowOverlay)
        self.initializeParameterNode()
        self._showState()

    def cleanup(self) -> None:
        """Stop and let go, when the application closes."""
        self._run.cancel()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """Connect the panel to the saved choices, each time the user opens the module."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Leave the choices alone, each time the user opens another module."""
        self._disconnectGui()

    def onSceneStartClose(self, caller: object = None, event: object = None) -> None:
        """Cancel what runs: its input is about to go."""
        self._run.cancel()
        self._shownIDs = None
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: object = None, event: object = None) -> None:
        """Start with new choices if the panel is visible."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Make sure that there are choices, and an input to begin with."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if first:
                self._parameterNode.inputVolume = first

    def setParameterNode(self, parameterNode: UncertaintyGuidedI2IParameterNode | None) -> None:
        """Bind the panel to these choices and to no others."""
        self._disconnectGui()
        self._parameterNode = parameterNode
        if parameterNode:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.onChoicesChanged)
            self.onChoicesChanged()

    def onChoicesChanged(self, caller: object = None, event: object = None) -> None:
        """Follow choices made elsewhere, by a script or a loaded scene."""
        index = self.ui.modelSelector.findText(self._parameterNode.model)
        if index >= 0:
            self.ui.modelSelector.currentIndex = index
        elif self.ui.modelSelector.count > 0:
            # A scene from another installation may name a model that is not here.
            self._parameterNode.model = self.ui.modelSelector.currentText
        self._showState()

    def onModelSelected(self, index: int) -> None:
        """Remember the model; the list is made of what is installed, which a fixed choice cannot express."""
        if self._parameterNode and index >= 0:
            self._parameterNode.model = self.ui.modelSelector.itemText(index)

    def onApply(self, checked: bool = False) -> None:
        """Translate, with the panel alive in between."""
        if not self._parameterNode or not self._run.start():
            return
        try:
            with slicer.util.tryWithErrorDisplay(_("The translation failed unexpectedly.")):
                self._translate()
        finally:
            self._run.finish()

    def onCancel(self, checked: bool = False) -> None:
        """Stop at the next progress."""
        self._run.cancel()

    def onShowOverlay(self, checked: bool = False) -> None:
        """Show sigma over the translated image, because the user asks for it."""
        nodes = [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in self._shownIDs or ()]
        if nodes and all(nodes):
            showOverlay(*nodes)
            slicer.util.resetSliceViews()

    def _translate(self) -> None:
        from upgan.errors import Cancelled, UpganError

        self.ui.progressBar.value = 0
        try:
            if not dependencies.ensureInstalled(slicer.util.confirmOkCancelDisplay):
                return
            # While packages were installed the scene may have been closed.
            self._run.stopIfCancelled()
            nodes = self.logic.translate(
                self._parameterNode.inputVolume,
                model=self._parameterNode.model,
                device=self._parameterNode.device,
                progress=self._onProgress,
            )
        except Cancelled:
            self.ui.statusLabel.text = _("Cancelled. Nothing was added to the scene.")
        except UpganError as error:
            self.ui.statusLabel.text = error.sentence
            slicer.util.errorDisplay(f"{error.sentence}\n\n{error.remedy}", detailedText=str(error))
        else:
            image = next(node for name, node in nodes.items() if name not in ("alpha", "beta", "sigma"))
            self._shownIDs = (image.GetID(), nodes["sigma"].GetID())
            done = _("Done: {name}.").format(name=image.GetName())
            self.ui.statusLabel.text = " ".join([done, *provenanceOf(image).get("warnings", [])])

    def _onProgress(self, progress: Progress) -> None:
        self.ui.progressBar.value = round(100 * progress.fraction)
        if self._run.state is RunState.RUNNING:
            self.ui.statusLabel.text = progressText(progress)
        # Here the user may click anything, also close the scene: the run's state tells.
        slicer.app.processEvents()
        self._run.stopIfCancelled()

    def _showState(self) -> None:
        """Enable what makes sense now, and say why Apply does not."""
        why = self._whyNot()
        idle = self._run.state is RunState.IDLE
        self.ui.applyButton.enabled = not why
        self.ui.applyButton.toolTip = why or _("Translate the input and add the outputs to the scene.")
        self.ui.cancelButton.enabled = self._run.state is RunState.RUNNING
        for widget in (self.ui.inputSelector, self.ui.modelSelector, self.ui.deviceSelector):
            widget.enabled = idle
        self.ui.showOverlayButton.enabled = idle and bool(self._shownIDs)
        if self._run.state is RunState.CANCELLING:
            self.ui.statusLabel.text = _("Cancelling after these slices...")

    def _whyNot(self) -> str:
        """Return why Apply cannot be clicked, or nothing."""
        if self._run.state is not RunState.IDLE:
            return _("A translation is running.")
        if not self._parameterNode or not self._parameterNode.inputVolume:
            return _("Choose the volume to translate.")
        if self.ui.modelSelector.count == 0:
            return _("No model is installed.")
        return ""

    def _disconnectGui(self) -> None:
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onChoicesChanged)


class UncertaintyGuidedI2ILogic(ScriptedLoadableModuleLogic, translationLogic.UncertaintyGuidedI2ILogic):
    """The logic for scripts in Slicer; see UncertaintyGuidedI2ILib.logic for ``translate``."""

    def __init__(self, parent: object = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self, parent)
        translationLogic.UncertaintyGuidedI2ILogic.__init__(self)

    def getParameterNode(self) -> UncertaintyGuidedI2IParameterNode:
        """Return the module's choices, typed."""
        return UncertaintyGuidedI2IParameterNode(super().getParameterNode())


class UncertaintyGuidedI2ITest(ScriptedLoadableModuleTest):
    """The module's self-test: the user's journey on the bundled sample."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test, one after another."""
        self.setUp()
        self.test_sampleIsTranslatedOntoItsOwnGrid()

    def test_sampleIsTranslatedOntoItsOwnGrid(self) -> None:
        """Translate the sample PET and compare what came out with what went in."""
        missing = dependencies.missing()
        if missing:
            self.delayDisplay(f"Skipped: not installed: {', '.join(missing)}")
            return
        pet = slicer.util.loadVolume(str(SAMPLES / "sample_nacpet.nrrd"))
        nodes = UncertaintyGuidedI2ILogic().translate(pet, device="cpu")
        assert set(nodes) == {"pseudo_ct", "alpha", "beta", "sigma"}
        for node in nodes.values():
            assert node.GetImageData().GetDimensions() == pet.GetImageData().GetDimensions()
            assert node.GetOrigin() == pet.GetOrigin()
            assert node.GetSpacing() == pet.GetSpacing()
        assert slicer.util.arrayFromVolume(nodes["sigma"]).min() > 0
        self.delayDisplay("Test passed")
