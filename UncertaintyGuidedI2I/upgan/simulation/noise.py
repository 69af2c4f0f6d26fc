"""Seeded smooth random fields: what makes one simulated head different from the next."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch.nn.functional import interpolate

Field = NDArray[np.float32]
Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


def correlated_noise(rng: np.random.Generator, shape: Shape, sigma_mm: float, spacing_mm: Spacing) -> Field:
    """White noise smoothed by a Gaussian of `sigma_mm`, [K,J,I], mean 0 and standard deviation 1."""
    white = rng.standard_normal(shape, dtype=np.float32)
    field = gaussian_filter(white, [sigma_mm / step for step in spacing_mm], mode="wrap", truncate=3.0)
    return ((field - field.mean()) / field.std()).astype(np.float32)


def slow_noise(rng: np.random.Generator, shape: Shape, nodes: Shape) -> Field:
    """Random values at a few nodes, interpolated smoothly to [K,J,I]; standard deviation about 1."""
    white = torch.from_numpy(rng.standard_normal((1, 1, *nodes), dtype=np.float32))
    # Two linear steps come close to a quadratic spline and cost a tenth of one.
    middle = tuple(min(2 * n + 1, size) for n, size in zip(nodes, shape, strict=True))
    field = interpolate(white, size=middle, mode="trilinear", align_corners=False)
    field = interpolate(field, size=shape, mode="trilinear", align_corners=False)[0, 0]
    return np.ascontiguousarray((field / field.std()).numpy(), dtype=np.float32)
