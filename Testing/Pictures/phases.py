"""Draws the paper's Fig. 2 for the bundled model and sample: what each phase says, where it errs, what it doubts."""

import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from upgan import InferenceEngine, Volume, find_bundle, read_volume
from upgan.images.scope import scope_of

SAMPLES = Path(__file__).parents[2] / "UncertaintyGuidedI2I" / "Resources" / "SampleData"

# Height of the slice over the centre of the grid (mm): sinuses, mastoids and the skull base are in it.
HEIGHT_MM = -24.0

COLUMNS = (
    ("b̂ (HU)", "gray", -700, 1300),
    ("|error| (HU)", "inferno", 0, 600),
    ("σ (HU)", "inferno", 0, 600),
    ("α (HU)", "magma", 0, 600),
    ("β", "viridis", 0, 4),
)


def axial_slice(voxels: np.ndarray, like: Volume) -> np.ndarray:
    """Return one slice of the layout in which radiologists view: patient's right on the left, face up."""
    turned = Volume(voxels, like.ijk_to_ras).reoriented("axial")
    return turned.voxels[round((HEIGHT_MM - turned.ijk_to_ras[2, 3]) / turned.ijk_to_ras[2, 2])]


def main(path: Path) -> None:
    """Translate the sample and draw a row for each phase, beside input and truth."""
    pet, ct = (read_volume(SAMPLES / f"sample_{name}.nrrd") for name in ("nacpet", "ct"))
    translation = InferenceEngine(find_bundle("pet-ct-phantom")).translate(pet, phases="all")
    inside = scope_of(ct, "HU").mask
    rows = len(translation.phases)
    figure = Figure(figsize=(13.5, 0.6 + 2.8 * rows), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows + 1, len(COLUMNS) + 1, height_ratios=[*([1] * rows), 0.05])
    for axes in grid.ravel():
        axes.set_axis_off()
    for axes, title, volume, limits in (
        (grid[0, 0], "input: NAC-PET", pet, (0, float(np.percentile(pet.voxels, 99.7)))),
        (grid[rows - 1, 0], "true CT (HU)", ct, COLUMNS[0][2:]),
    ):
        axes.imshow(axial_slice(volume.voxels, volume), cmap="gray", vmin=limits[0], vmax=limits[1])
        axes.set_title(title, fontsize=11)
    lines = ["inside the body,", "mean over the volume:", ""]
    for row, (phase, maps) in enumerate(sorted(translation.phases.items())):
        error = np.abs(maps.image - ct.voxels)
        panels = (maps.image, error, maps.sigma, maps.alpha, maps.beta)
        for axes, (title, colours, low, high), voxels in zip(grid[row, 1:], COLUMNS, panels, strict=True):
            shown = axes.imshow(axial_slice(voxels, ct), cmap=colours, vmin=low, vmax=high)
            axes.set_title(f"phase {phase}: {title}" if axes is grid[row, 1] else title, fontsize=11)
            if row == rows - 1:
                bar = grid[rows, list(grid[row]).index(axes)]
                bar.set_axis_on()
                figure.colorbar(shown, cax=bar, orientation="horizontal")
        lines.append(f"phase {phase}: |error| {error[inside].mean():.0f} HU, σ {maps.sigma[inside].mean():.0f} HU")
    grid[rows, 0].text(0.0, 0.5, "\n".join(lines), fontsize=9, va="center", transform=grid[rows, 0].transAxes)
    figure.suptitle("A simulated head that the bundled model never saw; patient's right on the left", fontsize=11)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
