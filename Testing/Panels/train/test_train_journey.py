"""The Train panel with the real worker: from a folder of heads to a model that can be chosen under Translate."""

import json
import os

import pytest

from Engine.training_runs import write_site
from Panels.processes import children_of

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install '.[slicer]'")
for package in ("lightning_fabric", "torchio", "filelock"):
    pytest.importorskip(package, reason="not installed: pip install '.[train]'")

PATIENT_S = 90
FINE_TUNING_S = 300


@pytest.fixture(scope="module")
def heads(tmp_path_factory, write_pairs):
    """Five small simulated heads: three to train on, one to watch, one held out."""
    folder = tmp_path_factory.mktemp("heads")
    write_pairs(folder, range(5))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Heads of a scanner that the bundled model does not know: five to train on, one to watch, eight held out."""
    folder = tmp_path_factory.mktemp("site")
    write_site(folder, 14)
    return folder


@pytest.fixture
def homes(tmp_path, monkeypatch):
    monkeypatch.setenv("UPGAN_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("UPGAN_MODELS", str(tmp_path / "models"))
    return tmp_path


@pytest.fixture
def panel(homes, warm_worker, module_widget):
    return module_widget.trainPanel


@pytest.fixture
def ui(panel):
    return panel.ui


@pytest.fixture
def choices(module_widget, heads):
    choices = module_widget.logic.getParameterNode().train
    choices.folder = heads
    choices.device = "cpu"
    choices.name = "five-heads"
    return choices


def test_a_model_is_trained_paused_resumed_and_saved(host, module_widget, ui, choices):
    session = module_widget.logic.training

    ui.checkButton.click()
    host.wait_until(lambda: ui.pairsTable.rowCount == 5, PATIENT_S)
    assert sorted(ui.pairsTable.item(i, 1).text() for i in range(5)).count("train") >= 2
    host.wait_until(lambda: not ui.pairsTable.item(4, 3).icon().isNull())
    assert "of memory on cpu" in ui.dataSummaryLabel.text

    ui.advancedGroup.collapsed = False
    host.wait_until(lambda: ui.widthSpinBox.enabled, PATIENT_S)
    ui.widthSpinBox.value = 4
    ui.epochsEdit.text = "1"
    ui.epochsEdit.editingFinished.emit()
    ui.jointEpochsSpinBox.value = 0
    host.wait_until(lambda: ui.startButton.enabled, PATIENT_S)
    ui.startButton.click()
    host.wait_until(lambda: session.run is not None and ui.showChartButton.enabled, PATIENT_S)
    assert host.messages == []
    ui.showChartButton.click()
    (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    table = chart.GetNthPlotSeriesNode(0).GetTableNode()
    before = table.GetNumberOfRows()
    host.wait_until(lambda: table.GetNumberOfRows() > before, PATIENT_S)

    ui.pauseButton.click()
    host.wait_until(lambda: ui.pauseButton.text == "Resume", PATIENT_S)
    config = json.loads((session.run / "config.json").read_text())
    assert (config["architecture"]["width"], config["schedule"]["epochs"]) == (4, [1])
    assert (config["split"]["train"], config["data"]["layout"]) == (None, "manifest")
    assert children_of(os.getpid()) == set()

    ui.pauseButton.click()
    host.wait_until(lambda: ui.pauseButton.text == "Pause", PATIENT_S)
    host.wait_until(lambda: not session.isBusy, PATIENT_S)
    assert host.messages == []
    assert ui.statusLabel.text.startswith("Finished. Best mean absolute error on the validation patients: ")
    assert ui.statusLabel.text.endswith(" HU.")
    assert "paused" in ui.eventsEdit.plainText
    host.wait_until(lambda: ui.saveModelButton.enabled)
    assert ui.checkpointSelector.currentText.startswith("best: MAE ")

    ui.showPreviewButton.click()
    host.wait_until(lambda: not ui.previewLabel.isHidden(), PATIENT_S)

    ui.saveModelButton.click()
    host.wait_until(lambda: not ui.savedLabel.isHidden() or host.messages, PATIENT_S)
    assert host.messages == []
    translate = module_widget.translatePanel.ui.modelSelector
    assert translate.currentData == "five-heads"
    assert "five-heads (trained here)" in [translate.itemText(i) for i in range(translate.count)]


@pytest.mark.nightly
def test_the_bundled_model_is_fine_tuned_on_five_heads_of_another_scanner_and_is_better_there(
    host, module_widget, homes, ui, choices, site
):
    session = module_widget.logic.training
    choices.folder = site
    choices.name = "our-scanner"
    ui.baseSelector.currentIndex = ui.baseSelector.findData("pet-ct-phantom")
    ui.baseSelector.activated.emit(ui.baseSelector.currentIndex)
    for box, patients in ((ui.trainSpinBox, 5), (ui.validationSpinBox, 1), (ui.testSpinBox, 8)):
        box.value = patients
    ui.advancedGroup.collapsed = False
    host.wait_until(lambda: ui.jointEpochsSpinBox.enabled, PATIENT_S)
    assert ui.presetSelector.currentData == "fine-tune"
    ui.jointEpochsSpinBox.value = 2
    ui.jointRateSpinBox.value = 5e-4

    host.wait_until(lambda: ui.startButton.enabled, PATIENT_S)
    ui.startButton.click()
    host.wait_until(lambda: ui.statusLabel.text.startswith("Finished."), FINE_TUNING_S)
    assert host.messages == []
    host.wait_until(lambda: ui.saveModelButton.enabled)
    ui.saveModelButton.click()
    host.wait_until(lambda: not ui.savedLabel.isHidden() or host.messages, PATIENT_S)
    assert host.messages == []
    assert not session.isBusy

    model = homes / "models" / "trained" / "our-scanner"
    figures = json.loads((model / "configs" / "metadata.json").read_text("utf-8"))["upgan"]["figures"]
    comparison = figures["compared_with"]
    (mae,) = [test for test in comparison["tests"] if test["key"] == "mae"]
    assert (comparison["name"], mae["patients"], mae["verdict"]) == ("pet-ct-phantom", 8, "better")
    assert mae["largest"] < 0  # on each of them
    assert mae["p"] < 0.01  # 2·2⁻⁸ where all eight agree
    assert mae["difference"] < -0.05 * mae["theirs"]
    last = figures["test"]["phases"][max(figures["test"]["phases"])]
    assert last["coverage_90%"][0] == pytest.approx(0.9, abs=0.06)
    card = " ".join((model / "docs" / "README.md").read_text(encoding="utf-8").split())
    assert "better than pet-ct-phantom" in card
    assert "Not for patients" in card
    assert "22" in card  # patients that a certificate of the intervals would need
    assert module_widget.translatePanel.ui.modelSelector.currentData == "our-scanner"
