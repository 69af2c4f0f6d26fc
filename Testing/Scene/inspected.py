"""Results as a run leaves them in the scene, made by hand: known voxels, no engine."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from UncertaintyGuidedI2ILib.scene.display import DisplayHints
from UncertaintyGuidedI2ILib.scene.nodes import OutputName, attributeName
from UncertaintyGuidedI2ILib.scene.outputs import Output, addOutputs
from UncertaintyGuidedI2ILib.scene.results import Result, resultOf

HINTS = DisplayHints(window=2000, level=300, sigmaThreshold=100, sigmaMax=500, alphaMax=500)
# What a run says of an image that is unlike the training data.
UNLIKE = {
    "is_unlike": True,
    "sentence": "The image is unlike the training data.",
    "scores": {"features": 3.1, "flip": None},
    "limits": {"features": 1.8, "flip": 0.2},
}
PROVENANCE = {"bundle": "fake", "bundle_sha256": "c0ffee", "created": "2026-01-01T00:00:00Z"}
SHAPE = (4, 5, 6)

Maps = Mapping[str, np.ndarray]


def maps_of(image: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a phase leaves, sigma by scipy's own distribution."""
    maps = {"image": image, "alpha": alpha, "beta": beta, "sigma": stats.gennorm.std(beta, scale=alpha)}
    return {quantity: np.asarray(voxels, dtype=np.float32) for quantity, voxels in maps.items()}


def random_phases(rng: np.random.Generator, count: int = 3, shape: tuple[int, int, int] = SHAPE) -> dict[int, Maps]:
    """Return phases that differ everywhere and are less uncertain each time."""
    return {
        phase: maps_of(
            rng.uniform(-1000, 1500, shape), rng.uniform(100, 600, shape) / phase, rng.uniform(0.5, 2.5, shape)
        )
        for phase in range(1, count + 1)
    }


def image_data(voxels: np.ndarray) -> Any:
    """Return voxels [K, J, I] as an image."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    image = vtk.vtkImageData()
    image.SetDimensions(*voxels.shape[::-1])
    image.AllocateScalars(vtk.VTK_FLOAT, 1)
    vtk_to_numpy(image.GetPointData().GetScalars()).reshape(voxels.shape)[:] = voxels
    return image


def add_input(scene: Any, ijk_to_ras: np.ndarray, shape: tuple[int, int, int] = SHAPE, name: str = "PET") -> Any:
    """Add what was translated."""
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetAndObserveImageData(image_data(np.arange(np.prod(shape)).reshape(shape)))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
    return node


def add_run(
    input_node: Any, phases: Mapping[int, Maps], run: str | None = None, **provenance: Any
) -> dict[int, dict[str, Any]]:
    """Add the outputs of a run of the phases, the last first; return their nodes by phase and quantity."""
    units = {"beta": "1"}
    outputs = []
    for phase in sorted(phases, reverse=True):
        suffix = "" if phase == max(phases) else f"_phase_{phase}"
        for quantity, voxels in phases[phase].items():
            stem = "pseudo_ct" if quantity == "image" else quantity
            what = OutputName(stem + suffix, quantity, phase, units.get(quantity, "HU"))
            outputs.append(Output(what, image_data(voxels), float(voxels.max())))
    made_by = {**PROVENANCE, "run": run or uuid.uuid4().hex, **provenance}
    nodes = addOutputs(input_node, outputs, "pseudo-CT", HINTS, made_by)
    found: dict[int, dict[str, Any]] = {}
    for output in outputs:
        found.setdefault(output.what.phase, {})[output.what.quantity] = nodes[output.what.name]
    return found


def add_result(input_node: Any, maps: Maps, **provenance: Any) -> Result:
    """Add the outputs of a run of one phase."""
    (nodes,) = add_run(input_node, {1: maps}, **provenance).values()
    result = resultOf(next(iter(nodes.values())))
    assert result is not None
    return result


# What a model says that was calibrated tissue by tissue on enough patients for a table at 80 and 90 %.
BY_TISSUE: dict[str, dict[str, Any]] = {
    name: {"scale": scale, "patients": 12, "conformal": {"0.8": level - 0.1, "0.9": level, "0.95": None}}
    for name, scale, level in (("air", 0.5, 0.93), ("soft", 1.5, 0.95), ("bone", 2.0, 0.97))
}


def set_provenance(result: Result, **said: Any) -> None:
    """Let all maps of a result say more of what made them."""
    for node in result.nodes.values():
        for key, value in said.items():
            node.SetAttribute(attributeName(key), json.dumps(value))


def enough_by_hand(maps: Sequence[np.ndarray], share: str) -> np.ndarray:
    """Return half the width of ``BY_TISSUE``'s intervals of image, alpha, beta, [N]: scipy's quantile, own alpha."""
    image, alpha, beta = maps
    which = [("air", "soft", "bone")[int(value > -300) + int(value > 200)] for value in image]
    level = np.array([BY_TISSUE[name]["conformal"][share] for name in which])
    factor = np.interp(image, [-400, -200, 100, 300], [0.5, 1.5, 1.5, 2.0])
    half: np.ndarray = stats.gennorm.ppf((1 + level) / 2, beta, 0, alpha / factor)
    return half
