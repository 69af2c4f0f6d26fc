"""What lies on the anatomy, its colours and legend, and that the views are as before when it is taken off."""

import time

import numpy as np
import pytest
from scipy import stats

from Scene.conftest import SHEARED, SLICER_IS_ABSENT

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)

from Scene.inspected import add_input, add_result, random_phases  # noqa: E402
from UncertaintyGuidedI2ILib.inspection import overlays  # noqa: E402
from UncertaintyGuidedI2ILib.inspection.overlays import (  # noqa: E402
    Overlay,
    derivedNode,
    overlayStepwise,
    rememberLayers,
    restoreLayers,
)
from UncertaintyGuidedI2ILib.scene.display import showOverlay  # noqa: E402
from UncertaintyGuidedI2ILib.scene.results import resultOf  # noqa: E402


@pytest.fixture
def pet(mrml_scene):
    return add_input(mrml_scene, SHEARED)


@pytest.fixture
def maps(rng):
    return random_phases(rng, 1)[1]


@pytest.fixture
def result(pet, maps):
    return add_result(pet, maps)


@pytest.fixture
def composites(app):
    """Red, Green and Yellow as the application has them, without a window."""
    found = []
    for name in ("Red", "Green", "Yellow"):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(app.app_logic)
        logic.SetMRMLScene(app.scene)
        logic.AddSliceNode(name)
        found.append(logic)
    return [logic.GetSliceCompositeNode() for logic in found], found


def finish(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def voxels(node):
    return slicer.util.arrayFromVolume(node)


@pytest.mark.parametrize("above", [True, False])
def test_the_probability_is_that_of_the_distribution(above, result, maps):
    node = finish(overlayStepwise(result, Overlay("probability", threshold=150, above=above)))
    truth = stats.gennorm(maps["beta"].astype(float), maps["image"], maps["alpha"])
    np.testing.assert_allclose(voxels(node), truth.sf(150) if above else truth.cdf(150), atol=1e-5)


def test_the_interval_width_holds_its_level(result, maps):
    node = finish(overlayStepwise(result, Overlay("interval_width", level=0.8)))
    low, high = stats.gennorm.interval(0.8, maps["beta"].astype(float), scale=maps["alpha"])
    np.testing.assert_allclose(voxels(node), high - low, rtol=1e-4)


@pytest.mark.parametrize("quantity", ["image", "sigma", "alpha", "beta"])
def test_a_runs_own_maps_are_shown_as_they_are(quantity, result, mrml_scene):
    count = mrml_scene.GetNumberOfNodes()
    assert finish(overlayStepwise(result, Overlay(quantity))) is result.nodes[quantity]
    assert mrml_scene.GetNumberOfNodes() == count


def test_a_derived_volume_lies_on_the_grid_and_under_the_transform_of_its_run(result, pet, mrml_scene):
    transform = mrml_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    for node in result.nodes.values():
        node.SetAndObserveTransformNodeID(transform.GetID())
    node = finish(overlayStepwise(result, Overlay("probability")))
    np.testing.assert_array_equal(
        slicer.util.arrayFromVTKMatrix(_matrix(node)), slicer.util.arrayFromVTKMatrix(_matrix(pet))
    )
    assert node.GetTransformNodeID() == transform.GetID()
    assert node.GetNodeReference("UncertaintyGuidedI2I.Input") is pet
    assert resultOf(node) == result


def _matrix(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix


def test_there_is_one_volume_a_run_and_quantity_whatever_the_user_calls_it(result, pet, rng, mrml_scene):
    node = finish(overlayStepwise(result, Overlay("probability", threshold=300)))
    first = voxels(node).copy()
    node.SetName("my bone map")
    again = finish(overlayStepwise(result, Overlay("probability", threshold=-200)))
    assert again is node
    assert node.GetName() == "my bone map"
    assert (voxels(node) >= first).all()
    other = add_result(pet, random_phases(rng, 1)[1])
    assert derivedNode(other, "probability") is None
    assert finish(overlayStepwise(other, Overlay("probability"))) is not node


def test_a_derived_volume_that_the_user_deleted_is_made_again(result, mrml_scene):
    mrml_scene.RemoveNode(finish(overlayStepwise(result, Overlay("probability"))))
    assert finish(overlayStepwise(result, Overlay("probability"))).GetScene() is mrml_scene


def test_work_that_is_stopped_changes_nothing(result, mrml_scene, monkeypatch):
    monkeypatch.setattr(overlays, "STEP_VOXELS", 10)
    node = finish(overlayStepwise(result, Overlay("probability", threshold=300)))
    before, nodes = voxels(node).copy(), mrml_scene.GetNumberOfNodes()
    steps = overlayStepwise(result, Overlay("probability", threshold=-500))
    for _ in range(5):
        next(steps)
    steps.close()
    np.testing.assert_array_equal(voxels(node), before)
    assert mrml_scene.GetNumberOfNodes() == nodes


@pytest.mark.parametrize("quantity", ["probability", "interval_width"])
def test_no_step_keeps_the_viewer_waiting(quantity, rng, mrml_scene):
    shape = (10, 256, 256)
    image, alpha, beta = (rng.uniform(0.5, 2, shape) for _ in range(3))
    maps = {"image": 600 * image, "alpha": 100 * alpha, "beta": beta}
    result = add_result(add_input(mrml_scene, SHEARED, shape), maps)
    steps, times = overlayStepwise(result, Overlay(quantity)), []
    # Of this thread alone: other work on the machine does not count.
    begun = time.thread_time()
    for _ in steps:
        times.append(time.thread_time() - begun)
        begun = time.thread_time()
    assert len(times) == 10
    # The first one warms up, and a busy machine has slow moments.
    assert np.median(times) < 0.05
    assert max(times) < 0.2


def test_nodes_deleted_during_the_work_do_no_harm(result, mrml_scene, monkeypatch):
    monkeypatch.setattr(overlays, "STEP_VOXELS", 10)
    steps = overlayStepwise(result, Overlay("probability"))
    next(steps)
    for node in result.nodes.values():
        mrml_scene.RemoveNode(node)
    with pytest.raises(overlays.ResultGoneError):
        finish(steps)
    assert derivedNode_in(mrml_scene) == []


def derivedNode_in(scene):  # noqa: N802
    count = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    nodes = [scene.GetNthNodeByClass(i, "vtkMRMLScalarVolumeNode") for i in range(count)]
    return [node for node in nodes if node.GetAttribute("UncertaintyGuidedI2I.Quantity") == "probability"]


def test_an_overlay_says_what_it_lacks(result, mrml_scene):
    mrml_scene.RemoveNode(result.nodes["beta"])
    result = resultOf(result.nodes["image"])
    assert Overlay("probability").missingIn(result) == ["beta"]
    assert Overlay("interval_width").missingIn(result) == ["beta"]
    assert Overlay("sigma").missingIn(result) == []


@pytest.mark.parametrize(
    ("overlay", "title"),
    [
        (Overlay("probability", threshold=300), "P(HU > 300)"),
        (Overlay("probability", threshold=-250.5, above=False), "P(HU < -250.5)"),
        (Overlay("interval_width", level=0.9), "90 % interval width (HU)"),
        (Overlay("sigma"), "sigma (HU)"),
        (Overlay("epistemic"), "epistemic (HU)"),
        (Overlay("beta"), "beta"),
        (Overlay("image"), "pseudo-CT (HU)"),
    ],
)
def test_a_title_names_map_unit_and_rule_in_letters_that_slicers_fonts_have(overlay, title, result):
    assert overlay.title(result) == title
    assert title.isascii()


def test_a_title_in_the_inputs_own_unit_says_so_and_names_the_tasks_image(result):
    for node in result.nodes.values():
        node.SetAttribute("UncertaintyGuidedI2I.Unit", "")
        node.SetAttribute("UncertaintyGuidedI2I.ImageName", "restored MR")
    titles = [Overlay(quantity, threshold=0.5).title(result) for quantity in ("probability", "sigma", "image")]
    assert titles == ["P(value > 0.5 a.u.)", "sigma (a.u.)", "restored MR (a.u.)"]
    assert Overlay("beta").title(result) == "beta"


def test_a_probability_is_coloured_from_zero_to_one_and_clear_where_it_is_low(result):
    node = finish(overlayStepwise(result, Overlay("probability")))
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 1)
    assert display.GetApplyThreshold()
    assert (display.GetLowerThreshold(), display.GetUpperThreshold()) == (0.05, 1)
    assert display.GetColorNode().GetName() == "Uncertainty Lagoon"
    display.SetWindowLevelMinMax(0.2, 0.8)
    finish(overlayStepwise(result, Overlay("probability", threshold=0)))
    assert display.GetWindowLevelMin() == pytest.approx(0.2)


def test_the_range_of_widths_follows_sigmas_range_and_the_level(result):
    display = finish(overlayStepwise(result, Overlay("interval_width", level=0.9))).GetDisplayNode()
    # 500 HU of sigma are 1645 HU of a Gaussian's 90 % interval, and 100 HU are 329.
    assert display.GetWindowLevelMax() == 1600
    assert display.GetLowerThreshold() == 330
    assert display.GetUpperThreshold() >= voxels(derivedNode(result, "interval_width")).max()
    finish(overlayStepwise(result, Overlay("interval_width", level=0.5)))
    assert display.GetWindowLevelMax() == 670


def test_a_map_that_lost_its_colours_is_coloured_again(result):
    result.nodes["sigma"].GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    finish(overlayStepwise(result, Overlay("sigma")))
    assert result.nodes["sigma"].GetDisplayNode().GetColorNode().GetName() == "Uncertainty Inferno"


def layers(composites):
    return [
        (c.GetBackgroundVolumeID(), c.GetForegroundVolumeID(), round(c.GetForegroundOpacity(), 9))
        for c in composites[0]
    ]


def test_taking_the_overlay_off_brings_back_what_was_there(result, pet, composites):
    composites[0][0].SetBackgroundVolumeID(pet.GetID())
    composites[0][1].SetForegroundVolumeID(result.nodes["alpha"].GetID())
    composites[0][1].SetForegroundOpacity(0.3)
    before = layers(composites)
    remembered = rememberLayers(pet.GetScene())
    showOverlay(pet, result.nodes["sigma"], 0.5)
    assert layers(composites) == [(pet.GetID(), result.nodes["sigma"].GetID(), 0.5)] * 3
    restoreLayers(pet.GetScene(), remembered)
    assert layers(composites) == before


def test_a_layer_whose_volume_is_gone_stays_empty(result, pet, composites, mrml_scene):
    composites[0][0].SetBackgroundVolumeID(pet.GetID())
    remembered = rememberLayers(mrml_scene)
    showOverlay(result.nodes["image"], result.nodes["sigma"], 0.5)
    mrml_scene.RemoveNode(pet)
    restoreLayers(mrml_scene, remembered)
    assert layers(composites)[0] == (None, None, 0)


def test_a_view_that_is_younger_than_the_overlay_loses_the_overlay_only(result, pet, composites):
    showOverlay(pet, result.nodes["sigma"], 0.5)
    restoreLayers(pet.GetScene(), "")
    assert layers(composites) == [(pet.GetID(), None, 0)] * 3


def test_an_overlay_and_its_rule_come_back_from_a_saved_scene(app, result, pet, composites, tmp_path):
    node = finish(overlayStepwise(result, Overlay("probability", threshold=250)))
    showOverlay(pet, node, 0.4)
    assert app.io_manager.write_scene(tmp_path / "scene.mrb")

    again = type(app)()
    assert again.io_manager.load_scene(tmp_path / "scene.mrb")
    loaded = again.scene.GetFirstNodeByName("PET probability")
    np.testing.assert_allclose(voxels(loaded), voxels(node))
    assert loaded.GetAttribute("UncertaintyGuidedI2I.Rule") == "P(HU > 250)"
    assert resultOf(loaded).nodes["sigma"].GetName() == "PET sigma (HU)"
    assert loaded.GetDisplayNode().GetLowerThreshold() == 0.05
    assert derivedNode(resultOf(loaded), "probability") is loaded
    composite = again.scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    assert composite.GetForegroundVolumeID() == loaded.GetID()
    assert composite.GetForegroundOpacity() == pytest.approx(0.4)
