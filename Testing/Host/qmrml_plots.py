"""qMRMLPlotWidget and qMRMLPlotView: draw a vtkMRMLPlotChartNode."""

# Slicer's own names.
# ruff: noqa: N801, N802

from __future__ import annotations

from typing import Any

import vtk
from PySide6.QtCore import QSize
from PySide6.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from Host.pythonqt import cpp_class
from Host.qmrml_base import Observers


class Chart:
    """Stands for the vtkChartXY of a view, whose axes follow grown numbers only when it is told to.

    Attributes:
        recalculated: How often it was.
    """

    def __init__(self) -> None:
        self.recalculated = 0

    def RecalculateBounds(self) -> None:
        self.recalculated += 1


@cpp_class
class qMRMLPlotView(QWidget):
    """The chart of a plot view node, which in C++ it tells and to Python it does not."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._node: Any = None
        self._observers = Observers(self)
        self._chart, self._context = Chart(), vtk.vtkContextScene()
        self.setMinimumSize(160, 120)
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Expanding)

    def sizeHint(self) -> QSize:
        return QSize(360, 260)

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._node = node
        self._observe()

    def chart(self) -> Chart:
        return self._chart

    def scene(self) -> vtk.vtkContextScene:
        return self._context

    def _chart_node(self) -> Any:
        return self._node.GetPlotChartNode() if self._node is not None else None

    def _observe(self, _: Any = None) -> None:
        self._observers.clear()
        if self._node is not None:
            self._observers.add(self._node, "ModifiedEvent", self._observe)
        chart = self._chart_node()
        if chart is not None:
            self._observers.add(chart, "ModifiedEvent", self._observe)
            for index in range(chart.GetNumberOfPlotSeriesNodes()):
                series = chart.GetNthPlotSeriesNode(index)
                for source in (series, series.GetTableNode()):
                    if source is not None:
                        self._observers.add(source, "ModifiedEvent", lambda _: self.update())
        self.update()

    def paintEvent(self, event: Any) -> None:
        from PySide6.QtGui import QPainter

        from Host.charts import draw_chart

        painter = QPainter(self)
        draw_chart(painter, self.rect, self._chart_node(), self.font)
        painter.end()


@cpp_class
class qMRMLPlotWidget(QWidget):
    """A plot view in its frame."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._view = qMRMLPlotView(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._view)

    def plotView(self) -> qMRMLPlotView:
        return self._view

    def setMRMLScene(self, scene: Any) -> None:
        self._view.setMRMLScene(scene)

    def mrmlPlotViewNode(self) -> Any:
        return self._view._node

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._view.setMRMLPlotViewNode(node)
