"""qMRMLNodeComboBox: chooses a node of the scene, and follows the scene."""

# Slicer's own names.
# ruff: noqa: N801, N802, N803, N815, RUF012

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QSizePolicy, QWidget

from Host.forwarding import hold
from Host.pythonqt import cpp_class
from Host.qmrml_base import Observers


@cpp_class
@hold(
    nodeTypes=[],
    showChildNodeTypes=True,
    noneEnabled=False,
    noneDisplay="None",
    addEnabled=True,
    removeEnabled=True,
)
class qMRMLNodeComboBox(QWidget):
    """A combo box of the scene's nodes; Qt's own rules say what is current after a node has come or gone."""

    currentNodeChanged = Signal(object)
    _current_is_valid = Signal(bool)
    SIGNALS = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_current_is_valid",
    }

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._wanted: dict[str, list[tuple[str, str | None]]] = {}
        self._announced: str | None = None
        self._observers, self._named = Observers(self), Observers(self)
        self._box = QComboBox(self)
        self._box.sizeAdjustPolicy = QComboBox.AdjustToMinimumContentsLengthWithIcon
        self._box.minimumContentsLength = 12
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        self.setFocusProxy(self._box)
        self._box.connect("currentIndexChanged(int)", self._announce)
        self._box.setEnabled(False)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._observers.clear()
        self._scene = scene
        self._box.setEnabled(scene is not None)
        if scene is not None:
            self._observers.add(scene, scene.NodeAddedEvent, self._node_added)
            self._observers.add(scene, scene.NodeAboutToBeRemovedEvent, self._node_removed)
            self._observers.add(scene, scene.EndCloseEvent, self._changed)
            # After the observers of modules: they find the list as it was before.
            self._observers.add(scene, scene.EndImportEvent, self._imported, -10.0)
        self._changed()

    def currentNode(self) -> Any:
        identifier = self._box.currentData
        return self._scene.GetNodeByID(identifier) if self._scene is not None and identifier else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None and not isinstance(node, str) else node)

    def setCurrentNodeID(self, identifier: str | None) -> None:
        # Without an item for None this leaves nothing chosen, as in Slicer.
        self._box.currentIndex = self._box.findData(identifier or "")

    currentNodeID = property(lambda self: self._box.currentData or "", setCurrentNodeID)

    def addAttribute(self, nodeType: str, name: str, value: str | None = None) -> None:
        """Show nodes of a type only if they have an attribute (of this value)."""
        self._wanted.setdefault(nodeType, []).append((name, value))
        self._changed()

    def nodeCount(self) -> int:
        return self._box.count - int(self.noneEnabled)

    def nodeFromIndex(self, index: int) -> Any:
        return self._scene.GetNodeByID(self._box.itemData(index + int(self.noneEnabled)))

    def _shows(self, node: Any) -> bool:
        if node.GetHideFromEditors():
            return False
        for kind in self.nodeTypes:
            if node.GetClassName() == kind or (self.showChildNodeTypes and node.IsA(kind)):
                wanted = self._wanted.get(kind, [])
                return all(
                    node.GetAttribute(name) == value if value is not None else node.GetAttribute(name) is not None
                    for name, value in wanted
                )
        return False

    def _changed(self, _: Any = None) -> None:
        """Make the list anew, with the same node chosen if it is still there."""
        before = self._box.currentData
        self._box.blockSignals(True)
        self._box.clear()
        if self.noneEnabled:
            self._box.addItem(self.noneDisplay, "")
        if self._scene is not None:
            for index in range(self._scene.GetNumberOfNodes()):
                node = self._scene.GetNthNode(index)
                if self._shows(node):
                    self._box.addItem(node.GetName(), node.GetID())
        kept = self._box.findData(before)
        self._box.currentIndex = kept if kept >= 0 else min(0, self._box.count - 1)
        self._box.blockSignals(False)
        self._observe_nodes()
        self._announce()

    def _imported(self, _: Any) -> None:
        """Make the list anew; Slicer's forgets what was chosen (issues 4570 and 7492)."""
        self._box.currentIndex = 0 if self.noneEnabled else -1
        self._changed()

    def _node_added(self, node: Any) -> None:
        if self._scene.IsImporting():
            return
        if any(node.IsA(kind) for kind in self.nodeTypes):
            self._named.add(node, "ModifiedEvent", self._node_modified)
            if self._box.findData(node.GetID()) < 0 and self._shows(node):
                self._box.addItem(node.GetName(), node.GetID())

    def _node_removed(self, node: Any) -> None:
        index = self._box.findData(node.GetID())
        if index >= 0:
            self._box.removeItem(index)

    def _observe_nodes(self) -> None:
        """Follow the names and attributes of all nodes that are, or could come, into the list."""
        self._named.clear()
        for index in range(self._scene.GetNumberOfNodes() if self._scene is not None else 0):
            node = self._scene.GetNthNode(index)
            if any(node.IsA(kind) for kind in self.nodeTypes):
                self._named.add(node, "ModifiedEvent", self._node_modified)

    def _node_modified(self, node: Any) -> None:
        index = self._box.findData(node.GetID())
        if (index >= 0) != self._shows(node):
            self._changed()
        elif index >= 0 and self._box.itemText(index) != node.GetName():
            self._box.setItemText(index, node.GetName())

    def _announce(self, _: int = 0) -> None:
        identifier = self._box.currentData or ""
        if identifier == self._announced:
            return
        self._announced = identifier
        node = self.currentNode()
        self.currentNodeChanged.emit(node)
        self._current_is_valid.emit(node is not None)
