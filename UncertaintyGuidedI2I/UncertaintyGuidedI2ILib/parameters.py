"""The choices that are saved with the scene, one pack a panel; imported only inside the Slicer application."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper, parameterPack

from UncertaintyGuidedI2ILib.models import DEFAULT_MODEL

PRECISIONS = ["auto", "float32", "bfloat16"]
PLANES = ["as trained", "axial", "coronal", "sagittal"]
OVERLAYS = ["sigma", "epistemic", "alpha", "beta", "translated image", "interval width", "probability"]
ANATOMIES = ["input", "translated image"]
RELATIONS = ["above", "below"]
RULES = ["sigma at least", "percentile of sigma"]
SOURCES = ["folder", "table", "scene"]
# Those that read a folder; a table is a layout of its own.
LAYOUTS = ["manifest", "pattern", "bids", "ixi"]
TASKS = ["pet_to_ct", "mr_to_ct", "mri_undersampled", "mri_motion"]
DEGRADATIONS = [
    "none",
    "undersampling",
    "central_lines",
    "central_block",
    "published_lines",
    "regular_4x",
    "regular_8x",
    "random_4x",
    "random_8x",
    "any_motion",
    "sudden_motion",
    "drifting_motion",
    "periodic_motion",
    "motion",
]
PRESETS = ["quick", "fine-tune", "paper"]
# Of a limit of intensities, whose unit may be any.
LARGEST = 1e7
# In HU: between soft tissue and bone, and beyond what is noise in soft tissue.
THRESHOLD_HU, SIGMA_HU = 300.0, 200.0


@parameterPack
class TranslateChoices:
    """What to translate, and how.

    Attributes:
        inputVolume: The volume to translate.
        model: Name of an installed model; its selector is filled by what is installed, so it is no fixed choice.
        preselected: The model that the panel has chosen for the input; where ``model`` is another, somebody chose it.
        together: Names of further models that translate together with it, as JSON: ["site-model"].
        device: "auto", "cpu" or a CUDA device; its selector is filled by what the worker finds.
        precision: Arithmetic of the networks' bodies.
        plane: The plane of the slices.
        allPhases: Whether to keep every phase's outputs, as a sequence, or the last phase's alone.
        image: Whether to add the translated image.
        alpha: Whether to add the map of the scale alpha.
        beta: Whether to add the map of the shape beta.
        sigma: Whether to add the map of the standard deviation sigma.
        epistemic: Whether to add the map of what the model does not know, for twice the time.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    model: str = DEFAULT_MODEL
    preselected: str = DEFAULT_MODEL
    together: str = "[]"
    device: str = "auto"
    precision: Annotated[str, Choice(PRECISIONS)] = PRECISIONS[0]
    plane: Annotated[str, Choice(PLANES)] = PLANES[0]
    allPhases: bool = True
    image: bool = True
    alpha: bool = True
    beta: bool = True
    sigma: bool = True
    epistemic: bool = False


@parameterPack
class InspectChoices:
    """What to look at, and how.

    Attributes:
        result: The translated image of the translation to inspect.
        segmentation: The user's own segments, for the statistics.
        overlay: The map that lies on the anatomy.
        anatomy: The image that the overlay lies on.
        showOverlay: Whether the overlay lies there now.
        legend: Whether the overlay's colours are explained in the views.
        opacity: The overlay's opacity, from 0 to 1.
        level: The level of the credible interval, in per cent.
        threshold: The threshold of the probability overlay, in the image's unit.
        relation: Whether the probability is that of lying above or below the threshold.
        rule: How uncertain regions are found.
        sigma: Lowest sigma of an uncertain region, in the image's unit.
        percentile: The percentile of sigma inside the body, above which a voxel is uncertain.
        minimumSize: The smallest volume of an uncertain region, in mL.
        scale: The reference intensity of the result that threshold and sigma were chosen for; 0 where it has a unit.
        layersBefore: What the views showed before the overlay, to be shown again; empty where there is no overlay.
        layoutBefore: The layout before the comparison, to go back to.
    """

    result: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    overlay: Annotated[str, Choice(OVERLAYS)] = OVERLAYS[0]
    anatomy: Annotated[str, Choice(ANATOMIES)] = ANATOMIES[0]
    showOverlay: bool = False
    legend: bool = True
    opacity: Annotated[float, WithinRange(0, 1)] = 0.5
    level: Annotated[float, WithinRange(1, 99)] = 90.0
    threshold: Annotated[float, WithinRange(-LARGEST, LARGEST)] = THRESHOLD_HU
    relation: Annotated[str, Choice(RELATIONS)] = RELATIONS[0]
    rule: Annotated[str, Choice(RULES)] = RULES[0]
    sigma: Annotated[float, WithinRange(0, LARGEST)] = SIGMA_HU
    percentile: Annotated[float, WithinRange(0, 100)] = 95.0
    minimumSize: Annotated[float, WithinRange(0, 1000)] = 0.5
    scale: float = 0.0
    layersBefore: str = ""
    layoutBefore: int = 0


@parameterPack
class CheckChoices:
    """What to compare.

    Attributes:
        result: The translated image of the translation to check.
        reference: The real image, e.g. a CT.
    """

    result: vtkMRMLScalarVolumeNode
    reference: vtkMRMLScalarVolumeNode


@parameterPack
class TrainChoices:
    """What to train, and on what.

    Attributes:
        folder: The folder that holds the pairs, read by ``layout``.
        table: The CSV file that lists the pairs.
        source: Whether pairs come from ``folder``, from ``table`` or from the volumes of the scene.
        layout: How the folder is laid out.
        inputPattern: The pattern of the input files below the folder.
        targetPattern: The pattern of the target files below the folder.
        task: What is translated.
        degradation: What makes the inputs from the targets, if anything.
        registerPairs: Whether each target is first aligned to its input.
        trustGuessedPlaces: Whether targets are moved also where the files leave open where the images lie.
        skipBad: Whether subjects that cannot be used are left out instead of refusing to start.
        trainPatients: The number of patients that are trained on; 0 lets the engine choose.
        validationPatients: The number of patients that are watched while it trains; 0 lets the engine choose.
        testPatients: The number of patients that are held out for the test; 0 lets the engine choose.
        baseModel: Name of an installed model to go on from; empty where training starts from scratch.
        preset: The preset that gives all settings their values.
        changes: Settings that differ from the preset, as JSON: {"schedule.batch": 4}.
        device: "auto", "cpu" or "cuda".
        name: The name of the model that comes out.
        run: Folder of the run that is looked at; empty where there is none.
        livePreview: Whether the preview volumes follow the training.
    """

    folder: Path
    table: Path
    source: Annotated[str, Choice(SOURCES)] = SOURCES[0]
    layout: Annotated[str, Choice(LAYOUTS)] = LAYOUTS[0]
    inputPattern: str = ""
    targetPattern: str = ""
    task: Annotated[str, Choice(TASKS)] = TASKS[0]
    degradation: Annotated[str, Choice(DEGRADATIONS)] = DEGRADATIONS[0]
    registerPairs: bool = False
    trustGuessedPlaces: bool = False
    skipBad: bool = False
    trainPatients: Annotated[int, WithinRange(0, 100000)] = 0
    validationPatients: Annotated[int, WithinRange(0, 100000)] = 0
    testPatients: Annotated[int, WithinRange(0, 100000)] = 0
    baseModel: str = ""
    preset: Annotated[str, Choice(PRESETS)] = PRESETS[0]
    changes: str = "{}"
    device: str = "auto"
    name: str = "site-model"
    run: str = ""
    livePreview: bool = False


class StoredChoices:
    """The packs of all panels by name."""

    translate: TranslateChoices
    inspect: InspectChoices
    check: CheckChoices
    train: TrainChoices


# Slicer adds what stores the packs in a node and binds them to widgets.
SlicersWrapper: Any = parameterNodeWrapper(StoredChoices)


class CurrentChoices:
    """One panel's choices as they are at the time of asking, however long this object is kept.

    Slicer's wrapper gives copies of a pack: one that is kept does not see what others write, and when one of its values
    is set it writes all of them, so that what others wrote meanwhile is undone.

    Args:
        pack: Returns the pack of choices as it is now.
    """

    __slots__ = ("_pack",)

    def __init__(self, pack: Callable[[], Any]) -> None:
        object.__setattr__(self, "_pack", pack)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pack(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._pack(), name, value)

    def __repr__(self) -> str:
        return repr(self._pack())


def _current(name: str) -> property:
    def read(self: Any) -> CurrentChoices:
        return CurrentChoices(lambda: getattr(super(UncertaintyGuidedI2IParameterNode, self), name))

    return property(read)


class UncertaintyGuidedI2IParameterNode(SlicersWrapper):
    """The choices of all panels, which may be kept and asked at any time; ``choicesOf`` returns the one of a node.

    Slicer's wrapper keeps copies of what the node holds, and brings them up to date in observers of its own. Whoever
    reads the choices because the node has changed must be called after those: first the copies, then the widgets that
    show them (``WIDGETS_PRIORITY``), then the panels (``PANELS_PRIORITY``).
    """

    WIDGETS_PRIORITY = -0.5
    PANELS_PRIORITY = -1.0

    translate = _current("translate")
    inspect = _current("inspect")
    check = _current("check")
    train = _current("train")

    def __init__(self, parameterNode: slicer.vtkMRMLScriptedModuleNode) -> None:
        _complete(parameterNode)
        # By the tag of a binding: the tag of the observer that shows the choices in its widgets.
        self._widgetObservers: dict[int, int] = {}
        self._lastObserver = 0
        super().__init__(parameterNode)

    def AddObserver(self, event: Any, callback: Callable[..., None], priority: float = WIDGETS_PRIORITY) -> int:
        """Observe the node; Slicer's wrapper does so for the widgets, without a priority."""
        self._lastObserver = super().AddObserver(event, callback, priority)
        return self._lastObserver

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind widgets by the dotted names of choices and return the tag for ``disconnectGui``."""
        tag: int = super().connectParametersToGui(mapping)
        self._widgetObservers[tag] = self._lastObserver
        return tag

    def disconnectGui(self, tag: int) -> None:
        """Let widgets go, and the observer that Slicer's wrapper leaves behind, which would keep all of this alive."""
        super().disconnectGui(tag)
        if tag in self._widgetObservers:
            self.RemoveObserver(self._widgetObservers.pop(tag))


# The one wrapper of a parameter node, as long as anybody holds it: two around one node would not share their copies.
_shared: weakref.ReferenceType[UncertaintyGuidedI2IParameterNode] | None = None


def choicesOf(node: slicer.vtkMRMLScriptedModuleNode) -> UncertaintyGuidedI2IParameterNode:
    """Return the choices that a parameter node holds: the same object to the panels and to every script."""
    global _shared
    _complete(node)
    choices = _shared() if _shared is not None else None
    if choices is None or choices.parameterNode is not node:
        choices = UncertaintyGuidedI2IParameterNode(node)
        _shared = weakref.ref(choices)
    return choices


class Binding:
    """A panel's hold on its choices: its widgets show and write them, and it hears when any has changed.

    Args:
        ui: Widgets of the panel, by name.
        pack: The name of the panel's choices: "translate", "inspect", "check" or "train".
        onChanged: Called after each change, of whichever panel, when choices and widgets are already those of now.

    Attributes:
        node: The choices of all panels; None where there is no scene to save them in.
    """

    def __init__(self, ui: Any, pack: str, onChanged: Callable[..., None]) -> None:
        self.node: UncertaintyGuidedI2IParameterNode | None = None
        self._ui = ui
        self._pack = pack
        self._onChanged = onChanged
        self._connected: tuple[UncertaintyGuidedI2IParameterNode, int, int] | None = None

    def choices(self) -> Any:
        """Return the panel's own choices, which may be kept; None where there is no scene to save them in."""
        return getattr(self.node, self._pack) if self.node is not None else None

    def bind(self, node: UncertaintyGuidedI2IParameterNode | None) -> None:
        """Hold these choices and no others any more."""
        if self._connected is not None:
            before, widgets, panel = self._connected
            before.disconnectGui(widgets)
            before.RemoveObserver(panel)
        # None until all is bound: a failure on the way must not have others' connections cut the next time.
        self._connected, self.node = None, node
        if node is not None:
            widgets = connectWidgets(node, self._ui)
            panel = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onChanged, node.PANELS_PRIORITY)
            self._connected = node, widgets, panel


def connectWidgets(parameterNode: UncertaintyGuidedI2IParameterNode, ui: Any) -> int:
    """Bind every widget that names a choice in its property ``SlicerParameterName``.

    Not by ``connectGui``, which in Slicer 5.10 keeps the tag for itself (Slicer issue 7547): widgets could not be let
    go, and each scene closed or loaded would leave one more writer of stale choices behind.

    Args:
        parameterNode: The choices.
        ui: Widgets of a panel, by name.

    Returns:
        The tag for ``disconnectGui``.
    """
    named = ((widget.property("SlicerParameterName"), widget) for widget in vars(ui).values())
    return parameterNode.connectParametersToGui({name: widget for name, widget in named if name})


def _complete(node: slicer.vtkMRMLScriptedModuleNode) -> None:
    """Give a node the choices that it was stored without: a pack with a part missing cannot be read.

    It comes from a scene that was saved before the module had them.
    """
    packs: dict[str, Any] = {
        "translate": TranslateChoices,
        "inspect": InspectChoices,
        "check": CheckChoices,
        "train": TrainChoices,
    }
    with slicer.util.NodeModify(node):
        for name, kind in packs.items():
            defaults = kind()
            for part in kind.allParameters:
                if not node.HasParameter(f"{name}.{part}"):
                    default = getattr(defaults, part)
                    # As Slicer stores it: of a node the reference is elsewhere.
                    node.SetParameter(f"{name}.{part}", "" if default is None else str(default))
