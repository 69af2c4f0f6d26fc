"""A model's corrections of its uncertainty, measured through the engine on patients it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from upgan.errors import InputError
from upgan.evaluation.on_pairs import translate_pairs
from upgan.images.hounsfield import TISSUES, TISSUES_IN_WORDS
from upgan.inference.engine import InferenceEngine
from upgan.progress import SILENT, Progress
from upgan.uncertainty.calibration import FACTORS, Calibration, TissueCalibration
from upgan.uncertainty.coverage import central_probability
from upgan.uncertainty.recalibration import (
    FEWEST_VOXELS,
    conformal_table,
    levels_needed,
    scale_factor,
    statement,
    tissue_scales,
)
from upgan.uncertainty.tissues import tissue_of

if TYPE_CHECKING:
    from upgan.pairs.preparation import Pair

# Voxels a scale is fitted to: of one patient, and of all. Their factor varies by about 0.1 % with the draw.
_MOST_OF_A_PATIENT = 200_000
_MOST = 4_000_000


def calibrate(
    engine: InferenceEngine,
    pairs: Iterable[Pair],
    total: int,
    *,
    chosen: bool,
    progress: Progress = SILENT,
) -> Calibration:
    """Fit each phase's scale and the last phase's conformal table inside the body (foreground); in HU by tissue, too.

    Images are looked at one at a time. Scales are fitted to a random sample of each patient's voxels, drawn with a
    fixed seed and of the same size for all: at most 200 000, and 4 million over all patients. The tables use all.

    Args:
        engine: The model as trained, not calibrated yet.
        pairs: One scan of each validation patient.
        total: How many patients.
        chosen: Whether these patients also decided which weights were kept.
        progress: Told the patient's number; what it raises ends the work.

    Raises:
        InputError: What ``translate_pairs`` and ``scale_factor`` refuse, or ``absurd_calibration``: no model may have
            such a factor.
    """
    section = engine.bundle.metadata.upgan
    phases = section.architecture.phases
    most = min(_MOST_OF_A_PATIENT, _MOST // total)
    samples: dict[int, list[np.ndarray]] = {phase: [] for phase in range(1, phases + 1)}
    needed: list[list[float]] = []
    needed_in_tissues: list[list[list[float]]] = [[] for _tissue in TISSUES]
    for number, (_subject, phase_maps, reference, scope) in enumerate(translate_pairs(engine, pairs, total, progress)):
        truth = reference[scope.mask]
        drawn = np.random.default_rng(number).permutation(truth.size)[:most]
        for phase, maps in phase_maps.items():
            image, alpha, beta = (array[scope.mask] for array in (maps.image, maps.alpha, maps.beta))
            sample = np.stack([truth - image, alpha, beta, image])[:, drawn]
            samples[phase].append(sample.astype(np.float32))
            if phase == phases:
                central = central_probability(image, alpha, beta, truth)
                needed.append(levels_needed(central))
                for tissue, asked in enumerate(needed_in_tissues):
                    inside = central[tissue_of(image) == tissue]
                    if inside.size >= FEWEST_VOXELS:
                        asked.append(levels_needed(inside))
    voxels = min(sample.shape[1] for sample in samples[1])
    fitted = {phase: np.concatenate([sample[:, :voxels] for sample in each], axis=1) for phase, each in samples.items()}
    scale = tuple(_believable(scale_factor(*fitted[phase][:3])) for phase in range(1, phases + 1))
    tissues = None
    if section.task.unit == "HU":
        residual, alpha, beta, image = fitted[phases]
        patient = np.repeat(np.arange(len(needed)), voxels)
        scales = tissue_scales(residual, alpha, beta, image, patient, scale[-1])
        tissues = tuple(
            TissueCalibration(
                tissue=name,
                patients=len(asked),
                scale=_believable(float(factor)),
                conformal=conformal_table(np.array(asked)),
                note=statement(len(asked), chosen, f"voxels that the image shows as {TISSUES_IN_WORDS[name]}"),
            )
            for name, factor, asked in zip(TISSUES, scales, needed_in_tissues, strict=True)
        )
    return Calibration(
        patients=len(needed),
        voxels=voxels,
        scale=scale,
        conformal=conformal_table(np.array(needed)),
        note=statement(len(needed), chosen),
        tissues=tissues,
    )


def _believable(factor: float) -> float:
    if not FACTORS[0] <= factor <= FACTORS[1]:
        raise InputError(
            "absurd_calibration",
            f"The model's uncertainty would have to be multiplied by {factor:.3g} to fit its errors.",
            "Check that images and references belong together and are in the same unit; train the model longer.",
        )
    return factor
