"""Makes PySide6 behave as PythonQt does in Slicer: properties are attributes, enums flat, signals by C++ name.

Where PythonQt raises, the patched classes raise too, so that what runs here also runs in Slicer: ``spin.value()`` is a
TypeError, ``label.txt = ""`` and ``Qt.AlignmentFlag`` are AttributeErrors. The patch holds for the rest of the process.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

# IntEnum and IntFlag for every enum: PythonQt's are plain ints. Read once, when shiboken6 is imported first.
os.environ["PYSIDE6_OPTION_PYTHON_ENUM"] = "0x2"

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

from Host.immortal import keep_singletons_alive

del os.environ["PYSIDE6_OPTION_PYTHON_ENUM"]

QT_MODULES = (QtWidgets, QtGui, QtCore)
# Not empty while objects take any attribute.
_lenient: list[bool] = []
# Timers of single_shot, which nobody else holds.
_waiting: set[QtCore.QTimer] = set()
_store_attribute = shiboken6.Shiboken.Object.__setattr__


class QtProperty:
    """A Q_PROPERTY as an attribute of the instances; the class still gives what it had under this name.

    ``QTimer.singleShot`` is such a pair, and PythonQt gives the static function even of an instance: the property is
    written by its setter alone.
    """

    # What is being read right now: a virtual getter asks Python for an override before it answers.
    _reading: set[tuple[int, str]] = set()  # noqa: RUF012 - shared by all

    def __init__(self, name: str, meta: QtCore.QMetaProperty, replaced: Any) -> None:
        self.name, self.replaced = name, replaced
        self.type, self.writable = str(meta.typeName()), meta.isWritable()
        self.is_hidden = False

    def hide_behind(self, function: Callable) -> None:
        """Let a static function of the same name have it."""
        self.replaced, self.is_hidden = function, True

    def __get__(self, instance: QtCore.QObject | None, owner: type) -> Any:
        if instance is None or self.is_hidden:
            return self if self.replaced is None else self.replaced
        key = (id(instance), self.name)
        if key in QtProperty._reading:
            return None
        QtProperty._reading.add(key)
        try:
            return instance.property(self.name)
        finally:
            QtProperty._reading.discard(key)

    def __set__(self, instance: QtCore.QObject, value: Any) -> None:
        if self.is_hidden:
            raise AttributeError(f"Slot '{self.name}' can not be overwritten, nor can it be deleted")
        if not self.writable:
            raise AttributeError(f"Property '{self.name}' of {type(instance).__name__} cannot be written")
        if not _accepts(self.type, value) or not instance.setProperty(self.name, value):
            raise ValueError(
                f"Property '{self.name}' of type '{self.type}' does not accept an object of type "
                f"{type(value).__name__} ({value!r})"
            )


def _accepts(typeName: str, value: Any) -> bool:  # noqa: N803 - Qt's own name
    """Whether PythonQt converts the value; NumPy's integers and arbitrary objects, None among them, it does not."""
    if typeName in ("int", "double", "bool", "uint", "qlonglong"):
        return isinstance(value, (bool, int, float))
    if typeName == "QString":
        return isinstance(value, str)
    return True


class ScopedEnum:
    """Hides a scoped enum from everyone but PySide6 itself."""

    def __init__(self, name: str, enum: type) -> None:
        self.name, self.enum = name, enum

    def __get__(self, instance: Any, owner: type) -> type:
        asker = sys._getframe(1).f_globals.get("__name__", "")
        if asker.startswith(("shibokensupport", "PySide6", "inspect", "enum")):
            return self.enum
        raise AttributeError(
            f"{owner.__name__}.{self.name} is an enum: PythonQt knows its values as {owner.__name__}.<value> only"
        )


class BoundSignal:
    """One object's signal; unlike PySide6, PythonQt keeps connected methods' objects alive."""

    def __init__(self, sender: QtCore.QObject, signal: QtCore.SignalInstance) -> None:
        self.sender, self.signal = sender, signal
        # Shown as <PySide6.QtCore.SignalInstance clicked() at 0x...>.
        self.name = re.search(r"(\w+)\(.*\)", str(signal)).group(1)
        meta = sender.metaObject()
        methods = (meta.method(index) for index in range(meta.methodCount()))
        counts = [m.parameterCount() for m in methods if m.name().data().decode() == self.name]
        # Of the two overloads of finished PythonQt takes the shorter.
        self.count = 1 if isinstance(sender, QtCore.QProcess) and self.name == "finished" else max(counts)

    def connect(self, slot: Callable) -> bool:
        """Call a slot with as many of the signal's arguments as it takes."""
        return _connect_signal(self, self.count, slot)

    def disconnect(self, *slot: Callable) -> bool:
        """Undo one connect(), or all if no slot is given."""
        return _disconnect_signal(self, self.count, slot)

    def emit(self, *arguments: Any) -> None:
        """Send the signal."""
        self.signal.emit(*arguments)


def _count_of(signature: str) -> int:
    arguments = signature[signature.index("(") + 1 : -1]
    return arguments.count(",") + 1 if arguments else 0


def cpp_class(cls: type) -> type:
    """Mark a class of the host as one that Slicer has in C++: instances take no attributes that it did not declare.

    ``SIGNALS`` of the class maps C++ signatures to its PySide6 signals.
    """
    cls.IS_CPP = True
    cls.__setattr__ = _set_attribute
    return cls


@contextmanager
def lenient() -> Iterator[None]:
    """Let objects take any attribute: PySide6's own loader of .ui files gives the widget its children."""
    _lenient.append(True)
    try:
        yield
    finally:
        _lenient.pop()


def _set_attribute(self: Any, name: str, value: Any) -> None:
    cls = type(self)
    is_cpp = cls.__dict__.get("IS_CPP") or cls.__module__.startswith("PySide6")
    declared = getattr(cls, name, None) if not isinstance(_static(cls, name), QtProperty) else _static(cls, name)
    remembered = type(value) is QtCore.SignalInstance
    if not is_cpp or remembered or _lenient or name.startswith("_") or hasattr(type(_static(cls, name)), "__set__"):
        _store_attribute(self, name, value)
    elif declared is not None:
        raise AttributeError(f"'{name}' of {cls.__name__} is no property and cannot be replaced")
    elif isinstance(self, QtCore.QObject) and name.encode() in self.dynamicPropertyNames():
        self.setProperty(name, value)
    else:
        raise AttributeError(f"{cls.__name__} has no attribute '{name}', and C++ objects get no new ones")


def _static(cls: type, name: str) -> Any:
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def _attribute_getter(load: Callable) -> Callable:
    """Let ``connect`` and ``disconnect`` be PythonQt's; PySide6 answers these names in C before any class is asked."""

    def get(self: QtCore.QObject, name: str) -> Any:
        if name in ("connect", "disconnect"):
            return MethodType(connect if name == "connect" else disconnect, self)
        value = load(self, name)
        return BoundSignal(self, value) if type(value) is QtCore.SignalInstance else value

    return get


def _dynamic_property(self: QtCore.QObject, name: str) -> Any:
    if not name.startswith("__") and shiboken6.isValid(self) and name.encode() in self.dynamicPropertyNames():
        return self.property(name)
    raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")


def find_signal(sender: QtCore.QObject, signature: str) -> tuple[BoundSignal, int]:
    """Return an object's PySide6 signal and the number of its arguments by C++ signature.

    Raises:
        ValueError: There is no such signal.
    """
    normalized = QtCore.QMetaObject.normalizedSignature(signature).data().decode()
    name = getattr(sender, "SIGNALS", {}).get(normalized)
    if name is None:
        meta = sender.metaObject()
        index = meta.indexOfSignal(normalized)
        if index < 0:
            raise ValueError(f"{type(sender).__name__} has no signal {normalized}")
        name = normalized[: normalized.index("(")]
    return getattr(sender, name), _count_of(normalized)


def connect(self: QtCore.QObject, signature: str, *receiver: Any) -> bool:
    """Connect ``object.connect("signal(types)", f)`` or ``object.connect("signal()", other, "slot()")``."""
    if isinstance(signature, QtCore.QObject):
        # Some functions of PySide6 itself connect this way.
        return bool(QtCore.QObject.connect(signature, *receiver))
    signal, count = find_signal(self, signature)
    if len(receiver) == 1:
        return _connect_signal(signal, count, receiver[0])
    slot = getattr(receiver[0], receiver[1].split("(")[0])
    return _connect_signal(signal, min(count, _count_of(receiver[1].replace(" ", ""))), slot)


def disconnect(self: QtCore.QObject, signature: str, *slot: Callable) -> bool:
    """Undo one connect() with the same signature and slot; False if there was none."""
    return _disconnect_signal(*find_signal(self, signature), slot)


def _connect_signal(signal: BoundSignal, count: int, slot: Callable) -> bool:
    if not callable(slot):
        raise TypeError(f"{slot!r} cannot be called")
    # PySide6 looks at how many arguments a function takes, and gives a function of any number none.
    call = (
        lambda: slot(),
        lambda a: slot(a),
        lambda a, b: slot(a, b),
        lambda a, b, c: slot(a, b, c),
        lambda a, b, c, d: slot(a, b, c, d),
    )[min(count, _accepted(slot))]
    signal.signal.connect(call)
    signal.sender.__dict__.setdefault("_connections", []).append((signal.name, count, slot, call))
    return True


def _disconnect_signal(signal: BoundSignal, count: int, slots: tuple) -> bool:
    connections = signal.sender.__dict__.get("_connections", [])
    found = [c for c in connections if c[:2] == (signal.name, count) and (not slots or c[2] == slots[0])]
    for connection in found[:1] if slots else found:
        connections.remove(connection)
        signal.signal.disconnect(connection[3])
    return bool(found)


def single_shot(milliseconds: int, slot: Callable) -> None:
    """Call a function once, later; unlike PySide6, PythonQt keeps a method's object alive until then."""
    timer = QtCore.QTimer()
    _waiting.add(timer)

    def fire() -> None:
        _waiting.discard(timer)
        slot()

    timer.setSingleShot(True)
    timer.connect("timeout()", fire)
    timer.start(milliseconds)


def _accepted(slot: Callable) -> int:
    """How many positional arguments a slot takes; a function of C++ is trusted to take all."""
    try:
        parameters = inspect.signature(slot).parameters.values()
    except (TypeError, ValueError):
        return sys.maxsize
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return sys.maxsize
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _flatten_enums(cls: type) -> None:
    import enum

    for name, value in list(vars(cls).items()):
        if isinstance(value, type) and issubclass(value, enum.Enum):
            for member, number in value.__members__.items():
                if member not in vars(cls):
                    setattr(cls, member, number)
            setattr(cls, name, ScopedEnum(name, value))


def _expose_properties(cls: type) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyCount()):
        declared = meta.property(index)
        name = declared.name()
        if index >= meta.propertyOffset() or name in vars(cls):
            setattr(cls, name, QtProperty(name, declared, getattr(cls, name, None)))


def patch_pyside() -> None:
    """Patch all Qt classes, once in a process."""
    if isinstance(vars(QtCore.Qt).get("AlignmentFlag"), ScopedEnum):
        return
    if not isinstance(QtCore.QProcess.NotRunning, int):
        raise RuntimeError("PySide6 or shiboken6 was imported before the host: its enums are no ints")
    QtCore.QObject.name = property(lambda self: self.objectName, lambda self, value: self.setObjectName(value))
    keep_singletons_alive()
    everything = [getattr(module, name) for module in QT_MODULES for name in dir(module)]
    classes = [cls for cls in everything if isinstance(cls, type) and cls.__name__.startswith("Q")]
    getters = {cls: cls.__getattribute__ for cls in classes if issubclass(cls, QtCore.QObject)}
    for cls in classes:
        if cls in getters:
            _expose_properties(cls)
            cls.__setattr__ = _set_attribute
            cls.__getattribute__ = _attribute_getter(getters[cls])
        _flatten_enums(cls)
    QtCore.QObject.__getattr__ = _dynamic_property
    QtCore.QObject.className = lambda self: self.metaObject().className()
    QtCore.QObject.delete = lambda self: shiboken6.delete(self)
    vars(QtCore.QTimer)["singleShot"].hide_behind(single_shot)
    write = QtCore.QProcess.write
    QtCore.QProcess.write = lambda self, data: write(self, data.encode() if isinstance(data, str) else data)
