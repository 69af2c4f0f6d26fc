"""Draws what the models that ship make of their samples: input, result, its σ, and what is true.

With upgan installed, or PYTHONPATH=UncertaintyGuidedI2I, from the top of the checkout:

    python Testing/Pictures/tasks.py build/tasks.png
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from upgan import InferenceEngine, Volume, find_bundle, read_volume

SAMPLES = Path(__file__).parents[2] / "UncertaintyGuidedI2I" / "Resources" / "SampleData"


class Row(NamedTuple):
    """One task's sample.

    Attributes:
        model: That translates it.
        title: What goes in, and what comes out.
        sample: File of the input.
        truth: File of what is true.
        height: Of the slice, as a share of all slices from the lowest on.
    """

    model: str
    title: str
    sample: str
    truth: str
    height: float


HU = (-700.0, 1300.0)
SIGMA_HU = 600.0
ROWS = (
    Row("pet-ct-phantom", "PET → pseudo-CT\n(simulated head)", "nacpet", "ct", 0.4),
    Row("mr-ct-phantom", "T1 → pseudo-CT\n(simulated head)", "t1", "t1_ct", 0.4),
    Row("mri-undersampled", "undersampled → T1\n(real head, random 4x)", "undersampled", "head", 0.62),
)
TITLES = ("input", "result", "σ", "truth")


def sample(name: str) -> Volume:
    return read_volume(SAMPLES / f"sample_{name}.nrrd")


def axial_slice(voxels: np.ndarray, like: Volume, height: float) -> tuple[np.ndarray, float]:
    """A slice as radiologists view it, and how much higher than wide its pixels are."""
    turned = Volume(voxels, like.ijk_to_ras).reoriented("axial")
    return turned.voxels[int(height * turned.voxels.shape[0])], turned.spacing[1] / turned.spacing[0]


def main(path: Path) -> None:
    """Translate the samples and draw a row for each."""
    figure = Figure(figsize=(9.6, 2.65 * len(ROWS)), layout="constrained", facecolor="black")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(ROWS), 4)
    for axes, row in zip(grid, ROWS, strict=True):
        given, truth = sample(row.sample), sample(row.truth)
        bundle = find_bundle(row.model)
        found = InferenceEngine(bundle).translate(given).last
        unit, bright = bundle.metadata.upgan.task.unit or "a.u.", (0.0, float(np.percentile(given.voxels, 99.7)))
        window, most = (HU, SIGMA_HU) if unit == "HU" else (bright, 0.3 * bright[1])
        shown = (
            (given.voxels, given, "gray", bright),
            (found.image, given, "gray", window),
            (found.sigma, given, "inferno", (0.0, most)),
            (truth.voxels, truth, "gray", window),
        )
        for one, title, (voxels, like, colours, (low, high)) in zip(axes, TITLES, shown, strict=True):
            pixels, aspect = axial_slice(voxels, like, row.height)
            drawn = one.imshow(pixels, cmap=colours, vmin=low, vmax=high, aspect=aspect)
            one.set_xticks([])
            one.set_yticks([])
            if row is ROWS[0]:
                one.set_title(title, color="white", fontsize=12)
            if title == "σ":
                bar = figure.colorbar(drawn, ax=one, orientation="horizontal", shrink=0.8, pad=0.02, aspect=30)
                bar.set_label(unit, color="white", fontsize=8)
                bar.ax.tick_params(colors="white", labelsize=8)
        axes[0].set_ylabel(row.title, color="white", fontsize=10)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
