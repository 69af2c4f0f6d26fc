"""The Inspect panel's read-out: the values under the cursor, as fast as anyone reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from UncertaintyGuidedI2ILib.inspection.overlays import Overlay
from UncertaintyGuidedI2ILib.inspection.readout import readingsAt, voxelAt
from UncertaintyGuidedI2ILib.inspection.tables import clearTable, fillReadings
from UncertaintyGuidedI2ILib.inspection.text import noResultText
from UncertaintyGuidedI2ILib.scene.results import Result

# The cursor moves faster than anyone reads.
PAUSE_MS = 40


class ReadoutSection(VTKObservationMixin):
    """Reads every phase where the cursor is in a slice view, or at the crosshair when it is moved otherwise.

    Args:
        ui: Widgets of InspectPanel.ui.
        current: Returns the result to read and the overlay with interval and threshold; None where there is no result.
    """

    def __init__(self, ui: Any, current: Callable[[], tuple[Result, Overlay] | None]) -> None:
        VTKObservationMixin.__init__(self)
        self.ui = ui
        self._current = current
        self._point: list[float] | None = None
        self._crosshair: tuple[float, ...] = ()
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.interval = PAUSE_MS
        self._timer.timeout.connect(self.show)
        ui.readoutTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)

    def observe(self) -> None:
        """Follow the cursor; nothing happens where that is so already."""
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        events = (slicer.vtkMRMLCrosshairNode.CursorPositionModifiedEvent, vtk.vtkCommand.ModifiedEvent)
        for event in events if crosshair is not None else ():
            if not self.hasObserver(crosshair, event, self._onCrosshair):
                self.addObserver(crosshair, event, self._onCrosshair)

    def forget(self) -> None:
        """Forget where it was read."""
        self._timer.stop()
        self._point = None

    def stop(self) -> None:
        """Let go of the crosshair."""
        self.forget()
        self.removeObservers()

    @property
    def isPending(self) -> bool:
        """Whether the cursor has moved since it was read."""
        return self._timer.active

    def show(self) -> None:
        """Show the values; those of the last voxel stay when the cursor leaves the view."""
        current, table, label = self._current(), self.ui.readoutTable, self.ui.readoutLabel
        if current is None or self._point is None:
            clearTable(table)
            label.text = _("Move the cursor over a slice view.") if current else noResultText()
            return
        result, overlay = current
        readings = readingsAt(result, self._point, overlay)
        voxel = voxelAt(next(iter(result.nodes.values())), self._point)
        if readings is None or voxel is None:
            clearTable(table)
            label.text = _("Outside the result.")
            return
        where = "  ".join(
            f"{ends[value >= 0]} {abs(value):.1f}" for ends, value in zip(("LR", "PA", "IS"), self._point, strict=True)
        )
        label.text = _("{where} mm, voxel ({i}, {j}, {k})").format(where=where, i=voxel[2], j=voxel[1], k=voxel[0])
        fillReadings(table, readings, result, overlay)

    def _onCrosshair(self, crosshair: Any, event: Any) -> None:
        ras = [0.0, 0.0, 0.0]
        placed = tuple(crosshair.GetCrosshairRAS())
        if crosshair.GetCursorPositionRAS(ras):
            self._point = ras
        elif placed != self._crosshair:
            self._point = list(placed)
        self._crosshair = placed
        if not self._timer.active:
            self._timer.start()
