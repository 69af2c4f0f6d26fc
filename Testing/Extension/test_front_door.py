"""The module in a stub of Slicer, without torch: it loads, and its panel behaves at any click."""

# Slicer's own names.
# ruff: noqa: N802

import json
import sys
from types import SimpleNamespace

import pytest

from Extension.slicer_stub import ABSENT, NothingElse, install, open_front_door
from upgan.errors import Cancelled, InputError


@pytest.fixture
def slicer(module, monkeypatch):
    stub = install(monkeypatch, module / "Resources" / "UI" / "UncertaintyGuidedI2I.ui")
    yield stub
    for name in [name for name in sys.modules if name.split(".")[0] == "UncertaintyGuidedI2ILib"]:
        del sys.modules[name]


@pytest.fixture
def front_door(slicer, module):
    return open_front_door(module / "UncertaintyGuidedI2I.py")


@pytest.fixture
def widget(front_door, slicer, monkeypatch):
    """A panel with an input chosen, one model, and nothing left to install."""
    monkeypatch.setattr(front_door.dependencies, "ensureInstalled", lambda confirm: True)
    monkeypatch.setattr(front_door.UncertaintyGuidedI2ILogic, "modelNames", lambda self: ["pet-ct-phantom"])
    panel = front_door.UncertaintyGuidedI2IWidget(SimpleNamespace(isEntered=True))
    panel.setup()
    panel._parameterNode.inputVolume = SimpleNamespace(GetID=lambda: "vtkMRMLScalarVolumeNode1")
    panel.onChoicesChanged()
    return panel


class OutputNode:
    """A volume node as far as the panel looks at it."""

    def __init__(self, node_id, name, warnings):
        self.node_id, self.name = node_id, name
        self.attributes = {"UncertaintyGuidedI2I.Warnings": json.dumps(warnings), "UncertaintyGuidedI2I.Phase": "3"}

    def GetID(self):
        return self.node_id

    def GetName(self):
        return self.name

    def GetAttributeNames(self):
        return tuple(self.attributes)

    def GetAttribute(self, name):
        return self.attributes.get(name)


def run_of(widget, monkeypatch, during=lambda: None, warnings=()):
    """Let the logic report progress twice and return nodes; ``during`` happens while events are processed."""
    runs = []

    def translate(node, **choices):
        runs.append((node, choices))
        for fraction in (0.25, 1.0):
            choices["progress"](
                SimpleNamespace(fraction=fraction, phase=1, phases=3, slice=1, slices=4, remaining_s=3.0)
            )
        named = {"pseudo_ct": "PET pseudo-CT", "alpha": "a", "beta": "b", "sigma": "s"}
        return {k: OutputNode(k, v, list(warnings)) for k, v in named.items()}

    monkeypatch.setattr(widget.logic, "translate", translate)
    sys.modules["slicer"].app.processEvents = during
    return runs


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
    before = sys.modules["UncertaintyGuidedI2ILib.scene"]
    open_front_door(module / "UncertaintyGuidedI2I.py")
    assert sys.modules["UncertaintyGuidedI2ILib.scene"] is not before


def test_a_disabled_apply_says_why(widget):
    assert widget.ui.applyButton.enabled
    widget._parameterNode.inputVolume = None
    widget.onChoicesChanged()
    assert not widget.ui.applyButton.enabled
    assert "Choose the volume" in widget.ui.applyButton.toolTip
    widget._parameterNode.inputVolume = object()
    widget.ui.modelSelector.items.clear()
    widget.onChoicesChanged()
    assert "No model" in widget.ui.applyButton.toolTip


def test_apply_runs_with_the_choices_and_says_what_came_out(widget, monkeypatch):
    runs = run_of(widget, monkeypatch)
    widget._parameterNode.device = "cpu"
    widget.ui.applyButton.click()
    ((node, choices),) = runs
    assert node is widget._parameterNode.inputVolume
    assert (choices["model"], choices["device"]) == ("pet-ct-phantom", "cpu")
    assert widget.ui.progressBar.value == 100
    assert "PET pseudo-CT" in widget.ui.statusLabel.text
    assert widget.ui.showOverlayButton.enabled


def test_the_warnings_of_a_run_are_shown_after_it(widget, monkeypatch):
    run_of(widget, monkeypatch, warnings=["The image is an MR.", "The head is cut off."])
    widget.ui.applyButton.click()
    assert widget.ui.statusLabel.text == "Done: PET pseudo-CT. The image is an MR. The head is cut off."


def test_without_warnings_only_the_result_is_named(widget, monkeypatch):
    run_of(widget, monkeypatch)
    widget.ui.applyButton.click()
    assert widget.ui.statusLabel.text == "Done: PET pseudo-CT."


def test_a_second_click_during_a_run_starts_nothing(widget, monkeypatch):
    runs = run_of(widget, monkeypatch, during=lambda: widget.onApply())
    widget.ui.applyButton.click()
    assert len(runs) == 1


def test_during_a_run_only_cancel_can_be_clicked(widget, monkeypatch):
    seen = []
    named = ("applyButton", "cancelButton", "inputSelector", "modelSelector", "showOverlayButton")
    run_of(widget, monkeypatch, during=lambda: seen.append([getattr(widget.ui, name).enabled for name in named]))
    widget.ui.applyButton.click()
    assert seen[0] == [False, True, False, False, False]
    assert [getattr(widget.ui, name).enabled for name in named] == [True, False, True, True, True]


def test_cancel_ends_the_run_and_says_that_nothing_was_added(widget, monkeypatch):
    run_of(widget, monkeypatch, during=lambda: widget.ui.cancelButton.click())
    widget.ui.applyButton.click()
    assert "Nothing was added" in widget.ui.statusLabel.text
    assert widget.ui.applyButton.enabled
    assert not widget.ui.showOverlayButton.enabled
    assert widget.ui.errors == []


def test_closing_the_scene_during_a_run_cancels_it(widget, monkeypatch):
    run_of(widget, monkeypatch, during=lambda: (widget.onSceneStartClose(), widget.onSceneEndClose()))
    widget.ui.applyButton.click()
    assert "Cancelled" in widget.ui.statusLabel.text
    assert not widget.ui.applyButton.enabled
    assert "Choose the volume" in widget.ui.applyButton.toolTip


def test_closing_the_scene_while_packages_are_installed_cancels_the_run(widget, front_door, monkeypatch):
    runs = run_of(widget, monkeypatch)
    monkeypatch.setattr(front_door.dependencies, "ensureInstalled", lambda confirm: widget.onSceneStartClose() or True)
    widget.ui.applyButton.click()
    assert runs == []
    assert "Cancelled" in widget.ui.statusLabel.text


def test_an_error_is_shown_as_its_sentence_and_its_remedy(widget, monkeypatch):
    def refuse(node, **choices):
        raise InputError("constant_image", "Every voxel has the same value.", "Choose another volume.")

    monkeypatch.setattr(widget.logic, "translate", refuse)
    widget.ui.applyButton.click()
    assert widget.ui.errors == ["Every voxel has the same value.\n\nChoose another volume."]
    assert widget.ui.applyButton.enabled


def test_after_an_unexpected_error_the_panel_is_usable_again(widget, monkeypatch):
    def fail(node, **choices):
        raise ZeroDivisionError

    monkeypatch.setattr(widget.logic, "translate", fail)
    with pytest.raises(ZeroDivisionError):
        widget.ui.applyButton.click()
    assert widget.ui.applyButton.enabled


def test_declining_the_installation_runs_nothing(widget, front_door, monkeypatch):
    runs = run_of(widget, monkeypatch)
    monkeypatch.setattr(front_door.dependencies, "ensureInstalled", lambda confirm: False)
    widget.ui.applyButton.click()
    assert runs == []
    assert widget.ui.applyButton.enabled


def test_a_model_that_is_not_here_is_replaced_by_one_that_is(widget):
    widget._parameterNode.model = "from-another-installation"
    widget.onChoicesChanged()
    assert widget._parameterNode.model == "pet-ct-phantom"


def test_closing_the_application_during_a_run_cancels_it(widget, monkeypatch):
    run_of(widget, monkeypatch, during=lambda: widget.cleanup())
    raised = []
    original = widget._run.stopIfCancelled

    def watch():
        try:
            original()
        except Cancelled:
            raised.append(True)
            raise

    monkeypatch.setattr(widget._run, "stopIfCancelled", watch)
    widget.onApply()
    assert raised == [True]
