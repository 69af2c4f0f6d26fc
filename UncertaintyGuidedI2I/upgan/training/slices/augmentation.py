"""Random changes of training slices, the same for input, target and body.

People are nearly the same left and right, and nothing else about them is: a slice is mirrored across the patient's
left-right axis or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from upgan.images.orientation import LAYOUTS, Plane
from upgan.images.outline import Window
from upgan.training.settings.config import AugmentationConfig


class Change(NamedTuple):
    """What happens to one slice.

    Attributes:
        flip: Whether columns run backwards, before anything else; see ``mirrored_by_columns``.
        rotation_degrees: About the slice's centre, clockwise as displayed (rows downwards).
        scale: Size of things afterwards, relative to before.
        intensity: Factor of the input, network units.
    """

    flip: bool
    rotation_degrees: float
    scale: float
    intensity: float


def mirrored_by_columns(plane: Plane) -> bool:
    """Whether a plane's slices show left and right side by side, along their columns.

    In a sagittal slice columns run from front to back. Left and right are in other slices there, so that a mirrored
    patient has the same slices in the opposite order: nothing new to a network that sees them one by one.
    """
    return LAYOUTS[plane][0] in "LR"


def draw_change(config: AugmentationConfig, rng: np.random.Generator) -> Change:
    """Draw the change of one slice; always four numbers, so that switching one on leaves the others as they were."""
    flip = bool(rng.random() < config.flip)
    rotation, scale, intensity = rng.uniform(-1, 1, 3)
    return Change(flip, rotation * config.rotation_degrees, 1 + scale * config.scale, 1 + intensity * config.intensity)


def move(
    slices: Tensor,
    changes: Sequence[Change],
    spacing_mm: tuple[float, float],
    interpolation: Literal["bilinear", "nearest"] = "bilinear",
) -> Tensor:
    """Flip, turn and scale each slice about its centre; zeros come in from outside.

    Args:
        slices: [N, C, H, W] float.
        changes: One for each of the N.
        spacing_mm: Distance of rows and of columns: a turn in the patient is none of pixels that are not square.
        interpolation: nearest for what is 0 or 1.

    Returns:
        New slices; those that are neither turned nor scaled hold exactly their old values.
    """
    flipped = torch.tensor([change.flip for change in changes])
    moved = slices.clone()
    moved[flipped] = slices[flipped].flip(-1)
    turned = [n for n, change in enumerate(changes) if change.rotation_degrees or change.scale != 1]
    if turned:
        part = moved[turned]
        matrices = torch.stack([_sampling_matrix(changes[n], part.shape[-2:], spacing_mm) for n in turned])
        grid = F.affine_grid(matrices.to(part), list(part.shape), align_corners=False)
        moved[turned] = F.grid_sample(part, grid, interpolation, padding_mode="zeros", align_corners=False)
    return moved


def move_about(window: Window, slices: Tensor, change: Change, spacing_mm: tuple[float, float]) -> Tensor:
    """Flip, turn and scale slices [N, C, J, I] about the centre of a window in them, which need not be their own.

    What is cut out afterwards then shows the same as if it had been cut out and moved: the object stays in its window,
    and is not mirrored to where the other side of the field of view was.
    """
    rows, columns = slices.shape[-2:]
    below, right = 2 * window.top + window.rows - rows, 2 * window.left + window.columns - columns
    above, left = max(-below, 0), max(-right, 0)
    around = F.pad(slices, [left, max(right, 0), above, max(below, 0)])
    return move(around, [change] * len(slices), spacing_mm)[..., above : above + rows, left : left + columns]


class Surroundings(NamedTuple):
    """Where one slice lies on the canvas, and how much of the air around it is left.

    Attributes:
        down: Rows by which it is moved.
        right: Columns by which it is moved.
        cut: Rows above and below, columns left and right that are taken away, in this order.
    """

    down: int
    right: int
    cut: tuple[int, int, int, int]


def draw_surroundings(margin: tuple[int, int], rng: np.random.Generator) -> Surroundings:
    """Draw a place and a margin, evenly up to these rows and columns: the object is never cut."""
    rows, columns = margin
    down, right = (int(rng.integers(-side, side + 1)) for side in margin)
    above, below, left, after = (int(rng.integers(0, side + 1)) for side in (rows, rows, columns, columns))
    return Surroundings(down, right, (above, below, left, after))


def surround(slices: Tensor, frames: Sequence[tuple[slice, slice]], surroundings: Sequence[Surroundings]) -> Tensor:
    """Take some of the margin of each slice away, then move it; zeros come in, of air and of nothing.

    Args:
        slices: [N, C, H, W], each with its margin.
        frames: Rows and columns that each of them fills, N.
        surroundings: One for each of the N.
    """
    found = torch.zeros_like(slices)
    height, width = slices.shape[-2:]
    for target, source, (rows, columns), drawn in zip(found, slices, frames, surroundings, strict=True):
        above, below, left, after = drawn.cut
        down, right = drawn.down, drawn.right
        top, bottom = max(rows.start + above, -down), min(rows.stop - below, height - down)
        first, last = max(columns.start + left, -right), min(columns.stop - after, width - right)
        target[:, top + down : bottom + down, first + right : last + right] = source[:, top:bottom, first:last]
    return found


def change_intensity(a: Tensor, changes: Sequence[Change]) -> Tensor:
    """Multiply each input of [N, C, H, W] by its factor."""
    return a * torch.tensor([change.intensity for change in changes], dtype=a.dtype)[:, None, None, None]


def _sampling_matrix(change: Change, shape: Sequence[int], spacing_mm: tuple[float, float]) -> Tensor:
    """Return the [2, 3] matrix from where a pixel is to where its value was, slice edges being at ±1."""
    height, width = (size * step for size, step in zip(shape, spacing_mm, strict=True))
    angle = math.radians(change.rotation_degrees)
    cosine, sine = math.cos(angle) / change.scale, math.sin(angle) / change.scale
    return torch.tensor([[cosine, sine * height / width, 0.0], [-sine * width / height, cosine, 0.0]])
