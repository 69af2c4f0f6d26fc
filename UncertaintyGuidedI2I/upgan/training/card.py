"""The text of a model card, written from what was measured."""

from __future__ import annotations

import textwrap
from typing import Any

from torch import nn

from upgan.domain import Domain
from upgan.tasks import Task
from upgan.training.config import TrainingConfig

_ROWS = (
    ("MAE (HU)", "mae", "{:.1f} ± {:.1f}"),
    ("MAE, air (HU)", "mae_air", "{:.0f} ± {:.0f}"),
    ("MAE, soft tissue (HU)", "mae_soft", "{:.0f} ± {:.0f}"),
    ("MAE, bone (HU)", "mae_bone", "{:.0f} ± {:.0f}"),
    ("PSNR (dB)", "psnr", "{:.2f} ± {:.2f}"),
    ("SSIM", "ssim", "{:.3f} ± {:.3f}"),
    ("coverage of 50 %", "coverage_50%", "{:.1%} ± {:.1%}"),
    ("coverage of 80 %", "coverage_80%", "{:.1%} ± {:.1%}"),
    ("coverage of 90 %", "coverage_90%", "{:.1%} ± {:.1%}"),
    ("coverage of 95 %", "coverage_95%", "{:.1%} ± {:.1%}"),
    ("RMSE (HU)", "rmse", "{:.0f} ± {:.0f}"),
    ("RMS of σ (HU)", "sigma_rms", "{:.0f} ± {:.0f}"),
    ("Spearman ρ(error, σ)", "spearman_error_sigma", "{:.2f} ± {:.2f}"),
)


def model_card(
    config: TrainingConfig,
    task: Task,
    version: str,
    figures: dict[str, Any],
    training: dict[str, Any],
    domain: Domain,
    cascade: nn.Module,
) -> str:
    """Render docs/README.md of a bundle."""
    architecture, schedule, loss = config.architecture, config.schedule, config.loss
    subjects = training["subjects"]
    parameters = sum(parameter.numel() for parameter in cascade.parameters()) / 1e6
    low, high = figures["data_range"]
    data = (
        f"{training['data']} {subjects['train']} subjects to train on, {subjects['validation']} to watch, "
        f"{subjects['test']} held out for the figures below; split by subject. A real scanner differs in anatomy, "
        "tracer, physics and reconstruction from what was simulated, and this model knows none of that."
    )
    seen = (
        f"The training inputs are {task.input_modality} images in {domain.describe()}. The software warns of an image "
        "that lies clearly outside."
    )
    model = (
        f"UP-GAN with {architecture.phases} phases and {parameters:.2f} million parameters (width "
        f"{architecture.width}, deepest levels {architecture.deepest}×{architecture.width}; the paper has 64 and "
        f"8×64), σ guidance {'on' if architecture.attention else 'off'} (Eq. 3 and 4). Each later phase corrects the "
        f"image of the one before. Trained for {training['hours']} hours on {training['machine']}: "
        f"{', '.join(map(str, schedule.steps))} steps of {schedule.batch} slices for the phases in turn with the "
        f"earlier ones frozen, then {schedule.joint_steps} steps of all together; Adam, cosine annealing from "
        f"{schedule.learning_rate:g} and {schedule.joint_learning_rate:g}, seed {schedule.seed}. Loss: "
        f"{loss.likelihood:g}·Eq. 1 (weight {loss.outside_body:g} outside the body) + {loss.l1:g}·L1 + "
        f"{loss.adversarial:g}·adversarial."
    )
    measured = (
        f"{figures['subjects']} held-out subjects, mean ± standard deviation over subjects, every voxel inside the "
        f"body ({figures['mask']}); PSNR and SSIM over [{low:g}, {high:g}] HU. "
        "Half-precision weights, through the engine."
    )
    coverage = (
        "A central interval of 90 % should hold 90 % of the true values. These are the network's own intervals, not "
        "recalibrated."
    )
    return f"""# {config.name} {version}

{task.title} with the uncertainty of every voxel: α (scale), β (shape) and σ.

**For demonstration and software tests. Not for patients.**

## Data

{_wrap(data)}

{_wrap(seen)}

## Model

{_wrap(model)}

## Measured

{_wrap(measured)}

{_table(figures["phases"])}

{_wrap(coverage)}
"""


def _wrap(paragraph: str) -> str:
    return textwrap.fill(paragraph, 118, break_long_words=False)


def _table(phases: dict[str, dict[str, list[float]]]) -> str:
    header = "| | " + " | ".join(f"phase {phase}" for phase in phases) + " |"
    lines = [header, "|---" * (len(phases) + 1) + "|"]
    for title, key, form in _ROWS:
        if not all(key in figures for figures in phases.values()):
            continue
        lines.append(f"| {title} | " + " | ".join(form.format(*figures[key]) for figures in phases.values()) + " |")
    return "\n".join(lines)
