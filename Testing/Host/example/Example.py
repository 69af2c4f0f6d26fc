"""A small scripted module, for the tests of the host: one of every widget that a parameter can be bound to."""

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
    ScriptedLoadableModuleTest,
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
class ExampleParameterNode:
    volume: vtkMRMLScalarVolumeNode
    look: Look
    threshold: Annotated[float, WithinRange(0, 10)] = 2.5
    device: Annotated[str, Choice(["auto", "cpu"])] = "auto"
    plane: Plane
    verbose: bool = True
    title: str = "untitled"
    folder: pathlib.Path


class Example(ScriptedLoadableModule):
    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "Example"
        self.started = False
        slicer.app.connect("startupCompleted()", self.onStartupCompleted)

    def onStartupCompleted(self) -> None:
        self.started = True


class ExampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent: object = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.parameterNode = None
        self.guiTag = None
        self.calls: list[str] = []

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/Example.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = ExampleLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.failButton.connect("clicked(bool)", self.onFail)
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

    def setParameterNode(self, parameterNode: ExampleParameterNode | None) -> None:  # noqa: N803
        if self.parameterNode:
            self.parameterNode.disconnectGui(self.guiTag)
        self.parameterNode = parameterNode
        if parameterNode:
            named = {widget.property("SlicerParameterName"): widget for widget in vars(self.ui).values()}
            mapping = {name: widget for name, widget in named.items() if name}
            self.guiTag = parameterNode.connectParametersToGui(mapping)

    def onFail(self, checked: bool) -> None:
        with slicer.util.tryWithErrorDisplay("It failed."):
            raise OSError("the disk is full")


class ExampleLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self) -> ExampleParameterNode:
        return ExampleParameterNode(super().getParameterNode())


class ExampleTest(ScriptedLoadableModuleTest):
    def runTest(self) -> None:
        self.delayDisplay("Test passed")
