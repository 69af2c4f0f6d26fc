"""Paths: ctkPathLineEdit."""

# CTK's own names.
# ruff: noqa: N801, N815, RUF012

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QSizePolicy, QToolButton, QWidget

from Host.forwarding import hold
from Host.pythonqt import cpp_class


@cpp_class
@hold(nameFilters=[], label="", filters=0)
class ctkPathLineEdit(QWidget):
    """A path to type or to browse for; only a text that is not empty is acceptable, and announced."""

    Dirs, Files, Readable, Writable, Executable = 0x001, 0x002, 0x010, 0x020, 0x040
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    SIGNALS = {"currentPathChanged(QString)": "currentPathChanged", "validInputChanged(bool)": "validInputChanged"}

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._is_valid = False
        self._line, self._browse = QLineEdit(self), QToolButton(self)
        self._browse.text = "…"
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line)
        layout.addWidget(self._browse)
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        self.setFocusProxy(self._line)
        self._line.connect("textChanged(QString)", self._announce)
        self._browse.connect("clicked()", self.browse)

    def _set_path(self, path: str) -> None:
        self._line.text = path

    currentPath = property(lambda self: self._line.text, _set_path)

    def browse(self) -> None:
        """Ask for a path in a dialog."""
        if self.filters & self.Dirs:
            path = QFileDialog.getExistingDirectory(self, self.label, self.currentPath)
        else:
            path = QFileDialog.getOpenFileName(self, self.label, self.currentPath, ";;".join(self.nameFilters))
        if path:
            self.currentPath = path

    def _announce(self, path: str) -> None:
        was_valid, self._is_valid = self._is_valid, bool(path)
        if path:
            self.currentPathChanged.emit(path)
        if self._is_valid != was_valid:
            self.validInputChanged.emit(self._is_valid)

    def _changed(self) -> None:
        """Nothing of what is held is seen."""
