"""What a slice view shows: the picture of Slicer's own slice logic, and what stands around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from PySide6.QtGui import QImage
from vtk.util.numpy_support import vtk_to_numpy

POSITIVE, NEGATIVE = "RAS", "LPI"


def picture(logic: Any) -> QImage | None:
    """Return the blended layers as a picture, first row on top; None if nothing is shown.

    Slicer's slice logic reslices, windows, colours and blends without OpenGL; only segmentations, markups and the like
    are drawn by others.
    """
    connection = logic.GetImageDataConnection()
    if connection is None:
        return None
    connection.GetProducer().Update()
    image = connection.GetProducer().GetOutputDataObject(0)
    width, height, _ = image.GetDimensions()
    if width * height == 0 or image.GetPointData().GetScalars() is None:
        return None
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1]
    pixels = np.ascontiguousarray(np.dstack([pixels[..., :3], np.full((height, width), 255, np.uint8)]))
    pixels[image_alpha(image) == 0] = (0, 0, 0, 255)
    return QImage(pixels.data, width, height, 4 * width, QImage.Format_RGBA8888).copy()


def image_alpha(image: Any) -> np.ndarray:
    """Return the opacity of each pixel [H, W], first row on top."""
    width, height, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1]
    return pixels[..., 3] if pixels.shape[2] == 4 else np.full((height, width), 255, np.uint8)


def directions(node: Any) -> tuple[str, str, str, str]:
    """Return the patient directions at the left, right, top and bottom of a slice node's view."""
    matrix = node.GetSliceToRAS()
    names = []
    for axis in range(2):
        column = [matrix.GetElement(row, axis) for row in range(3)]
        row = int(np.argmax(np.abs(column)))
        ends = (NEGATIVE[row], POSITIVE[row])
        names.append(ends if column[row] > 0 else ends[::-1])
    return names[0][0], names[0][1], names[1][1], names[1][0]


def position_text(node: Any) -> str:
    """Return where a slice lies, e.g. ``S: 12.5 mm``."""
    matrix = node.GetSliceToRAS()
    normal = [matrix.GetElement(row, 2) for row in range(3)]
    row = int(np.argmax(np.abs(normal)))
    offset = matrix.GetElement(row, 3)
    return f"{POSITIVE[row] if offset >= 0 else NEGATIVE[row]}: {abs(offset):.1f} mm"


def ras_at(node: Any, x: float, y: float) -> tuple[float, float, float]:
    """Return the point under a pixel of the view, y from the top, in RAS (mm)."""
    height = node.GetDimensions()[1]
    return node.GetXYToRAS().MultiplyPoint((x, height - 1 - y, 0, 1))[:3]


@dataclass(frozen=True)
class Legend:
    """A colour legend as it is to be drawn.

    Attributes:
        title: With the unit.
        colors: From the lowest to the highest, [N, 3] uint8.
        low: Value of the lowest colour.
        high: Value of the highest colour.
    """

    title: str
    colors: np.ndarray
    low: float
    high: float


def legend_of(volume: Any, view_id: str) -> Legend | None:
    """Return a volume's colour legend, or None if it has none or hides it in this view."""
    if volume is None or volume.GetDisplayNode() is None:
        return None
    node = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume)
    if node is None or not node.GetVisibility() or not node.IsDisplayableInView(view_id):
        return None
    display = volume.GetDisplayNode()
    colors = colors_of(display.GetColorNode())
    if colors is None:
        return None
    title = node.GetTitleText() or volume.GetName()
    return Legend(title, colors, display.GetWindowLevelMin(), display.GetWindowLevelMax())


def colors_of(node: Any, count: int = 128) -> np.ndarray | None:
    """Return a colour node's colours, evenly over its range, [N, 3] uint8."""
    function = node.GetScalarsToColors() if node is not None else None
    if function is None:
        return None
    low, high = function.GetRange()
    values = vtk.vtkDoubleArray()
    for value in np.linspace(low, high, count):
        values.InsertNextValue(value)
    return vtk_to_numpy(function.MapScalars(values, vtk.VTK_COLOR_MODE_MAP_SCALARS, -1))[:, :3].copy()
