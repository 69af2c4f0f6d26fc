"""qMRMLPlotWidget and qMRMLPlotView: draw a vtkMRMLPlotChartNode."""

# Slicer's own names.
# ruff: noqa: N801, N802, N815, RUF012

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QSize, Signal
from PySide6.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from Host.pythonqt import cpp_class
from Host.qmrml_base import Observers


@cpp_class
class qMRMLPlotView(QWidget):
    """The chart of a plot view node."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._node: Any = None
        self._observers = Observers(self)
        self.setMinimumSize(160, 120)
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Expanding)

    def sizeHint(self) -> QSize:
        return QSize(360, 260)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def mrmlPlotViewNode(self) -> Any:
        return self._node

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._node = node
        self._observe()

    def fitToContent(self) -> None:
        self.update()

    def chart(self) -> Any:
        """Return the chart node that is shown, or None."""
        return self._node.GetPlotChartNode() if self._node is not None else None

    def _observe(self, _: Any = None) -> None:
        self._observers.clear()
        if self._node is not None:
            self._observers.add(self._node, "ModifiedEvent", self._observe)
        chart = self.chart()
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
        draw_chart(painter, self.rect, self.chart(), self.font)
        painter.end()


@cpp_class
class qMRMLPlotWidget(QWidget):
    """A plot view in its frame."""

    mrmlSceneChanged = Signal(object)
    SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

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
        self.mrmlSceneChanged.emit(scene)

    def mrmlPlotViewNode(self) -> Any:
        return self._view.mrmlPlotViewNode()

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._view.setMRMLPlotViewNode(node)
