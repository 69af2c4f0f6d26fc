"""What frozen phases hand on to the one that is trained, kept on disk: computed once, and not at every step."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from upgan.errors import InputError, OutputError
from upgan.files import explained, read_json, remove_unfinished, write_json
from upgan.pairs.finding import file_stem
from upgan.progress import SILENT, Progress
from upgan.training.settings.config import TrainingConfig
from upgan.training.slices.records import LARGEST_HALF, sha256_of, write_records

if TYPE_CHECKING:
    from upgan.training.slices.cache import SliceCache

# From a subject's slices [n, H, W] in network units to what is handed on of them, [n, C, H, W], both float32.
Compute = Callable[[np.ndarray], np.ndarray]

# Of what is written: another number has it computed again.
_VERSION = 1

# Computed at a time.
_SLICES = 16

# Of the room that is left on the disk: checkpoints need some, and so may others.
_LARGEST_SHARE = 0.5

_PLAIN, _MIRRORED = "plain", "mirrored"


def pays_to_keep(config: TrainingConfig, steps: int, slices: int) -> bool:
    """Whether a stage of so many steps runs frozen phases less often by running them once for each of its slices.

    That is so where slices are shown as they are or mirrored, and in no other way, and each of them more than once.
    """
    changes = config.augmentation
    is_moved = changes.rotation_degrees or changes.scale or changes.intensity
    if is_moved or config.data.degradation != "none":
        return False
    return steps * config.schedule.batch > slices * (2 if changes.flip else 1)


@dataclass(frozen=True)
class HandedOn:
    """Maps of each slice, float16 on disk, each in the slice's own frame of H×W pixels.

    They are computed on the slice as the engine pads it. Computed at every step they would be of the slice on the
    canvas, which is larger where other subjects' slices are: σ̄ over a slice, and what a network sees at the slice's
    edge, are then those of use and not those of the canvas. Around the frame the maps are zero on the canvas, as the
    input is; a network would give some values of air there. Slices that fill the canvas differ by rounding alone.

    A mirrored patient's maps are no mirrored maps: networks are not symmetric. They are of the mirrored slice, and lie
    on the disk turned back, so that a batch may move them as it moves the slice.

    Works in any number of processes: a file is mapped only while a slice's maps are copied.

    Attributes:
        cache: The slices that they are of.
        folder: The folder in which the files are.
        channels: C, the number of maps.
        are_mirrored: Whether mirrored slices have theirs, too.
    """

    cache: SliceCache
    folder: Path
    channels: int
    are_mirrored: bool

    def read(self, subject: str, number: int, mirrored: bool) -> Tensor:
        """Return a slice's maps, [C, H, W] float32; of the mirrored slice, turned back, if so.

        Raises:
            InputError: ``cache_unreadable``.
        """
        try:
            records = np.load(self._path(subject), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise _unreadable() from error
        if records.shape != (self.cache.subjects[subject].count,) or records.dtype != self._record(subject):
            raise _unreadable()
        return torch.from_numpy(records[number][_MIRRORED if mirrored else _PLAIN].astype(np.float32))

    def keep(self, subjects: Sequence[str], compute: Compute, made_by: str, progress: Progress = SILENT) -> None:
        """Compute the maps of all slices of subjects; what is there already, whole and of the same, is kept.

        Args:
            subjects: Whose slices.
            compute: Computes them.
            made_by: A checksum of what computes them.
            progress: Told after every few slices; what it raises ends the work, which can go on later.

        Raises:
            OutputError: ``too_large_to_keep`` where they would take more than half of the room that is left on the
                disk, ``disk_full`` or ``not_writable``. What is there should be removed then.
        """
        with explained("What the earlier phases hand on"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            remove_unfinished(self.folder)
            keys = {subject: self._key(subject, made_by) for subject in subjects}
            missing = [subject for subject in subjects if not self._is_whole(subject, keys[subject])]
            for subject in missing:
                self._path(subject).unlink(missing_ok=True)
            needed = sum(self.cache.subjects[subject].count * self._record(subject).itemsize for subject in missing)
            free = shutil.disk_usage(self.folder).free
            if needed > _LARGEST_SHARE * free:
                raise OutputError(
                    "too_large_to_keep",
                    f"What the earlier phases hand on would take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
                    "left on the disk.",
                    "Free some space, or choose another disk.",
                )
            for subject, step in progress.each(missing, len(missing), "patient"):
                known = self.cache.subjects[subject]
                records = self._records(subject, compute, step)
                checksum = write_records(self._path(subject), known.count, self._record(subject), records)
                write_json(self._entry(subject), {"made_of": keys[subject], "sha256": checksum})

    def remove(self) -> None:
        """Remove all files; what cannot be removed stays."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _records(self, subject: str, compute: Compute, progress: Progress) -> Iterator[np.ndarray]:
        slices = self.cache.load(subject).a
        for first in range(0, len(slices), _SLICES):
            a = slices[first : first + _SLICES].astype(np.float32)
            records = np.empty(len(a), self._record(subject))
            records[_PLAIN] = np.clip(compute(a), -LARGEST_HALF, LARGEST_HALF)
            if self.are_mirrored:
                turned = compute(np.ascontiguousarray(a[..., ::-1]))
                records[_MIRRORED] = np.clip(turned, -LARGEST_HALF, LARGEST_HALF)[..., ::-1]
            yield records
            progress.tell((first + len(a)) / len(slices))

    def _record(self, subject: str) -> np.dtype:
        maps = ("<f2", (self.channels, *self.cache.subjects[subject].shape))
        return np.dtype([(name, *maps) for name in ((_PLAIN, _MIRRORED) if self.are_mirrored else (_PLAIN,))])

    def _key(self, subject: str, made_by: str) -> str:
        """Return a checksum of all that a subject's maps depend on."""
        made_of = hashlib.sha256(f"{_VERSION} {made_by} {self._record(subject)} ".encode())
        made_of.update(np.ascontiguousarray(self.cache.load(subject).a).data)
        return made_of.hexdigest()

    def _is_whole(self, subject: str, key: str) -> bool:
        try:
            entry = dict(read_json(self._entry(subject)))
            return entry["made_of"] == key and entry["sha256"] == sha256_of(self._path(subject))
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _path(self, subject: str) -> Path:
        return self.folder / f"{file_stem(subject)}.npy"

    def _entry(self, subject: str) -> Path:
        return self._path(subject).with_suffix(".json")


def _unreadable() -> InputError:
    return InputError(
        "cache_unreadable",
        "What the earlier phases hand on is damaged or incomplete on the disk.",
        "Resume the training: it is computed again.",
    )
