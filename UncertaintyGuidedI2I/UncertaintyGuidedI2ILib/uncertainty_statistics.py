"""Sigma in figures: by tissue class, by the user's own segments, and which slices are the most uncertain."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from UncertaintyGuidedI2ILib.regions import orientedLike, voxelVolume
from UncertaintyGuidedI2ILib.results import Result
from UncertaintyGuidedI2ILib.scene import ijkToRAS, placeBeside, provenanceOf

# Upper HU of air and of soft tissue; bone is what lies above.
AIR, SOFT = -300.0, 200.0
# RAS axis across the slices of a plane, and what its negative and positive ends are called.
AXES = {"sagittal": (0, "LR"), "coronal": (1, "PA"), "axial": (2, "IS")}
# A slice that shows less of the body than this share of the fullest one is a rim: its mean says nothing.
RIM = 0.05
# Percentiles of so many voxels are stable to a per mille.
SAMPLE = 2_000_000


@dataclass(frozen=True)
class Statistics:
    """Sigma in one region.

    Attributes:
        region: What it is.
        voxels: How many.
        volume: In mL.
        mean: Of sigma in its unit, like the next three.
        median: Of sigma.
        percentile95: Of sigma.
        width: Mean width of the credible interval; NaN where alpha or beta are not in the scene.
    """

    region: str
    voxels: int
    volume: float
    mean: float
    median: float
    percentile95: float
    width: float


def tissueClasses(result: Result, body: np.ndarray) -> dict[str, np.ndarray]:
    """Return masks [K, J, I] by name: the body, and in HU the tissues that the translated image shows in it."""
    if result.unit != "HU" or "image" not in result.nodes:
        return {"foreground": body}
    image = slicer.util.arrayFromVolume(result.nodes["image"])
    return {
        "body": body,
        f"air (≤ {_limit(AIR)} HU)": body & (image <= AIR),
        f"soft tissue ({_limit(AIR)} to {SOFT:g} HU)": body & (image > AIR) & (image <= SOFT),
        f"bone (> {SOFT:g} HU)": body & (image > SOFT),
    }


def segmentMasks(
    segmentation: slicer.vtkMRMLSegmentationNode, reference: slicer.vtkMRMLScalarVolumeNode
) -> dict[str, np.ndarray]:
    """Return the segments on a volume's grid, boolean [K, J, I] by name; grids and parent transforms may differ."""
    segments = segmentation.GetSegmentation()
    masks: dict[str, np.ndarray] = {}
    for i in range(segments.GetNumberOfSegments()):
        segmentID = segments.GetNthSegmentID(i)
        name = segments.GetSegment(segmentID).GetName()
        # Two segments may share a name; both are shown.
        key = name if name not in masks else f"{name} ({i + 1})"
        masks[key] = _segmentMask(segmentation, segmentID, reference)
    return masks


def _limit(value: float) -> str:
    # A true minus sign: a hyphen before a number at the end of a line is read as a dash.
    return f"{value:g}".replace("-", "−")


def _segmentMask(
    segmentation: slicer.vtkMRMLSegmentationNode, segmentID: str, reference: slicer.vtkMRMLScalarVolumeNode
) -> np.ndarray:
    # Not by slicer.util.arrayFromSegmentBinaryLabelmap, which adds a volume to the scene for each segment.
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    segment, resampled = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    grid = orientedLike(reference)
    toReference = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        segmentation.GetParentTransformNode(), reference.GetParentTransformNode(), toReference
    )
    if not (
        logic.GetSegmentBinaryLabelmapRepresentation(segmentation, segmentID, segment, False)
        and slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
            segment, grid, resampled, False, False, toReference
        )
    ):
        return np.zeros(slicer.util.arrayFromVolume(reference).shape, dtype=bool)
    shape = resampled.GetDimensions()[::-1]
    return vtk_to_numpy(resampled.GetPointData().GetScalars()).reshape(shape) > 0


def statisticsOf(result: Result, masks: Mapping[str, np.ndarray], level: float) -> list[Statistics]:
    """Return sigma's statistics in each region.

    Voxels, volume and mean are of all voxels, the rest of an even sample where there are more than two million.

    Args:
        result: With its sigma in the scene.
        masks: Boolean [K, J, I] by the region's name.
        level: Of the credible interval, in (0, 1).
    """
    from upgan.derived import interval_width

    node = result.nodes["sigma"]
    sigma = slicer.util.arrayFromVolume(node).reshape(-1)
    volume = voxelVolume(node)
    rows = []
    for region, mask in masks.items():
        inside = np.flatnonzero(mask)
        if inside.size == 0:
            rows.append(Statistics(region, 0, 0.0, math.nan, math.nan, math.nan, math.nan))
            continue
        sample = inside[:: -(-inside.size // SAMPLE)]
        width = math.nan
        if "alpha" in result.nodes and "beta" in result.nodes:
            alpha, beta = (
                slicer.util.arrayFromVolume(result.nodes[name]).reshape(-1)[sample] for name in ("alpha", "beta")
            )
            width = float(interval_width(alpha, beta, level).mean(dtype=np.float64))
        median, high = np.percentile(sigma[sample], (50, 95))
        mean = float(sigma[inside].mean(dtype=np.float64))
        rows.append(Statistics(region, inside.size, inside.size * volume, mean, float(median), float(high), width))
    return rows


def columnTitles(unit: str, level: float) -> list[str]:
    """Return the titles of a table of ``Statistics``, with units."""
    sigma = f" ({unit})" if unit else ""
    return [
        "Region",
        "Voxels",
        "Volume (mL)",
        f"Mean σ{sigma}",
        f"Median σ{sigma}",
        f"95th percentile of σ{sigma}",
        f"Mean {100 * level:g} % interval width{sigma}",
    ]


def addTable(result: Result, rows: Iterable[Statistics], level: float) -> slicer.vtkMRMLTableNode:
    """Add the statistics to the scene as a table that Slicer shows, plots and exports."""
    scene, node = result.scene, result.nodes["sigma"]
    name = f"{(result.inputNode or node).GetName()} sigma statistics"
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
    rows = list(rows)
    fields = ("region", "voxels", "volume", "mean", "median", "percentile95", "width")
    for field, title in zip(fields, columnTitles(result.unit, level), strict=True):
        kind = {"region": vtk.vtkStringArray, "voxels": vtk.vtkIntArray}.get(field, vtk.vtkDoubleArray)
        column = kind()
        column.SetName(title)
        for row in rows:
            column.InsertNextValue(getattr(row, field))
        table.AddColumn(column)
    placeBeside(node, table)
    return table


@dataclass(frozen=True)
class RankedSlice:
    """One slice of the model's plane.

    Attributes:
        number: From 1, as the voxels are stored.
        position: Where it lies: "S 12.5 mm".
        mean: Mean sigma inside the body.
        share: Of the body's voxels in it, those with sigma at or above the threshold.
        point: Its most uncertain voxel inside the body, RAS in mm in the world.
    """

    number: int
    position: str
    mean: float
    share: float
    point: tuple[float, float, float]


def rankSlices(result: Result, body: np.ndarray, threshold: float, count: int = 10) -> list[RankedSlice]:
    """Return the slices with the highest mean sigma inside the body, the most uncertain first.

    Slices run across the plane in which the model worked: for axial ones along the axis of the voxels that is nearest
    to S. Those that show less than a twentieth of the body's largest section are left out.

    Args:
        result: With its sigma in the scene.
        body: Boolean [K, J, I].
        threshold: Of sigma, for ``RankedSlice.share``.
        count: How many at most.
    """
    node = result.nodes["sigma"]
    world, name = AXES.get(provenanceOf(node).get("plane", "axial"), AXES["axial"])
    directions = ijkToRAS(node)[:3, :3]
    axis = int(np.abs(directions[world] / np.linalg.norm(directions, axis=0)).argmax())
    # Voxels are stored [K, J, I].
    sigma = np.moveaxis(slicer.util.arrayFromVolume(node), 2 - axis, 0)
    inside = np.moveaxis(body, 2 - axis, 0)
    sizes = inside.sum((1, 2))
    means = np.full(len(sizes), -np.inf)
    for i in np.flatnonzero(sizes > RIM * sizes.max()):
        means[i] = sigma[i][inside[i]].mean(dtype=np.float64)
    ranked = []
    for i in np.argsort(-means, kind="stable")[:count]:
        if not np.isfinite(means[i]):
            break
        highest = np.unravel_index(np.where(inside[i], sigma[i], -np.inf).argmax(), sigma[i].shape)
        index = list(map(int, highest))
        index.insert(2 - axis, int(i))
        point = _toWorld(node, index[::-1])
        share = float((sigma[i][inside[i]] >= threshold).mean())
        ranked.append(RankedSlice(int(i) + 1, _position(point[world], name), float(means[i]), share, point))
    return ranked


def jumpTo(scene: slicer.vtkMRMLScene, point: tuple[float, float, float]) -> None:
    """Let all slice views show a point; how they are zoomed stays."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *point, slicer.vtkMRMLSliceNode.OffsetJumpSlice)


def _position(coordinate: float, ends: str) -> str:
    """Return a coordinate as radiologists read it: "I 12.5 mm"."""
    rounded = round(coordinate, 1)
    return f"{ends[rounded >= 0]} {abs(rounded):.1f} mm"


def _toWorld(node: slicer.vtkMRMLScalarVolumeNode, ijk: list[int]) -> tuple[float, float, float]:
    """Return the centre of the voxel at a position of the array (i, j, k), through all parent transforms."""
    first = node.GetImageData().GetExtent()[::2]
    local = ijkToRAS(node) @ [*(i + low for i, low in zip(ijk, first, strict=True)), 1.0]
    toWorld = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(node.GetParentTransformNode(), None, toWorld)
    x, y, z = toWorld.TransformPoint(local[:3])
    return x, y, z
