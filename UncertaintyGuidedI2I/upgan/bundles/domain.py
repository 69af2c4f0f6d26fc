"""What a model was trained on, measured on its training inputs, and whether a new volume is like it.

Needs no network, so that a viewer can ask it whenever another image or model is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, NamedTuple, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from scipy import ndimage

from upgan.errors import InputError
from upgan.images.orientation import Plane, Reorientation
from upgan.images.outline import midway
from upgan.images.volume import Volume
from upgan.tasks import Task

# The volume is looked at on a coarse grid: fine enough for a head's outline, coarse enough for a live panel.
_CELL_MM = 3.0
_MOST_PIXELS = 192
_MOST_SLICES = 32

# Distance over which contrast is measured: beyond the blur of PET (5 to 6 mm), within the size of a gyrus.
_CONTRAST_MM = 8.0

# How far beyond the training's range a volume may lie. The errors are those of the bundled PET→CT model inside the body
# of its sample, 80 HU as it is, with the geometry changed; Testing/Experiments/domain.py measures them. The limits of
# size and histogram were chosen with eight T1 heads, a fruit and a bottle in view: on those they are no test.
_COARSER_PIXELS = 1.6  # 3.2 mm instead of 2 mm: 117 HU
_WIDER_GAPS = 3.0  # 9 mm instead of 3 mm: no loss, which begins at 12 mm
_NARROWER_FIELD = 0.8  # the head is cut: 122 HU
_WIDER_FIELD = 2.0  # air added all around: 87 HU
_SMALLER, _LARGER = 0.92, 1.08  # one of those heads and the others: 0.99; the bottle: 0.86
_TILT_DEG = 30.0  # a choice, not measured; the most oblique of those heads lies at 20°
# One of eight T1 heads differs from the others by up to 1.9, from the PET heads by 2.1; the bottle's contrast by 3.0.
_HISTOGRAM = 2.5
_BRIGHTER_HIGHLIGHTS = 1.4  # one of those heads and the others: 1.34; a CT: 10


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError("the first number must be the smaller one")
    return limits


# Of whatever is measured, in mm, degrees or as a ratio: real ranges lie far within.
_LARGEST = 1e6

_Limit = Annotated[float, Field(ge=0, le=_LARGEST, allow_inf_nan=False)]

Range = Annotated[tuple[_Limit, _Limit], AfterValidator(_ordered)]


class Appearance(NamedTuple):
    """The object in an image: how large it is and how its intensities are spread.

    Attributes:
        diameter_mm: Diameter of the circle with the area of the largest outline in any slice.
        brightness: Median inside the outlines as a fraction of v_ref, the 99th percentile of the foreground.
        highlights: 95th percentile inside the outlines, as a multiple of that median.
        contrast: Median difference of two points 8 mm apart in a slice, as a fraction of their mean.
    """

    diameter_mm: float
    brightness: float
    highlights: float
    contrast: float


class Domain(BaseModel):
    """Ranges (smallest, largest) over the inputs a model was trained on, each within 0 to 1e6.

    Attributes:
        volumes: The number of volumes that were measured.
        plane: The plane of their slices.
        pixel_mm: Pixel size in the slices, the geometric mean of rows and columns.
        gap_mm: Distance between slices.
        field_mm: Field of view of the slices: shortest and longest side.
        tilt_deg: Angle between the slices and the anatomical plane.
        diameter_mm: Diameter of the object, as ``Appearance`` defines it and the three that follow.
        brightness: Median inside the object as a fraction of v_ref.
        highlights: 95th percentile inside the object as a multiple of that median.
        contrast: Median difference of two points 8 mm apart as a fraction of their mean.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    volumes: int = Field(ge=1, le=10**9)
    plane: Plane
    pixel_mm: Range
    gap_mm: Range
    field_mm: Range
    tilt_deg: Range
    diameter_mm: Range
    brightness: Range
    highlights: Range
    contrast: Range

    @classmethod
    def measure(cls, volumes: Iterable[Volume], plane: Plane) -> Self:
        """Measure training inputs, which are taken one at a time.

        Args:
            volumes: Training inputs, of which at least one shows an object.
            plane: The plane of the slices on which the model is trained.

        Raises:
            InputError: ``nothing_measured``.
        """
        found: dict[str, list[float]] = {
            name: [] for name, field in cls.model_fields.items() if name not in ("volumes", "plane")
        }
        for volume in volumes:
            grid = _SliceGrid.of(volume, plane)
            found["pixel_mm"].append(math.sqrt(grid.pixel_mm[0] * grid.pixel_mm[1]))
            found["gap_mm"].append(grid.gap_mm)
            found["field_mm"].extend(grid.field_mm)
            found["tilt_deg"].append(grid.tilt_deg)
            appearance = appearance_of(volume, plane)
            if appearance is not None:
                for name, value in appearance._asdict().items():
                    found[name].append(value)
        if not found["contrast"]:
            raise InputError(
                "nothing_measured", "No training image has an object in it.", "Check the images that were trained on."
            )
        limits = {
            name: tuple(round(min(limit, _LARGEST), 4) for limit in (min(values), max(values)))
            for name, values in found.items()
        }
        return cls.model_validate({"volumes": len(found["gap_mm"]), "plane": plane, **limits})

    def describe(self) -> str:
        """Say in words, for a model card, what the training inputs were like."""
        return (
            f"{self.plane} slices {_range(self.gap_mm, 1)} mm apart with pixels of {_range(self.pixel_mm, 1)} mm and a "
            f"field of view with sides of {_range(self.field_mm, 0)} mm; in it is an object "
            f"{_range(self.diameter_mm, 0)} mm across (diameter of the circle with the area of its largest outline)"
        )


def misfits(
    task: Task, domain: Domain | None, volume: Volume, plane: Plane | None = None, *, sees_all: bool = True
) -> list[str]:
    """Sentences on why a model may do badly with this volume; empty where it seems to be what it was trained on.

    Args:
        task: The model's translation.
        domain: What it was trained on, where its bundle says so.
        volume: Any orientation; takes 10 to 30 ms whatever its size.
        plane: In which slices are to be cut; the model's own where None.
        sees_all: Whether the networks see the whole field of view, so that it may be too wide, or the object alone.
    """
    found = task.misfits(volume)
    if domain is None:
        return found
    if plane is not None and plane != domain.plane:
        found.append(f"Slices are to be {plane}, but the model was trained on {domain.plane} ones.")
    found += grid_misfits(domain, volume, sees_all=sees_all)
    appearance = appearance_of(volume, domain.plane)
    return found if appearance is None else found + _appearance_misfits(domain, appearance)


def grid_misfits(domain: Domain, volume: Volume, *, sees_all: bool = True) -> list[str]:
    """Return those of the sentences of ``misfits`` that are on the slices' size and place: no voxel is looked at."""
    return _geometry_misfits(domain, _SliceGrid.of(volume, domain.plane), sees_all)


def appearance_of(volume: Volume, plane: Plane) -> Appearance | None:
    """Measure the object of a volume on a coarse sample of its voxels; None where nothing stands out from nothing."""
    sample, spacing = _coarse(volume, plane)
    if not sample.any():
        return None
    # A quarter of it, an eighth of the object's mean: dark rims belong to the object, the noise of air does not.
    foreground = sample > midway(sample) / 4
    reference = np.percentile(sample[foreground], 99)
    outline = _outlines(foreground)
    area = outline.sum(axis=(1, 2)).max() * spacing[1] * spacing[2]
    median, bright = np.percentile(sample[outline], [50, 95])
    if median <= 0:
        return None
    return Appearance(
        diameter_mm=2 * math.sqrt(area / math.pi),
        brightness=float(median / reference),
        highlights=float(bright / median),
        contrast=_contrast(sample, outline, spacing),
    )


class _SliceGrid(NamedTuple):
    """The slices that a volume is cut into.

    Attributes:
        pixel_mm: Along rows' axis J' and columns' axis I'.
        gap_mm: Between slices.
        field_mm: Extent along J' and I'.
        tilt_deg: Angle between the slices and the anatomical plane.
    """

    pixel_mm: tuple[float, float]
    gap_mm: float
    field_mm: tuple[float, float]
    tilt_deg: float

    @classmethod
    def of(cls, volume: Volume, plane: Plane) -> _SliceGrid:
        reorientation = Reorientation.of(volume.ijk_to_ras, plane)
        axes = (volume.ijk_to_ras[:3, :3] / volume.spacing)[:, list(reorientation.sources)]
        normal = np.cross(axes[:, 0], axes[:, 1])
        anatomical = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
        cosine = min(abs(normal[anatomical]) / np.linalg.norm(normal), 1.0)
        rows, columns = reorientation.apply(volume.voxels).shape[1:]
        pixel = reorientation.in_plane_spacing
        field = (rows * pixel[0], columns * pixel[1])
        return cls(pixel, reorientation.spacing[2], field, math.degrees(math.acos(cosine)))


def _coarse(volume: Volume, plane: Plane) -> tuple[np.ndarray, list[float]]:
    """Return some voxels as float32 [K', J', I'] without negative or unreal ones, and their spacing (K', J', I')."""
    reorientation = Reorientation.of(volume.ijk_to_ras, plane)
    voxels = reorientation.apply(volume.voxels)
    spacing = reorientation.spacing[::-1]
    steps = [-(-voxels.shape[0] // _MOST_SLICES)]
    for count, step in zip(voxels.shape[1:], spacing[1:], strict=True):
        steps.append(max(1, int(_CELL_MM // step), -(-count // _MOST_PIXELS)))
    with np.errstate(over="ignore"):  # the infinite ones are taken out below
        sample = voxels[:: steps[0], :: steps[1], :: steps[2]].astype(np.float32)
    sample[~(np.isfinite(sample) & (sample > 0))] = 0
    return sample, [step * distance for step, distance in zip(steps, spacing, strict=True)]


def _outlines(foreground: np.ndarray) -> np.ndarray:
    """Keep the largest part of each slice [K, J, I] and fill its holes."""
    within_slices = np.zeros((3, 3, 3))
    within_slices[1] = ndimage.generate_binary_structure(2, 1)
    parts, count = ndimage.label(foreground, within_slices)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    largest = np.array([plane.flat[sizes[plane].argmax()] for plane in parts])
    outline = (parts == largest[:, None, None]) & (largest > 0)[:, None, None]
    around, _ = ndimage.label(np.pad(~outline, ((0, 0), (1, 1), (1, 1)), constant_values=True), within_slices)
    outside = around == around[:, :1, :1]
    return ~outside[:, 1:-1, 1:-1]


def _contrast(sample: np.ndarray, outline: np.ndarray, spacing: list[float]) -> float:
    differences = []
    for axis in (1, 2):
        steps = min(max(1, round(_CONTRAST_MM / spacing[axis])), sample.shape[axis] - 1)
        near = tuple(slice(None, -steps) if a == axis else slice(None) for a in range(3))
        far = tuple(slice(steps, None) if a == axis else slice(None) for a in range(3))
        inside = outline[near] & outline[far]
        one, other = sample[near][inside], sample[far][inside]
        differences.append(2 * np.abs(one - other) / np.maximum(one + other, np.finfo(np.float32).tiny))
    both = np.concatenate(differences)
    return float(np.median(both)) if both.size else 0.0


def _geometry_misfits(domain: Domain, grid: _SliceGrid, sees_all: bool) -> list[str]:
    found = []
    coarsest = domain.pixel_mm[1]
    # Pixels finer than the training's along one side do not make up for coarse ones along the other.
    effective = math.sqrt(math.prod(max(side, coarsest) for side in grid.pixel_mm))
    if effective > _COARSER_PIXELS * coarsest:
        found.append(
            f"The pixels of the {domain.plane} slices measure {_sides(grid.pixel_mm, 1)} mm; the model was trained on "
            f"{_range(domain.pixel_mm, 1)} mm."
        )
    if grid.gap_mm > _WIDER_GAPS * domain.gap_mm[1]:
        found.append(
            f"The {domain.plane} slices lie {grid.gap_mm:.1f} mm apart; the model was trained on "
            f"{_range(domain.gap_mm, 1)} mm."
        )
    low, high = domain.field_mm
    is_wide = sees_all and max(grid.field_mm) > _WIDER_FIELD * high
    if min(grid.field_mm) < _NARROWER_FIELD * low or is_wide:
        found.append(
            f"The field of view of the {domain.plane} slices is {_sides(grid.field_mm, 0)} mm; the model was trained "
            f"on sides of {_range(domain.field_mm, 0)} mm."
        )
    if grid.tilt_deg > max(_TILT_DEG, domain.tilt_deg[1]):
        found.append(
            f"The slices are tilted by {grid.tilt_deg:.0f}° out of the {domain.plane} plane; the model was trained on "
            f"{_range(domain.tilt_deg, 0)}°."
        )
    return found


def _appearance_misfits(domain: Domain, appearance: Appearance) -> list[str]:
    found = []
    if _outside(appearance.diameter_mm, domain.diameter_mm, _SMALLER, _LARGER):
        found.append(
            f"The object in the image measures {appearance.diameter_mm:.0f} mm across; the model was trained on "
            f"{_range(domain.diameter_mm, 0)} mm."
        )
    if _outside(appearance.brightness, domain.brightness, 1 / _HISTOGRAM, _HISTOGRAM):
        found.append(
            f"The object's median intensity is {appearance.brightness:.0%} of that of its brightest parts; the model "
            f"was trained on {_percentages(domain.brightness)}."
        )
    if _outside(appearance.highlights, domain.highlights, 1 / _HISTOGRAM, _BRIGHTER_HIGHLIGHTS):
        found.append(
            f"The brightest twentieth of the object starts at {appearance.highlights:.1f} times its median intensity; "
            f"the model was trained on {_range(domain.highlights, 1)} times."
        )
    if _outside(appearance.contrast, domain.contrast, 1 / _HISTOGRAM, _HISTOGRAM):
        manner = "uniform" if appearance.contrast < domain.contrast[0] else "uneven"
        found.append(
            f"The object is unusually {manner} inside: points {_CONTRAST_MM:.0f} mm apart differ by "
            f"{appearance.contrast:.0%}; the model was trained on {_percentages(domain.contrast)}."
        )
    return found


def _outside(value: float, limits: tuple[float, float], lower: float, upper: float) -> bool:
    """Whether a value lies beyond a range stretched by two factors."""
    return not lower * limits[0] <= value <= upper * limits[1]


def _range(limits: tuple[float, float], digits: int) -> str:
    low, high = (f"{limit:.{digits}f}" for limit in limits)
    return low if low == high else f"{low} to {high}"


def _percentages(limits: tuple[float, float]) -> str:
    low, high = (f"{limit:.0%}" for limit in limits)
    return low if low == high else f"{low.removesuffix('%')} to {high}"


def _sides(rows_and_columns: tuple[float, float], digits: int) -> str:
    rows, columns = rows_and_columns
    return f"{columns:.{digits}f} × {rows:.{digits}f}"
