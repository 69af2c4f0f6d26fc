"""Sigma in figures: by tissue class, by the user's own segments, and which slices are the most uncertain."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from UncertaintyGuidedI2ILib.inspection.conformal import enoughWidths
from UncertaintyGuidedI2ILib.inspection.overlays import STEP_VOXELS
from UncertaintyGuidedI2ILib.inspection.regions import orientedLike, voxelVolume
from UncertaintyGuidedI2ILib.scene.familiarity import areIntervalsWithheld
from UncertaintyGuidedI2ILib.scene.nodes import ijkToRAS, placeBeside, provenanceOf
from UncertaintyGuidedI2ILib.scene.results import Result
from UncertaintyGuidedI2ILib.text import shownUnit

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
        region: The region's name: a tissue class, or a segment of the user's.
        voxels: Number of voxels in the region.
        volume: Volume of the region in mL.
        mean: Mean of sigma in the image's unit, like the next three.
        median: Median of sigma.
        percentile95: 95th percentile of sigma.
        width: Mean width of the credible interval; NaN where alpha or beta are not in the scene, or the input was
            unlike the training data.
        share: Mean of sigma in per cent of the input's reference; NaN where the unit is not the input's own.
        epistemic: Mean of the epistemic map; NaN where there is none of the phase that is shown.
        enough: Mean width of the intervals that are enough for 9 of 10 patients; NaN where the model claims none.
    """

    region: str
    voxels: int
    volume: float
    mean: float
    median: float
    percentile95: float
    width: float
    share: float = math.nan
    epistemic: float = math.nan
    enough: float = math.nan


def tissueClasses(result: Result, body: np.ndarray) -> dict[str, np.ndarray]:
    """Return masks [K, J, I] by name: the body, and in HU the tissues that the translated image shows in it."""
    from upgan.stepwise.steps import finish

    return finish(tissueClassesStepwise(result, body))


def tissueClassesStepwise(result: Result, body: np.ndarray) -> Generator[None, None, dict[str, np.ndarray]]:
    """Do what ``tissueClasses`` does stepwise: a few milliseconds between two yields."""
    from upgan.stepwise.steps import slabs

    if result.unit != "HU" or "image" not in result.nodes:
        return {"foreground": body}
    image = slicer.util.arrayFromVolume(result.nodes["image"])
    air, soft, bone = (np.empty(image.shape, dtype=bool) for _tissue in range(3))
    for slab in slabs(image.shape):
        inside, values = body[slab], image[slab]
        air[slab] = inside & (values <= AIR)
        soft[slab] = inside & (values > AIR) & (values <= SOFT)
        bone[slab] = inside & (values > SOFT)
        yield
    return {
        "body": body,
        f"air (≤ {_limit(AIR)} HU)": air,
        f"soft tissue ({_limit(AIR)} to {SOFT:g} HU)": soft,
        f"bone (> {SOFT:g} HU)": bone,
    }


def segmentMasks(
    segmentation: slicer.vtkMRMLSegmentationNode, reference: slicer.vtkMRMLScalarVolumeNode
) -> dict[str, np.ndarray]:
    """Return the segments on a volume's grid, boolean [K, J, I] by name; grids and parent transforms may differ."""
    from upgan.stepwise.steps import finish

    return finish(segmentMasksStepwise(segmentation, reference))


def segmentMasksStepwise(
    segmentation: slicer.vtkMRMLSegmentationNode, reference: slicer.vtkMRMLScalarVolumeNode
) -> Generator[None, None, dict[str, np.ndarray]]:
    """Do what ``segmentMasks`` does stepwise: a few milliseconds between two yields.

    A segment that has no label map is converted in one go, which may take longer.
    """
    segments = segmentation.GetSegmentation()
    segmentIDs = [segments.GetNthSegmentID(i) for i in range(segments.GetNumberOfSegments())]
    names = [segments.GetSegment(segmentID).GetName() for segmentID in segmentIDs]
    masks: dict[str, np.ndarray] = {}
    for i, (segmentID, name) in enumerate(zip(segmentIDs, names, strict=True)):
        # Two segments may share a name; both are shown.
        key = name if name not in masks else f"{name} ({i + 1})"
        masks[key] = yield from _segmentMaskStepwise(segmentation, segmentID, reference)
    return masks


def _limit(value: float) -> str:
    # A true minus sign: a hyphen before a number at the end of a line is read as a dash.
    return f"{value:g}".replace("-", "−")


def _segmentMaskStepwise(
    segmentation: slicer.vtkMRMLSegmentationNode, segmentID: str, reference: slicer.vtkMRMLScalarVolumeNode
) -> Generator[None, None, np.ndarray]:
    # Not by slicer.util.arrayFromSegmentBinaryLabelmap, which adds a volume to the scene for each segment.
    from upgan.stepwise.steps import slabs

    logic = slicer.vtkSlicerSegmentationsModuleLogic
    segment, resampled = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    toReference = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        segmentation.GetParentTransformNode(), reference.GetParentTransformNode(), toReference
    )
    mask = np.zeros(slicer.util.arrayFromVolume(reference).shape, dtype=bool)
    if not logic.GetSegmentBinaryLabelmapRepresentation(segmentation, segmentID, segment, False):
        return mask
    for slab in slabs(mask.shape):
        yield
        if not slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
            segment, orientedLike(reference, slab), resampled, False, False, toReference
        ):
            continue
        mask[slab] = vtk_to_numpy(resampled.GetPointData().GetScalars()).reshape(mask[slab].shape) > 0
    return mask


def statisticsOf(result: Result, masks: Mapping[str, np.ndarray], level: float) -> list[Statistics]:
    """Return sigma's statistics in each region.

    Voxels, volume and mean are of all voxels, the rest of an even sample where there are more than two million.

    Args:
        result: A result whose sigma is in the scene.
        masks: Masks, boolean [K, J, I], by the region's name.
        level: The level of the credible interval, in (0, 1).
    """
    from upgan.stepwise.steps import finish

    return finish(statisticsStepwise(result, masks, level))


def statisticsStepwise(
    result: Result, masks: Mapping[str, np.ndarray], level: float
) -> Generator[None, None, list[Statistics]]:
    """Do what ``statisticsOf`` does stepwise: a few milliseconds between two yields, or some tens for percentiles."""
    from upgan.uncertainty.derived import interval_width

    volume = voxelVolume(result.nodes["sigma"])
    voxels = {quantity: slicer.util.arrayFromVolume(node).reshape(-1) for quantity, node in result.nodes.items()}
    hasIntervals = "alpha" in voxels and "beta" in voxels and not areIntervalsWithheld(result)
    widths, reference = enoughWidths(result, result.phase, level), result.reference
    rows = []
    for region, mask in masks.items():
        inside, sample = yield from _insideStepwise(voxels["sigma"], mask.reshape(-1))
        if inside.size == 0:
            rows.append(Statistics(region, 0, 0.0, math.nan, math.nan, math.nan, math.nan))
            continue
        width = epistemic = enough = math.nan
        if hasIntervals:
            maps = [voxels["alpha"], voxels["beta"]]
            width = yield from _meanStepwise(partial(interval_width, level=level), maps, sample)
            if widths is not None and "image" in voxels:
                enough = yield from _meanStepwise(widths, [voxels["image"], *maps], sample)
        median, high = np.percentile(voxels["sigma"][sample], (50, 95))
        yield
        mean = float(inside.mean(dtype=np.float64))
        if result.epistemicNode is not None:
            disagreement, _sample = yield from _insideStepwise(voxels["epistemic"], mask.reshape(-1))
            epistemic = float(disagreement.mean(dtype=np.float64))
        size = inside.size
        share = 100 * mean / reference if reference else math.nan
        found = (mean, float(median), float(high), width, share, epistemic, enough)
        rows.append(Statistics(region, size, size * volume, *found))
        yield
    return rows


def _insideStepwise(values: np.ndarray, mask: np.ndarray) -> Generator[None, None, tuple[np.ndarray, np.ndarray]]:
    """Return the values in a mask, and the indices of an even sample of at most ``SAMPLE`` of its voxels."""
    from upgan.stepwise.steps import spans

    inside, count = np.empty(np.count_nonzero(mask), dtype=values.dtype), 0
    every = max(1, -(-inside.size // SAMPLE))
    sample = [np.empty(0, dtype=np.intp)]
    for span in spans(values.size):
        found = np.flatnonzero(mask[span]) + span.start
        inside[count : count + found.size] = values[found]
        sample.append(found[-count % every :: every])
        count += found.size
        yield
    return inside, np.concatenate(sample)


def _meanStepwise(
    width: Callable[..., np.ndarray], maps: Sequence[np.ndarray], sample: np.ndarray
) -> Generator[None, None, float]:
    """Return the mean of what a function makes of maps at a sample's voxels, without NaN; NaN if that is all."""
    from upgan.stepwise.steps import spans

    widths = np.empty(sample.size, dtype=np.float32)
    for span in spans(sample.size, STEP_VOXELS):
        widths[span] = width(*(values[sample[span]] for values in maps))
        yield
    known = widths[~np.isnan(widths)]
    return float(known.mean(dtype=np.float64)) if known.size else math.nan


def columns(rows: Iterable[Statistics], unit: str, level: float) -> dict[str, str]:
    """Return the titles of a table of ``Statistics`` by field, with units; only where there are figures at all."""
    sigma = f" ({shownUnit(unit)})"
    titles = {
        "region": "Region",
        "voxels": "Voxels",
        "volume": "Volume (mL)",
        "mean": f"Mean σ{sigma}",
        "share": "Mean σ (% of the input's reference)",
        "median": f"Median σ{sigma}",
        "percentile95": f"95th percentile of σ{sigma}",
        "width": f"Mean {100 * level:g} % interval width{sigma}",
        "epistemic": f"Mean epistemic{sigma}",
        "enough": f"Mean width of the {100 * level:g} % interval that is enough for 9 of 10 patients{sigma}",
    }
    rows = list(rows)
    for field in ("share", "epistemic", "enough"):
        if all(math.isnan(getattr(row, field)) for row in rows):
            del titles[field]
    return titles


def addTable(result: Result, rows: Iterable[Statistics], level: float) -> slicer.vtkMRMLTableNode:
    """Add the statistics to the scene as a table that Slicer shows, plots and exports."""
    scene, node = result.scene, result.nodes["sigma"]
    name = f"{(result.inputNode or node).GetName()} sigma statistics"
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
    rows = list(rows)
    for field, title in columns(rows, result.unit, level).items():
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
        number: The slice's number in the order in which the voxels are stored, the first being 1.
        position: Where the slice lies, for people: "S 12.5 mm".
        mean: Mean sigma inside the body in the image's unit.
        share: Share of the body's voxels in the slice whose sigma is at or above the threshold, from 0 to 1.
        point: The centre of the slice's most uncertain voxel inside the body, world RAS in mm.
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
        result: A result whose sigma is in the scene.
        body: Where the patient is, boolean [K, J, I].
        threshold: The sigma from which on a voxel counts in ``RankedSlice.share``.
        count: The largest number of slices to return.
    """
    from upgan.stepwise.steps import finish

    return finish(rankSlicesStepwise(result, body, threshold, count))


def rankSlicesStepwise(
    result: Result, body: np.ndarray, threshold: float, count: int = 10
) -> Generator[None, None, list[RankedSlice]]:
    """Do what ``rankSlices`` does stepwise: one slice between two yields."""
    node = result.nodes["sigma"]
    world, name = AXES.get(provenanceOf(node).get("plane", "axial"), AXES["axial"])
    directions = ijkToRAS(node)[:3, :3]
    axis = int(np.abs(directions[world] / np.linalg.norm(directions, axis=0)).argmax())
    # Voxels are stored [K, J, I].
    sigma = np.moveaxis(slicer.util.arrayFromVolume(node), 2 - axis, 0)
    inside = np.moveaxis(body, 2 - axis, 0)
    sizes = np.zeros(len(inside), dtype=np.int64)
    for i, section in enumerate(inside):
        sizes[i] = np.count_nonzero(section)
        yield
    means = np.full(len(sizes), -np.inf)
    for i in map(int, np.flatnonzero(sizes > RIM * sizes.max())):
        means[i] = sigma[i][inside[i]].mean(dtype=np.float64)
        yield
    ranked = []
    for i in map(int, np.argsort(-means, kind="stable")[:count]):
        if not np.isfinite(means[i]):
            break
        highest = np.unravel_index(np.where(inside[i], sigma[i], -np.inf).argmax(), sigma[i].shape)
        index = list(map(int, highest))
        index.insert(2 - axis, i)
        point = _toWorld(node, index[::-1])
        share = float((sigma[i][inside[i]] >= threshold).mean())
        ranked.append(RankedSlice(i + 1, _position(point[world], name), float(means[i]), share, point))
        yield
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
