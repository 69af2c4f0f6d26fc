"""``slicer.app`` and ``slicer.modules``: what scripts ask of the running application."""

# Slicer's own names.
# ruff: noqa: N802

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
from PySide6.QtCore import QCoreApplication

APPLICATION_SIGNALS = ("startupCompleted()", "aboutToQuit()")


class Emitter:
    """Signals of an object that is no QObject here."""

    def __init__(self, *signals: str) -> None:
        self._slots: dict[str, list[Callable]] = {signal: [] for signal in signals}

    def connect(self, signal: str, slot: Callable) -> bool:
        if signal not in self._slots:
            raise ValueError(f"There is no signal {signal}; there are {', '.join(self._slots)}")
        self._slots[signal].append(slot)
        return True

    def disconnect(self, signal: str, slot: Callable) -> bool:
        known = slot in self._slots[signal]
        if known:
            self._slots[signal].remove(slot)
        return known

    def _emit(self, signal: str, *arguments: Any) -> None:
        for slot in list(self._slots[signal]):
            slot(*arguments)


class ModuleManager(Emitter):
    """Knows the modules by name, and loads others while the application runs."""

    def __init__(self, host: Any) -> None:
        super().__init__("moduleAboutToBeUnloaded(QString)")
        self._factory = ModuleFactory(host)

    def factoryManager(self) -> ModuleFactory:
        return self._factory

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)


class ModuleFactory:
    """Loads scripted modules, as a script has Slicer load one of a folder that it does not look into."""

    def __init__(self, host: Any) -> None:
        self._host, self._registered = host, {}

    def registerModule(self, file: Any) -> None:
        self._registered[file.baseName()] = file.filePath()

    def loadModules(self, names: list[str]) -> bool:
        for name in names:
            self._host.load_module(self._registered[name])
        return True

    def isLoaded(self, name: str) -> bool:
        return name in self._host._modules


class Application(Emitter):
    """The running application."""

    def __init__(self, core: Any, layout_manager: Any, host: Any) -> None:
        super().__init__(*APPLICATION_SIGNALS)
        self._core = core
        self._layout_manager = layout_manager
        self._module_manager = ModuleManager(host)
        self._folder = tempfile.TemporaryDirectory(prefix="host-")
        self.temporaryPath = str(Path(self._folder.name) / "temporary")
        Path(self.temporaryPath).mkdir()
        core.app_logic.SetTemporaryPath(self.temporaryPath)

    def processEvents(self, *flags: Any) -> None:
        QCoreApplication.processEvents(*flags)

    def layoutManager(self) -> Any:
        return self._layout_manager

    def applicationLogic(self) -> Any:
        return self._core.app_logic

    def moduleManager(self) -> ModuleManager:
        return self._module_manager

    def testingEnabled(self) -> bool:
        return False


def core_modules(core: Any) -> SimpleNamespace:
    """Return ``slicer.modules`` with those of Slicer's own modules that have a logic in slicer-core."""
    scene = core.scene
    logics = {
        "Colors": slicer.vtkSlicerColorLogic(),
        "Sequences": slicer.vtkSlicerSequencesLogic(),
        "Plots": slicer.vtkSlicerPlotsLogic(),
        "Tables": slicer.vtkSlicerTablesLogic(),
        "Segmentations": core.segmentations_logic,
        "Volumes": core.volumes_logic,
    }
    modules = SimpleNamespace()
    for name, logic in logics.items():
        if logic.GetMRMLScene() is not scene:
            logic.SetMRMLApplicationLogic(core.app_logic)
            logic.SetMRMLScene(scene)
        setattr(modules, name.lower(), SimpleNamespace(name=name, logic=lambda logic=logic: logic))
    return modules
