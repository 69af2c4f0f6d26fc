"""A cache of slices that holds them in memory, in place of the one on disk."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from upgan.images.outline import Window
from upgan.networks.in_plane import InPlaneGrid
from upgan.training.slices.references import Reference


class MemorySlices(NamedTuple):
    a: np.ndarray
    b: np.ndarray
    body: np.ndarray
    clean: np.ndarray


@dataclass(frozen=True)
class MemorySubject:
    count: int
    shape: tuple[int, int]
    reference: float
    ijk_to_ras: np.ndarray
    imaged: tuple[slice, slice]
    acquired_mm: tuple[float, float] = (1.0, 1.0)

    def grid(self, acquired: tuple[int, int]) -> InPlaneGrid:
        return InPlaneGrid(acquired, Window.whole(acquired), self.shape)


@dataclass
class MemoryCache:
    canvas: tuple[int, int]
    spacing_mm: tuple[float, float] = (1.0, 1.0)
    plane: str = "axial"
    margin_mm: float | None = None
    subjects: dict[str, MemorySubject] = field(default_factory=dict)
    slices: dict[str, MemorySlices] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)

    def add(self, subject: str, a: np.ndarray, b: np.ndarray, body: np.ndarray, reference: float = 1.0) -> None:
        affine = np.diag([-self.spacing_mm[1], -self.spacing_mm[0], 3.0, 1.0])
        rows, columns = a.shape[1:]
        imaged = (slice(0, rows), slice(0, columns))
        self.subjects[subject] = MemorySubject(len(a), (rows, columns), reference, affine, imaged, self.spacing_mm)
        half = b.astype(np.float16)
        self.slices[subject] = MemorySlices(a.astype(np.float16), half, body.astype(np.uint8), half)

    def load(self, subject: str) -> MemorySlices:
        return self.slices[subject]

    def load_reference(self, subject: str) -> Reference:
        return self.references[subject]
