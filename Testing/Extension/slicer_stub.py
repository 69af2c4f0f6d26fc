"""Just enough of the Slicer application to open the front door: no Qt, no scene, no torch."""

# Slicer's own names.
# ruff: noqa: N802, N815

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

ABSENT = ("torch", "nibabel", "pydantic", "safetensors", "SimpleITK", "scipy")


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


class Anything(ModuleType):
    """A module in which every class exists."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("vtk", "numpy_to")):
            return type(name, (), {})
        raise AttributeError(name)


def install(monkeypatch: Any) -> ModuleType:
    """Put a stub of Slicer into sys.modules until the test ends, and return it."""
    slicer = Anything("slicer")
    slicer.app = SimpleNamespace(connect=lambda signal, slot: None)
    modules = {"slicer": slicer, "vtk": Anything("vtk"), "qt": Anything("qt"), "ctk": Anything("ctk")}
    for name in ("i18n", "util", "ScriptedLoadableModule", "parameterNodeWrapper"):
        modules[f"slicer.{name}"] = child = ModuleType(f"slicer.{name}")
        setattr(slicer, name, child)
    for name in ("vtk.util", "vtk.util.numpy_support"):
        modules[name] = Anything(name)
    modules["vtk"].VTK_OBJECT = 21
    modules["vtk"].vtkCommand = type("vtkCommand", (), {"ModifiedEvent": 33})
    modules["vtk"].calldata_type = lambda kind: lambda function: function
    slicer.i18n.tr = lambda text: text
    slicer.i18n.translate = lambda context, text: text
    slicer.util.VTKObservationMixin = Observing
    for ending in ("", "Widget", "Logic", "Test"):
        base = type(f"ScriptedLoadableModule{ending}", (Base,), {})
        setattr(slicer.ScriptedLoadableModule, base.__name__, base)
    wrapper = slicer.parameterNodeWrapper
    wrapper.Choice = wrapper.WithinRange = lambda *values: values
    wrapper.parameterNodeWrapper = wrapper.parameterPack = lambda cls: cls
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
