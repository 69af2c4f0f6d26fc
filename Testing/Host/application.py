"""``slicer.app`` and ``slicer.modules``: what scripts ask of the running application."""

# Slicer's own names.
# ruff: noqa: N802, N815

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
from PySide6.QtCore import QCoreApplication, QSettings, Qt
from PySide6.QtWidgets import QApplication

APPLICATION_SIGNALS = (
    "startupCompleted()",
    "aboutToQuit()",
    "mrmlSceneChanged(vtkMRMLScene*)",
)


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
    """Knows the modules by name."""

    def __init__(self) -> None:
        super().__init__("moduleAboutToBeUnloaded(QString)")

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)

    def modulesNames(self) -> list[str]:
        return [module.name for module in vars(slicer.modules).values() if isinstance(module, SimpleNamespace)]


class Application(Emitter):
    """The running application."""

    applicationName = "Slicer"
    majorVersion, minorVersion = 5, 10
    revision = "host"

    def __init__(self, core: Any, layout_manager: Any) -> None:
        super().__init__(*APPLICATION_SIGNALS)
        self._core = core
        self._layout_manager = layout_manager
        self._module_manager = ModuleManager()
        self._folder = tempfile.TemporaryDirectory(prefix="host-")
        self.temporaryPath = str(Path(self._folder.name) / "temporary")
        Path(self.temporaryPath).mkdir()
        core.app_logic.SetTemporaryPath(self.temporaryPath)
        self.slicerUserSettingsFilePath = str(Path(self._folder.name) / "Slicer.ini")
        self._paused = 0

    def processEvents(self, *flags: Any) -> None:
        QCoreApplication.processEvents(*flags)

    def layoutManager(self) -> Any:
        return self._layout_manager

    def applicationLogic(self) -> Any:
        return self._core.app_logic

    def moduleManager(self) -> ModuleManager:
        return self._module_manager

    def mrmlScene(self) -> Any:
        return self._core.scene

    def settings(self) -> QSettings:
        return QSettings(self.slicerUserSettingsFilePath, QSettings.IniFormat)

    userSettings = settings

    def commandOptions(self) -> SimpleNamespace:
        return SimpleNamespace(testingEnabled=False, noMainWindow=False)

    def testingEnabled(self) -> bool:
        return False

    def setOverrideCursor(self, cursor: Any) -> None:
        QApplication.setOverrideCursor(cursor if cursor is not None else Qt.WaitCursor)

    def restoreOverrideCursor(self) -> None:
        QApplication.restoreOverrideCursor()

    def pauseRender(self) -> None:
        self._paused += 1

    def resumeRender(self) -> None:
        self._paused -= 1

    def clipboard(self) -> Any:
        return QApplication.clipboard()


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
