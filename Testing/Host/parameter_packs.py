"""``@parameterPack``: several parameters under one name, alone or as part of a parameter node.

The pack that a parameter node gives is a copy, as in Slicer: it reads its own values, and writes all of them when one
is set. A copy that is kept while others write takes back what they wrote.
"""

# Slicer's own names.
# ruff: noqa: N802

from __future__ import annotations

from typing import Any

import slicer

from Host.parameter_types import Parameter, parameters_of


def dotted(name: str) -> tuple[str, str]:
    """Split ``a.b.c`` into ``a`` and ``b.c``."""
    top, _, rest = name.partition(".")
    return top, rest


def member(parameters: dict[str, Parameter], name: str) -> Any:
    """Return the annotated type of a member, by dotted name.

    Raises:
        ValueError: There is none of this name.
    """
    top, rest = dotted(name)
    if top not in parameters:
        raise ValueError(f"There is no parameter {top}; there are {', '.join(parameters)}")
    if not rest:
        return parameters[top].datatype
    if not parameters[top].is_pack():
        raise ValueError(f"{top} is no parameter pack, so it has no {rest}")
    return member(parameters[top].type.allParameters, rest)


def get_value(self: Any, name: str) -> Any:
    """Return a member by dotted name."""
    member(self.allParameters, name)
    top, rest = dotted(name)
    value = getattr(self, top)
    return get_value(value, rest) if rest else value


def set_value(self: Any, name: str, value: Any) -> None:
    """Set a member by dotted name."""
    member(self.allParameters, name)
    top, rest = dotted(name)
    if rest:
        set_value(getattr(self, top), rest, value)
    else:
        setattr(self, top, value)


def _local_property(parameter: Parameter) -> property:
    stored = f"_parameterPack_{parameter.basename}"

    def write(self: Any, value: Any) -> None:
        parameter.validate(value)
        setattr(self, stored, value)

    return property(lambda self: getattr(self, stored), write)


def _saving_property(local: property) -> property:
    def write(self: Any, value: Any) -> None:
        local.fset(self, value)
        self._save()

    return property(local.fget, write)


def _initialize(self: Any, *args: Any, **kwargs: Any) -> None:
    values = {name: parameter.default for name, parameter in self.allParameters.items()}
    given = dict(zip(values, args, strict=False)) | kwargs
    if set(given) - set(values):
        raise TypeError(f"{type(self).__name__} has no {', '.join(set(given) - set(values))}")
    for name, value in (values | given).items():
        setattr(self, name, value)


def parameterPack(cls: type) -> type:
    """Make a class of annotated names a pack."""
    parameters = parameters_of(cls)
    for parameter in parameters.values():
        parameter.validate(parameter.default)
        setattr(cls, parameter.basename, _local_property(parameter))
    cls.allParameters = parameters
    cls._is_parameterPack = True
    cls.__init__ = _initialize
    cls.getValue, cls.setValue = get_value, set_value
    cls.dataType = staticmethod(lambda name: member(parameters, name))

    own = {name: getattr(cls, name) for name in parameters}

    def observe(self: Any, parameter: Parameter, node: Any, name: str, values: dict[str, Any]) -> None:
        self.__dict__.update(_parameter=parameter, _node=node, _name=name)
        for part, value in values.items():
            own[part].fset(self, value)

    def save(self: Any) -> None:
        """Store all values, and read them back before anyone hears of it."""
        with slicer.util.NodeModify(self._node):
            self._parameter.write(self._node, self._name, self)
            for part, parameter in parameters.items():
                own[part].fset(self, parameter.read(self._node, f"{self._name}.{part}"))

    def no_new_attribute(self: Any, name: str, value: Any) -> None:
        if not hasattr(type(self), name.removeprefix("_parameterPack_")):
            raise AttributeError(f"{cls.__name__} has no parameter {name}")
        object.__setattr__(self, name, value)

    properties = {name: _saving_property(local) for name, local in own.items()}
    cls._observed = type(
        f"Observed{cls.__name__}",
        (cls,),
        properties | {"__init__": observe, "__setattr__": no_new_attribute, "_save": save},
    )
    return cls
