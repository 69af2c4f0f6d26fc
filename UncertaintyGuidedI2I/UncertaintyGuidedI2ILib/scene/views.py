"""Slice views: fitted to what they show without leaving the slice that the user is at."""

from __future__ import annotations

import slicer

# Of the corners of two volumes that lie in one place.
SAME_PLACE_MM = 0.1


def fitView(logic: slicer.vtkMRMLSliceLogic, offset: float | None) -> None:
    """Fit a slice view to its background, without leaving the slice where the user is.

    Args:
        logic: The slice logic of the view.
        offset: The offset of that slice, mm along the view's normal. The middle of the background is shown where it is
            None or lies outside.
    """
    logic.FitSliceToBackground()
    if offset is not None:
        bounds = [0.0] * 6
        logic.GetLowestVolumeSliceBounds(bounds)
        if bounds[4] <= offset <= bounds[5]:
            logic.SetSliceOffset(offset)


def areInOnePlace(one: slicer.vtkMRMLNode | None, other: slicer.vtkMRMLVolumeNode) -> bool:
    """Return whether two volumes fill the same box of the patient."""
    if one is None or not one.IsA("vtkMRMLVolumeNode"):
        return False
    boxes = [[0.0] * 6, [0.0] * 6]
    for node, box in zip((one, other), boxes, strict=True):
        node.GetRASBounds(box)
    return all(abs(first - second) < SAME_PLACE_MM for first, second in zip(*boxes, strict=True))


PREFIX = "UGI2I-"


def isComparisonView(layoutName: str | None) -> bool:
    """Return whether a slice view is one of the comparison's."""
    return (layoutName or "").startswith(PREFIX)
