"""Names with more than one address: what a room offers at its door, and what was published where nothing is any more.

Nothing is imported before it is asked for, and this file itself needs nothing but Python.
"""

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Modules that README, Documentation/ or scripts named in earlier versions, and where what they held is today; the
# first module that has a name is its address.
WHERE_NOW: dict[str, tuple[str, ...]] = {
    "upgan.bundle": ("upgan.bundles.library", "upgan.bundles.bundle"),
    "upgan.devices": ("upgan.inference.devices",),
    "upgan.distribution": ("upgan.uncertainty.distribution",),
    "upgan.domain": ("upgan.bundles.domain",),
    "upgan.evaluation.body": ("upgan.images.patient",),
    "upgan.evaluation.calibration": ("upgan.uncertainty.coverage",),
    "upgan.evaluation.scope": ("upgan.images.scope",),
    "upgan.losses": ("upgan.training.loop.losses",),
    "upgan.saving": ("upgan.inference.saving",),
    "upgan.training.config": ("upgan.training.settings.config",),
    "upgan.training.pairs": ("upgan.pairs.finding",),
    "upgan.training.presets": ("upgan.training.settings.presets",),
    "upgan.training.processes": ("upgan.training.loop.processes",),
    "upgan.training.publish": ("upgan.training.model.export",),
    "upgan.training.runs": ("upgan.training.record.runs",),
    "upgan.training.stage": ("upgan.training.loop.stage",),
    "upgan.training.trainer": ("upgan.training.run.trainer",),
    "upgan.volume": ("upgan.images.volume", "upgan.images.reading", "upgan.images.writing"),
}
# What is called otherwise there.
RENAMED = {"upgan.training.publish.publish": "export"}


def offered(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the ``__getattr__`` (PEP 562) of a package that offers names of modules which are imported when asked for.

    Args:
        package: The package's ``__name__``.
        homes: The module of each name.

    Returns:
        A function from a name to what it stands for; it raises ``AttributeError`` for any other name.
    """

    def look_up(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)  # The next time nobody asks.
        return value

    return look_up


class FormerModules:
    """Lets modules of earlier versions be imported as before; each name taken from one warns and says its address."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return how to import a module by its full name, if it is a former one."""
        # A loader needs its methods only, which mypy does not know.
        return ModuleSpec(name, FormerModules) if name in WHERE_NOW else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType | None:
        """Let Python make the module, an empty one."""
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Fill the module with nothing but the way to its names' addresses."""
        former = module.__name__

        def look_up(name: str) -> Any:
            if not name.startswith("__"):
                called = RENAMED.get(f"{former}.{name}", name)
                for home in map(importlib.import_module, WHERE_NOW[former]):
                    if hasattr(home, called):
                        sentence = f"{former}.{name} is {home.__name__}.{called} now."
                        warnings.warn(sentence, DeprecationWarning, stacklevel=2)
                        return getattr(home, called)
            raise AttributeError(f"module {former!r} has no attribute {name!r}", name=name, obj=module)

        module.__getattr__ = look_up  # type: ignore[method-assign]
