"""Image error where there is a reference, as SynthRAD 2023 prints it: inside the body, over a stated range.

The facts are those of the challenge's published code (github.com/SynthRAD2023/metrics, functions/image_metrics.py):

- MAE inside the mask, nothing clipped.
- PSNR inside the mask, both images clipped to [−1024, 3000] HU, with 4024 HU as the peak.
- SSIM (Wang et al. 2004; 7×7×7 uniform windows, sample covariance, K₁ 0.01, K₂ 0.03) of both images clipped, set to
  −1024 HU outside the mask and shifted so that this is 0; averaged over the voxels of the mask whose window lies wholly
  inside the volume.

SynthRAD 2025 clips to [−1024, 3071] HU instead and prints a multi-scale SSIM in place of this one: its PSNR of the same
images is up to 0.15 dB higher, and its SSIM is another number altogether.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter

from upgan.images.hounsfield import HU_RANGE

# Voxels of the SSIM's window along K, J and I: SynthRAD's, and that of a slice on its own.
WINDOW_3D = (7, 7, 7)
WINDOW_2D = (1, 7, 7)

# What the two are called, for whoever prints them.
SSIM_3D, SSIM_2D = "SSIM (3-D)", "SSIM (2-D, slice by slice)"
DEFINITION = (
    "PSNR and SSIM of both images clipped to the range; SSIM outside the mask at the range's lower end and shifted to "
    "start at 0, windows of 7 voxels each way, averaged over the mask but for 3 voxels at the volume's edge: in 3-D as "
    "SynthRAD 2023, in 2-D slice by slice"
)

_K1, _K2 = 0.01, 0.03

# An image without error would have an infinite PSNR, which JSON does not know: so it ends at 160 dB.
_SMALLEST = 1e-16

# Of a slab whose SSIM is computed at a time: five filtered copies of it are in memory.
_SLAB_VOXELS = 1_000_000


class ImageError(NamedTuple):
    """MAE in the image's unit, PSNR in dB, SynthRAD's SSIM without unit, all inside the mask."""

    mae: float
    psnr: float
    ssim_3d: float


def image_error(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: tuple[float, float] = HU_RANGE
) -> ImageError:
    """Compare two volumes [K, J, I] inside a mask as SynthRAD 2023 does; all figures are finite.

    Args:
        image: Finite inside the mask.
        reference: Likewise.
        mask: Boolean, at least one voxel.
        data_range: Intensities (low, high), low < high, that PSNR and SSIM are clipped to and relative to. In an image
            of arbitrary unit the lower end takes the part that −1024 HU has in a CT.
    """
    low, high = data_range
    ours, theirs = (array[mask].astype(np.float64) for array in (image, reference))
    mean_squared = float(np.square(np.clip(ours, low, high) - np.clip(theirs, low, high)).mean())
    return ImageError(
        mae=float(np.abs(ours - theirs).mean()),
        psnr=float(10 * np.log10((high - low) ** 2 / max(mean_squared, _SMALLEST * (high - low) ** 2))),
        ssim_3d=similarity(image, reference, mask, data_range),
    )


def similarity(
    image: np.ndarray,
    reference: np.ndarray,
    mask: np.ndarray,
    data_range: tuple[float, float] = HU_RANGE,
    window: tuple[int, int, int] = WINDOW_3D,
) -> float:
    """Mean structural similarity inside a mask, as the module's text defines it.

    A volume that is thinner than the window along an axis, which SynthRAD does not know, is continued there by its
    mirror image and has no rim along it; where all of the mask lies in the rim, the rim counts.

    Args:
        image: [K, J, I], finite inside the mask.
        reference: Likewise.
        mask: Boolean, at least one voxel.
        data_range: As for ``image_error``.
        window: Voxels along K, J, I, odd: ``WINDOW_3D`` or ``WINDOW_2D``.
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
    """SSIM of each voxel."""
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
    """Smallest box that holds all of a mask."""
    bounds = []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        bounds.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return bounds[0], bounds[1], bounds[2]
