"""Where a translation is uncertain, as segments of one segmentation."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from UncertaintyGuidedI2ILib.inspection.overlays import ResultGoneError
from UncertaintyGuidedI2ILib.scene.nodes import INPUT_REFERENCE, ijkToRAS, isInScene, placeBeside
from UncertaintyGuidedI2ILib.scene.results import TRANSLATION, Result

# Cold colours, so that the outline is seen on sigma's warm ones; one a rule.
COLORS = ((0.0, 0.9, 0.9), (0.3, 1.0, 0.3), (0.4, 0.6, 1.0), (1.0, 0.5, 1.0))


@dataclass(frozen=True)
class Rule:
    """What counts as uncertain.

    Attributes:
        value: The lowest sigma in its unit, or which percentile of sigma inside the body that is, from 0 to 100.
        percentile: Whether ``value`` is a percentile; then regions outside the body do not count.
        minimumSize: The smallest volume of a region in mL; smaller ones are left out.
    """

    value: float
    percentile: bool = False
    minimumSize: float = 0.0


@dataclass(frozen=True)
class Regions:
    """The segment that a rule made.

    Attributes:
        segmentation: The translation's segmentation; None where no region was found.
        segmentID: The segment's identifier in that segmentation.
        name: The rule in words, which is the segment's name.
        count: Number of regions, each connected by faces of voxels.
        volume: Volume of all regions together, mL.
    """

    segmentation: slicer.vtkMRMLSegmentationNode | None
    segmentID: str
    name: str
    count: int
    volume: float


def bodyMask(result: Result) -> np.ndarray:
    """Return where the patient is in the translated image, boolean [K, J, I]; all of it where there is no image.

    In HU: the body as ``upgan.images.patient`` finds it; in arbitrary units: the largest part above half the mean of
    what is positive, closed and filled. It takes 0.1 to 0.4 s for a million voxels.
    """
    from upgan.stepwise.steps import finish

    return finish(bodyMaskStepwise(result))


def bodyMaskStepwise(result: Result) -> Generator[None, None, np.ndarray]:
    """Do what ``bodyMask`` does stepwise: a few milliseconds between two yields."""
    from upgan.images.orientation import Reorientation
    from upgan.images.patient import body_mask_stepwise, foreground_mask_stepwise
    from upgan.stepwise.steps import slabs

    if "image" not in result.nodes:
        return np.ones(slicer.util.arrayFromVolume(next(iter(result.nodes.values()))).shape, dtype=bool)
    image = slicer.util.arrayFromVolume(result.nodes["image"])
    axial = Reorientation.of(ijkToRAS(result.nodes["image"]), "axial")
    upright = axial.apply(image)
    if result.unit == "HU":
        return axial.undo((yield from body_mask_stepwise(upright, axial.spacing[::-1])))
    positive, count = np.empty(image.size, dtype=image.dtype), 0
    for slab in slabs(image.shape):
        bright = image[slab][image[slab] > 0]
        positive[count : count + bright.size] = bright
        count += bright.size
        yield
    threshold = float(positive[:count].mean()) / 2 if count else 0.0
    return axial.undo((yield from foreground_mask_stepwise(upright, threshold)))


def uncertainRegions(sigma: np.ndarray, body: np.ndarray, rule: Rule, voxelVolume: float) -> tuple[np.ndarray, int]:
    """Return where sigma is high in large enough pieces, and how many pieces there are.

    Args:
        sigma: Sigma in its unit, [K, J, I].
        body: Where the patient is, boolean [K, J, I].
        rule: What counts as uncertain.
        voxelVolume: The volume of one voxel in mL.

    Returns:
        Where sigma is high, boolean [K, J, I], and the number of pieces, whose voxels are connected by their faces.
    """
    from upgan.stepwise.steps import finish

    lowest = lowestSigma(sigma, body, rule)
    return finish(_largePiecesStepwise(sigma, body if rule.percentile else None, lowest, rule.minimumSize, voxelVolume))


def lowestSigma(sigma: np.ndarray, body: np.ndarray, rule: Rule) -> float:
    """Return the sigma from which on a voxel is uncertain; infinite where there is no body to take a percentile of."""
    from upgan.stepwise.steps import finish

    return finish(lowestSigmaStepwise(sigma, body, rule))


def lowestSigmaStepwise(sigma: np.ndarray, body: np.ndarray, rule: Rule) -> Generator[None, None, float]:
    """Do what ``lowestSigma`` does stepwise: a few milliseconds between two yields.

    The percentile is that of all voxels of the body, and not of a sample.
    """
    from upgan.stepwise.percentile import percentile_stepwise
    from upgan.stepwise.steps import slabs

    if not rule.percentile:
        return rule.value
    inside, count = np.empty(np.count_nonzero(body), dtype=sigma.dtype), 0
    if inside.size == 0:
        return np.inf
    for slab in slabs(sigma.shape):
        found = sigma[slab][body[slab]]
        inside[count : count + found.size] = found
        count += found.size
        yield
    return (yield from percentile_stepwise(inside, rule.value))


def _largePiecesStepwise(
    sigma: np.ndarray, body: np.ndarray | None, lowest: float, minimumSize: float, voxelVolume: float
) -> Generator[None, None, tuple[np.ndarray, int]]:
    from upgan.stepwise.components import component_stepwise
    from upgan.stepwise.steps import slabs

    def high(slab: slice) -> np.ndarray:
        return sigma[slab] >= lowest if body is None else (sigma[slab] >= lowest) & body[slab]

    pieces = yield from component_stepwise(sigma.shape, high)
    # A little less, so that 0.5 mL of voxels of 0.1 mL are five and not six for a rounding error.
    large = pieces.sizes * voxelVolume >= minimumSize * (1 - 1e-9)
    large[0] = False
    mask = np.empty(sigma.shape, dtype=bool)
    for slab in slabs(sigma.shape):
        mask[slab] = large[pieces.of(slab)]
        yield
    return mask, int(large.sum())


def segmentUncertainRegions(result: Result, rule: Rule, body: np.ndarray) -> Regions:
    """Add a segment of uncertain regions to the translation's segmentation; the same rule's former one is replaced.

    It takes about 50 ms for a million voxels.

    Args:
        result: A result whose sigma is in the scene.
        rule: What counts as uncertain.
        body: Where the patient is, boolean [K, J, I], as ``bodyMask`` returns it.
    """
    from upgan.stepwise.steps import finish

    return finish(segmentUncertainRegionsStepwise(result, rule, body))


def segmentUncertainRegionsStepwise(result: Result, rule: Rule, body: np.ndarray) -> Generator[None, None, Regions]:
    """Do what ``segmentUncertainRegions`` does stepwise, a few milliseconds between two yields; the scene changes last.

    Raises:
        ResultGoneError: Sigma has left the scene meanwhile, or shows another phase.
    """
    node = result.nodes["sigma"]
    scene, image = node.GetScene(), node.GetImageData()
    sigma = slicer.util.arrayFromVolume(node)
    volume = voxelVolume(node)
    lowest = yield from lowestSigmaStepwise(sigma, body, rule)
    counted = body if rule.percentile else None
    mask, count = yield from _largePiecesStepwise(sigma, counted, lowest, rule.minimumSize, volume)
    labelmap = (yield from _labelmapStepwise(node, mask)) if count else None
    if not isInScene(node, scene) or node.GetImageData() is not image:
        raise ResultGoneError
    name = ruleName(rule, lowest, result.shownUnit)
    segmentation = segmentationOf(result)
    if segmentation is not None:
        _removeSegment(segmentation, name)
    if count == 0:
        return Regions(None, "", name, 0, 0.0)
    if segmentation is None:
        segmentation = _addSegmentation(result, node)
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
    segmentation.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    color = COLORS[segmentation.GetSegmentation().GetNumberOfSegments() % len(COLORS)]
    segmentID = segmentation.AddSegmentFromBinaryLabelmapRepresentation(labelmap, name, color)
    return Regions(segmentation, segmentID, name, count, float(np.count_nonzero(mask)) * volume)


def segmentationOf(result: Result) -> slicer.vtkMRMLSegmentationNode | None:
    """Return the segmentation of the translation's uncertain regions where there is one."""
    scene = result.scene
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        node = scene.GetNthNodeByClass(i, "vtkMRMLSegmentationNode")
        if node.GetAttribute(TRANSLATION) == result.translationID:
            return node
    return None


def ruleName(rule: Rule, lowest: float, unit: str) -> str:
    """Return a rule in words: "σ ≥ 180 HU, ≥ 0.5 mL"."""
    parts = [f"σ ≥ {lowest:.4g} {unit}".rstrip()]
    if rule.percentile:
        parts[0] += f" (percentile {rule.value:g} in the body)"
    if rule.minimumSize > 0:
        parts.append(f"≥ {rule.minimumSize:g} mL")
    return ", ".join(parts)


def voxelVolume(node: slicer.vtkMRMLScalarVolumeNode) -> float:
    """Return the volume of one voxel in mL; of a sheared grid too."""
    return abs(float(np.linalg.det(ijkToRAS(node)[:3, :3]))) / 1000


def _addSegmentation(result: Result, node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode:
    scene = result.scene
    name = f"{(result.inputNode or node).GetName()} uncertain regions"
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    segmentation.SetAttribute(TRANSLATION, result.translationID)
    if result.inputNode is not None:
        segmentation.SetNodeReferenceID(INPUT_REFERENCE, result.inputNode.GetID())
    segmentation.CreateDefaultDisplayNodes()
    # The outline tells where; a filling would tint the map's colours, which then were not those of its legend.
    segmentation.GetDisplayNode().SetVisibility2DFill(False)
    placeBeside(node, segmentation)
    return segmentation


def _removeSegment(segmentation: slicer.vtkMRMLSegmentationNode, name: str) -> None:
    segments = segmentation.GetSegmentation()
    segmentID = segments.GetSegmentIdBySegmentName(name)
    if segmentID:
        segments.RemoveSegment(segmentID)


def orientedLike(node: slicer.vtkMRMLScalarVolumeNode, planes: slice | None = None) -> slicer.vtkOrientedImageData:
    """Return an image of bytes on a volume's grid, in the node's own coordinates, with voxels not yet set.

    Args:
        node: The volume.
        planes: The range of its planes along K, from 0, that the image covers; all of them by default.
    """
    image = slicer.vtkOrientedImageData()
    extent = list(node.GetImageData().GetExtent())
    if planes is not None:
        extent[4:] = extent[4] + planes.start, extent[4] + planes.stop - 1
    image.SetExtent(extent)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    image.SetImageToWorldMatrix(matrix)
    return image


def _labelmapStepwise(
    node: slicer.vtkMRMLScalarVolumeNode, mask: np.ndarray
) -> Generator[None, None, slicer.vtkOrientedImageData]:
    """Return a mask [K, J, I] as a label map on a volume's grid."""
    from upgan.stepwise.steps import slabs

    image = orientedLike(node)
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(mask.shape)
    for slab in slabs(mask.shape):
        voxels[slab] = mask[slab]
        yield
    return image
