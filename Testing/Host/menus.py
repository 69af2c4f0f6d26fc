"""The menu of the host's window: volumes, scenes and samples."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6.QtWidgets import QFileDialog, QMainWindow

SCENES = "Scenes (*.mrb *.mrml)"


def add_menus(window: QMainWindow) -> None:
    """Add the menus File, View and Sample data."""
    file_menu = window.menuBar().addMenu("&File")
    file_menu.addAction("Open volume…", slicer.util.openAddVolumeDialog)
    file_menu.addAction("Open scene…", lambda: _open_scene(window))
    file_menu.addAction("Save scene…", lambda: _save_scene(window))
    file_menu.addAction("Close scene", lambda: slicer.mrmlScene.Clear(0))
    file_menu.addSeparator()
    file_menu.addAction("Quit", window.close)
    view_menu = window.menuBar().addMenu("&View")
    layouts = slicer.vtkMRMLLayoutNode
    for name, layout in (
        ("Four-up", layouts.SlicerLayoutFourUpView),
        ("Conventional", layouts.SlicerLayoutConventionalView),
        ("Red slice only", layouts.SlicerLayoutOneUpRedSliceView),
        ("Red slice and plot", layouts.SlicerLayoutFourUpPlotView),
    ):
        view_menu.addAction(name, lambda layout=layout: slicer.app.layoutManager().setLayout(layout))
    view_menu.addAction("Fit slices", slicer.util.resetSliceViews)
    sample_menu = window.menuBar().addMenu("&Sample data")
    sample_menu.connect("aboutToShow()", lambda: _list_samples(sample_menu))


def _open_scene(window: QMainWindow) -> None:
    path = QFileDialog.getOpenFileName(window, "Open scene", "", SCENES)
    if path:
        slicer.util.loadScene(path)


def _save_scene(window: QMainWindow) -> None:
    path = QFileDialog.getSaveFileName(window, "Save scene", "", SCENES)
    if path:
        slicer.util.saveScene(path)


def _list_samples(menu: Any) -> None:
    import SampleData

    menu.clear()
    for source in SampleData.SampleDataLogic.sources:
        name = source["sampleName"]
        menu.addAction(name, lambda name=name: SampleData.SampleDataLogic().downloadSample(name))
