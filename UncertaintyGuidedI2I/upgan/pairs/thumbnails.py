"""Small pictures of volumes for a table of pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK

from upgan.files import atomically, refusal
from upgan.images.orientation import Plane, Reorientation
from upgan.images.volume import Volume
from upgan.images.writing import write_by_itk

# Longest side.
_PIXELS = 128

# As for an image of arbitrary unit: the brightest are vessels and artefacts.
_BRIGHTEST_PERCENTILE = 99.5


def thumbnail(volume: Volume, plane: Plane, window: tuple[float, float] | None = None) -> np.ndarray:
    """Show the middle slice as a viewer would, with square pixels; uint8 [H, W], the longer side 128.

    Args:
        volume: The image, on any grid.
        plane: The plane of the slice.
        window: Intensities that become black and white; from 0 (or less) to the slice's brightest where None.
    """
    from skimage.transform import resize

    layout = Reorientation.of(volume.ijk_to_ras, plane)
    slices = layout.apply(volume.voxels)
    middle = np.nan_to_num(slices[len(slices) // 2].astype(np.float32), posinf=0.0, neginf=0.0)
    if window is None:
        window = (min(0.0, float(middle.min())), float(np.percentile(middle, _BRIGHTEST_PERCENTILE)))
    low, high = window
    grey = np.clip((middle - low) / (high - low), 0, 1) if high > low else np.zeros_like(middle)
    fields = [count * step for count, step in zip(middle.shape, layout.in_plane_spacing, strict=True)]
    size = [max(round(_PIXELS * field / max(fields)), 1) for field in fields]
    return np.round(255 * resize(grey, size, order=1, anti_aliasing=True)).astype(np.uint8)


def write_thumbnail(pixels: np.ndarray, path: Path) -> None:
    """Write a picture as PNG, whole or not at all.

    Raises:
        OutputError: ``not_written``.
    """
    try:
        with atomically(path, suffix=".png") as temporary:
            write_by_itk(SimpleITK.GetImageFromArray(pixels), temporary, is_compressed=False)
    except (OSError, RuntimeError) as error:
        raise refusal(error, f"The picture '{path.name}'", code="not_written") from error
