"""Where the patient is in a CT, and of what."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# HU limits (exclusive, inclusive) of the classes in which the error is also given.
TISSUES = {"air": (-np.inf, -300.0), "soft": (-300.0, 200.0), "bone": (200.0, np.inf)}


def body_mask(ct: np.ndarray, threshold: float = -500.0) -> np.ndarray:
    """Patient without table and surrounding air: largest part above −500 HU, closed, filled slice by slice.

    Args:
        ct: HU, [K, J, I].
        threshold: Lowest HU of the body.

    Returns:
        Boolean array of the same shape; sinuses and airways count as body.
    """
    labels, count = ndimage.label(ct > threshold)
    if count == 0:
        return np.zeros(ct.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = labels == sizes.argmax()
    closed = ndimage.binary_closing(np.pad(body, ((0, 0), (4, 4), (4, 4))), np.ones((1, 3, 3)), iterations=3)
    closed = closed[:, 4:-4, 4:-4] | body
    return np.stack([ndimage.binary_fill_holes(plane) for plane in closed])
