"""Uncertain regions: which voxels, how many pieces, and where the segment lies."""

import numpy as np
import pytest
from skimage import measure

from Scene.conftest import SHEARED, SLICER_IS_ABSENT

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)

from Scene.inspected import add_input, add_result  # noqa: E402
from UncertaintyGuidedI2ILib.inspection.overlays import ResultGoneError  # noqa: E402
from UncertaintyGuidedI2ILib.inspection.regions import (  # noqa: E402
    Rule,
    bodyMask,
    segmentationOf,
    segmentUncertainRegions,
    segmentUncertainRegionsStepwise,
    uncertainRegions,
    voxelVolume,
)
from UncertaintyGuidedI2ILib.inspection.statistics import segmentMasks  # noqa: E402

SHAPE = (8, 12, 14)
# 2 x 2 x 2.5 mm: ten microlitres.
GRID = np.diag([2.0, 2.0, 2.5, 1.0])


@pytest.fixture(autouse=True)
def _one_plane_a_step(monkeypatch):
    monkeypatch.setattr("upgan.stepwise.steps.STEP_VOXELS", SHAPE[1] * SHAPE[2])


@pytest.fixture
def sigma():
    """Two blocks of 24 and 2 voxels inside the body, one of 12 outside, on 50 HU."""
    values = np.full(SHAPE, 50.0)
    values[3:5, 4:7, 4:8] = 300
    values[6, 8, 8:10] = 400
    values[:, 0, :] = 250
    return values


@pytest.fixture
def image():
    """A body of soft tissue with a cavity, in air."""
    values = np.full(SHAPE, -1000.0)
    values[:, 2:10, 2:12] = 40
    values[:, 5, 5] = -900
    return values


@pytest.fixture
def result(mrml_scene, image, sigma):
    maps = {"image": image, "sigma": sigma, "alpha": sigma * np.sqrt(2), "beta": np.full(SHAPE, 2.0)}
    return add_result(add_input(mrml_scene, GRID, SHAPE), maps)


@pytest.fixture
def body(result):
    return bodyMask(result)


def test_the_body_holds_its_cavities_and_not_the_air(body, image):
    expected = np.zeros(SHAPE, dtype=bool)
    expected[:, 2:10, 2:12] = True
    np.testing.assert_array_equal(body, expected)


def test_in_arbitrary_units_the_foreground_is_brighter_than_half_the_mean_of_what_is_positive(mrml_scene, image, sigma):
    bright = np.where(image > -1000, image + 1000, 0) / 7
    result = add_result(add_input(mrml_scene, GRID, SHAPE), {"image": bright, "sigma": sigma})
    for node in result.nodes.values():
        node.SetAttribute("UncertaintyGuidedI2I.Unit", "")
    expected = np.zeros(SHAPE, dtype=bool)
    expected[:, 2:10, 2:12] = True
    np.testing.assert_array_equal(bodyMask(result), expected)
    assert segmentUncertainRegions(result, Rule(180), expected).name == "σ ≥ 180 a.u."


def test_a_voxel_has_the_volume_of_its_parallelepiped(result, mrml_scene):
    assert voxelVolume(result.nodes["sigma"]) == pytest.approx(0.01)
    sheared = add_input(mrml_scene, SHEARED)
    assert voxelVolume(sheared) == pytest.approx(abs(np.linalg.det(SHEARED[:3, :3])) / 1000)


@pytest.mark.parametrize(
    ("minimum", "count", "voxels"), [(0, 3, 24 + 2 + 8 * 14), (0.02, 3, 138), (0.03, 2, 136), (1.0, 1, 112), (2, 0, 0)]
)
def test_regions_below_the_minimum_size_are_left_out(minimum, count, voxels, sigma, body):
    mask, found = uncertainRegions(sigma, body, Rule(250, minimumSize=minimum), 0.01)
    assert found == count
    assert mask.sum() == voxels
    assert (sigma[mask] >= 250).all()


def test_pieces_are_those_of_another_library(rng):
    sigma, body = rng.uniform(0, 100, (20, 30, 25)), np.ones((20, 30, 25), dtype=bool)
    mask, count = uncertainRegions(sigma, body, Rule(70, minimumSize=0.05), 0.01)
    labels = measure.label(sigma >= 70, connectivity=1)
    large = [region for region in measure.regionprops(labels) if region.area >= 5]
    assert count == len(large)
    np.testing.assert_array_equal(mask, np.isin(labels, [region.label for region in large]))


def test_a_percentile_is_taken_in_the_body_and_finds_nothing_outside(sigma, body):
    sigma[:, 0, :] = 500
    mask, count = uncertainRegions(sigma, body, Rule(97, percentile=True), 0.01)
    assert count == 2
    assert not mask[:, 0].any()
    assert (sigma[mask] >= np.percentile(sigma[body], 97)).all()


def test_without_a_body_a_percentile_finds_nothing(sigma, body):
    mask, count = uncertainRegions(sigma, np.zeros_like(body), Rule(95, percentile=True), 0.01)
    assert count == 0
    assert not mask.any()


def test_the_segment_covers_the_voxels_and_its_name_says_the_rule(result, body, sigma):
    regions = segmentUncertainRegions(result, Rule(180, minimumSize=0.1), body)
    assert regions.name == "σ ≥ 180 HU, ≥ 0.1 mL"
    assert (regions.count, regions.volume) == (2, pytest.approx(1.36))
    assert regions.segmentation.GetSegmentation().GetSegment(regions.segmentID).GetName() == regions.name
    assert not regions.segmentation.GetDisplayNode().GetVisibility2DFill()
    ((name, mask),) = segmentMasks(regions.segmentation, result.nodes["sigma"]).items()
    assert name == regions.name
    expected = sigma >= 180
    expected[6, 8] = False
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("grid", [GRID, SHEARED], ids=["axis-parallel", "sheared"])
def test_the_segment_lies_where_the_volume_lies_under_its_transform(grid, mrml_scene, image, sigma):
    pet = add_input(mrml_scene, grid, SHAPE)
    transform = mrml_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(
        slicer.util.vtkMatrixFromArray(np.array([[0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1.0]]))
    )
    pet.SetAndObserveTransformNodeID(transform.GetID())
    result = add_result(pet, {"image": image, "sigma": sigma})
    regions = segmentUncertainRegions(result, Rule(200, minimumSize=0.1), bodyMask(result))
    assert regions.segmentation.GetTransformNodeID() == transform.GetID()
    (mask,) = segmentMasks(regions.segmentation, result.nodes["sigma"]).values()
    expected = sigma >= 200
    expected[6, 8] = voxelVolume(pet) * 2 >= 0.1
    np.testing.assert_array_equal(mask, expected)


def test_a_run_has_one_segmentation_with_a_segment_a_rule(result, body, mrml_scene):
    first = segmentUncertainRegions(result, Rule(180), body)
    segmentUncertainRegions(result, Rule(280), body)
    segmentUncertainRegions(result, Rule(180), body)
    assert mrml_scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert segmentationOf(result) is first.segmentation
    segments = first.segmentation.GetSegmentation()
    names = [segments.GetNthSegment(i).GetName() for i in range(segments.GetNumberOfSegments())]
    assert sorted(names) == ["σ ≥ 180 HU", "σ ≥ 280 HU"]


def test_where_nothing_is_uncertain_no_segmentation_is_made(result, body, mrml_scene):
    regions = segmentUncertainRegions(result, Rule(5000), body)
    assert regions.segmentation is None
    assert regions.count == 0
    assert mrml_scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_regions_given_up_before_their_end_leave_the_scene_as_it_was(result, body, mrml_scene):
    total = sum(1 for _ in segmentUncertainRegionsStepwise(result, Rule(180), body))
    mrml_scene.RemoveNode(segmentationOf(result))
    before = mrml_scene.GetNumberOfNodes()
    steps = segmentUncertainRegionsStepwise(result, Rule(180), body)
    for _ in range(total):
        next(steps)
    steps.close()
    assert mrml_scene.GetNumberOfNodes() == before
    assert total > 3 * SHAPE[0]


@pytest.mark.parametrize("event", ["deleted", "another phase"])
def test_regions_of_maps_that_are_gone_do_not_come_into_the_scene(event, result, body, mrml_scene):
    steps = segmentUncertainRegionsStepwise(result, Rule(180), body)
    next(steps)
    if event == "deleted":
        mrml_scene.RemoveNode(result.nodes["sigma"])
    else:
        other = slicer.vtkMRMLScalarVolumeNode()
        other.CopyContent(result.nodes["sigma"])
        result.nodes["sigma"].SetAndObserveImageData(other.GetImageData())
    with pytest.raises(ResultGoneError):
        list(steps)
    assert mrml_scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_the_segmentation_comes_back_from_a_saved_scene(app, result, body, tmp_path):
    regions = segmentUncertainRegions(result, Rule(95, percentile=True, minimumSize=0.1), body)
    assert app.io_manager.write_scene(tmp_path / "scene.mrb")
    again = type(app)()
    assert again.io_manager.load_scene(tmp_path / "scene.mrb")
    loaded = again.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert loaded.GetName() == "PET uncertain regions"
    assert loaded.GetSegmentation().GetNthSegment(0).GetName() == regions.name
    assert "percentile 95 in the body" in regions.name
