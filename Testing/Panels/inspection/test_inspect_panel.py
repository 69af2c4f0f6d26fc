"""The Inspect panel on a real scene and real views: what a reader does, and what may happen meanwhile."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from Panels.heartbeat import shortest_block_s

MODULE = Path(__file__).parents[3] / "UncertaintyGuidedI2I"
SHAPE = (16, 40, 36)
GRID = np.array([[-3.0, 0, 0, 54], [0, -3.0, 0, 60], [0, 0, 4.0, -30], [0, 0, 0, 1]])


@pytest.fixture
def crosshair(host):
    """The singleton that the application always has."""
    import slicer

    node = host.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if node is None:
        node = slicer.vtkMRMLCrosshairNode()
        node.SetCrosshairName("default")
        node.SetSingletonTag("default")
        node = host.scene.AddNode(node)
    return node


@pytest.fixture
def opened(host, load_panel, crosshair):
    """The panel with its choices, as the front door opens it."""
    return open_panel(host, load_panel)


def open_panel(host, load_panel):
    import slicer

    widget, ui = load_panel("InspectPanel.ui")
    from UncertaintyGuidedI2ILib.inspection.panel import InspectPanel
    from UncertaintyGuidedI2ILib.parameters import UncertaintyGuidedI2IParameterNode

    node = host.scene.GetSingletonNode("UncertaintyGuidedI2I", "vtkMRMLScriptedModuleNode")
    if node is None:
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag("UncertaintyGuidedI2I")
        node.SetModuleName("UncertaintyGuidedI2I")
        node = host.scene.AddNode(node)
    panel = InspectPanel(ui)
    panel.setParameterNode(UncertaintyGuidedI2IParameterNode(node))
    return SimpleNamespace(panel=panel, ui=ui, widget=widget, parameters=panel._binding.node)


@pytest.fixture
def panel(host, opened):
    yield opened.panel
    opened.panel.cleanup()


@pytest.fixture
def ui(opened, panel):
    return opened.ui


@pytest.fixture
def choices(opened, panel):
    return opened.parameters.inspect


@pytest.fixture
def phases(rng):
    from Scene.inspected import maps_of

    k, j, i = np.indices(SHAPE)
    inside = ((j - 20) / 15) ** 2 + ((i - 18) / 13) ** 2 < 1
    image = np.where(inside, 40.0, -1000.0) + rng.normal(0, 20, SHAPE)
    image[:, 8:12, 10:26] = 700
    alpha = np.where(inside, 60.0, 15.0) + 2.0 * k
    alpha[5:9, 18:24, 14:20] = 500
    beta = rng.uniform(0.7, 2.0, SHAPE)
    return {phase: maps_of(image, alpha * (4 - phase), beta) for phase in (1, 2, 3)}


@pytest.fixture
def epistemic(phases, rng):
    """The map of the last phase, asked for in the run."""
    phases[3]["epistemic"] = rng.uniform(0, 100, SHAPE).astype(np.float32)
    return phases[3]["epistemic"]


@pytest.fixture
def run(host, panel, phases):
    """A run of three phases, as a finished translation leaves it."""
    from Scene.inspected import add_input, add_run
    from UncertaintyGuidedI2ILib.scene.phases import collectPhases

    pet = add_input(host.scene, GRID, SHAPE)
    nodes = add_run(pet, phases)
    collectPhases(nodes)
    return SimpleNamespace(input=pet, nodes=nodes[3])


@pytest.fixture
def settle(host, panel):
    def wait():
        host.process_events()
        host.wait_until(
            lambda: not (panel._session.isWorking or panel._figures.isWorking or panel._refreshTimer.active)
        )

    return wait


@pytest.fixture
def result(run, panel, settle):
    """The run, chosen."""
    panel.showResult(run.nodes["image"])
    settle()
    return run


def views(host):
    import slicer

    manager = slicer.app.layoutManager()
    return {name: manager.sliceWidget(name).mrmlSliceCompositeNode() for name in ("Red", "Green", "Yellow")}


def layers(host):
    return {
        name: (c.GetBackgroundVolumeID(), c.GetForegroundVolumeID(), round(c.GetForegroundOpacity(), 6))
        for name, c in views(host).items()
    }


def voxels(node):
    import slicer

    return slicer.util.arrayFromVolume(node)


def cells(table):
    return [
        [table.item(row, column).text() if table.item(row, column) else None for column in range(table.columnCount)]
        for row in range(table.rowCount)
    ]


def quantity_nodes(host, quantity):
    from UncertaintyGuidedI2ILib.scene.results import QUANTITY

    count = host.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    nodes = [host.scene.GetNthNodeByClass(i, "vtkMRMLScalarVolumeNode") for i in range(count)]
    return [node for node in nodes if node.GetAttribute(QUANTITY) == quantity]


def legends(host):
    """Return the titles of the legends in the views of the layout, by view."""
    return {view: {legend.title.replace("\n", " ") for legend in shown} for view, shown in host.legends().items()}


def everywhere(title):
    return {name: {title} for name in ("Red", "Green", "Yellow")}


# Without a result


def test_without_a_result_everything_is_off_and_says_why(host, ui, panel, settle):
    settle()
    assert "no result" in ui.resultInfoLabel.text
    for name in ("showOverlayCheckBox", "comparisonButton", "segmentButton", "computeStatisticsButton", "rankButton"):
        widget = getattr(ui, name)
        assert not widget.enabled
        assert "Translate a volume first" in widget.toolTip, name
    assert not ui.phaseSlider.enabled
    assert not ui.copyTableButton.enabled


def test_volumes_that_no_run_made_are_not_offered(host, ui, panel, add_volume, settle):
    add_volume("CT")
    settle()
    assert ui.resultSelector.nodeCount() == 0


# A result


def test_a_result_of_several_models_names_them_all(ui, panel, run, settle):
    members = [{"bundle": "a", "bundle_version": "1"}, {"bundle": "b", "bundle_version": "2"}]
    for node in run.nodes.values():
        node.SetAttribute("UncertaintyGuidedI2I.Members", json.dumps(members))
    panel.showResult(run.nodes["image"])
    settle()
    assert ui.resultInfoLabel.text == "From PET by a 1 + b 2."


def test_a_new_result_is_selected_and_no_view_changes(host, ui, panel, choices, run, settle):
    before = layers(host)
    panel.showResult(run.nodes["image"])
    settle()
    assert choices.result is run.nodes["image"]
    assert ui.resultSelector.currentNode() is run.nodes["image"]
    assert layers(host) == before
    assert ui.resultInfoLabel.text == "From PET by fake."
    assert ui.showOverlayCheckBox.enabled
    assert ui.segmentButton.enabled


def test_the_newest_result_is_chosen_where_none_is(host, ui, choices, run, settle):
    settle()
    assert choices.result is run.nodes["image"]
    assert ui.resultSelector.currentNode() is run.nodes["image"]


def test_a_result_that_comes_while_an_overlay_is_on_changes_no_view(host, panel, ui, choices, result, phases, settle):
    from Scene.inspected import add_run

    ui.showOverlayCheckBox.checked = True
    settle()
    before = layers(host)
    (nodes,) = add_run(result.input, {3: phases[3]}).values()
    panel.showResult(nodes["image"])
    settle()
    assert layers(host) == before
    assert choices.result is nodes["image"]
    assert not ui.showOverlayCheckBox.checked


# The overlay


def test_the_overlay_comes_on_and_goes_off_without_a_trace(host, ui, result, settle):
    views(host)["Red"].SetBackgroundVolumeID(result.nodes["beta"].GetID())
    views(host)["Green"].SetForegroundVolumeID(result.nodes["alpha"].GetID())
    before = layers(host)
    ui.showOverlayCheckBox.checked = True
    settle()
    assert set(layers(host).values()) == {(result.input.GetID(), result.nodes["sigma"].GetID(), 0.5)}
    assert legends(host) == everywhere("sigma (HU)")
    ui.showOverlayCheckBox.checked = False
    settle()
    assert layers(host) == before
    assert legends(host) == {}


def test_every_map_has_its_legend_in_every_view_with_the_value_at_the_place_of_each_label(
    host, ui, epistemic, result, settle
):
    ui.showOverlayCheckBox.checked = True
    scales = {}
    for index in range(ui.overlaySelector.count):
        ui.overlaySelector.currentIndex = index
        settle()
        shown = host.legends()
        assert list(shown) == ["Red", "Green", "Yellow"], ui.overlaySelector.currentText
        for (legend,) in shown.values():
            places = [index / (len(legend.labels) - 1) for index in range(len(legend.labels))]
            values = [legend.low + place * (legend.high - legend.low) for place in places]
            np.testing.assert_allclose([float(label) for label in legend.labels], values, rtol=1e-9, atol=1e-9)
            scales[legend.title.replace("\n", " ")] = legend.low, legend.high
    assert scales == {
        "sigma (HU)": (0, 500),
        "epistemic (HU)": (0, 250),
        "alpha (HU)": (0, 500),
        "beta": (0, 4),
        "pseudo-CT (HU)": (-700, 1300),
        "90 % interval width (HU)": (0, 1600),
        "P(HU > 300)": (0, 1),
    }


def test_what_others_show_in_all_views_takes_the_overlay_off_and_stays(host, ui, choices, result, settle):
    import slicer

    ui.showOverlayCheckBox.checked = True
    settle()
    slicer.util.setSliceViewerLayers(foreground=result.nodes["image"], foregroundOpacity=0.3)
    settle()
    assert not ui.showOverlayCheckBox.checked
    assert {layer[1:] for layer in layers(host).values()} == {(result.nodes["image"].GetID(), 0.3)}
    assert legends(host) == {}
    assert choices.layersBefore == ""


def test_opacity_anatomy_and_legend_follow_the_panel(host, ui, result, settle):
    ui.showOverlayCheckBox.checked = True
    settle()
    ui.opacitySlider.value = 0.8
    ui.anatomySelector.currentText = "translated image"
    ui.legendCheckBox.checked = False
    settle()
    assert set(layers(host).values()) == {(result.nodes["image"].GetID(), result.nodes["sigma"].GetID(), 0.8)}
    assert legends(host) == {}


def test_what_the_user_changes_in_a_view_afterwards_is_left_alone(host, ui, result, settle):
    ui.showOverlayCheckBox.checked = True
    settle()
    views(host)["Red"].SetForegroundVolumeID(result.input.GetID())
    ui.thresholdSlider.value = 100
    settle()
    assert layers(host)["Red"][1] == result.input.GetID()
    ui.showOverlayCheckBox.checked = False
    settle()
    assert layers(host)["Red"][1] == result.input.GetID()
    assert layers(host)["Green"][1] is None


def test_the_probability_follows_the_threshold_and_the_direction(host, ui, result, phases, settle):
    ui.overlaySelector.currentText = "probability"
    ui.showOverlayCheckBox.checked = True
    settle()
    (node,) = quantity_nodes(host, "probability")
    maps = phases[3]
    truth = stats.gennorm(maps["beta"].astype(float), maps["image"], maps["alpha"])
    np.testing.assert_allclose(voxels(node), truth.sf(300), atol=1e-5)
    assert legends(host) == everywhere("P(HU > 300)")
    ui.thresholdSlider.value = -200
    ui.relationSelector.currentText = "below"
    settle()
    np.testing.assert_allclose(voxels(node), truth.cdf(-200), atol=1e-5)
    assert legends(host) == everywhere("P(HU < -200)")
    assert quantity_nodes(host, "probability") == [node]


def test_a_moving_slider_gives_up_maps_that_nobody_waits_for(host, ui, panel, result, settle, monkeypatch):
    from UncertaintyGuidedI2ILib.inspection import overlays

    monkeypatch.setattr(overlays, "STEP_VOXELS", 5)
    finished = []
    finish = panel._session._finish
    monkeypatch.setattr(
        panel._session, "_finish", lambda key, node: (finished.append(key[2].threshold), finish(key, node))
    )
    ui.overlaySelector.currentText = "probability"
    ui.showOverlayCheckBox.checked = True
    for threshold in (100, 150, 200):
        ui.thresholdSlider.value = threshold
        host.process_events()
    settle()
    assert finished[-1] == 200
    assert 150 not in finished


def test_the_interval_width_follows_the_level(host, ui, result, phases, settle):
    ui.overlaySelector.currentText = "interval width"
    ui.levelSlider.value = 50
    ui.showOverlayCheckBox.checked = True
    settle()
    (node,) = quantity_nodes(host, "interval_width")
    low, high = stats.gennorm.interval(0.5, phases[3]["beta"].astype(float), scale=phases[3]["alpha"])
    np.testing.assert_allclose(voxels(node), high - low, rtol=1e-4)
    assert legends(host) == everywhere("50 % interval width (HU)")


def test_sliders_end_where_the_intensities_do(host, ui, panel, result, phases, settle):
    from Scene.inspected import add_run

    assert (ui.thresholdSlider.minimum, ui.thresholdSlider.maximum, ui.thresholdSlider.decimals) == (-1000, 3000, 0)
    assert (ui.thresholdSlider.singleStep, ui.sigmaSpinBox.suffix) == (10, " HU")
    scaled = {name: maps if name == "beta" else maps / 1000 for name, maps in phases[3].items()}
    (nodes,) = add_run(result.input, {3: scaled}).values()
    for node in nodes.values():
        node.SetAttribute("UncertaintyGuidedI2I.Unit", "")
    nodes["image"].GetDisplayNode().SetWindowLevelMinMax(0, 1)
    panel.showResult(nodes["image"])
    settle()
    assert (ui.thresholdSlider.minimum, ui.thresholdSlider.maximum, ui.thresholdSlider.decimals) == (0, 2, 2)
    assert ui.thresholdSlider.suffix == " a.u."
    ui.sigmaSpinBox.value = 0.25
    ui.segmentButton.click()
    settle()
    assert "σ ≥ 0.25 a.u., ≥" in ui.regionsInfoLabel.text


def test_limits_are_fractions_of_the_reference_where_the_unit_is_the_inputs_own(ui, panel, result, phases, choices):
    from Scene.inspected import add_run

    def restored(reference):
        (nodes,) = add_run(result.input, {3: phases[3]}, input_reference=reference).values()
        for node in nodes.values():
            node.SetAttribute("UncertaintyGuidedI2I.Unit", "")
        return nodes["image"]

    choices.threshold, choices.sigma = 450, 90
    choices.result = restored(20_000.0)
    # At once: what a script writes next stays.
    assert (choices.threshold, choices.sigma, ui.thresholdSlider.value) == (10_000, 1000, 10_000)
    assert (ui.thresholdSlider.minimum, ui.thresholdSlider.maximum) == (0, 40_000)
    choices.threshold = 5000
    choices.result = restored(0.4)
    assert (choices.threshold, choices.sigma, ui.sigmaSpinBox.value) == pytest.approx((0.1, 0.02, 0.02))
    choices.result = result.nodes["image"]
    assert (choices.threshold, choices.sigma, ui.thresholdSlider.suffix) == (300, 200, " HU")
    choices.threshold = 450
    choices.result = None
    choices.result = result.nodes["image"]
    assert choices.threshold == 450


# Phases


def test_the_phase_slider_scrubs_through_maps_derived_maps_and_views(host, ui, result, phases, settle):
    ui.overlaySelector.currentText = "probability"
    ui.showOverlayCheckBox.checked = True
    settle()
    assert ui.phaseSlider.enabled
    assert (ui.phaseSlider.minimum, ui.phaseSlider.maximum, ui.phaseSlider.value) == (1, 3, 3)
    ui.phaseSlider.value = 1
    settle()
    np.testing.assert_array_equal(voxels(result.nodes["sigma"]), phases[1]["sigma"])
    (node,) = quantity_nodes(host, "probability")
    truth = stats.gennorm(phases[1]["beta"].astype(float), phases[1]["image"], phases[1]["alpha"])
    np.testing.assert_allclose(voxels(node), truth.sf(300), atol=1e-5)
    assert node.GetAttribute("UncertaintyGuidedI2I.Phase") == "1"


def test_scrubbing_elsewhere_moves_the_slider(host, ui, result, settle):
    browser = host.scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetSelectedItemNumber(1)
    settle()
    assert ui.phaseSlider.value == 2


def test_with_one_phase_the_slider_is_off_and_says_why(host, ui, panel, result, phases, settle):
    from Scene.inspected import add_run

    (nodes,) = add_run(result.input, {3: phases[3]}).values()
    panel.showResult(nodes["image"])
    settle()
    assert not ui.phaseSlider.enabled
    assert "one phase only" in ui.phaseSlider.toolTip


# The read-out


def read(host, panel, crosshair, ijk):
    crosshair.SetCrosshairRAS(*(GRID @ [*ijk, 1])[:3])
    host.wait_until(lambda: not panel._readout.isPending)
    host.process_events()


def test_the_values_of_every_phase_are_read_at_the_crosshair(host, ui, panel, crosshair, result, phases):
    from Scene.inspected import BY_TISSUE, enough_by_hand, set_provenance

    read(host, panel, crosshair, (18, 20, 3))
    table = ui.readoutTable
    headers = [table.horizontalHeaderItem(i).text() for i in range(3)]
    assert headers == ["Phase 1", "Phase 2", "● Phase 3"]
    rows = [table.verticalHeaderItem(i).text() for i in range(6)]
    assert rows == ["pseudo-CT (HU)", "σ (HU)", "α (HU)", "β", "90 % interval (HU)", "P(HU > 300)"]
    shown = cells(table)
    for column, phase in enumerate((1, 2, 3)):
        image, alpha, beta, sigma = (float(phases[phase][q][3, 20, 18]) for q in ("image", "alpha", "beta", "sigma"))
        assert shown[0][column].replace("−", "-") == f"{image:.0f}"
        assert shown[1][column] == f"{sigma:.0f}"
        assert shown[2][column] == f"{alpha:.0f}"
        assert shown[3][column] == f"{beta:.2f}"
        low, high = stats.gennorm.interval(0.9, beta, image, alpha)
        assert shown[4][column].replace("−", "-") == f"{low:.0f} to {high:.0f}"
        assert abs(float(shown[5][column].strip("<> ")) - stats.gennorm.sf(300, beta, image, alpha)) < 1.5e-3
    assert "voxel (18, 20, 3)" in ui.readoutLabel.text
    set_provenance(result, calibration=BY_TISSUE, phases=3)
    read(host, panel, crosshair, (18, 20, 2))
    assert table.rowCount == 7
    assert table.verticalHeaderItem(5).text() == "90 %, 9 of 10 (HU)"
    assert "wide enough for 9 of 10 patients" in table.verticalHeaderItem(5).toolTip()
    maps = [phases[3][quantity][2, 20, 18:19].astype(float) for quantity in ("image", "alpha", "beta")]
    (low, high) = (float(maps[0][0] + sign * enough_by_hand(maps, "0.9")[0]) for sign in (-1, 1))
    assert cells(table)[5] == ["–", "–", f"{low:.0f} to {high:.0f}".replace("-", "−")]


def test_the_epistemic_map_is_read_beside_sigma_and_says_which_phase_it_is_of(
    host, ui, panel, crosshair, epistemic, result, settle
):
    read(host, panel, crosshair, (18, 20, 3))
    assert [ui.readoutTable.verticalHeaderItem(row).text() for row in (1, 2)] == ["σ (HU)", "epistemic (HU)"]
    assert cells(ui.readoutTable)[2] == ["–", "–", f"{epistemic[3, 20, 18]:.0f}"]
    ui.overlaySelector.currentText = "epistemic"
    ui.showOverlayCheckBox.checked = True
    settle()
    assert ui.overlayInfoLabel.text == ""
    ui.phaseSlider.value = 1
    settle()
    assert {layer[1] for layer in layers(host).values()} == {result.nodes["epistemic"].GetID()}
    assert "last phase" in ui.overlayInfoLabel.text


def test_a_run_without_the_epistemic_map_has_no_row_for_it_and_says_so_where_it_is_chosen(host, ui, result, settle):
    ui.overlaySelector.currentText = "epistemic"
    settle()
    assert not ui.showOverlayCheckBox.enabled
    assert "epistemic map is not in the scene" in ui.overlayInfoLabel.text
    assert "epistemic" not in ui.resultInfoLabel.text


def test_of_an_image_unlike_the_training_data_the_verdict_is_shown_and_intervals_are_withheld(
    host, ui, panel, crosshair, result, phases, settle
):
    from Scene.inspected import UNLIKE, add_run

    assert "cannot be told" in ui.familiarityLabel.text
    (nodes,) = add_run(result.input, {3: phases[3]}, familiarity=UNLIKE).values()
    panel.showResult(nodes["image"])
    settle()
    assert UNLIKE["sentence"] in ui.familiarityLabel.text
    read(host, panel, crosshair, (18, 20, 3))
    assert ui.readoutTable.verticalHeaderItem(4).text() == "90 % interval (HU)"
    assert ui.readoutTable.item(4, 0).text() == "–"
    assert "withheld" in ui.readoutTable.item(4, 0).toolTip()
    ui.computeStatisticsButton.click()
    ui.overlaySelector.currentText = "interval width"
    settle()
    assert [row[6] for row in cells(ui.statisticsTable)] == ["–"] * 4
    assert "withheld" in ui.statisticsInfoLabel.text
    assert not ui.showOverlayCheckBox.enabled
    assert "withheld" in ui.overlayInfoLabel.text
    ui.overlaySelector.currentText = "sigma"
    settle()
    assert ui.showOverlayCheckBox.enabled


def test_the_cursor_in_a_view_is_read_and_its_last_voxel_stays(host, ui, panel, crosshair, result):
    import slicer

    red = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceNode()
    red.SetXYZOrigin(0, 0, 0)
    x, y, z = (GRID @ [10, 12, 7, 1])[:3]
    red.JumpSliceByCentering(x, y, z)
    width, height, _depth = red.GetDimensions()
    crosshair.SetCursorPositionXYZ([width / 2, height / 2, 0], red)
    host.wait_until(lambda: not panel._readout.isPending)
    assert "voxel (10, 12, 7)" in ui.readoutLabel.text
    assert ui.readoutLabel.text.startswith("R 24.0  A 24.0  I 2.0 mm")
    crosshair.SetCursorPositionInvalid()
    host.wait_until(lambda: not panel._readout.isPending)
    assert "voxel (10, 12, 7)" in ui.readoutLabel.text


def test_outside_the_result_nothing_is_read(host, ui, panel, crosshair, result):
    read(host, panel, crosshair, (18, 20, 3))
    read(host, panel, crosshair, (500, 20, 3))
    assert ui.readoutLabel.text == "Outside the result."
    assert ui.readoutTable.rowCount == 0


# Regions, statistics, slices


def test_uncertain_regions_become_a_segment(host, ui, panel, result, phases, settle):
    from UncertaintyGuidedI2ILib.inspection.statistics import segmentMasks

    ui.sigmaSpinBox.value = 300
    ui.minimumSizeSpinBox.value = 0.4
    ui.segmentButton.click()
    settle()
    segmentation = host.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    ((name, mask),) = segmentMasks(segmentation, result.nodes["sigma"]).items()
    assert name == "σ ≥ 300 HU, ≥ 0.4 mL"
    assert mask.any()
    assert (phases[3]["sigma"][mask] >= 300).all()
    assert "regions" in ui.regionsInfoLabel.text
    assert f"{mask.sum() * 0.036:.1f} mL" in ui.regionsInfoLabel.text


def test_only_the_chosen_rule_has_its_field(host, ui, opened, result, settle):
    opened.widget.show()
    ui.regionsButton.collapsed = False
    settle()
    assert ui.sigmaSpinBox.visible
    assert not ui.percentileSpinBox.visible
    ui.ruleSelector.currentText = "percentile of sigma"
    settle()
    assert ui.limitLabel.text == "Percentile:"
    assert not ui.sigmaSpinBox.visible
    assert ui.percentileSpinBox.visible
    ui.segmentButton.click()
    settle()
    assert "percentile 95" in ui.regionsInfoLabel.text


def test_statistics_list_tissues_and_segments_and_go_to_the_scene_as_a_table(host, ui, result, phases, settle):
    ui.segmentButton.click()
    settle()
    segmentation = host.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    ui.segmentationSelector.setCurrentNode(segmentation)
    ui.computeStatisticsButton.click()
    settle()
    regions = [row[0] for row in cells(ui.statisticsTable)]
    assert regions[:4] == ["body", "air (≤ −300 HU)", "soft tissue (−300 to 200 HU)", "bone (> 200 HU)"]
    assert regions[4].startswith("segment σ ≥ 200 HU")
    bone = phases[3]["sigma"][phases[3]["image"] > 200]
    assert cells(ui.statisticsTable)[3][3] == f"{bone.mean():.0f}"
    assert ui.copyTableButton.enabled
    ui.copyTableButton.click()
    table = host.scene.GetFirstNodeByClass("vtkMRMLTableNode")
    assert table.GetNumberOfRows() == 5
    assert table.GetTable().GetValue(3, 3).ToDouble() == pytest.approx(bone.mean(), rel=1e-5)


def test_figures_of_another_phase_are_not_shown(host, ui, result, settle):
    ui.computeStatisticsButton.click()
    settle()
    ui.rankButton.click()
    settle()
    assert ui.statisticsTable.rowCount == 4
    assert ui.slicesTable.rowCount == 10
    ui.phaseSlider.value = 2
    settle()
    assert ui.statisticsTable.rowCount == 0
    assert ui.slicesTable.rowCount == 0
    assert not ui.copyTableButton.enabled


def test_a_click_on_a_ranked_slice_moves_all_views_to_it(host, ui, panel, result, phases, settle):
    import slicer

    ui.rankButton.click()
    settle()
    body = phases[3]["image"] > -500
    means = [phases[3]["sigma"][k][body[k]].mean() for k in range(SHAPE[0])]
    assert int(cells(ui.slicesTable)[0][0]) - 1 == int(np.argmax(means))
    ui.slicesTable.cellClicked.emit(1, 0)
    k = int(cells(ui.slicesTable)[1][0]) - 1
    z = -30 + 4.0 * k
    assert cells(ui.slicesTable)[1][1] == f"{'S' if z >= 0 else 'I'} {abs(z):.1f} mm"
    assert slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceOffset() == pytest.approx(z)


BUTTONS = {
    "segmentButton": "regionsInfoLabel",
    "computeStatisticsButton": "statisticsInfoLabel",
    "rankButton": "slicesInfoLabel",
}


@pytest.fixture
def slow(monkeypatch):
    """Figures that take many turns of the event loop."""
    from UncertaintyGuidedI2ILib.work import cooperative

    monkeypatch.setattr("upgan.stepwise.steps.STEP_VOXELS", 1000)
    monkeypatch.setattr(cooperative, "SLICE_S", 1e-4)


def begin(host, panel, button):
    """Click, and return when the work has begun."""
    button.click()
    for _ in range(3):
        host.process_events()
    assert panel._figures.isWorking


@pytest.mark.parametrize("name", BUTTONS)
def test_a_button_cancels_while_it_computes_and_the_others_say_why_they_wait(name, host, ui, panel, result, slow):
    nodes, button = host.scene.GetNumberOfNodes(), getattr(ui, name)
    text = button.text
    begin(host, panel, button)
    assert (button.text, button.enabled) == ("Cancel", True)
    assert getattr(ui, BUTTONS[name]).text == "Finding the body…"
    for other in BUTTONS.keys() - {name}:
        assert not getattr(ui, other).enabled
        assert "Other figures" in getattr(ui, other).toolTip
    button.click()
    assert not panel._figures.isWorking
    host.process_events()
    assert (button.text, button.enabled) == (text, True)
    assert getattr(ui, BUTTONS[name]).text == "Cancelled."
    assert all(getattr(ui, other).enabled for other in BUTTONS)
    assert host.scene.GetNumberOfNodes() == nodes
    assert ui.statisticsTable.rowCount == ui.slicesTable.rowCount == 0


@pytest.mark.parametrize("name", BUTTONS)
def test_after_cancel_the_same_button_computes_again(name, host, ui, panel, result, settle, slow):
    begin(host, panel, getattr(ui, name))
    getattr(ui, name).click()
    getattr(ui, name).click()
    settle()
    assert getattr(ui, BUTTONS[name]).text not in ("", "Cancelled.", "Finding the body…")


@pytest.mark.parametrize("event", ["phase", "sigma deleted", "result deleted", "no choices"])
def test_figures_are_given_up_when_what_they_are_computed_from_goes(event, host, ui, panel, result, settle, slow):
    begin(host, panel, ui.segmentButton)
    if event == "phase":
        ui.phaseSlider.value = 1
    elif event == "no choices":
        panel.setParameterNode(None)
    else:
        host.scene.RemoveNode(host.scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode"))
        for node in [result.nodes["sigma"]] if event == "sigma deleted" else list(result.nodes.values()):
            host.scene.RemoveNode(node)
    for _ in range(3):
        host.process_events()
    assert not panel._figures.isWorking
    settle()
    assert host.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None
    assert ui.segmentButton.text == "Segment uncertain regions"


def test_the_scene_may_close_while_figures_are_computed(host, ui, panel, result, settle, slow):
    begin(host, panel, ui.computeStatisticsButton)
    # As the front door does at the scene's start and end of closing.
    panel.onSceneStartClose()
    assert not panel._figures.isWorking
    panel.setParameterNode(None)
    host.close_scene()
    panel.onSceneEndClose()
    settle()
    assert ui.statisticsTable.rowCount == 0
    assert ui.statisticsInfoLabel.text == ""


def test_figures_that_fail_say_so_once_and_can_be_tried_again(host, ui, panel, result, settle, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr("upgan.images.patient.ndimage.binary_closing", None)
        ui.rankButton.click()
        settle()
    (message,) = host.messages
    assert "The slices could not be ranked." in str(message)
    # Its traceback is for the Python console.
    assert "TypeError" in host.uncaught.pop()
    ui.rankButton.click()
    settle()
    assert ui.slicesTable.rowCount == 10


def test_figures_of_a_large_volume_never_block_the_viewer(host, ui, panel, choices, settle, rng):
    from Scene.inspected import add_input, add_run

    shape = (120, 256, 256)
    _, j, i = np.ogrid[tuple(slice(size) for size in shape)]
    inside = np.broadcast_to(((j - 128) / 100) ** 2 + ((i - 128) / 80) ** 2 < 1, shape)
    sigma = rng.uniform(0, 60, shape).astype(np.float32) + np.where(inside, np.float32(40), np.float32(0))
    maps = {"image": np.where(inside, np.float32(40), np.float32(-1000)), "sigma": sigma}
    maps |= {"alpha": sigma * np.float32(np.sqrt(2)), "beta": np.full(shape, 2, np.float32)}
    (nodes,) = add_run(add_input(host.scene, GRID, shape), {1: maps}).values()
    panel.showResult(nodes["image"])
    # So high that no segment is drawn: how long the views take for one is theirs.
    ui.sigmaSpinBox.value = 101
    settle()

    def run():
        panel._figures._body = None
        for name, label in BUTTONS.items():
            getattr(ui, name).click()
            settle()
            assert getattr(ui, label).text != ""

    assert shortest_block_s(run) < 0.1
    assert ui.regionsInfoLabel.text == "No region: σ ≥ 101 HU, ≥ 0.5 mL."
    assert (ui.statisticsTable.rowCount, ui.slicesTable.rowCount) == (4, 10)


# The comparison


def test_the_comparison_comes_when_asked_for_and_goes_back(host, ui, result, settle):
    import slicer

    from UncertaintyGuidedI2ILib.inspection.comparison import LAYOUT_ID, VIEWS

    manager = slicer.app.layoutManager()
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    before = layers(host)
    ui.comparisonButton.click()
    settle()
    host.process_events()
    assert manager.layout == LAYOUT_ID
    shown = {
        key: host.scene.GetNodeByID(manager.sliceWidget(name).mrmlSliceCompositeNode().GetBackgroundVolumeID())
        for key, name in VIEWS.items()
    }
    (probability,) = quantity_nodes(host, "probability")
    expected = {"input": result.input, "image": result.nodes["image"], "sigma": result.nodes["sigma"]}
    assert shown == {**expected, "probability": probability}
    assert legends(host) == {VIEWS["sigma"]: {"sigma (HU)"}, VIEWS["probability"]: {"P(HU > 300)"}}
    assert ui.comparisonButton.text == "Back to the layout before"
    ui.thresholdSlider.value = 0
    settle()
    assert legends(host) == {VIEWS["sigma"]: {"sigma (HU)"}, VIEWS["probability"]: {"P(HU > 0)"}}
    assert host.scene.GetNodeByID(f"vtkMRMLSliceNode{VIEWS['probability']}").GetLayoutLabel() == "P(HU > 0)"
    ui.comparisonButton.click()
    settle()
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    assert layers(host) == before
    assert legends(host) == {}
    assert ui.comparisonButton.text == "Compare side by side"


def test_the_comparison_opens_where_the_user_is(host, ui, result, settle):
    import slicer

    from UncertaintyGuidedI2ILib.inspection.comparison import VIEWS

    manager = slicer.app.layoutManager()
    slicer.util.setSliceViewerLayers(background=result.input, fit=True)
    slicer.vtkMRMLSliceNode.JumpAllSlices(host.scene, 4.0, 18.0, -6.0, slicer.vtkMRMLSliceNode.OffsetJumpSlice)
    crosshair = host.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(1.0, 2.0, 3.0)
    ui.comparisonButton.click()
    # Slicer gives new views their size, and fits them, only when it draws them.
    host.wait_until(lambda: manager.sliceWidget(VIEWS["sigma"]) is not None)
    manager.resetSliceViews()
    settle()
    assert {manager.sliceWidget(name).sliceLogic().GetSliceOffset() for name in VIEWS.values()} == {-6.0}
    assert crosshair.GetCrosshairRAS() == (1.0, 2.0, 3.0)
    # From then on the views are the user's.
    manager.sliceWidget(VIEWS["sigma"]).sliceLogic().SetSliceOffset(10.0)
    ui.thresholdSlider.value = 100
    settle()
    assert manager.sliceWidget(VIEWS["sigma"]).sliceLogic().GetSliceOffset() == 10.0


# What users do to nodes


def test_a_deleted_map_is_noticed_and_said(host, ui, panel, result, phases, settle):
    from Scene.inspected import add_run

    (nodes,) = add_run(result.input, {3: phases[3]}).values()
    panel.showResult(nodes["image"])
    settle()
    before = layers(host)
    ui.showOverlayCheckBox.checked = True
    settle()
    host.scene.RemoveNode(nodes["sigma"])
    settle()
    assert "The result's σ is not in the scene" in ui.resultInfoLabel.text
    assert not ui.showOverlayCheckBox.checked
    assert layers(host) == before
    for button in (ui.segmentButton, ui.computeStatisticsButton, ui.rankButton, ui.showOverlayCheckBox):
        assert not button.enabled
        assert "σ is not in the scene" in button.toolTip
    ui.overlaySelector.currentText = "probability"
    settle()
    assert ui.showOverlayCheckBox.enabled


def test_a_deleted_overlay_volume_stays_deleted(host, ui, result, settle):
    ui.overlaySelector.currentText = "probability"
    ui.showOverlayCheckBox.checked = True
    settle()
    host.scene.RemoveNode(quantity_nodes(host, "probability")[0])
    settle()
    assert not ui.showOverlayCheckBox.checked
    assert quantity_nodes(host, "probability") == []
    ui.showOverlayCheckBox.checked = True
    settle()
    assert len(quantity_nodes(host, "probability")) == 1


def test_renamed_outputs_are_found(host, ui, result, settle):
    for node in result.nodes.values():
        node.SetName("renamed")
    ui.showOverlayCheckBox.checked = True
    ui.computeStatisticsButton.click()
    settle()
    assert set(layers(host).values()) == {(result.input.GetID(), result.nodes["sigma"].GetID(), 0.5)}
    assert ui.statisticsTable.rowCount == 4


def test_a_deleted_input_leaves_the_translated_image_as_anatomy(host, ui, result, settle):
    host.scene.RemoveNode(result.input)
    ui.showOverlayCheckBox.checked = True
    settle()
    assert {layer[0] for layer in layers(host).values()} == {result.nodes["image"].GetID()}
    assert "not in the scene any more" in ui.resultInfoLabel.text


def test_a_result_deleted_with_all_its_nodes_is_no_error(host, ui, result, settle):
    ui.overlaySelector.currentText = "probability"
    ui.showOverlayCheckBox.checked = True
    host.scene.RemoveNode(host.scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode"))
    for node in result.nodes.values():
        host.scene.RemoveNode(node)
    settle()
    assert "no result" in ui.resultInfoLabel.text
    assert not ui.showOverlayCheckBox.checked


def test_the_scene_may_close_while_a_map_is_made(host, ui, panel, opened, result, settle, monkeypatch):
    from UncertaintyGuidedI2ILib.inspection import overlays

    monkeypatch.setattr(overlays, "STEP_VOXELS", 10)
    ui.overlaySelector.currentText = "probability"
    ui.showOverlayCheckBox.checked = True
    host.process_events()
    # As the front door does at the scene's start and end of closing.
    panel.onSceneStartClose()
    panel.setParameterNode(None)
    host.close_scene()
    panel.onSceneEndClose()
    settle()
    assert quantity_nodes(host, "probability") == []
    assert "no result" in ui.resultInfoLabel.text


# Saved scenes


def test_choices_overlay_phase_and_undo_come_back_from_a_saved_scene(
    host, ui, panel, opened, load_panel, crosshair, result, settle, tmp_path
):
    import slicer

    before = layers(host)
    ui.overlaySelector.currentText = "probability"
    ui.thresholdSlider.value = 250
    ui.opacitySlider.value = 0.7
    ui.phaseSlider.value = 2
    ui.showOverlayCheckBox.checked = True
    settle()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    panel.onSceneStartClose()
    panel.setParameterNode(None)
    host.close_scene()

    assert slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    again = open_panel(host, load_panel)
    try:
        host.wait_until(lambda: not again.panel._session.isWorking and not again.panel._refreshTimer.active)
        assert again.parameters.inspect.result.GetName() == "PET pseudo-CT"
        assert again.ui.thresholdSlider.value == 250
        assert again.ui.opacitySlider.value == pytest.approx(0.7)
        assert again.ui.phaseSlider.value == 2
        assert again.ui.showOverlayCheckBox.checked
        (probability,) = quantity_nodes(host, "probability")
        assert {layer[1] for layer in layers(host).values()} == {probability.GetID()}
        assert legends(host) == everywhere("P(HU > 250)")
        again.ui.showOverlayCheckBox.checked = False
        host.wait_until(lambda: not again.panel._refreshTimer.active)
        assert layers(host) == before
        assert legends(host) == {}
    finally:
        again.panel.cleanup()


def test_entering_the_module_again_changes_no_view(host, ui, panel, opened, result, settle):
    ui.showOverlayCheckBox.checked = True
    settle()
    views(host)["Red"].SetForegroundOpacity(0.1)
    panel.setParameterNode(opened.parameters)
    settle()
    assert layers(host)["Red"][2] == pytest.approx(0.1)


def test_the_panel_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from Host.host import start\n"
        "host = start(); host.expose_library(__import__('pathlib').Path(sys.argv[1]), 'UncertaintyGuidedI2I')\n"
        "import UncertaintyGuidedI2ILib.inspection.panel, upgan.uncertainty.derived\n"
        "from UncertaintyGuidedI2ILib.inspection.regions import bodyMask\n"
        "import upgan.images.patient; print('fine')"
    )
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(MODULE)])
    process = subprocess.run(
        [sys.executable, "-c", code, str(MODULE)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "fine" in process.stdout, process.stderr[-2000:]
