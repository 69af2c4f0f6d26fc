"""Another image of the patient on a given grid, as it would look there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from upgan.images.volume import Volume
from upgan.progress import SILENT, Progress

# A Gaussian's full width at half maximum in standard deviations.
_FWHM = float(np.sqrt(8 * np.log(2)))

# Gaussian tails that are left out, in standard deviations.
_TRUNCATE = 3.0


class Grid(NamedTuple):
    """A grid of voxels in the patient.

    Attributes:
        shape: Number of voxels (K, J, I).
        ijk_to_ras: 4x4, from (i, j, k) to RAS in mm; may be oblique, flipped, permuted or sheared.
    """

    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray


class Resampled(NamedTuple):
    """An image on another grid.

    Attributes:
        voxels: float32 [K, J, I].
        covered: Boolean [K, J, I]: where the image has something to say; elsewhere ``voxels`` holds the filling.
        smoothing_mm: Standard deviation of the Gaussian applied before, along the image's own I, J and K; 0 for none.
    """

    voxels: np.ndarray
    covered: np.ndarray
    smoothing_mm: tuple[float, float, float]


def resample(volume: Volume, grid: Grid, outside: float, progress: Progress = SILENT) -> Resampled:
    """Interpolate linearly, after smoothing where the grid is coarser than the image.

    Coarser voxels average over more tissue; without the smoothing a fine CT would be compared with its noise and its
    thinnest bones, which the grid cannot show. The Gaussian makes up the difference between the two voxels' widths
    (Cardoso et al., Scale factor point spread function matching, MICCAI 2015). ITK's resampling is not used: it
    knows no sheared grids, such as those of a tilted CT gantry.

    Args:
        volume: The image; NaN and infinity count as not imaged.
        grid: The grid on which the image is wanted.
        outside: Filling where the image does not reach: beyond its outermost voxels' own extent.
        progress: Told after each slice.
    """
    to_source = np.linalg.inv(volume.ijk_to_ras) @ grid.ijk_to_ras
    widths = _smoothing(to_source)
    source, origin = _crop(volume.voxels, to_source, grid.shape, widths)
    holes = _holes(source, widths)
    if holes is not None:
        source = np.where(np.isfinite(source), source, np.float32(outside))
    if any(widths):
        source = ndimage.gaussian_filter(source.astype(np.float32), widths[::-1], mode="nearest", truncate=_TRUNCATE)
    voxels = np.full(grid.shape, outside, dtype=np.float32)
    covered = np.zeros(grid.shape, dtype=bool)
    rows, columns = np.indices(grid.shape[1:], sparse=True)
    for k in range(grid.shape[0]):
        # Coordinates in the source, ordered (k, j, i) as scipy wants them, each [J, I].
        place = [
            to_source[axis, 0] * columns + to_source[axis, 1] * rows + to_source[axis, 2] * k + to_source[axis, 3]
            for axis in (2, 1, 0)
        ]
        inside = np.ones(grid.shape[1:], dtype=bool)
        for coordinate, size in zip(place, volume.voxels.shape, strict=True):
            inside &= (coordinate >= -0.5) & (coordinate <= size - 0.5)
        if not inside.any():
            continue
        points = np.array([coordinate[inside] - start for coordinate, start in zip(place, origin, strict=True)])
        if holes is not None:
            whole = ndimage.map_coordinates(holes, points, order=1, mode="nearest") == 0
            inside[inside] = whole
            points = points[:, whole]
        voxels[k][inside] = ndimage.map_coordinates(source, points, np.float32, order=1, mode="nearest")
        covered[k] = inside
        progress.tell((k + 1) / grid.shape[0], "resampling")
    spacing = volume.spacing
    return Resampled(voxels, covered, (widths[0] * spacing[0], widths[1] * spacing[1], widths[2] * spacing[2]))


def _smoothing(to_source: np.ndarray) -> tuple[float, ...]:
    """Standard deviations along the source's I, J, K, in its voxels, that widen its voxels to those of the grid."""
    # Voxels seen as Gaussians as wide as they are: the grid's voxel has this variance along each source axis.
    variance = np.square(to_source[:3, :3]).sum(axis=1)
    # A few per cent are rounding or a parent transform, not another resolution.
    return tuple(float(np.sqrt(v - 1) / _FWHM) if v > 1.05 else 0.0 for v in variance)


def _holes(source: np.ndarray, widths: tuple[float, ...]) -> np.ndarray | None:
    """Return 1 where the source is not a number or the smoothing would reach there, float32; None where nowhere."""
    missing = ~np.isfinite(source)
    if not missing.any():
        return None
    reach = [2 * int(np.ceil(_TRUNCATE * width)) + 1 for width in widths[::-1]]
    return ndimage.maximum_filter(missing, reach).astype(np.float32)


def _crop(
    voxels: np.ndarray, to_source: np.ndarray, shape: tuple[int, int, int], widths: tuple[float, ...]
) -> tuple[np.ndarray, list[int]]:
    """Return the part of the source [K, J, I] that the grid can touch, and its first (k, j, i)."""
    last_index = np.array(shape[::-1]) - 1
    corners = np.array(np.meshgrid(*[(0, last) for last in last_index])).reshape(3, -1)
    reached = to_source[:3, :3] @ corners + to_source[:3, 3:]
    origin, window = [], []
    for axis in (2, 1, 0):
        margin = 1 + int(np.ceil(_TRUNCATE * widths[axis]))
        size = voxels.shape[2 - axis]
        start = int(np.clip(np.floor(reached[axis].min()) - margin, 0, size - 1))
        stop = int(np.clip(np.ceil(reached[axis].max()) + margin + 1, start + 1, size))
        origin.append(start)
        window.append(slice(start, stop))
    return np.asarray(voxels[tuple(window)]), origin
