"""How outputs look: window, colours, threshold. Views change only when a function here is asked to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import slicer

from UncertaintyGuidedI2ILib.scene.colors import colorNode
from UncertaintyGuidedI2ILib.scene.legends import refreshLegends
from UncertaintyGuidedI2ILib.scene.views import areInOnePlace, fitView, isComparisonView

# Gaussian errors have beta 2, Laplace errors 1; above 4 the tails hardly differ.
BETA_RANGE = (0.0, 4.0)

COLOR_TABLES = {"sigma": "Inferno", "alpha": "Magma", "beta": "Viridis", "epistemic": "Iris"}

# Ends of the epistemic map's colours and what is transparent, as shares of sigma's: on an image like those of the
# training it is about a quarter of sigma.
EPISTEMIC_MAX, EPISTEMIC_THRESHOLD = 0.5, 0.25


@dataclass(frozen=True)
class DisplayHints:
    """A task's display hints, all in the output's unit: window and level of the image, limits of the maps."""

    window: float
    level: float
    sigmaThreshold: float
    sigmaMax: float
    alphaMax: float

    @classmethod
    def of(cls, hints: Mapping[str, float]) -> Self:
        """Return the hints that the engine gives with a translation (``Translation.display``)."""
        return cls(
            window=hints["window"],
            level=hints["level"],
            sigmaThreshold=hints["sigma_threshold"],
            sigmaMax=hints["sigma_max"],
            alphaMax=hints["alpha_max"],
        )


def setUpDisplay(node: slicer.vtkMRMLScalarVolumeNode, quantity: str, hints: DisplayHints, maximum: float) -> None:
    """Give an output its display node: the image in grey, the others in colour.

    Sigma and the epistemic map are clear where they are low.

    Args:
        node: A volume without display node yet.
        quantity: "image", "alpha", "beta", "sigma" or "epistemic".
        hints: The task's ranges, in the output's unit.
        maximum: The largest voxel value of the output.
    """
    low, high = {
        "image": (hints.level - hints.window / 2, hints.level + hints.window / 2),
        "alpha": (0.0, _round(hints.alphaMax)),
        "beta": BETA_RANGE,
        "sigma": (0.0, _round(hints.sigmaMax)),
        "epistemic": (0.0, _round(EPISTEMIC_MAX * hints.sigmaMax)),
    }[quantity]
    lowest = {"sigma": hints.sigmaThreshold, "epistemic": EPISTEMIC_THRESHOLD * hints.sigmaThreshold}.get(quantity)
    visible = (lowest, max(maximum, high)) if lowest is not None else None
    setUpMap(node, (low, high), COLOR_TABLES.get(quantity), visible)


def _round(value: float) -> float:
    """Round to two digits: shares of an input's reference are odd numbers, which nobody reads beside the colours."""
    return float(f"{value:.2g}")


def setUpMap(
    node: slicer.vtkMRMLScalarVolumeNode,
    shown: tuple[float, float],
    table: str | None,
    visible: tuple[float, float] | None = None,
) -> None:
    """Give a volume a fixed window and a colour table.

    Args:
        node: A volume; its display node is made where there is none.
        shown: Values at the two ends of the colours.
        table: One of ``Resources/Colors``, or None for grey.
        visible: The lowest and highest value that are seen, others being transparent; None where all are seen.
    """
    display = node.GetDisplayNode()
    if display is None:
        # Not by CreateDefaultDisplayNodes, which goes through all voxels to guess a window.
        display = slicer.vtkMRMLScalarVolumeDisplayNode()
        display.AutoWindowLevelOff()
        node.GetScene().AddNode(display)
        node.SetAndObserveDisplayNodeID(display.GetID())
    with slicer.util.NodeModify(display):
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(*shown)
        color = colorNode(node.GetScene(), table).GetID() if table else "vtkMRMLColorTableNodeGrey"
        display.SetAndObserveColorNodeID(color)
        if visible is not None:
            _hideBelow(display, *visible)


def _hideBelow(display: slicer.vtkMRMLScalarVolumeDisplayNode, threshold: float, highest: float) -> None:
    display.AutoThresholdOff()
    # Nothing is hidden at the upper end: voxels brighter than the colour scale are the ones to see.
    display.SetThreshold(threshold, highest)
    display.ApplyThresholdOn()


def showOverlay(
    background: slicer.vtkMRMLScalarVolumeNode,
    overlay: slicer.vtkMRMLScalarVolumeNode,
    opacity: float = 0.5,
    applicationLogic: slicer.vtkMRMLApplicationLogic | None = None,
) -> None:
    """Show one volume over another in every slice view of the user's; call it only when he asks.

    Args:
        background: The anatomy, e.g. the pseudo-CT or the input.
        overlay: What lies on it, e.g. sigma.
        opacity: The overlay's opacity, from 0 to 1.
        applicationLogic: Where it is given, views that showed something elsewhere in space are fitted to the anatomy;
            they stay at the slice that the user was at where that lies in it.
    """
    scene = background.GetScene()
    for composite in sliceComposites(scene):
        before = scene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        with slicer.util.NodeModify(composite):
            composite.SetBackgroundVolumeID(background.GetID())
            composite.SetForegroundVolumeID(overlay.GetID())
            composite.SetForegroundOpacity(opacity)
        logic = applicationLogic and applicationLogic.GetSliceLogicByLayoutName(composite.GetLayoutName())
        if logic and not areInOnePlace(before, background):
            fitView(logic, logic.GetSliceOffset() if before is not None else None)
    refreshLegends(scene)


def sliceComposites(scene: slicer.vtkMRMLScene) -> Iterator[slicer.vtkMRMLSliceCompositeNode]:
    """Yield the layers of all slice views but those of the comparison, which show what they are for."""
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode")
        if not isComparisonView(composite.GetLayoutName()):
            yield composite
