"""What a trained job is measured by: every phase on the test heads, patient by patient, on the networks' own pixels.

On finer ones all variants of a small plan would share the error of pixels that none of them has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from upgan.evaluation.metrics import Metrics
from upgan.networks.cascade import Cascade
from upgan.networks.in_plane import InPlaneGrid
from upgan.tasks import Intensities, Task
from upgan.training.slices.cache import SliceCache
from upgan.uncertainty.coverage import central_probability
from upgan.uncertainty.distribution import GeneralizedNormal
from upgan.uncertainty.recalibration import scale_factor
from upgan.uncertainty.reliability import reliability

# Voxels of a patient for what is fitted or sorted.
_SAMPLE = 20_000


def measure(cascade: Cascade, cache: SliceCache, subjects: Sequence[str], task: Task, fabric: Fabric) -> dict[str, Any]:
    """Return means over patients of the last phase, the MAE of each phase, and of each patient.

    The negative log-likelihood is after σ-scaling by one factor, fitted to the odd patients for the even ones and the
    other way round: what calibration repairs is nobody's merit.
    """
    cascade.eval()
    rows: list[list[dict[str, float]]] = []
    samples: list[tuple[np.ndarray, ...]] = []
    for subject in subjects:
        phases, target, mask, data_range = translated(cascade, cache, subject, task, fabric)
        metrics = [Metrics(maps[0], target, mask, data_range, *maps[1:]) for maps in phases]
        rows.append([{"mae": each.mae} for each in metrics])
        last = metrics[-1]
        rows[-1][-1] |= {f"mae_{name}": value for name, value in last.mae_of_tissues.items()}
        rows[-1][-1] |= {"rmse": last.rmse, "psnr": last.psnr, "ssim_3d": last.ssim_3d, "sigma_rms": last.sigma_rms}
        inside = np.flatnonzero(mask)
        chosen = inside[:: -(-inside.size // _SAMPLE)]
        samples.append(tuple(array.ravel()[chosen].astype(np.float64) for array in (*phases[-1], target)))
    found: dict[str, Any] = {name: round(float(np.mean([row[-1][name] for row in rows])), 4) for name in rows[0][-1]}
    found |= {
        f"mae_phase_{n + 1}": round(float(np.mean([row[n]["mae"] for row in rows])), 2)
        for n in range(3)
        if n < len(rows[0])
    }
    for n in range(len(rows[0]), 3):
        found[f"mae_phase_{n + 1}"] = ""
    found |= uncertainty(samples)
    found["mae_of_patients"] = " ".join(f"{row[-1]['mae']:.2f}" for row in rows)
    return found


def uncertainty(samples: list[tuple[np.ndarray, ...]]) -> dict[str, float]:
    """Calibrate on every other patient and measure on the rest, both ways."""
    held: dict[str, list[float]] = {
        "nll": [],
        "coverage_90": [],
        "coverage_90_air": [],
        "coverage_90_soft": [],
        "coverage_90_bone": [],
        "ence": [],
        "factor": [],
    }
    for part in (0, 1):
        fitted = [np.concatenate(values) for values in zip(*samples[part::2], strict=True)]
        image, alpha, beta, truth = (np.concatenate(values) for values in zip(*samples[1 - part :: 2], strict=True))
        factor = scale_factor(fitted[3] - fitted[0], fitted[1], fitted[2])
        scaled = alpha * factor
        law = GeneralizedNormal(*(torch.from_numpy(array) for array in (image, scaled, beta)), validate_args=False)
        held["nll"].append(float(-law.log_prob(torch.from_numpy(truth)).mean()))
        inside = central_probability(image, scaled, beta, truth) <= 0.9
        held["coverage_90"].append(float(inside.mean()))
        for name, where in (("air", truth <= -300), ("soft", (truth > -300) & (truth <= 200)), ("bone", truth > 200)):
            held[f"coverage_90_{name}"].append(float(inside[where].mean()))
        held["ence"].append(reliability(image - truth, law.stddev.numpy()).ence)
        held["factor"].append(factor)
    return {name: round(float(np.mean(values)), 4) for name, values in held.items()}


@torch.inference_mode()
def translated(
    cascade: Cascade, cache: SliceCache, subject: str, task: Task, fabric: Fabric
) -> tuple[list[tuple[np.ndarray, np.ndarray, np.ndarray]], np.ndarray, np.ndarray, tuple[float, float]]:
    """Return image, α and β (HU, HU, no unit) of each phase, the target (HU), the mask and the data range."""
    slices, known, truth = cache.load(subject), cache.subjects[subject], cache.load_reference(subject)
    intensities = Intensities(task, known.reference)
    alone = InPlaneGrid.of(known.shape, (1, 1), (1, 1))
    found: list[list[np.ndarray]] = []
    for first in range(0, known.count, 16):
        a = torch.from_numpy(slices.a[first : first + 16].astype(np.float32))[:, None]
        with fabric.autocast():
            predictions = cascade(alone.seat(a.to(fabric.device)))
        maps = [alone.leave(torch.cat([p.loc, p.scale, p.concentration], 1).float()).cpu().numpy() for p in predictions]
        found.append(maps)
    phases = [np.concatenate(parts).swapaxes(0, 1) for parts in zip(*found, strict=True)]
    outside = (truth.target.shape[1], truth.target.shape[2])
    mask = known.grid(outside).resized(torch.from_numpy(truth.mask[:, None].astype(np.float32)))[:, 0].numpy() >= 0.5
    maps_of = [(intensities.denormalise(i), intensities.denormalise_scale(s), c) for i, s, c in phases]
    return maps_of, intensities.denormalise(slices.b.astype(np.float32)), mask, truth.data_range
