"""The module in a stub of Slicer, without torch: it loads, says what it is, and reloads."""

import sys
from types import SimpleNamespace

import pytest

from Extension.slicer_stub import ABSENT, NothingElse, install, open_front_door


@pytest.fixture
def slicer(module, monkeypatch):
    stub = install(monkeypatch)
    yield stub
    for name in [name for name in sys.modules if name.split(".")[0] == "UncertaintyGuidedI2ILib"]:
        del sys.modules[name]


@pytest.fixture
def front_door(slicer, module):
    return open_front_door(module / "UncertaintyGuidedI2I.py")


def test_the_module_loads_where_torch_and_the_engines_libraries_are_absent(slicer, module, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] in (*ABSENT, "upgan")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NothingElse(), *sys.meta_path])
    with pytest.raises(ModuleNotFoundError):
        __import__("torch")
    front_door = open_front_door(module / "UncertaintyGuidedI2I.py")
    for ending in ("", "Widget", "Logic", "Test"):
        assert hasattr(front_door, f"UncertaintyGuidedI2I{ending}")
    front_door.UncertaintyGuidedI2ILogic()


def test_the_module_says_what_it_is_and_cites_the_paper(front_door):
    parent = SimpleNamespace()
    front_door.UncertaintyGuidedI2I(parent)
    assert parent.categories == ["Image Synthesis"]
    assert "not for patients" in parent.helpText
    assert "10.1007/978-3-030-87199-4_58" in parent.acknowledgementText


def test_reloading_the_module_reloads_its_library_too(front_door, module):
    before = sys.modules["UncertaintyGuidedI2ILib.scene.nodes"]
    open_front_door(module / "UncertaintyGuidedI2I.py")
    assert sys.modules["UncertaintyGuidedI2ILib.scene.nodes"] is not before
