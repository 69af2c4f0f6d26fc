"""A small scripted module for the claims: one of every widget that a parameter can be bound to."""

# Slicer's own names.
# ruff: noqa: N802

from __future__ import annotations

import enum
import pathlib
from typing import Annotated

import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper, parameterPack
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Plane(enum.Enum):
    AXIAL = 1
    CORONAL = 2


@parameterPack
class Look:
    opacity: Annotated[float, WithinRange(0, 1)] = 0.5
    layers: Annotated[int, WithinRange(1, 9), Default(3)]


@parameterNodeWrapper
class ContractExampleParameterNode:
    volume: vtkMRMLScalarVolumeNode
    look: Look
    threshold: Annotated[float, WithinRange(0, 10)] = 2.5
    device: Annotated[str, Choice(["auto", "cpu"])] = "auto"
    plane: Plane
    verbose: bool = True
    title: str = "untitled"
    folder: pathlib.Path


class ContractExample(ScriptedLoadableModule):
    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "ContractExample"


class ContractExampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent: object = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.parameterNode = None
        self.guiTag = None
        self.calls: list[str] = []

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/ContractExample.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = ContractExampleLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.calls.append("setup")

    def enter(self) -> None:
        self.calls.append("enter")
        self.setParameterNode(self.logic.getParameterNode())

    def exit(self) -> None:
        self.calls.append("exit")
        self.setParameterNode(None)

    def cleanup(self) -> None:
        self.calls.append("cleanup")
        self.setParameterNode(None)
        self.removeObservers()

    def onSceneStartClose(self, caller: object, event: object) -> None:
        self.calls.append("close")
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: object, event: object) -> None:
        self.calls.append("closed")
        if self.parent.isEntered:
            self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode: ContractExampleParameterNode | None) -> None:  # noqa: N803
        if self.parameterNode:
            self.parameterNode.disconnectGui(self.guiTag)
        self.parameterNode = parameterNode
        if parameterNode:
            named = {widget.property("SlicerParameterName"): widget for widget in vars(self.ui).values()}
            mapping = {name: widget for name, widget in named.items() if name}
            self.guiTag = parameterNode.connectParametersToGui(mapping)


class ContractExampleLogic(ScriptedLoadableModuleLogic):
    _kept: ContractExampleParameterNode | None = None

    def getParameterNode(self) -> ContractExampleParameterNode:
        """Return the same wrapper for the same node: each that was bound to widgets once lives as long as the node."""
        node = super().getParameterNode()
        if self._kept is None or self._kept.parameterNode is not node:
            self._kept = ContractExampleParameterNode(node)
        return self._kept
