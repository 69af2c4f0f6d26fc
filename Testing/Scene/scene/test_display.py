"""How outputs look, and that nothing else on the screen changes."""

import shutil
import zipfile

import numpy as np
import pytest

from Scene.conftest import SLICER_IS_ABSENT
from Scene.fake_engine import FakeBundle, FakeEngine
from upgan.tasks import MRI_MOTION, PET_TO_CT

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)

from Scene.inspected import add_result, random_phases  # noqa: E402
from UncertaintyGuidedI2ILib.scene.results import resultOf  # noqa: E402


@pytest.fixture
def views(app):
    """Red, Green and Yellow as the application has them, without a window."""
    logics = []
    for name in ("Red", "Green", "Yellow"):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(app.app_logic)
        logic.SetMRMLScene(app.scene)
        logic.AddSliceNode(name)
        logics.append(logic)
    return logics


def layers(views):
    return [
        (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID(), composite.GetForegroundOpacity())
        for composite in (view.GetSliceCompositeNode() for view in views)
    ]


def range_of(node):
    display = node.GetDisplayNode()
    assert not display.GetAutoWindowLevel()
    return display.GetWindowLevelMin(), display.GetWindowLevelMax()


def test_each_output_has_the_range_of_the_task(add_volume, logic):
    nodes = logic.translate(add_volume())
    assert range_of(nodes["pseudo_ct"]) == (-700, 1300)
    assert range_of(nodes["sigma"]) == (0, 500)
    assert range_of(nodes["alpha"]) == (0, 500)
    assert range_of(nodes["beta"]) == (0, 4)


def test_ranges_in_the_arbitrary_unit_of_the_input_are_scaled_to_the_input(add_volume):
    from UncertaintyGuidedI2ILib.logic import UncertaintyGuidedI2ILogic
    from UncertaintyGuidedI2ILib.scene.nodes import volumeFromNode

    logic = UncertaintyGuidedI2ILogic(
        findBundle=lambda name: FakeBundle(name, MRI_MOTION), makeEngine=lambda *arguments: FakeEngine(*arguments)
    )
    mr = add_volume("T1")
    reference = MRI_MOTION.measure(volumeFromNode(mr).voxels).reference
    nodes = logic.translate(mr)
    assert reference > 100
    np.testing.assert_allclose(range_of(nodes["restored_mr"]), (0, reference), atol=1e-9)
    np.testing.assert_allclose(nodes["sigma"].GetDisplayNode().GetLowerThreshold(), 0.02 * reference)
    # Two digits, which a legend can show.
    np.testing.assert_allclose(range_of(nodes["sigma"]), (0, float(f"{0.2 * reference:.2g}")), atol=1e-9)
    assert nodes["sigma"].GetName() == "T1 sigma"


def test_sigma_is_transparent_only_where_it_is_low(add_volume, logic):
    nodes = logic.translate(add_volume())
    display = nodes["sigma"].GetDisplayNode()
    assert display.GetApplyThreshold()
    assert display.GetLowerThreshold() == PET_TO_CT.display.sigma_threshold
    assert display.GetUpperThreshold() == 500
    assert not nodes["pseudo_ct"].GetDisplayNode().GetApplyThreshold()


def test_sigma_beyond_the_colour_scale_stays_visible(add_volume, logic):
    pet = add_volume()
    slicer.util.arrayFromVolume(pet)[0, 0, 0] = 3000
    assert logic.translate(pet)["sigma"].GetDisplayNode().GetUpperThreshold() == pytest.approx(3000)


def test_the_epistemic_map_has_a_name_a_range_and_colours_of_its_own(add_volume, rng):
    maps = random_phases(rng, 1)[1]
    node = add_result(add_volume(), {**maps, "epistemic": np.full_like(maps["sigma"], 300)}).nodes["epistemic"]
    display = node.GetDisplayNode()
    assert node.GetName() == "PET epistemic (HU)"
    assert node.GetVoxelValueUnits().GetCodeValue() == "[hnsf'U]"
    assert range_of(node) == (0, 250)
    assert (display.GetLowerThreshold(), display.GetUpperThreshold()) == (25, 300)
    assert_is_perceptual(display.GetColorNode())
    assert display.GetColorNodeID() not in {other.GetDisplayNode().GetColorNodeID() for other in others(node)}


def others(node):
    return [other for quantity, other in resultOf(node).nodes.items() if quantity != "epistemic"]


def assert_is_perceptual(table):
    """What is more uncertain is brighter, also in a black-and-white print."""
    assert table.GetNumberOfColors() == 256
    rgba = np.zeros((256, 4))
    for i in range(256):
        table.GetColor(i, rgba[i])
    lightness = rgba[:, :3] @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness) > -0.004).all()
    assert lightness[-1] - lightness[0] > 0.5


def test_the_image_is_grey_and_the_uncertainties_are_coloured_by_perceptual_tables(add_volume, logic):
    nodes = logic.translate(add_volume())
    assert nodes["pseudo_ct"].GetDisplayNode().GetColorNodeID() == "vtkMRMLColorTableNodeGrey"
    for name in ("alpha", "beta", "sigma"):
        assert_is_perceptual(nodes[name].GetDisplayNode().GetColorNode())


def test_two_runs_share_one_colour_table(add_volume, logic):
    pet = add_volume()
    tables = {logic.translate(pet)["sigma"].GetDisplayNode().GetColorNodeID() for _ in range(2)}
    assert len(tables) == 1


def test_a_saved_scene_brings_units_provenance_and_its_colour_table(app, add_volume, logic, tmp_path, monkeypatch):
    from UncertaintyGuidedI2ILib.scene import colors

    # The saved scene must not need the installed extension's files.
    copies = tmp_path / "Colors"
    shutil.copytree(colors.COLORS, copies)
    monkeypatch.setattr(colors, "COLORS", copies)
    pet = add_volume()
    sigma = logic.translate(pet)["sigma"]
    expected = [0.0] * 4
    sigma.GetDisplayNode().GetColorNode().GetColor(200, expected)
    assert app.io_manager.write_scene(tmp_path / "scene.mrb")
    shutil.rmtree(copies)

    again = type(app)()
    assert again.io_manager.load_scene(tmp_path / "scene.mrb")
    node = again.scene.GetFirstNodeByName("PET sigma (HU)")
    found = [0.0] * 4
    node.GetDisplayNode().GetColorNode().GetColor(200, found)
    np.testing.assert_allclose(found, expected, atol=1 / 255)
    assert node.GetDisplayNode().GetColorNode().GetName() == "Uncertainty Inferno"
    assert node.GetVoxelValueUnits().GetCodeValue() == "[hnsf'U]"
    assert "beware: of ; and : and 100 %" in node.GetAttribute("UncertaintyGuidedI2I.Warnings")
    assert node.GetNodeReference("UncertaintyGuidedI2I.Input").GetName() == "PET"


def test_after_the_scene_was_closed_the_colour_table_is_still_saved(app, mrml_scene, tmp_path):
    from UncertaintyGuidedI2ILib.scene.colors import colorNode

    colorNode(mrml_scene, "Inferno")
    mrml_scene.Clear(0)
    table = colorNode(mrml_scene, "Inferno")
    assert table.GetStorageNode() is not None
    assert table.GetStorageNode() is colorNode(mrml_scene, "Inferno").GetStorageNode()
    assert app.io_manager.write_scene(tmp_path / "scene.mrb")
    with zipfile.ZipFile(tmp_path / "scene.mrb") as archive:
        assert any(name.endswith(".ctbl") for name in archive.namelist())


def test_translating_changes_no_view(add_volume, logic, views):
    pet = add_volume()
    for view in views:
        view.GetSliceCompositeNode().SetBackgroundVolumeID(pet.GetID())
    before = layers(views)
    logic.translate(pet)
    assert layers(views) == before


def test_an_overlay_appears_in_every_view_when_asked_for(add_volume, logic, views):
    from UncertaintyGuidedI2ILib.scene.display import showOverlay

    nodes = logic.translate(add_volume())
    showOverlay(nodes["pseudo_ct"], nodes["sigma"], opacity=0.4)
    assert layers(views) == [(nodes["pseudo_ct"].GetID(), nodes["sigma"].GetID(), 0.4)] * 3


def test_a_legend_names_the_volume_and_its_unit(add_volume, logic):
    from UncertaintyGuidedI2ILib.scene.legends import showLegend

    sigma = logic.translate(add_volume())["sigma"]
    legend = showLegend(sigma)
    assert legend.GetTitleText() == "PET sigma (HU)"
    assert legend.GetPrimaryDisplayNode() is sigma.GetDisplayNode()
