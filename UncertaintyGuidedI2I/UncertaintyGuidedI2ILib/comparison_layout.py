"""Input, translated image, sigma and probability beside each other, in linked views of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import slicer

# Slicer's own layouts are below 100, and 501 and more are advised to extensions.
LAYOUT_ID = 52107
# Linked views move together with those of their group: Red, Green and Yellow are in group 0 and stay as they are.
VIEW_GROUP = 52107
PREFIX = "UGI2I-"
# By what is shown in them; the view's name is also its layout name.
VIEWS = {"input": "UGI2I-Input", "image": "UGI2I-Image", "sigma": "UGI2I-Sigma", "probability": "UGI2I-Probability"}
COLORS = {"input": "#8A8A8A", "image": "#C9A227", "sigma": "#D1495B", "probability": "#1C8C8C"}


def isComparisonView(layoutName: str | None) -> bool:
    """Return whether a slice view is one of the comparison's."""
    return (layoutName or "").startswith(PREFIX)


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
) -> int:
    """Switch to the comparison; no other view changes.

    Args:
        volumes: What to show by the keys of ``VIEWS``; a view whose volume is missing stays empty.
        labels: What the views are called, by the same keys.
        applicationLogic: Knows the views' logics, which fit them to their volumes.

    Returns:
        The layout that was there before.

    Raises:
        RuntimeError: This scene has no layouts.
    """
    scene = next(iter(volumes.values())).GetScene()
    layout = registerLayout(scene)
    if layout is None:
        raise RuntimeError("The scene has no layout node.")
    before = layout.GetViewArrangement()
    layout.SetViewArrangement(LAYOUT_ID)
    fillComparison(scene, volumes, labels)
    for quantity, name in VIEWS.items():
        logic = applicationLogic.GetSliceLogicByLayoutName(name)
        if logic is not None and quantity in volumes:
            logic.FitSliceToBackground()
    _goWhereTheUserIs(scene)
    return before


def fillComparison(
    scene: slicer.vtkMRMLScene, volumes: Mapping[str, slicer.vtkMRMLScalarVolumeNode], labels: Mapping[str, str]
) -> None:
    """Put volumes and names into the comparison's views, which stay where they are; see ``showComparison``."""
    composites = dict(_composites(scene))
    for quantity, name in VIEWS.items():
        view = scene.GetNodeByID(f"vtkMRMLSliceNode{name}")
        if view is not None:
            view.SetViewGroup(VIEW_GROUP)
            view.SetLayoutLabel(labels[quantity])
        if name in composites:
            _fill(composites[name], volumes.get(quantity))


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


def _goWhereTheUserIs(scene: slicer.vtkMRMLScene) -> None:
    """Show the slice that the axial view shows."""
    red = scene.GetNodeByID("vtkMRMLSliceNodeRed")
    if red is None:
        return
    matrix = red.GetSliceToRAS()
    for name in VIEWS.values():
        view = scene.GetNodeByID(f"vtkMRMLSliceNode{name}")
        view.JumpSliceByOffsetting(*(matrix.GetElement(row, 3) for row in range(3)))


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
