"""What a comparison leaves in the scene: tables and charts that can be read, an error map on the grid, all or none."""

import copy
import csv
import io
from typing import Any

import numpy as np
import pytest

from Scene.conftest import SHEARED, SLICER_IS_ABSENT

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)
vtk = pytest.importorskip("vtk", reason=SLICER_IS_ABSENT)

from UncertaintyGuidedI2ILib.check import nodes as check_nodes  # noqa: E402 - they import slicer, which may be absent
from UncertaintyGuidedI2ILib.check.curves import roundUp  # noqa: E402
from UncertaintyGuidedI2ILib.scene import nodes as scene  # noqa: E402 - they import slicer, which may be absent
from UncertaintyGuidedI2ILib.scene.voxels import emptyLike  # noqa: E402
from UncertaintyGuidedI2ILib.text import formatValue  # noqa: E402
from upgan.errors import InputError, OutputError  # noqa: E402

RESULT: dict[str, Any] = {
    "figures": [
        {"key": "mae", "name": "Mean absolute error (MAE)", "value": 55.1234, "unit": "HU"},
        {"key": "rmse", "name": "Root mean squared error (RMSE)", "value": 1234.56, "unit": "HU"},
        {"key": "ssim_3d", "name": "SSIM (3-D), as SynthRAD 2023", "value": 0.912345, "unit": ""},
    ],
    "mask": "body of the reference: largest part above -500 HU, closed and filled",
    "data_range": "-1024 to 3000 HU (SynthRAD)",
    "notes": ["The reference was resampled onto the result's grid (linear interpolation)."],
    "curves": {
        "coverage": {"nominal": [0.0, 0.5, 1.0], "observed": [0.0, 0.25, 1.0]},
        "reliability": {"predicted": [10.0, 40.0], "observed": [20.0, 130.0], "voxels": [700, 300]},
        "sparsification": {
            "removed": [0.0, 0.5, 0.99],
            "by_sigma": [55.0, 30.0, 10.0],
            "oracle": [55.0, 20.0, 1.0],
            "random": [55.0, 55.0, 55.0],
        },
    },
}


@pytest.fixture
def pair(add_volume):
    """A translated image of phase 3 and a CT."""
    pet, image, ct = add_volume("PET"), add_volume("PET pseudo-CT"), add_volume("CT")
    image.SetNodeReferenceID(scene.INPUT_REFERENCE, pet.GetID())
    for key, value in {"run": "c0ffee", "quantity": "image", "phase": "3", "unit": "HU", "bundle": "demo"}.items():
        image.SetAttribute(scene.attributeName(key), value)
    return image, ct


@pytest.fixture
def add(pair):
    def add(phase=3, result=RESULT):
        image, reference = pair
        difference = emptyLike(image.GetImageData())
        voxels = vtk.util.numpy_support.vtk_to_numpy(difference.GetPointData().GetScalars())
        voxels[:] = np.arange(120) - 60
        return check_nodes.addCheck(image, phase, reference, result, difference)

    return add


def rows(table):
    columns = range(table.GetNumberOfColumns())
    return [[table.GetCellText(row, column) for column in columns] for row in range(table.GetNumberOfRows())]


def column(table, name):
    return list(slicer.util.arrayFromTableColumn(table, name))


def names(mrml_scene):
    return sorted(mrml_scene.GetNthNode(i).GetID() for i in range(mrml_scene.GetNumberOfNodes()))


def nodes(mrml_scene, kind):
    return [mrml_scene.GetNthNodeByClass(i, kind) for i in range(mrml_scene.GetNumberOfNodesByClass(kind))]


def test_the_table_of_figures_begins_with_mask_and_data_range(add):
    table = add().figures
    assert table.GetName() == "PET pseudo-CT phase 3 vs CT check"
    assert [table.GetColumnName(i) for i in range(3)] == ["figure", "value", "unit"]
    assert rows(table) == [
        ["Mask", RESULT["mask"], ""],
        ["Data range of PSNR and SSIM", "-1024 to 3000 HU (SynthRAD)", ""],
        ["Mean absolute error (MAE)", "55.12", "HU"],
        ["Root mean squared error (RMSE)", "1235", "HU"],
        ["SSIM (3-D), as SynthRAD 2023", "0.9123", ""],
        ["Note", RESULT["notes"][0], ""],
    ]


def test_the_exported_files_are_csv_that_any_program_reads(add, tmp_path):
    folder = tmp_path / "mit Ümlaut und Raum"
    folder.mkdir()
    result = {**RESULT, "notes": ['It says "really", and more.']}
    written = check_nodes.exportCheck(add(result=result), folder)
    assert sorted(path.name for path in written) == sorted(path.name for path in folder.iterdir())
    assert [path.name for path in written] == [
        "PET pseudo-CT phase 3 vs CT check.csv",
        "PET pseudo-CT phase 3 vs CT coverage data.csv",
        "PET pseudo-CT phase 3 vs CT reliability data.csv",
        "PET pseudo-CT phase 3 vs CT sparsification data.csv",
    ]
    figures, coverage, reliability, sparsification = (
        list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""))) for path in written
    )
    assert figures[0] == ["figure", "value", "unit"]
    assert ["Mask", RESULT["mask"], ""] in figures
    assert ["Data range of PSNR and SSIM", "-1024 to 3000 HU (SynthRAD)", ""] in figures
    assert ["Note", "It says 'really', and more.", ""] in figures
    assert coverage == [["level (%)", "observed (%)", "ideal (%)"], ["0", "0", "0"], ["50", "25", "50"], ["100"] * 3]
    assert reliability[0] == ["predicted sigma (HU)", "observed RMSE (HU)", "ideal (HU)", "voxels"]
    assert reliability[2] == ["40", "130", "40", "300"]
    assert sparsification[1][1:] == ["55", "55", "55"]


def test_the_table_of_figures_saves_as_csv_by_itself(mrml_scene, add, tmp_path):
    table = add(result={**RESULT, "notes": ['It says "really", and more.']}).figures
    storage = mrml_scene.AddNewNodeByClass("vtkMRMLTableStorageNode")
    storage.SetFileName(str(tmp_path / "figures.csv"))
    assert storage.WriteData(table)
    text = (tmp_path / "figures.csv").read_text(encoding="utf-8")
    assert list(csv.reader(io.StringIO(text))) == [["figure", "value", "unit"], *rows(table)]


def test_names_that_are_no_file_names_are_exported_all_the_same(pair, add, tmp_path):
    pair[1].SetName("CT: thorax/abdomen")
    (first, *_others) = check_nodes.exportCheck(add(), tmp_path)
    assert first.name == "PET pseudo-CT phase 3 vs CT_ thorax_abdomen check.csv"
    assert first.is_file()


def test_a_folder_that_is_not_there_is_refused(add, tmp_path):
    with pytest.raises(OutputError) as refusal:
        check_nodes.exportCheck(add(), tmp_path / "absent")
    assert refusal.value.code == "not_writable"


def test_charts_have_titles_units_and_fixed_axes(add):
    charts = add().charts
    assert list(charts) == ["coverage", "reliability", "sparsification"]
    expected = {
        "coverage": ("Level of the credible interval (%)", "Voxels inside the interval (%)", 100, 100),
        "reliability": ("Predicted sigma (HU)", "Observed RMSE (HU)", 150, 150),
        "sparsification": ("Removed voxels (%)", "MAE of the remaining voxels (HU)", 100, 80),
    }
    for name, chart in charts.items():
        x, y, x_end, y_end = expected[name]
        assert (chart.GetXAxisTitle(), chart.GetYAxisTitle()) == (x, y)
        assert not chart.GetXAxisRangeAuto()
        assert not chart.GetYAxisRangeAuto()
        assert chart.GetXAxisRange() == pytest.approx((0, x_end))
        assert chart.GetYAxisRange() == pytest.approx((0, y_end))
        assert chart.GetTitle()
        # Where there is no legend the title says what the dashed line is.
        assert chart.GetLegendVisibility() == ("dashed: ideal" not in chart.GetTitle())
        assert min(chart.GetAxisLabelFontSize(), chart.GetLegendFontSize()) >= 12


def lines(chart):
    found = {}
    for i in range(chart.GetNumberOfPlotSeriesNodes()):
        series = chart.GetNthPlotSeriesNode(i)
        table = series.GetTableNode()
        found[series.GetName()] = (column(table, series.GetXColumnName()), column(table, series.GetYColumnName()))
    return found


def test_charts_draw_the_numbers_of_the_comparison_beside_the_ideal(add):
    charts = add().charts
    assert lines(charts["coverage"]) == {
        "observed": ([0, 50, 100], [0, 25, 100]),
        "ideal": ([0, 50, 100], [0, 50, 100]),
    }
    assert lines(charts["reliability"]) == {"observed": ([10, 40], [20, 130]), "ideal": ([10, 40], [10, 40])}
    assert lines(charts["sparsification"]) == {
        "by sigma": ([0, 50, 99], [55, 30, 10]),
        "by true error (best possible)": ([0, 50, 99], [55, 20, 1]),
        "at random": ([0, 50, 99], [55, 55, 55]),
    }


def test_arbitrary_intensities_are_said_to_be_such_in_figures_and_axes(pair, add):
    pair[0].SetAttribute(scene.attributeName("unit"), "")
    pair[0].SetAttribute(scene.attributeName("input_reference"), "800.0")
    figures = [{**figure, "unit": ""} for figure in RESULT["figures"]]
    found = add(result={**RESULT, "figures": figures})
    shown = {name: (value, unit) for name, value, unit in rows(found.figures)}
    assert "800 a.u." in shown["Unit of intensities"][0]
    assert shown["Mean absolute error (MAE)"] == ("55.12", "a.u.")
    assert shown["MAE / reference"] == ("6.89", "%")  # 55.1234 / 800
    assert shown["SSIM (3-D), as SynthRAD 2023"] == ("0.9123", "")
    assert found.charts["reliability"].GetXAxisTitle() == "Predicted sigma (a.u.)"
    assert found.error.GetName() == "PET pseudo-CT phase 3 vs CT error"
    # Three times the RMSE, rounded up.
    assert found.error.GetDisplayNode().GetWindowLevelMax() == 4000


def test_without_a_distribution_there_are_figures_and_error_alone(mrml_scene, add, tmp_path):
    found = add(result={**RESULT, "curves": {}})
    assert (found.charts, found.curves) == ({}, {})
    assert nodes(mrml_scene, "vtkMRMLPlotChartNode") == nodes(mrml_scene, "vtkMRMLPlotSeriesNode") == []
    assert len(check_nodes.exportCheck(found, tmp_path)) == 1


def test_the_error_map_lies_on_the_image_and_says_what_it_is(mrml_scene, pair, add):
    image, reference = pair
    transform = mrml_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "couch")
    image.SetAndObserveTransformNodeID(transform.GetID())
    error = add().error
    np.testing.assert_allclose(scene.ijkToRAS(error), SHEARED)
    assert error.GetParentTransformNode() is transform
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(error), np.arange(120).reshape(4, 5, 6) - 60)
    attributes = {key: error.GetAttribute(scene.attributeName(key)) for key in ("quantity", "run", "phase", "unit")}
    assert attributes == {"quantity": "error", "run": "c0ffee", "phase": "3", "unit": "HU"}
    assert error.GetVoxelValueUnits().GetCodeValue() == "[hnsf'U]"
    assert scene.provenanceOf(error)["bundle"] == "demo"
    assert error.GetNodeReference(scene.INPUT_REFERENCE).GetName() == "PET"
    assert error.GetNodeReference(check_nodes.REFERENCE) is reference


def test_no_error_is_black_and_errors_of_both_signs_are_as_bright_but_of_another_hue(add):
    display = add().error.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-300, 300)
    table = display.GetColorNode()
    assert table.GetNumberOfColors() == 256
    colors = np.zeros((256, 4))
    for i in range(256):
        table.GetColor(i, colors[i])
    lightness = colors[:, :3] @ (0.2126, 0.7152, 0.0722)
    assert lightness[127:129].max() < 0.01
    assert (np.diff(lightness[128:]) >= 0).all()
    assert (np.diff(lightness[:128]) <= 0).all()
    np.testing.assert_allclose(lightness, lightness[::-1], atol=0.06)
    assert (colors[:120, 2] > colors[:120, 0]).all()  # too low: blue
    assert (colors[136:, 0] > colors[136:, 2]).all()  # too high: red


def test_all_parts_lie_beside_the_image_in_the_subject_hierarchy(mrml_scene, pair, add):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(mrml_scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.CreateItem(study, pair[0])
    found = add()
    for node in (found.figures, found.error, *found.charts.values(), *found.curves.values()):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_checking_again_replaces_what_was_there(app, mrml_scene, add, tmp_path):
    first = add()
    # Saving gives the tables and the error map a storage node each.
    assert app.io_manager.write_scene(tmp_path / "scene.mrb")
    add()
    count = mrml_scene.GetNumberOfNodes()
    again = copy.deepcopy(RESULT)
    again["figures"][0]["value"] = 12.0
    second = add(result=again)
    assert mrml_scene.GetNumberOfNodes() == count
    assert len(nodes(mrml_scene, "vtkMRMLTableStorageNode")) == 0
    assert len(nodes(mrml_scene, "vtkMRMLVolumeArchetypeStorageNode")) == 3  # PET, image and CT
    assert first.figures.GetScene() is None
    assert second.figures.GetName() == "PET pseudo-CT phase 3 vs CT check"
    assert second.figures.GetCellText(2, 1) == "12"


def test_views_that_showed_the_earlier_check_show_the_new_one(mrml_scene, pair, add):
    first = add()
    composite = mrml_scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    composite.SetForegroundVolumeID(first.error.GetID())
    composite.SetBackgroundVolumeID(pair[1].GetID())
    view = mrml_scene.AddNode(slicer.vtkMRMLPlotViewNode())
    view.SetPlotChartNodeID(first.charts["coverage"].GetID())
    second = add()
    assert composite.GetForegroundVolumeID() == second.error.GetID()
    assert composite.GetBackgroundVolumeID() == pair[1].GetID()
    assert view.GetPlotChartNodeID() == second.charts["coverage"].GetID()


def test_checks_of_other_phases_and_references_stay(mrml_scene, pair, add, add_volume):
    image, reference = pair
    third, second = add(phase=3), add(phase=2)
    other = add_volume("another CT")
    difference = emptyLike(image.GetImageData())
    check_nodes.addCheck(image, 3, other, RESULT, difference)
    assert check_nodes.checkOf(image, 3, reference) == third
    assert check_nodes.checkOf(image, 2, reference) == second
    assert check_nodes.checkOf(image, 3, other).error.GetImageData() is difference
    assert check_nodes.checkOf(image, 1, reference) is None


def test_a_failure_half_way_leaves_the_scene_as_it_was(mrml_scene, pair, add, monkeypatch):
    earlier = add()
    before = names(mrml_scene)

    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(check_nodes, "_addChart", fail)
    with pytest.raises(MemoryError):
        add()
    assert names(mrml_scene) == before
    assert check_nodes.checkOf(pair[0], 3, pair[1]) == earlier


def test_a_saved_scene_brings_the_check_back(app, mrml_scene, pair, add, tmp_path):
    expected = add()
    assert app.io_manager.write_scene(tmp_path / "scene.mrb")
    again = type(app)()
    assert again.io_manager.load_scene(tmp_path / "scene.mrb")
    image, reference = (again.scene.GetFirstNodeByName(name) for name in ("PET pseudo-CT", "CT"))
    found = check_nodes.checkOf(image, 3, reference)
    assert rows(found.figures) == rows(expected.figures)
    for name, chart in expected.charts.items():
        loaded = found.charts[name]
        assert lines(loaded) == lines(chart)
        assert loaded.GetTitle() == chart.GetTitle()
        assert loaded.GetXAxisRange() == chart.GetXAxisRange()
        assert not loaded.GetXAxisRangeAuto()
        assert loaded.GetYAxisTitle() == chart.GetYAxisTitle()
    np.testing.assert_allclose(slicer.util.arrayFromVolume(found.error), np.arange(120).reshape(4, 5, 6) - 60)
    display = found.error.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-300, 300)
    color = [0.0] * 4
    display.GetColorNode().GetColor(255, color)
    np.testing.assert_allclose(color, np.array([255, 205, 130, 255]) / 255, atol=1 / 255)


def test_positions_are_those_in_the_world(mrml_scene, pair):
    image, _ = pair
    np.testing.assert_allclose(scene.ijkToWorld(image), SHEARED)
    outer, inner = (mrml_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name) for name in ("outer", "inner"))
    turn = np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]])
    shift = np.array([[1, 0, 0, 10], [0, 1, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1.0]])
    outer.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turn))
    inner.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(shift))
    inner.SetAndObserveTransformNodeID(outer.GetID())
    image.SetAndObserveTransformNodeID(inner.GetID())
    np.testing.assert_allclose(scene.ijkToWorld(image), turn @ shift @ SHEARED)


def test_a_warped_volume_is_refused_with_a_remedy(mrml_scene, pair):
    _, reference = pair
    warp = mrml_scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "deformation")
    spline = slicer.vtkOrientedBSplineTransform()
    coefficients = vtk.vtkImageData()
    coefficients.SetDimensions(5, 5, 5)
    coefficients.AllocateScalars(vtk.VTK_DOUBLE, 3)
    vtk.util.numpy_support.vtk_to_numpy(coefficients.GetPointData().GetScalars())[:] = 1.0
    spline.SetCoefficientData(coefficients)
    warp.SetAndObserveTransformToParent(spline)
    reference.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(InputError, match="deformation") as refusal:
        scene.ijkToWorld(reference)
    assert refusal.value.code == "nonlinear_transform"
    assert "Harden" in refusal.value.remedy


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (55.1234, "55.12"),
        (-0.0123456, "-0.01235"),
        (1234.56, "1235"),
        (152340.0, "152340"),
        (0.0, "0"),
        (99.996, "100"),
    ],
)
def test_values_have_four_significant_digits(value, text):
    assert formatValue(value) == text


@pytest.mark.parametrize(
    ("value", "end"), [(130, 150), (150, 150), (151, 200), (55, 60), (0.0121, 0.015), (8.2, 10), (1, 1), (0, 1)]
)
def test_axes_end_at_round_numbers(value, end):
    assert roundUp(value) == pytest.approx(end)
