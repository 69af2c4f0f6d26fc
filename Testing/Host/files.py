"""Loading and saving for ``slicer.util``, by trame-slicer's reader."""

# Slicer's own names.
# ruff: noqa: N803

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer


class Files:
    """Reads and writes the files of one scene."""

    def __init__(self, core: Any) -> None:
        self._core = core

    def load(self, filename: Any, filetype: str, properties: dict | None = None) -> Any:
        """Load one node, as ``slicer.util.loadNodeFromFile`` does.

        Raises:
            RuntimeError: It cannot be read.
        """
        properties = properties or {}
        path = Path(filename)
        if not path.exists():
            raise RuntimeError(f"Failed to load node from file: {path}")
        if filetype == "SceneFile":
            return self.load_scene(path, properties)
        if filetype != "VolumeFile":
            raise RuntimeError(f"The host loads volumes and scenes, not {filetype}")
        nodes = self._core.io_manager.load_volumes(str(path))
        if not nodes:
            raise RuntimeError(f"Failed to load node from file: {path}")
        node = nodes[0]
        node.SetName(slicer.mrmlScene.GenerateUniqueName(properties.get("name") or path.name.split(".")[0]))
        if properties.get("show", True):
            selection = self._core.app_logic.GetSelectionNode()
            selection.SetActiveVolumeID(node.GetID())
            self._core.app_logic.PropagateVolumeSelection(1)
        return node

    def load_scene(self, filename: Any, properties: dict | None = None) -> bool:
        """Add a scene's nodes to the present ones, which are cleared only if ``properties`` say so."""
        if (properties or {}).get("clear"):
            self._core.scene.Clear(0)
        if not self._core.io_manager.load_scene(filename):
            raise RuntimeError(f"Failed to load scene from file: {filename}")
        return True

    def save_scene(self, filename: Any, properties: dict | None = None) -> bool:
        return bool(self._core.io_manager.save_scene(filename))

    def functions(self) -> dict[str, Callable]:
        """Return the functions of ``slicer.util`` that load and save."""

        def load_node(filename: Any, filetype: str, properties: Any = None, returnNode: bool = False) -> Any:
            return self.load(filename, filetype, properties)

        return {
            "loadNodeFromFile": load_node,
            "loadScene": self.load_scene,
            "saveScene": self.save_scene,
        }
