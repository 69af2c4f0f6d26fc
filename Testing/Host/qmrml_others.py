"""Small qMRML widgets: sliders and spin boxes with units, and a view of a table node."""

# Slicer's own names.
# ruff: noqa: N801, N802, N815

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QTableWidget, QTableWidgetItem, QWidget

from Host.ctk_numbers import ctkDoubleSpinBox, ctkSliderWidget
from Host.forwarding import hold
from Host.pythonqt import cpp_class
from Host.qmrml_base import Observers


@cpp_class
@hold(quantity="")
class qMRMLSliderWidget(ctkSliderWidget):
    """A slider that could follow the scene's units; the host's scene has none."""

    def setMRMLScene(self, scene: Any) -> None:
        """Do nothing: there are no units to follow."""


@cpp_class
@hold(quantity="")
class qMRMLSpinBox(ctkDoubleSpinBox):
    """A spin box that could follow the scene's units; the host's scene has none."""

    def setMRMLScene(self, scene: Any) -> None:
        """Do nothing: there are no units to follow."""


@cpp_class
class qMRMLTableView(QTableWidget):
    """The cells of a table node, to look at."""

    selectionChanged = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._node: Any = None
        self._observers = Observers(self)

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def mrmlTableNode(self) -> Any:
        return self._node

    def setMRMLTableNode(self, node: Any) -> None:
        self._node = node
        self._observers.clear()
        if node is not None:
            self._observers.add(node, "ModifiedEvent", self._show)
        self._show()

    def _show(self, _: Any = None) -> None:
        self.clear()
        table = self._node.GetTable() if self._node is not None else None
        self.setRowCount(table.GetNumberOfRows() if table is not None else 0)
        self.setColumnCount(table.GetNumberOfColumns() if table is not None else 0)
        for column in range(self.columnCount):
            self.setHorizontalHeaderItem(column, QTableWidgetItem(table.GetColumnName(column)))
            for row in range(self.rowCount):
                self.setItem(row, column, QTableWidgetItem(table.GetValue(row, column).ToString()))
