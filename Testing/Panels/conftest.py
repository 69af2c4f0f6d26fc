"""The test host for panels, a clean one for each test."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MODULE = Path(__file__).parents[2] / "UncertaintyGuidedI2I"


@pytest.fixture
def host(started_host: Any) -> Iterator[Any]:
    """An empty scene, no message, no module; a test fails if a slot or an observer raised."""
    started_host.install()
    yield started_host
    uncaught = list(started_host.uncaught)
    try:
        started_host.reset()
        uncaught += started_host.uncaught
    finally:
        started_host.uninstall()
    assert not uncaught, "\n".join(uncaught)


@pytest.fixture
def module_widget(host: Any) -> Any:
    """The extension's module, opened."""
    return host.open_module(MODULE / "UncertaintyGuidedI2I.py")


@pytest.fixture
def warm_worker(monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[int]]:
    """Have workers start in a warm Python, and return what tells which live: their parent is none of this process.

    What such a test is about is not how PyTorch is imported.
    """
    from Panels.processes import children_of
    from warm_python import warm_python

    python = warm_python()
    if python is None:
        return set
    monkeypatch.setenv("PATH", str(python.launcher.parent), prepend=os.pathsep)
    return lambda: children_of(python.pid)


@pytest.fixture
def load_panel(host: Any) -> Callable[[str], tuple[Any, Any]]:
    """Load a panel's .ui file as the front door does, and return its widget and its children by name."""

    def load(name: str) -> tuple[Any, Any]:
        import slicer

        host.expose_library(MODULE, "UncertaintyGuidedI2I")
        widget = slicer.util.loadUI(str(MODULE / "Resources" / "UI" / name))
        children = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(host.scene)
        host.keep(widget)
        return widget, children

    return load


@pytest.fixture
def add_volume(host: Any) -> Callable[..., Any]:
    """Add a scalar volume of 6 x 5 x 4 voxels, or with the given ones [K, J, I] (1 mm, RAS), with a display node."""

    def add(name: str = "PET", voxels: np.ndarray | None = None, ijk_to_ras: np.ndarray | None = None) -> Any:
        import slicer

        if voxels is None:
            voxels = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
        node = host.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        slicer.util.updateVolumeFromArray(node, voxels)
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.eye(4) if ijk_to_ras is None else ijk_to_ras))
        node.CreateDefaultDisplayNodes()
        return node

    return add
