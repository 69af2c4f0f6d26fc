"""The charts of a training run: loss, validation error and coverage, brought up to date in place as it goes on.

Their nodes are not saved with the scene: the numbers live in the run's folder, and a chart in a loaded scene would
show a training that has long gone on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from UncertaintyGuidedI2ILib.scene.nodes import isInScene
from UncertaintyGuidedI2ILib.text import shownUnit
from UncertaintyGuidedI2ILib.train.history import MOST_POINTS, TrainingHistory, thinned

CHARTS = ("loss", "validation", "coverage")

Color = tuple[float, float, float]
# Distinct also to eyes that confuse red with green (Okabe and Ito).
COLORS: tuple[Color, ...] = (
    (0.00, 0.45, 0.70),
    (0.84, 0.37, 0.00),
    (0.00, 0.62, 0.45),
    (0.80, 0.47, 0.65),
    (0.90, 0.62, 0.00),
    (0.34, 0.71, 0.91),
)
GREY: Color = (0.45, 0.45, 0.45)
# A line of fewer points is shown with them.
FEW_POINTS = 30


class Drawn(NamedTuple):
    """One line of a chart.

    Attributes:
        name: The line's name in the legend, in ASCII: Slicer's charts have no other letters.
        x: Horizontal positions of the points, [N].
        y: Vertical positions of the points, [N].
        color: Red, green and blue, each from 0 to 1.
        dashed: Whether it is a line to compare with.
    """

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    color: Color
    dashed: bool = False


class TrainingPlots:
    """The charts of one run at a time, each made when it is asked for.

    Args:
        scene: The scene that the nodes live in; the user may delete them at any time.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._history = TrainingHistory()
        self._run = ""
        self._unit = ""
        self._charts: dict[str, slicer.vtkMRMLPlotChartNode] = {}
        # By chart: a table and a series for each line, in order.
        self._lines: dict[str, list[tuple[slicer.vtkMRMLTableNode, slicer.vtkMRMLPlotSeriesNode]]] = {}

    @property
    def history(self) -> TrainingHistory:
        """The numbers that the charts show."""
        return self._history

    def follow(self, run: str, unit: str, journal: list[dict[str, Any]]) -> None:
        """Show what a journal says now in the charts that there are; those of another run go.

        Args:
            run: Name of the run, from which the nodes have theirs.
            unit: The unit of the translated image; empty for the input's own.
            journal: All lines of the run's journal so far.
        """
        if (run, unit) != (self._run, self._unit):
            self.clear()
            self._run, self._unit = run, unit
        if self._history.follow(journal):
            # All are drawn, also where one of them fails, which is raised afterwards.
            with ExitStack() as charts:
                for name in reversed(CHARTS):
                    if self._chart(name) is not None:
                        charts.callback(self._draw, name)

    def chart(self, name: str) -> slicer.vtkMRMLPlotChartNode:
        """Return a chart of the run, made now where there is none.

        Args:
            name: "loss", "validation" or "coverage".
        """
        if self._chart(name) is None:
            self._forget(name)
            self._charts[name] = self._makeChart(name)
            self._draw(name)
        return self._charts[name]

    def hasLines(self, name: str) -> bool:
        """Return whether the run has come far enough for a chart to show anything."""
        return any(len(line.x) for line in self._linesOf(name) if not line.dashed)

    def clear(self) -> None:
        """Remove all nodes."""
        for name in CHARTS:
            self._forget(name)
        self._history = TrainingHistory()

    def _chart(self, name: str) -> slicer.vtkMRMLPlotChartNode | None:
        chart = self._charts.get(name)
        return chart if chart is not None and isInScene(chart, self._scene) else None

    def _forget(self, name: str) -> None:
        nodes = [node for line in self._lines.pop(name, []) for node in reversed(line)]
        chart = self._charts.pop(name, None)
        for node in [chart, *nodes] if chart is not None else nodes:
            if isInScene(node, self._scene):
                self._scene.RemoveNode(node)

    def _draw(self, name: str) -> None:
        lines = [line for line in self._linesOf(name) if len(line.x)]
        chart, drawn = self._charts[name], self._lines.setdefault(name, [])
        if any(not isInScene(node, self._scene) for pair in drawn for node in pair):
            # The user deleted some of them: he gets them all anew, in the chart that he kept.
            chart.RemoveAllPlotSeriesNodeIDs()
            for node in [node for pair in drawn for node in pair if isInScene(node, self._scene)]:
                self._scene.RemoveNode(node)
            drawn.clear()
        isChanged = False
        for index, line in enumerate(lines):
            if index == len(drawn):
                drawn.append(self._makeLine(name, line))
                chart.AddAndObservePlotSeriesNodeID(drawn[index][1].GetID())
            table, series = drawn[index]
            isChanged = _setNumbers(table, line) or isChanged
            series.SetName(line.name)
            series.SetMarkerStyle(_marker(line))
        if isChanged:
            _fitAxes(chart)

    def _linesOf(self, name: str) -> list[Drawn]:
        return list({"loss": self._losses, "validation": self._errors, "coverage": self._coverage}[name]())

    def _losses(self) -> Iterator[Drawn]:
        stages = [stage for _number, stage in sorted(self._history.stages.items()) if stage.steps]
        for index, stage in enumerate(stages):
            names = ", ".join(str(phase) for phase in stage.phases)
            title = "phase {}" if len(stage.phases) == 1 else "phases {} together"
            x, y = thinned(stage.steps, stage.losses, MOST_POINTS // len(stages))
            yield Drawn(title.format(names), x, y, COLORS[index % len(COLORS)])

    def _errors(self) -> Iterator[Drawn]:
        for index, (phase, found) in enumerate(sorted(self._history.phases.items())):
            x, y = thinned(found.epochs, found.figures["mae"])
            yield Drawn(f"phase {phase}", x, y, COLORS[index % len(COLORS)])

    def _coverage(self) -> Iterator[Drawn]:
        """Yield the coverage of the last phase that has been trained at that time: the one that a model would show."""
        latest: dict[int, tuple[float, float]] = {}
        for _phase, found in sorted(self._history.phases.items()):
            pairs = zip(found.figures["coverage_50%"], found.figures["coverage_90%"], strict=True)
            latest.update(zip(found.epochs, pairs, strict=True))
        epochs = sorted(latest)
        for index, nominal in enumerate((50, 90)):
            x, y = thinned(epochs, [100 * latest[epoch][index] for epoch in epochs])
            yield Drawn(f"{nominal}% interval", x, y, COLORS[index])
        for nominal in (50, 90):
            ends = [epochs[0], max(epochs[-1], epochs[0] + 1)] if epochs else []
            yield Drawn(f"ideal {nominal}%", ends, [nominal] * len(ends), GREY, dashed=True)

    def _makeChart(self, name: str) -> slicer.vtkMRMLPlotChartNode:
        inUnit = f" ({shownUnit(self._unit)})"
        title, xTitle, yTitle = {
            "loss": ("Training loss", "Step", "Loss"),
            "validation": ("Error on the validation patients", "Epoch", f"MAE{inUnit}"),
            "coverage": (
                "Do the intervals hold the truth? (dashed: ideal)",
                "Epoch",
                "Voxels inside the interval (%)",
            ),
        }[name]
        chart = slicer.vtkMRMLPlotChartNode()
        chart.SetName(f"{self._run} {name}")
        chart.SaveWithSceneOff()
        self._scene.AddNode(chart)
        with slicer.util.NodeModify(chart):
            chart.SetTitle(title)
            chart.SetXAxisTitle(xTitle)
            chart.SetYAxisTitle(yTitle)
            chart.SetTitleFontSize(16)
            chart.SetAxisTitleFontSize(14)
            chart.SetAxisLabelFontSize(12)
            chart.SetLegendFontSize(12)
            chart.SetLegendVisibility(True)
            chart.SetGridVisibility(True)
            if name == "coverage":
                chart.SetYAxisRangeAuto(False)
                chart.SetYAxisRange(0.0, 100.0)
        return chart

    def _makeLine(self, name: str, line: Drawn) -> tuple[slicer.vtkMRMLTableNode, slicer.vtkMRMLPlotSeriesNode]:
        table, series = slicer.vtkMRMLTableNode(), slicer.vtkMRMLPlotSeriesNode()
        table.SetName(f"{self._run} {name} {line.name}")
        # The legend shows the node's name.
        series.SetName(line.name)
        for node in (table, series):
            node.SaveWithSceneOff()
            self._scene.AddNode(node)
        for title in ("x", "y"):
            column = vtk.vtkDoubleArray()
            column.SetName(title)
            table.AddColumn(column)
        with slicer.util.NodeModify(series):
            series.SetAndObserveTableNodeID(table.GetID())
            series.SetXColumnName("x")
            series.SetYColumnName("y")
            series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
            series.SetColor(*line.color)
            series.SetLineWidth(2)
            kind = slicer.vtkMRMLPlotSeriesNode
            series.SetLineStyle(kind.LineStyleDash if line.dashed else kind.LineStyleSolid)
        return table, series


def _marker(line: Drawn) -> int:
    kind = slicer.vtkMRMLPlotSeriesNode
    few = not line.dashed and len(line.x) <= FEW_POINTS
    return int(kind.MarkerStyleCircle if few else kind.MarkerStyleNone)


def _fitAxes(chart: slicer.vtkMRMLPlotChartNode) -> None:
    """Let the axes of the views of a chart grow with its numbers: by itself VTK looks only when a line is added.

    Axes of a fixed range keep it, which they would not in ``fitToContent``.
    """
    layoutManager = slicer.app.layoutManager() if hasattr(slicer, "app") else None
    if layoutManager is None:
        return
    for index in range(layoutManager.plotViewCount):
        widget = layoutManager.plotWidget(index)
        # Only the widget tells its node to Python, the view does not.
        node, view = widget.mrmlPlotViewNode(), widget.plotView()
        if node is not None and node.GetPlotChartNodeID() == chart.GetID():
            view.chart().RecalculateBounds()
            view.scene().SetDirty(True)


def _setNumbers(table: slicer.vtkMRMLTableNode, line: Drawn) -> bool:
    """Replace a line's numbers, with one event; returns whether they are others than before."""
    columns = [table.GetTable().GetColumnByName(name) for name in ("x", "y")]
    if all(
        np.array_equal(vtk_to_numpy(column), values, equal_nan=True) if column.GetNumberOfValues() else not len(values)
        for column, values in zip(columns, (line.x, line.y), strict=True)
    ):
        return False
    with slicer.util.NodeModify(table):
        for column, values in zip(columns, (line.x, line.y), strict=True):
            column.SetNumberOfValues(len(values))
            vtk_to_numpy(column)[:] = values
            column.Modified()
        table.GetTable().Modified()
        table.Modified()
    return True
