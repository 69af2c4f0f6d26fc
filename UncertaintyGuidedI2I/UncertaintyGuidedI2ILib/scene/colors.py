"""The colour tables that come with the module, loaded into a scene when first needed."""

from __future__ import annotations

from pathlib import Path

import slicer

COLORS = Path(__file__).parents[2] / "Resources" / "Colors"


def colorNode(scene: slicer.vtkMRMLScene, name: str) -> slicer.vtkMRMLColorTableNode:
    """Return a shipped colour table, shared by all volumes of the scene and saved with it.

    Args:
        scene: The scene that the node lives in.
        name: File stem in ``Resources/Colors``, e.g. "Inferno".
    """
    # A singleton: a scene loaded on top of this one brings the same table, not a second one.
    tag = f"UncertaintyGuidedI2I{name}"
    node = scene.GetSingletonNode(tag, "vtkMRMLColorTableNode")
    if node is None:
        node = _load(scene, name, tag)
    # Closing the scene keeps the singleton but not its storage node, without which the table would not be saved.
    if node.GetStorageNode() is None:
        _addStorage(scene, node)
    return node


def _load(scene: slicer.vtkMRMLScene, name: str, tag: str) -> slicer.vtkMRMLColorTableNode:
    path = COLORS / f"{name}.ctbl"
    table = slicer.vtkMRMLColorTableNode()
    table.SetTypeToUser()
    # This storage node only reads and is thrown away: the scene must not point into the installed extension.
    reader = slicer.vtkMRMLColorTableStorageNode()
    reader.SetFileName(str(path))
    if not reader.ReadData(table):
        raise FileNotFoundError(path)
    table.SetName(f"Uncertainty {name}")
    table.SetSingletonTag(tag)
    table.SetHideFromEditors(False)
    return scene.AddNode(table)


def _addStorage(scene: slicer.vtkMRMLScene, table: slicer.vtkMRMLColorTableNode) -> None:
    storage = slicer.vtkMRMLColorTableStorageNode()
    # Every Slicer reads .ctbl; the .csv that newer ones write by default is not known to older ones.
    storage.SetDefaultWriteFileExtension("ctbl")
    table.SetAndObserveStorageNodeID(scene.AddNode(storage).GetID())
