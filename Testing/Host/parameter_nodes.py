"""``@parameterNodeWrapper``: typed parameters stored in a vtkMRMLScriptedModuleNode and bound to widgets both ways.

As in Slicer each wrapper keeps copies of the values, which its own observers of the node bring up to date; who observes
the node with the same priority may be called before them and read old values. Wrappers share no copies.
"""

# Slicer's own names.
# ruff: noqa: N802, N803, N815

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import slicer
import vtk

from Host import parameter_packs, parameter_types
from Host.gui_connectors import Connector, connector
from Host.parameter_packs import get_value, member, set_value
from Host.parameter_types import Parameter, parameters_of


class Cached:
    """One parameter's value as it was when its node was last modified."""

    def __init__(self, parameter: Parameter, node: Any, name: str) -> None:
        self._parameter, self._node, self._name = parameter, node, name
        self._writing = False
        if not parameter.is_in(node, name):
            parameter.write(node, name, parameter.default)
        self._value = self._stored()
        weak = weakref.ref(self)
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: weak()._refresh())

    def __del__(self) -> None:
        # Where the stored value could not be read it was never observed.
        if hasattr(self, "_tag"):
            self._node.RemoveObserver(self._tag)

    def read(self) -> Any:
        """Return the copy."""
        return self._value

    def write(self, value: Any) -> None:
        """Store a value, and copy it before anyone hears of it."""
        self._writing = True
        try:
            with slicer.util.NodeModify(self._node):
                self._parameter.write(self._node, self._name, value)
                self._value = self._stored()
        finally:
            self._writing = False

    def _refresh(self) -> None:
        if not self._writing:
            self._value = self._stored()

    def _stored(self) -> Any:
        if not self._parameter.is_in(self._node, self._name):
            self._parameter.write(self._node, self._name, self._parameter.default)
        return self._parameter.read(self._node, self._name)


class WrapperMethods:
    """What every wrapper class has besides its parameters."""

    allParameters: dict[str, Parameter]

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode = parameterNode
        self._connected: dict[int, dict[str, Connector]] = {}
        self._tags = 0
        self._showing = False
        self._cached = {
            name: Cached(parameter, parameterNode, f"{prefix or ''}{name}")
            for name, parameter in self.allParameters.items()
        }

    @classmethod
    def dataType(cls, name: str) -> Any:
        return member(cls.allParameters, name)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: int) -> int:
        return self.parameterNode.EndModify(wasModified)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def AddObserver(self, event: Any, callback: Callable, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Connect widgets by dotted parameter name and return the tag for disconnectGui."""
        types = {name: self.dataType(name) for name in mapping}
        connectors = {name: connector(widget, types[name]) for name, widget in mapping.items()}
        tag, self._tags = self._tags, self._tags + 1
        self._connected[tag] = connectors
        for name, one in connectors.items():
            one.write(self.getValue(name))
            one.watch(self._taker(name, one))
        # Nobody ever removes it, in Slicer neither: the wrapper lives as long as the node does.
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._show())
        return tag

    def disconnectGui(self, tag: int) -> None:
        for one in self._connected.pop(tag, {}).values():
            one.unwatch()

    def _taker(self, name: str, one: Connector) -> Callable[[], None]:
        def take() -> None:
            with slicer.util.NodeModify(self):
                if not self._showing:
                    self.setValue(name, one.read())

        return take

    def _show(self) -> None:
        if self._showing:
            return
        self._showing = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in self._connected.values():
                    for name, one in connectors.items():
                        one.write(self.getValue(name))
        finally:
            self._showing = False


WrapperMethods.getValue, WrapperMethods.setValue = get_value, set_value


def _cached_property(name: str) -> property:
    return property(lambda self: self._cached[name].read(), lambda self, value: self._cached[name].write(value))


def parameterNodeWrapper(cls: type) -> type:
    """Make a class of annotated names a typed view of a parameter node.

    Raises:
        ValueError: A name is one of the wrapper's own.
    """
    parameters = parameters_of(cls)
    for name in parameters:
        if hasattr(WrapperMethods, name):
            raise ValueError(f"{name} is reserved")
    members = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    members |= {name: _cached_property(name) for name in parameters}
    return type(cls.__name__, (WrapperMethods,), members | {"allParameters": parameters})


def parameter_node_module() -> ModuleType:
    """Return ``slicer.parameterNodeWrapper``."""
    module = ModuleType("slicer.parameterNodeWrapper")
    decorators = (parameterNodeWrapper, parameter_packs.parameterPack)
    for item in (*decorators, *parameter_types.VALIDATORS, parameter_types.Default):
        setattr(module, item.__name__, item)
    return module
