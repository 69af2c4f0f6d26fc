"""What a slice view shows: the picture of Slicer's own slice logic, and what stands around it."""

from __future__ import annotations

from typing import Any

import numpy as np
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
