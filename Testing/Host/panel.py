"""Where a module's panel is shown: alone, or at the left of the views in the main window."""

# Slicer's own names.
# ruff: noqa: N815

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMainWindow, QScrollArea, QSplitter, QVBoxLayout

from Host.pythonqt import cpp_class
from Host.qmrml_base import qMRMLWidget

PANEL_WIDTH = 480


@cpp_class
class ModulePanel(qMRMLWidget):
    """A module's widget representation: the parent of what the module builds."""

    def __init__(self) -> None:
        super().__init__()
        self._entered, self._widget = False, None
        QVBoxLayout(self)
        self.resize(PANEL_WIDTH, 900)

    isEntered = property(lambda self: self._entered)

    def _set_entered(self, entered: bool) -> None:
        self._entered = entered

    def _set_widget(self, widget: Any) -> None:
        self._widget = widget

    def self(self) -> Any:
        """Return the Python object, as ``widgetRepresentation().self()`` does."""
        return self._widget


class MainWindow(QMainWindow):
    """The panel at the left, the views at the right."""

    def __init__(self, views: Any) -> None:
        super().__init__()
        self.setWindowTitle("UncertaintyGuidedI2I test host")
        self._scroll = QScrollArea()
        self._scroll.widgetResizable = True
        self._scroll.horizontalScrollBarPolicy = Qt.ScrollBarAlwaysOff
        self._scroll.setMinimumWidth(PANEL_WIDTH)
        splitter = QSplitter(Qt.Horizontal)
        splitter.addWidget(self._scroll)
        splitter.addWidget(views)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([PANEL_WIDTH + 20, 1000])
        self.setCentralWidget(splitter)
        self.resize(1500, 940)
        self.statusBar()

    def show_panel(self, panel: Any) -> None:
        """Put a module's panel into the scroll area, in the place of another's."""
        if self._scroll.widget() is not panel:
            self.take_panel()
            self._scroll.setWidget(panel)
        panel.show()

    def take_panel(self) -> None:
        """Take the panel out again."""
        panel = self._scroll.takeWidget()
        if panel is not None:
            panel.hide()
