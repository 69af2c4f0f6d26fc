"""What CT without contrast hardly shows and MR does: narrow gyri, the medulla, large veins and arteries."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from upgan.simulation.canvas import SIDES, Canvas, Field, Point, mirrored
from upgan.simulation.tissue import Mixture, Tissue

BLOOD: Mixture = {Tissue.BLOOD: 1.0}
BRAINSTEM: Mixture = {Tissue.GREY: 0.3, Tissue.WHITE: 0.7}


def paint_mr_anatomy(canvas: Canvas, cavity: Field) -> None:
    """Paint what only tissues know of; HU and uptake do not change, nor does what is drawn for them."""
    if canvas.tissues is None:
        return
    _rod(canvas, [(0.0, -22.0, -34.0), (0.0, -30.0, -60.0), (0.0, -30.5, -84.0)], 1.0, 5.6, BRAINSTEM)
    _sagittal_sinus(canvas, cavity)
    for side in SIDES:
        _rod(canvas, [(0.0, -84.0, 6.0), (30.0, -76.0, -6.0), (52.0, -44.0, -14.0), (50.0, -24.0, -36.0)], side, 3.6)
        _rod(canvas, [(26.0, 0.0, -62.0), (24.0, 2.0, -34.0), (12.0, 10.0, -24.0), (11.0, 14.0, -8.0)], side, 2.4)
        _rod(canvas, [(11.0, 12.0, -7.0), (24.0, 12.0, -5.0), (38.0, 14.0, 0.0)], side, 1.4)
    _rod(canvas, [(0.0, -4.0, -40.0), (0.0, 1.0, -14.0)], 1.0, 1.9)


def gyri(depth: Field, folds: Field, atrophy: float) -> dict[Tissue, Field]:
    """Share of grey matter, white matter and fluid at a depth under the brain's surface, [K,J,I].

    Args:
        depth: Under the surface of the brain, mm.
        folds: Noise of about 3 mm, whose zeros are the beds of the sulci, some 10 mm apart as in adults.
        atrophy: 0 to 1; sulci are wider with it.
    """
    ribbon = np.abs(folds)
    reach = 0.95 * np.clip((30.0 - depth) / 15.0, 0.0, 1.0)
    grey = np.maximum(np.clip((reach - ribbon) / 0.35 + 0.5, 0.0, 1.0), np.clip((3.2 - depth) / 1.5, 0.0, 1.0))
    fluid = np.clip((0.30 + 0.25 * atrophy - ribbon) / 0.15, 0.0, 1.0) * np.clip((22.0 - depth) / 8.0, 0.0, 1.0)
    dry = 1.0 - 0.9 * fluid
    return {Tissue.GREY: grey * dry, Tissue.WHITE: (1.0 - grey) * dry, Tissue.CSF: 0.9 * fluid}


def _rod(canvas: Canvas, points: list[Point], side: float, radius: float, tissue: Mixture = BLOOD) -> None:
    path = [mirrored(side, point) for point in points]
    for start, end in pairwise(path):
        low, high = np.minimum(start, end) - radius - 2.0, np.maximum(start, end) + radius + 2.0
        part = canvas.crop((low[0], low[1], low[2]), (high[0], high[1], high[2]))
        part.paint(part.capsule(start, end, (radius, radius)), part.hu, part.uptake, tissue)


def _sagittal_sinus(canvas: Canvas, cavity: Field) -> None:
    low, high = (-9.0, -100.0, 4.0), (9.0, 60.0, 95.0)
    part, depth = canvas.crop(low, high), canvas.riding(cavity).crop(low, high).hu
    # A triangle under the inner table, wider towards the back of the head.
    width = np.clip(4.5 - 0.03 * (part.anterior + 60.0), 1.5, 5.0)
    triangle = np.maximum(depth, np.abs(part.right) - width * (1.0 + depth / 8.0))
    triangle = np.maximum(triangle, 6.0 - part.superior)
    part.paint(triangle.astype(np.float32), part.hu, part.uptake, BLOOD)
