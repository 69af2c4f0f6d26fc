"""What tests of the training share: a handful of small simulated heads, a tiny run, and somebody who looks on."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from upgan.errors import Cancelled
from upgan.images.writing import write_volume
from upgan.progress import Progress
from upgan.simulation.pet import Scanner, simulate_nac_pet
from upgan.simulation.phantom import simulate_head
from upgan.training.record import checkpoint
from upgan.training.run.trainer import resume, train
from upgan.training.settings.config import TrainingConfig

# Three heads to train on, one to watch, one held out; two phases, three stages, seven epochs of three steps.
TINY: dict[str, Any] = {
    "name": "tiny",
    "seed": 7,
    "architecture": {"phases": 2, "width": 4, "deepest": 2},
    "data": {"layout": "manifest", "path": "manifest.json"},
    "split": {"train": 3, "validation": 1, "test": 1},
    "augmentation": {"flip": 0.5, "rotation_degrees": 5, "intensity": 0.1},
    "loss": {"l1": 2.2, "outside_body": 0.02},
    "discriminator": {"width": 4, "layers": 2},
    "schedule": {
        "epochs": [3, 2],
        "joint_epochs": 2,
        "epoch_steps": 3,
        "batch": 4,
        "learning_rate": 5e-3,
        "warm_up": 2,
        "gradient_clip": 1.0,
        "weight_averaging": 0.9,
    },
    "compute": {"device": "cpu", "precision": "float32"},
}
STEPS = 21

# A site's scanner. The one that the bundled model knows has a filter of 5 mm (6.7 mm in the finished plane), a million
# coincidences a slice and 25 % scatter.
SITE = Scanner(filter_mm=8.0, counts=2.5e5, scatter_fraction=0.4)
_SITE_HEIGHT_MM = 180.0


def write_site(folder: Path, heads: int, slices: int = 24) -> None:
    """Heads as the site's scanner sees them, with a manifest."""
    entries = []
    for number in range(heads):
        head = simulate_head(900 + number, (slices, 112, 96), (_SITE_HEIGHT_MM / slices, 2.0, 2.0))
        entry = {"subject": f"p{number:02}", "pet": f"p{number:02}_pet.nii.gz", "ct": f"p{number:02}_ct.nii.gz"}
        write_volume(simulate_nac_pet(head, SITE), folder / entry["pet"])
        write_volume(head.ct, folder / entry["ct"], dtype=np.int16)
        entries.append(entry)
    content = {"statement": "Simulated.", "input": "pet", "target": "ct", "subjects": entries}
    (folder / "manifest.json").write_text(json.dumps(content), encoding="utf-8")


def tiny(pairs: Path, **changes: dict[str, Any] | Any) -> TrainingConfig:
    """The tiny run on a folder of pairs; ``changes`` are merged into its sections."""
    content = json.loads(json.dumps(TINY))
    content["data"]["path"] = str(pairs / "manifest.json")
    for section, change in changes.items():
        content[section] = {**content.get(section, {}), **change} if isinstance(change, dict) else change
    return TrainingConfig.model_validate(content)


def train_beside(config: TrainingConfig, run: Path) -> None:
    """Train in a process of its own that gives way to others: tests that measure time may run beside it."""
    program = [sys.executable, "-c", _TRAIN_NICELY, config.model_dump_json(), str(run)]
    subprocess.run(program, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=True)


_TRAIN_NICELY = """
import os, sys
from pathlib import Path
from Engine.training_runs import Onlooker, train
from upgan.training.settings.config import TrainingConfig
if hasattr(os, "nice"):
    os.nice(15)
train(TrainingConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]), Onlooker())
"""


class Onlooker:
    """Keeps the lines of the journal and the fractions of all steps, and may stop the run.

    Args:
        stop_after: Steps, seen by this onlooker, after which the run is to stop.
    """

    def __init__(self, stop_after: int | None = None) -> None:
        self.lines: list[dict[str, Any]] = []
        self.fractions: list[float] = []
        self._left = stop_after
        self.progress = Progress(self.hear)

    def hear(self, text: str, fraction: float, remaining_s: float | None) -> None:
        if "epoch" not in text:
            return
        self.fractions.append(fraction)
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                raise Cancelled

    def line(self, line: dict[str, Any]) -> None:
        self.lines.append(line)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == kind]


class Unprepared(Onlooker):
    """Stops a run while its slices are prepared.

    Args:
        last: Whether of the last patient, so that all are there; of the first, if not.
    """

    def __init__(self, *, last: bool = False) -> None:
        super().__init__()
        self._last = last

    def hear(self, text: str, fraction: float, remaining_s: float | None) -> None:
        if "slices" in text and text.endswith("4 of 4" if self._last else "of 4"):
            raise Cancelled


class Killed(BaseException):
    """No ordinary exception: nothing in the code under test may catch it, as nothing catches a SIGKILL."""


def paused(run: Path, steps: int) -> None:
    """Go on with a run and pause it after so many steps."""
    with contextlib.suppress(Cancelled):
        resume(run, Onlooker(stop_after=steps))
        raise AssertionError("the run was not paused")


def begin(config: TrainingConfig, run: Path, onlooker: Onlooker) -> None:
    """Begin a run that is stopped before its end."""
    with contextlib.suppress(Cancelled):
        train(config, run, onlooker)
        raise AssertionError("the run was not stopped")


def journal(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()]


def edited(path: Path, change: Callable[[Any], object]) -> None:
    """Change what a file of JSON says."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def flipped(path: Path) -> None:
    """Change a single bit of a file."""
    content = bytearray(path.read_bytes())
    content[-1000] ^= 16
    path.write_bytes(content)


def trained(config: TrainingConfig, run: Path) -> dict[str, torch.Tensor]:
    """Train to the end; everything that the last checkpoint holds: weights, optimisers, averages, judges."""
    train(config, run, Onlooker())
    return kept(run)


def kept(run: Path, name: str = checkpoint.LAST) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.path_of(run, name))


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Bit for bit."""
    return one.dtype == other.dtype and one.numpy().tobytes() == other.numpy().tobytes()


def all_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
