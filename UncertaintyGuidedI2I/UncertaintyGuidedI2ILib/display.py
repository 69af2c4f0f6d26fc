"""How outputs look: window, colours, threshold, legend. Views change only when a function here is asked to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import slicer

from UncertaintyGuidedI2ILib.colors import colorNode
from UncertaintyGuidedI2ILib.comparison_layout import isComparisonView

# Gaussian errors have beta 2, Laplace errors 1; above 4 the tails hardly differ.
BETA_RANGE = (0.0, 4.0)

COLOR_TABLES = {"sigma": "Inferno", "alpha": "Magma", "beta": "Viridis"}


@dataclass(frozen=True)
class DisplayHints:
    """A task's display hints, all in the output's unit."""

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
    """Give an output its display node: the image in grey, the others in colour, sigma clear where it is low.

    Args:
        node: A volume without display node yet.
        quantity: "image", "alpha", "beta" or "sigma".
        hints: Ranges in the output's unit.
        maximum: Largest voxel.
    """
    low, high = {
        "image": (hints.level - hints.window / 2, hints.level + hints.window / 2),
        "alpha": (0.0, hints.alphaMax),
        "beta": BETA_RANGE,
        "sigma": (0.0, hints.sigmaMax),
    }[quantity]
    table = COLOR_TABLES.get(quantity)
    hidden = (hints.sigmaThreshold, max(maximum, high)) if quantity == "sigma" else None
    setUpMap(node, (low, high), table, hidden)


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
        visible: Values outside are transparent; None where nothing is.
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
    background: slicer.vtkMRMLScalarVolumeNode, overlay: slicer.vtkMRMLScalarVolumeNode, opacity: float = 0.5
) -> None:
    """Show one volume over another in every slice view of the user's; call it only when he asks.

    Args:
        background: The anatomy, e.g. the pseudo-CT or the input.
        overlay: What lies on it, e.g. sigma.
        opacity: Of the overlay, 0 to 1.
    """
    for composite in sliceComposites(background.GetScene()):
        with slicer.util.NodeModify(composite):
            composite.SetBackgroundVolumeID(background.GetID())
            composite.SetForegroundVolumeID(overlay.GetID())
            composite.SetForegroundOpacity(opacity)


def sliceComposites(scene: slicer.vtkMRMLScene) -> Iterator[slicer.vtkMRMLSliceCompositeNode]:
    """Yield the layers of all slice views but those of the comparison, which show what they are for."""
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode")
        if not isComparisonView(composite.GetLayoutName()):
            yield composite


def showLegend(node: slicer.vtkMRMLScalarVolumeNode, title: str | None = None) -> slicer.vtkMRMLColorLegendDisplayNode:
    """Add a colour legend; it shows the whole scale, also the part below a threshold.

    Args:
        node: A volume with a display node.
        title: ASCII, because Slicer's fonts have no Greek letters; by default the volume's name.
    """
    legend = _colorLogic(node.GetScene()).AddDefaultColorLegendDisplayNode(node)
    with slicer.util.NodeModify(legend):
        legend.SetTitleText(title or node.GetName())
        legend.SetVisibility(True)
    return legend


def hideLegend(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Hide a volume's colour legend where it has one."""
    legend = _colorLogic(node.GetScene()).GetColorLegendDisplayNode(node)
    if legend is not None:
        legend.SetVisibility(False)


def _colorLogic(scene: slicer.vtkMRMLScene) -> Any:
    if hasattr(slicer, "modules"):
        return slicer.modules.colors.logic()
    # Outside the application nobody has made the node type known to the scene.
    scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    return slicer.vtkSlicerColorLogic
