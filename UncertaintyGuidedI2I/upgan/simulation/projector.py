"""Parallel-beam Radon transform and filtered back-projection of a whole stack of slices at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.sparse import coo_array, csr_array

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Projector:
    """A parallel-beam scanner over square pixels.

    Attributes:
        rows: Pixels along J.
        columns: Pixels along I.
        angles: Views over 180 degrees.
        pixel_cm: Side of a pixel; bins of the sinogram are as wide.
    """

    rows: int
    columns: int
    angles: int
    pixel_cm: float

    @property
    def bins(self) -> int:
        """Number of parallel rays: odd, and enough to cover the diagonal."""
        return 2 * int(np.ceil(np.hypot(self.rows, self.columns) / 2.0)) + 1

    def forward(self, images: Field) -> Field:
        """Integrate images [K,J,I] along rays; gives [K,angles,bins] in the unit of the image times cm."""
        pixels = np.ascontiguousarray(images.reshape(len(images), -1).T, dtype=np.float32)
        rays = _ray_matrix(self.rows, self.columns, self.angles, self.bins) @ pixels
        return np.ascontiguousarray(rays.T).reshape(-1, self.angles, self.bins) * np.float32(self.pixel_cm)

    def filtered_back_projection(self, sinograms: Field) -> Field:
        """Reconstruct images [K,J,I] from sinograms [K,angles,bins] with a ramp filter and a Hann window."""
        size = next_fast_len(2 * self.bins, real=True)
        response = _filter_response(size) / self.pixel_cm
        filtered = irfft(rfft(sinograms, size, axis=-1) * response, size, axis=-1)[..., : self.bins]
        rays = np.ascontiguousarray(filtered.reshape(len(sinograms), -1).T, dtype=np.float32)
        pixels = _back_projection_matrix(self.rows, self.columns, self.angles, self.bins) @ rays
        scaled = pixels.T.reshape(-1, self.rows, self.columns) * np.float32(np.pi / self.angles)
        return np.ascontiguousarray(scaled, dtype=np.float32)


def _filter_response(size: int) -> Field:
    """Frequency response of the band-limited ramp (Kak & Slaney 1988, Eq. 61), times a Hann window, per pixel."""
    offset = np.minimum(np.arange(size), size - np.arange(size)).astype(np.float64)
    odd = offset % 2 == 1
    kernel = np.zeros(size)
    kernel[odd] = -1.0 / (np.pi * offset[odd]) ** 2
    kernel[0] = 0.25
    frequency = np.arange(size // 2 + 1) / size
    hann = 0.5 + 0.5 * np.cos(2.0 * np.pi * frequency)
    return (np.real(rfft(kernel)) * hann).astype(np.float32)


def _directions(angles: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    theta = np.arange(angles) * np.pi / angles
    return np.cos(theta), np.sin(theta)


@lru_cache(maxsize=4)
def _ray_matrix(rows: int, columns: int, angles: int, bins: int) -> csr_array:
    """Sparse [angles·bins, pixels]: Joseph's method (IEEE TMI 1982), linear across the rays' dominant axis."""
    offsets = np.arange(bins) - (bins - 1) / 2.0
    parts = []
    for view, (cos, sin) in enumerate(zip(*_directions(angles), strict=True)):
        # A ray is the line i·cos + j·sin = offset around the centre of the image.
        along_rows = abs(cos) >= abs(sin)
        steps, width = (rows, columns) if along_rows else (columns, rows)
        major, minor = (sin, cos) if along_rows else (cos, sin)
        step = np.arange(steps) - (steps - 1) / 2.0
        position = (offsets[:, None] - step[None, :] * major) / minor + (width - 1) / 2.0
        lower = np.floor(position).astype(np.int64)
        share = position - lower
        ray = np.broadcast_to((view * bins + np.arange(bins))[:, None], position.shape)
        index = np.broadcast_to(np.arange(steps)[None, :], position.shape)
        for neighbour, weight in ((lower, 1.0 - share), (lower + 1, share)):
            inside = (neighbour >= 0) & (neighbour < width)
            j, i = (index, neighbour) if along_rows else (neighbour, index)
            parts.append((ray[inside], (j * columns + i)[inside], weight[inside] / abs(minor)))
    ray_index, pixel_index, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    shape = (angles * bins, rows * columns)
    return _compact(weights, ray_index, pixel_index, shape)


@lru_cache(maxsize=4)
def _back_projection_matrix(rows: int, columns: int, angles: int, bins: int) -> csr_array:
    """Sparse [pixels, angles·bins]: every pixel reads each view by linear interpolation between two bins."""
    j, i = np.meshgrid(np.arange(rows) - (rows - 1) / 2.0, np.arange(columns) - (columns - 1) / 2.0, indexing="ij")
    pixel = np.arange(rows * columns)
    parts = []
    for view, (cos, sin) in enumerate(zip(*_directions(angles), strict=True)):
        position = (i * cos + j * sin).ravel() + (bins - 1) / 2.0
        lower = np.floor(position).astype(np.int64)
        share = position - lower
        parts.append((pixel, view * bins + lower, 1.0 - share))
        parts.append((pixel, view * bins + lower + 1, share))
    pixel_index, ray_index, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _compact(weights, pixel_index, ray_index, (rows * columns, angles * bins))


def _compact(
    weights: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]
) -> csr_array:
    # 32-bit indices and weights halve the memory traffic, which is what the product costs.
    entries = (weights.astype(np.float32), (rows.astype(np.int32), columns.astype(np.int32)))
    return coo_array(entries, shape=shape).tocsr()
