"""Image error where there is a reference, as SynthRAD prints it: inside the body, over a stated range."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from skimage.metrics import structural_similarity

# HU range over which PSNR and SSIM are computed (SynthRAD 2023).
HU_RANGE = (-1024.0, 3000.0)

# Pixels of the SSIM's window, each way.
_WINDOW = 7


class ImageError(NamedTuple):
    """MAE in the image's unit, PSNR in dB, SSIM without unit, all inside the mask."""

    mae: float
    psnr: float
    ssim: float


def image_error(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: tuple[float, float] = HU_RANGE
) -> ImageError:
    """Compare two volumes [K, J, I] inside a mask; PSNR and SSIM on intensities clipped to ``data_range``.

    SSIM is computed slice by slice (7×7 windows, Wang et al. 2004) and averaged over the mask.
    """
    low, high = data_range
    clipped, truth = (np.clip(array, low, high).astype(np.float32) for array in (image, reference))
    mean_squared = float(np.square(clipped - truth, dtype=np.float64)[mask].mean())
    similarity = [
        _similarity(ours, theirs, high - low)[inside]
        for ours, theirs, inside in zip(clipped, truth, mask, strict=True)
        if inside.any()
    ]
    return ImageError(
        mae=float(np.abs(image - reference, dtype=np.float64)[mask].mean()),
        psnr=float(10 * np.log10((high - low) ** 2 / max(mean_squared, 1e-12))),
        ssim=float(np.concatenate(similarity).mean()),
    )


def _similarity(ours: np.ndarray, theirs: np.ndarray, data_range: float) -> np.ndarray:
    """Return the SSIM of each pixel of two slices; one that is smaller than the window is continued by its edge."""
    rows, columns = ours.shape
    missing = ((0, max(0, _WINDOW - rows)), (0, max(0, _WINDOW - columns)))
    pair = (np.pad(slice_, missing, mode="edge") for slice_ in (ours, theirs))
    _mean, found = structural_similarity(*pair, win_size=_WINDOW, data_range=data_range, full=True)
    return found[:rows, :columns]
