"""Where the patient is in a CT, and of what."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from scipy import ndimage

from upgan.components import component_steps
from upgan.steps import finish

# HU limits (exclusive, inclusive) of the classes in which the error is also given.
TISSUES = {"air": (-np.inf, -300.0), "soft": (-300.0, 200.0), "bone": (200.0, np.inf)}


# Wider than the closing reaches, so that the edge of a slice is no wall.
_MARGIN = 4


def body_mask(ct: np.ndarray, threshold: float = -500.0) -> np.ndarray:
    """Patient without table and surrounding air: largest part above −500 HU, closed, filled slice by slice.

    Args:
        ct: HU, [K, J, I].
        threshold: Lowest HU of the body.

    Returns:
        Boolean array of the same shape; sinuses and airways count as body.
    """
    return finish(body_mask_steps(ct, threshold))


def body_mask_steps(ct: np.ndarray, threshold: float = -500.0) -> Generator[None, None, np.ndarray]:
    """Do what ``body_mask`` does, in steps of a few planes or less."""
    parts = yield from component_steps(ct.shape, lambda slab: ct[slab] > threshold)
    body = np.zeros(ct.shape, dtype=bool)
    if not parts.sizes.any():
        return body
    largest = parts.sizes.argmax()
    for k in range(len(ct)):
        plane = parts.of(k) == largest
        closed = ndimage.binary_closing(np.pad(plane, _MARGIN), np.ones((3, 3)), iterations=3)
        closed = closed[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] | plane
        yield
        body[k] = ndimage.binary_fill_holes(closed)
        yield
    return body
