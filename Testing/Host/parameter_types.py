"""Parameter types of ``slicer.parameterNodeWrapper``: how a value is checked, stored in the node and read back."""

from __future__ import annotations

import enum
import pathlib
import typing
from dataclasses import dataclass
from typing import Any

import slicer


@dataclass
class WithinRange:
    """An inclusive range."""

    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within [{self.minimum}, {self.maximum}]")


@dataclass
class Choice:
    """One of some values."""

    choices: list

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


@dataclass
class Default:
    """The value of a parameter that has not been set."""

    value: Any


VALIDATORS = (WithinRange, Choice)


def unannotated(datatype: Any) -> tuple[Any, list]:
    """Split ``Annotated[type, ...]`` into the type and its annotations."""
    if typing.get_origin(datatype) is typing.Annotated:
        bare, *annotations = typing.get_args(datatype)
        return bare, annotations
    return datatype, []


def annotation(annotations: list, kind: type) -> Any:
    """Return the first annotation of a kind, or None."""
    return next((found for found in annotations if isinstance(found, kind)), None)


class Parameter:
    """One declared parameter.

    Raises:
        TypeError: The host does not know the type.
    """

    def __init__(self, name: str, datatype: Any, declared: Any = None, has_declared: bool = False) -> None:
        self.basename, self.datatype = name, datatype
        self.type, annotations = unannotated(datatype)
        self.validators = [found for found in annotations if isinstance(found, VALIDATORS)]
        default = annotation(annotations, Default)
        if has_declared:
            self.default = declared
        else:
            self.default = default.value if default else self._natural_default()

    def is_pack(self) -> bool:
        return getattr(self.type, "_is_parameterPack", False)

    def is_node(self) -> bool:
        return isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)

    def _natural_default(self) -> Any:
        if self.is_node():
            return None
        if isinstance(self.type, type) and issubclass(self.type, enum.Enum):
            return next(iter(self.type))
        if self.is_pack() or self.type in (bool, int, float, str, pathlib.Path):
            return self.type()
        raise TypeError(f"The host has no parameter of type {self.type}")

    def validate(self, value: Any) -> None:
        """Refuse a value.

        Raises:
            ValueError: It is None, outside the range or no choice.
            TypeError: It has another type.
        """
        if value is None and not self.is_node():
            raise ValueError(f"{self.basename} must not be None")
        kind = (int, float) if self.type is float else self.type
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{self.basename} must be {kind}, not {type(value)}")
        for validator in self.validators:
            validator.validate(value)

    def is_in(self, node: Any, name: str) -> bool:
        if self.is_pack():
            first = next(iter(self.type.allParameters.values()))
            return first.is_in(node, f"{name}.{first.basename}")
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store a value that is valid."""
        self.validate(value)
        if self.is_pack():
            with slicer.util.NodeModify(node):
                for parameter in self.type.allParameters.values():
                    parameter.write(node, f"{name}.{parameter.basename}", getattr(value, parameter.basename))
        elif self.is_node():
            node.SetParameter(name, "")
            node.SetNodeReferenceID(name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(name, self._text(value))

    def read(self, node: Any, name: str) -> Any:
        """Read the stored value; a pack as a copy of all its values, which stores all of them when one is set.

        Raises:
            ValueError: What is stored is no value of this type, e.g. as part of a pack that was stored without it.
        """
        if self.is_pack():
            parts = self.type.allParameters.values()
            values = {part.basename: part.read(node, f"{name}.{part.basename}") for part in parts}
            return self.type._observed(self, node, name, values)
        if self.is_node():
            return node.GetNodeReference(name)
        text = node.GetParameter(name)
        if isinstance(self.type, type) and issubclass(self.type, enum.Enum):
            return self.type[text]
        return text == "True" if self.type is bool else self.type(text)

    def _text(self, value: Any) -> str:
        if isinstance(value, enum.Enum):
            return value.name
        return str(bool(value)) if self.type is bool else str(value)


def parameters_of(cls: type) -> dict[str, Parameter]:
    """Return a class's declared parameters by name."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {name: Parameter(name, kind, getattr(cls, name, None), hasattr(cls, name)) for name, kind in hints.items()}
