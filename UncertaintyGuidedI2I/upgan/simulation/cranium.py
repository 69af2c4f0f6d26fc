"""The skull around the brain: vault, three fossae, temporal bones, and the scalp over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upgan.simulation.canvas import SIDES, Canvas, Field, Point, mirrored, smooth_union, span
from upgan.simulation.tissue import Tissue, marrow_space

VAULT_CENTRE: Point = (0.0, -6.0, 22.0)
VAULT_RADII: Point = (63.0, 79.0, 61.0)
VAULT_DEPTH_MM = 40.0
"""Semi-axis of the vault below its centre; the floor is flatter than the roof."""

VAULT_EXPONENT = 2.08
"""Between an ellipsoid (2) and a box: seen from above, a skull is a little squarer than an ellipse."""

DIPLOE_HU = 560.0


@dataclass(frozen=True)
class Cranium:
    """Signed distances (mm) to the brain's cavity and to the convex hull, roughly, that the outer table follows."""

    cavity: Field
    hull: Field


def cranium(canvas: Canvas) -> Cranium:
    """Unite the vault and the three fossae: tightly for the inner table, with wide fillets for the outer one.

    What lies between the two beside the posterior fossa is the temporal bone.
    """
    vault = _vault(canvas)
    posterior = canvas.ellipsoid((0.0, -50.0, -24.0), (50.0, 36.0, 31.0))
    cavity, hull = smooth_union(vault, posterior, 8.0), smooth_union(vault, posterior, 22.0)
    for side in SIDES:
        fossa = canvas.ellipsoid(mirrored(side, (36.0, 8.0, -9.0)), (23.0, 30.0, 21.0))
        cavity, hull = smooth_union(cavity, fossa, 8.0), smooth_union(hull, fossa, 22.0)
    return Cranium(cavity, hull)


def _vault(canvas: Canvas) -> Field:
    n = VAULT_EXPONENT
    below = canvas.superior < VAULT_CENTRE[2]
    height = np.where(below, np.float32(VAULT_DEPTH_MM), np.float32(VAULT_RADII[2]))
    # Narrow towards the forehead, as heads are: widest over the ears.
    width = VAULT_RADII[0] * (1.0 - 0.0011 * np.clip(canvas.anterior - 5.0, -60.0, 80.0))
    u = np.abs(canvas.right - VAULT_CENTRE[0]) / width
    v = np.abs(canvas.anterior - VAULT_CENTRE[1]) / VAULT_RADII[1]
    w = np.abs(canvas.superior - VAULT_CENTRE[2]) / height
    pu, pv, pw = (np.power(np.maximum(x, 1e-4), n - 1.0) for x in (u, v, w))
    total = np.maximum(u * pu + v * pv + w * pw, 1e-6)
    level = np.power(total, 1.0 / n)
    slope = level / total * np.sqrt((pu / width) ** 2 + (pv / VAULT_RADII[1]) ** 2 + (pw / height) ** 2)
    distance: Field = (level - 1.0) / np.maximum(slope, 1e-4)
    return distance.astype(np.float32)


def skull_thickness(canvas: Canvas, noise: Field) -> Field:
    """Thickness of the skull (mm, 4 to 10): thin at the temples, thick at the forehead and occiput."""
    overall = canvas.rng.uniform(5.8, 7.4)
    temples = np.exp(-(((np.abs(canvas.right) - 62.0) / 22.0) ** 2) - (canvas.superior / 28.0) ** 2)
    poles = np.clip((np.abs(canvas.anterior + 6.0) - 55.0) / 25.0, 0.0, 1.0)
    # The floor of the middle and anterior fossae is thin; the occiput is not.
    floor = np.clip((4.0 - canvas.superior) / 14.0, 0.0, 1.0) * np.clip((canvas.anterior + 28.0) / 12.0, 0.0, 1.0)
    thickness: Field = np.clip(overall + 0.9 * noise - 1.8 * temples + 1.3 * poles - 2.4 * floor, 3.5, 10.0)
    return thickness.astype(np.float32)


def paint_skull(canvas: Canvas, head: Cranium, thickness: Field, texture: Field) -> None:
    """Paint the shell between the cavity and the scalp: two tables and the diploe between them."""
    table_hu = canvas.rng.uniform(1150.0, 1400.0)
    outer = thickness - head.hull
    room = np.maximum(head.cavity + outer, 1.0)
    middle = np.abs(head.cavity / room - 0.5) * 2.0
    # Diploe needs room: thin bone is compact through and through.
    marrow = np.clip((0.60 - middle) / 0.4, 0.0, 1.0) * np.clip((room - 4.0) / 2.0 + 0.4 * texture, 0.0, 1.0)
    hu = table_hu + marrow * (DIPLOE_HU + 140.0 * texture - table_hu)
    shell = np.maximum(-head.cavity, -outer)
    tissue = {part: marrow * share for part, share in marrow_space(DIPLOE_HU).items()}
    tissue[Tissue.COMPACT_BONE] = tissue[Tissue.COMPACT_BONE] + (1.0 - marrow)
    canvas.paint(shell, hu.astype(np.float32), (0.10 + 0.05 * marrow).astype(np.float32), tissue)


def paint_temporal_bones(canvas: Canvas, fine: Field) -> None:
    """Paint the petrous pyramids, mastoid cells, middle ears, ear canals and labyrinths."""
    for side in SIDES:
        _mastoid(canvas, side, fine)
        _petrous(canvas, side)
        canal = [mirrored(side, p) for p in ((78.0, -7.0, -37.0), (58.0, -9.0, -35.0), (44.0, -9.0, -33.0))]
        canvas.rod(canal, 3.2, -1000.0, 0.02, Tissue.AIR)
        canvas.organ(mirrored(side, (42.0, -8.0, -31.0)), (3.2, 5.0, 6.0), -900.0, 0.03, Tissue.AIR)


def _petrous(canvas: Canvas, side: float) -> None:
    base = canvas.jitter(mirrored(side, (56.0, -19.0, -31.0)))
    apex = canvas.jitter(mirrored(side, (14.0, 5.0, -28.0)))
    part = canvas.crop(*span(base, apex, 14.0))
    pyramid = part.capsule(base, apex, (11.0, 6.0))
    part.bone(pyramid, 6.0, canvas.rng.uniform(1150.0, 1400.0), 900.0)
    # The labyrinth lies in the densest bone of the body.
    canvas.organ(mirrored(side, (31.0, -6.0, -30.0)), (8.0, 7.0, 6.5), 1600.0, 0.08, Tissue.COMPACT_BONE)
    for spot in ((26.0, -2.0, -31.0), (33.0, -8.0, -30.0)):
        canvas.organ(mirrored(side, spot), (2.6, 2.6, 2.4), 80.0, 0.08, Tissue.CSF)
    meatus = [mirrored(side, p) for p in ((15.0, -12.0, -30.0), (26.0, -7.0, -30.0))]
    canvas.rod(meatus, 2.2, 10.0, 0.05, Tissue.CSF)


def _mastoid(canvas: Canvas, side: float, fine: Field) -> None:
    centre = canvas.jitter(mirrored(side, (55.0, -26.0, -43.0)), 1.5)
    radii = canvas.swell((12.5, 16.0, 20.0), 0.1)
    part = canvas.around(centre, max(radii))
    # The fine noise is cropped like the images, by riding in a canvas of its own.
    cells = canvas.riding(fine).around(centre, max(radii)).hu
    distance = part.ellipsoid(centre, radii, side * 20.0)
    part.paint(distance, 900.0, 0.10, marrow_space(900.0))
    pneumatised = canvas.rng.uniform(-0.3, 0.6)
    air = np.clip((cells + pneumatised) / 0.7, 0.0, 1.0) * np.clip(-(distance + 2.0) / 2.0, 0.0, 1.0)
    part.blend(0.92 * air, -1000.0, 0.02, Tissue.AIR)


def paint_skull_base(canvas: Canvas) -> None:
    """Paint the clivus, sphenoid wings and occipital condyles, and open the foramen magnum."""
    canvas.long_bone([(0.0, 10.0, -24.0), (0.0, -14.0, -57.0)], 6.5, 850.0, 380.0)
    for side in SIDES:
        wing = [mirrored(side, p) for p in ((10.0, 32.0, -8.0), (30.0, 38.0, -8.0), (52.0, 44.0, -4.0))]
        canvas.long_bone(wing, 3.2, 900.0, 600.0)
        greater = [mirrored(side, p) for p in ((14.0, 24.0, -26.0), (36.0, 36.0, -30.0), (50.0, 44.0, -18.0))]
        canvas.long_bone(greater, 3.0, 850.0, 500.0)
        pterygoid = [mirrored(side, p) for p in ((14.0, 24.0, -28.0), (15.0, 22.0, -60.0))]
        canvas.long_bone(pterygoid, 2.2, 800.0, 600.0)
        condyle = [mirrored(side, p) for p in ((15.0, -14.0, -58.0), (19.0, -30.0, -56.0))]
        canvas.long_bone(condyle, 5.5, 850.0, 400.0)
    canvas.rod([(0.0, -30.0, -46.0), (0.0, -31.0, -70.0)], 14.0, 8.0, 0.05, Tissue.CSF)
