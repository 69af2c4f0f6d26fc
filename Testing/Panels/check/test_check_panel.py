"""The Check panel on a real scene: compare, read, look at charts and errors, export, cancel, and what may cross it."""

from pathlib import Path

import numpy as np
import pytest

from Panels.heartbeat import Heartbeat
from Panels.in_process_client import InProcessClient

SHAPE = (10, 24, 20)
GRID = np.array([[-4.0, 0, 0, 40], [0, -4, 0, 48], [0, 0, 6, -30], [0, 0, 0, 1]])
PATIENT_S = 60


@pytest.fixture
def client(host, tmp_path):
    import qt

    client = InProcessClient(qt, tmp_path / "jobs")
    yield client
    client.gate.set()
    client.stop()


@pytest.fixture
def opened(host, load_panel, client):
    """The panel with its choices: panel, ui, choices, widget."""
    import slicer

    widget, ui = load_panel("CheckPanel.ui")
    from UncertaintyGuidedI2ILib.check.panel import CheckPanel
    from UncertaintyGuidedI2ILib.parameters import UncertaintyGuidedI2IParameterNode

    panel = CheckPanel(ui, client)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "choices")
    parameters = UncertaintyGuidedI2IParameterNode(node)
    panel.setParameterNode(parameters)
    yield panel, ui, parameters.check, widget
    panel.cleanup()


@pytest.fixture
def panel(opened):
    return opened[0]


@pytest.fixture
def ui(opened):
    return opened[1]


@pytest.fixture
def choices(opened):
    return opened[2]


@pytest.fixture
def add_result(host, add_volume):
    """Add what a translation leaves: image, alpha and beta of a head that is 20 HU too bright, or more."""

    def add(run="c0ffee", quantities=("image", "alpha", "beta"), shape=SHAPE, phase=3, error=20):
        from UncertaintyGuidedI2ILib.scene.nodes import attributeName

        maps = {"image": truth(shape) + error, "alpha": np.full(shape, 40.0), "beta": np.full(shape, 2.0)}
        nodes = {}
        for quantity in quantities:
            grid = GRID if shape == SHAPE else np.eye(4)
            node = add_volume(f"PET {quantity}", maps[quantity].astype(np.float32), grid)
            for key, value in {"run": run, "phase": str(phase), "unit": "HU", "quantity": quantity}.items():
                node.SetAttribute(attributeName(key), value)
            nodes[quantity] = node
        return nodes

    return add


def truth(shape=SHAPE):
    head = np.full(shape, -1000.0, dtype=np.float32)
    inner = tuple(slice(n // 6, n - n // 6) for n in shape)
    head[inner] = 30
    return head


@pytest.fixture
def pair(add_result, add_volume, choices):
    """A result and its reference, both chosen."""
    nodes = add_result()
    reference = add_volume("CT", truth(), GRID)
    choices.result, choices.reference = nodes["image"], reference
    return nodes, reference


@pytest.fixture
def compare(host, ui):
    def press():
        ui.compareButton.click()
        host.wait_until(lambda: ui.compareButton.text == "Compare", PATIENT_S)

    return press


def table(ui):
    widget = ui.figuresTable
    return {
        widget.item(i, 0).text(): (widget.item(i, 1).text(), widget.item(i, 2).text()) for i in range(widget.rowCount)
    }


def kinds(host, kind):
    return [host.scene.GetNthNodeByClass(i, kind) for i in range(host.scene.GetNumberOfNodesByClass(kind))]


def why_not(ui):
    assert not ui.compareButton.enabled
    assert ui.statusLabel.text in ui.compareButton.toolTip
    return ui.statusLabel.text


@pytest.mark.parametrize("agrees", [False, True])
def test_a_reference_whose_place_is_a_guess_is_resampled_only_if_the_user_says_so(
    host, ui, pair, compare, agrees, monkeypatch
):
    import slicer

    asked = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, *_, **__: asked.append(text) or agrees)
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda *_, **__: None)
    _, reference = pair
    reference.SetAttribute("UncertaintyGuidedI2I.Placement", "guessed")
    reference.SetAttribute("UncertaintyGuidedI2I.PlacementNote", "The file of the CT says no place.")
    reference.SetOrigin(*(np.array(reference.GetOrigin()) + 1))
    compare()
    host.wait_until(lambda: ui.compareButton.text == "Compare", PATIENT_S)
    assert len(asked) == 1
    assert "The file of the CT says no place." in asked[0]
    assert bool(table(ui)) == agrees
    assert ("The file of the CT says no place." in ui.notesLabel.text) == agrees


def test_a_disabled_button_says_what_is_missing(ui, choices, add_result, add_volume):
    assert why_not(ui) == "Choose the result of a translation."
    nodes = add_result()
    choices.result = nodes["image"]
    assert why_not(ui) == "Choose the real image to compare with, e.g. a CT."
    choices.reference = nodes["alpha"]
    assert why_not(ui) == "A result cannot be its own reference: choose the real image."
    choices.reference = add_volume("CT", truth(), GRID)
    assert ui.compareButton.enabled
    assert ui.statusLabel.text == ""
    for button in (ui.showChartButton, ui.showErrorButton, ui.exportButton):
        assert not button.enabled
        assert "Compare first." in button.toolTip


def test_only_translated_images_are_offered_as_results_but_every_volume_as_reference(ui, host, add_result, add_volume):
    nodes = add_result()
    add_volume("CT")
    assert [ui.resultSelector.nodeFromIndex(i) for i in range(ui.resultSelector.nodeCount())] == [nodes["image"]]
    assert ui.referenceSelector.nodeCount() == 4


def test_the_newest_result_is_chosen_where_none_is(panel, choices, add_result, opened):
    add_result("first")
    newest = add_result("second")
    parameters = panel._binding.node
    panel.setParameterNode(None)
    panel.setParameterNode(parameters)
    assert choices.result is newest["image"]


def test_the_figures_are_those_of_the_engine_with_mask_and_data_range(host, ui, pair, compare, client):
    compare()
    assert host.messages == []
    assert ui.statusLabel.text.startswith("Done in")
    assert ui.progressBar.value == ui.progressBar.maximum
    figures = table(ui)
    assert figures["Mean absolute error (MAE)"] == ("20", "HU")
    assert figures["Bias (mean of image - reference)"] == ("20", "HU")
    assert figures["MAE in soft tissue (-300 to 200 HU)"] == ("20", "HU")
    # sigma is 40/sqrt(2) HU; an error of 20 HU lies at its 52nd percentile (a Gaussian's, by any table).
    assert figures["Coverage of the 50% interval"] == ("0", "%")
    assert figures["Coverage of the 80% interval"] == ("100", "%")
    assert figures["Root mean squared sigma"] == ("28.28", "HU")
    assert not {"Mask", "Note", "PSNR and SSIM"} & set(figures)
    assert "SSIM (3-D), as SynthRAD 2023" in figures
    assert "3-D as SynthRAD 2023" in ui.rangeLabel.toolTip
    assert "above -500 HU" in ui.maskLabel.text
    assert ui.rangeLabel.text == "-1024 to 3000 HU (SynthRAD 2023)"
    assert ui.notesLabel.isHidden()
    error = kinds(host, "vtkMRMLScalarVolumeNode")[-1]
    np.testing.assert_allclose(array(error), 20)
    assert not Path(client.requests[0]["output"]).exists()


def array(node):
    import slicer

    return slicer.util.arrayFromVolume(node)


def test_what_to_bear_in_mind_is_shown_with_the_figures(ui, choices, pair, add_volume, compare):
    shifted = GRID.copy()
    shifted[2, 3] += 18
    choices.reference = add_volume("half a CT", truth(), shifted)
    compare()
    assert not ui.notesLabel.isHidden()
    assert "covers 70.0% of the result's grid" in ui.notesLabel.text


def test_volumes_are_compared_where_they_are_in_the_world(host, ui, pair, compare):
    import slicer

    nodes, reference = pair
    turn = np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]])
    for moved, matrix in ((nodes["image"], turn), (reference, np.eye(4))):
        transform = host.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        moved.SetAndObserveTransformNodeID(transform.GetID())
    # The reference is moved by hand to where the transform puts the result.
    reference.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(turn @ GRID))
    compare()
    assert table(ui)["Mean absolute error (MAE)"] == ("20", "HU")


def test_comparing_changes_no_view_until_it_is_asked_for(host, ui, pair, compare):
    import slicer

    before = slicer.app.layoutManager().layout
    composites = kinds(host, "vtkMRMLSliceCompositeNode")
    assert composites
    layers = [(node.GetBackgroundVolumeID(), node.GetForegroundVolumeID()) for node in composites]
    compare()
    assert slicer.app.layoutManager().layout == before
    assert [(node.GetBackgroundVolumeID(), node.GetForegroundVolumeID()) for node in composites] == layers

    ui.showErrorButton.click()
    error = next(node for node in kinds(host, "vtkMRMLScalarVolumeNode") if "error" in node.GetName())
    for node in composites:
        assert (node.GetBackgroundVolumeID(), node.GetForegroundVolumeID()) == (pair[1].GetID(), error.GetID())
        assert node.GetForegroundOpacity() == 0.5
    assert list(host.legends()) == ["Red", "Green", "Yellow"]
    for (legend,) in host.legends().values():
        assert legend.title.split() == ["Result", "-", "reference", "(HU)"]
        assert [float(label) for label in legend.labels] == [-300, -200, -100, 0, 100, 200, 300]

    ui.chartSelector.setCurrentIndex(2)
    ui.showChartButton.click()
    assert slicer.app.layoutManager().layout != before
    shown = [node.GetPlotChartNodeID() for node in kinds(host, "vtkMRMLPlotViewNode")]
    chart = next(node for node in kinds(host, "vtkMRMLPlotChartNode") if "sparsification" in node.GetName())
    assert chart.GetID() in shown


def test_without_alpha_and_beta_the_charts_say_why_they_are_not_there(ui, choices, add_result, add_volume, compare):
    choices.result = add_result(quantities=("image",))["image"]
    choices.reference = add_volume("CT", truth(), GRID)
    compare()
    assert table(ui)["Mean absolute error (MAE)"] == ("20", "HU")
    assert not ui.showChartButton.enabled
    assert "alpha and beta" in ui.showChartButton.toolTip
    assert ui.showErrorButton.enabled


def test_the_tables_are_exported_into_the_chosen_folder(host, ui, pair, compare, tmp_path, monkeypatch):
    import qt

    compare()
    folder = tmp_path / "Tabellen für Ärzte"
    folder.mkdir()
    asked = []
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *a: asked.append(a) or str(folder))
    ui.exportButton.click()
    assert len(asked) == 1
    assert len(list(folder.glob("*.csv"))) == 4
    assert str(folder) in ui.statusLabel.text
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *a: str(folder / "gone"))
    ui.exportButton.click()
    assert [message.kind for message in host.messages] == ["error"]
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *a: "")
    ui.exportButton.click()
    assert len(host.messages) == 1


def test_an_earlier_comparison_is_shown_again_when_its_volumes_are_chosen(ui, choices, pair, compare, add_volume):
    compare()
    earlier = table(ui)
    choices.reference = add_volume("another CT", truth() - 10, GRID)
    assert table(ui) == {}
    assert not ui.showErrorButton.enabled
    compare()
    assert table(ui)["Mean absolute error (MAE)"] == ("30", "HU")
    choices.reference = pair[1]
    assert table(ui) == earlier


@pytest.fixture
def phases(add_result, add_volume, choices):
    """A result of two phases, the second better than the first, as the user scrubs through them."""
    from UncertaintyGuidedI2ILib.scene.phases import collectPhases, selectPhase
    from UncertaintyGuidedI2ILib.scene.results import resultOf

    first, second = add_result(phase=1, error=50), add_result(phase=2, error=20)
    collectPhases({1: first, 2: second})
    choices.result, choices.reference = second["image"], add_volume("CT", truth(), GRID)
    return lambda phase: selectPhase(resultOf(second["image"]), phase)


def test_each_phase_has_a_comparison_of_its_own(ui, phases, compare):
    compare()
    assert table(ui)["Mean absolute error (MAE)"] == ("20", "HU")
    phases(1)
    assert table(ui) == {}
    compare()
    assert table(ui)["Mean absolute error (MAE)"] == ("50", "HU")
    phases(2)
    assert table(ui)["Mean absolute error (MAE)"] == ("20", "HU")


def test_scrubbing_through_the_phases_meanwhile_mixes_none_of_them(host, ui, phases, compare, client):
    client.gate.clear()
    ui.compareButton.click()
    phases(1)
    host.wait_until(lambda: client.isBusy)
    client.gate.set()
    host.wait_until(lambda: ui.compareButton.text == "Compare")
    # Nothing is known of the phase that is shown now.
    assert table(ui) == {}
    phases(2)
    assert table(ui)["Mean absolute error (MAE)"] == ("20", "HU")


def test_a_refusal_of_the_engine_is_told_with_its_remedy(host, ui, pair, compare):
    array(pair[1])[:] = -1000
    compare()
    (message,) = host.messages
    assert message.kind == "error"
    assert "shows no body" in message.text
    assert "Choose the patient's CT" in message.text
    assert "shows no body" in ui.statusLabel.text
    assert kinds(host, "vtkMRMLTableNode") == []
    assert ui.compareButton.enabled


def test_a_warped_reference_is_refused_before_anything_is_started(host, ui, pair, compare, client):
    pair[1].SetAndObserveTransformNodeID(warp(host.scene).GetID())
    compare()
    assert "non-linear transform" in host.messages[0].text
    assert client.requests == []


def warp(scene):
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    coefficients = vtk.vtkImageData()
    coefficients.SetDimensions(5, 5, 5)
    coefficients.AllocateScalars(vtk.VTK_DOUBLE, 3)
    vtk_to_numpy(coefficients.GetPointData().GetScalars())[:] = 1.0
    spline = slicer.vtkOrientedBSplineTransform()
    spline.SetCoefficientData(coefficients)
    node = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "deformation")
    node.SetAndObserveTransformToParent(spline)
    return node


def test_compare_turns_into_cancel_and_cancel_leaves_nothing(host, ui, pair, client):
    client.gate.clear()
    ui.compareButton.click()
    assert ui.compareButton.text == "Cancel"
    assert not ui.resultSelector.enabled
    host.wait_until(lambda: client.requests)
    ui.compareButton.click()
    host.wait_until(lambda: ui.compareButton.text == "Compare", 1)
    assert ui.statusLabel.text == "Cancelled. Nothing was added to the scene."
    assert kinds(host, "vtkMRMLTableNode") == []
    assert not Path(client.requests[0]["output"]).exists()
    assert host.messages == []
    assert ui.resultSelector.enabled


def test_cancel_while_the_voxels_are_handed_over_asks_the_engine_for_nothing(host, ui, pair, client, tmp_path):
    ui.compareButton.click()
    ui.compareButton.click()
    host.wait_until(lambda: ui.compareButton.text == "Compare", 2)
    host.wait_until(lambda: True)
    assert client.requests == []
    assert list((tmp_path / "jobs").iterdir()) == []


def test_cancel_while_the_voxels_are_handed_over_leaves_the_request_of_another_panel_alone(host, ui, pair, client):
    ended = []
    client._handlers = (print, print, ended.append)
    ui.compareButton.click()
    ui.compareButton.click()
    assert ui.compareButton.text == "Compare"
    assert client.isBusy
    assert ended == []


@pytest.mark.parametrize("victim", ["image", "reference"])
def test_deleting_a_volume_cancels_the_comparison(host, ui, pair, client, victim):
    client.gate.clear()
    ui.compareButton.click()
    host.wait_until(lambda: client.isBusy)
    host.scene.RemoveNode(pair[0]["image"] if victim == "image" else pair[1])
    host.wait_until(lambda: ui.compareButton.text == "Compare")
    assert kinds(host, "vtkMRMLTableNode") == []
    assert host.messages == []


def test_closing_the_scene_cancels_the_comparison(host, panel, ui, pair, client):
    client.gate.clear()
    ui.compareButton.click()
    host.wait_until(lambda: client.isBusy)
    panel.onSceneStartClose()
    panel.setParameterNode(None)
    host.close_scene()
    host.wait_until(lambda: ui.compareButton.text == "Compare")
    assert not client.isBusy
    assert host.messages == []
    assert table(ui) == {}


def test_a_busy_engine_is_no_failure(host, ui, pair, compare, client):
    from upgan.errors import UpganError

    client.failure = UpganError("worker_busy", "The engine is at work already.", "Wait for it to finish.")
    compare()
    assert "at work already" in host.messages[0].text
    client.failure = None
    compare()
    assert table(ui)["Mean absolute error (MAE)"] == ("20", "HU")


def test_missing_packages_are_named_and_offered(ui, panel, pair, monkeypatch):
    from UncertaintyGuidedI2ILib import dependencies

    monkeypatch.setattr(dependencies, "missing", lambda *files: ["scikit-image>=0.22"])
    panel.enter()
    assert not ui.packagesFrame.isHidden()
    assert "scikit-image" in ui.packagesLabel.text
    assert not ui.compareButton.enabled
    assert "missing packages" in ui.compareButton.toolTip
    monkeypatch.undo()
    panel.enter()
    assert ui.packagesFrame.isHidden()
    assert ui.compareButton.enabled


def test_the_viewer_stays_live_while_eight_million_voxels_cross(host, ui, choices, add_result, add_volume, client):
    shape = (200, 200, 200)
    choices.result = add_result(shape=shape, quantities=("image",))["image"]
    choices.reference = add_volume("CT", truth(shape), np.eye(4))
    with Heartbeat() as heartbeat:
        ui.compareButton.click()
        host.wait_until(lambda: client.isBusy, PATIENT_S)
    assert heartbeat.longest_s < 0.1


def test_the_worker_itself_gives_the_same_figures(host, load_panel, pair, ui, compare):
    from UncertaintyGuidedI2ILib.check.panel import CheckPanel
    from UncertaintyGuidedI2ILib.work.client import WorkerClient

    compare()
    expected = table(ui)
    _widget, other = load_panel("CheckPanel.ui")
    worker = WorkerClient()
    panel = CheckPanel(other, worker)
    try:
        panel.setParameterNode(choices_of(host))
        other.compareButton.click()
        host.wait_until(lambda: other.compareButton.text == "Compare", PATIENT_S)
        assert host.messages == []
        assert other.statusLabel.text.startswith("Done in")
        assert table(other) == expected
    finally:
        panel.cleanup()
        worker.stop()


def choices_of(host):
    from UncertaintyGuidedI2ILib.parameters import UncertaintyGuidedI2IParameterNode

    return UncertaintyGuidedI2IParameterNode(host.scene.GetFirstNodeByName("choices"))
