"""Train and measure all variants of a plan, one after the other, each with every seed: a queue that can be left.

    python Testing/Experiments/cascade/run.py small

adds a line a job to results/small.csv; what is there is not done again, and a job that was interrupted goes on from its
last checkpoint. Several processes share a queue, also started later: a job is whoever's that locks it.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric
from measuring import measure
from plans import FIRST, PLANS, Plan, Variant

from upgan.files import read_json
from upgan.networks.architecture import CascadeArchitecture
from upgan.networks.build import build
from upgan.networks.cost import counted_cost
from upgan.pairs.config import DataConfig
from upgan.pairs.finding import find_pairs
from upgan.pairs.splitting import Split
from upgan.progress import SILENT
from upgan.tasks import PET_TO_CT
from upgan.training.loop.processes import make_fabric
from upgan.training.loop.progressive import ProgressiveTraining
from upgan.training.loop.stage import plan_stages
from upgan.training.record import checkpoint
from upgan.training.record.layout import FINISHED
from upgan.training.settings.config import TrainingConfig
from upgan.training.slices.cache import SliceCache, build_cache
from upgan.training.slices.dataset import RunData

ROOT = Path(__file__).resolve().parents[3]
RESULTS = Path(__file__).parent / "results"
HEADS = ROOT / "build" / "phantom-heads" / "pairs.csv"
WORK = ROOT / "build" / "cascade"

# As the code was when this process loaded it; with a + where files differ from the commit.
COMMIT = subprocess.run(
    ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=False
).stdout.strip()

# Stages have so many epochs: validations, and places where a journal can be looked at.
EPOCHS = 5

SHARED: dict[str, dict[str, Any]] = {
    "augmentation": {"flip": 0.5},
    "loss": {"likelihood": 1.0, "adversarial": 0.0, "l1": 2.2, "outside_body": 0.02},
    "schedule": {"batch": 8, "learning_rate": 1e-3, "joint_learning_rate": 3e-4, "warm_up": 50, "gradient_clip": 1.0},
}
DEEPEST = 6


class Silent:
    """Nobody looks on."""

    progress = SILENT

    def line(self, line: dict[str, Any]) -> None:
        """Hear a line of the journal."""


def main() -> None:
    """Work on a plan's queue until nothing is left of it that nobody else has."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("plan", choices=PLANS)
    arguments.add_argument("--only", default="", help="Work on variants whose names contain this.")
    chosen = arguments.parse_args()
    plan = PLANS[chosen.plan]
    cache, split = prepare(plan, chosen.plan)
    for name, variant, seed in jobs(plan):
        if chosen.only not in name:
            continue
        folder = WORK / chosen.plan / f"{name.replace(' ', '_').replace(',', '')}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / "job.lock", timeout=0):
                if not is_done(chosen.plan, name, seed):
                    write(chosen.plan, run(plan, name, variant, seed, folder, cache, split))
        except Timeout:
            continue


def jobs(plan: Plan) -> Iterator[tuple[str, Variant, int]]:
    """Seed by seed those that come first, then the others: a queue that is cut short has compared something."""
    first = [name for name in plan.first or FIRST if name in plan.variants]
    for names in (first, [name for name in plan.variants if name not in first]):
        for seed in plan.seeds:
            for name in names:
                yield name, plan.variants[name], seed


def prepare(plan: Plan, name: str) -> tuple[SliceCache, Split]:
    """Cut all heads into slices once for the whole plan; the split is the table's."""
    data = DataConfig(path=HEADS, layout="csv", spacing_mm=(plan.pixel_mm,) * 2)
    pairs = find_pairs(data)
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for pair in pairs:
        parts[str(pair.split)].append(pair.subject)
    # One head to watch: nothing is chosen by it, and looking takes time.
    split = Split(parts["train"], parts["validation"][:1], parts["test"])
    folder = WORK / name / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        measured = [*split.validation, *split.test]
        spacing_mm = (plan.pixel_mm, plan.pixel_mm)
        cache = build_cache(pairs, data, PET_TO_CT, spacing_mm, folder, margin_mm=plan.margin_mm, measured=measured)
        return cache, split


def configuration(plan: Plan, variant: Variant, seed: int) -> TrainingConfig:
    """Write down a job as a run's configuration."""
    changed = [SHARED, plan.settings, variant.settings]
    sections = {
        name: merged(*(part.get(name, {}) for part in changed)) for name in ("augmentation", "loss", "schedule")
    }
    steps = [round(share * plan.steps) for share in variant.shares]
    joint = round(variant.joint * plan.steps)
    # Stages need not have the same number of steps, but epochs have: the greatest that is a fifth of the shortest.
    epoch = max(1, min([*steps, *([joint] if joint else [])]) // EPOCHS)
    sections["schedule"] |= {
        "epochs": [round(count / epoch) for count in steps],
        "joint_epochs": round(joint / epoch),
        "epoch_steps": epoch,
    }
    architecture = {
        "phases": len(steps),
        "width": round(plan.width * variant.width),
        "deepest": DEEPEST,
        "margin_mm": plan.margin_mm,
    }
    return TrainingConfig.model_validate(
        {
            "name": "cascade",
            "seed": seed,
            "architecture": architecture
            | plan.settings.get("architecture", {})
            | variant.settings.get("architecture", {}),
            "data": {"path": HEADS, "layout": "csv", "spacing_mm": (plan.pixel_mm,) * 2},
            **sections,
        }
    )


def run(
    plan: Plan, name: str, variant: Variant, seed: int, folder: Path, cache: SliceCache, split: Split
) -> dict[str, Any]:
    """Train one job, or go on with it, and measure it on the test heads."""
    config = configuration(plan, variant, seed)
    fabric = make_fabric(config.compute)
    torch.manual_seed(config.seed)
    cascade = build(config.architecture)
    cascade.to(fabric.device, memory_format=torch.channels_last)
    if not (folder / FINISHED).exists():
        print(f"{time.strftime('%H:%M')} training {name}, seed {seed}", flush=True)
        training = ProgressiveTraining(fabric, config, folder, RunData(PET_TO_CT, split, cache), cascade, Silent())
        training.run()
    plans = plan_stages(config, config.architecture.phases)
    # The last weights and not the best: nothing is chosen.
    path = checkpoint.path_of(folder, plans[-1].name)
    checkpoint.load_cascade(cascade, checkpoint.load_weights(path)[0], path)
    cost = counted_cost(config.architecture)
    rows = {
        "variant": name,
        "seed": seed,
        "phases": config.architecture.phases,
        "width": config.architecture.width,
        "parameters": cost.parameters,
        "multiply_adds_per_pixel": round(cost.multiply_adds_per_pixel),
        "training_multiply_adds": f"{training_cost(config, cache, split):.4g}",
        "steps": "+".join(str(stage.epochs * config.schedule.epoch_steps) for stage in plans),
        "seconds": round(read_json(folder / FINISHED)["seconds"]),
        "machine": machine(fabric),
        "commit": COMMIT,
    }
    return rows | measure(cascade, cache, split.test, PET_TO_CT, fabric)


def training_cost(config: TrainingConfig, cache: SliceCache, split: Split) -> float:
    """Multiply-adds of all steps: a trained phase's forward pass and twice that backwards, frozen ones' forwards.

    Frozen phases whose outcome is kept run once for each slice and its mirror image.
    """
    assert isinstance(config.architecture, CascadeArchitecture)
    assert config.schedule.epoch_steps is not None
    upto = [
        counted_cost(config.architecture.first(phase + 1)).multiply_adds_per_pixel
        for phase in range(config.architecture.phases)
    ]
    alone = [after - before for before, after in zip([0.0, *upto], upto, strict=False)]
    slices = sum(cache.subjects[subject].count for subject in split.train)
    found = 0.0
    for stage in plan_stages(config, config.architecture.phases, slices):
        shown = stage.epochs * config.schedule.epoch_steps * config.schedule.batch
        trained = sum(alone[phase] for phase in stage.trained)
        frozen = upto[stage.trained[-1]] - trained
        found += 3 * trained * shown + frozen * (2 * slices if stage.is_kept else shown)
    return found * cache.canvas[0] * cache.canvas[1]


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Later ones win."""
    found: dict[str, Any] = {}
    for part in parts:
        found |= part
    return found


def machine(fabric: Fabric) -> str:
    """Name what trains."""
    if fabric.device.type == "cuda":
        return torch.cuda.get_device_name(fabric.device)
    return f"{torch.get_num_threads()} threads of {platform.machine()}, {fabric._precision.precision}"


def is_done(plan: str, name: str, seed: int) -> bool:
    """Whether the results have a line of this job."""
    return any(row["variant"] == name and row["seed"] == str(seed) for row in read(plan))


def read(plan: str) -> list[dict[str, str]]:
    """Read all lines of a plan's results."""
    path = RESULTS / f"{plan}.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(plan: str, row: dict[str, Any]) -> None:
    """Add a line to a plan's results."""
    path = RESULTS / f"{plan}.csv"
    with FileLock(WORK / f"{plan}.csv.lock"):
        RESULTS.mkdir(exist_ok=True)
        is_new = not path.exists()
        with path.open("a", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, row, lineterminator="\n")
            if is_new:
                table.writeheader()
            table.writerow(row)
    print(
        f"{time.strftime('%H:%M')} {row['variant']}, seed {row['seed']}: {row['mae']} HU in {row['seconds']} s",
        flush=True,
    )


if __name__ == "__main__":
    os.umask(0o077)
    main()
