"""Pairs of volumes as normalised slices in memory, split by subject."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from upgan.errors import InputError
from upgan.evaluation.body import body_mask
from upgan.tasks import Task
from upgan.volume import Plane, Reorientation, Volume, read_volume

# Of the slices that networks are trained on.
PLANE: Plane = "axial"

# The body's rim and the skin's partial volumes count as body: two pixels.
_DILATION = 2

# Of an affine's entries, in mm: what formats with single-precision geometry lose, far below a voxel.
_GRID_TOLERANCE = 1e-2


class Pair(NamedTuple):
    """One subject: name, input and target on the same grid."""

    subject: str
    source: Volume
    target: Volume


class Slices(NamedTuple):
    """Network-ready slices, each [N, 1, H, W]: input a, target b, and the dilated body as 0/1."""

    a: Tensor
    b: Tensor
    body: Tensor

    def __len__(self) -> int:
        return len(self.a)


class Split(NamedTuple):
    """Subjects' names of the three parts, disjoint."""

    train: list[str]
    validation: list[str]
    test: list[str]


def subject_names(manifest: Path) -> list[str]:
    """Names of all subjects, in the manifest's order."""
    return list(_entries(manifest))


def split_subjects(manifest: Path, train: int, validation: int, test: int) -> Split:
    """Take the first ``train`` subjects of a manifest, then ``validation``, then ``test``: never by slice."""
    names = subject_names(manifest)
    if len(names) < train + validation + test:
        raise InputError(
            "too_few_subjects",
            f"The split asks for {train} + {validation} + {test} subjects, the manifest has {len(names)}.",
            "Add subjects or ask for fewer.",
        )
    return Split(names[:train], names[train : train + validation], names[train + validation :][:test])


def read_pairs(manifest: Path, subjects: Sequence[str]) -> Iterator[Pair]:
    """Read the pairs of the named subjects one after the other."""
    entries = _entries(manifest)
    for subject in subjects:
        files = entries[subject]
        pair = Pair(subject, *(read_volume(manifest.parent / files[side]) for side in ("input", "target")))
        if pair.source.voxels.shape != pair.target.voxels.shape or not np.allclose(
            pair.source.ijk_to_ras, pair.target.ijk_to_ras, atol=_GRID_TOLERANCE
        ):
            raise InputError(
                "unequal_pair",
                f"Input and target of {subject} lie on different grids.",
                "Resample one of them onto the grid of the other.",
            )
        yield pair


def load_slices(manifest: Path, subjects: Sequence[str], task: Task) -> Slices:
    """Normalise all axial slices of the named subjects, laid out as the engine does; half precision in memory."""
    parts: list[list[np.ndarray]] = [[], [], []]
    for pair in read_pairs(manifest, subjects):
        layout = Reorientation.of(pair.source.ijk_to_ras, PLANE)
        intensities = task.calibrate(pair.source)
        source, target = layout.apply(pair.source.voxels), layout.apply(pair.target.voxels)
        body = ndimage.binary_dilation(body_mask(target), np.ones((1, 3, 3)), iterations=_DILATION)
        arrays = (intensities.normalise(source), intensities.normalise_target(target), body)
        for part, array in zip(parts, arrays, strict=True):
            part.append(array.astype(np.float16))
    return Slices(*(torch.from_numpy(np.concatenate(part))[:, None] for part in parts))


def _entries(manifest: Path) -> dict[str, dict[str, str]]:
    """Read a manifest of pairs: subject → file names of ``input`` and ``target``."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        sides = {side: content[side] for side in ("input", "target")}
        return {entry["subject"]: {side: entry[name] for side, name in sides.items()} for entry in content["subjects"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "manifest_unreadable",
            f"{manifest.name} is not a readable manifest of pairs.",
            "Make one with `upgan simulate`, or check its path.",
        ) from error
