"""What can lie on the anatomy: a translation's own maps, and those derived from alpha and beta a little at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from UncertaintyGuidedI2ILib.scene import display
from UncertaintyGuidedI2ILib.scene.display import sliceComposites
from UncertaintyGuidedI2ILib.scene.familiarity import areIntervalsWithheld
from UncertaintyGuidedI2ILib.scene.legends import legends, refreshLegends
from UncertaintyGuidedI2ILib.scene.nodes import INPUT_REFERENCE, isInScene, placeBeside
from UncertaintyGuidedI2ILib.scene.results import PHASE, QUANTITY, TRANSLATION, UNIT, Result, nodesOfTranslation
from UncertaintyGuidedI2ILib.scene.voxels import emptyLike

# Of one step: about ten milliseconds of incomplete gamma functions.
STEP_VOXELS = 65_536

# A probability below this is left transparent: nearly the whole head is surely not bone.
LOWEST_PROBABILITY = 0.05

NEEDS = {
    "image": ("image",),
    "sigma": ("sigma",),
    "epistemic": ("epistemic",),
    "alpha": ("alpha",),
    "beta": ("beta",),
    "interval_width": ("alpha", "beta"),
    "probability": ("image", "alpha", "beta"),
}
DERIVED = ("interval_width", "probability")


class ResultGoneError(RuntimeError):
    """The maps were deleted, or the scene closed, while something was derived from them."""


@dataclass(frozen=True)
class Overlay:
    """One map over the anatomy.

    Attributes:
        quantity: What the map shows, a key of ``NEEDS``.
        level: The level of the credible interval whose width is shown, in (0, 1).
        threshold: The intensity that the probability refers to, in the image's unit.
        above: Whether the probability is that of lying above the threshold; else it is that of lying below.
    """

    quantity: str
    level: float = 0.9
    threshold: float = 300.0
    above: bool = True

    def missingIn(self, result: Result) -> list[str]:
        """Return the quantities that it needs and that are not in the scene any more."""
        return [quantity for quantity in NEEDS[self.quantity] if quantity not in result.nodes]

    def isWithheldIn(self, result: Result) -> bool:
        """Whether it would claim a level that was measured on images unlike this one."""
        return self.quantity == "interval_width" and areIntervalsWithheld(result)

    def title(self, result: Result) -> str:
        """Return what a legend says, in ASCII and with the unit: "P(HU > 300)", "sigma (HU)", "sigma (a.u.)"."""
        sign, unit = ">" if self.above else "<", result.shownUnit
        if self.quantity == "probability":
            threshold = f"{self.threshold:g}"
            return f"P({unit} {sign} {threshold})" if result.unit else f"P(value {sign} {threshold} {unit})"
        name = {"interval_width": f"{100 * self.level:g} % interval width", "image": result.imageName}
        text = name.get(self.quantity, self.quantity)
        return text if self.quantity == "beta" else f"{text} ({unit})"


def overlayStepwise(result: Result, overlay: Overlay) -> Generator[None, None, slicer.vtkMRMLScalarVolumeNode]:
    """Return the volume that shows an overlay, made or brought up to date in small steps where it is derived.

    Each translation has one volume for each derived quantity. Until the end it keeps its last complete map, so that the
    map and its legend always agree; stopped before its end, nothing has changed.

    Args:
        result: A result that lacks nothing of what ``Overlay.missingIn`` looks for.
        overlay: The map to show.

    Raises:
        ResultGoneError: The result has left the scene meanwhile.
    """
    if overlay.quantity not in DERIVED:
        node = result.nodes[overlay.quantity]
        _colourIfGrey(node, result)
        return node
    source = result.nodes[NEEDS[overlay.quantity][-1]]
    scene = source.GetScene()
    if scene is None:
        raise ResultGoneError
    image = emptyLike(source.GetImageData())
    voxels = vtk_to_numpy(image.GetPointData().GetScalars())
    inputs = [slicer.util.arrayFromVolume(result.nodes[name]).reshape(-1) for name in NEEDS[overlay.quantity]]
    phase, function, highest = result.phase, _function(overlay), 0.0
    for first in range(0, voxels.size, STEP_VOXELS):
        step = slice(first, first + STEP_VOXELS)
        voxels[step] = function(*(values[step] for values in inputs))
        highest = max(highest, float(voxels[step].max()))
        yield
    if not isInScene(source, scene):
        raise ResultGoneError
    node = derivedNode(result, overlay.quantity) or _addDerived(result, overlay, source)
    with slicer.util.NodeModify(node):
        node.SetAndObserveImageData(image)
        node.CopyOrientation(source)
        node.SetAndObserveTransformNodeID(source.GetTransformNodeID())
        node.SetAttribute(PHASE, str(phase))
        node.SetAttribute(RULE, overlay.title(result))
    _setUpDerived(node, result, overlay, highest)
    return node


# What a derived volume shows: "P(HU > 300)".
RULE = "UncertaintyGuidedI2I.Rule"


def derivedNode(result: Result, quantity: str) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Return the translation's derived volume where there is one."""
    nodes = nodesOfTranslation(result.scene, result.translationID)
    return next((node for node in nodes if node.GetAttribute(QUANTITY) == quantity), None)


def _function(overlay: Overlay) -> Callable[..., np.ndarray]:
    from upgan.uncertainty import derived

    if overlay.quantity == "interval_width":
        return lambda alpha, beta: derived.interval_width(alpha, beta, overlay.level)
    probability = derived.probability_above if overlay.above else derived.probability_below
    return lambda image, alpha, beta: probability(image, alpha, beta, overlay.threshold)


def _addDerived(
    result: Result, overlay: Overlay, source: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLScalarVolumeNode:
    scene, inputNode = result.scene, result.inputNode
    name = f"{(inputNode or source).GetName()} {overlay.quantity.replace('_', ' ')}"
    if overlay.quantity == "interval_width" and result.unit:
        name += f" ({result.unit})"
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    node.SetAttribute(TRANSLATION, result.translationID)
    node.SetAttribute(QUANTITY, overlay.quantity)
    node.SetAttribute(UNIT, "1" if overlay.quantity == "probability" else result.unit)
    if inputNode is not None:
        node.SetNodeReferenceID(INPUT_REFERENCE, inputNode.GetID())
    placeBeside(source, node)
    return node


def _setUpDerived(node: slicer.vtkMRMLScalarVolumeNode, result: Result, overlay: Overlay, highest: float) -> None:
    """Fix the colours' ends; a probability's never change, so the user's own are kept."""
    if overlay.quantity == "probability":
        if node.GetDisplayNode() is None:
            display.setUpMap(node, (0.0, 1.0), "Lagoon", (LOWEST_PROBABILITY, 1.0))
        return
    from scipy import special

    low, high, hidden = _sigmaRange(result)
    # Of a Gaussian with the sigma at that end of sigma's own colours; round, so that the legend is.
    widths = 2 * special.ndtri((1 + overlay.level) / 2)
    high, hidden = _round(high * widths), _round(hidden * widths)
    display.setUpMap(node, (low, high), "Inferno", (hidden, max(highest, high)))


def _sigmaRange(result: Result) -> tuple[float, float, float]:
    """Return sigma at both ends of its colours, and below what it is transparent."""
    node = result.nodes.get("sigma") or result.nodes["alpha"]
    shown = node.GetDisplayNode()
    if shown is None or shown.GetAutoWindowLevel():
        highest = float(np.percentile(slicer.util.arrayFromVolume(node)[::4, ::4, ::4], 99.5))
        return 0.0, highest, highest / 5
    hidden = shown.GetLowerThreshold() if shown.GetApplyThreshold() else 0.0
    return 0.0, shown.GetWindowLevelMax(), hidden


def _round(value: float) -> float:
    """Round to two digits."""
    return float(f"{value:.2g}")


def _colourIfGrey(node: slicer.vtkMRMLScalarVolumeNode, result: Result) -> None:
    """Colour an uncertainty map that has lost its colours, as one does that Slicer made anew after its deletion."""
    quantity = node.GetAttribute(QUANTITY)
    shown = node.GetDisplayNode()
    if quantity not in display.COLOR_TABLES or (
        shown is not None and shown.GetColorNodeID() != "vtkMRMLColorTableNodeGrey"
    ):
        return
    if quantity == "beta":
        ends = display.BETA_RANGE
    else:
        ends = (0.0, float(np.percentile(slicer.util.arrayFromVolume(node)[::4, ::4, ::4], 99.5)))
    display.setUpMap(node, ends, display.COLOR_TABLES[quantity])


def hideLegends(scene: slicer.vtkMRMLScene) -> None:
    """Hide the colour legends of what can be an overlay; the user's other legends stay."""
    for legend in legends(scene):
        if _isOverlay(legend.GetDisplayableNode()):
            legend.SetVisibility(False)


# What views showed before that is not known (any more): they lose the overlay and nothing else.
NOTHING_REMEMBERED = "{}"


def rememberLayers(scene: slicer.vtkMRMLScene) -> str:
    """Return what the slice views show, as text that a scene can be saved with."""
    return json.dumps(
        {
            composite.GetID(): [
                composite.GetBackgroundVolumeID(),
                composite.GetForegroundVolumeID(),
                composite.GetForegroundOpacity(),
            ]
            for composite in sliceComposites(scene)
        }
    )


def restoreLayers(scene: slicer.vtkMRMLScene, remembered: str) -> None:
    """Let the slice views show again what they showed; a volume that is gone leaves its layer empty.

    A view in which the user has meanwhile chosen another foreground is left alone. One that did not exist when the
    others were remembered loses nothing but the overlay.
    """
    layers = json.loads(remembered) if remembered else {}
    for composite in sliceComposites(scene):
        shown = composite.GetForegroundVolumeID()
        if _exists(scene, shown) and not _isOverlay(scene.GetNodeByID(shown)):
            continue
        before = layers.get(composite.GetID(), [composite.GetBackgroundVolumeID(), None, 0.0])
        background, foreground = (volume if _exists(scene, volume) else None for volume in before[:2])
        with slicer.util.NodeModify(composite):
            composite.SetBackgroundVolumeID(background)
            composite.SetForegroundVolumeID(foreground)
            composite.SetForegroundOpacity(before[2])
    refreshLegends(scene)


def _exists(scene: slicer.vtkMRMLScene, nodeID: str | None) -> bool:
    return bool(nodeID) and scene.GetNodeByID(nodeID) is not None


def _isOverlay(node: slicer.vtkMRMLNode | None) -> bool:
    return node is not None and bool(node.GetAttribute(TRANSLATION)) and node.GetAttribute(QUANTITY) in NEEDS
