"""A run as a whole: what it asks of the engine, and what it leaves behind when it fails."""

from functools import partial
from typing import get_args

import numpy as np
import pytest

from Scene.conftest import SLICER_IS_ABSENT
from Scene.fake_engine import BrokenTranslation, FakeBundle, FakeEngine
from upgan.errors import Cancelled, InputError, UpganError

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)


@pytest.fixture
def nodes_of(mrml_scene):
    """What a run could leave behind: every node, and every item of the subject hierarchy."""

    def count():
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(mrml_scene)
        nodes = {mrml_scene.GetNthNode(i).GetID() for i in range(mrml_scene.GetNumberOfNodes())}
        return nodes, hierarchy.GetNumberOfItems()

    return count


@pytest.fixture
def failing():
    """A logic whose engine fails after the first outputs."""
    from UncertaintyGuidedI2ILib.logic import UncertaintyGuidedI2ILogic

    return UncertaintyGuidedI2ILogic(
        findBundle=FakeBundle, makeEngine=partial(FakeEngine, translation=BrokenTranslation)
    )


def test_asking_for_all_phases_gives_every_phase(add_volume, logic):
    nodes = logic.translate(add_volume(), phases="all", outputs=("image", "sigma"))
    images = {"pseudo_ct", "pseudo_ct_phase_1", "pseudo_ct_phase_2"}
    assert set(nodes) == images | {"sigma", "sigma_phase_1", "sigma_phase_2"}
    assert nodes["sigma_phase_1"].GetName() == "PET sigma phase 1 (HU)"
    assert nodes["sigma_phase_1"].GetAttribute("UncertaintyGuidedI2I.Phase") == "1"
    assert nodes["sigma"].GetName() == "PET sigma (HU)"


def test_only_the_outputs_asked_for_are_made(add_volume, logic):
    assert list(logic.translate(add_volume(), outputs=("sigma",))) == ["sigma"]
    assert "epistemic" not in logic.translate(add_volume())


def test_all_that_the_engine_makes_can_be_asked_for():
    from UncertaintyGuidedI2ILib.logic import OUTPUTS
    from upgan.inference.translation import Quantity

    assert get_args(Quantity) == OUTPUTS


def test_the_epistemic_map_is_of_the_last_phase_and_made_only_where_it_is_asked_for(add_volume, logic):
    pet = add_volume()
    nodes = logic.translate(pet, phases="all", outputs=("sigma", "epistemic"))
    assert set(nodes) == {"sigma", "sigma_phase_1", "sigma_phase_2", "epistemic"}
    expected = slicer.util.arrayFromVolume(pet) / 4
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(nodes["epistemic"]), expected)
    assert nodes["epistemic"].GetAttribute("UncertaintyGuidedI2I.Quantity") == "epistemic"


def test_the_choices_reach_the_engine(add_volume):
    from UncertaintyGuidedI2ILib.logic import UncertaintyGuidedI2ILogic

    engines = []

    def make(*arguments):
        engines.append(FakeEngine(*arguments))
        return engines[-1]

    logic = UncertaintyGuidedI2ILogic(findBundle=FakeBundle, makeEngine=make)
    pet = add_volume()
    pet.SetAttribute("DICOM.Modality", "PT")
    logic.translate(
        pet, "m", device="cpu", precision="bf16", plane="coronal", phases="all", batch=2, replaceNonfinite=7.0
    )
    (engine,) = engines
    assert (engine.bundle.name, engine.device, engine.precision, engine.batch) == ("m", "cpu", "bf16", 2)
    asked = {"plane": "coronal", "phases": "all", "source": "PET", "modality": "PT", "replace_nonfinite": 7.0}
    assert engine.asked == [asked]


def test_a_second_run_uses_the_warm_engine_and_another_device_does_not(add_volume):
    from UncertaintyGuidedI2ILib.logic import UncertaintyGuidedI2ILogic

    made = []
    logic = UncertaintyGuidedI2ILogic(
        findBundle=FakeBundle, makeEngine=lambda *arguments: made.append(arguments) or FakeEngine(*arguments)
    )
    pet = add_volume()
    logic.translate(pet)
    logic.translate(pet)
    assert len(made) == 1
    logic.translate(pet, device="cpu")
    assert len(made) == 2
    logic.releaseEngines()
    logic.translate(pet)
    assert len(made) == 3


def test_a_bundle_with_the_same_weights_but_another_name_gets_its_own_provenance(add_volume, logic):
    pet = add_volume()
    for name in ("first", "second", "first"):
        sigma = logic.translate(pet, model=name, outputs=("sigma",))["sigma"]
        assert sigma.GetAttribute("UncertaintyGuidedI2I.Bundle") == name


def test_several_models_are_translated_with_as_one(add_volume):
    from UncertaintyGuidedI2ILib.logic import UncertaintyGuidedI2ILogic

    made = []

    def make(bundles, *choices):
        made.append(([bundle.name for bundle in bundles], *choices))
        return FakeEngine(FakeBundle("both"))

    logic = UncertaintyGuidedI2ILogic(findBundle=FakeBundle, makeEngine=None, makeEnsemble=make)
    sigma = logic.translate(add_volume(), ["first", "second"], device="cpu", outputs=("sigma",), batch=2)["sigma"]
    assert made == [(["first", "second"], "cpu", "auto", 2)]
    assert sigma.GetAttribute("UncertaintyGuidedI2I.Bundle") == "both"


def test_the_input_is_not_changed(add_volume, logic):
    pet = add_volume()
    modified, voxels = pet.GetMTime(), slicer.util.arrayFromVolume(pet).copy()
    logic.translate(pet)
    assert pet.GetMTime() == modified
    assert pet.GetDisplayNode() is None
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(pet), voxels)


def test_a_failure_half_way_leaves_nothing_in_the_scene(add_volume, failing, nodes_of):
    pet = add_volume()
    before = nodes_of()
    with pytest.raises(MemoryError):
        failing.translate(pet, phases="all")
    assert nodes_of() == before


def test_a_failure_removes_no_node_of_an_earlier_run(add_volume, logic, failing, mrml_scene):
    pet = add_volume()
    earlier = logic.translate(pet)
    with pytest.raises(MemoryError):
        failing.translate(pet)
    for node in earlier.values():
        assert mrml_scene.GetNodeByID(node.GetID()) is node
        assert node.GetDisplayNode().GetColorNode() is not None


def test_cancelling_leaves_nothing_in_the_scene(add_volume, logic, nodes_of):
    def cancel_at_half(progress):
        if progress.fraction >= 0.5:
            raise Cancelled

    pet = add_volume()
    before = nodes_of()
    with pytest.raises(Cancelled):
        logic.translate(pet, progress=cancel_at_half)
    assert nodes_of() == before


def test_deleting_the_input_meanwhile_ends_the_run_without_outputs(add_volume, logic, mrml_scene):
    pet = add_volume()

    def delete_input(progress):
        if progress.fraction == 0.5:
            mrml_scene.RemoveNode(pet)

    with pytest.raises(Cancelled):
        logic.translate(pet, progress=delete_input)
    assert mrml_scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_closing_the_scene_meanwhile_ends_the_run_without_outputs(add_volume, logic, mrml_scene):
    pet = add_volume()

    def close_scene(progress):
        if progress.fraction == 0.5:
            mrml_scene.Clear(False)
            # The next volume may get the ID of the one that is gone.
            mrml_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "another")

    with pytest.raises(Cancelled):
        logic.translate(pet, progress=close_scene)
    assert mrml_scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1


@pytest.mark.parametrize("outputs", [(), ("sigma", "gamma"), "sigma"])
def test_outputs_that_do_not_exist_are_refused(outputs, add_volume, logic):
    with pytest.raises(InputError) as refusal:
        logic.translate(add_volume(), outputs=outputs)
    assert refusal.value.code == "unknown_output"


def test_phases_other_than_last_and_all_are_refused(add_volume, logic):
    with pytest.raises(InputError, match="Phases cannot be 'first'"):
        logic.translate(add_volume(), phases="first")


def test_without_the_application_nothing_is_trained_and_runs_are_listed(logic, tmp_path, monkeypatch):
    monkeypatch.setenv("UPGAN_RUNS", str(tmp_path))
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads" / "config.json").write_text('{"name": "heads"}')
    assert [run.name for run in logic.trainingRuns()] == ["heads"]
    for train in (logic.resumeTraining, logic.pauseTraining, logic.saveModel):
        with pytest.raises(UpganError, match="upgan train") as refusal:
            train()
        assert refusal.value.code == "no_application"
