"""Sigma in figures, against numpy and scipy on volumes whose regions are known."""

import math

import numpy as np
import pytest
from scipy import stats

from Scene.conftest import SLICER_IS_ABSENT

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)
vtk = pytest.importorskip("vtk", reason=SLICER_IS_ABSENT)

from Scene.inspected import BY_TISSUE, add_input, add_result, enough_by_hand, maps_of, set_provenance  # noqa: E402
from UncertaintyGuidedI2ILib.inspection.statistics import (  # noqa: E402
    addTable,
    columns,
    jumpTo,
    rankSlices,
    segmentMasks,
    statisticsOf,
    tissueClasses,
)
from UncertaintyGuidedI2ILib.scene.results import resultOf  # noqa: E402

SHAPE = (7, 8, 9)
GRID = np.array([[-2.0, 0, 0, 8], [0, -2.0, 0, 7], [0, 0, 2.5, -10], [0, 0, 0, 1]])
TURN = np.array([[0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1.0]])


@pytest.fixture(autouse=True)
def _one_plane_a_step(monkeypatch):
    monkeypatch.setattr("upgan.stepwise.steps.STEP_VOXELS", SHAPE[1] * SHAPE[2])


@pytest.fixture
def maps(rng):
    image = rng.uniform(-1000, 1500, SHAPE)
    image[0, 0, :4] = (-300, 200, -299, 201)
    return maps_of(image, rng.uniform(20, 300, SHAPE), rng.uniform(0.6, 2.4, SHAPE))


@pytest.fixture
def result(mrml_scene, maps):
    return add_result(add_input(mrml_scene, GRID, SHAPE), maps)


@pytest.fixture
def body(rng):
    return rng.random(SHAPE) > 0.3


def test_tissues_part_the_body_at_their_limits(result, maps, body):
    whole, *tissues = tissueClasses(result, body).items()
    assert [name for name, mask in tissues] == ["air (≤ −300 HU)", "soft tissue (−300 to 200 HU)", "bone (> 200 HU)"]
    np.testing.assert_array_equal(whole[1], body)
    np.testing.assert_array_equal(sum(mask.astype(int) for name, mask in tissues), body)
    air, soft, bone = (mask for name, mask in tissueClasses(result, np.ones(SHAPE, bool)).items() if name != "body")
    for mask, first in ((air, [1, 0, 0, 0]), (soft, [0, 1, 1, 0]), (bone, [0, 0, 0, 1])):
        np.testing.assert_array_equal(mask[0, 0, :4], first)


def test_statistics_are_those_of_the_voxels(result, maps, body):
    for row, (name, mask) in zip(
        statisticsOf(result, tissueClasses(result, body), 0.9), tissueClasses(result, body).items(), strict=True
    ):
        inside = maps["sigma"][mask].astype(float)
        assert (row.region, row.voxels) == (name, mask.sum())
        assert row.volume == pytest.approx(mask.sum() * 0.01)
        expected = (inside.mean(), np.median(inside), np.quantile(inside, 0.95))
        np.testing.assert_allclose((row.mean, row.median, row.percentile95), expected, rtol=1e-5)
        low, high = stats.gennorm.interval(0.9, maps["beta"][mask].astype(float), scale=maps["alpha"][mask])
        assert row.width == pytest.approx((high - low).mean(), rel=1e-4)
        assert math.isnan(row.enough)


def test_where_the_model_has_tables_the_width_that_is_enough_is_there_too(result, maps, body):
    set_provenance(result, calibration=BY_TISSUE, phases=1)
    masks = tissueClasses(result, body)
    rows = statisticsOf(result, masks, 0.9)
    for row, mask in zip(rows, masks.values(), strict=True):
        half = enough_by_hand([maps[name][mask].astype(float) for name in ("image", "alpha", "beta")], "0.9")
        assert row.enough == pytest.approx(2 * half.mean(), rel=1e-4)
    table = addTable(result, rows, 0.9)
    titles = [table.GetColumnName(i) for i in range(table.GetNumberOfColumns())]
    assert titles == list(columns(rows, "HU", 0.9).values())
    assert len(titles) == 8
    assert table.GetTable().GetValue(3, 7).ToDouble() == rows[3].enough
    assert all(math.isnan(row.enough) for row in statisticsOf(result, masks, 0.85))


def test_the_epistemic_map_has_its_mean_and_column_where_there_is_one(mrml_scene, maps, body, rng):
    epistemic = rng.uniform(0, 100, SHAPE).astype(np.float32)
    result = add_result(add_input(mrml_scene, GRID, SHAPE), {**maps, "epistemic": epistemic})
    rows = statisticsOf(result, {"body": body, "nothing": np.zeros(SHAPE, bool)}, 0.9)
    assert rows[0].epistemic == pytest.approx(epistemic[body].mean(dtype=np.float64), rel=1e-6)
    table = addTable(result, rows, 0.9)
    assert table.GetTable().GetValueByName(0, "Mean epistemic (HU)").ToDouble() == rows[0].epistemic
    # Of an earlier phase, which has none.
    for quantity in maps:
        result.nodes[quantity].SetAttribute("UncertaintyGuidedI2I.Phase", "0")
    (row,) = statisticsOf(result, {"body": body}, 0.9)
    assert math.isnan(row.epistemic)


def test_of_a_large_region_percentiles_and_width_are_those_of_an_even_sample(result, maps, monkeypatch):
    from UncertaintyGuidedI2ILib.inspection import statistics as uncertainty_statistics

    monkeypatch.setattr(uncertainty_statistics, "SAMPLE", 200)
    # No multiple of three: the sample goes on evenly from one step to the next.
    monkeypatch.setattr("upgan.stepwise.steps.STEP_VOXELS", 50)
    (row,) = statisticsOf(result, {"all": np.ones(SHAPE, bool)}, 0.9)
    sigma = maps["sigma"].ravel()
    assert row.voxels == sigma.size == 504
    assert row.mean == pytest.approx(sigma.mean(dtype=np.float64), rel=1e-6)
    assert row.median == pytest.approx(np.median(sigma[::3]), rel=1e-6)
    assert row.percentile95 == pytest.approx(np.quantile(sigma, 0.95), rel=0.1)


def test_arbitrary_intensities_have_no_tissues(result, body):
    for node in result.nodes.values():
        node.SetAttribute("UncertaintyGuidedI2I.Unit", "")
    ((name, mask),) = tissueClasses(result, body).items()
    assert name == "foreground"
    assert mask is body
    assert columns([], result.unit, 0.9)["mean"] == "Mean σ (a.u.)"


def test_sigma_in_the_inputs_own_unit_is_a_share_of_the_inputs_reference_too(result, body, maps):
    set_provenance(result, input_reference=811.0)
    assert result.reference is None  # HU have no need of it
    assert "share" not in columns(statisticsOf(result, {"body": body}, 0.9), "HU", 0.9)
    for node in result.nodes.values():
        node.SetAttribute("UncertaintyGuidedI2I.Unit", "")
    (row,) = statisticsOf(result, {"body": body}, 0.9)
    assert row.share == pytest.approx(100 * maps["sigma"][body].mean(dtype=np.float64) / 811)
    assert list(columns([row], "", 0.9))[3:5] == ["mean", "share"]


@pytest.mark.parametrize(
    ("said", "reference"),
    [
        ({"input_reference": 2}, 2.0),
        ({"members": [{"input_reference": 2.0}, {"input_reference": 4.0}]}, 3.0),
        ({}, None),
        ({"input_reference": "811"}, None),
        ({"input_reference": True, "members": 7}, None),
        ({"input_reference": -1.0, "members": [None]}, None),
        ({"input_reference": float("nan")}, None),
    ],
)
def test_a_results_reference_is_what_its_makers_measured_and_nothing_else(said, reference, result):
    set_provenance(result, **said)
    for node in result.nodes.values():
        node.SetAttribute("UncertaintyGuidedI2I.Unit", "")
    assert result.reference == reference


def test_an_empty_region_and_a_missing_map_are_no_error(result, mrml_scene):
    (row,) = statisticsOf(result, {"nothing": np.zeros(SHAPE, bool)}, 0.9)
    assert row.voxels == 0
    assert math.isnan(row.mean)
    mrml_scene.RemoveNode(result.nodes["beta"])
    (row,) = statisticsOf(resultOf(result.nodes["image"]), {"all": np.ones(SHAPE, bool)}, 0.9)
    assert row.mean > 0
    assert math.isnan(row.width)


def add_segment(segmentation, mask, matrix, name):
    from vtk.util.numpy_support import vtk_to_numpy

    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*mask.shape[::-1])
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars()).reshape(mask.shape)[:] = mask
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrix))
    segmentation.AddSegmentFromBinaryLabelmapRepresentation(image, name)


def centres(matrix):
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij")[::-1], -1)
    return index @ matrix[:3, :3].T + matrix[:3, 3]


@pytest.mark.parametrize("transformed", [False, True])
def test_segments_of_another_grid_and_transform_fall_on_the_voxels_they_cover(transformed, result, mrml_scene):
    # Voxels of 1 mm that are not turned; the segment is a box in the world.
    fine = np.array([[1.0, 0, 0, -9], [0, 1, 0, -8], [0, 0, 1, -12], [0, 0, 0, 1]])
    k, j, i = np.meshgrid(np.arange(24), np.arange(17), np.arange(19), indexing="ij")
    ras = np.stack([i, j, k], -1) + fine[:3, 3]

    def inside(points):
        return ((points > (-4.4, -3.4, -6.4)) & (points < (5.4, 4.6, 1.4))).all(-1)

    segmentation = mrml_scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    add_segment(segmentation, inside(ras), fine, "box")
    points = centres(GRID)
    if transformed:
        transform = mrml_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(TURN))
        result.nodes["sigma"].SetAndObserveTransformNodeID(transform.GetID())
        # Moved in the world with its volume, the box stays where it was relative to it.
        segmentation.SetAndObserveTransformNodeID(transform.GetID())
    nodes = mrml_scene.GetNumberOfNodes()
    (mask,) = segmentMasks(segmentation, result.nodes["sigma"]).values()
    np.testing.assert_array_equal(mask, inside(points))
    assert 0 < mask.sum() < mask.size
    assert mrml_scene.GetNumberOfNodes() == nodes


def test_a_segment_that_stays_in_the_world_is_found_where_the_volume_went(result, mrml_scene):
    segmentation = mrml_scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    whole = np.zeros(SHAPE, bool)
    whole[:, :4] = True
    add_segment(segmentation, whole, GRID, "front")
    shift = np.eye(4)
    shift[1, 3] = 4.0
    transform = mrml_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(shift))
    result.nodes["sigma"].SetAndObserveTransformNodeID(transform.GetID())
    (mask,) = segmentMasks(segmentation, result.nodes["sigma"]).values()
    # The volume went 4 mm to the front, which is two voxels towards lower j.
    expected = np.zeros(SHAPE, bool)
    expected[:, 2:6] = True
    np.testing.assert_array_equal(mask, expected)


def test_a_segment_without_voxels_covers_none(result, mrml_scene):
    segmentation = mrml_scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.GetSegmentation().AddEmptySegment("empty", "empty")
    add_segment(segmentation, np.ones(SHAPE, bool), GRID, "all")
    masks = segmentMasks(segmentation, result.nodes["sigma"])
    assert not masks["empty"].any()
    assert masks["all"].all()


def test_two_segments_of_one_name_are_both_counted(result, mrml_scene):
    segmentation = mrml_scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    for j in (2, 5):
        mask = np.zeros(SHAPE, bool)
        mask[:, j] = True
        add_segment(segmentation, mask, GRID, "lesion")
    masks = segmentMasks(segmentation, result.nodes["sigma"])
    assert list(masks) == ["lesion", "lesion (2)"]
    assert [mask.sum() for mask in masks.values()] == [63, 63]


def test_the_table_holds_the_rows_with_units_in_its_titles(result, body):
    rows = statisticsOf(result, tissueClasses(result, body), 0.9)
    table = addTable(result, rows, 0.9)
    assert table.GetName() == "PET sigma statistics"
    titles = [table.GetColumnName(i) for i in range(table.GetNumberOfColumns())]
    assert titles == list(columns(rows, "HU", 0.9).values())
    assert len(titles) == 7
    assert "Mean σ (HU)" in titles
    assert "Mean 90 % interval width (HU)" in titles
    assert table.GetNumberOfRows() == 4
    assert table.GetTable().GetValueByName(0, "Region").ToString() == "body"
    assert table.GetTable().GetValueByName(3, "Mean σ (HU)").ToDouble() == rows[3].mean


def test_slices_are_ranked_by_their_mean_inside_the_body(result, maps, body):
    ranked = rankSlices(result, body, threshold=150, count=4)
    means = [maps["sigma"][k][body[k]].mean() for k in range(SHAPE[0])]
    assert [entry.number - 1 for entry in ranked] == list(np.argsort(means)[::-1][:4])
    for entry in ranked:
        k = entry.number - 1
        assert entry.mean == pytest.approx(means[k], rel=1e-5)
        assert entry.share == pytest.approx((maps["sigma"][k][body[k]] >= 150).mean())
        z = -10 + 2.5 * k
        assert entry.position == f"{'S' if z >= 0 else 'I'} {abs(z):.1f} mm"
        j, i = np.unravel_index(np.where(body[k], maps["sigma"][k], 0).argmax(), SHAPE[1:])
        np.testing.assert_allclose(entry.point, (GRID @ [i, j, k, 1])[:3])


@pytest.mark.parametrize(("plane", "axis", "ends"), [("coronal", 1, "PA"), ("sagittal", 2, "LR")])
def test_slices_run_across_the_models_plane(plane, axis, ends, result, maps, body):
    result.nodes["sigma"].SetAttribute("UncertaintyGuidedI2I.Plane", plane)
    (entry,) = rankSlices(result, body, 100, count=1)
    sigma, inside = np.moveaxis(maps["sigma"], axis, 0), np.moveaxis(body, axis, 0)
    means = [values[mask].mean() for values, mask in zip(sigma, inside, strict=True)]
    assert entry.number - 1 == int(np.argmax(means))
    coordinate = (7 if axis == 1 else 8) - 2.0 * (entry.number - 1)
    assert entry.position == f"{ends[coordinate >= 0]} {abs(coordinate):.1f} mm"


def test_positions_count_the_parent_transform(result, body, mrml_scene):
    transform = mrml_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(TURN))
    before = rankSlices(result, body, 100)[0]
    result.nodes["sigma"].SetAndObserveTransformNodeID(transform.GetID())
    after = rankSlices(result, body, 100)[0]
    np.testing.assert_allclose(after.point, (TURN @ [*before.point, 1])[:3])
    assert after.position == f"S {before.point[2] + 30:.1f} mm"


def test_a_rim_of_the_body_is_not_ranked(result, body):
    body[3:] = False
    body[6, 0, 0] = True
    assert {entry.number for entry in rankSlices(result, body, 100)} == {1, 2, 3}
    assert rankSlices(result, np.zeros(SHAPE, bool), 100) == []


def test_a_jump_moves_every_view_to_the_point(app, mrml_scene):
    views = []
    for name, orientation in (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal")):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(app.app_logic)
        logic.SetMRMLScene(mrml_scene)
        view = logic.AddSliceNode(name)
        view.SetOrientation(orientation)
        views.append((logic, view))
    jumpTo(mrml_scene, (3.0, -4.0, 12.5))
    offsets = [view.GetSliceToRAS().GetElement(axis, 3) for (_, view), axis in zip(views, (2, 1, 0), strict=True)]
    np.testing.assert_allclose(offsets, (12.5, -4.0, 3.0))
