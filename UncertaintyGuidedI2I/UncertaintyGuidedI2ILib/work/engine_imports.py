"""What of the engine the viewer itself uses, imported after the panel is there, a little at a time."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Generator

from UncertaintyGuidedI2ILib.work.cooperative import Cooperative

# Parts first, also such as are nobody's business: no single step then takes long. What a version lacks is left out.
MODULES = (
    "numpy.random",
    "numpy.ma",
    "numpy.polynomial",
    "numpy.f2py.crackfortran",
    "numpy.testing",
    "scipy",
    "scipy._lib._util",
    "scipy._lib._array_api",
    "scipy.special._ufuncs",
    "scipy.special",
    "scipy.ndimage._nd_image",
    "scipy.ndimage",
    "scipy.sparse",
    "pydantic_core",
    "pydantic",
    "pydantic.main",
    "upgan.images.formats.headers",
    "upgan.images.volume",
    "upgan.tasks",
    "upgan.bundles.domain",
    "upgan.networks.architecture",
    "upgan.bundles.metadata",
    "upgan.inference.estimate",
    "upgan.uncertainty.derived",
    "upgan.stepwise.components",
    "upgan.stepwise.percentile",
    "upgan.images.patient",
)


class EngineImports:
    """Imports in the background of the main thread: another thread could take Qt's and VTK's objects away.

    Args:
        onReady: Called once, when all that can be imported is there.
    """

    def __init__(self, onReady: Callable[[], None]) -> None:
        self.isReady = False
        self._onReady = onReady
        self._steps: Cooperative[None] | None = None

    def start(self) -> None:
        """Begin, unless it has begun: returns at once."""
        if self._steps is None:
            self._steps = Cooperative(_importAll(), self._finish, self._finish)

    def stop(self) -> None:
        """Import nothing more, for good."""
        if self._steps is not None:
            self._steps.cancel()

    def _finish(self, result: object) -> None:
        self.isReady = True
        self._onReady()


def _importAll() -> Generator[None, None, None]:
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError:
            # Another version's, or not installed: the panels say what is missing.
            pass
        except Exception:  # Two packages that do not fit each other may raise anything.
            logging.exception("%s could not be imported; what needs it will say so.", name)
        yield
