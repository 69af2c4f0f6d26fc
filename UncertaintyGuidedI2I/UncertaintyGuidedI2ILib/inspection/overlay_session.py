"""The overlay while it is on: made in the background, brought up to date, and taken off without a trace."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import slicer
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.inspection.overlays import (
    Overlay,
    ResultGoneError,
    hideLegends,
    overlayStepwise,
    restoreLayers,
)
from UncertaintyGuidedI2ILib.scene.display import showOverlay, sliceComposites
from UncertaintyGuidedI2ILib.scene.legends import showLegend
from UncertaintyGuidedI2ILib.scene.results import Result
from UncertaintyGuidedI2ILib.work.cooperative import Cooperative

# Translation, phase and map: what a volume shows.
Key = tuple[str, int, Overlay]


class OverlaySession:
    """Computes the wanted maps one after another; a map that is not wanted any more is not finished.

    Args:
        onChanged: Called after a map was finished or could not be made.
    """

    def __init__(self, onChanged: Callable[[], None]) -> None:
        self._onChanged = onChanged
        self._work: Cooperative[Any] | None = None
        self._working: Key | None = None
        # By quantity: what its volume shows, and the volume's ID.
        self._made: dict[str, tuple[Key, str]] = {}
        self._failed: set[Key] = set()
        # What the views were last told to show; what the user changes there afterwards is left alone.
        self._told: tuple[Any, ...] = ()
        # Titles of the legends that are shown, by the volume's ID.
        self._explained: dict[str, str] = {}

    def want(self, result: Result, overlays: list[Overlay]) -> None:
        """Begin with the first map that is not up to date; nothing happens where all of them are."""
        keys = [(result.translationID, result.phase, overlay) for overlay in overlays]
        if self._work is not None:
            if self._working in keys:
                return
            self.stop()
        for key, overlay in zip(keys, overlays, strict=True):
            if self.volume(result, overlay) is None and key not in self._failed:
                self._working = key
                self._work = Cooperative(
                    overlayStepwise(result, overlay), partial(self._finish, key), partial(self._fail, key)
                )
                return

    def stop(self) -> None:
        """Leave the map that is being made unfinished."""
        if self._work is not None:
            self._work.cancel()
        self._work = self._working = None

    @property
    def isWorking(self) -> bool:
        """Whether a map is being made."""
        return self._work is not None

    def volume(self, result: Result, overlay: Overlay) -> slicer.vtkMRMLScalarVolumeNode | None:
        """Return the volume that shows a map, where it is finished and still there."""
        key, nodeID = self._made.get(overlay.quantity, (None, ""))
        return result.scene.GetNodeByID(nodeID) if key == (result.translationID, result.phase, overlay) else None

    def isDeleted(self, result: Result, overlay: Overlay) -> bool:
        """Whether somebody deleted the volume of a map after it was finished."""
        key, nodeID = self._made.get(overlay.quantity, (None, ""))
        return key is not None and key[0] == result.translationID and result.scene.GetNodeByID(nodeID) is None

    def isReplaced(self, scene: slicer.vtkMRMLScene) -> bool:
        """Whether the map that was shown lies in no slice view any more: something else was shown there."""
        shown = (composite.GetForegroundVolumeID() for composite in sliceComposites(scene))
        return bool(self._told) and self._told[0] not in shown

    def show(
        self,
        result: Result,
        overlay: Overlay,
        anatomy: slicer.vtkMRMLScalarVolumeNode,
        opacity: float,
        applicationLogic: slicer.vtkMRMLApplicationLogic | None = None,
    ) -> bool:
        """Lay a finished map over the anatomy; nothing happens while it is not finished or shown already.

        Args:
            result: The result that the map belongs to.
            overlay: The map.
            anatomy: The volume that the map lies on.
            opacity: The map's opacity, from 0 to 1.
            applicationLogic: What ``scene.display.showOverlay`` needs to fit views to the anatomy.

        Returns:
            Whether the map is there now.
        """
        node = self.volume(result, overlay)
        if node is None:
            return False
        told = (node.GetID(), anatomy.GetID(), opacity)
        if told != self._told:
            self._told = told
            showOverlay(anatomy, node, opacity, applicationLogic)
        return True

    def letGo(self, scene: slicer.vtkMRMLScene) -> None:
        """Leave the views to what is shown there instead of the map."""
        hideLegends(scene)
        self._told, self._explained = (), {}
        # When it is asked for again, the maps under it may have been edited.
        self._made.clear()

    def explain(self, result: Result, overlays: list[Overlay]) -> None:
        """Show the legends of finished maps, and of no others; of what the user does to them nothing is undone."""
        titles = {
            node.GetID(): overlay.title(result)
            for overlay in overlays
            if (node := self.volume(result, overlay)) is not None
        }
        if titles != self._explained:
            self._explained = titles
            hideLegends(result.scene)
            for nodeID, title in titles.items():
                showLegend(result.scene.GetNodeByID(nodeID), title)

    def takeOff(self, scene: slicer.vtkMRMLScene, before: str) -> None:
        """Let the views show again what they showed before, as ``overlays.rememberLayers`` has put it down."""
        restoreLayers(scene, before)
        self.letGo(scene)

    def forget(self) -> None:
        """Stop, and know nothing of views and volumes any more: the scene goes, or the views are left as they are."""
        self.stop()
        self._made.clear()
        self._failed.clear()
        self._told, self._explained = (), {}

    def _finish(self, key: Key, node: slicer.vtkMRMLScalarVolumeNode) -> None:
        self._work = self._working = None
        self._made[key[2].quantity] = (key, node.GetID())
        self._onChanged()

    def _fail(self, key: Key, error: Exception) -> None:
        self._work = self._working = None
        if not isinstance(error, ResultGoneError):
            # Once is enough: the next change of any choice would start it again.
            self._failed.add(key)
            slicer.util.errorDisplay(_("The map could not be computed."), detailedText=str(error))
        self._onChanged()
