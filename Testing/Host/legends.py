"""The colour legends of one slice view, kept by Slicer's own displayable manager: it alone says which are shown.

Slicer's manager looks at a legend when the legend changes, and not when a script changes the view's layers: a legend
that was made before its volume was shown stays away, and one whose volume was taken out of the view stays there. It
needs no OpenGL to decide; to draw takes OpenGL (see ``Host.overlay``), and where there is none the host draws alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

MANAGER = "vtkMRMLColorLegendDisplayableManager"
BAR_COLORS = 128


@dataclass(frozen=True)
class Legend:
    """A colour legend as it is drawn.

    Attributes:
        title: With the unit, in lines.
        colors: From the lowest to the highest, [N, 3] uint8.
        low: Value of the lowest colour.
        high: Value of the highest colour.
        labels: Texts at equal distances from the lowest to the highest.
    """

    title: str
    colors: np.ndarray
    low: float
    high: float
    labels: tuple[str, ...]

    @classmethod
    def of(cls, actor: Any) -> Legend:
        """Return what Slicer's actor draws: its labels divide the range evenly, whatever their format makes of it."""
        table = actor.GetLookupTable()
        low, high = table.GetRange()
        values = vtk.vtkDoubleArray()
        for value in np.linspace(low, high, BAR_COLORS):
            values.InsertNextValue(value)
        colors = vtk_to_numpy(table.MapScalars(values, vtk.VTK_COLOR_MODE_MAP_SCALARS, -1))[:, :3].copy()
        count = actor.GetNumberOfLabels()
        shares = [index / (count - 1) for index in range(count)] if count > 1 else [0.5] * count
        labels = tuple(actor.GetLabelFormat() % (low + share * (high - low)) for share in shares)
        return cls(actor.GetTitle(), colors, low, high, labels)


class ViewLegends:
    """Which legends a slice view shows.

    Args:
        node: The view's slice node; the application logic knows its slice logic already.
        app_logic: The application logic.
    """

    def __init__(self, node: Any, app_logic: Any) -> None:
        self._node = node
        # Never rendered, so that no OpenGL library is needed.
        self._window = vtk.vtkGenericOpenGLRenderWindow()
        renderer = vtk.vtkRenderer()
        self._window.AddRenderer(renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        if not factory.IsDisplayableManagerRegistered(MANAGER):
            factory.RegisterDisplayableManager(MANAGER)
        group = slicer.vtkMRMLDisplayableManagerGroup
        self.manager = group.InstantiateDisplayableManager(MANAGER)
        # Without it the manager does not find the view's layers, and never shows a legend.
        self.manager.SetMRMLApplicationLogic(app_logic)
        self._group = group()
        self._group.SetRenderer(renderer)
        self._group.AddDisplayableManager(self.manager)
        self._group.SetMRMLDisplayableNode(node)

    def actors(self) -> list[Any]:
        """Return the actors of the legends that are shown."""
        scene = self._node.GetScene()
        if scene is None:
            return []
        count = scene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode")
        nodes = [scene.GetNthNodeByClass(index, "vtkMRMLColorLegendDisplayNode") for index in range(count)]
        actors = [self.manager.GetColorLegendActor(node) for node in nodes]
        return [actor for actor in actors if actor is not None and actor.GetVisibility() and actor.GetLookupTable()]

    def shown(self) -> list[Legend]:
        """Return the legends that are shown."""
        return [Legend.of(actor) for actor in self.actors()]

    def close(self) -> None:
        """Let go of the scene."""
        self._group.SetMRMLDisplayableNode(None)
