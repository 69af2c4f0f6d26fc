"""``slicer.util.loadUI``: reads a .ui file into the host's widgets, and refuses what Slicer's loader does not read."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6 import QtUiTools, QtWidgets
from PySide6.QtCore import QBuffer, QByteArray, QObject

from Host.pythonqt import lenient

CONVERTERS: dict[str, Callable[[ET.Element], Any]] = {
    "number": lambda value: int(value.text),
    "double": lambda value: float(value.text),
    "bool": lambda value: value.text == "true",
    "string": lambda value: value.text or "",
    "cstring": lambda value: value.text or "",
    "stringlist": lambda value: [string.text or "" for string in value.iter("string")],
}


class Loader(QtUiTools.QUiLoader):
    """Creates the widgets in Python, so that they stay what they are for as long as they live."""

    def __init__(self, classes: dict[str, type]) -> None:
        super().__init__()
        self._classes = classes
        self._created: list[QObject] = []

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> QtWidgets.QWidget:  # noqa: N802
        cls = self._classes.get(class_name) or getattr(QtWidgets, class_name)
        widget = cls(parent)
        widget.setObjectName(name)
        self._created.append(widget)
        return widget


def load_ui(path: str | Path, classes: dict[str, type]) -> QtWidgets.QWidget:
    """Return the top-level widget of a .ui file.

    Args:
        path: The file.
        classes: Custom widgets by class name.

    Raises:
        RuntimeError: The file is absent, or has a widget, property or enum that Slicer's loader does not know.
    """
    if not Path(path).is_file():
        raise RuntimeError(f"Could not load UI file: file not found {path}")
    tree = ET.parse(path)
    root = tree.getroot()
    _refuse_scoped_enums(root)
    for widget in root.iter("widget"):
        kind = widget.get("class")
        if kind not in classes and not hasattr(QtWidgets, kind):
            raise RuntimeError(f"{widget.get('name')} is a {kind}, which the host does not have")
    later = {
        widget.get("name"): _take_properties(widget, classes[widget.get("class")])
        for widget in root.iter("widget")
        if widget.get("class") in classes
    }
    connections = [connection for part in root.findall("connections") for connection in part]
    for part in root.findall("connections"):
        root.remove(part)
    buffer = QBuffer()
    buffer.setData(QByteArray(ET.tostring(root)))
    loader = Loader(classes)
    with lenient():
        top = loader.load(buffer)
    if top is None:
        raise RuntimeError(f"Could not load UI file: {path}: {loader.errorString()}")
    named = {child.objectName: child for child in [top, *top.findChildren(QObject)] if child.objectName}
    for name in named:
        top.__dict__.pop(name, None)
    for name, properties in later.items():
        for key, value in properties:
            setattr(named[name], key, value)
    for connection in connections:
        sender, signal, receiver, slot = (connection.findtext(tag) for tag in ("sender", "signal", "receiver", "slot"))
        named[sender].connect(signal, named[receiver], slot)
    return top


def _refuse_scoped_enums(root: ET.Element) -> None:
    for value in [*root.iter("enum"), *root.iter("set")]:
        if any(part.count("::") > 1 for part in (value.text or "").split("|")):
            raise RuntimeError(f"{value.text}: the loader of Qt 5 knows it without the enum's own name only")


def _take_properties(widget: ET.Element, cls: type) -> list[tuple[str, Any]]:
    """Take the properties out of the file that only the host's Python class has."""
    # A Python class's own meta object does not outlive its instances; Qt's classes' do.
    base = next(base for base in cls.__mro__ if base.__module__.startswith("PySide6"))
    taken = []
    for element in widget.findall("property"):
        name, value = element.get("name"), element[0]
        is_qts = base.staticMetaObject.indexOfProperty(name) >= 0 and not isinstance(getattr(cls, name), property)
        if element.get("stdset") == "0" or is_qts:
            continue
        if not hasattr(cls, name):
            raise RuntimeError(f"{cls.__name__} {widget.get('name')} has no property {name}")
        if value.tag in ("enum", "set"):
            parts = [getattr(cls, part, None) for part in value.text.replace("::", "|").split("|")]
            taken.append((name, sum(part for part in parts if isinstance(part, int))))
        else:
            taken.append((name, CONVERTERS[value.tag](value)))
        widget.remove(element)
    return taken
