"""Small pictures of volumes for a table of pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK

from upgan.files import atomically, refusal
from upgan.images.orientation import Plane, Reorientation
from upgan.images.volume import Volume
from upgan.images.writing import write_by_itk

# Longest side, for a table.
_PIXELS = 128

# As for an image of arbitrary unit: the brightest are vessels and artefacts.
_BRIGHTEST_PERCENTILE = 99.5


def thumbnail(
    volume: Volume, plane: Plane, window: tuple[float, float] | None = None, pixels: int = _PIXELS
) -> np.ndarray:
    """Show the middle slice as a viewer would, with square pixels; uint8 [H, W].

    Args:
        volume: The image, on any grid.
        plane: The plane of the slice.
        window: Intensities that become black and white; ``grey_window`` where None.
        pixels: The number of pixels along the longer side.
    """
    from skimage.transform import resize

    layout = Reorientation.of(volume.ijk_to_ras, plane)
    middle = _middle(layout.apply(volume.voxels))
    low, high = window or grey_window(volume, plane)
    grey = np.clip((middle - low) / (high - low), 0, 1) if high > low else np.zeros_like(middle)
    fields = [count * step for count, step in zip(middle.shape, layout.in_plane_spacing, strict=True)]
    size = [max(round(pixels * field / max(fields)), 1) for field in fields]
    return np.round(255 * resize(grey, size, order=1, anti_aliasing=True)).astype(np.uint8)


def grey_window(volume: Volume, plane: Plane) -> tuple[float, float]:
    """Return the intensities that become black and white: 0 (or less) and the brightest of the middle slice."""
    middle = _middle(Reorientation.of(volume.ijk_to_ras, plane).apply(volume.voxels))
    return min(0.0, float(middle.min())), float(np.percentile(middle, _BRIGHTEST_PERCENTILE))


def middle_slices(volume: Volume, plane: Plane) -> Volume:
    """Return the slice that ``thumbnail`` shows and the one before it, in a layout of the plane; where is not said."""
    standing = volume.reoriented(plane)
    first = max(len(standing.voxels) // 2 - 1, 0)
    return Volume(standing.voxels[first : first + 2], standing.ijk_to_ras)


def _middle(slices: np.ndarray) -> np.ndarray:
    """Return the middle one of slices [N, H, W], float32 without what is no number."""
    return np.nan_to_num(slices[len(slices) // 2].astype(np.float32), posinf=0.0, neginf=0.0)


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
