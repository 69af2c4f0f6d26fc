"""Where the patient is in a CT, and of what."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from scipy import ndimage

from upgan.images.appliances import appliance_stepwise
from upgan.images.hounsfield import TISSUES as TISSUES
from upgan.stepwise.components import Components, component_stepwise
from upgan.stepwise.steps import finish

BODY_HU = -500.0
BODY_TEXT = f"largest part above {BODY_HU:g} HU, without a headrest or table that touches it, closed and filled"


# Wider than the closing reaches, so that the edge of a slice is no wall.
_MARGIN = 4


def body_mask(ct: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Patient without table, headrest and surrounding air: see ``BODY_TEXT``, closed and filled slice by slice.

    Args:
        ct: HU, [K, J, I], axial slices.
        spacing_mm: Voxel size along K, J, I.

    Returns:
        Boolean array of the same shape; sinuses and airways count as body.
    """
    return finish(body_mask_stepwise(ct, spacing_mm))


def body_mask_stepwise(ct: np.ndarray, spacing_mm: tuple[float, float, float]) -> Generator[None, None, np.ndarray]:
    """Do what ``body_mask`` does, in steps of a few planes or less."""
    parts = yield from component_stepwise(ct.shape, lambda slab: ct[slab] > BODY_HU)
    appliances = yield from appliance_stepwise(ct, spacing_mm, parts)
    return (yield from _filled_stepwise(parts, appliances))


def foreground_mask(image: np.ndarray, threshold: float) -> np.ndarray:
    """Largest part of an image of arbitrary unit above a threshold, closed and filled slice by slice.

    Nothing is taken for a headrest: in an MRI there is none, and the scalp is as thin as one.

    Args:
        image: [K, J, I], axial slices.
        threshold: Lowest intensity, exclusive.

    Returns:
        Boolean array of the same shape.
    """
    return finish(foreground_mask_stepwise(image, threshold))


def foreground_mask_stepwise(image: np.ndarray, threshold: float) -> Generator[None, None, np.ndarray]:
    """Do what ``foreground_mask`` does, in steps of a few planes or less."""
    parts = yield from component_stepwise(image.shape, lambda slab: image[slab] > threshold)
    return (yield from _filled_stepwise(parts, None))


def _filled_stepwise(parts: Components, without: np.ndarray | None) -> Generator[None, None, np.ndarray]:
    """Close and fill the largest part plane by plane."""
    body = np.zeros(parts.pieces.shape, dtype=bool)
    if not parts.sizes.any():
        return body
    largest = parts.sizes.argmax()
    for k in range(len(body)):
        plane = parts.of(k) == largest
        if without is not None:
            plane &= ~without[k]
        closed = ndimage.binary_closing(np.pad(plane, _MARGIN), np.ones((3, 3)), iterations=3)
        closed = closed[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] | plane
        yield
        body[k] = ndimage.binary_fill_holes(closed)
        yield
    return body
