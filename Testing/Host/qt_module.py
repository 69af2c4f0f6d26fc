"""The modules ``qt`` and ``ctk`` as Slicer's Python has them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from Host import ctk_numbers, ctk_paths, ctk_sections
from Host.pythonqt import QT_MODULES


class QtModule(ModuleType):
    """All of QtCore, QtGui and QtWidgets in one; not PySide6's own helpers (Signal, Slot, Property)."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("Q", "q")):
            for module in QT_MODULES:
                if hasattr(module, name):
                    return getattr(module, name)
        raise AttributeError(f"module 'qt' has no attribute '{name}'")


def qt_module() -> ModuleType:
    """Return ``qt``."""
    return QtModule("qt")


def ctk_module() -> ModuleType:
    """Return ``ctk``."""
    module = ModuleType("ctk")
    for part in (ctk_sections, ctk_numbers, ctk_paths):
        for name, cls in vars(part).items():
            if name.startswith("ctk"):
                setattr(module, name, cls)
    return module
