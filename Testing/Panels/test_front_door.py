"""The module as a whole: which choices its widgets follow while scenes come and go."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from Panels.conftest import MODULE
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


def test_widgets_of_scenes_that_are_gone_write_nothing_and_keep_nothing(host, module_widget, choose):
    import gc
    import weakref

    before = weakref.ref(module_widget._parameterNode)
    host.close_scene()
    host.close_scene()
    gc.collect()
    assert before() is None
    node = module_widget._parameterNode
    written = []
    node.setValue = lambda name, value: written.append(name) or type(node).setValue(node, name, value)
    ui = module_widget.translatePanel.ui
    ui.allPhasesCheckBox.checked = not ui.allPhasesCheckBox.checked
    assert written == ["translate.allPhases"]
    assert choose().allPhases == ui.allPhasesCheckBox.checked


def test_a_scene_from_before_a_choice_existed_is_loaded_with_its_default(host, module_widget, choose, tmp_path):
    import slicer

    choose().precision = "float32"
    node = module_widget._parameterNode.parameterNode
    other = slicer.vtkMRMLScene()
    old = other.AddNode(slicer.vtkMRMLScriptedModuleNode())
    old.SetSingletonTag(node.GetSingletonTag())
    old.SetModuleName(node.GetModuleName())
    for name in node.GetParameterNames():
        if name not in ("translate.allPhases", "train.trainPatients", "train.trustGuessedPlaces"):
            old.SetParameter(name, node.GetParameter(name))
    other.SetURL(str(tmp_path / "old.mrml"))
    assert other.Commit()
    host.close_scene()
    slicer.util.loadScene(str(tmp_path / "old.mrml"))
    choices = module_widget.logic.getParameterNode()
    assert (choices.translate.precision, choices.translate.allPhases, choices.train.trainPatients) == (
        "float32",
        True,
        0,
    )
    assert choices.train.trustGuessedPlaces is False
    assert module_widget.translatePanel.ui.precisionSelector.currentText == "float32"


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
    training._client._process._command = [sys.executable, str(Path(__file__).parent / "training_worker.py")]
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
    monkeypatch.setitem(sys.modules, "upgan.training.settings.config_file", None)
    with pytest.raises(UpganError, match="torchio") as refusal:
        module_widget.logic.startTraining({"name": "heads"})
    assert refusal.value.code == "package_missing"


@pytest.fixture
def our_heads(module_widget, tmp_path, monkeypatch):
    """A second model, and cards that say no more than whose they are."""
    from UncertaintyGuidedI2ILib.translate import model_chooser

    monkeypatch.setenv("UPGAN_MODELS", str(tmp_path))
    bundled = Path(__file__).parents[2] / "UncertaintyGuidedI2I" / "Resources" / "Models" / "pet-ct-phantom"
    shutil.copytree(bundled, tmp_path / "trained" / "our-heads")
    monkeypatch.setattr(model_chooser, "cardHtml", lambda model: model.name)
    return "our-heads"


def shown_models(module_widget):
    """Return the model of the selector and that of the card."""
    ui = module_widget.translatePanel.ui
    return ui.modelSelector.currentData, ui.cardBrowser.toPlainText()


def test_a_new_model_is_chosen_in_translate(host, module_widget, choose, our_heads):
    for _ in range(2):
        module_widget.onModelSaved(our_heads)
        assert shown_models(module_widget) == (our_heads, our_heads)
        host.process_events()
        assert choose().model == our_heads
        assert shown_models(module_widget) == (our_heads, our_heads)


def test_what_a_script_chooses_is_shown_at_once_and_not_undone_by_the_next_change(module_widget, choose, our_heads):
    """Scripts may wrap the node in their own way, or write to it: the panels' copies of the choices are older then."""
    from UncertaintyGuidedI2ILib.parameters import UncertaintyGuidedI2IParameterNode

    module_widget.translatePanel.enter()
    kept, node = choose(), module_widget._parameterNode.parameterNode
    script = UncertaintyGuidedI2IParameterNode(node)
    script.translate.model = our_heads
    assert shown_models(module_widget) == (our_heads, our_heads)
    script.translate.device = "cpu"
    node.SetParameter("translate.precision", "float32")
    script.train.preset = "paper"
    kept.sigma = False
    for pack in (script.translate, choose(), kept):
        assert (pack.model, pack.device, pack.precision, pack.sigma) == (our_heads, "cpu", "float32", False)
    ui = module_widget.translatePanel.ui
    assert (ui.deviceSelector.currentData, ui.precisionSelector.currentText) == ("cpu", "float32")
    assert not ui.sigmaCheckBox.checked
    assert module_widget.trainPanel.ui.presetSelector.currentData == "paper"


def fail(*arguments):
    raise RuntimeError("broken")


def test_a_part_of_a_panel_that_fails_leaves_the_rest_of_it_and_the_other_panels_alone(
    host, module_widget, choose, add_volume, monkeypatch
):
    translate, inspect, check, train = module_widget.panels
    buttons = (
        translate.ui.applyButton,
        inspect.ui.comparisonButton,
        check.ui.compareButton,
        train.ui.pauseButton,
    )
    with monkeypatch.context() as patch:
        for owner, name in (
            (translate, "_showExpectations"),
            (inspect._figures, "follow"),
            (check, "_showFigures"),
            (train.settings, "show"),
        ):
            patch.setattr(owner, name, fail)
        for _ in range(3):
            for button in buttons:
                button.text = ""
            choose().inputVolume = add_volume()
            host.wait_until(lambda: all(button.text for button in buttons), 5)
    assert len(host.uncaught) == 4
    assert [message.kind for message in host.messages] == ["error"] * 4
    host.uncaught.clear()


def test_a_panel_that_fails_at_the_end_of_a_scene_or_the_module_does_not_keep_the_others_from_theirs(
    host, module_widget, monkeypatch
):
    done = []

    def note(panel, name, then=lambda: None):
        real = getattr(panel, name)

        def call():
            done.append(name)
            real()
            then()

        monkeypatch.setattr(panel, name, call)

    for name in ("onSceneStartClose", "cleanup"):
        note(module_widget.translatePanel, name, then=fail)
        note(module_widget.trainPanel, name)
    host.close_scene()
    host.close_modules()
    assert done == ["onSceneStartClose"] * 2 + ["cleanup"] * 2
    # The worker's client and the training have ended, too.
    assert host.app._slots["aboutToQuit()"] == []
    # The same failure at the same place is told once.
    assert len(host.uncaught) == 1
    host.uncaught.clear()


def test_the_choices_for_training_are_the_engines(module_widget):
    from typing import get_args

    from UncertaintyGuidedI2ILib import parameters
    from upgan.pairs.config import Layout
    from upgan.simulation.degradation import NAMES
    from upgan.tasks import TASKS
    from upgan.training.settings.presets import PresetName

    assert set(parameters.TASKS) == set(TASKS)
    assert {*parameters.LAYOUTS, "csv"} == set(get_args(Layout))
    assert set(parameters.DEGRADATIONS) == set(NAMES)
    assert set(parameters.PRESETS) == set(get_args(PresetName))


def test_opening_the_module_waits_for_no_library_and_the_warnings_come_by_themselves(host, add_volume, monkeypatch):
    """With an image in the scene, as most users open it: what the panel then needs comes after it is there."""
    node = add_volume("abdomen")
    node.SetAttribute("DICOM.Modality", "CT")
    with monkeypatch.context() as absent:
        for name in [name for name in sys.modules if name.split(".")[0] == "upgan"]:
            absent.delitem(sys.modules, name)
        for name in ("scipy", "torch", "skimage", "pydantic", "nibabel", "SimpleITK", "safetensors"):
            absent.setitem(sys.modules, name, None)
        widget = host.open_module(MODULE / "UncertaintyGuidedI2I.py")
        opened = [name for name in sys.modules if name.split(".")[0] == "upgan"]
        for name in opened:
            del sys.modules[name]
    ui = widget.translatePanel.ui
    assert opened
    assert "Install the missing packages" in ui.applyButton.toolTip
    widget.enter()
    assert ui.applyButton.enabled
    assert (ui.warningLabel.text, ui.estimateLabel.text) == ("", "")
    host.wait_until(lambda: "marked as CT" in ui.warningLabel.text)
    assert "memory" in ui.estimateLabel.text
