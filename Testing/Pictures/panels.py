"""Photographs the panels on the bundled sample, beside real slice views, on the test host (Testing/Host).

Every map of Inspect, the comparison and the error map are photographed at two sizes of the window, to be judged; the
legends are drawn by Slicer itself. ``--without-training`` leaves out the picture that takes minutes.

Usage: python panels.py FOLDER [--without-training]
"""

import argparse
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
WINDOW = (1600, 1000)
SMALL_WINDOW = (1280, 800)
PATIENCE_S = 120
HEADS = 6
# Blurred, noisy and scattered, unlike the bundled model's.
SCANNER = {"filter_mm": 8.0, "counts": 2.5e5, "scatter_fraction": 0.4}
# Fine-tuned for so many before the picture is taken: some minutes.
EPOCHS = 4
TRAINING_S = 1200


def main(folder: Path, training: bool) -> None:
    """Go through the panels as a user does, with a picture at each station."""
    from Host.host import start

    folder.mkdir(parents=True, exist_ok=True)
    host = start()
    import slicer

    from Host.overlay import Overlay

    Overlay.draws_legends = True

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
    choices.translate.epistemic = True
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
    photograph_maps(host, widget, folder)

    widget.inspectPanel.ui.comparisonButton.click()
    wait(host, 3)
    photograph_sizes(host, folder, "comparison")
    widget.inspectPanel.ui.comparisonButton.click()
    wait(host)
    choices.inspect.showOverlay = False
    wait(host)

    show_tab(widget, 2)
    choices.check.reference = ct
    check = widget.checkPanel
    check.ui.compareButton.click()
    host.wait_until(lambda: check.ui.figuresTable.rowCount > 0, PATIENCE_S)
    check.ui.showErrorButton.click()
    wait(host)
    photograph_sizes(host, folder, "error")
    check.ui.showChartButton.click()
    wait(host)
    jump_to(slicer)
    wait(host)
    host.screenshot(host.main_window, folder / "check.png")

    if training:
        with tempfile.TemporaryDirectory() as scratch:
            photograph_training(host, widget, Path(scratch), folder)
    host.quit()


def photograph_maps(host: Any, widget: Any, folder: Path) -> None:
    """Lay each map over the anatomy in turn; the last is the one that was there."""
    choices = widget.logic.getParameterNode()
    before = choices.inspect.overlay
    selector = widget.inspectPanel.ui.overlaySelector
    maps = [selector.itemText(index) for index in range(selector.count)]
    for name in [*(name for name in maps if name != before), before]:
        widget.logic.getParameterNode().inspect.overlay = name
        wait(host, 2)
        photograph_sizes(host, folder, name.replace(" ", "-"))


def photograph_sizes(host: Any, folder: Path, name: str) -> None:
    """Photograph the window as it is, large and small."""
    for size in (SMALL_WINDOW, WINDOW):
        host.main_window.resize(*size)
        wait(host)
        host.screenshot(host.main_window, folder / f"{name}-{size[0]}x{size[1]}.png")


def photograph_training(host: Any, widget: Any, scratch: Path, folder: Path) -> None:
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
    photograph_sizes(host, folder, "train")
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--without-training", action="store_true")
    options = parser.parse_args()
    main(options.folder, not options.without_training)
