"""Inside the skull: cortex, white matter, nuclei, ventricles, cerebellum, brainstem and FDG lesions."""

from __future__ import annotations

import numpy as np

from upgan.simulation.canvas import SIDES, Canvas, Field, Point, mirrored
from upgan.simulation.mr_anatomy import BRAINSTEM, gyri
from upgan.simulation.tissue import Mixture, Tissue

GREY_HU, WHITE_HU, CSF_HU, DURA_HU = 38.0, 29.0, 8.0, 60.0
GREY_UPTAKE, WHITE_UPTAKE, CSF_UPTAKE = 1.0, 0.35, 0.05
CEREBELLUM_UPTAKE, NUCLEUS_UPTAKE = 0.85, 1.10
NUCLEUS: Mixture = {Tissue.GREY: 0.6, Tissue.WHITE: 0.4}
"""Deep nuclei are crossed by fibres: T1 between cortex and white matter."""


def paint_brain(canvas: Canvas, cavity: Field, folds: Field, fine: Field, narrow: Field | None = None) -> None:
    """Paint everything inside the inner table.

    Args:
        canvas: Where to.
        cavity: Signed distance to the inner table, mm.
        folds: Noise of about 6 mm: the cortex of CT and uptake, whose resolution ends there.
        fine: Noise of about 2 mm.
        narrow: Noise of about 3 mm: the cortex of the tissues; not needed where nobody asks for them.
    """
    atrophy = canvas.rng.uniform(0.0, 1.0)
    canvas.paint(cavity, CSF_HU, CSF_UPTAKE, Tissue.CSF)
    _cerebrum(canvas, cavity, folds, atrophy, narrow)
    _cerebellum(canvas, cavity, fine)
    _midline(canvas, cavity, folds, atrophy)
    _nuclei(canvas)
    _ventricles(canvas, atrophy)
    _brainstem(canvas)


def _tentorium(canvas: Canvas) -> Field:
    """Height above the tentorium (mm); it rises towards the midline and falls towards the ears."""
    height: Field = canvas.superior - (2.0 - 0.22 * np.abs(canvas.right) + 0.12 * (canvas.anterior + 45.0))
    return height


def _cerebrum(canvas: Canvas, cavity: Field, folds: Field, atrophy: float, narrow: Field | None) -> None:
    depth = -cavity - (1.2 + 1.5 * atrophy)
    ribbon = np.abs(folds)
    # Grey matter lines the surface and, around the sulci, dives about 20 mm deep.
    reach = 1.05 * np.clip((30.0 - depth) / 18.0, 0.0, 1.0)
    grey = np.clip((reach - ribbon) / 0.35 + 0.5, 0.0, 1.0)
    grey = np.maximum(grey, np.clip((3.5 - depth) / 2.0, 0.0, 1.0))
    sulcus = np.clip((0.16 + 0.12 * atrophy - ribbon) / 0.12, 0.0, 1.0) * np.clip((17.0 - depth) / 8.0, 0.0, 1.0)
    hu = WHITE_HU + grey * (GREY_HU - WHITE_HU)
    uptake = WHITE_UPTAKE + grey * (GREY_UPTAKE - WHITE_UPTAKE)
    hu += 0.8 * sulcus * (CSF_HU - hu)
    uptake += 0.8 * sulcus * (CSF_UPTAKE - uptake)
    behind = canvas.anterior + 12.0
    supratentorial = np.minimum(_tentorium(canvas) - 1.5, 60.0)
    outside = np.maximum(-depth, np.minimum(-supratentorial, -behind))
    tissue = {} if narrow is None else gyri(depth, narrow, atrophy)
    canvas.paint(outside.astype(np.float32), hu.astype(np.float32), uptake.astype(np.float32), tissue)


def _cerebellum(canvas: Canvas, cavity: Field, fine: Field) -> None:
    low, high = (-60.0, -95.0, -66.0), (60.0, -14.0, 12.0)
    part = canvas.crop(low, high)
    rider = canvas.riding(cavity, fine).crop(low, high)
    inner, folia = rider.hu, rider.uptake
    shape = np.maximum(inner + 2.0, _tentorium(part) + 1.5)
    shape = np.maximum(shape, part.anterior + 26.0)
    # Stripes of folia, curved by a little noise.
    stripes = 0.5 + 0.5 * np.sin(part.superior * 1.0 + 0.35 * part.anterior + 0.8 * folia)
    core = np.clip((-shape - 9.0) / 6.0, 0.0, 1.0)
    grey = (1.0 - core) * (0.7 + 0.3 * stripes) + core * 0.35
    uptake = CEREBELLUM_UPTAKE * (0.35 + 0.65 * grey)
    tissue = {Tissue.GREY: grey, Tissue.WHITE: 1.0 - grey}
    part.paint(shape.astype(np.float32), (WHITE_HU + 9.0 * grey).astype(np.float32), uptake.astype(np.float32), tissue)
    leaf = np.maximum(np.maximum(np.abs(_tentorium(part)) - 0.9, part.anterior + 24.0), inner)
    part.paint(leaf.astype(np.float32), DURA_HU, 0.15, Tissue.DURA)


def _midline(canvas: Canvas, cavity: Field, folds: Field, atrophy: float) -> None:
    low, high = (-9.0, -95.0, -10.0), (9.0, 85.0, 95.0)
    part = canvas.crop(low, high)
    rider = canvas.riding(cavity, folds).crop(low, high)
    # Above the corpus callosum only: an arch over the ventricles.
    arch = 41.0 - np.hypot((part.anterior + 4.0) * 0.72, part.superior - 6.0)
    fissure = np.abs(part.right + 0.8 * rider.uptake) - (1.0 + 0.8 * atrophy)
    inside = np.maximum(arch, rider.hu + 1.0)
    above = np.maximum(inside, -2.0 - part.superior)
    grey = np.maximum(fissure - 4.0, above)
    part.paint(grey.astype(np.float32), GREY_HU, GREY_UPTAKE, Tissue.GREY)
    part.paint(np.maximum(fissure, above).astype(np.float32), CSF_HU, 0.25, Tissue.CSF)
    falx = np.maximum(np.abs(part.right) - 0.8, above)
    part.paint(falx.astype(np.float32), DURA_HU, 0.15, Tissue.DURA)


def _nuclei(canvas: Canvas) -> None:
    canvas.organ((0.0, 2.0, 24.0), (26.0, 34.0, 12.0), WHITE_HU, WHITE_UPTAKE, Tissue.WHITE)
    for side in SIDES:
        canvas.organ(mirrored(side, (13.0, 20.0, 20.0)), (5.0, 9.0, 9.0), 40.0, NUCLEUS_UPTAKE, NUCLEUS)
        canvas.organ(mirrored(side, (25.0, 8.0, 12.0)), (5.5, 15.0, 9.0), 40.0, NUCLEUS_UPTAKE, NUCLEUS, side * 12.0)
        canvas.organ(mirrored(side, (10.5, -12.0, 14.0)), (7.5, 13.0, 9.0), 38.0, NUCLEUS_UPTAKE, NUCLEUS, side * -15.0)
        canvas.organ(mirrored(side, (38.0, 6.0, 10.0)), (2.6, 20.0, 12.0), GREY_HU, GREY_UPTAKE, Tissue.GREY)
        canvas.organ(mirrored(side, (42.0, 8.0, 8.0)), (2.0, 18.0, 11.0), 14.0, 0.4, Tissue.CSF)


def _ventricles(canvas: Canvas, atrophy: float) -> None:
    size = 0.8 + 0.7 * atrophy
    for side in SIDES:
        horns: list[tuple[list[Point], float]] = [
            ([(6.5, 32.0, 18.0), (7.5, 14.0, 28.0), (12.0, -18.0, 32.0), (23.0, -36.0, 22.0)], 4.3),
            ([(23.0, -36.0, 22.0), (26.0, -54.0, 15.0)], 3.2),
            ([(23.0, -36.0, 20.0), (33.0, -18.0, 0.0), (31.0, 4.0, -10.0)], 2.4),
        ]
        for points, radius in horns:
            path = [canvas.jitter(mirrored(side, point), 0.5) for point in points]
            canvas.rod(path, radius * size, CSF_HU, CSF_UPTAKE, Tissue.CSF)
    canvas.organ((0.0, -4.0, 12.0), (1.8 * size, 13.0, 9.0), CSF_HU, CSF_UPTAKE, Tissue.CSF)


def _brainstem(canvas: Canvas) -> None:
    stem: list[tuple[Point, Point, float]] = [
        ((0.0, -14.0, 4.0), (0.0, -16.0, -14.0), 12.0),
        ((0.0, -15.0, -16.0), (0.0, -18.0, -30.0), 14.0),
        ((0.0, -22.0, -34.0), (0.0, -30.0, -64.0), 7.5),
    ]
    for start, end, radius in stem:
        canvas.rod([start, end], radius, 32.0, 0.55, BRAINSTEM)
    canvas.organ((0.0, -36.0, -24.0), (6.0, 4.0, 8.0), CSF_HU, CSF_UPTAKE, Tissue.CSF)
    for side in SIDES:
        canvas.rod(
            [mirrored(side, (8.0, -24.0, -26.0)), mirrored(side, (22.0, -40.0, -28.0))], 6.0, 30.0, 0.5, Tissue.WHITE
        )
    # Suprasellar and quadrigeminal cisterns.
    canvas.organ((0.0, 10.0, -8.0), (11.0, 7.0, 5.0), CSF_HU, CSF_UPTAKE, Tissue.CSF)
    canvas.organ((0.0, -30.0, 2.0), (9.0, 4.0, 5.0), CSF_HU, CSF_UPTAKE, Tissue.CSF)


def add_uptake_variation(canvas: Canvas, cavity: Field, regional: Field) -> None:
    """Vary uptake by about 15 % from region to region and, in some patients, add hot or cold lesions."""
    canvas.uptake[...] *= np.clip(1.0 + 0.09 * regional, 0.8, 1.2)
    for _ in range(int(canvas.rng.choice([0, 1, 2], p=[0.6, 0.3, 0.1]))):
        centre = (
            float(canvas.rng.uniform(-42.0, 42.0)),
            float(canvas.rng.uniform(-60.0, 50.0)),
            float(canvas.rng.uniform(0.0, 60.0)),
        )
        radius = float(canvas.rng.uniform(5.0, 13.0))
        factor = float(canvas.rng.choice([canvas.rng.uniform(1.4, 2.2), canvas.rng.uniform(0.2, 0.6)]))
        part = canvas.around(centre, radius)
        inside = np.maximum(
            part.ellipsoid(centre, (radius, radius, radius)), canvas.riding(cavity).around(centre, radius).hu + 3.0
        )
        part.uptake[...] *= 1.0 + (factor - 1.0) * np.clip(0.5 - inside / 3.0, 0.0, 1.0)
