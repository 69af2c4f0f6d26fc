"""What a CT's values are in HU: the one definition for targets to train on and references to compare with."""

from __future__ import annotations

import numpy as np

AIR_HU = -1000.0

# What 12 bits hold, as CTs have been stored since the first scanners. Below there is no tissue: scanners and programs
# mark with -2000, -3024 or -32768 what lies outside the round field of view. Above there is metal alone, whose value
# says how the scanner clips, and which no other modality shows; tooth enamel has some 2500 HU.
LOWEST_HU, HIGHEST_HU = -1024.0, 3071.0

# HU limits (exclusive, inclusive) of the classes in which errors and uncertainty are also given. Models are calibrated
# by them: with other limits their σ would be another.
TISSUES = {"air": (-np.inf, -300.0), "soft": (-300.0, 200.0), "bone": (200.0, np.inf)}
TISSUES_IN_WORDS = {"air": "air", "soft": "soft tissue", "bone": "bone"}


def hounsfield(voxels: np.ndarray) -> np.ndarray:
    """Return a CT's values as they are to be learned and compared with: padding is air, metal ends at 3071 HU.

    Before an image is resampled: or values between padding and air would appear, also where there was none.

    Args:
        voxels: HU as read, any shape; NaN and infinity stay what they are.

    Returns:
        float32, new where anything had to be changed. What lies below -1024 HU is -1000 HU.
    """
    voxels = voxels.astype(np.float32, copy=False)
    padding, metal = (beyond & np.isfinite(voxels) for beyond in (voxels < LOWEST_HU, voxels > HIGHEST_HU))
    if padding.any() or metal.any():
        voxels = voxels.copy()
        voxels[padding], voxels[metal] = AIR_HU, HIGHEST_HU
    return voxels


def looks_like_hounsfield(values: np.ndarray) -> bool:
    """Return whether values, any shape, can be those of a CT in HU: there is air, and tissue.

    Every CT has air in it or around it; scanners store down to -3024 outside their field of view.
    """
    low, high = np.percentile(values, (1, 99))
    return bool(-4000 <= low <= -500 and -200 <= high <= 4000)


# HU range over which PSNR and SSIM are computed (SynthRAD 2023).
HU_RANGE = (-1024.0, 3000.0)
