"""Simulated heads: a CT and the FDG uptake of one patient, different for every seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from upgan.errors import InputError
from upgan.images.volume import Volume
from upgan.simulation.brain import add_uptake_variation, paint_brain
from upgan.simulation.canvas import Canvas, Field
from upgan.simulation.cranium import (
    cranium,
    paint_skull,
    paint_skull_base,
    paint_temporal_bones,
    skull_thickness,
)
from upgan.simulation.face import (
    head_surface,
    paint_ears,
    paint_facial_bones,
    paint_jaws,
    paint_mouth,
    paint_muscles_and_glands,
    paint_nose_and_sinuses,
    paint_orbits,
    paint_soft_tissue,
)
from upgan.simulation.mr_anatomy import paint_mr_anatomy
from upgan.simulation.neck import paint_neck
from upgan.simulation.noise import correlated_noise, slow_noise
from upgan.simulation.tissue import Tissue

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]

CT_NOISE_HU = 12.0
"""Standard deviation of the noise of a low-dose attenuation CT (HU)."""

PIXEL_MM = 2.0
"""Side of the pixels of a head's axial slices, unless another grid is asked for."""

VERTEX_MM = 95.0
"""Height of the skin over the vertex in head coordinates."""


@dataclass(frozen=True)
class Head:
    """One simulated patient, all on the same grid.

    Attributes:
        ct: HU.
        activity: Relative FDG uptake, grey matter about 1.
        seed: Of the patient.
        tissues: Share of each tissue in each voxel, float32 [tissue,K,J,I], summing to 1; None unless asked for.
    """

    ct: Volume
    activity: Volume
    seed: int
    tissues: NDArray[np.float32] | None = None


def simulate_head(
    seed: int,
    shape: Shape = (72, 112, 96),
    spacing_mm: Spacing = (3.0, PIXEL_MM, PIXEL_MM),
    *,
    with_tissues: bool = False,
    more_scalp_mm: float = 0.0,
) -> Head:
    """Simulate one head.

    Args:
        seed: The patient; the same seed gives the same head.
        shape: Voxels along K (foot to head), J (front to back), I (right to left).
        spacing_mm: Voxel size along K, J, I.
        with_tissues: Whether to keep which tissues each voxel holds, as MR needs; CT and uptake are the same.
        more_scalp_mm: Added to the scalp, which is 4 to 6.5 mm thick without.

    Returns:
        CT (HU) and uptake, float32 [K,J,I], with the tissues if asked for.

    Raises:
        InputError: If the grid is too small to hold anything.
    """
    if min(shape) < 8 or min(spacing_mm) <= 0.0:
        raise InputError(
            "simulated_grid_too_small",
            f"A head cannot be simulated on a grid of {shape} voxels of {spacing_mm} mm.",
            "Choose at least 8 voxels along every axis and a positive spacing.",
        )
    # Voxel-wise noise has its own source: the anatomy of a seed does not depend on the grid.
    body, noise, mr_noise = (np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(3))
    canvas = _blank_canvas(body, shape, spacing_mm, with_tissues)
    _paint_head(canvas, noise, mr_noise, more_scalp_mm)
    grain = correlated_noise(noise, shape, 0.55 * min(spacing_mm), spacing_mm)
    ct = np.clip(canvas.hu + CT_NOISE_HU * grain, -1024.0, 3071.0).astype(np.float32)
    affine = grid_affine(shape, spacing_mm)
    return Head(Volume(ct, affine), Volume(np.maximum(canvas.uptake, 0.0), affine), seed, canvas.tissues)


def grid_affine(shape: Shape, spacing_mm: Spacing) -> NDArray[np.float64]:
    """IJK to RAS (mm, 4x4) of an axial scan: I to the patient's left, J to the back, K to the head; centred at 0."""
    k, j, i = spacing_mm
    affine = np.diag([-i, -j, k, 1.0])
    centre_ijk = (np.asarray(shape[::-1]) - 1) / 2.0
    affine[:3, 3] = -affine[:3, :3] @ centre_ijk
    return affine


def _blank_canvas(rng: np.random.Generator, shape: Shape, spacing_mm: Spacing, with_tissues: bool) -> Canvas:
    right, anterior, superior = _head_coordinates(rng, shape, spacing_mm)
    hu = np.full(shape, -1000.0, dtype=np.float32)
    tissues = None
    if with_tissues:
        tissues = np.zeros((len(Tissue), *shape), dtype=np.float32)
        tissues[Tissue.AIR] = 1.0
    return Canvas(right, anterior, superior, hu, np.zeros(shape, dtype=np.float32), rng, spacing_mm, tissues)


def _head_coordinates(rng: np.random.Generator, shape: Shape, spacing_mm: Spacing) -> tuple[Field, Field, Field]:
    """Map every voxel to the standard head (right, anterior, superior; mm): size, pose and a smooth warp."""
    scale = 1.0 + rng.uniform(-0.07, 0.07) + rng.uniform(-0.035, 0.035, 3)
    angles = rng.uniform(-8.0, 8.0, 3) * (0.9, 0.6, 0.8)
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    shift = rng.uniform(-8.0, 8.0, 3)
    # The vertex keeps 3 to 18 mm of air, the warp included; the neck takes what is left at the bottom.
    top = 0.5 * shape[0] * spacing_mm[0]
    shift[2] = top - rng.uniform(9.0, 15.0) - VERTEX_MM * scale[2]
    # Large heads are centred better, or nose and occiput would leave the field of view.
    excess = 108.0 * max(scale[1] - 0.95, 0.0)
    shift[1] = np.clip(shift[1], excess - 10.0, 12.0 - excess)
    matrix = np.diag(1.0 / scale) @ rotation.T
    k, j, i = (
        (np.arange(count, dtype=np.float32) - (count - 1) / 2.0) * step
        for count, step in zip(shape, spacing_mm, strict=True)
    )
    ras = (-i[None, None, :] - shift[0], -j[None, :, None] - shift[1], k[:, None, None] - shift[2])
    amplitude = rng.uniform(1.2, 2.4)
    fields = []
    for row in matrix:
        warp = amplitude * slow_noise(rng, shape, (4, 4, 4))
        warp += sum(np.float32(factor) * axis.astype(np.float32) for factor, axis in zip(row, ras, strict=True))
        fields.append(warp)
    # Nobody is symmetric: one side is a little wider, and the midline bows.
    bow = np.float32(rng.uniform(-2.0, 2.0))
    fields[0] = fields[0] * np.float32(1.0 + rng.uniform(-0.02, 0.02)) + bow * np.cos(fields[1] / np.float32(60.0))
    return fields[0], fields[1], fields[2]


def _paint_head(
    canvas: Canvas, noise: np.random.Generator, mr_noise: np.random.Generator, more_scalp_mm: float
) -> None:
    rng, shape, spacing_mm = canvas.rng, canvas.hu.shape, canvas.spacing_mm
    slow = slow_noise(rng, shape, (5, 6, 6))
    regional = slow_noise(rng, shape, (6, 8, 7))
    folds = correlated_noise(noise, shape, 5.5, spacing_mm)
    fine = correlated_noise(noise, shape, 1.7, spacing_mm)
    narrow = None if canvas.tissues is None else correlated_noise(mr_noise, shape, 3.3, spacing_mm)
    skull = cranium(canvas)
    cavity = skull.cavity
    thickness = skull_thickness(canvas, slow)
    surface = head_surface(canvas, skull.hull - thickness - np.float32(rng.uniform(4.0, 6.5) + more_scalp_mm))

    paint_soft_tissue(canvas, surface, folds)
    paint_muscles_and_glands(canvas)
    paint_neck(canvas)
    paint_facial_bones(canvas)
    paint_skull(canvas, skull, thickness, fine)
    paint_brain(canvas, cavity, folds, fine, narrow)
    paint_skull_base(canvas)
    paint_temporal_bones(canvas, fine)
    paint_mr_anatomy(canvas, cavity)
    paint_orbits(canvas)
    paint_jaws(canvas)
    paint_mouth(canvas)
    paint_nose_and_sinuses(canvas)
    add_uptake_variation(canvas, cavity, regional)
    # Nothing pierces the skin, however the jitter fell.
    canvas.paint(1.5 - surface, -1000.0, 0.0, Tissue.AIR)
    paint_ears(canvas, surface)
    # Living tissue is not uniform: about 3 HU in soft tissue and 4 % in bone.
    canvas.hu[...] += np.where(canvas.hu > -300.0, fine * (3.0 + 0.04 * np.maximum(canvas.hu, 0.0)), np.float32(0.0))
