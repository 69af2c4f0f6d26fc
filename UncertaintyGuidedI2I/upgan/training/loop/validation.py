"""How good the networks are while they train: figures on the validation subjects, and one of them to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from upgan.errors import InputError
from upgan.evaluation.metrics import Metrics
from upgan.files import atomically, explained, remove_unfinished, write_json
from upgan.images.outline import Window
from upgan.inference.translation import PhaseMaps, Translation
from upgan.networks.in_plane import InPlaneGrid
from upgan.tasks import Intensities, Task
from upgan.uncertainty.distribution import GeneralizedNormal

if TYPE_CHECKING:
    from upgan.training.slices.cache import SliceCache
    from upgan.training.slices.references import Reference

# All phases so far, from inputs [N, 1, H, W] in network units on the device.
Predict = Callable[[Tensor], list[GeneralizedNormal]]

PREVIEW = "preview"

# Slices at a time.
_BATCH = 16

_LEVELS = (0.5, 0.9)

# Voxels of a subject that the coverage is counted on, evenly strided: its standard error is then 0.1 % at most.
_SAMPLE = 200_000


def validate(
    predict: Predict, cache: SliceCache, subjects: Sequence[str], task: Task, device: torch.device
) -> dict[int, dict[str, float]]:
    """Compare each phase with the target as ``upgan.evaluation.report.evaluate`` will: on the input's grid.

    Maps are resized as the engine resizes them, and figures are taken in the mask and over the range of
    ``upgan.images.scope.scope_of``. What still differs is that inputs come in half precision from the cache, and at the
    network's pixel size: where it corrects its input, finer detail of that is missing here.
    Coverage is counted on at most 200 000 voxels a subject.

    Args:
        predict: The networks, in eval mode.
        cache: Holds the subjects' slices and references.
        subjects: The subjects to validate on; one at a time is in memory.
        task: The translation.
        device: Where ``predict`` wants its input.

    Returns:
        Means over the subjects for each phase, the first being 1: ``mae``, ``psnr``, ``ssim_3d``, ``coverage_50%``
        and ``coverage_90%``.

    Raises:
        InputError: ``no_body``.
    """
    rows: dict[int, list[dict[str, float]]] = {}
    for subject in subjects:
        slices = cache.load(subject)
        intensities = Intensities(task, cache.subjects[subject].reference)
        truth = cache.load_reference(subject)
        if not truth.mask.any():
            raise InputError("no_body", f"The target of {subject} shows no body.", "Leave this subject out.")
        known = cache.subjects[subject]
        grid = known.grid((truth.target.shape[1], truth.target.shape[2]))
        for phase, maps in _predicted(predict, slices.a, intensities, device, grid).items():
            rows.setdefault(phase, []).append(_figures(maps, truth))
    return {
        phase: {name: float(np.mean([row[name] for row in found])) for name in found[0]}
        for phase, found in rows.items()
    }


def preview(
    predict: Predict,
    cache: SliceCache,
    subject: str,
    task: Task,
    device: torch.device,
    folder: Path,
    stage: int,
    epoch: int,
) -> None:
    """Write what the last phase makes of a subject into the run's ``preview`` folder, ``preview.json`` last.

    ``input.npy`` (network units), ``target.npy``, ``image.npy`` and ``sigma.npy`` (output units) are float32
    [K, J, I] on the cached grid.

    Raises:
        OutputError: ``disk_full`` or ``not_writable``.
    """
    slices, cached = cache.load(subject), cache.subjects[subject]
    intensities = Intensities(task, cached.reference)
    alone = InPlaneGrid(cached.shape, Window.whole(cached.shape), cached.shape)
    phases = _predicted(predict, slices.a, intensities, device, alone)
    last = phases[max(phases)]
    target = intensities.denormalise(slices.b.astype(np.float32))
    arrays = {"input": slices.a, "target": target, "image": last.image, "sigma": last.sigma}
    for name, array in arrays.items():
        _save(folder / PREVIEW / f"{name}.npy", array.astype(np.float32, copy=False))
    about = {
        "subject": subject,
        "ijk_to_ras": np.asarray(cached.ijk_to_ras).tolist(),
        "stage": stage,
        "epoch": epoch,
        "phase": max(phases),
        "unit": task.unit,
        "display": Translation(phases, cached.ijk_to_ras, task, cached.reference, {}).display.model_dump(),
    }
    write_json(folder / PREVIEW / "preview.json", about)


def _figures(maps: PhaseMaps, truth: Reference) -> dict[str, float]:
    metrics = Metrics(maps.image, truth.target, truth.mask, truth.data_range, maps.alpha, maps.beta)
    held = metrics.coverage(_LEVELS, most=_SAMPLE)
    return {
        "mae": metrics.mae,
        "psnr": metrics.psnr,
        "ssim_3d": metrics.ssim_3d,
        **{f"coverage_{level:.0%}": share for level, share in held.items()},
    }


@torch.no_grad()
def _predicted(
    predict: Predict,
    a: np.ndarray,
    intensities: Intensities,
    device: torch.device,
    grid: InPlaneGrid,
) -> dict[int, PhaseMaps]:
    """Return the maps of each phase, the first being 1, in output units, resized as the engine does.

    Args:
        predict: The networks, in eval mode.
        a: The input's slices in network units, [N, H, W].
        intensities: How the subject's intensities become network units and back.
        device: Where ``predict`` wants its input.
        grid: From the slices' pixels to those of the maps.
    """
    found: dict[int, PhaseMaps] = {}
    for first in range(0, len(a), _BATCH):
        batch = torch.from_numpy(a[first : first + _BATCH].astype(np.float32))[:, None]
        # As the engine pads, not to the cache's canvas: σ may be divided by its mean over the padded slice.
        predictions = predict(grid.seat(batch.to(device)))
        for phase, prediction in enumerate(predictions, start=1):
            maps = found.setdefault(
                phase, PhaseMaps(*(np.empty((len(a), *grid.outside), np.float32) for _ in range(3)))
            )
            values = torch.cat([prediction.loc, prediction.scale, prediction.concentration], dim=1).float()
            image, alpha, beta = grid.leave(values).cpu().numpy().swapaxes(0, 1)
            maps.image[first : first + _BATCH] = intensities.denormalise(image)
            maps.alpha[first : first + _BATCH] = intensities.denormalise_scale(alpha)
            maps.beta[first : first + _BATCH] = beta
    return found


def _save(path: Path, array: np.ndarray) -> None:
    """Put an array in place of what a file held: a reader finds the old one or the new one."""
    with explained(str(path)):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        remove_unfinished(path.parent)
        with atomically(path) as temporary, temporary.open("wb") as file:
            np.save(file, array)
