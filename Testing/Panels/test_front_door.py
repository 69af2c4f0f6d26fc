"""The module as a whole: which choices its widgets follow while scenes come and go."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from Panels.processes import pause


@pytest.fixture
def choose(module_widget):
    return lambda: module_widget.logic.getParameterNode().translate


def test_the_second_volume_is_still_chosen_when_its_scene_is_loaded(host, module_widget, choose, add_volume, tmp_path):
    import slicer

    add_volume("first")
    choose().inputVolume = add_volume("second")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    host.close_scene()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    host.process_events()
    assert choose().inputVolume.GetName() == "second"
    assert module_widget.translatePanel.ui.inputSelector.currentNode().GetName() == "second"


def test_a_scene_that_is_loaded_in_addition_leaves_a_choice_of_this_scene_alone(
    host, module_widget, choose, add_volume, tmp_path
):
    import slicer

    other = slicer.vtkMRMLScene()
    other.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other")
    other.SetURL(str(tmp_path / "other.mrml"))
    assert other.Commit()
    add_volume("first")
    chosen = add_volume("second")
    choose().inputVolume = chosen
    host.scene.SetURL(str(tmp_path / "other.mrml"))
    assert host.scene.Import()
    host.process_events()
    assert host.scene.GetFirstNodeByName("other") is not None
    assert module_widget.translatePanel.ui.inputSelector.currentNode() is chosen
    assert choose().inputVolume is chosen


def test_widgets_write_to_the_choices_of_this_scene_alone(host, module_widget, choose):
    before = module_widget._parameterNode
    host.close_scene()
    assert module_widget._parameterNode is not before
    written = []
    before.setValue = lambda name, value: written.append(name)
    ui = module_widget.translatePanel.ui
    ui.allPhasesCheckBox.checked = not ui.allPhasesCheckBox.checked
    assert written == []
    assert choose().allPhases == ui.allPhasesCheckBox.checked


def test_the_overlay_of_a_scene_loaded_in_addition_is_taken_off_without_showing_another_patient(
    host, module_widget, add_volume, tmp_path
):
    """Node identifiers are given anew then: those that were remembered as text may mean other volumes."""
    import slicer

    from UncertaintyGuidedI2ILib.logic import UncertaintyGuidedI2ILogic

    samples = Path(__file__).parents[2] / "UncertaintyGuidedI2I" / "Resources" / "SampleData"
    pet = slicer.util.loadVolume(str(samples / "sample_nacpet.nrrd"))
    slicer.util.setSliceViewerLayers(background=pet)
    inspect = module_widget.logic.getParameterNode().inspect
    inspect.result = UncertaintyGuidedI2ILogic().translate(pet, device="cpu")["pseudo_ct"]
    inspect.showOverlay = True
    host.wait_until(lambda: inspect.layersBefore, 10)
    assert slicer.util.saveScene(str(tmp_path / "A.mrb"))
    host.close_scene()

    others = [add_volume(f"patient B {i}") for i in range(6)]
    slicer.util.loadScene(str(tmp_path / "A.mrb"), {"clear": False})
    host.process_events()
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    shown = [view.GetBackgroundVolumeID() for view in views]
    module_widget.logic.getParameterNode().inspect.showOverlay = False
    pause(host, 0.5)
    assert [view.GetBackgroundVolumeID() for view in views] == shown
    assert not {node.GetID() for node in others} & {view.GetForegroundVolumeID() for view in views}


CONFIG = """
name = "heads"
[data]
path = "manifest.json"
"""


def test_a_training_that_a_script_starts_is_the_panels_and_survives_the_scene_and_the_module(
    host, module_widget, tmp_path, monkeypatch
):
    monkeypatch.setenv("UPGAN_RUNS", str(tmp_path / "runs"))
    (tmp_path / "heads.toml").write_text(CONFIG)
    training = module_widget.logic.training
    assert module_widget.trainPanel._session is training
    training._client._command = [sys.executable, str(Path(__file__).parent / "training_worker.py")]
    folder = module_widget.logic.startTraining(tmp_path / "heads.toml")
    host.select_module("")
    host.close_scene()
    host.wait_until(lambda: len(training.journal) > 1, 20)
    assert json.loads((folder / "config.json").read_text())["data"]["path"] == str(tmp_path / "manifest.json")
    assert module_widget.logic.trainingState == "running"
    host.close_modules()
    checkpoint = json.loads((folder / "checkpoints" / "last.safetensors").read_text())[0]
    assert checkpoint == len((folder / "journal.jsonl").read_text().splitlines())
    assert [run.state for run in module_widget.logic.trainingRuns()] == ["paused"]


def test_a_script_hears_at_once_what_is_wrong_with_its_configuration(module_widget, tmp_path, monkeypatch):
    from upgan.errors import InputError

    monkeypatch.setenv("UPGAN_RUNS", str(tmp_path / "runs"))
    with pytest.raises(InputError, match=r"data\.path"):
        module_widget.logic.startTraining({"name": "heads", "data": {"paht": "/heads"}})
    assert module_widget.logic.trainingState == "idle"
    assert not (tmp_path / "runs").exists()


def test_a_script_is_told_which_packages_are_missing_before_its_configuration_is_read(module_widget, monkeypatch):
    from UncertaintyGuidedI2ILib import dependencies
    from upgan.errors import UpganError

    monkeypatch.setattr(dependencies, "missing", lambda *files: ["torchio>=0.20"])
    monkeypatch.setitem(sys.modules, "upgan.training.config_file", None)
    with pytest.raises(UpganError, match="torchio") as refusal:
        module_widget.logic.startTraining({"name": "heads"})
    assert refusal.value.code == "package_missing"


def test_a_new_model_is_chosen_in_translate(host, module_widget, choose, tmp_path, monkeypatch):
    monkeypatch.setenv("UPGAN_MODELS", str(tmp_path))
    bundled = Path(__file__).parents[2] / "UncertaintyGuidedI2I" / "Resources" / "Models" / "pet-ct-phantom"
    shutil.copytree(bundled, tmp_path / "trained" / "our-heads")
    for _ in range(2):
        module_widget.onModelSaved("our-heads")
        host.process_events()
        assert choose().model == "our-heads"
        assert module_widget.translatePanel.ui.modelSelector.currentData == "our-heads"


def test_the_choices_for_training_are_the_engines(module_widget):
    from typing import get_args

    from UncertaintyGuidedI2ILib import parameters
    from upgan.tasks import TASKS
    from upgan.training.config import Degradation, Layout
    from upgan.training.presets import PresetName

    assert set(parameters.TASKS) == set(TASKS)
    assert {*parameters.LAYOUTS, "csv"} == set(get_args(Layout))
    assert set(parameters.DEGRADATIONS) == set(get_args(Degradation))
    assert set(parameters.PRESETS) == set(get_args(PresetName))
