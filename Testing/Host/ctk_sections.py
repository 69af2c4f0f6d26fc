"""Sections that fold: ctkCollapsibleButton and ctkCollapsibleGroupBox."""

# CTK's own names.
# ruff: noqa: N801, N802, N815

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPalette, QPolygon, QTransform
from PySide6.QtWidgets import QAbstractButton, QGroupBox, QSizePolicy, QWidget

from Host.pythonqt import cpp_class

HEADER_HEIGHT = 26


class _Collapsing:
    """Hides and shows the children of a container, but those that their owner hid."""

    _collapsed = False

    def _collapse(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        for child in self.children():
            if isinstance(child, QWidget):
                if collapsed:
                    child.setProperty("hiddenByOwner", child.isHidden())
                    child.setVisible(False)
                else:
                    child.setVisible(not child.property("hiddenByOwner"))
        self.setMaximumHeight(HEADER_HEIGHT if collapsed else 16777215)
        self.updateGeometry()
        self.update()


@cpp_class
class ctkCollapsibleButton(_Collapsing, QAbstractButton):
    """A titled section that folds."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        text = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        parents = [argument for argument in arguments if isinstance(argument, QWidget)]
        super().__init__(*parents)
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QSizePolicy.Preferred, QSizePolicy.Preferred)
        self.setContentsMargins(0, HEADER_HEIGHT + 2, 0, 2)
        self.connect("toggled(bool)", lambda checked: self._collapse(not checked))

    def _collapse(self, collapsed: bool) -> None:
        if collapsed != self._collapsed:
            super()._collapse(collapsed)
            self.contentsCollapsed.emit(collapsed)

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = property(lambda self: self._collapsed, _set_collapsed)

    def sizeHint(self) -> QSize:
        if self._collapsed or self.layout() is None:
            return QSize(200, HEADER_HEIGHT)
        return self.layout().totalSizeHint()

    def minimumSizeHint(self) -> QSize:
        if self._collapsed or self.layout() is None:
            return QSize(60, HEADER_HEIGHT)
        return self.layout().totalMinimumSize()

    def hasHeightForWidth(self) -> bool:
        return not self._collapsed and self.layout() is not None and self.layout().hasHeightForWidth()

    def heightForWidth(self, width: int) -> int:
        return self.layout().totalHeightForWidth(width)

    def hitButton(self, position: Any) -> bool:
        return position.y() < HEADER_HEIGHT

    def paintEvent(self, event: QEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.Antialiasing)
        palette = self.palette
        header = QRect(0, 0, self.width, HEADER_HEIGHT)
        painter.setPen(Qt.NoPen)
        painter.setBrush(palette.color(QPalette.Button).darker(106))
        painter.drawRoundedRect(header, 4, 4)
        painter.setBrush(palette.color(QPalette.ButtonText))
        arrow = QPolygon([QPoint(-4, -2), QPoint(4, -2), QPoint(0, 3)])
        turned = QTransform().translate(14, HEADER_HEIGHT / 2).rotate(-90 if self._collapsed else 0)
        painter.drawPolygon(turned.map(arrow))
        font = self.font
        font.setBold(True)
        painter.setFont(font)
        painter.setPen(palette.color(QPalette.ButtonText))
        painter.drawText(header.adjusted(26, 0, -4, 0), Qt.AlignVCenter | Qt.AlignLeft, self.text)
        painter.end()


@cpp_class
class ctkCollapsibleGroupBox(_Collapsing, QGroupBox):
    """A group box that folds by its check mark, and says so by ``toggled`` alone."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.setCheckable(True)
        self.setChecked(True)
        self.connect("toggled(bool)", lambda checked: self._collapse(not checked))

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = property(lambda self: self._collapsed, _set_collapsed)
