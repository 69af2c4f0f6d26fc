"""Colour legends: which numbers stand beside the colours, how large, and that every view shows those it should.

Slicer's legend divides the scale evenly by a number of labels and prints each by one format; its default, five labels
with one decimal, prints 0.2 at a quarter of a scale from 0 to 1. The text is as large as fits the width that the legend
is given, so short labels become huge. And its views look at a legend only when the legend itself changes: whoever
changes the layers of a view by a script has to ask them to look again.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from slicer.util import VTKObservationMixin

# A label may differ from the value at its place by this share of the scale: less than a pixel of the bar.
PRECISION = 1e-3
# Shares of a value that are only the rounding of floating-point numbers, and a scale that is none.
ROUNDING, SMALLEST = 1e-9, 1e-200
# Numbers of labels, those that are liked best first.
COUNTS = (5, 6, 7, 4, 3)
# Labels of fewer characters are filled up with spaces: then the text is of the same size for all maps.
LABEL_WIDTH = 5
# Labels of more characters are written with an exponent.
LONGEST = 10
# Of a view of so many pixels in width the legend is so many wide, which makes letters of 13 pixels.
VIEW_WIDTH, LEGEND_WIDTH = 450, 42
# Share of the view that a legend may take.
SIZE_RANGE = (0.04, 0.3)
HEIGHT = 0.5
# At the right border, above the middle, where heads are narrower, and below Slicer's own text in the corner.
POSITION = (0.98, 0.75)
TITLE_WIDTH = 14
TEXT_POINTS = 10
# Of the black behind the text, which is legible over bone, too.
TEXT_BACKGROUND = 0.4

# What was set here the last time: number of labels, format, size. What the user has set otherwise is left alone.
FITTED = "UncertaintyGuidedI2I.Legend"


@dataclass(frozen=True)
class Labels:
    """The numbers beside a colour scale.

    Attributes:
        count: The number of labels, which stand at equal distances, the ends among them.
        format: The format that prints all of them, as of C's printf.
    """

    count: int
    format: str

    def texts(self, low: float, high: float) -> list[str]:
        """Return what is printed, from the lowest value to the highest."""
        return [self.format % value for value in _values(low, high, self.count)]


def labelsFor(low: float, high: float) -> Labels:
    """Return labels that are true: exact where few digits can be, else within a thousandth of the scale.

    Of several exact divisions one that labels zero is taken, then the one with the shortest and roundest numbers.

    Args:
        low: Value at the lower end of the colours, in any unit.
        high: Value at the upper end of the colours.
    """
    span, largest = abs(high - low), max(abs(low), abs(high))
    if not SMALLEST < span < math.inf:
        return Labels(2, _format("g", LABEL_WIDTH))
    # Of that many decimals no label is further from its place than it may be.
    needed = max(0, _digits(1.0, span))
    exact = []
    for rank, count in enumerate(COUNTS):
        values = _values(low, high, count)
        for decimals in range(needed + 1):
            if all(abs(value - round(value, decimals)) <= ROUNDING * largest for value in values):
                texts = [f"{value:.{decimals}f}" for value in values]
                lacksZero = low * high < 0 and not any(float(text) == 0 for text in texts)
                step = f"{span / (count - 1):.{decimals}f}".replace(".", "").strip("0")
                key = (_hasMinusZero(texts), lacksZero, max(LABEL_WIDTH, *map(len, texts)), len(step), rank)
                exact.append((key, Labels(count, _format("f", decimals))))
                break
    labels = min(exact, key=lambda found: found[0])[1] if exact else Labels(COUNTS[0], _format("f", needed))
    if not exact and _hasMinusZero(labels.texts(low, high)):
        labels = Labels(COUNTS[0], _format("f", needed + 1))
    if max(map(len, labels.texts(low, high))) > LONGEST:
        return Labels(COUNTS[0], _format("e", min(max(_digits(largest, span), 1), 15)))
    return labels


def showLegend(node: slicer.vtkMRMLScalarVolumeNode, title: str | None = None) -> slicer.vtkMRMLColorLegendDisplayNode:
    """Explain a volume's colours in the views that show it; the whole scale, also the part below a threshold.

    Args:
        node: A volume with a display node.
        title: The legend's title in ASCII, because Slicer's fonts have no Greek letters; by default the volume's name.
    """
    logic = _colorLogic(node.GetScene())
    legend = logic.AddDefaultColorLegendDisplayNode(node)
    with slicer.util.NodeModify(legend):
        if not legend.GetAttribute(FITTED) and _settings(legend) == _settings(slicer.vtkMRMLColorLegendDisplayNode()):
            legend.SetPosition(*POSITION)
            for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
                text.SetFontSize(TEXT_POINTS)
                text.SetBackgroundColor(0.0, 0.0, 0.0)
                text.SetBackgroundOpacity(TEXT_BACKGROUND)
            legend.SetAttribute(FITTED, json.dumps(_settings(legend)))
        legend.SetTitleText("\n".join(textwrap.wrap(title or node.GetName(), TITLE_WIDTH)))
        legend.SetVisibility(True)
        fitLegend(legend)
    # Nothing of it may have changed, and the views still have to look whether they show the volume.
    refreshLegends(node.GetScene())
    return legend


def hideLegend(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Hide a volume's colour legend where it has one."""
    legend = _colorLogic(node.GetScene()).GetColorLegendDisplayNode(node)
    if legend is not None:
        legend.SetVisibility(False)


def fitLegend(legend: slicer.vtkMRMLColorLegendDisplayNode) -> None:
    """Let labels and size follow the window and the views; what the user has set himself stays."""
    display, fitted = legend.GetPrimaryDisplayNode(), legend.GetAttribute(FITTED)
    if display is None or not fitted or json.loads(fitted) != _settings(legend):
        return
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    labels = labelsFor(low, high)
    width = _width(legend, max(map(len, labels.texts(low, high))))
    settings = [labels.count, labels.format, width, HEIGHT]
    if settings == json.loads(fitted):
        return
    with slicer.util.NodeModify(legend):
        legend.SetNumberOfLabels(labels.count)
        legend.SetLabelFormat(labels.format)
        legend.SetSize(width, HEIGHT)
        legend.SetAttribute(FITTED, json.dumps(settings))


def refreshLegends(scene: slicer.vtkMRMLScene) -> None:
    """Let all views look again which legends they show; call it after layers were changed by a script.

    A view takes notice of its layers only where somebody says that they are being changed, as Slicer's own selectors
    do; of a legend that is older than the view it hears in no other way.
    """
    for legend in legends(scene):
        fitLegend(legend)
    kind = slicer.vtkMRMLSliceCompositeNode
    layers = kind.BackgroundVolumeFlag | kind.ForegroundVolumeFlag | kind.LabelVolumeFlag
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode")
        before = composite.GetInteractionFlags(), composite.GetInteracting()
        # Not as an interaction of the user's, which linked views would copy.
        composite.SetInteracting(0)
        composite.SetInteractionFlags(layers)
        composite.Modified()
        composite.SetInteractionFlags(before[0])
        composite.SetInteracting(before[1])


def legends(scene: slicer.vtkMRMLScene) -> Iterator[slicer.vtkMRMLColorLegendDisplayNode]:
    """Yield the scene's colour legends, those of other modules too."""
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode")):
        yield scene.GetNthNodeByClass(i, "vtkMRMLColorLegendDisplayNode")


class LegendKeeper(VTKObservationMixin):
    """Keeps the legends true while the user changes windows and views: a label always is the value at its place.

    Args:
        scene: The scene whose legends are kept, also those that come later.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        VTKObservationMixin.__init__(self)
        self._scene = scene
        self._views: dict[str, tuple[Any, ...]] = {}
        # By ID, and not by the mixin, which would keep each node that ever was in the scene.
        self._followed: dict[str, tuple[slicer.vtkMRMLNode, int]] = {}
        self.addObserver(scene, scene.NodeAddedEvent, self._onNodeAdded)
        self.addObserver(scene, scene.NodeRemovedEvent, self._onNodeRemoved)
        self.addObserver(scene, scene.EndCloseEvent, self._letGo)
        self.addObserver(scene, scene.EndImportEvent, self._onImported)
        self._onImported()

    def close(self) -> None:
        """Let go of the scene."""
        self.removeObservers()
        for node, tag in self._followed.values():
            node.RemoveObserver(tag)
        self._followed.clear()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, caller: Any, event: str, node: Any) -> None:
        if node.IsA("vtkMRMLColorLegendDisplayNode"):
            # It says that it has changed when its volume's window has, too.
            self._follow(node, self._onLegend)
        elif node.IsA("vtkMRMLSliceNode"):
            self._follow(node, self._onView)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, caller: Any, event: str, node: Any) -> None:
        if node.IsA("vtkMRMLColorLegendDisplayNode") or node.IsA("vtkMRMLSliceNode"):
            self._letGo()

    def _letGo(self, caller: Any = None, event: Any = None) -> None:
        for nodeID, (node, tag) in list(self._followed.items()):
            if self._scene.GetNodeByID(nodeID) is not node:
                node.RemoveObserver(tag)
                del self._followed[nodeID]

    def _onImported(self, caller: Any = None, event: Any = None) -> None:
        for i in range(self._scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
            self._follow(self._scene.GetNthNodeByClass(i, "vtkMRMLSliceNode"), self._onView)
        for legend in legends(self._scene):
            self._follow(legend, self._onLegend)
            fitLegend(legend)

    def _follow(self, node: slicer.vtkMRMLNode, function: Callable[[Any, str], None]) -> None:
        known = self._followed.get(node.GetID())
        if known is None or known[0] is not node:
            self._followed[node.GetID()] = node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, function)

    def _onLegend(self, legend: Any, event: str) -> None:
        if not self._scene.IsBatchProcessing():
            fitLegend(legend)

    def _onView(self, view: Any, event: str) -> None:
        # It speaks up with every slice, too.
        size = (*view.GetDimensions(), view.IsMappedInLayout())
        if size != self._views.get(view.GetID()):
            self._views[view.GetID()] = size
            for legend in legends(self._scene):
                fitLegend(legend)


def _values(low: float, high: float, count: int) -> list[float]:
    return [low + i / (count - 1) * (high - low) for i in range(count)]


def _format(kind: str, digits: int) -> str:
    """Return a format whose labels are of one width, so that the text is as large for all maps."""
    return f"%{LABEL_WIDTH}.{digits}{kind}"


def _digits(unit: float, span: float) -> int:
    """Return after how many decimals of a unit a value may be cut."""
    return math.ceil(math.log10(0.5 * unit / (PRECISION * span)))


def _hasMinusZero(texts: list[str]) -> bool:
    return any(text.strip().startswith("-") and float(text) == 0 for text in texts)


def _settings(legend: slicer.vtkMRMLColorLegendDisplayNode) -> list[Any]:
    return [legend.GetNumberOfLabels(), legend.GetLabelFormat(), *legend.GetSize()]


def _width(legend: slicer.vtkMRMLColorLegendDisplayNode, characters: int) -> float:
    """Return the share of a view's width that makes the text legible: it grows less than the view does."""
    pixels = min((view.GetDimensions()[0] for view in _viewsOf(legend)), default=0)
    pixels = pixels if pixels > 1 else VIEW_WIDTH
    share = LEGEND_WIDTH / math.sqrt(VIEW_WIDTH * pixels) * characters / LABEL_WIDTH
    lowest, highest = SIZE_RANGE
    return round(min(max(share, lowest), highest), 4)


def _viewsOf(legend: slicer.vtkMRMLColorLegendDisplayNode) -> Iterator[slicer.vtkMRMLSliceNode]:
    """Yield the slice views on the screen that show a legend's volume."""
    scene, volume = legend.GetScene(), legend.GetDisplayableNode()
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode") if volume is not None else 0):
        composite = scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode")
        view = scene.GetNodeByID(f"vtkMRMLSliceNode{composite.GetLayoutName()}")
        shown = (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID(), composite.GetLabelVolumeID())
        if view is not None and view.IsMappedInLayout() and volume.GetID() in shown:
            yield view


def _colorLogic(scene: slicer.vtkMRMLScene) -> Any:
    if hasattr(slicer, "modules"):
        return slicer.modules.colors.logic()
    # Outside the application nobody has made the node type known to the scene.
    scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    return slicer.vtkSlicerColorLogic
