"""Gives a widget properties that are those of a widget inside it, and the setters that are slots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def forward(inner: str, *names: str) -> Callable[[type], type]:
    """Forward properties to ``self.<inner>``; ``self._changed()`` is called after each write."""

    def declare(cls: type) -> type:
        for name in names:

            def read(self: Any, name: str = name) -> Any:
                return getattr(getattr(self, inner), name)

            def write(self: Any, value: Any, name: str = name) -> None:
                setattr(getattr(self, inner), name, value)
                self._changed()

            add_property(cls, name, read, write)
        return cls

    return declare


def hold(**defaults: Any) -> Callable[[type], type]:
    """Declare properties that the object itself holds; ``self._changed()`` is called after each write."""

    def declare(cls: type) -> type:
        for name, default in defaults.items():

            def read(self: Any, name: str = name, default: Any = default) -> Any:
                return self.__dict__.get(f"_held_{name}", default)

            def write(self: Any, value: Any, name: str = name, default: Any = default) -> None:
                kind = type(default)
                if kind in (int, float, bool) and not isinstance(value, (int, float)):
                    raise ValueError(f"Property '{name}' of {type(self).__name__} does not accept {value!r}")
                self.__dict__[f"_held_{name}"] = kind(value)
                self._changed()

            add_property(cls, name, read, write)
        return cls

    return declare


def add_property(cls: type, name: str, read: Callable, write: Callable) -> None:
    """Give a class a property, unless the class wrote one itself."""
    if name not in vars(cls):
        setattr(cls, name, property(read, write))


def slots(*names: str) -> Callable[[type], type]:
    """Give a class the setters of properties that are public slots in C++: PythonQt offers no others."""

    def declare(cls: type) -> type:
        for name in names:

            def write(self: Any, value: Any, name: str = name) -> None:
                setattr(self, name, value)

            setattr(cls, f"set{name[0].upper()}{name[1:]}", write)
        return cls

    return declare
