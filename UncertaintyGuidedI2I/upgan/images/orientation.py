"""Which way slices are cut: the axes of a grid brought into the layout of a plane, and back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Literal, Self, cast

import numpy as np

from upgan.errors import InputError

Plane = Literal["axial", "coronal", "sagittal"]


# Where the I', J' and K' axes of each layout point. In a slice, rows and columns run as a radiologist views them:
# to the patient's left or back, and downwards. Slices count as Slicer's slice offset does: up, forwards, to the right.
LAYOUTS: dict[Plane, str] = {"axial": "LPS", "coronal": "LIA", "sagittal": "PIR"}


# Anatomical direction -> (RAS axis, sign).
DIRECTIONS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def has_mirror_axis(plane: Plane) -> bool:
    """Whether the slices of a plane show the patient's left and right, as their columns then."""
    return LAYOUTS.get(plane, "").startswith("L")


@dataclass(frozen=True)
class Reorientation:
    """The axis permutation and flips that bring a grid into the layout of a plane, and back.

    Attributes:
        sources: The original axis (0 for I, 1 for J, 2 for K) that becomes I', J' and K'.
        flips: Whether I', J' and K' run against their original axis.
        spacing: Voxel distances along I', J' and K' in mm.
    """

    sources: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, ijk_to_ras: np.ndarray, plane: Plane) -> Self:
        """Find the reorientation of a grid.

        Args:
            ijk_to_ras: 4x4, non-singular; may be oblique, flipped, permuted or sheared.
            plane: The plane of the wanted slices.

        Raises:
            InputError: ``unknown_plane``.
        """
        if plane not in LAYOUTS:
            raise InputError("unknown_plane", f"There is no plane '{plane}'.", f"Choose one of {', '.join(LAYOUTS)}.")
        spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
        cosines = ijk_to_ras[:3, :3] / spacing
        # Of all one-to-one matchings the one with the smallest angles, so that 45 degrees leaves no axis over.
        original = max(permutations(range(3)), key=lambda axes: float(np.abs(cosines[range(3), axes]).sum()))
        wanted = [DIRECTIONS[letter] for letter in LAYOUTS[plane]]
        sources = [original[ras] for ras, _ in wanted]
        flips = [bool(sign * cosines[ras, original[ras]] < 0) for ras, sign in wanted]
        return cls(
            cast(tuple[int, int, int], tuple(sources)),
            cast(tuple[bool, bool, bool], tuple(flips)),
            cast(tuple[float, float, float], tuple(float(spacing[s]) for s in sources)),
        )

    @property
    def in_plane_spacing(self) -> tuple[float, float]:
        """Return the pixel distances (J', I') of the reoriented slices in mm."""
        return self.spacing[1], self.spacing[0]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Return a view [K', J', I'] of an array [K, J, I]."""
        return np.flip(array.transpose(self._array_axes), self._flipped_axes)

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Return a view [K, J, I] of an array [K', J', I']; the exact inverse of ``apply``."""
        return np.flip(array, self._flipped_axes).transpose(np.argsort(self._array_axes))

    def to_original_indices(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the 4x4 matrix from new indices (i', j', k') to the original (i, j, k).

        Args:
            shape: The original array's (K, J, I), which a flip needs to find the far end.
        """
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for new, (old, flip) in enumerate(zip(self.sources, self.flips, strict=True)):
            matrix[old, new] = -1 if flip else 1
            matrix[old, 3] = shape[2 - old] - 1 if flip else 0
        return matrix

    @property
    def _array_axes(self) -> tuple[int, ...]:
        # Arrays are [K, J, I], so that axis I is array axis 2.
        return tuple(2 - source for source in reversed(self.sources))

    @property
    def _flipped_axes(self) -> tuple[int, ...]:
        return tuple(2 - new for new, flip in enumerate(self.flips) if flip)
