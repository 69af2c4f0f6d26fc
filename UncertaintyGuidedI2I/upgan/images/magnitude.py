"""Whether an image can be a magnitude of MR, which an acquisition may be simulated of."""

from __future__ import annotations

import numpy as np

from upgan.errors import InputError
from upgan.images.nonfinite import finite
from upgan.images.volume import Volume

# Of the 99th percentile, and of all voxels: what is more negative, and more of it, no magnitude image has.
_NEGATIVE, _MOST_NEGATIVE = 0.05, 0.01

_OTHER_IMAGE = "Choose an MR image in its usual intensities: a magnitude."


def mr_magnitude(volume: Volume) -> Volume:
    """Return an image that can be a magnitude of MR as it is, and refuse any other.

    Raises:
        InputError: ``not_mr`` for another modality, or where many voxels are negative as in a CT; ``not_finite``.
    """
    if volume.modality not in (None, "MR"):
        raise InputError("not_mr", f"The image is marked as {volume.modality}: it has no k-space.", _OTHER_IMAGE)
    volume = finite(volume, None)
    negative = float((volume.voxels < -_NEGATIVE * np.percentile(np.abs(volume.voxels), 99)).mean())
    if negative > _MOST_NEGATIVE:
        raise InputError(
            "not_mr",
            f"{negative:.0%} of the voxels are clearly negative, as in a CT, which an MR magnitude is not.",
            _OTHER_IMAGE,
        )
    return volume
