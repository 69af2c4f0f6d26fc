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
from upgan.simulation.degradation import degrade_slices
from upgan.training.settings.config import TrainingConfig
from upgan.training.slices.augmentation import (
    Change,
    change_intensity,
    draw_change,
    draw_surroundings,
    mirrored_by_columns,
    move,
    move_about,
    surround,
)

if TYPE_CHECKING:
    from upgan.training.slices.cache import SliceCache
    from upgan.training.slices.handed_on import HandedOn

# Keeps the random numbers of a pass apart from those of a slice that has the same number.
_ORDER, _CHANGES = (0,), (1,)


def epoch_steps(config: TrainingConfig, slices: int) -> int:
    """Steps that count as an epoch: as configured, or the whole batches of one pass over all slices."""
    return config.schedule.epoch_steps or max(1, slices // config.schedule.batch)


class SliceName(NamedTuple):
    """A slice of the cache, to be named when something is wrong with it."""

    subject: str
    number: int


class Batch(NamedTuple):
    """Slices of one step, each [n, 1, H, W] float32.

    Attributes:
        a: Input in network units.
        b: Target in network units.
        body: 1 inside the body, else 0.
        imaged: 1 where it is known what is there: the slices and, around a margin, air as far as the canvas reaches;
            0 beyond a field of view, also where augmentation moved that to.
        names: The subject and number of each slice.
        handed_on: What frozen phases hand on of them, [n, C, H, W] float32; None where that is not kept.
    """

    a: Tensor
    b: Tensor
    body: Tensor
    imaged: Tensor
    names: list[SliceName]
    handed_on: Tensor | None = None


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
        restores: Whether targets are in the inputs' own unit, so that a brighter input has a brighter target.

    Attributes:
        handed_on: What frozen phases hand on of all slices, to be among the batches; only where ``pays_to_keep``.

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
        restores: bool = False,
    ) -> None:
        batch = config.schedule.batch
        if batch % world:
            raise InputError(
                "batch_not_divisible",
                f"A batch of {batch} slices cannot be shared equally by {world} processes.",
                f"Choose a batch that is a multiple of {world}, or another number of processes.",
            )
        self.cache, self.subjects, self.config, self.stage = cache, list(subjects), config, stage
        self.restores = restores
        self.handed_on: HandedOn | None = None
        self._ends = list(accumulate(cache.subjects[subject].count for subject in self.subjects))
        self._places = range(rank * batch // world, (rank + 1) * batch // world)

    @property
    def epoch_steps(self) -> int:
        """Steps that count as an epoch."""
        return epoch_steps(self.config, self._ends[-1])

    def __getitem__(self, step: int) -> Batch:
        draws = [step * self.config.schedule.batch + place for place in self._places]
        names = [self._name(draw) for draw in draws]
        rngs = [self._rng(draw) for draw in draws]
        changes = [self._change(rng) for rng in rngs]
        if self.config.data.degradation == "none":
            a, b, body, marked = self._moved(names, changes)
        else:
            a, b, body, marked = self._degraded(names, changes, rngs)
        handed_on = self._kept(self.handed_on, names, changes) if self.handed_on is not None else None
        margin = self._margin
        if margin is not None:
            # Last of what is drawn: switching it on leaves all else as it was.
            surroundings = [draw_surroundings(margin, rng) for rng in rngs]
            frames = [self._frame(subject) for subject, _ in names]
            a, b, body, marked = surround(torch.cat([a, b, body, marked], dim=1), frames, surroundings).split(1, dim=1)
            handed_on = surround(handed_on, frames, surroundings) if handed_on is not None else None
        a = change_intensity(a, changes)
        if self.restores:
            b = change_intensity(b, changes)
        imaged = 1 - marked if self._marks_unknown else marked
        a, b, body, imaged = (part.contiguous() for part in (a, b, body, imaged))
        return Batch(a, b, body, imaged, names, handed_on)

    @property
    def _margin(self) -> tuple[int, int] | None:
        """Rows and columns of the margin that are drawn at random; None where nothing is."""
        margin_mm = self.cache.margin_mm
        if not margin_mm or not self.config.augmentation.surroundings:
            return None
        drawn_mm = self.config.augmentation.surroundings * margin_mm
        rows, columns = (int(drawn_mm / side) for side in self.cache.spacing_mm)
        return rows, columns

    @property
    def _marks_unknown(self) -> bool:
        """Whether the mask that moves with the slices marks what is not known, instead of what is.

        Around an object with a margin there is air, as far as the canvas reaches: a network that was never told so at
        the canvas's edge makes up bone there. Without a margin nobody knows what lies beyond the field of view.
        """
        return self.cache.margin_mm is not None

    def _marked(self, subject: str) -> Tensor:
        """Return the mask of a subject's frame, [rows, columns]; zeros come in around it and as it moves."""
        known = self.cache.subjects[subject]
        imaged = torch.zeros(known.shape)
        imaged[known.imaged] = 1
        return 1 - imaged if self._marks_unknown else imaged

    def _change(self, rng: np.random.Generator) -> Change:
        change = draw_change(self.config.augmentation, rng)
        return change if mirrored_by_columns(self.cache.plane) else change._replace(flip=False)

    def _moved(self, names: list[SliceName], changes: list[Change]) -> tuple[Tensor, ...]:
        """Place the cached slices on the canvas and move them there."""
        a, b, body, marked = (torch.zeros(len(names), 1, *self.cache.canvas) for _ in range(4))
        for n, (subject, index) in enumerate(names):
            slices, inside = self.cache.load(subject), (n, 0, *self._frame(subject))
            a[inside], b[inside], body[inside] = (_read(part, index) for part in (slices.a, slices.b, slices.body))
            marked[inside] = self._marked(subject)
        spacing = self.cache.spacing_mm
        images = move(torch.cat([a, b], dim=1), changes, spacing).split(1, dim=1)
        masks = move(torch.cat([body, marked], dim=1), changes, spacing, "nearest").split(1, dim=1)
        return (*images, *(mask.contiguous() for mask in masks))

    def _degraded(
        self, names: list[SliceName], changes: list[Change], rngs: list[np.random.Generator]
    ) -> tuple[Tensor, ...]:
        """Make the inputs anew, each in its subject's own field of view, outside of which nothing is acquired.

        A degradation acts on the pixels that a scanner acquires, here as where a volume is degraded: the network's
        pixel size comes afterwards, or other lines of k-space would be left. The target comes from the same moved
        pixels, so that without a degradation it is the input: what differs otherwise, a network would learn as well.
        """
        a, b, body, marked = (torch.zeros(len(names), 1, *self.cache.canvas) for _ in range(4))
        for n, ((subject, index), change, rng) in enumerate(zip(names, changes, rngs, strict=True)):
            slices, known, inside = (
                self.cache.load(subject),
                self.cache.subjects[subject],
                (n, 0, *self._frame(subject)),
            )
            mask, clean = (_read(part, index)[None, None] for part in (slices.body, slices.clean))
            spacing, acquired_mm = self.cache.spacing_mm, known.acquired_mm
            grid = known.grid((clean.shape[-2], clean.shape[-1]))
            acquired = move_about(grid.window, clean, change, acquired_mm)
            made = degrade_slices(acquired[0].numpy(), self.config.data.degradation, rng, acquired_mm)
            a[inside] = grid.resized(torch.from_numpy(made)[None])[0, 0]
            b[inside] = grid.resized(acquired)[0, 0]
            body[inside] = move(mask, [change], spacing, "nearest")[0, 0]
            marked[inside] = self._marked(subject)
        return a, b, body, marked

    def _kept(self, handed_on: HandedOn, names: list[SliceName], changes: list[Change]) -> Tensor:
        """Place what is handed on of the slices on the canvas and move it there, as the slices are."""
        maps = torch.zeros(len(names), handed_on.channels, *self.cache.canvas)
        for n, ((subject, index), change) in enumerate(zip(names, changes, strict=True)):
            rows, columns = self._frame(subject)
            maps[n, :, rows, columns] = handed_on.read(subject, index, change.flip)
        return move(maps, changes, self.cache.spacing_mm)

    def _name(self, draw: int) -> SliceName:
        number, place = divmod(draw, self._ends[-1])
        chosen = int(_order(self.config.seed, self.stage, number, self._ends[-1])[place])
        position = bisect_right(self._ends, chosen)
        return SliceName(self.subjects[position], chosen - (self._ends[position - 1] if position else 0))

    def _rng(self, draw: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self.config.seed, self.stage, draw], spawn_key=_CHANGES))

    def _frame(self, subject: str) -> tuple[slice, slice]:
        """Return where on the canvas a subject's slices lie: centred, as the engine pads."""
        rows, columns = (
            slice((room - size) // 2, (room - size) // 2 + size)
            for room, size in zip(self.cache.canvas, self.cache.subjects[subject].shape, strict=True)
        )
        return rows, columns


def _read(part: np.ndarray, index: int) -> Tensor:
    return torch.from_numpy(part[index].astype(np.float32))


@lru_cache(maxsize=2)
def _order(seed: int, stage: int, number: int, count: int) -> np.ndarray:
    """Order of all ``count`` slices in a pass; a batch may reach into the next pass."""
    sequence = np.random.SeedSequence([seed, stage, number], spawn_key=_ORDER)
    return np.random.default_rng(sequence).permutation(count)
