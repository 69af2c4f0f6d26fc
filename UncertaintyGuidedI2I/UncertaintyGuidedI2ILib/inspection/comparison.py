"""Input, translated image, sigma and probability beside each other, in linked views of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import slicer

from UncertaintyGuidedI2ILib.scene.legends import refreshLegends
from UncertaintyGuidedI2ILib.scene.views import fitView, isComparisonView

# Slicer's own layouts are below 100, and 501 and more are advised to extensions.
LAYOUT_ID = 52107
# Linked views move together with those of their group: Red, Green and Yellow are in group 0 and stay as they are.
VIEW_GROUP = 52107
# By what is shown in them; the view's name is also its layout name.
VIEWS = {"input": "UGI2I-Input", "image": "UGI2I-Image", "sigma": "UGI2I-Sigma", "probability": "UGI2I-Probability"}
COLORS = {"input": "#8A8A8A", "image": "#C9A227", "sigma": "#D1495B", "probability": "#1C8C8C"}


# Of a slice whose normal is the patient's axis, up to a degree or so.
PARALLEL = 0.9998


@dataclass(frozen=True)
class Opened:
    """What the comparison was opened from.

    Attributes:
        layout: The layout that was there before.
        point: Where the user was, RAS in mm; None where no view says so.
    """

    layout: int
    point: tuple[float, float, float] | None


def registerLayout(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLLayoutNode | None:
    """Make the layout known, so that a scene saved in it opens in it; return None where there are no layouts."""
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if layout is not None and not layout.IsLayoutDescription(LAYOUT_ID):
        layout.AddLayoutDescription(LAYOUT_ID, _description())
    return layout


def isComparisonShown(scene: slicer.vtkMRMLScene) -> bool:
    """Return whether the comparison is on the screen now."""
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    return layout is not None and layout.GetViewArrangement() == LAYOUT_ID


def showComparison(
    volumes: Mapping[str, slicer.vtkMRMLScalarVolumeNode],
    labels: Mapping[str, str],
    applicationLogic: slicer.vtkMRMLApplicationLogic,
) -> Opened:
    """Switch to the comparison, at the slice that the user is at; no other view changes.

    Args:
        volumes: What to show by the keys of ``VIEWS``; a view whose volume is missing stays empty.
        labels: What the views are called, by the same keys.
        applicationLogic: Knows the views' logics, which fit them to their volumes.

    Returns:
        What was there before. Views that have just been made get their size only when the application draws them:
        ``placeComparison`` is to be called again then.

    Raises:
        RuntimeError: This scene has no layouts.
    """
    scene = next(iter(volumes.values())).GetScene()
    layout = registerLayout(scene)
    if layout is None:
        raise RuntimeError("The scene has no layout node.")
    opened = Opened(layout.GetViewArrangement(), _placeOfUser(scene))
    layout.SetViewArrangement(LAYOUT_ID)
    fillComparison(scene, volumes, labels)
    placeComparison(opened.point, applicationLogic)
    return opened


def placeComparison(point: tuple[float, float, float] | None, applicationLogic: slicer.vtkMRMLApplicationLogic) -> None:
    """Fit the comparison's views to what they show, at the slice through a point.

    Args:
        point: A point in RAS, mm; the middle is shown where it is None or lies outside.
        applicationLogic: Knows the views' logics.
    """
    for name in VIEWS.values():
        logic = applicationLogic.GetSliceLogicByLayoutName(name)
        if logic is not None:
            fitView(logic, _offset(logic.GetSliceNode(), point) if point is not None else None)


def fillComparison(
    scene: slicer.vtkMRMLScene, volumes: Mapping[str, slicer.vtkMRMLScalarVolumeNode], labels: Mapping[str, str]
) -> None:
    """Put volumes and names, as in ``showComparison``, into the comparison's views, which stay where they are."""
    composites = dict(_composites(scene))
    for quantity, name in VIEWS.items():
        view = scene.GetNodeByID(f"vtkMRMLSliceNode{name}")
        if view is not None:
            view.SetViewGroup(VIEW_GROUP)
            view.SetLayoutLabel(labels[quantity])
        if name in composites:
            _fill(composites[name], volumes.get(quantity))
    refreshLegends(scene)


def leaveComparison(scene: slicer.vtkMRMLScene, before: int) -> None:
    """Switch back to the layout that was there before the comparison; nothing happens where the user already left."""
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if isComparisonShown(scene):
        known = before != LAYOUT_ID and layout.IsLayoutDescription(before)
        layout.SetViewArrangement(before if known else layout.SlicerLayoutFourUpView)


def _fill(composite: slicer.vtkMRMLSliceCompositeNode, volume: slicer.vtkMRMLScalarVolumeNode | None) -> None:
    with slicer.util.NodeModify(composite):
        # Linked only afterwards: while linked, a change of one view's volume can be one of all.
        composite.SetLinkedControl(False)
        composite.SetBackgroundVolumeID(volume.GetID() if volume else None)
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(None)
    composite.SetLinkedControl(True)
    composite.SetHotLinkedControl(True)


def _composites(scene: slicer.vtkMRMLScene) -> Iterator[tuple[str, Any]]:
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode")
        if isComparisonView(composite.GetLayoutName()):
            yield composite.GetLayoutName(), composite


def _placeOfUser(scene: slicer.vtkMRMLScene) -> tuple[float, float, float] | None:
    """Return a point of the axial slice that the user looks at: of a view on the screen rather than of one that is not.

    Where no view is axial the crosshair says where the user is, if it has been placed.
    """
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")
    views = [scene.GetNthNodeByClass(i, "vtkMRMLSliceNode") for i in range(count)]
    axial = [view for view in views if not isComparisonView(view.GetLayoutName()) and _isAxial(view)]
    if axial:
        matrix = min(axial, key=lambda view: not view.IsMappedInLayout()).GetSliceToRAS()
        return matrix.GetElement(0, 3), matrix.GetElement(1, 3), matrix.GetElement(2, 3)
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    r, a, s = crosshair.GetCrosshairRAS() if crosshair is not None else (0.0, 0.0, 0.0)
    return (r, a, s) if (r, a, s) != (0.0, 0.0, 0.0) else None


def _isAxial(view: slicer.vtkMRMLSliceNode) -> bool:
    return abs(view.GetSliceToRAS().GetElement(2, 2)) > PARALLEL


def _offset(view: slicer.vtkMRMLSliceNode, point: tuple[float, float, float]) -> float:
    """Return where a point lies along a view's normal, mm."""
    matrix = view.GetSliceToRAS()
    return sum(matrix.GetElement(row, 2) * point[row] for row in range(3))


def _description() -> str:
    """Return the layout: two rows of two views, larger on a wide screen than four in a row."""
    views = [
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{quantity}</property>'
        f'<property name="viewcolor" action="default">{COLORS[quantity]}</property>'
        f'<property name="viewgroup" action="default">{VIEW_GROUP}</property></view></item>'
        for quantity, name in VIEWS.items()
    ]
    rows = (f'<item><layout type="horizontal">{"".join(row)}</layout></item>' for row in (views[:2], views[2:]))
    return f'<layout type="vertical">{"".join(rows)}</layout>'
