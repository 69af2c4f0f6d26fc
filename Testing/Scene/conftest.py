"""Scenes, volumes and an engine that needs no network, for the tests of the Slicer side."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MODULE = Path(__file__).parents[2] / "UncertaintyGuidedI2I"
if str(MODULE) not in sys.path:
    sys.path.insert(0, str(MODULE))

SLICER_IS_ABSENT = "slicer-core is not installed: pip install '.[slicer]'"

SHEARED = np.array([[1.9, 0.3, 0.1, -30.0], [-0.2, 2.1, 0.2, -20.0], [0.0, 0.4, 2.8, -10.0], [0, 0, 0, 1]])


@pytest.fixture
def app() -> Any:
    pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)
    return pytest.importorskip("trame_slicer.core", reason=SLICER_IS_ABSENT).SlicerApp()


@pytest.fixture
def mrml_scene(app: Any) -> Any:
    return app.scene


@pytest.fixture
def add_volume(mrml_scene: Any) -> Callable[..., Any]:
    """Add a scalar volume of 6 x 5 x 4 voxels; its grid is sheared unless told otherwise."""

    def add(name: str = "PET", ijk_to_ras: np.ndarray = SHEARED, scalars: int | None = None) -> Any:
        import slicer
        import vtk

        node = mrml_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        image = vtk.vtkImageData()
        image.SetDimensions(6, 5, 4)
        image.AllocateScalars(vtk.VTK_SHORT if scalars is None else scalars, 1)
        node.SetAndObserveImageData(image)
        slicer.util.arrayFromVolume(node)[:] = np.arange(120).reshape(4, 5, 6)
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
        return node

    return add


@pytest.fixture
def logic() -> Any:
    """The logic with an engine that returns its input, so that only the Slicer side is under test."""
    from Scene.fake_engine import FakeBundle, FakeEngine
    from UncertaintyGuidedI2ILib.logic import UncertaintyGuidedI2ILogic

    return UncertaintyGuidedI2ILogic(findBundle=FakeBundle, makeEngine=FakeEngine)
