"""An image and its uncertainty against the truth: figures, curves and the error in every voxel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr

from upgan.evaluation.metrics import DEFINITION, SSIM_2D, SSIM_3D, WINDOW_2D, image_error, similarity
from upgan.images.patient import TISSUES
from upgan.images.scope import Scope
from upgan.progress import SILENT, Progress
from upgan.uncertainty.coverage import LEVELS, Reliability, central_probability, reliability
from upgan.uncertainty.distribution import GeneralizedNormal
from upgan.uncertainty.sparsification import Sparsification, sparsification

# Nominal levels of the coverage curve.
NOMINAL = np.linspace(0, 1, 21)

TISSUE_NAMES = {"air": "MAE in air (up to -300 HU)", "soft": "MAE in soft tissue (-300 to 200 HU)"}
TISSUE_NAMES["bone"] = "MAE in bone (over 200 HU)"


class Figure(NamedTuple):
    """One figure of merit.

    Attributes:
        key: Stable identifier in snake_case.
        name: What people call it.
        value: Finite.
        unit: Of the value; empty where it has none or it is arbitrary.
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
        figures: In the order to show them.
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
        image: In ``unit``, [K, J, I], axial slices (one SSIM is computed slice by slice).
        alpha: Scale in ``unit``, same shape, > 0 in the mask; None where the distribution was not kept.
        beta: Shape, likewise.
        reference: In ``unit``, same shape and grid, finite.
        scope: The mask must lie where image and reference are known.
        unit: "HU" (errors are then given per tissue class, too) or empty for arbitrary intensities.
        progress: Told what comes next.
    """
    mask = scope.mask
    progress.tell(0.0, "MAE, PSNR, SSIM")
    figures = list(_image_figures(image, reference, scope, unit))
    uncertainty = None
    if alpha is not None and beta is not None:
        progress.tell(0.4, "coverage")
        central = central_probability(image[mask], alpha[mask], beta[mask], reference[mask])
        central.sort()
        share = np.searchsorted(central, [*NOMINAL, *LEVELS], side="right") / central.size
        del central
        progress.tell(0.6, "reliability")
        error = image[mask].astype(np.float64) - reference[mask]
        sigma = _sigma(alpha[mask], beta[mask])
        uncertainty = Uncertainty(
            NOMINAL, share[: NOMINAL.size], reliability(error, sigma), sparsification(np.abs(error), sigma)
        )
        progress.tell(0.8, "correlation of sigma and error")
        figures += _coverage_figures(share[NOMINAL.size :])
        figures += _sigma_figures(np.abs(error), sigma, uncertainty, unit)
    figures.append(Figure("voxels", "Compared voxels", float(np.count_nonzero(mask)), ""))
    progress.tell(1.0, "done")
    return Comparison(tuple(figures), uncertainty, np.subtract(image, reference, dtype=np.float32), scope)


def _image_figures(image: np.ndarray, reference: np.ndarray, scope: Scope, unit: str) -> Iterator[Figure]:
    figures = image_error(image, reference, scope.mask, scope.data_range)
    truth = reference[scope.mask]
    error = image[scope.mask].astype(np.float64) - truth
    yield Figure("mae", "Mean absolute error (MAE)", figures.mae, unit)
    if unit == "HU":
        for tissue, (low, high) in TISSUES.items():
            inside = (truth > low) & (truth <= high)
            if inside.any():
                yield Figure(f"mae_{tissue}", TISSUE_NAMES[tissue], float(np.abs(error[inside]).mean()), unit)
    yield Figure("rmse", "Root mean squared error (RMSE)", float(np.sqrt(np.square(error).mean())), unit)
    yield Figure("bias", "Bias (mean of image - reference)", float(error.mean()), unit)
    yield Figure("psnr", "PSNR", figures.psnr, "dB")
    yield Figure("ssim_3d", f"{SSIM_3D}, as SynthRAD 2023" if unit == "HU" else SSIM_3D, figures.ssim_3d, "")
    slices = similarity(image, reference, scope.mask, scope.data_range, WINDOW_2D)
    yield Figure("ssim_2d", SSIM_2D, slices, "")


def _coverage_figures(shares: np.ndarray) -> list[Figure]:
    return [
        Figure(f"coverage_{level:.0%}", f"Coverage of the {level:.0%} interval", float(100 * share), "%")
        for level, share in zip(LEVELS, shares, strict=True)
    ]


def _sigma_figures(absolute_error: np.ndarray, sigma: np.ndarray, found: Uncertainty, unit: str) -> list[Figure]:
    # A sigma or an error that is the same everywhere has no rank.
    varied = np.ptp(sigma) > 0 and np.ptp(absolute_error) > 0
    spearman = float(spearmanr(absolute_error, sigma).statistic) if varied else 0.0
    pearson = float(pearsonr(absolute_error, sigma).statistic) if varied else 0.0
    return [
        Figure("sigma_rms", "Root mean squared sigma", float(np.sqrt(np.square(sigma).mean())), unit),
        Figure("spearman_error_sigma", "Spearman: |error| with sigma", spearman, ""),
        Figure("pearson_error_sigma", "Pearson: |error| with sigma", pearson, ""),
        Figure("ence", "Calibration error of sigma (ENCE)", found.reliability.ence, ""),
        Figure("uce", "Calibration error of variance (UCE)", found.reliability.uce, f"{unit}^2" if unit else ""),
        Figure("ause", "Sparsification error (AUSE of MAE)", found.sparsification.ause, ""),
    ]


def _sigma(alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    scale, concentration = (torch.from_numpy(array.astype(np.float64)) for array in (alpha, beta))
    distribution = GeneralizedNormal(torch.zeros(()).double(), scale, concentration, validate_args=False)
    sigma: np.ndarray = distribution.stddev.numpy()
    return sigma


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
