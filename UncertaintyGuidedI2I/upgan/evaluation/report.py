"""Figures of a model on pairs with a reference: error and coverage per phase, per subject, with their spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from upgan.errors import InputError
from upgan.evaluation.body import TISSUES, body_mask
from upgan.evaluation.calibration import coverage
from upgan.evaluation.metrics import HU_RANGE, image_error
from upgan.inference import InferenceEngine
from upgan.training.dataset import Pair, read_pairs
from upgan.translation import PhaseMaps


def evaluate(
    engine: InferenceEngine,
    manifest: Path,
    subjects: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Translate the named subjects of a manifest and compare with their CT, inside the body.

    Returns:
        ``{"subjects", "data_range", "mask", "phases": {"1": {figure: [mean, standard deviation]}}}`` with MAE in HU
        (overall and per tissue), PSNR in dB, SSIM, coverage of the central intervals and Spearman's ρ(|error|, σ).

    Raises:
        InputError: ``no_body``, or a pair that cannot be read or translated.
    """
    per_phase: dict[int, list[dict[str, float]]] = {}
    for done, pair in enumerate(read_pairs(manifest, subjects), start=1):
        translation = engine.translate(pair.source, phases="all")
        mask = body_mask(pair.target.voxels)
        if not mask.any():
            raise InputError("no_body", f"The CT of {pair.subject} shows no body.", "Check that its unit is HU.")
        for phase, maps in translation.phases.items():
            per_phase.setdefault(phase, []).append(_figures(maps, pair, mask))
        if progress is not None:
            progress(done, len(subjects))
    return {
        "subjects": len(subjects),
        "mask": "body: largest part above -500 HU, closed and filled",
        "data_range": list(HU_RANGE),
        "phases": {str(phase): _spread(rows) for phase, rows in sorted(per_phase.items())},
    }


def _figures(maps: PhaseMaps, pair: Pair, mask: np.ndarray) -> dict[str, float]:
    reference = pair.target.voxels
    figures = dict(image_error(maps.image, reference, mask)._asdict())
    error = np.abs(maps.image - reference)
    for tissue, (low, high) in TISSUES.items():
        inside = mask & (reference > low) & (reference <= high)
        figures[f"mae_{tissue}"] = float(error[inside].mean()) if inside.any() else float("nan")
    held = coverage(maps.image[mask], maps.alpha[mask], maps.beta[mask], reference[mask])
    figures |= {f"coverage_{level:.0%}": share for level, share in held.items()}
    sigma = maps.sigma[mask]
    figures["sigma_rms"] = float(np.sqrt(np.square(sigma, dtype=np.float64).mean()))
    figures["rmse"] = float(np.sqrt(np.square(error[mask], dtype=np.float64).mean()))
    # A σ that is the same everywhere ranks nothing.
    figures["spearman_error_sigma"] = float(spearmanr(error[mask], sigma).statistic) if np.ptp(sigma) else 0.0
    return figures


def _spread(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    """Mean and standard deviation over the subjects that have the figure; NaN, which JSON lacks, is left out."""
    spread = {}
    for name in rows[0]:
        values = [row[name] for row in rows if np.isfinite(row[name])]
        if values:
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            spread[name] = [round(float(np.mean(values)), 4), round(deviation, 4)]
    return spread
