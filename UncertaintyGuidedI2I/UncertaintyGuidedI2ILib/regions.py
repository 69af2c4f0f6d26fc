"""Where a run is uncertain, as segments of one segmentation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from UncertaintyGuidedI2ILib.results import RUN, Result
from UncertaintyGuidedI2ILib.scene import INPUT_REFERENCE, ijkToRAS, placeBeside

# Cold colours, so that the outline is seen on sigma's warm ones; one a rule.
COLORS = ((0.0, 0.9, 0.9), (0.3, 1.0, 0.3), (0.4, 0.6, 1.0), (1.0, 0.5, 1.0))


@dataclass(frozen=True)
class Rule:
    """What counts as uncertain.

    Attributes:
        value: Lowest sigma in its unit, or the percentile of sigma inside the body.
        percentile: Whether it is the percentile; then regions outside the body do not count.
        minimumSize: In mL; smaller regions are left out.
    """

    value: float
    percentile: bool = False
    minimumSize: float = 0.0


@dataclass(frozen=True)
class Regions:
    """The segment that a rule made.

    Attributes:
        segmentation: The run's segmentation; None where no region was found.
        segmentID: In it.
        name: The rule in words.
        count: Number of regions, connected by faces.
        volume: Of all of them, mL.
    """

    segmentation: slicer.vtkMRMLSegmentationNode | None
    segmentID: str
    name: str
    count: int
    volume: float


def bodyMask(result: Result) -> np.ndarray:
    """Return where the patient is in the translated image, boolean [K, J, I]; all of it where there is no image.

    In HU: the largest part above −500 HU, closed and filled; in arbitrary units: the same above half the mean of what
    is positive. It takes 0.1 s for a million voxels.
    """
    from upgan.evaluation.body import body_mask

    if "image" not in result.nodes:
        return np.ones(slicer.util.arrayFromVolume(next(iter(result.nodes.values()))).shape, dtype=bool)
    image = slicer.util.arrayFromVolume(result.nodes["image"])
    if result.unit == "HU":
        return body_mask(image)
    positive = image[image > 0]
    return body_mask(image, float(positive.mean()) / 2 if positive.size else 0.0)


def uncertainRegions(sigma: np.ndarray, body: np.ndarray, rule: Rule, voxelVolume: float) -> tuple[np.ndarray, int]:
    """Return where sigma is high in large enough pieces, and how many pieces there are.

    Args:
        sigma: [K, J, I].
        body: Boolean [K, J, I].
        rule: What to find.
        voxelVolume: In mL.

    Returns:
        Boolean [K, J, I]; voxels are connected by their faces.
    """
    from scipy import ndimage

    high = sigma >= lowestSigma(sigma, body, rule)
    if rule.percentile:
        high &= body
    labels, _count = ndimage.label(high)
    sizes = np.bincount(labels.ravel())
    # A little less, so that 0.5 mL of voxels of 0.1 mL are five and not six for a rounding error.
    large = sizes * voxelVolume >= rule.minimumSize * (1 - 1e-9)
    large[0] = False
    return large[labels], int(large.sum())


def lowestSigma(sigma: np.ndarray, body: np.ndarray, rule: Rule) -> float:
    """Return the sigma from which on a voxel is uncertain; infinite where there is no body to take a percentile of."""
    if not rule.percentile:
        return rule.value
    return float(np.percentile(sigma[body], rule.value)) if body.any() else np.inf


def segmentUncertainRegions(result: Result, rule: Rule, body: np.ndarray) -> Regions:
    """Add a segment of the uncertain regions to the run's segmentation; the same rule's former segment is replaced.

    It takes about 25 ms for a million voxels.

    Args:
        result: With its sigma in the scene.
        rule: What counts as uncertain.
        body: See ``bodyMask``.
    """
    node = result.nodes["sigma"]
    sigma = slicer.util.arrayFromVolume(node)
    volume = voxelVolume(node)
    mask, count = uncertainRegions(sigma, body, rule, volume)
    name = ruleName(rule, lowestSigma(sigma, body, rule), result.unit)
    segmentation = segmentationOf(result)
    if count == 0:
        if segmentation is not None:
            _removeSegment(segmentation, name)
        return Regions(None, "", name, 0, 0.0)
    if segmentation is None:
        segmentation = _addSegmentation(result, node)
    _removeSegment(segmentation, name)
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
    segmentation.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    color = COLORS[segmentation.GetSegmentation().GetNumberOfSegments() % len(COLORS)]
    segmentID = segmentation.AddSegmentFromBinaryLabelmapRepresentation(_labelmap(node, mask), name, color)
    return Regions(segmentation, segmentID, name, count, float(mask.sum()) * volume)


def segmentationOf(result: Result) -> slicer.vtkMRMLSegmentationNode | None:
    """Return the segmentation of the run's uncertain regions where there is one."""
    scene = result.scene
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        node = scene.GetNthNodeByClass(i, "vtkMRMLSegmentationNode")
        if node.GetAttribute(RUN) == result.runID:
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
    segmentation.SetAttribute(RUN, result.runID)
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


def orientedLike(node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkOrientedImageData:
    """Return an image of bytes on a volume's grid, in the node's own coordinates, with voxels not yet set."""
    image = slicer.vtkOrientedImageData()
    image.SetExtent(node.GetImageData().GetExtent())
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    image.SetImageToWorldMatrix(matrix)
    return image


def _labelmap(node: slicer.vtkMRMLScalarVolumeNode, mask: np.ndarray) -> slicer.vtkOrientedImageData:
    """Return a mask [K, J, I] as a label map on a volume's grid."""
    image = orientedLike(node)
    vtk_to_numpy(image.GetPointData().GetScalars()).reshape(mask.shape)[:] = mask
    return image
