"""Training steps per second at the paper's width, beside a loop as published over the same weights in the same run.

Run by ``make benchmark``; prints a table and writes it to build/benchmarks/training.md. Before anything is timed the
losses of the first step are compared with the published loop's: speed is not bought with another training.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from Benchmarks.published_loop import ADVERSARIAL, DISCRIMINATOR_LAYERS, L1, LIKELIHOOD, RATE, PublishedLoop
from Benchmarks.test_inference_speed import PIXEL_MM, SEED, machine
from upgan.networks.cascade import Cascade, CascadeArchitecture
from upgan.simulation.phantom import simulate_head
from upgan.tasks import PET_TO_CT
from upgan.training.loop.processes import make_fabric
from upgan.training.loop.stage import Stage, plan_stages
from upgan.training.settings.config import TrainingConfig

BATCH = 8
WIDTH = 64
SIDE = {"cpu": 64, "cuda": 192}
STEPS = {"cpu": 1, "cuda": 20}
ROUNDS = {"cpu": 5, "cuda": 5}
VARIANTS = ("published loop", "stage float32", "stage auto")
TABLE = Path(__file__).resolve().parents[2] / "build" / "benchmarks" / "training.md"

# Largest difference of a loss from the published loop's, relative to it; GPUs convolve "float32" in TF32.
_TOLERANCE = {("cpu", "32-true"): 1e-4, ("cuda", "32-true"): 1e-2}
_TOLERANCE_BFLOAT16 = 5e-2


class Measurement(NamedTuple):
    """One line of the table; seconds of a step, one value a round."""

    device: str
    variant: str
    precision: str
    seconds: list[float]
    difference: float


# Takes one step and returns likelihood and L1 before it, as numbers or as tensors that nobody has waited for.
Step = Callable[[], tuple[float | Tensor, float | Tensor]]


@pytest.fixture(scope="module", params=["cpu", "cuda"])
def device(request) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return request.param


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    """One phase with random heads, so that the losses of the first step say something of every layer."""
    torch.manual_seed(SEED)
    cascade = Cascade(CascadeArchitecture(phases=1, width=WIDTH))
    for generator in cascade.generators:
        for head in (generator.image_head, generator.scale_head, generator.concentration_head):
            torch.nn.init.normal_(head.weight, std=0.1)
    return cascade


@pytest.fixture(scope="module")
def table():
    """Lines of the table; printed and written at the end."""
    lines: list[Measurement] = []
    yield lines
    if lines:
        text = render(lines)
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        TABLE.write_text(text, encoding="utf-8")
        print("\n\n" + text)


def batch_of_a_head(side: int) -> tuple[Tensor, Tensor]:
    """Axial slices of a simulated head: uptake and CT, [N, 1, H, W] in network units."""
    head = simulate_head(SEED, (BATCH, side, side), (24.0, 192 / side * PIXEL_MM, 192 / side * PIXEL_MM))
    intensities = PET_TO_CT.measure(head.activity.voxels)
    arrays = intensities.normalise(head.activity.voxels), intensities.normalise_target(head.ct.voxels)
    a, b = (torch.from_numpy(np.ascontiguousarray(array))[:, None] for array in arrays)
    return a, b


def config_of(device: str, precision: str) -> TrainingConfig:
    """What the published loop does, as a configuration."""
    return TrainingConfig.model_validate(
        {
            "name": "speed",
            "architecture": {"phases": 1, "width": WIDTH},
            "data": {"path": "nowhere"},
            "loss": {
                "form": "published_product",
                "likelihood": LIKELIHOOD,
                "l1": L1,
                "adversarial": ADVERSARIAL,
                "normalisation": "slice",  # as theirs
            },
            "discriminator": {"layers": DISCRIMINATOR_LAYERS},
            "schedule": {"epochs": [1], "joint_epochs": 0, "learning_rate": RATE, "batch": BATCH},
            "compute": {"device": device, "precision": precision},
        }
    )


def trainer(variant: str, cascade: Cascade, device: str, a: Tensor, b: Tensor) -> tuple[Step, str]:
    """Return what takes a step from the batch in the host's memory, and its precision as Fabric names it."""
    if variant == "published loop":
        loop = PublishedLoop(copy.deepcopy(cascade), device)
        return lambda: loop.step(a, b), "32-true"
    config = config_of(device, variant.removeprefix("stage "))
    fabric = make_fabric(config.compute)
    (plan,) = plan_stages(config, phases=1)
    ours = copy.deepcopy(cascade).to(fabric.device, memory_format=torch.channels_last)
    stage = Stage(fabric, ours, config, plan, steps=1_000_000)

    def step() -> tuple[Tensor, Tensor]:
        parts = (part.contiguous(memory_format=torch.channels_last) for part in (a, b, torch.ones_like(b)))
        losses = stage.step(0, *(fabric.to_device(part) for part in parts))
        return losses.likelihood, losses.l1

    return step, fabric._precision.precision


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_speed_at_the_width_of_the_paper(benchmark, cascade, table, device, variant):
    a, b = batch_of_a_head(SIDE[device])
    expected = trainer("published loop", cascade, device, a, b)[0]()
    step, precision = trainer(variant, cascade, device, a, b)
    found = step()  # also the warm-up
    differences = [abs(float(ours) / float(theirs) - 1) for ours, theirs in zip(found, expected, strict=True)]
    assert b.std() > 0.3  # images that could differ
    assert max(differences) <= _TOLERANCE.get((device, precision), _TOLERANCE_BFLOAT16)

    def steps() -> None:
        for _ in range(STEPS[device]):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    benchmark.group = f"steps of {BATCH} slices on {device}"
    benchmark.pedantic(steps, rounds=ROUNDS[device], warmup_rounds=1)
    seconds = [time / STEPS[device] for time in benchmark.stats.stats.data]
    table.append(Measurement(device, variant, precision, seconds, max(differences)))


def render(lines: list[Measurement]) -> str:
    """The table and what it was measured on, as Markdown."""
    rows = [
        "| device | | precision | steps/s, median (range) | × published loop | difference |",
        "|---|---|---|---|---|---|",
    ]
    baseline = {line.device: line for line in lines if line.variant == VARIANTS[0]}
    for line in lines:
        speed = [1 / seconds for seconds in line.seconds]
        plain = baseline.get(line.device)
        ratio = f"{statistics.median(plain.seconds) / statistics.median(line.seconds):.1f}" if plain else "–"
        rows.append(
            f"| {line.device} | {line.variant} | {line.precision} | {statistics.median(speed):.3g} "
            f"({min(speed):.3g}–{max(speed):.3g}) | {ratio} | {line.difference:.1e} |"
        )
    devices = list(dict.fromkeys(line.device for line in lines))
    sizes = " and ".join(
        f"{SIDE[device]}×{SIDE[device]} pixels, {ROUNDS[device]} rounds of {STEPS[device]} ({device})"
        for device in devices
    )
    return f"""# Training at the paper's width

One phase, width {WIDTH}, batch {BATCH}: {sizes} after a warm-up; seed {SEED}. The
published loop: float32, each block's three-convolution branch evaluated twice, the loss read after every step. Same
weights, same losses, same run.

{chr(10).join(rows)}

Difference: of likelihood and L1 in the first step, relative to the published loop's.

{machine(devices)}
"""
