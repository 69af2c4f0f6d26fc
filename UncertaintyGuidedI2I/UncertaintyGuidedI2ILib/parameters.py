"""The choices that are saved with the scene, one pack a panel; imported only inside the Slicer application."""

from typing import Annotated, Any

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper, parameterPack

from UncertaintyGuidedI2ILib.logic import DEFAULT_MODEL

PRECISIONS = ["auto", "float32", "bfloat16"]
PLANES = ["as trained", "axial", "coronal", "sagittal"]
OVERLAYS = ["sigma", "alpha", "beta", "translated image", "interval width", "probability"]
ANATOMIES = ["input", "translated image"]
RELATIONS = ["above", "below"]
RULES = ["sigma at least", "percentile of sigma"]


@parameterPack
class TranslateChoices:
    """What to run.

    Attributes:
        inputVolume: The volume to translate.
        model: Name of an installed model; its selector is filled by what is installed, so it is no fixed choice.
        device: "auto", "cpu" or a CUDA device; its selector is filled by what the worker finds.
        precision: Arithmetic of the networks' bodies.
        plane: Of the slices.
        allPhases: Whether to keep every phase's outputs, as a sequence, or the last phase's alone.
        image: Whether to add the translated image; likewise alpha, beta and sigma.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    model: str = DEFAULT_MODEL
    device: str = "auto"
    precision: Annotated[str, Choice(PRECISIONS)] = PRECISIONS[0]
    plane: Annotated[str, Choice(PLANES)] = PLANES[0]
    allPhases: bool = True
    image: bool = True
    alpha: bool = True
    beta: bool = True
    sigma: bool = True


@parameterPack
class InspectChoices:
    """What to look at, and how.

    Attributes:
        result: The translated image of the run to inspect.
        segmentation: The user's own segments, for the statistics.
        overlay: What lies on the anatomy.
        anatomy: What it lies on.
        showOverlay: Whether it lies there now.
        legend: Whether its colours are explained in the views.
        opacity: Of the overlay.
        level: Of the credible interval, in per cent.
        threshold: Of the probability overlay, in the image's unit (HU).
        relation: Whether the probability is that of lying above or below the threshold.
        rule: How uncertain regions are found.
        sigma: Lowest sigma of an uncertain region, in the image's unit.
        percentile: Of sigma inside the body, above which a voxel is uncertain.
        minimumSize: Of a region, in mL.
        layersBefore: What the views showed before the overlay, to be shown again; empty where there is none.
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
    threshold: Annotated[float, WithinRange(-100000, 100000)] = 300.0
    relation: Annotated[str, Choice(RELATIONS)] = RELATIONS[0]
    rule: Annotated[str, Choice(RULES)] = RULES[0]
    sigma: Annotated[float, WithinRange(0, 100000)] = 200.0
    percentile: Annotated[float, WithinRange(0, 100)] = 95.0
    minimumSize: Annotated[float, WithinRange(0, 1000)] = 0.5
    layersBefore: str = ""
    layoutBefore: int = 0


@parameterPack
class CheckChoices:
    """What to compare.

    Attributes:
        result: The translated image of the run to check.
        reference: The real image, e.g. a CT.
    """

    result: vtkMRMLScalarVolumeNode
    reference: vtkMRMLScalarVolumeNode


@parameterNodeWrapper
class UncertaintyGuidedI2IParameterNode:
    """The choices of all panels."""

    translate: TranslateChoices
    inspect: InspectChoices
    check: CheckChoices


def connectWidgets(parameterNode: Any, ui: Any) -> int:
    """Bind every widget that names a choice in its property ``SlicerParameterName``.

    Not by ``connectGui``, which in Slicer 5.10 keeps the tag for itself (Slicer issue 7547): widgets could not be let
    go, and each scene closed or loaded would leave one more writer of stale choices behind.

    Args:
        parameterNode: An ``UncertaintyGuidedI2IParameterNode``.
        ui: Widgets of a panel, by name.

    Returns:
        The tag for ``disconnectGui``.
    """
    named = ((widget.property("SlicerParameterName"), widget) for widget in vars(ui).values())
    tag: int = parameterNode.connectParametersToGui({name: widget for name, widget in named if name})
    return tag
