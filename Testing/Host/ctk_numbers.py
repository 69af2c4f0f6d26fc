"""Numbers: ctkSliderWidget."""

# CTK's own names.
# ruff: noqa: N801, N815, RUF012

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSizePolicy, QSlider, QWidget

from Host.forwarding import forward, hold, slots
from Host.pythonqt import cpp_class

SLIDER_STEPS = 1000


@cpp_class
@slots("value")
@forward("_spin", "value", "minimum", "maximum", "singleStep", "decimals", "suffix")
@hold(pageStep=10.0, tracking=True)
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
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._spin)
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        self.setFocusProxy(self._spin)
        self._slider.connect("valueChanged(int)", self._slide)
        self._slider.connect("sliderReleased()", self._release)
        self._spin.connect("valueChanged(double)", self._announce)

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
