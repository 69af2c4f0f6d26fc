"""What every qMRML widget has: a scene, and observers that end with the widget or the scene."""

# Slicer's own names.
# ruff: noqa: N801, N802, N815, RUF012

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
import vtk
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from Host.pythonqt import cpp_class


class Observers:
    """VTK observers of one Qt object; none calls after the object is gone.

    What VTK holds refers to the object weakly: VTK would go on calling functions that Python's garbage collector has
    already emptied.
    """

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._tags: list[tuple[Any, int]] = []
        self._functions: dict[int, Callable[[Any], None]] = {}
        self._keys = itertools.count()

    def add(self, caller: Any, event: Any, function: Callable[[Any], None], priority: float = 0.0) -> None:
        """Call a function with the event's object (or the caller, where the event has none)."""
        weak, key = weakref.ref(self), next(self._keys)
        self._functions[key] = function

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def call(source: Any, name: str, data: Any = None) -> None:
            observers = weak()
            if observers is not None and shiboken6.isValid(observers._owner) and key in observers._functions:
                observers._functions[key](data if data is not None else source)

        self._tags.append((caller, caller.AddObserver(event, call, priority)))

    def clear(self) -> None:
        """Remove all of them."""
        for caller, tag in self._tags:
            caller.RemoveObserver(tag)
        self._tags.clear()
        self._functions.clear()

    def __del__(self) -> None:
        self.clear()


@cpp_class
class qMRMLWidget(QWidget):
    """A widget that passes its scene on."""

    mrmlSceneChanged = Signal(object)
    SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}
    _scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)
