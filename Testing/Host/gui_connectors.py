"""Which widget shows a parameter of which type, as Slicer's parameter node wrapper has it: exactly these pairs."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable
from typing import Any

import slicer

from Host.parameter_types import Choice, WithinRange, annotation, unannotated


class Connector:
    """Reads, writes and watches one widget."""

    def __init__(self, widget: Any, signal: str, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self.widget, self.signal, self.read, self.write = widget, signal, read, write
        self._changed: Callable | None = None

    def watch(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        getattr(self.widget, self.signal).connect(changed)

    def unwatch(self) -> None:
        getattr(self.widget, self.signal).disconnect(self._changed)
        self._changed = None


def connector(widget: Any, datatype: Any) -> Connector:
    """Return what connects a widget with a parameter.

    Raises:
        RuntimeError: Slicer has no connector for the pair.
    """
    import ctk
    import qt

    kind, annotations = unannotated(datatype)
    cls = type(widget)
    if kind is bool and cls is qt.QCheckBox:
        return _attribute(widget, "checked", "stateChanged")
    if kind is int and cls is qt.QSpinBox:
        _limit(widget, annotations, (-(2**31), 2**31 - 1))
        return _attribute(widget, "value", "valueChanged")
    if kind is float and cls in (qt.QDoubleSpinBox, ctk.ctkSliderWidget):
        _limit(widget, annotations, (float("-inf"), float("inf")))
        return _attribute(widget, "value", "valueChanged")
    if cls is qt.QComboBox and kind in (int, float, str, bool):
        choice = annotation(annotations, Choice)
        if choice is None:
            raise RuntimeError(f"A combo box needs a Choice: {widget.name}")
        return _choices(widget, [(str(value), value) for value in choice.choices])
    if cls is qt.QComboBox and isinstance(kind, type) and issubclass(kind, enum.Enum):
        label = getattr(kind, "label", lambda value: value.name)
        return _choices(widget, [(label(value), value) for value in kind])
    if cls is qt.QLineEdit and kind is str:
        return _attribute(widget, "text", "textChanged")
    if cls is ctk.ctkPathLineEdit and kind is pathlib.Path:
        return _path(widget)
    if cls is slicer.qMRMLNodeComboBox and isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        widget.nodeTypes = [kind.__name__]
        return Connector(widget, "currentNodeChanged", widget.currentNode, widget.setCurrentNode)
    raise RuntimeError(f"Slicer connects no {datatype} with a {cls.__name__} ({widget.name})")


def _attribute(widget: Any, name: str, signal: str) -> Connector:
    return Connector(widget, signal, lambda: getattr(widget, name), lambda value: setattr(widget, name, value))


def _path(widget: Any) -> Connector:
    def write(path: pathlib.Path) -> None:
        widget.currentPath = str(path)

    return Connector(widget, "currentPathChanged", lambda: pathlib.Path(widget.currentPath), write)


def _choices(widget: Any, labelled: list[tuple[str, Any]]) -> Connector:
    widget.clear()
    for label, _ in labelled:
        widget.addItem(label)
    values = [value for _, value in labelled]

    def write(value: Any) -> None:
        widget.currentIndex = values.index(value)

    return Connector(widget, "currentIndexChanged", lambda: values[widget.currentIndex], write)


def _limit(widget: Any, annotations: list, widest: tuple) -> None:
    within = annotation(annotations, WithinRange)
    if within is None and type(widget).__name__ == "ctkSliderWidget":
        raise RuntimeError(f"A slider needs a range: {widget.name}")
    widget.minimum, widget.maximum = (within.minimum, within.maximum) if within else widest
