"""The phases as sequences: scrubbing shows each phase in the same nodes, also after saving and loading."""

import numpy as np
import pytest

from Scene.conftest import SHEARED, SLICER_IS_ABSENT

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)

from Scene.inspected import add_input, add_run, random_phases  # noqa: E402
from Scene.sequences import watch_sequences  # noqa: E402
from UncertaintyGuidedI2ILib.scene.phases import browserOf, collectPhases, phaseNodes, selectPhase  # noqa: E402
from UncertaintyGuidedI2ILib.scene.results import resultOf, results  # noqa: E402


@pytest.fixture
def sequences(app):
    return watch_sequences(app)


@pytest.fixture
def phases(rng):
    return random_phases(rng)


@pytest.fixture
def pet(mrml_scene):
    return add_input(mrml_scene, SHEARED)


@pytest.fixture
def nodes(sequences, pet, phases):
    return add_run(pet, phases)


@pytest.fixture
def result(nodes):
    collectPhases(nodes)
    return resultOf(nodes[3]["image"])


def voxels(node):
    return slicer.util.arrayFromVolume(node)


def volumes(scene):
    count = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    return [scene.GetNthNodeByClass(i, "vtkMRMLScalarVolumeNode") for i in range(count)]


@pytest.mark.parametrize("phase", [1, 2, 3])
def test_the_last_phases_nodes_show_the_selected_phase(phase, result, phases):
    selectPhase(result, phase)
    for quantity, node in result.nodes.items():
        np.testing.assert_array_equal(voxels(node), phases[phase][quantity])
    assert resultOf(result.nodes["image"]).phase == phase


def test_the_epistemic_map_of_the_last_phase_stays_whichever_is_selected(sequences, pet, phases, rng):
    epistemic = rng.uniform(0, 100, phases[3]["image"].shape).astype(np.float32)
    nodes = add_run(pet, {**phases, 3: {**phases[3], "epistemic": epistemic}})
    collectPhases(nodes)
    result = resultOf(nodes[3]["epistemic"])
    assert result.epistemicNode is nodes[3]["epistemic"]
    selectPhase(result, 1)
    np.testing.assert_array_equal(voxels(result.nodes["sigma"]), phases[1]["sigma"])
    np.testing.assert_array_equal(voxels(result.nodes["epistemic"]), epistemic)
    assert result.phase == 1
    assert result.epistemicNode is None
    assert ["epistemic" in nodes for nodes in phaseNodes(result).values()] == [False, False, True]


def test_the_earlier_phases_leave_the_scene_and_nothing_else_enters_it(pet, nodes, mrml_scene):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(mrml_scene)
    displays = mrml_scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeDisplayNode")
    items = hierarchy.GetNumberOfItems()
    collectPhases(nodes)
    assert volumes(mrml_scene) == [pet, *nodes[3].values()]
    assert mrml_scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeDisplayNode") == displays - 8
    assert hierarchy.GetNumberOfItems() <= items - 8 + 5


def test_nothing_surprises_the_user(pet, nodes, mrml_scene):
    names = [node.GetName() for node in nodes[3].values()]
    displays = [node.GetDisplayNodeID() for node in nodes[3].values()]
    browser = collectPhases(nodes)
    assert browser.GetName() == "PET phases"
    assert not browser.GetPlaybackActive()
    assert browser.GetSelectedItemNumber() == 2
    assert [browser.GetFormattedIndexValue(item) for item in range(3)] == ["1", "2", "3"]
    for sequence in (mrml_scene.GetNthNodeByClass(i, "vtkMRMLSequenceNode") for i in range(4)):
        assert (sequence.GetIndexName(), sequence.GetIndexUnit()) == ("phase", "")
    for item in (0, 1, 2):
        browser.SetSelectedItemNumber(item)
        assert [node.GetName() for node in nodes[3].values()] == names
        assert [node.GetDisplayNodeID() for node in nodes[3].values()] == displays
        assert all(node.GetNodeReference("UncertaintyGuidedI2I.Input") is pet for node in nodes[3].values())


def test_voxels_are_shared_with_the_sequences_and_not_copied(nodes):
    images = {phase: node["sigma"].GetImageData() for phase, node in nodes.items()}
    collectPhases(nodes)
    result = resultOf(nodes[3]["sigma"])
    for phase in (3, 1, 2, 3):
        selectPhase(result, phase)
        assert result.nodes["sigma"].GetImageData() is images[phase]


def test_every_phase_can_be_read_without_being_selected(result, phases):
    read = phaseNodes(result)
    assert list(read) == [1, 2, 3]
    for phase, quantities in read.items():
        assert set(quantities) == set(phases[phase])
        for quantity, node in quantities.items():
            np.testing.assert_array_equal(voxels(node), phases[phase][quantity])
    assert result.phase == 3


def test_a_single_phase_has_no_browser_and_reads_as_itself(sequences, pet, phases):
    (nodes,) = add_run(pet, {3: phases[3]}).values()
    result = resultOf(nodes["image"])
    assert browserOf(result) is None
    assert phaseNodes(result) == {3: nodes}
    selectPhase(result, 1)
    assert resultOf(nodes["image"]).phase == 3


def test_scrubbing_one_run_leaves_another_alone(sequences, pet, phases):
    runs = [add_run(pet, phases) for _ in range(2)]
    for nodes in runs:
        collectPhases(nodes)
    selectPhase(resultOf(runs[0][3]["image"]), 1)
    assert resultOf(runs[0][3]["image"]).phase == 1
    assert resultOf(runs[1][3]["image"]).phase == 3
    assert browserOf(resultOf(runs[0][3]["image"])) is not browserOf(resultOf(runs[1][3]["image"]))


def test_outputs_stay_under_the_transform_of_the_input(sequences, pet, phases, mrml_scene):
    transform = mrml_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    pet.SetAndObserveTransformNodeID(transform.GetID())
    nodes = add_run(pet, phases)
    collectPhases(nodes)
    selectPhase(resultOf(nodes[3]["image"]), 1)
    assert {node.GetTransformNodeID() for node in nodes[3].values()} == {transform.GetID()}


def test_voxels_of_an_early_phase_beyond_the_last_ones_stay_visible(nodes, phases):
    collectPhases(nodes)
    highest = max(maps["sigma"].max() for maps in phases.values())
    assert highest > phases[3]["sigma"].max()
    assert nodes[3]["sigma"].GetDisplayNode().GetUpperThreshold() >= highest


def test_an_output_that_the_user_deletes_is_no_error(result, mrml_scene):
    mrml_scene.RemoveNode(result.nodes["sigma"])
    selectPhase(result, 1)
    again = resultOf(result.nodes["image"])
    # Slicer puts a deleted proxy node back when the browser moves on; either way the rest is there.
    assert {"image", "alpha", "beta"} <= set(again.nodes)
    assert again.phase == 1


def test_a_deleted_browser_leaves_the_shown_phase(result, mrml_scene):
    mrml_scene.RemoveNode(browserOf(result))
    assert list(phaseNodes(result)) == [3]
    selectPhase(result, 1)
    assert result.phase == 3


@pytest.mark.parametrize("saved", [1, 3])
def test_phases_come_back_from_a_saved_scene(saved, app, result, phases, tmp_path):
    selectPhase(result, saved)
    assert app.io_manager.write_scene(tmp_path / "scene.mrb")

    again = type(app)()
    logic = watch_sequences(again)
    assert again.io_manager.load_scene(tmp_path / "scene.mrb")
    assert logic.GetMRMLScene() is again.scene
    (loaded,) = results(again.scene)
    assert loaded.translationID == result.translationID
    assert loaded.phase == saved
    assert loaded.inputNode.GetName() == "PET"
    assert list(phaseNodes(loaded)) == [1, 2, 3]
    for phase in (2, 1, 3):
        selectPhase(loaded, phase)
        for quantity, node in loaded.nodes.items():
            np.testing.assert_allclose(voxels(node), phases[phase][quantity], rtol=1e-6)
        assert node.GetAttribute("UncertaintyGuidedI2I.BundleSha256") == "c0ffee"
        assert resultOf(loaded.nodes["image"]).phase == phase
    matrix = slicer.vtkMRMLScalarVolumeNode()
    matrix.CopyOrientation(loaded.nodes["sigma"])
    np.testing.assert_allclose(matrix.GetOrigin(), result.nodes["sigma"].GetOrigin())
    assert len(volumes(again.scene)) == 5
