"""Training batches from cached slices: which slices a step sees is a pure function of seed, stage and step."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from upgan.errors import InputError
from upgan.training.augmentation import change_intensity, draw_change, move
from upgan.training.config import TrainingConfig
from upgan.training.degradation import degrade_slices

if TYPE_CHECKING:
    from upgan.training.cache import SliceCache

# Keeps the random numbers of a pass apart from those of a slice that has the same number.
_ORDER, _CHANGES = (0,), (1,)


class SliceName(NamedTuple):
    """A slice of the cache, to be named when something is wrong with it."""

    subject: str
    number: int


class Batch(NamedTuple):
    """Slices of one step: input a, target b and body (0 or 1), each [n, 1, H, W] float32 in network units."""

    a: Tensor
    b: Tensor
    body: Tensor
    names: list[SliceName]


class Batches(Dataset[Batch]):
    """The batches of a stage; ``batches[step]`` is this process's part of the batch of that step.

    All slices of the subjects are drawn in a random order, then all again in another, without a gap: the k-th slice
    drawn, and what augmentation and degradation make of it, depends on (seed, stage, k) alone. So it does not matter
    how many processes share a batch, in which order or process steps are prepared, or where a run was resumed.

    Works in ``DataLoader(batches, batch_size=None, sampler=range(start, stop))`` with any number of workers: nothing
    is kept between steps, and a memory map is opened only while its slice is copied.

    Args:
        cache: The cached slices.
        subjects: Whose slices to draw.
        config: The run: seed, batch, augmentation and degradation.
        stage: Number of the stage; each has an order of its own.
        rank: This process among ``world``.
        world: Processes that share each batch in equal, contiguous parts.

    Raises:
        InputError: ``batch_not_divisible``.
    """

    def __init__(
        self,
        cache: SliceCache,
        subjects: Sequence[str],
        config: TrainingConfig,
        stage: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        batch = config.schedule.batch
        if batch % world:
            raise InputError(
                "batch_not_divisible",
                f"A batch of {batch} slices cannot be shared equally by {world} processes.",
                f"Choose a batch that is a multiple of {world}, or another number of processes.",
            )
        self.cache, self.subjects, self.config, self.stage = cache, list(subjects), config, stage
        self._ends = list(accumulate(cache.subjects[subject].count for subject in self.subjects))
        self._places = range(rank * batch // world, (rank + 1) * batch // world)

    @property
    def epoch_steps(self) -> int:
        """Steps that count as an epoch: as configured, or the whole batches of one pass over all slices."""
        return self.config.schedule.epoch_steps or max(1, self._ends[-1] // self.config.schedule.batch)

    def __getitem__(self, step: int) -> Batch:
        draws = [step * self.config.schedule.batch + place for place in self._places]
        names = [self._name(draw) for draw in draws]
        a, b, body = (torch.zeros(len(names), 1, *self.cache.canvas) for _ in range(3))
        for n, (subject, index) in enumerate(names):
            slices, frame = self.cache.load(subject), self._frame(subject)
            for batch, cached in ((a, slices.a), (b, slices.b), (body, slices.body)):
                batch[n, 0, *frame] = torch.from_numpy(cached[index].astype(np.float32))
        rngs = [self._rng(draw) for draw in draws]
        changes = [draw_change(self.config.augmentation, rng) for rng in rngs]
        spacing = self.cache.spacing_mm
        body = move(body, changes, spacing, "nearest")
        if self.config.data.degradation == "none":
            a, b = move(torch.cat([a, b], dim=1), changes, spacing).split(1, dim=1)
        else:
            a, b, body = self._degraded(move(b, changes, spacing), body, names, rngs)
        return Batch(change_intensity(a, changes).contiguous(), b.contiguous(), body, names)

    def _degraded(
        self, b: Tensor, body: Tensor, names: list[SliceName], rngs: list[np.random.Generator]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Make the inputs anew, each in its subject's own field of view, outside of which nothing is acquired."""
        a, seen, seen_body = (torch.zeros_like(b) for _ in range(3))
        for n, (name, rng) in enumerate(zip(names, rngs, strict=True)):
            inside = (n, slice(None), *self._frame(name.subject))
            made = degrade_slices(b[inside].numpy(), self.config.data.degradation, rng, self.cache.spacing_mm)
            a[inside], seen[inside], seen_body[inside] = torch.from_numpy(made), b[inside], body[inside]
        return a, seen, seen_body

    def _name(self, draw: int) -> SliceName:
        number, place = divmod(draw, self._ends[-1])
        chosen = int(_order(self.config.seed, self.stage, number, self._ends[-1])[place])
        position = bisect_right(self._ends, chosen)
        return SliceName(self.subjects[position], chosen - (self._ends[position - 1] if position else 0))

    def _rng(self, draw: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self.config.seed, self.stage, draw], spawn_key=_CHANGES))

    def _frame(self, subject: str) -> tuple[slice, slice]:
        """Where on the canvas a subject's slices lie: centred, as the engine pads."""
        rows, columns = (
            slice((room - size) // 2, (room - size) // 2 + size)
            for room, size in zip(self.cache.canvas, self.cache.subjects[subject].shape, strict=True)
        )
        return rows, columns


@lru_cache(maxsize=2)
def _order(seed: int, stage: int, number: int, count: int) -> np.ndarray:
    """Order of all ``count`` slices in a pass; a batch may reach into the next pass."""
    sequence = np.random.SeedSequence([seed, stage, number], spawn_key=_ORDER)
    return np.random.default_rng(sequence).permutation(count)
