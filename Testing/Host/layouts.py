"""``slicer.app.layoutManager()``: Slicer's own layout logic, with a widget for each of its views."""

# Slicer's own names.
# ruff: noqa: N802, N815

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import slicer
from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QLabel, QSplitter, QVBoxLayout, QWidget

from Host.pythonqt import cpp_class
from Host.qmrml_base import Observers
from Host.qmrml_plots import qMRMLPlotWidget
from Host.views import qMRMLSliceWidget

# The views that Slicer has from the start.
OWN_VIEWS = ("Red", "Green", "Yellow")


@cpp_class
class LayoutManager(QObject):
    """Creates the views that the layout node describes, and shows those of the present layout in a viewport."""

    layoutChanged = Signal(int)

    def __init__(self, core: Any) -> None:
        super().__init__()
        self._scene, self._app_logic = core.scene, core.app_logic
        self._slices: dict[str, qMRMLSliceWidget] = {}
        self._plots: dict[str, qMRMLPlotWidget] = {}
        self._arrangement = -1
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLApplicationLogic(core.app_logic)
        self._logic.SetMRMLScene(core.scene)
        self._viewport = QWidget()
        QVBoxLayout(self._viewport).setContentsMargins(0, 0, 0, 0)
        self._observers = Observers(self)
        self._observers.add(self.layoutLogic().GetLayoutNode(), "ModifiedEvent", self._follow)
        self.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    def _get_layout(self) -> int:
        return self._logic.GetLayoutNode().GetViewArrangement()

    def setLayout(self, layout: int) -> None:
        self._logic.GetLayoutNode().SetViewArrangement(layout)
        self._follow()

    layout = property(_get_layout, setLayout)

    def layoutLogic(self) -> Any:
        return self._logic

    def sliceViewNames(self) -> list[str]:
        return list(self._slices)

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:
        return self._slices.get(name)

    def mrmlSliceLogics(self) -> Any:
        return self._app_logic.GetSliceLogics()

    plotViewCount = property(lambda self: len(self._plots))

    def plotWidget(self, index: int) -> qMRMLPlotWidget:
        return list(self._plots.values())[index]

    def resetSliceViews(self) -> None:
        for widget in self._slices.values():
            widget.sliceLogic().FitSliceToAll()

    def _reset(self) -> None:
        """Go back to the four-up layout and forget the views of others, which no later test shall meet."""
        self.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        for name in [name for name in self._slices if name not in OWN_VIEWS]:
            widget = self._slices.pop(name)
            logic = widget.sliceLogic()
            widget.release()
            self._app_logic.GetSliceLogics().RemoveItem(logic)
            nodes = (logic.GetSliceCompositeNode(), logic.GetSliceDisplayNode(), logic.GetSliceNode())
            widget.deleteLater()
            logic.SetMRMLScene(None)
            for node in nodes:
                if node is not None:
                    self._scene.RemoveNode(node)
        for name in list(self._plots):
            self._plots.pop(name).deleteLater()

    def _follow(self, _: Any = None) -> None:
        node = self._logic.GetLayoutNode()
        # While a scene closes there is no layout for a moment.
        if node is None or not node.GetCurrentLayoutDescription() or node.GetViewArrangement() == self._arrangement:
            return
        self._arrangement = node.GetViewArrangement()
        self._create_slice_widgets()
        self._show(ET.fromstring(node.GetCurrentLayoutDescription()))
        self.layoutChanged.emit(self._arrangement)

    def _create_slice_widgets(self) -> None:
        count = self._scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")
        for node in [self._scene.GetNthNodeByClass(index, "vtkMRMLSliceNode") for index in range(count)]:
            name = node.GetLayoutName()
            if name not in self._slices:
                self._slices[name] = qMRMLSliceWidget(self._viewport)
                self._slices[name]._follow(node, self._app_logic)

    def _show(self, description: ET.Element) -> None:
        outer = self._viewport.layout()
        for view in (*self._slices.values(), *self._plots.values()):
            view.setParent(self._viewport)
            view.setVisible(False)
        for widget in self._slices.values():
            widget.mrmlSliceNode().SetMappedInLayout(0)
        while outer.count():
            outer.takeAt(0).widget().deleteLater()
        outer.addWidget(self._arranged(description))

    def _arranged(self, element: ET.Element) -> QWidget:
        if element.tag == "view":
            return self._view(element.get("class"), element.get("singletontag"))
        parts = [self._arranged(view) for item in element.findall("item") for view in item]
        splitter = QSplitter(Qt.Vertical if element.get("type") == "vertical" else Qt.Horizontal)
        splitter.childrenCollapsible = False
        for part in parts:
            splitter.addWidget(part)
        splitter.setSizes([1000] * len(parts))
        return splitter

    def _view(self, kind: str, tag: str) -> QWidget:
        view: QWidget
        if kind == "vtkMRMLSliceNode":
            view = self._slices[tag]
            view.mrmlSliceNode().SetMappedInLayout(1)
        elif kind == "vtkMRMLPlotViewNode":
            view = self._plots.setdefault(tag, qMRMLPlotWidget())
            view.setMRMLScene(self._scene)
            view.setMRMLPlotViewNode(self._scene.GetSingletonNode(tag, kind))
        else:
            view = QLabel("3D view" if kind == "vtkMRMLViewNode" else kind.removeprefix("vtkMRML").removesuffix("Node"))
            view.setStyleSheet("background: #1f2023; color: #55585e")
            view.setAlignment(Qt.AlignCenter)
        view.setVisible(True)
        return view
