"""Numbers: ctkDoubleSpinBox, ctkSliderWidget, ctkDoubleRangeSlider and ctkRangeWidget."""

# CTK's own names.
# ruff: noqa: N801, N802, N815, RUF012

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPalette
from PySide6.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSizePolicy, QSlider, QWidget

from Host.forwarding import forward, hold, slots
from Host.pythonqt import cpp_class

SLIDER_STEPS = 1000


def _row(owner: QWidget, *widgets: QWidget) -> None:
    layout = QHBoxLayout(owner)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    owner.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)


@cpp_class
@slots("value", "decimals")
@forward("_spin", "value", "minimum", "maximum", "singleStep", "decimals", "prefix", "suffix")
class ctkDoubleSpinBox(QWidget):
    """A spin box of floats."""

    valueChanged = Signal(float)
    editingFinished = Signal()
    SIGNALS = {"valueChanged(double)": "valueChanged"}

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._spin = QDoubleSpinBox(self)
        _row(self, self._spin)
        self.setFocusProxy(self._spin)
        self._spin.connect("valueChanged(double)", self.valueChanged.emit)
        self._spin.connect("editingFinished()", self.editingFinished.emit)

    def _changed(self) -> None:
        pass


@cpp_class
@slots("value", "decimals", "spinBoxVisible")
@forward("_spin", "value", "minimum", "maximum", "singleStep", "decimals", "prefix", "suffix")
@hold(pageStep=10.0, tickInterval=0.0, tracking=True, spinBoxVisible=True)
class ctkSliderWidget(QWidget):
    """A slider with a spin box."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    SIGNALS = {"valueChanged(double)": "valueChanged", "valueIsChanging(double)": "valueIsChanging"}

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = QSlider(Qt.Horizontal, self)
        self._slider.setRange(0, SLIDER_STEPS)
        self._spin = QDoubleSpinBox(self)
        self._spin.setRange(0, 99)
        self._spin.setMinimumWidth(82)
        _row(self, self._slider, self._spin)
        self.setFocusProxy(self._spin)
        self._slider.connect("valueChanged(int)", self._slide)
        self._slider.connect("sliderReleased()", self._release)
        self._spin.connect("valueChanged(double)", self._announce)

    def reset(self) -> None:
        self._spin.value = self._spin.minimum

    def _set_single_step(self, step: float) -> None:
        if step > self._spin.maximum - self._spin.minimum > 0:
            raise ValueError(f"A step of {step} is larger than the range: CTK warns and ignores it")
        self._spin.singleStep = step

    singleStep = property(lambda self: self._spin.singleStep, _set_single_step)

    def _slide(self, position: int) -> None:
        low, high = self._spin.minimum, self._spin.maximum
        value = low + (high - low) * position / SLIDER_STEPS
        if self.tracking or not self._slider.isSliderDown():
            self._spin.value = value
        else:
            self.valueIsChanging.emit(value)

    def _release(self) -> None:
        self._slide(self._slider.value)

    def _announce(self, value: float) -> None:
        self._changed()
        self.valueChanged.emit(value)

    def _changed(self) -> None:
        span = self._spin.maximum - self._spin.minimum
        position = round(SLIDER_STEPS * (self._spin.value - self._spin.minimum) / span) if span > 0 else 0
        if not self._slider.isSliderDown():
            self._slider.blockSignals(True)
            self._slider.value = position
            self._slider.blockSignals(False)
        self._spin.setVisible(self.spinBoxVisible)


@cpp_class
@slots("minimumValue", "maximumValue")
@hold(minimum=0.0, maximum=99.0, minimumValue=0.0, maximumValue=99.0, singleStep=1.0, tracking=True)
class ctkDoubleRangeSlider(QWidget):
    """Two handles on one line."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    SIGNALS = {
        "valuesChanged(double,double)": "valuesChanged",
        "minimumValueChanged(double)": "minimumValueChanged",
        "maximumValueChanged(double)": "maximumValueChanged",
    }
    _announced, _held = (0.0, 99.0), None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*[argument for argument in arguments if isinstance(argument, QWidget)])
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(120, 22)

    def minimumSizeHint(self) -> QSize:
        return QSize(40, 22)

    def setValues(self, low: float, high: float) -> None:
        self.__dict__.update(_held_minimumValue=float(low), _held_maximumValue=float(high))
        self._changed()

    def _changed(self) -> None:
        low = min(max(self.minimumValue, self.minimum), self.maximum)
        high = max(min(self.maximumValue, self.maximum), low)
        self.__dict__.update(_held_minimumValue=low, _held_maximumValue=high)
        self.update()
        before, self._announced = self._announced, (low, high)
        if before[0] != low:
            self.minimumValueChanged.emit(low)
        if before[1] != high:
            self.maximumValueChanged.emit(high)
        if before != (low, high):
            self.valuesChanged.emit(low, high)

    def _x_of(self, value: float) -> float:
        span = (self.maximum - self.minimum) or 1.0
        return 7 + (self.width - 14) * (value - self.minimum) / span

    def mousePressEvent(self, event: Any) -> None:
        x = event.position().x()
        near_low = abs(x - self._x_of(self.minimumValue)) <= abs(x - self._x_of(self.maximumValue))
        self._held = "minimumValue" if near_low else "maximumValue"

    def mouseMoveEvent(self, event: Any) -> None:
        if self._held:
            share = (event.position().x() - 7) / max(1, self.width - 14)
            value = self.minimum + share * (self.maximum - self.minimum)
            limit = self.maximumValue if self._held == "minimumValue" else self.minimumValue
            setattr(self, self._held, min(value, limit) if self._held == "minimumValue" else max(value, limit))

    def mouseReleaseEvent(self, event: Any) -> None:
        self._held = None

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.Antialiasing)
        middle, palette = self.height / 2, self.palette
        low, high = self._x_of(self.minimumValue), self._x_of(self.maximumValue)
        painter.setPen(Qt.NoPen)
        painter.setBrush(palette.color(QPalette.Mid))
        painter.drawRoundedRect(QRectF(7, middle - 2, self.width - 14, 4), 2, 2)
        painter.setBrush(palette.color(QPalette.Highlight))
        painter.drawRoundedRect(QRectF(low, middle - 2, high - low, 4), 2, 2)
        painter.setPen(palette.color(QPalette.Dark))
        painter.setBrush(palette.color(QPalette.Button))
        for x in (low, high):
            painter.drawEllipse(QPointF(x, middle), 6, 6)
        painter.end()


@cpp_class
@slots("minimumValue", "maximumValue")
@forward("_slider", "minimum", "maximum", "minimumValue", "maximumValue", "singleStep", "tracking")
@hold(decimals=2, prefix="", suffix="")
class ctkRangeWidget(QWidget):
    """Two spin boxes with a range slider between them."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    SIGNALS = ctkDoubleRangeSlider.SIGNALS

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._low, self._high, self._slider = QDoubleSpinBox(self), QDoubleSpinBox(self), ctkDoubleRangeSlider(self)
        _row(self, self._low, self._slider, self._high)
        for name in ("minimumValueChanged", "maximumValueChanged"):
            getattr(self._slider, name).connect(getattr(self, name).emit)
        self._slider.valuesChanged.connect(self._announce)
        self._changed()
        self._low.connect("valueChanged(double)", lambda value: self._slider.setValues(value, self.maximumValue))
        self._high.connect("valueChanged(double)", lambda value: self._slider.setValues(self.minimumValue, value))

    def setValues(self, low: float, high: float) -> None:
        self._slider.setValues(low, high)

    def _announce(self, low: float, high: float) -> None:
        self._changed()
        self.valuesChanged.emit(low, high)

    def _changed(self) -> None:
        for spin, value in ((self._low, self.minimumValue), (self._high, self.maximumValue)):
            spin.blockSignals(True)
            spin.decimals, spin.prefix, spin.suffix = self.decimals, self.prefix, self.suffix
            spin.singleStep = self.singleStep
            spin.setRange(self.minimum, self.maximum)
            spin.value = value
            spin.blockSignals(False)
