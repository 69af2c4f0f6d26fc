"""Hearing of changes of the nodes that are looked at now, and of no others any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
import vtk
from slicer.util import VTKObservationMixin


class NodeWatch(VTKObservationMixin):
    """Observes whatever nodes it was last told of.

    Args:
        onChanged: Called as an observer is, after each change of one of them.
        events: The events of nodes that count as a change.
    """

    def __init__(
        self, onChanged: Callable[[Any, Any], None], events: Sequence[int] = (vtk.vtkCommand.ModifiedEvent,)
    ) -> None:
        VTKObservationMixin.__init__(self)
        self._onChanged = onChanged
        self._events = events
        self._nodes: list[slicer.vtkMRMLNode] = []

    def follow(self, *nodes: slicer.vtkMRMLNode | None) -> None:
        """Observe these and no others; None is no node."""
        wanted = [node for node in nodes if node is not None]
        if wanted != self._nodes:
            self.removeObservers()
            for node in wanted:
                for event in self._events:
                    self.addObserver(node, event, self._onChanged)
            self._nodes = wanted
