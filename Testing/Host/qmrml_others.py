"""Small qMRML widgets: sliders and spin boxes with units, and a view of a table node."""

# Slicer's own names.
# ruff: noqa: N801, N802, N815

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QTableView, QWidget

from Host.ctk_numbers import ctkDoubleSpinBox, ctkSliderWidget
from Host.forwarding import hold, slots
from Host.pythonqt import cpp_class
from Host.qmrml_base import Observers


@cpp_class
@slots("quantity")
@hold(quantity="")
class qMRMLSliderWidget(ctkSliderWidget):
    """A slider that could follow the scene's units; the host's scene has none."""

    def setMRMLScene(self, scene: Any) -> None:
        """Do nothing: there are no units to follow."""


@cpp_class
@slots("quantity")
@hold(quantity="")
class qMRMLSpinBox(ctkDoubleSpinBox):
    """A spin box that could follow the scene's units; the host's scene has none."""

    def setMRMLScene(self, scene: Any) -> None:
        """Do nothing: there are no units to follow."""


@cpp_class
class qMRMLTableView(QTableView):
    """The cells of a table node, to look at."""

    selectionChanged = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._node: Any = None
        self._observers = Observers(self)
        self._cells = QStandardItemModel(self)
        self.setModel(self._cells)

    def mrmlScene(self) -> Any:
        return self._scene

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
        self._cells.clear()
        table = self._node.GetTable() if self._node is not None else None
        columns = range(table.GetNumberOfColumns()) if table is not None else range(0)
        for column in columns:
            rows = range(table.GetNumberOfRows())
            self._cells.appendColumn([QStandardItem(table.GetValue(row, column).ToString()) for row in rows])
        self._cells.setHorizontalHeaderLabels([table.GetColumnName(column) for column in columns])
