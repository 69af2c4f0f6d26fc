"""Where simulated anatomy is painted: implicit shapes in head coordinates, blended over about one voxel."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from upgan.simulation.tissue import Mixture, Tissue, marrow_space

Field = NDArray[np.float32]
Point = tuple[float, float, float]
"""Head coordinates in mm: right, anterior, superior."""

SIDES = (1.0, -1.0)
"""Sign of the right coordinate: first the right, then the left of the patient."""

_STRIDE = 4
"""Boxes are found on every fourth voxel."""


@dataclass(frozen=True)
class Canvas:
    """Head coordinates of the voxels and the images being painted, all [K,J,I]; cropping gives views, not copies."""

    right: Field
    anterior: Field
    superior: Field
    hu: Field
    uptake: Field
    rng: np.random.Generator
    spacing_mm: tuple[float, float, float]
    """Voxel size along K, J, I."""
    tissues: Field | None = None
    """Share of each tissue in each voxel, [tissue,K,J,I]; None where nobody asks for them."""

    @property
    def edge_mm(self) -> float:
        """Width of the soft transition at every surface: about one voxel, so that partial volume exists."""
        return 1.1 * min(self.spacing_mm)

    def crop(self, low: Point, high: Point) -> Canvas:
        """Give the part of the canvas that covers a box in head coordinates (mm)."""
        axes = (self.right, self.anterior, self.superior)
        # No voxel is farther from one of the coarse grid than half its diagonal; heads are scaled by up to a tenth.
        margin = 1.2 * 0.5 * _STRIDE * float(np.linalg.norm(self.spacing_mm))
        inside = np.ones(self.hu[::_STRIDE, ::_STRIDE, ::_STRIDE].shape, dtype=bool)
        for axis, lower, upper in zip(axes, low, high, strict=True):
            coarse = axis[::_STRIDE, ::_STRIDE, ::_STRIDE]
            inside &= (coarse > lower - margin) & (coarse < upper + margin)
        box = []
        for axis_index in range(3):
            others = tuple(index for index in range(3) if index != axis_index)
            hit = np.flatnonzero(inside.any(axis=others))
            box.append(slice(0, 0) if hit.size == 0 else slice(max(0, _STRIDE * hit[0] - 2), _STRIDE * hit[-1] + 4))
        k, j, i = box
        right, anterior, superior, hu, uptake = (array[k, j, i] for array in (*axes, self.hu, self.uptake))
        tissues = None if self.tissues is None else self.tissues[:, k, j, i]
        return Canvas(right, anterior, superior, hu, uptake, self.rng, self.spacing_mm, tissues)

    def riding(self, first: Field, second: Field | None = None) -> Canvas:
        """Give a canvas whose images are other fields [K,J,I], so that they can be cropped alike."""
        images = (first, first if second is None else second)
        return Canvas(self.right, self.anterior, self.superior, *images, self.rng, self.spacing_mm)

    def around(self, centre: Point, reach: float) -> Canvas:
        """Give the part of the canvas within `reach` mm of a point along every axis."""
        low, high = (tuple(value + sign * reach for value in centre) for sign in (-1, 1))
        return self.crop((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def paint(self, distance: Field, hu: float | Field, uptake: float | Field, tissue: Tissue | Mixture) -> None:
        """Blend a material in wherever the signed distance (mm) is negative."""
        weight = np.clip(0.5 - distance / self.edge_mm, 0.0, 1.0)
        self.blend(weight, hu, uptake, tissue)

    def blend(self, weight: Field, hu: float | Field, uptake: float | Field, tissue: Tissue | Mixture) -> None:
        """Blend a material in with weights between 0 and 1."""
        self.hu[...] += weight * (hu - self.hu)
        self.uptake[...] += weight * (uptake - self.uptake)
        if self.tissues is not None:
            np.multiply(self.tissues, 1.0 - weight, out=self.tissues)
            for part, share in ({tissue: 1.0} if isinstance(tissue, Tissue) else tissue).items():
                self.tissues[part] += weight * share

    def jitter(self, centre: Point, mm: float = 1.0) -> Point:
        """Move a point a little, so that no two patients and no two sides are alike."""
        moved = np.asarray(centre) + self.rng.normal(0.0, mm, 3)
        return float(moved[0]), float(moved[1]), float(moved[2])

    def swell(self, radii: Point, amount: float = 0.07) -> Point:
        """Scale the radii of a structure a little, each on its own."""
        scaled = np.asarray(radii) * np.clip(self.rng.normal(1.0, amount, 3), 0.75, 1.25)
        return float(scaled[0]), float(scaled[1]), float(scaled[2])

    def ellipsoid(self, centre: Point, radii: Point, yaw_degrees: float = 0.0) -> Field:
        """Signed distance (mm, first order) to an ellipsoid turned about the superior axis."""
        r, a = self.right - np.float32(centre[0]), self.anterior - np.float32(centre[1])
        if yaw_degrees:
            cos, sin = (np.float32(f(np.deg2rad(yaw_degrees))) for f in (np.cos, np.sin))
            r, a = cos * r + sin * a, cos * a - sin * r
        u, v = r / np.float32(radii[0]), a / np.float32(radii[1])
        w = (self.superior - np.float32(centre[2])) / np.float32(radii[2])
        u2, v2, w2 = u * u, v * v, w * w
        level = np.sqrt(u2 + v2 + w2)
        slope = np.sqrt(u2 / radii[0] ** 2 + v2 / radii[1] ** 2 + w2 / radii[2] ** 2)
        distance: Field = level * (level - 1.0) / np.maximum(slope, 1e-6)
        return distance.astype(np.float32)

    def capsule(self, start: Point, end: Point, radii: tuple[float, float]) -> Field:
        """Signed distance (mm) to a rod whose radius changes linearly from its start to its end."""
        axis = np.subtract(end, start).astype(np.float32)
        r, a, s = (
            coordinate - np.float32(value)
            for coordinate, value in zip((self.right, self.anterior, self.superior), start, strict=True)
        )
        along = np.clip((r * axis[0] + a * axis[1] + s * axis[2]) / float(axis @ axis), 0.0, 1.0)
        off = np.sqrt((r - along * axis[0]) ** 2 + (a - along * axis[1]) ** 2 + (s - along * axis[2]) ** 2)
        distance: Field = off - (radii[0] + along * (radii[1] - radii[0]))
        return distance.astype(np.float32)

    def polyhedron(self, centre: Point, planes: list[tuple[Point, float]], rounding: float) -> Field:
        """Signed distance (mm) to the rounded intersection of half-spaces: outward normals and offsets (mm)."""
        r, a, s = (
            coordinate - np.float32(value)
            for coordinate, value in zip((self.right, self.anterior, self.superior), centre, strict=True)
        )
        outside = np.zeros(self.hu.shape, dtype=np.float32)
        deepest = np.full(self.hu.shape, -1e6, dtype=np.float32)
        for normal, offset in planes:
            n = np.asarray(normal) / np.linalg.norm(normal)
            plane = np.float32(n[0]) * r + np.float32(n[1]) * a + np.float32(n[2]) * s - np.float32(offset - rounding)
            outside += np.maximum(plane, 0.0) ** 2
            deepest = np.maximum(deepest, plane)
        distance: Field = np.where(deepest < 0.0, deepest, np.sqrt(outside)) - np.float32(rounding)
        return distance

    def organ(
        self,
        centre: Point,
        radii: Point,
        hu: float,
        uptake: float,
        tissue: Tissue | Mixture,
        yaw_degrees: float = 0.0,
    ) -> None:
        """Paint one ellipsoid of one material, slightly moved and scaled."""
        centre, radii = self.jitter(centre), self.swell(radii)
        part = self.around(centre, max(radii))
        part.paint(part.ellipsoid(centre, radii, yaw_degrees), hu, uptake, tissue)

    def rod(self, points: list[Point], radius: float, hu: float, uptake: float, tissue: Tissue | Mixture) -> None:
        """Paint a chain of rods of one material through the points."""
        for start, end in pairwise(points):
            part = self.crop(*span(start, end, radius))
            part.paint(part.capsule(start, end, (radius, radius)), hu, uptake, tissue)

    def sinus(self, centre: Point, radii: Point, wall_mm: float, wall_hu: float, yaw_degrees: float = 0.0) -> None:
        """Paint an air-filled ellipsoid with a bony wall and a thin mucosa."""
        centre, radii = self.jitter(centre), self.swell(radii, 0.1)
        part = self.around(centre, max(radii) + wall_mm)
        distance = part.ellipsoid(centre, radii, yaw_degrees)
        part.paint(distance - wall_mm, wall_hu, 0.1, Tissue.COMPACT_BONE)
        part.paint(distance, -1000.0, 0.02, Tissue.AIR)

    def bone(self, distance: Field, cortex_mm: float, cortex_hu: float, marrow_hu: float) -> None:
        """Paint a bone: compact outside, marrow inside."""
        self.paint(distance, cortex_hu, 0.10, Tissue.COMPACT_BONE)
        self.paint(distance + cortex_mm, marrow_hu, 0.15, marrow_space(marrow_hu))

    def long_bone(self, points: list[Point], radius: float, cortex_hu: float = 950.0, marrow_hu: float = 300.0) -> None:
        """Paint a chain of rods as bone with a 2 mm cortex."""
        for start, end in pairwise(points):
            part = self.crop(*span(start, end, radius))
            part.bone(part.capsule(start, end, (radius, radius)), 2.0, cortex_hu, marrow_hu)


def smooth_union(first: Field, second: Field, blend_mm: float) -> Field:
    """Unite two signed distances (mm) with a fillet of about `blend_mm`."""
    share = np.clip(0.5 + 0.5 * (second - first) / blend_mm, 0.0, 1.0)
    united: Field = second + share * (first - second) - blend_mm * share * (1.0 - share)
    return united.astype(np.float32)


def mirrored(side: float, point: Point) -> Point:
    """Put a point of the right side on the given side."""
    return side * point[0], point[1], point[2]


def span(first: Point, second: Point, margin: float = 0.0) -> tuple[Point, Point]:
    """Give the lower and upper corner of the box around two points, `margin` mm wider on every side."""
    low, high = np.minimum(first, second) - margin, np.maximum(first, second) + margin
    return (float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2]))
