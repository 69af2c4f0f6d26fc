"""The demo's picture without Slicer's rendering: matplotlib, for machines that have no OpenGL at all."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from upgan.images.orientation import Plane
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.tasks import PET_TO_CT

# Row title, layout, whether rows run upwards, letters at the left and right edge.
ROWS: tuple[tuple[str, Plane, str], ...] = (
    ("axial", "axial", "RL"),
    ("coronal", "coronal", "RL"),
    ("sagittal", "sagittal", "AP"),
)


def draw_views(volumes: Mapping[str, Volume], centre: tuple[float, float, float], samples: Path, path: Path) -> None:
    """Draw axial, coronal and sagittal slices of input, translation, σ overlay and true image.

    Args:
        volumes: ``pseudo_ct`` and ``sigma``, on one grid.
        centre: Where the slices meet, RAS in mm.
        samples: Folder of the input and the true CT.
        path: Of the picture, .png.
    """
    pet, ct = (read_volume(samples / f"sample_{name}.nrrd") for name in ("nacpet", "ct"))
    display = PET_TO_CT.display
    low, high = display.level - display.window / 2, display.level + display.window / 2
    columns = (
        ("Input: NAC-PET", pet, (0.0, float(np.percentile(pet.voxels, 99.7)))),
        (f"pseudo-CT\n{low:g} to {high:g} HU", volumes["pseudo_ct"], (low, high)),
        (f"pseudo-CT with σ\nover {display.sigma_threshold:g} HU", volumes["pseudo_ct"], (low, high)),
        (f"true CT\n{low:g} to {high:g} HU", ct, (low, high)),
    )
    figure = Figure(figsize=(13, 10), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(ROWS), len(columns))
    for row, (title, plane, letters) in enumerate(ROWS):
        for column, (heading, volume, limits) in enumerate(columns):
            axes = grid[row, column]
            _show(axes, volume, plane, centre, cmap="gray", vmin=limits[0], vmax=limits[1])
            if column == 2:
                sigma = volumes["sigma"]
                shown = Volume(np.where(sigma.voxels < display.sigma_threshold, np.nan, sigma.voxels), sigma.ijk_to_ras)
                overlay = _show(axes, shown, plane, centre, cmap="inferno", vmin=0, vmax=display.sigma_max, alpha=0.5)
            _label(axes, letters)
            if row == 0:
                axes.set_title(heading, color="white", fontsize=11)
            if column == 0:
                axes.set_ylabel(title, color="white", fontsize=11)
    bar = figure.colorbar(overlay, ax=grid, shrink=0.6, label="σ (HU)")
    bar.ax.tick_params(colors="white")
    bar.ax.yaxis.label.set_color("white")
    figure.savefig(path, dpi=110, facecolor="black")


def _show(axes: Axes, volume: Volume, plane: Plane, centre: tuple[float, float, float], **style: object) -> object:
    """Show the slice of a plane through the centre, with pixels in proportion; return the image artist."""
    turned = volume.reoriented(plane)
    index = np.linalg.solve(turned.ijk_to_ras, [*centre, 1.0])[2]
    number = int(np.clip(round(index), 0, len(turned.voxels) - 1))
    columns, rows, _ = turned.spacing
    artist = axes.imshow(turned.voxels[number], aspect=rows / columns, **style)  # type: ignore[arg-type]
    axes.set_xticks([])
    axes.set_yticks([])
    return artist


def _label(axes: Axes, letters: str) -> None:
    for position, letter in zip((0.04, 0.96), letters, strict=True):
        axes.text(position, 0.5, letter, transform=axes.transAxes, color="white", ha="center", va="center")
