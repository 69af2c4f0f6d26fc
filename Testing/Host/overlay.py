"""What lies over a slice, drawn by Slicer itself where OpenGL works: segmentations, markups and colour legends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import slicer
import vtk
from PySide6.QtGui import QImage
from vtk.util.numpy_support import vtk_to_numpy

from Host.legends import ViewLegends

OVERLAID = ("vtkMRMLSegmentationNode", "vtkMRMLMarkupsNode")
MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D", "vtkMRMLMarkupsDisplayableManager")

# Of a usual screen; Slicer tells VTK that of the screen it is on.
DOTS_PER_INCH = 96

DRAW_ONE_PIXEL = """
import vtk
window = vtk.vtkRenderWindow()
window.SetOffScreenRendering(1)
window.SetSize(8, 8)
window.AddRenderer(vtk.vtkRenderer())
window.Render()
"""


@cache
def opengl_works() -> bool:
    """Whether something can be rendered, found out in a process of its own: VTK ends the process where it cannot."""
    command = [sys.executable, "-c", DRAW_ONE_PIXEL]
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0


class Overlay:
    """What lies over one slice view's volumes.

    Attributes:
        draws_legends: Whether legends are drawn by Slicer itself, for pictures to be judged. It takes some 50 ms a
            picture without a graphics card, so that tests have the view draw a likeness; which legends there are is
            Slicer's decision in either case.
    """

    draws_legends = False

    def __init__(self, node: Any, app_logic: Any) -> None:
        self._node, self._app_logic = node, app_logic
        self.legends = ViewLegends(node, app_logic)
        self._legend_renderer: Any = None
        self._window: Any = None
        self._group: Any = None
        self._changed: Callable[[], None] = lambda: None

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call a function when what is shown has changed."""
        self._changed = changed

    def picture(self) -> QImage | None:
        """Return the overlay, first row on top; None if there is nothing to draw or nothing to draw with."""
        if not self._is_needed() or not opengl_works():
            return None
        if self._window is None:
            self._make_window()
        self._legend_renderer.RemoveAllViewProps()
        for actor in self.legends.actors() if self.draws_legends else ():
            self._legend_renderer.AddViewProp(actor)
        width, height, _ = self._node.GetDimensions()
        self._window.SetSize(width, height)
        self._window.Render()
        values = vtk.vtkUnsignedCharArray()
        self._window.GetRGBACharPixelData(0, 0, width - 1, height - 1, 0, values)
        pixels = np.ascontiguousarray(vtk_to_numpy(values).reshape(height, width, 4)[::-1])
        return QImage(pixels.data, width, height, 4 * width, QImage.Format_RGBA8888_Premultiplied).copy()

    def draws(self) -> bool:
        """Return whether the picture holds the legends."""
        return self.draws_legends and opengl_works()

    def _is_needed(self) -> bool:
        scene = self._node.GetScene()
        if scene is None:
            return False
        overlaid = any(scene.GetNumberOfNodesByClass(name) for name in OVERLAID)
        return overlaid or (self.draws_legends and bool(self.legends.actors()))

    def _make_window(self) -> None:
        renderer = vtk.vtkRenderer()
        renderer.GetActiveCamera().ParallelProjectionOn()
        renderer.SetBackgroundAlpha(0)
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetAlphaBitPlanes(1)
        self._window.SetDPI(DOTS_PER_INCH)
        self._window.SetNumberOfLayers(2)
        self._window.AddRenderer(renderer)
        self._legend_renderer = vtk.vtkRenderer()
        self._legend_renderer.SetLayer(1)
        self._window.AddRenderer(self._legend_renderer)
        interactor = vtk.vtkRenderWindowInteractor()
        interactor.SetRenderWindow(self._window)
        interactor.Initialize()
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(self._app_logic)
        for name in MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(renderer)
        for name in MANAGERS:
            self._group.AddDisplayableManager(slicer.vtkMRMLDisplayableManagerGroup.InstantiateDisplayableManager(name))
        self._group.SetMRMLDisplayableNode(self._node)
        self._group.AddObserver("UpdateEvent", lambda caller, event: self._changed())
