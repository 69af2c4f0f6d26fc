"""How outputs look: window, colours, threshold, legend. Views change only when a function here is asked to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import slicer

from UncertaintyGuidedI2ILib.colors import colorNode

if TYPE_CHECKING:
    from upgan.translation import Translation

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
    def of(cls, translation: Translation) -> Self:
        """Return a translation's hints, scaled to its input where the output has the input's arbitrary unit."""
        scale = translation.reference if translation.task.output.relative else 1.0
        hints = translation.task.display
        return cls(
            window=hints.window * scale,
            level=hints.level * scale,
            sigmaThreshold=hints.sigma_threshold * scale,
            sigmaMax=hints.sigma_max * scale,
            alphaMax=hints.alpha_max * scale,
        )


def setUpDisplay(node: slicer.vtkMRMLScalarVolumeNode, quantity: str, hints: DisplayHints) -> None:
    """Give an output its display node: the image in grey, the others in colour, sigma clear where it is low.

    Args:
        node: A volume without display node yet.
        quantity: "image", "alpha", "beta" or "sigma".
        hints: Ranges in the output's unit.
    """
    low, high = {
        "image": (hints.level - hints.window / 2, hints.level + hints.window / 2),
        "alpha": (0.0, hints.alphaMax),
        "beta": BETA_RANGE,
        "sigma": (0.0, hints.sigmaMax),
    }[quantity]
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    with slicer.util.NodeModify(display):
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(low, high)
        if quantity in COLOR_TABLES:
            display.SetAndObserveColorNodeID(colorNode(node.GetScene(), COLOR_TABLES[quantity]).GetID())
        else:
            display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
        if quantity == "sigma":
            _hideBelow(node, hints.sigmaThreshold, high)


def _hideBelow(node: slicer.vtkMRMLScalarVolumeNode, threshold: float, high: float) -> None:
    display = node.GetDisplayNode()
    display.AutoThresholdOff()
    # Nothing is hidden at the upper end: voxels brighter than the colour scale are the ones to see.
    highest = max(node.GetImageData().GetScalarRange()[1], high)
    display.SetThreshold(threshold, highest)
    display.ApplyThresholdOn()


def showOverlay(
    background: slicer.vtkMRMLScalarVolumeNode, overlay: slicer.vtkMRMLScalarVolumeNode, opacity: float = 0.5
) -> None:
    """Show one volume over another in every slice view; call it only when the user asks.

    Args:
        background: The anatomy, e.g. the pseudo-CT or the input.
        overlay: What lies on it, e.g. sigma.
        opacity: Of the overlay, 0 to 1.
    """
    scene = background.GetScene()
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode")
        with slicer.util.NodeModify(composite):
            composite.SetBackgroundVolumeID(background.GetID())
            composite.SetForegroundVolumeID(overlay.GetID())
            composite.SetForegroundOpacity(opacity)


def showLegend(node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLColorLegendDisplayNode:
    """Add a colour legend with the volume's name; it shows the whole scale, also the part below a threshold."""
    if hasattr(slicer, "modules"):
        logic = slicer.modules.colors.logic()
    else:
        # Outside the application nobody has made the node type known to the scene.
        node.GetScene().RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
        logic = slicer.vtkSlicerColorLogic
    legend = logic.AddDefaultColorLegendDisplayNode(node)
    legend.SetTitleText(node.GetName())
    return legend
