"""The neck: upper cervical spine with its canal, muscles and vessels."""

from __future__ import annotations

import numpy as np

from upgan.simulation.canvas import SIDES, Canvas, Point, mirrored
from upgan.simulation.tissue import Tissue

CANAL_ANTERIOR_MM = -30.0
BODY_ANTERIOR_MM = -11.0
VERTEBRAE_MM = (-84.0, -102.0, -120.0)
"""Heights of C2, C3 and C4 in head coordinates; 18 mm apart."""


def paint_neck(canvas: Canvas) -> None:
    """Paint muscles first, then vessels, vertebrae and the spinal canal."""
    _muscles(canvas)
    for side in SIDES:
        canvas.rod(
            [mirrored(side, (26.0, 0.0, -62.0)), mirrored(side, (26.0, 4.0, -140.0))], 4.5, 45.0, 0.30, Tissue.BLOOD
        )
        canvas.rod(
            [mirrored(side, (22.0, 8.0, -70.0)), mirrored(side, (20.0, 12.0, -140.0))], 3.2, 45.0, 0.30, Tissue.BLOOD
        )
    _atlas(canvas)
    for level in VERTEBRAE_MM:
        _vertebra(canvas, level)
    dens: list[Point] = [(0.0, -13.0, -64.0), (0.0, -12.0, -82.0)]
    canvas.long_bone(dens, 5.2, 1000.0, 450.0)
    canal: list[Point] = [(0.0, -31.0, -58.0), (0.0, CANAL_ANTERIOR_MM, -150.0)]
    canvas.rod(canal, 8.5, 10.0, 0.05, Tissue.CSF)
    canvas.rod(canal, 5.2, 36.0, 0.40, Tissue.WHITE)


def _muscles(canvas: Canvas) -> None:
    for side in SIDES:
        for start, end, radius in (
            ((20.0, -58.0, -66.0), (20.0, -54.0, -150.0), 14.0),
            ((36.0, -46.0, -64.0), (38.0, -42.0, -150.0), 9.0),
            ((57.0, -26.0, -58.0), (38.0, 16.0, -140.0), 8.0),
            ((10.0, 0.0, -66.0), (10.0, 1.0, -150.0), 5.0),
            ((30.0, -24.0, -80.0), (32.0, -24.0, -150.0), 8.0),
        ):
            canvas.rod([canvas.jitter(mirrored(side, start)), mirrored(side, end)], radius, 55.0, 0.25, Tissue.MUSCLE)


def _atlas(canvas: Canvas) -> None:
    part = canvas.crop((-40.0, -58.0, -78.0), (40.0, 6.0, -60.0))
    ring = np.hypot(part.right / 1.25, part.anterior + 24.0) - 18.0
    shape = np.maximum(np.abs(ring) - 3.6, np.abs(part.superior + 68.0) - 5.0)
    part.bone(shape.astype(np.float32), 2.0, 1000.0, 500.0)
    for side in SIDES:
        canvas.long_bone(
            [mirrored(side, (19.0, -21.0, -68.0)), mirrored(side, (36.0, -23.0, -69.0))], 6.0, 900.0, 400.0
        )


def _vertebra(canvas: Canvas, level: float) -> None:
    part = canvas.crop((-34.0, -74.0, level - 10.0), (34.0, 4.0, level + 10.0))
    column = np.hypot(part.right / 1.25, part.anterior - BODY_ANTERIOR_MM) - 8.5
    disc = np.maximum(column, np.abs(part.superior - level) - 9.5)
    part.paint(disc.astype(np.float32), 85.0, 0.15, Tissue.CARTILAGE)
    height = np.abs(part.superior - level) - 6.8
    part.bone(np.maximum(column, height).astype(np.float32), 1.8, 800.0, 330.0)
    arch = np.abs(np.hypot(part.right, part.anterior - CANAL_ANTERIOR_MM) - 12.0) - 3.0
    lamina = np.maximum(arch, np.abs(part.superior - level + 1.0) - 5.5)
    part.bone(np.maximum(lamina, part.anterior + 22.0).astype(np.float32), 1.8, 950.0, 450.0)
    canvas.long_bone([(0.0, -43.0, level - 3.0), (0.0, -58.0, level - 7.0)], 3.4, 850.0, 400.0)
    for side in SIDES:
        mass = [mirrored(side, p) for p in ((15.0, -24.0, level + 5.0), (16.0, -27.0, level - 5.0))]
        canvas.long_bone(mass, 6.0, 900.0, 450.0)
        process = [mirrored(side, p) for p in ((13.0, -13.0, level), (22.0, -14.0, level - 2.0))]
        canvas.long_bone(process, 3.0, 850.0, 500.0)
