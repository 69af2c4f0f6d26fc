"""Renders slice views of a saved scene through Slicer's own slice pipeline; run as a process of its own.

VTK ends the whole process where no OpenGL library can be loaded, so nobody should render where a crash would hurt.

Usage: python slice_renderer.py REQUEST.json RESULT.npz
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

ORIENTATIONS = ("Axial", "Coronal", "Sagittal")
VIEW_NAMES = dict(zip(ORIENTATIONS, ("Red", "Green", "Yellow"), strict=True))


def check_opengl() -> None:
    """Draw a single pixel's worth: it works, or the process ends here."""
    import vtk

    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(8, 8)
    window.AddRenderer(vtk.vtkRenderer())
    window.Render()
    window.Finalize()


def render(request: dict[str, Any]) -> dict[str, np.ndarray]:
    """Render every column of every orientation.

    Args:
        request: ``scene`` (path), ``columns`` (a list of background, foreground and opacity; node IDs),
            ``middle`` of the views and ``centre``, where the slices meet (RAS, mm), ``sizes_mm`` (width and height
            of the views by orientation) and ``pixels_per_mm``.

    Returns:
        Pictures [H, W, 3] uint8 as ``<orientation>/<column>``, and ``<orientation>/axes``: [2, 3], where the
        picture's right and upper edges point to in RAS.
    """
    import slicer
    from trame_slicer.core import SlicerApp
    from trame_slicer.views import DirectViewFactory, ViewLayoutDefinition

    app = SlicerApp()
    # A scene with a node type that nobody registered is not read.
    app.scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    if not app.io_manager.load_scene(request["scene"]):
        raise OSError(f"cannot read {request['scene']}")
    app.view_manager.register_factory(DirectViewFactory(do_render_offscreen=True))
    pictures = {}
    for orientation in ORIENTATIONS:
        definition = ViewLayoutDefinition.slice_view(orientation, label=VIEW_NAMES[orientation])
        view = app.view_manager.create_view(definition)
        # Each change would otherwise be rendered at once.
        view.set_render_blocked(True)
        place(view, request["sizes_mm"][orientation], request["pixels_per_mm"], request["middle"])
        view.get_view_node().JumpSliceByOffsetting(*request["centre"])
        pictures[f"{orientation}/axes"] = screen_axes(view)
        for column, (background, foreground, opacity) in enumerate(request["columns"]):
            view.set_background_volume_id(background)
            view.set_foreground_volume_id(foreground)
            view.set_foreground_opacity(opacity)
            pictures[f"{orientation}/{column}"] = picture_of(view.render_window())
    return pictures


def place(view: Any, size_mm: tuple[float, float], pixels_per_mm: float, middle: tuple[float, float, float]) -> None:
    """Let a view show a rectangle of a size in mm around a point in RAS."""
    width, height = (max(1, round(length * pixels_per_mm)) for length in size_mm)
    view.render_window().SetSize(width, height)
    node = view.get_view_node()
    node.SetDimensions(width, height, 1)
    node.SetFieldOfView(width / pixels_per_mm, height / pixels_per_mm, node.GetFieldOfView()[2])
    node.SetXYZOrigin(0, 0, 0)
    node.JumpSliceByCentering(*middle)


def screen_axes(view: Any) -> np.ndarray:
    """Return where a view's right and upper edges point to in RAS, [2, 3]."""
    matrix = view.get_view_node().GetSliceToRAS()
    return np.array([[matrix.GetElement(row, axis) for row in range(3)] for axis in range(2)])


def picture_of(window: Any) -> np.ndarray:
    """Render a window and return its pixels [H, W, 3], first row on top."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    window.Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.ReadFrontBufferOff()
    grabber.Update()
    image = grabber.GetOutput()
    width, height, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
    return pixels[::-1, :, :3].copy()


def main(request: Path, result: Path) -> None:
    """Answer a request; ``RESULT.npz.opengl`` appears as soon as OpenGL is known to work."""
    check_opengl()
    result.with_suffix(".opengl").touch()
    np.savez(result, **render(json.loads(request.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
