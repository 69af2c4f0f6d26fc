"""A user's way through all panels with each task: translate, inspect, check, and what a training would be given."""

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from Engine.conftest import seasoned_cascade, write_tiny
from upgan.tasks import TASKS

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install '.[slicer]'")

PATIENT_S = 60
SHAPE = (8, 40, 36)
SPACING = 4.0
# Of the brightest tissue, in a unit that is the scanner's own.
BRIGHT = 811.0


def head(seed):
    """A T1 image of a head, [K, J, I]: skin, skull, grey and white matter, air around."""
    rng = np.random.default_rng(seed)
    _k, j, i = np.indices(SHAPE)
    radius = np.hypot((j - 20) / 17, (i - 18) / 15)
    image = np.select([radius < 0.45, radius < 0.75, radius < 0.88, radius < 1], [BRIGHT, 500.0, 60.0, 700.0], 0.0)
    return (image + rng.normal(0, 8, SHAPE)).clip(0).astype(np.float32)


def ct_of(image):
    """The CT of such a head, HU."""
    return np.select([image > 300, ndimage.uniform_filter(image, 3) > 150], [40.0, 900.0], -1000.0).astype(np.float32)


def add_volume(name, voxels, modality=None):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, voxels)
    node.SetSpacing(SPACING, SPACING, SPACING)
    if modality:
        node.SetAttribute("DICOM.Modality", modality)
    return node


@pytest.fixture
def models(models_home):
    """A tiny model of each of the tasks on MRI, beside the bundled one for PET."""
    for task, name in (("mr_to_ct", "to-ct"), ("mri_undersampled", "full"), ("mri_motion", "still")):
        folder = Path(os.environ["UPGAN_MODELS"]) / "trained" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_tiny(folder, seasoned_cascade(phases=2), task=TASKS[task].model_dump(), spacing_mm=(4.0, 4.0))
    return models_home


@pytest.fixture
def widget(host, models, warm_worker, module_widget, tmp_path, monkeypatch):
    monkeypatch.setenv("UPGAN_RUNS", str(tmp_path / "runs"))
    host.wait_until(lambda: module_widget.translatePanel.engine.isReady, PATIENT_S)
    return module_widget


def cells(table):
    """The rows of a table by their header, or by their first cell."""
    rows = range(table.rowCount)
    texts = [[table.item(row, column).text() for column in range(table.columnCount)] for row in rows]
    headed = [table.verticalHeaderItem(row) for row in rows]
    return {head.text() if head is not None else text[0]: text for head, text in zip(headed, texts, strict=True)}


WORDS = {
    "mr_to_ct": ("pseudo-CT", "HU", "P(HU > 300)"),
    "mri_undersampled": ("restored MR", "a.u.", "P(value > {half} a.u.)"),
    "mri_motion": ("restored MR", "a.u.", "P(value > {half} a.u.)"),
}


@pytest.mark.parametrize(
    ("task", "model", "degradation"),
    [("mr_to_ct", "to-ct", ""), ("mri_undersampled", "full", "regular_4x"), ("mri_motion", "still", "motion")],
)
def test_a_task_on_mri_goes_through_all_panels_in_its_own_units(host, widget, task, model, degradation, tmp_path):
    image = head(1)
    choices = widget.logic.getParameterNode()
    _translate(host, widget, choices, image, model)
    reference = TASKS[task].measure(image).reference
    said = _inspect(host, widget, choices, task, reference)
    said += _check(host, widget, choices, task, image, reference)
    assert not [text for text in said if "PET" in text]
    _train(host, widget, choices, task, degradation, tmp_path)
    assert host.messages == []


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("task", "degradation", "unit"),
    [("mr_to_ct", "", "HU"), ("mri_undersampled", "regular_4x", "a.u."), ("mri_motion", "any_motion", "a.u.")],
)
def test_a_model_of_each_task_on_mri_is_trained_in_the_panel_and_translates(
    host, widget, task, degradation, unit, tmp_path
):
    choices = widget.logic.getParameterNode()
    _train(host, widget, choices, task, degradation, tmp_path)
    ui = widget.trainPanel.ui
    if degradation:
        ui.degradationSelector.currentIndex = ui.degradationSelector.findData(degradation)
    ui.advancedGroup.collapsed = False
    host.wait_until(lambda: ui.widthSpinBox.enabled, PATIENT_S)
    ui.widthSpinBox.value = 4
    ui.epochsEdit.text = "1"
    ui.epochsEdit.editingFinished.emit()
    ui.jointEpochsSpinBox.value = 0
    host.wait_until(lambda: ui.startButton.enabled, PATIENT_S)
    ui.startButton.click()
    host.wait_until(lambda: ui.statusLabel.text.startswith("Finished.") or host.messages, 5 * PATIENT_S)
    assert host.messages == []
    assert ui.statusLabel.text.endswith(f" {unit}.")
    host.wait_until(lambda: ui.saveModelButton.enabled)
    ui.saveModelButton.click()
    host.wait_until(lambda: not ui.savedLabel.isHidden() or host.messages, PATIENT_S)
    assert host.messages == []
    assert choices.translate.model == "mine"
    choices.translate.inputVolume = add_volume("head", head(4), "MR")
    host.wait_until(lambda: not widget.translatePanel._recheck.active)
    widget.translatePanel.ui.applyButton.click()
    host.wait_until(lambda: not widget.translatePanel.isBusy, PATIENT_S)
    assert widget.translatePanel.ui.statusLabel.text.startswith("Done in"), host.messages


def _translate(host, widget, choices, image, model):
    panel = widget.translatePanel
    choices.translate.inputVolume = add_volume("head", image, "MR")
    host.wait_until(lambda: not panel._recheck.active)
    selector = panel.ui.modelSelector
    labels = [selector.itemText(i) for i in range(selector.count)]
    # Those for such MRI first, and one of them is chosen; those that ship are for whole heads, or for PET, and say so.
    assert sorted(labels[:3]) == [f"{name} (trained here)" for name in ("full", "still", "to-ct")]
    assert "pet-ct-phantom (PET)" in labels[3:]
    assert {label.partition(" ")[2] for label in labels[3:]} == {"(misfit)", "(PET)"}
    assert selector.currentData in ("full", "still", "to-ct")
    selector.currentIndex = selector.findData(model)
    selector.activated.emit(selector.currentIndex)
    assert choices.translate.model == model
    assert panel.ui.warningLabel.text == ""
    panel.ui.applyButton.click()
    host.wait_until(lambda: not panel.isBusy, PATIENT_S)
    assert panel.ui.statusLabel.text.startswith("Done in"), host.messages


def _inspect(host, widget, choices, task, reference):
    name, unit, probability = WORDS[task]
    panel, ui = widget.inspectPanel, widget.inspectPanel.ui
    is_relative = unit == "a.u."
    host.wait_until(lambda: choices.inspect.result is not None)
    assert choices.inspect.result.GetName() == f"head {name}"
    assert ui.thresholdSlider.suffix == f" {unit}"
    if is_relative:
        half = float(f"{reference / 2:.3g}")
        assert (choices.inspect.threshold, ui.thresholdSlider.value) == (half, pytest.approx(half))
        assert choices.inspect.sigma == pytest.approx(0.05 * reference, rel=0.01)
        assert ui.thresholdSlider.maximum == pytest.approx(2 * reference, rel=0.01)
        probability = probability.format(half=f"{half:g}")
    else:
        assert (choices.inspect.threshold, ui.thresholdSlider.value, choices.inspect.sigma) == (300, 300, 200)
    choices.inspect.showOverlay = True
    host.wait_until(host.legends)
    titles = {legend.title.replace("\n", " ") for shown in host.legends().values() for legend in shown}
    assert titles == {f"sigma ({unit})"}
    panel._readout._point = list(choices.inspect.result.GetOrigin())
    panel._readout.show()
    readings = cells(ui.readoutTable)
    assert {f"{name} ({unit})", f"σ ({unit})", "β", probability} <= set(readings)
    assert ("σ (% of reference)" in readings) == is_relative
    if is_relative:
        share = 100 * float(readings[f"σ ({unit})"][-1]) / reference
        assert float(readings["σ (% of reference)"][-1]) == pytest.approx(share, abs=0.06)
    ui.computeStatisticsButton.click()
    host.wait_until(lambda: not panel._figures.isWorking)
    regions = [ui.statisticsTable.item(row, 0).text() for row in range(ui.statisticsTable.rowCount)]
    assert len(regions) == (1 if is_relative else 4)
    assert (f"{reference:.4g} a.u." in ui.resultInfoLabel.text) == is_relative
    choices.inspect.showOverlay = False
    return [*titles, *readings, *regions, ui.resultInfoLabel.text, ui.statisticsInfoLabel.text]


def _check(host, widget, choices, task, image, reference):
    unit = WORDS[task][1]
    ui = widget.checkPanel.ui
    truth = ct_of(image) if unit == "HU" else image
    choices.check.reference = add_volume("of another kind", truth, "MR" if unit == "HU" else "CT")
    assert not ui.compareButton.enabled
    assert "marked as" in ui.compareButton.toolTip
    choices.check.reference = add_volume("truth", truth)
    ui.compareButton.click()
    host.wait_until(lambda: ui.figuresTable.rowCount > 0, PATIENT_S)
    figures = cells_by_name(ui.figuresTable)
    assert figures["Mean absolute error (MAE)"][1] == unit
    assert figures["Root mean squared sigma"][1] == unit
    assert figures["Calibration error of variance (UCE)"][1] == f"{unit}^2"
    if unit == "HU":
        assert ui.unitLabel.text == "HU"
        assert "HU" in ui.rangeLabel.text
        assert "MAE in bone (over 200 HU)" in figures
    else:
        assert f"{reference:.4g} a.u." in ui.unitLabel.text
        assert "99.9th percentile" in ui.rangeLabel.text
        assert not [name for name in figures if "HU" in name]
        mae = float(figures["Mean absolute error (MAE)"][0])
        assert float(figures["MAE / reference"][0]) == pytest.approx(100 * mae / reference, rel=0.01)
    return [ui.maskLabel.text, ui.rangeLabel.text, ui.unitLabel.text, *figures]


def cells_by_name(table):
    return {
        table.item(row, 0).text(): (table.item(row, 1).text(), table.item(row, 2).text())
        for row in range(table.rowCount)
    }


def _train(host, widget, choices, task, degradation, folder):
    panel, ui = widget.trainPanel, widget.trainPanel.ui
    lines = ["subject,input,target"]
    for number in range(1, 4):
        for side in ("input", "target"):
            voxels = head(number)
            is_ct = (side, task) == ("target", "mr_to_ct")
            made = SimpleITK.GetImageFromArray(ct_of(voxels) + np.float32(number) if is_ct else voxels)
            made.SetSpacing([SPACING] * 3)
            SimpleITK.WriteImage(made, str(folder / f"{number}-{side}.nrrd"))
        lines.append(f"{number},{number}-input.nrrd,{number}-target.nrrd")
    (folder / "pairs.csv").write_text("\n".join(lines))
    train = choices.train
    train.source, train.table, train.device, train.name = "table", folder / "pairs.csv", "cpu", "mine"
    ui.taskSelector.currentIndex = ui.taskSelector.findData(task)
    assert ui.degradeButton.isHidden() == (not degradation)
    if degradation:
        assert not ui.degradeButton.enabled
        ui.degradationSelector.currentIndex = ui.degradationSelector.findData(degradation)
        ui.degradeButton.click()
        host.wait_until(lambda: not ui.degradedFrame.isHidden() or host.messages, PATIENT_S)
        assert host.messages == []
        pictures = [label.pixmap for label in (ui.degradedInputLabel, ui.degradedTargetLabel)]
        assert pictures[0].toImage() != pictures[1].toImage()
    ui.checkButton.click()
    host.wait_until(lambda: ui.pairsTable.rowCount == 3 or host.messages, PATIENT_S)
    assert not [row for row in panel.data._table.rows if row.severity == 2]
    # The pictures are of what is chosen: another choice takes them away.
    train.degradation = "none"
    assert ui.degradedFrame.isHidden()
