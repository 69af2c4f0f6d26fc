"""The module as a whole: which choices its widgets follow while scenes come and go."""

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
