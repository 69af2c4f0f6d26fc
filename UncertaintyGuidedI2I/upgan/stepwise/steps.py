"""Long work as generators that yield after every few milliseconds, so that a viewer can live meanwhile."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")

# Of one step: a millisecond or two of numpy, ten of morphology.
STEP_VOXELS = 200_000


def finish(steps: Generator[None, None, T]) -> T:
    """Run stepwise work to its end at once, and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def spans(size: int, step: int | None = None) -> Iterator[slice]:
    """Part a range of indices into steps of at most so many, by default ``STEP_VOXELS``."""
    step = step or STEP_VOXELS
    return (slice(first, min(first + step, size)) for first in range(0, size, step))


def slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    """Part a volume [K, J, I] along K into slabs of at most ``STEP_VOXELS``, at least one plane each."""
    return spans(shape[0], max(1, STEP_VOXELS // max(1, shape[1] * shape[2])))
