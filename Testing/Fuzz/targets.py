"""All targets by name. A new one: a ``Target`` in the ``TARGETS`` of one of these modules."""

from __future__ import annotations

from importlib import import_module

from Fuzz.target import Target

MODULES = ("Fuzz.images", "Fuzz.engine")
# Named in full, or not run.
HIDDEN = ("Fuzz.faulty",)


def targets(only: str = "") -> list[Target]:
    """Return the targets whose name contains a text."""
    return [target for module in MODULES for target in import_module(module).TARGETS if only in target.name]


def find(name: str) -> Target:
    """Return the target of a name, hidden or not.

    Raises:
        StopIteration: There is none.
    """
    return next(
        target for module in (*MODULES, *HIDDEN) for target in import_module(module).TARGETS if target.name == name
    )
