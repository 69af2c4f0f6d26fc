"""Results are found by what nodes say of themselves, whatever the user did to them."""

import pytest

from Scene.conftest import SHEARED, SLICER_IS_ABSENT

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)

from Scene.inspected import add_input, add_result, add_run, random_phases  # noqa: E402
from UncertaintyGuidedI2ILib.scene.results import PHASE, QUANTITY, TRANSLATION, resultOf, results  # noqa: E402


@pytest.fixture
def pet(mrml_scene):
    return add_input(mrml_scene, SHEARED)


def test_any_node_of_a_run_leads_to_all_of_them(pet, rng):
    (nodes,) = add_run(pet, random_phases(rng, 1)).values()
    for node in nodes.values():
        result = resultOf(node)
        assert result.nodes == nodes
        assert list(result.nodes) == ["image", "alpha", "beta", "sigma"]
        assert result.inputNode is pet
        assert result.unit == "HU"
        assert result.scene is pet.GetScene()


def test_a_volume_that_no_run_made_has_no_result(pet):
    assert resultOf(pet) is None
    assert resultOf(None) is None
    assert results(pet.GetScene()) == []


def test_two_runs_of_one_input_are_two_results_the_newest_last(pet, rng):
    first, second = (add_result(pet, random_phases(rng, 1)[1]) for _ in range(2))
    assert results(pet.GetScene()) == [first, second]
    assert set(first.nodes.values()).isdisjoint(second.nodes.values())


def test_a_renamed_output_still_belongs_to_its_result(pet, rng):
    result = add_result(pet, random_phases(rng, 1)[1])
    result.nodes["sigma"].SetName("anything")
    assert resultOf(result.nodes["image"]) == result


def test_a_deleted_output_is_missing_and_the_others_stay(pet, rng, mrml_scene):
    result = add_result(pet, random_phases(rng, 1)[1])
    mrml_scene.RemoveNode(result.nodes["sigma"])
    assert list(resultOf(result.nodes["image"]).nodes) == ["image", "alpha", "beta"]
    assert resultOf(result.nodes["sigma"]) is None


def test_a_deleted_input_is_no_error(pet, rng, mrml_scene):
    result = add_result(pet, random_phases(rng, 1)[1])
    mrml_scene.RemoveNode(pet)
    assert resultOf(result.nodes["image"]).inputNode is None


def test_of_phases_that_a_script_left_in_the_scene_the_last_is_the_result(pet, rng):
    nodes = add_run(pet, random_phases(rng))
    assert results(pet.GetScene())[0].nodes == nodes[3]
    assert results(pet.GetScene())[0].phase == 3


def test_the_node_that_was_asked_for_is_part_of_its_result(pet, rng):
    nodes = add_run(pet, random_phases(rng))
    assert resultOf(nodes[1]["sigma"]).nodes["sigma"] is nodes[1]["sigma"]


def test_a_scene_loaded_twice_gives_each_node_its_own_siblings(pet, rng, mrml_scene):
    (first,) = add_run(pet, random_phases(rng, 1), "same").values()
    (second,) = add_run(add_input(mrml_scene, SHEARED), random_phases(rng, 1), "same").values()
    assert resultOf(first["image"]).nodes == first
    assert resultOf(second["sigma"]).nodes == second


def test_what_is_derived_from_a_result_leads_to_it_but_is_no_part_of_it(pet, rng, mrml_scene):
    result = add_result(pet, random_phases(rng, 1)[1])
    derived = mrml_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "probability")
    derived.SetAttribute(TRANSLATION, result.translationID)
    derived.SetAttribute(QUANTITY, "probability")
    assert resultOf(derived) == result
    assert results(mrml_scene) == [result]


def test_attributes_of_another_hand_are_no_error(pet, rng):
    result = add_result(pet, random_phases(rng, 1)[1])
    result.nodes["image"].SetAttribute(PHASE, "last")
    assert resultOf(result.nodes["alpha"]).phase == 1
