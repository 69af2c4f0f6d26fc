"""Figures of a model on pairs with a reference: error and coverage per phase, per subject, with their spread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from upgan.evaluation.metrics import DEFINITION, Metrics
from upgan.evaluation.on_pairs import Translated, translate_pairs
from upgan.images.hounsfield import HU_RANGE
from upgan.images.patient import BODY_TEXT
from upgan.inference.engine import InferenceEngine
from upgan.inference.translation import PhaseMaps
from upgan.progress import SILENT, Progress
from upgan.uncertainty.recalibration import TISSUE_LEVEL

if TYPE_CHECKING:
    from upgan.pairs.preparation import Pair

_BODY = f"body: {BODY_TEXT}"
_FOREGROUND = "foreground: largest part above Otsu's threshold of the reference, closed and filled"
_OWN_RANGE = "each reference's minimum to its 99.9th percentile"


def evaluate(
    engine: InferenceEngine,
    pairs: Iterable[Pair],
    total: int,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Translate pairs and compare with their targets: inside the body for a CT, else inside the foreground.

    Args:
        engine: The engine with the model.
        pairs: Source and target of each pair on one grid, taken one at a time.
        total: How many pairs there are.
        progress: Told the patient's number after each batch of slices; what it raises ends the work.

    Returns:
        ``{"subjects", "unit", "mask", "data_range", "definition", "phases": {"1": {figure: [mean, standard
        deviation]}}, "rows": {"1": {subject: {figure: value}}}}``: MAE, RMSE and σ in the task's unit (a CT's MAE per
        tissue, too), PSNR in dB, ``ssim_3d`` (SynthRAD's) and ``ssim_2d``, coverage of the central intervals
        (``network_coverage_…``: without the model's calibration, where it has one) and Spearman's ρ(|error|, σ).
        For a CT coverage of 90 % and RMSE/σ are there per tissue, too: ``coverage_90%_bone`` where the reference has
        bone, ``coverage_90%_predicted_bone`` where the image shows it, and ``rmse_over_sigma_…`` likewise.
        ``data_range`` is two numbers in HU, else words; ``definition`` says what PSNR and SSIM are. Reports of earlier
        versions have one ``ssim``: slice by slice, of signed HU.

    Raises:
        InputError: ``no_body``, ``no_foreground``, or what the engine refuses, naming the subject.

    Example:
        >>> from upgan import InferenceEngine, evaluate, find_bundle
        >>> from upgan.pairs.config import DataConfig
        >>> from upgan.pairs.finding import find_pairs
        >>> from upgan.pairs.preparation import prepare_pair
        >>> engine = InferenceEngine(find_bundle("pet-ct-phantom"), device="cpu")
        >>> data = DataConfig(path="heads/manifest.json")
        >>> files = find_pairs(data)[:1]  # as many patients as there is time for
        >>> pairs = (prepare_pair(pair, data, engine.bundle.metadata.upgan.task) for pair in files)
        >>> report = evaluate(engine, pairs, len(files))
        >>> mean, deviation = report["phases"]["2"]["mae"]  # over the patients, HU
    """
    section = engine.bundle.metadata.upgan
    hounsfield = section.task.unit == "HU"
    rows: dict[str, dict[str, dict[str, float]]] = {
        str(phase): {} for phase in range(1, section.architecture.phases + 1)
    }
    for translated in translate_pairs(engine, pairs, total, progress):
        for phase, maps in translated.phases.items():
            factor = section.calibration.factor(phase, maps.image) if section.calibration else None
            rows[str(phase)][translated.subject] = _figures(maps, translated, hounsfield, factor)
    return {
        "subjects": len(rows["1"]),
        "unit": section.task.unit,
        "mask": _BODY if hounsfield else _FOREGROUND,
        "data_range": list(HU_RANGE) if hounsfield else _OWN_RANGE,
        "definition": DEFINITION,
        "phases": {phase: _spread(list(subjects.values())) for phase, subjects in rows.items()},
        "rows": rows,
    }


def _figures(maps: PhaseMaps, translated: Translated, hounsfield: bool, factor: np.ndarray | None) -> dict[str, float]:
    """Return the figures of one subject and phase but for those that do not exist, such as the error of absent bone."""
    scope = translated.scope

    def measured(alpha: np.ndarray) -> Metrics:
        return Metrics(maps.image, translated.reference, scope.mask, scope.data_range, alpha, maps.beta)

    metrics = measured(maps.alpha)
    figures = {"mae": metrics.mae, "psnr": metrics.psnr, "ssim_3d": metrics.ssim_3d, "ssim_2d": metrics.ssim_2d}
    if hounsfield:
        figures |= {f"mae_{tissue}": mae for tissue, mae in metrics.mae_of_tissues.items()}
    figures |= _coverages("", metrics, hounsfield)
    if factor is not None:
        figures |= _coverages("network_", measured(maps.alpha / factor), hounsfield)
    if hounsfield:
        figures |= {f"rmse_over_sigma_{name}": ratio for name, ratio in metrics.rmse_over_sigma_of_tissues.items()}
    return {
        **figures,
        "sigma_rms": metrics.sigma_rms,
        "rmse": metrics.rmse,
        "spearman_error_sigma": metrics.spearman,
    }


def _coverages(prefix: str, metrics: Metrics, hounsfield: bool) -> dict[str, float]:
    figures = {f"{prefix}coverage_{level:.0%}": share for level, share in metrics.coverage().items()}
    if hounsfield:
        held = metrics.coverage_of_tissues
        figures |= {f"{prefix}coverage_{TISSUE_LEVEL:.0%}_{name}": held[name][TISSUE_LEVEL] for name in held}
    return figures


def _spread(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    """Return each figure's mean and standard deviation over the subjects that have it."""
    spread = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if name in row]
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        spread[name] = [float(np.mean(values)), deviation]
    return spread
