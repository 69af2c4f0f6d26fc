"""Just enough of the Slicer application to open the front door: no Qt, no scene, no torch."""

# Slicer's own names.
# ruff: noqa: N802, N803, N815

import importlib.util
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

ABSENT = ("torch", "nibabel", "pydantic", "safetensors", "SimpleITK", "scipy")


class Widget:
    """A widget whose properties are plain attributes, as PythonQt has them."""

    def __init__(self) -> None:
        self.enabled, self.toolTip, self.text, self.value = True, "", "", 0
        self.items: list[str] = []
        self.currentIndex = -1
        self.slots: dict[str, Any] = {}

    @property
    def count(self) -> int:
        return len(self.items)

    @property
    def currentText(self) -> str:
        return self.items[self.currentIndex] if self.items else ""

    def connect(self, signal: str, slot: Any) -> None:
        self.slots[signal] = slot

    def addItem(self, text: str) -> None:
        self.items.append(text)
        self.currentIndex = max(self.currentIndex, 0)

    def findText(self, text: str) -> int:
        return self.items.index(text) if text in self.items else -1

    def itemText(self, index: int) -> str:
        return self.items[index]

    def click(self) -> None:
        if self.enabled:
            self.slots["clicked(bool)"](False)


class ParameterNode:
    """Choices as the typed wrapper offers them."""

    inputVolume, model, device = None, "pet-ct-phantom", "auto"

    def __init__(self, node: Any = None) -> None:
        pass

    def connectGui(self, ui: Any) -> int:
        return 1

    def disconnectGui(self, tag: int) -> None:
        pass


class Observing:
    def __init__(self) -> None:
        pass

    def addObserver(self, *arguments: Any) -> None:
        pass

    removeObserver = removeObservers = addObserver


class Base:
    def __init__(self, parent: Any = None) -> None:
        self.parent, self.layout = parent, SimpleNamespace(addWidget=lambda widget: None)

    def setup(self) -> None:
        pass

    def resourcePath(self, name: str) -> str:
        return name

    def getParameterNode(self) -> None:
        return None


class NothingElse:
    """Lets nothing be imported that Slicer does not bring."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)


class Errors:
    """A context that lets every error through, as Slicer's does after showing it."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: Any) -> bool:
        return False


class Anything(ModuleType):
    """A module in which every class exists."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("vtk"):
            return type(name, (), {})
        raise AttributeError(name)


def install(monkeypatch: Any, ui_file: Path) -> ModuleType:
    """Put a stub of Slicer into sys.modules until the test ends, and return it."""
    slicer = Anything("slicer")
    names = [widget.get("name") for widget in ET.parse(ui_file).getroot().iter("widget")]
    ui = SimpleNamespace(**{name: Widget() for name in names})
    ui.errors = []
    slicer.ui = ui
    slicer.app = SimpleNamespace(connect=lambda signal, slot: None, processEvents=lambda: None)
    slicer.mrmlScene = SimpleNamespace(StartCloseEvent=1, EndCloseEvent=2, GetFirstNodeByClass=lambda name: None)
    modules = {"slicer": slicer, "vtk": Anything("vtk")}
    for name in ("i18n", "util", "ScriptedLoadableModule", "parameterNodeWrapper"):
        modules[f"slicer.{name}"] = child = ModuleType(f"slicer.{name}")
        setattr(slicer, name, child)
    modules["vtk"].vtkCommand = SimpleNamespace(ModifiedEvent=33)
    slicer.i18n.tr = lambda text: text
    slicer.i18n.translate = lambda context, text: text
    slicer.util.VTKObservationMixin = Observing
    slicer.util.loadUI = lambda path: SimpleNamespace(setMRMLScene=lambda scene: None)
    slicer.util.childWidgetVariables = lambda widget: ui
    slicer.util.tryWithErrorDisplay = lambda message: Errors()
    slicer.util.errorDisplay = lambda text, detailedText="": ui.errors.append(text)
    slicer.util.confirmOkCancelDisplay = lambda text: True
    for ending in ("", "Widget", "Logic", "Test"):
        base = type(f"ScriptedLoadableModule{ending}", (Base,), {})
        setattr(slicer.ScriptedLoadableModule, base.__name__, base)
    slicer.parameterNodeWrapper.Choice = lambda choices: choices
    slicer.parameterNodeWrapper.parameterNodeWrapper = lambda cls: type(cls.__name__, (ParameterNode,), {})
    for name in [name for name in sys.modules if name.split(".")[0] in ("slicer", "UncertaintyGuidedI2ILib")]:
        monkeypatch.delitem(sys.modules, name)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return slicer


def open_front_door(path: Path) -> ModuleType:
    """Execute the module's main file as Slicer does."""
    spec = importlib.util.spec_from_file_location("UncertaintyGuidedI2I", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
