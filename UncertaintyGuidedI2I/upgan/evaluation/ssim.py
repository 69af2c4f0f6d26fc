"""Structural similarity inside a mask, as SynthRAD 2023 computes it.

SSIM (Wang et al. 2004; 7×7×7 uniform windows, sample covariance, K₁ 0.01, K₂ 0.03) of both images clipped, set to
−1024 HU outside the mask and shifted so that this is 0; averaged over the voxels of the mask whose window lies wholly
inside the volume. That is the challenge's published code (github.com/SynthRAD2023/metrics, functions/image_metrics.py);
SynthRAD 2025 prints a multi-scale SSIM in its place, which is another number altogether.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

from upgan.images.hounsfield import HU_RANGE

# Voxels of the window along K, J and I: SynthRAD's, and that of a slice on its own.
WINDOW_3D = (7, 7, 7)
WINDOW_2D = (1, 7, 7)

_K1, _K2 = 0.01, 0.03

# Of a slab whose SSIM is computed at a time: five filtered copies of it are in memory.
_SLAB_VOXELS = 1_000_000


def similarity(
    image: np.ndarray,
    reference: np.ndarray,
    mask: np.ndarray,
    data_range: tuple[float, float] = HU_RANGE,
    window: tuple[int, int, int] = WINDOW_3D,
) -> float:
    """Return the mean structural similarity inside a mask, as the text at the head of this module defines it.

    A volume that is thinner than the window along an axis, which SynthRAD does not know, is continued there by its
    mirror image and has no rim along it; where all of the mask lies in the rim, the rim counts.

    Args:
        image: The image to measure, [K, J, I], finite inside the mask.
        reference: What the image should be, [K, J, I], in the same unit, finite inside the mask.
        mask: The voxels that count, boolean [K, J, I], at least one of them.
        data_range: Intensities (low, high) that both are clipped to, as ``upgan.evaluation.metrics.Metrics`` has them.
        window: The window's odd numbers of voxels along K, J, I: ``WINDOW_3D`` or ``WINDOW_2D``.
    """
    low, high = data_range
    inner = tuple(
        slice(w // 2, size - w // 2) if size >= w else slice(None) for size, w in zip(mask.shape, window, strict=True)
    )
    counted = np.zeros_like(mask, dtype=bool)
    counted[inner] = mask[inner]
    if not counted.any():
        counted = mask
    box = _box(counted)
    planes = box[0]
    step = max(1, _SLAB_VOXELS // ((box[1].stop - box[1].start) * (box[2].stop - box[2].start)))
    total = 0.0
    for first in range(planes.start, planes.stop, step):
        slab = (slice(first, min(first + step, planes.stop)), *box[1:])
        around = tuple(
            slice(max(part.start - w // 2, 0), min(part.stop + w // 2, size))
            for part, w, size in zip(slab, window, mask.shape, strict=True)
        )
        inside = tuple(slice(p.start - a.start, p.stop - a.start) for p, a in zip(slab, around, strict=True))
        ours, theirs = (
            np.where(mask[around], np.clip(array[around], low, high), low).astype(np.float64) - low
            for array in (image, reference)
        )
        total += float(_similarity(ours, theirs, high - low, window)[inside][counted[slab]].sum())
    return total / np.count_nonzero(counted)


def _similarity(x: np.ndarray, y: np.ndarray, data_range: float, window: tuple[int, int, int]) -> np.ndarray:
    """Return the SSIM of each voxel, [K, J, I]."""
    voxels = int(np.prod(window))
    unbiased = voxels / (voxels - 1)
    mean_x, mean_y = (uniform_filter(values, window) for values in (x, y))
    variances = uniform_filter(np.square(x), window) - np.square(mean_x)
    variances += uniform_filter(np.square(y), window) - np.square(mean_y)
    covariance = uniform_filter(x * y, window) - mean_x * mean_y
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    found: np.ndarray = (2 * mean_x * mean_y + c1) * (2 * unbiased * covariance + c2)
    found /= (np.square(mean_x) + np.square(mean_y) + c1) * (unbiased * variances + c2)
    return found


def _box(mask: np.ndarray) -> tuple[slice, slice, slice]:
    """Return the smallest box along K, J, I that holds all of a mask."""
    bounds = []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        bounds.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return bounds[0], bounds[1], bounds[2]
