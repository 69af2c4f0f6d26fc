"""Photographs the panels on the bundled sample, beside real slice views, on the test host (Testing/Host).

Usage: python panels.py FOLDER
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "UncertaintyGuidedI2I"
SAMPLES = MODULE / "Resources" / "SampleData"
sys.path.insert(0, str(ROOT / "Testing"))

# The level of the sinuses and the petrous bones, RAS in mm; where the three slices meet.
CENTRE = (4.0, 18.0, -22.0)
WINDOW = (1500, 1000)
PATIENCE_S = 120
HEADS = 6
# Blurred, noisy and scattered, unlike the bundled model's.
SCANNER = {"fwhm_mm": 8.0, "counts": 2.5e5, "scatter_fraction": 0.4}
# Fine-tuned for so many before the picture is taken: some minutes.
EPOCHS = 4
TRAINING_S = 1200


def main(folder: Path) -> None:
    """Go through the panels as a user does, with a picture at each station."""
    from Host.host import start

    folder.mkdir(parents=True, exist_ok=True)
    host = start()
    import slicer

    host.main_window.resize(*WINDOW)
    widget = host.open_module(MODULE / "UncertaintyGuidedI2I.py")
    pet = slicer.util.loadVolume(str(SAMPLES / "sample_nacpet.nrrd"))
    ct = slicer.util.loadVolume(str(SAMPLES / "sample_ct.nrrd"))
    pet.SetName("NAC-PET")
    ct.SetName("CT")
    choices = widget.logic.getParameterNode()
    choices.translate.inputVolume = pet

    translate = widget.translatePanel
    translate.ui.cardButton.collapsed = False
    translate.ui.cardBrowser.minimumHeight = 540
    translate.ui.applyButton.click()
    host.wait_until(lambda: "phase 3" in translate.ui.statusLabel.text.lower() or not translate.isBusy, PATIENCE_S)
    slicer.util.setSliceViewerLayers(background=pet)
    jump_to(slicer)
    host.screenshot(host.main_window, folder / "translate.png")
    host.wait_until(lambda: not translate.isBusy, PATIENCE_S)

    show_tab(widget, 1)
    choices.inspect.anatomy = "translated image"
    choices.inspect.showOverlay = True
    wait(host)
    jump_to(slicer)
    # The skull on the patient's left.
    host.point(slicer.app.layoutManager().sliceWidget("Red").sliceView(), 366, 300)
    wait(host)
    host.screenshot(host.main_window, folder / "inspect.png")

    widget.inspectPanel.ui.comparisonButton.click()
    wait(host, 3)
    jump_to(slicer)
    wait(host)
    host.screenshot(host.main_window, folder / "comparison.png")
    widget.inspectPanel.ui.comparisonButton.click()

    show_tab(widget, 2)
    choices.check.reference = ct
    check = widget.checkPanel
    check.ui.compareButton.click()
    host.wait_until(lambda: check.ui.figuresTable.rowCount > 0, PATIENCE_S)
    check.ui.showErrorButton.click()
    wait(host)
    check.ui.showChartButton.click()
    wait(host)
    jump_to(slicer)
    wait(host)
    host.screenshot(host.main_window, folder / "check.png")

    with tempfile.TemporaryDirectory() as scratch:
        photograph_training(host, widget, Path(scratch), folder / "train.png")
    host.quit()


def photograph_training(host: Any, widget: Any, scratch: Path, picture: Path) -> None:
    """Fine-tune the bundled model on a few heads of another scanner; chart and preview stand beside the panel."""
    from upgan.simulation.dataset import simulate_pet_ct_pairs
    from upgan.simulation.pet import Scanner

    os.environ["UPGAN_RUNS"] = str(scratch / "runs")
    simulate_pet_ct_pairs(HEADS, scratch / "heads", seed=1, scanner=Scanner(**SCANNER))
    show_tab(widget, 3)
    ui, choices = widget.trainPanel.ui, widget.logic.getParameterNode().train
    choices.folder = scratch / "heads"
    choices.name = "our-scanner"
    choices.device = "cpu"
    ui.baseSelector.currentIndex = ui.baseSelector.findData("pet-ct-phantom")
    ui.baseSelector.activated.emit(ui.baseSelector.currentIndex)
    ui.checkButton.click()
    host.wait_until(lambda: ui.pairsTable.rowCount > 0, PATIENCE_S)
    wait(host)
    ui.modelButton.collapsed = True
    ui.startButton.click()
    host.wait_until(lambda: ui.showPreviewButton.enabled, TRAINING_S)
    ui.chartSelector.currentIndex = ui.chartSelector.findData("validation")
    ui.showChartButton.click()
    ui.showPreviewButton.click()
    ui.livePreviewCheckBox.checked = True
    history = widget.trainPanel.results.history
    host.wait_until(lambda: len(history.validations) > EPOCHS, TRAINING_S)
    wait(host)
    host.screenshot(host.main_window, picture)
    ui.pauseButton.click()
    host.wait_until(lambda: ui.pauseButton.text == "Resume", PATIENCE_S)


def show_tab(widget: Any, index: int) -> None:
    widget.ui.panels.currentIndex = index


def jump_to(slicer: Any) -> None:
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        node.JumpSliceByOffsetting(*CENTRE)


def wait(host: Any, seconds: float = 1.0) -> None:
    """Let everything be computed and drawn that was asked for."""
    end = time.monotonic() + seconds
    host.wait_until(lambda: time.monotonic() > end, seconds + 5)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
