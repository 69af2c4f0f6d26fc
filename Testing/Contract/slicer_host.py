"""The running application as claims use it, by what Slicer offers to scripts and nothing else."""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

EXAMPLE = Path(__file__).parent / "example" / "ContractExample.py"


class SlicerHost:
    """Slicer, or what stands in for it: at the start of a claim with an empty scene in the four-up layout.

    Attributes:
        app: ``slicer.app``.
        scene: ``slicer.mrmlScene``.
        slicer: The module, as ``qt`` and ``ctk`` are: claims import nothing that only Slicer has.
        folder: For the claim's files; gone afterwards.
        uncaught: Tracebacks of exceptions in slots and observers, which Qt and VTK only print. Leaving with one raises
            an AssertionError.
    """

    def __init__(self) -> None:
        import ctk
        import qt
        import slicer

        self.slicer, self.qt, self.ctk = slicer, qt, ctk
        self.app, self.scene = slicer.app, slicer.mrmlScene
        self.uncaught: list[str] = []

    def __enter__(self) -> SlicerHost:
        self._temporary = tempfile.TemporaryDirectory(prefix="contract-")
        self.folder = Path(self._temporary.name)
        self._hook, sys.excepthook = sys.excepthook, self._record
        self.close_scene()
        self.app.layoutManager().setLayout(self.slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        sys.excepthook = self._hook
        self._temporary.cleanup()
        if kind is None and self.uncaught:
            raise AssertionError("\n".join(self.uncaught))

    def _record(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        self.uncaught.append("".join(traceback.format_exception(kind, error, trace)))

    def example(self) -> Any:
        """Return the widget object of the module ContractExample, which is loaded and opened where it is not yet."""
        factory = self.app.moduleManager().factoryManager()
        if not factory.isLoaded(EXAMPLE.stem):
            factory.registerModule(self.qt.QFileInfo(str(EXAMPLE)))
            factory.loadModules([EXAMPLE.stem])
        self.slicer.util.selectModule(EXAMPLE.stem)
        self.process_events()
        return self.slicer.util.getModuleWidget(EXAMPLE.stem)

    def add_volume(self, name: str = "PET", voxels: np.ndarray | None = None) -> Any:
        """Add a scalar volume of 6 x 5 x 4 voxels, or with the given ones [K, J, I], with a display node."""
        if voxels is None:
            voxels = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
        return self.slicer.util.addVolumeFromArray(voxels, name=name)

    def close_scene(self) -> None:
        """Close the scene as the menu does."""
        self.scene.Clear(0)
        self.process_events()

    def process_events(self) -> None:
        """Let Qt do what is due."""
        self.app.processEvents()

    def wait_until(self, condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        """Process events until a condition holds, and return what it returned.

        Raises:
            AssertionError: It does not hold in time.
        """
        end = time.monotonic() + timeout_s
        while not (result := condition()):
            assert time.monotonic() < end, f"not within {timeout_s} s"
            self.process_events()
            time.sleep(0.005)
        return result

    def press_keys(self, widget: Any, text: str) -> None:
        """Press the keys of a text in a widget, one after another."""
        qt = self.qt
        for letter in text:
            for kind in (qt.QEvent.KeyPress, qt.QEvent.KeyRelease):
                qt.QCoreApplication.sendEvent(widget, qt.QKeyEvent(kind, ord(letter.upper()), qt.Qt.NoModifier, letter))

    def screenshot(self, widget: Any) -> Any:
        """Return a widget's picture as a QImage."""
        self.process_events()
        return widget.grab().toImage()

    @contextmanager
    def refuses(self, *errors: type[Exception]) -> Iterator[None]:
        """State that what is done within raises one of these errors.

        Raises:
            AssertionError: It raises nothing.
        """
        try:
            yield
        except errors:
            return
        raise AssertionError(f"no {' or '.join(error.__name__ for error in errors)}")
