"""Choices and texts of ctk: paths, folders, checkable lists, menu buttons and fitted text browsers."""

# CTK's own names.
# ruff: noqa: N801, N802, N815, RUF012

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QModelIndex, QSize, Qt, Signal
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QTextBrowser,
    QToolButton,
    QWidget,
)

from Host.forwarding import hold
from Host.pythonqt import cpp_class


@cpp_class
@hold(nameFilters=[], settingKey="", label="", filters=0, showBrowseButton=True, showHistoryButton=True)
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

    def setCurrentPath(self, path: str) -> None:
        self._line.text = path

    def addCurrentPathToHistory(self) -> None:
        """Do nothing: the host remembers no paths."""

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
        self._browse.setVisible(self.showBrowseButton)


@cpp_class
class ctkDirectoryButton(QWidget):
    """Shows a folder on a button, which asks for another."""

    directoryChanged = Signal(str)
    SIGNALS = {"directoryChanged(QString)": "directoryChanged"}

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._directory = ""
        self._button = QPushButton(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        self._button.connect("clicked()", self.browse)

    def _set_directory(self, directory: str) -> None:
        if directory != self._directory:
            self._directory = directory
            self._button.setText(directory)
            self.directoryChanged.emit(directory)

    directory = property(lambda self: self._directory, _set_directory)

    def browse(self) -> None:
        """Ask for a folder in a dialog."""
        chosen = QFileDialog.getExistingDirectory(self, "", self._directory)
        if chosen:
            self._set_directory(chosen)


@cpp_class
class ctkCheckableComboBox(QComboBox):
    """A combo box of which any number of items is checked; it shows the checked ones."""

    checkedIndexesChanged = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        model = QStandardItemModel(self)
        self.setModel(model)
        model.connect("rowsInserted(QModelIndex,int,int)", self._make_checkable)
        model.connect("itemChanged(QStandardItem*)", self._item_changed)
        self.view().connect("pressed(QModelIndex)", self._toggle)

    def checkableModel(self) -> QStandardItemModel:
        return self.model()

    def checkState(self, index: QModelIndex) -> int:
        return self.model().itemFromIndex(index).checkState()

    def setCheckState(self, index: QModelIndex, state: int) -> None:
        self.model().itemFromIndex(index).setCheckState(state)

    def checkedIndexes(self) -> list[QModelIndex]:
        indexes = [self.model().index(row, 0) for row in range(self.count)]
        return [index for index in indexes if self.checkState(index) == Qt.Checked]

    def allChecked(self) -> bool:
        return len(self.checkedIndexes()) == self.count

    def noneChecked(self) -> bool:
        return not self.checkedIndexes()

    def _make_checkable(self, parent: QModelIndex, first: int, last: int) -> None:
        for row in range(first, last + 1):
            item = self.model().item(row)
            item.setCheckable(True)
            if item.data(Qt.CheckStateRole) is None:
                item.setCheckState(Qt.Unchecked)

    def _item_changed(self, item: Any) -> None:
        self.checkedIndexesChanged.emit()
        self.update()

    def _toggle(self, index: QModelIndex) -> None:
        checked = self.checkState(index) == Qt.Checked
        self.setCheckState(index, Qt.Unchecked if checked else Qt.Checked)

    def paintEvent(self, event: Any) -> None:
        painter = QStylePainter(self)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        painter.drawComplexControl(QStyle.CC_ComboBox, option)
        option.currentText = ", ".join(str(index.data()) for index in self.checkedIndexes()) or "None"
        painter.drawControl(QStyle.CE_ComboBoxLabel, option)
        painter.end()


@cpp_class
class ctkMenuButton(QPushButton):
    """A button with a menu beside it."""


@cpp_class
class ctkFittedTextBrowser(QTextBrowser):
    """A text as high as it needs to be."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        self.connect("textChanged()", self.updateGeometry)

    def sizeHint(self) -> QSize:
        document = self.document
        document.setTextWidth(max(100, self.viewport().width))
        return QSize(200, int(document.size.height()) + 2 * self.frameWidth + 2)

    def minimumSizeHint(self) -> QSize:
        return QSize(100, self.sizeHint().height())

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self.updateGeometry()
