"""Measure a model of an MRI task on held-out real heads, by what was done to them: the input itself and each phase.

    python Testing/Experiments/mri/measure.py build/mri-undersampled-model build/mri-heads/heads.csv results.csv
    python Testing/Experiments/mri/measure.py build/mri-motion-model build/mri-heads/heads.csv results.csv

One line for every head, degradation and image; of an undersampled head also the images with the measured lines put back
after each phase ("phase 2, lines kept"; α, β and σ are the network's all the same). PSNR, SSIM and MAE in the
foreground, over the range that evaluation uses (``upgan.images.scope``); MAE in per cent of that range; how often the
90 % intervals hold; RMSE over RMS σ; rank correlation of error and σ. Degradations act on axial slices, phase-encoding
along the rows, seed 0. A table of means is printed.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from upgan.bundles.library import find_bundle
from upgan.evaluation.metrics import Metrics
from upgan.images.orientation import Reorientation
from upgan.images.reading import read_volume
from upgan.images.scope import scope_of
from upgan.images.volume import Volume
from upgan.inference.engine import InferenceEngine
from upgan.inference.undersampling import Sampling, measure_volume, undersampled
from upgan.pairs.config import DataConfig
from upgan.pairs.finding import find_pairs
from upgan.simulation.degradation import Degradation, degrade_volume

MASKS = ("central_lines", "central_block", "published_lines", "regular_4x", "regular_8x", "random_4x", "random_8x")
MOTIONS = ("sudden_motion", "drifting_motion", "periodic_motion")
SEVERITIES = (1.0, 2.0, 4.0)
SEED = 0

COLUMNS = (
    "subject",
    "degradation",
    "image",
    "psnr_db",
    "ssim_3d",
    "ssim_2d",
    "mae_percent",
    "coverage_90",
    "rmse_over_sigma",
    "spearman",
)


def degradations(task: str) -> dict[str, Degradation]:
    """What is done to the heads, by its name in the table."""
    if task == "mri_undersampled":
        return {kind: Degradation(kinds=(kind,)) for kind in MASKS}
    ours = {
        f"{kind} {severity:g}": Degradation(kinds=(kind,), severity=(severity, severity))
        for kind in MOTIONS
        for severity in SEVERITIES
    }
    return {"motion": Degradation(kinds=("motion",)), **ours}


def measured(engine: InferenceEngine, clean: Volume, degradation: Degradation) -> Iterator[tuple[str, list[float]]]:
    """Yield the name and the figures of the degraded image and of what each phase makes of it."""
    measurement = None
    if degradation.kinds[0] in MASKS:
        measurement = measure_volume(clean, Sampling(degradation.kinds[0], seed=SEED))
        degraded = undersampled(clean, measurement)
    else:
        degraded = degrade_volume(clean, degradation, "axial", SEED)
    translations = {"": engine.translate(degraded, phases="all")}
    if measurement is not None:
        translations[", lines kept"] = engine.translate(degraded, phases="all", measured=measurement)
    scope = scope_of(clean, "")
    axial = Reorientation.of(clean.ijk_to_ras, "axial")
    reference, mask = axial.apply(clean.voxels), axial.apply(scope.mask)
    width = scope.data_range[1] - scope.data_range[0]

    def plain(image: np.ndarray, *spread: np.ndarray) -> Metrics:
        maps = (axial.apply(array) for array in (image, *spread))
        return Metrics(next(maps), reference, mask, scope.data_range, *maps)

    def figures(metrics: Metrics) -> list[float]:
        return [metrics.psnr, metrics.ssim_3d, metrics.ssim_2d, 100 * metrics.mae / width]

    yield "input", figures(plain(degraded.voxels))
    for remark, found in translations.items():
        for phase, maps in found.phases.items():
            metrics = plain(maps.image, maps.alpha, maps.beta)
            truth = [metrics.coverage((0.9,), most=200_000)[0.9], metrics.rmse / metrics.sigma_rms, metrics.spearman]
            yield f"phase {phase}{remark}", figures(metrics) + truth


def main(model: str, table: Path, output: Path) -> None:
    """Measure all, write the lines, print the means."""
    bundle = find_bundle(model)
    engine = InferenceEngine(bundle, "cpu")
    data = DataConfig(
        path=table,
        layout="csv",
        task=bundle.metadata.upgan.task.name,
        degradation=DEFAULT[bundle.metadata.upgan.task.name],
    )
    heads = [pair for pair in find_pairs(data) if pair.split == "test"]
    means: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    with output.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(COLUMNS)
        for pair in heads:
            assert pair.target is not None
            clean = read_volume(pair.target)
            for name, degradation in degradations(bundle.metadata.upgan.task.name).items():
                for image, figures in measured(engine, clean, degradation):
                    lines.writerow([pair.subject, name, image, *(f"{value:.4f}" for value in figures)])
                    means[name, image].append(figures)
            file.flush()
    print(f"{bundle.metadata.name}, {len(heads)} held-out images")
    _print_means({key: np.mean(rows, axis=0) for key, rows in means.items()})


def _print_means(means: dict[tuple[str, str], np.ndarray]) -> None:
    """Print a row for each degradation: PSNR of every image, SSIM (3-D) before and after, worth of intervals and σ."""
    images = list(dict.fromkeys(image for _name, image in means))
    results = [image for image in images if image != "input" and image.startswith(images[-1].partition(",")[0])]
    header = [f"PSNR, {image}" for image in images] + [f"SSIM, {image}" for image in ("input", *results)]
    header += [f"{what}, {image}" for what in ("90 % hold", "RMSE/σ") for image in results]
    print("| | " + " | ".join(header) + " |")
    print("|---" * (len(header) + 1) + "|")
    for name in dict.fromkeys(name for name, _image in means):
        row = [f"{means[name, image][0]:.1f}" for image in images]
        row += [f"{means[name, image][1]:.3f}" for image in ("input", *results)]
        row += [f"{100 * means[name, image][4]:.0f} %" for image in results]
        row += [f"{means[name, image][5]:.2f}" for image in results]
        print(f"| {name} | " + " | ".join(row) + " |")


DEFAULT = {"mri_undersampled": "central_lines", "mri_motion": "motion"}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
