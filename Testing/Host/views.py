"""qMRMLSliceWidget: a slice view to look at, to scroll through and to point into."""

# Slicer's own names.
# ruff: noqa: N801, N802

from __future__ import annotations

from typing import Any

import slicer
from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QImage, QPainter
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QSlider, QVBoxLayout, QWidget

from Host import slice_picture
from Host.legends import MANAGER, Legend
from Host.overlay import Overlay
from Host.pythonqt import cpp_class
from Host.qmrml_base import Observers

SLIDER_STEPS = 2000
LEGEND_WIDTH, LEGEND_MARGIN = 14, 58


@cpp_class
class qMRMLSliceView(QWidget):
    """The picture of one slice with its marks."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._logic: Any = None
        self._observers = Observers(self)
        self._dragged: QPointF | None = None
        self.setMouseTracking(True)
        self.setMinimumSize(80, 80)
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Expanding)

    def sizeHint(self) -> QSize:
        return QSize(320, 280)

    def _follow(self, logic: Any) -> None:
        self._logic = logic
        self._overlay = Overlay(logic.GetSliceNode(), logic.GetMRMLApplicationLogic())
        self._overlay.on_change(self.update)
        self._observers.clear()
        # The logic speaks up for its node, its layers, their volumes and displays.
        for source in (logic, logic.GetSliceNode(), logic.GetSliceCompositeNode()):
            self._observers.add(source, "ModifiedEvent", lambda _: self.update())
        scene = logic.GetMRMLScene()
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self._observers.add(scene, event, lambda _: self.update())
        self._fit()

    def release(self) -> None:
        """Let go of the scene."""
        self._observers.clear()
        self._overlay.legends.close()

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def displayableManagerByClassName(self, name: str) -> Any:
        return self._overlay.legends.manager if name == MANAGER else None

    def _fit(self) -> None:
        if self._logic is not None and self.width > 1:
            self._logic.ResizeSliceNode(self.width, self.height)

    def resizeEvent(self, event: Any) -> None:
        self._fit()

    def wheelEvent(self, event: Any) -> None:
        step = max(self._logic.GetLowestVolumeSliceSpacing()[2], 0.1)
        self._logic.SetSliceOffset(self._logic.GetSliceOffset() + (step if event.angleDelta().y() > 0 else -step))

    def mousePressEvent(self, event: Any) -> None:
        self._dragged = event.position()

    def mouseReleaseEvent(self, event: Any) -> None:
        self._dragged = None

    def mouseMoveEvent(self, event: Any) -> None:
        node, here = self._logic.GetSliceNode(), event.position()
        ras = slice_picture.ras_at(node, here.x(), here.y())
        crosshair = self._crosshair()
        if crosshair is not None:
            crosshair.SetCursorPositionXYZ((here.x(), node.GetDimensions()[1] - 1 - here.y(), 0), node)
        if event.modifiers() & Qt.ShiftModifier:
            slicer.vtkMRMLSliceNode.JumpAllSlices(node.GetScene(), *ras)
        if self._dragged is not None and event.buttons() & Qt.RightButton:
            self._zoom(1 + (here.y() - self._dragged.y()) / 200)
            self._dragged = here

    def leaveEvent(self, event: Any) -> None:
        crosshair = self._crosshair()
        if crosshair is not None:
            crosshair.SetCursorPositionInvalid()

    def _crosshair(self) -> Any:
        return self._logic.GetMRMLScene().GetSingletonNode("default", "vtkMRMLCrosshairNode")

    def _zoom(self, factor: float) -> None:
        node = self._logic.GetSliceNode()
        width, height, depth = node.GetFieldOfView()
        node.SetFieldOfView(width * factor, height * factor, depth)

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect, QColor("black"))
        if self._logic is not None:
            image = slice_picture.picture(self._logic)
            for layer in (image, self._overlay.picture()):
                if layer is not None:
                    painter.drawImage(0, 0, layer)
            self._draw_marks(painter, image is not None)
        painter.end()

    def _draw_marks(self, painter: QPainter, shows: bool) -> None:
        node = self._logic.GetSliceNode()
        font = QFont(self.font)
        font.setPointSizeF(8.5)
        painter.setFont(font)
        _text(painter, self.rect.adjusted(6, 4, -6, -4), Qt.AlignBottom | Qt.AlignLeft, self._layers_text())
        if not shows:
            return
        left, right, top, bottom = slice_picture.directions(node)
        inside = self.rect.adjusted(5, 3, -5, -3)
        marks = ((Qt.AlignLeft, left), (Qt.AlignRight, right), (Qt.AlignTop, top), (Qt.AlignBottom, bottom))
        for side, name in marks:
            across = Qt.AlignVCenter if side in (Qt.AlignLeft, Qt.AlignRight) else Qt.AlignHCenter
            _text(painter, inside, side | across, name, QColor("#e8c46a"))
        if not self._overlay.draws():
            for legend in self.legends():
                _draw_bar(painter, legend, self.width, self.height)

    def legends(self) -> list[Legend]:
        """Return the colour legends that are in the view now; see ``Host.legends``."""
        return self._overlay.legends.shown()

    def _layers_text(self) -> str:
        composite = self._logic.GetSliceCompositeNode()
        lines = []
        for letter, layer in (("F", 1), ("B", 0)):
            volume = self._logic.GetNthLayerVolumeNode(layer)
            if volume is not None:
                share = f" ({composite.GetForegroundOpacity():.0%})" if letter == "F" else ""
                lines.append(f"{letter}: {volume.GetName()}{share}")
        return "\n".join(lines)


def _draw_bar(painter: QPainter, legend: Legend, width: int, height: int) -> None:
    """Draw a legend at the right border, with its labels where they are in Slicer's."""
    top, bottom = height * 0.2, height * 0.8
    bar = QRectF(width - LEGEND_MARGIN - LEGEND_WIDTH, top, LEGEND_WIDTH, bottom - top)
    pixels = legend.colors[::-1, None].copy()
    image = QImage(pixels.data, 1, len(pixels), 3, QImage.Format_RGB888).copy()
    painter.drawImage(bar, image)
    painter.setPen(QColor("#d0d0d0"))
    painter.drawRect(bar)
    title = QRectF(width * 0.35, top - 34, width * 0.65 - 6, 30)
    _text(painter, title, Qt.AlignRight | Qt.AlignBottom | Qt.TextWordWrap, legend.title)
    for index, label in enumerate(legend.labels):
        y = bottom - index / max(len(legend.labels) - 1, 1) * (bottom - top)
        painter.setPen(QColor("#d0d0d0"))
        painter.drawLine(QPointF(bar.right(), y), QPointF(bar.right() + 4, y))
        place = QRectF(bar.right() + 6, y - 8, LEGEND_MARGIN - 8, 16)
        _text(painter, place, Qt.AlignVCenter | Qt.AlignLeft, label.strip())


def _text(painter: QPainter, place: Any, flags: int, text: str, color: QColor | None = None) -> None:
    """Write with a shadow, legible over bright and dark."""
    for shift, pen in ((1, QColor(0, 0, 0, 200)), (0, color or QColor("#f2f2f2"))):
        painter.setPen(pen)
        painter.drawText(place.translated(shift, shift), flags, text)


@cpp_class
class qMRMLSliceControllerWidget(QWidget):
    """The bar over a slice view: its letter, the offset and where it is."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._logic: Any = None
        self._observers = Observers(self)
        self._label, self._slider, self._text = QLabel(self), QSlider(Qt.Horizontal, self), QLabel(self)
        self._label.setMinimumWidth(22)
        self._label.setAlignment(Qt.AlignCenter)
        self._text.setMinimumWidth(74)
        self._slider.setRange(0, SLIDER_STEPS)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(3, 2, 3, 2)
        for part in (self._label, self._slider, self._text):
            layout.addWidget(part)
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        self._slider.connect("valueChanged(int)", self._slide)

    def setSliceLogic(self, logic: Any) -> None:
        self._logic = logic
        self._observers.clear()
        self._observers.add(logic, "ModifiedEvent", self._show)
        self._observers.add(logic.GetSliceNode(), "ModifiedEvent", self._show)
        self._show()

    def release(self) -> None:
        """Let go of the scene."""
        self._observers.clear()

    def _range(self) -> tuple[float, float]:
        bounds = [0.0] * 6
        self._logic.GetLowestVolumeSliceBounds(bounds)
        return (bounds[4], bounds[5]) if bounds[5] > bounds[4] else (-100.0, 100.0)

    def _slide(self, position: int) -> None:
        low, high = self._range()
        self._logic.SetSliceOffset(low + (high - low) * position / SLIDER_STEPS)

    def _show(self, _: Any = None) -> None:
        node = self._logic.GetSliceNode()
        low, high = self._range()
        color = QColor.fromRgbF(*node.GetLayoutColor())
        self._label.text = node.GetLayoutLabel() or node.GetLayoutName()[:1]
        self._label.setStyleSheet(f"background: {color.name()}; color: white; border-radius: 3px; padding: 1px 4px")
        self._slider.blockSignals(True)
        self._slider.value = round(SLIDER_STEPS * (self._logic.GetSliceOffset() - low) / (high - low))
        self._slider.blockSignals(False)
        self._text.text = slice_picture.position_text(node)
        self._text.toolTip = node.GetOrientation()


@cpp_class
class qMRMLSliceWidget(QWidget):
    """A slice view under its bar."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._logic: Any = None
        self._controller, self._view = qMRMLSliceControllerWidget(self), qMRMLSliceView(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._controller)
        layout.addWidget(self._view)

    def _follow(self, node: Any, app_logic: Any) -> None:
        """Show a slice node of the scene, with a slice logic that the application knows."""
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(app_logic)
        app_logic.GetSliceLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(node.GetScene())
        self._logic.SetSliceNode(node)
        self._controller.setSliceLogic(self._logic)
        self._view._follow(self._logic)

    def release(self) -> None:
        """Let go of the scene: this view will not be shown any more."""
        self._controller.release()
        self._view.release()

    def sliceLogic(self) -> Any:
        return self._logic

    def sliceView(self) -> qMRMLSliceView:
        return self._view

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()
