"""What a translation says at one point: its values, and those derived from them, phase by phase."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import slicer
import vtk

from UncertaintyGuidedI2ILib.inspection.conformal import Widths, enoughWidths
from UncertaintyGuidedI2ILib.inspection.overlays import Overlay
from UncertaintyGuidedI2ILib.scene.familiarity import areIntervalsWithheld
from UncertaintyGuidedI2ILib.scene.phases import phaseNodes
from UncertaintyGuidedI2ILib.scene.results import Result


@dataclass(frozen=True)
class Reading:
    """One phase at one voxel; NaN for what the translation has no map of.

    Attributes:
        phase: The first being 1.
        image: The translated image's value, like sigma, epistemic, alpha, low and high in its unit.
        sigma: Standard deviation of the predicted distribution.
        epistemic: Disagreement of the image with its mirrored twin; of the last phase alone.
        alpha: Scale of the predicted distribution.
        beta: Shape of the predicted distribution, without unit.
        low: Lower end of the credible interval; NaN where the input was unlike the training data.
        high: Upper end of the credible interval.
        probability: Probability that the true value lies above the threshold, or below it, from 0 to 1.
        enough: Half the width of the interval that is enough for 9 of 10 patients; NaN where none is claimed.
    """

    phase: int
    image: float
    sigma: float
    epistemic: float
    alpha: float
    beta: float
    low: float
    high: float
    probability: float
    enough: float = math.nan


def readingsAt(result: Result, ras: Sequence[float], overlay: Overlay) -> list[Reading] | None:
    """Read every phase at a point of the world.

    Args:
        result: The result whose maps are read.
        ras: World coordinates in mm; parent transforms of the result count.
        overlay: Says the level of the interval, and threshold and direction of the probability.

    Returns:
        One reading a phase, the first phase first, of the nearest voxel; None outside the volume.
    """
    voxel = voxelAt(next(iter(result.nodes.values())), ras)
    if voxel is None:
        return None
    withheld = areIntervalsWithheld(result)
    return [
        _reading(phase, nodes, voxel, overlay, withheld, enoughWidths(result, phase, overlay.level))
        for phase, nodes in phaseNodes(result).items()
    ]


def voxelAt(node: slicer.vtkMRMLScalarVolumeNode, ras: Sequence[float]) -> tuple[int, int, int] | None:
    """Return the index (k, j, i) of the voxel nearest to a point of the world, None outside the volume.

    The volume ends half a voxel beyond the centres of its outermost voxels.
    """
    # From the world, which is None; unlike a matrix this also goes through deformation fields.
    worldToLocal = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, node.GetParentTransformNode(), worldToLocal)
    local = worldToLocal.TransformPoint(ras)
    matrix = vtk.vtkMatrix4x4()
    node.GetRASToIJKMatrix(matrix)
    ijk = matrix.MultiplyPoint([*local, 1.0])[:3]
    extent = node.GetImageData().GetExtent()
    index = [math.floor(value + 0.5) - low for value, low in zip(ijk, extent[::2], strict=True)]
    inside = all(0 <= i < size for i, size in zip(index, node.GetImageData().GetDimensions(), strict=True))
    return (index[2], index[1], index[0]) if inside else None


def _reading(
    phase: int,
    nodes: dict[str, slicer.vtkMRMLScalarVolumeNode],
    voxel: tuple[int, int, int],
    overlay: Overlay,
    withheld: bool,
    widths: Widths | None,
) -> Reading:
    import numpy as np

    from upgan.uncertainty import derived

    def at(quantity: str) -> float:
        node = nodes.get(quantity)
        return float(slicer.util.arrayFromVolume(node)[voxel]) if node is not None else math.nan

    image, alpha, beta = (np.array(at(quantity)) for quantity in ("image", "alpha", "beta"))
    sigma = at("sigma") if "sigma" in nodes else float(derived.sigma(alpha, beta))
    half = math.nan if withheld else float(derived.interval_width(alpha, beta, overlay.level)) / 2
    probability = derived.probability_above if overlay.above else derived.probability_below
    return Reading(
        phase,
        float(image),
        sigma,
        at("epistemic"),
        float(alpha),
        float(beta),
        float(image) - half,
        float(image) + half,
        float(probability(image, alpha, beta, overlay.threshold)),
        float(widths(image[None], alpha[None], beta[None])[0]) / 2 if widths else math.nan,
    )
