"""An image and its uncertainty against the truth: figures, curves and the error in every voxel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from upgan.evaluation.metrics import DEFINITION, SSIM_2D, SSIM_3D, Metrics
from upgan.images.hounsfield import TISSUES_IN_WORDS
from upgan.images.scope import Scope
from upgan.progress import SILENT, Progress
from upgan.uncertainty.coverage import LEVELS
from upgan.uncertainty.recalibration import TISSUE_LEVEL
from upgan.uncertainty.reliability import Reliability, reliability
from upgan.uncertainty.sparsification import Sparsification, sparsification

# Nominal levels of the coverage curve.
NOMINAL = np.linspace(0, 1, 21)

TISSUE_NAMES = {"air": "MAE in air (up to -300 HU)", "soft": "MAE in soft tissue (-300 to 200 HU)"}
TISSUE_NAMES["bone"] = "MAE in bone (over 200 HU)"


class Figure(NamedTuple):
    """One figure of merit.

    Attributes:
        key: Stable identifier in snake_case.
        name: The figure's name for people, e.g. "Mean absolute error (MAE)".
        value: The figure, which is finite.
        unit: The unit of the value; empty where it has none or it is arbitrary.
    """

    key: str
    name: str
    value: float
    unit: str


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """The curves that tell whether the predicted distributions are true.

    Attributes:
        nominal: Levels of the central intervals, 0 to 1.
        observed: Share of the voxels whose reference lies within; equal to ``nominal`` when true.
        reliability: Predicted against observed error.
        sparsification: Error of what remains when the most uncertain voxels are removed.
    """

    nominal: np.ndarray
    observed: np.ndarray
    reliability: Reliability
    sparsification: Sparsification


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison found.

    Attributes:
        figures: The figures of merit, in the order to show them.
        uncertainty: The curves; None where the image came without its distribution.
        error: Image minus reference in the image's unit, float32 [K, J, I]; 0 where there is nothing to compare.
        scope: Where and over which range the figures were computed.
    """

    figures: tuple[Figure, ...]
    uncertainty: Uncertainty | None
    error: np.ndarray
    scope: Scope

    def to_json(self) -> dict[str, Any]:
        """Return figures, mask, data range, definitions, curves and notes as JSON knows them, without the error map."""
        return {
            "figures": [figure._asdict() for figure in self.figures],
            "mask": self.scope.mask_text,
            "data_range": self.scope.data_range_text,
            "definition": DEFINITION,
            "curves": _curves(self.uncertainty) if self.uncertainty else {},
            "notes": list(self.scope.notes),
        }


def compare(
    image: np.ndarray,
    alpha: np.ndarray | None,
    beta: np.ndarray | None,
    reference: np.ndarray,
    scope: Scope,
    unit: str,
    progress: Progress = SILENT,
) -> Comparison:
    """Compare a translated image with its reference inside a scope.

    Args:
        image: The image in ``unit``, [K, J, I], axial slices (one SSIM is computed slice by slice).
        alpha: The scale α in ``unit``, same shape, > 0 in the mask; None where the distribution was not kept.
        beta: The shape β without unit, same shape, > 0 in the mask; None where the distribution was not kept.
        reference: The reference in ``unit``, same shape and grid, finite.
        scope: Where, and over which range, they are compared; its mask must lie where both are known.
        unit: "HU" (errors are then given per tissue class, too) or empty for arbitrary intensities.
        progress: Told what comes next.
    """
    metrics = Metrics(image, reference, scope.mask, scope.data_range, alpha, beta)
    progress.tell(0.0, "MAE, PSNR, SSIM")
    figures = list(_image_figures(metrics, unit))
    uncertainty = None
    if alpha is not None and beta is not None:
        progress.tell(0.4, "coverage")
        shares = metrics.coverage((*NOMINAL, *LEVELS))
        progress.tell(0.6, "reliability")
        uncertainty = Uncertainty(
            NOMINAL,
            np.array([shares[level] for level in NOMINAL]),
            reliability(metrics.error, metrics.sigma),
            sparsification(metrics.absolute_error, metrics.sigma),
        )
        progress.tell(0.8, "correlation of sigma and error")
        figures += _coverage_figures(shares)
        if unit == "HU":
            figures += _tissue_figures(metrics)
        figures += _sigma_figures(metrics, uncertainty, unit)
    figures.append(Figure("voxels", "Compared voxels", float(metrics.error.size), ""))
    progress.tell(1.0, "done")
    return Comparison(tuple(figures), uncertainty, np.subtract(image, reference, dtype=np.float32), scope)


def _image_figures(metrics: Metrics, unit: str) -> Iterator[Figure]:
    yield Figure("mae", "Mean absolute error (MAE)", metrics.mae, unit)
    if unit == "HU":
        for tissue, mae in metrics.mae_of_tissues.items():
            yield Figure(f"mae_{tissue}", TISSUE_NAMES[tissue], mae, unit)
    yield Figure("rmse", "Root mean squared error (RMSE)", metrics.rmse, unit)
    yield Figure("bias", "Bias (mean of image - reference)", metrics.bias, unit)
    yield Figure("psnr", "PSNR", metrics.psnr, "dB")
    yield Figure("ssim_3d", f"{SSIM_3D}, as SynthRAD 2023" if unit == "HU" else SSIM_3D, metrics.ssim_3d, "")
    yield Figure("ssim_2d", SSIM_2D, metrics.ssim_2d, "")


def _coverage_figures(shares: dict[float, float]) -> list[Figure]:
    return [
        Figure(f"coverage_{level:.0%}", f"Coverage of the {level:.0%} interval", 100 * shares[level], "%")
        for level in LEVELS
    ]


def _tissue_figures(metrics: Metrics) -> Iterator[Figure]:
    level = TISSUE_LEVEL
    for name, shares in metrics.coverage_of_tissues.items():
        title = f"Coverage of the {level:.0%} interval, {_where(name)}"
        yield Figure(f"coverage_{level:.0%}_{name}", title, 100 * shares[level], "%")
    for name, ratio in metrics.rmse_over_sigma_of_tissues.items():
        yield Figure(f"rmse_over_sigma_{name}", f"RMSE / sigma, {_where(name)}", ratio, "")


def _where(name: str) -> str:
    """Say in words what a class of ``Metrics.coverage_of_tissues`` is."""
    tissue = TISSUES_IN_WORDS[name.removeprefix("predicted_")]
    return f"shown as {tissue}" if name.startswith("predicted_") else f"truly {tissue}"


def _sigma_figures(metrics: Metrics, found: Uncertainty, unit: str) -> list[Figure]:
    return [
        Figure("sigma_rms", "Root mean squared sigma", metrics.sigma_rms, unit),
        Figure("spearman_error_sigma", "Spearman: |error| with sigma", metrics.spearman, ""),
        Figure("pearson_error_sigma", "Pearson: |error| with sigma", metrics.pearson, ""),
        Figure("ence", "Calibration error of sigma (ENCE)", found.reliability.ence, ""),
        Figure("uce", "Calibration error of variance (UCE)", found.reliability.uce, f"{unit}^2" if unit else ""),
        Figure("ause", "Sparsification error (AUSE of MAE)", found.sparsification.ause, ""),
    ]


def _curves(found: Uncertainty) -> dict[str, dict[str, list[float]]]:
    sparse = found.sparsification
    return {
        "coverage": {"nominal": found.nominal.tolist(), "observed": found.observed.tolist()},
        "reliability": {
            "predicted": found.reliability.predicted.tolist(),
            "observed": found.reliability.observed.tolist(),
            "voxels": found.reliability.voxels.tolist(),
        },
        "sparsification": {
            "removed": sparse.removed.tolist(),
            "by_sigma": sparse.by_sigma.tolist(),
            "oracle": sparse.oracle.tolist(),
            # Whatever is removed by chance, the error of the rest stays the same on average.
            "random": [float(sparse.by_sigma[0])] * sparse.removed.size,
        },
    }
