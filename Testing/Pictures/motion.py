"""Draw how motion shows in a slice of a real head: clean, and moved in three ways, each with its trajectory.

With upgan installed, or PYTHONPATH=UncertaintyGuidedI2I, and UPGAN_SHARED_DATA the folder of real images:

    python Testing/Pictures/motion.py [Documentation/motion.png]
"""

import io
import os
import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from upgan import read_volume
from upgan.images.orientation import Reorientation
from upgan.simulation.motion import MotionKind, Trajectory, draw_trajectory, frequencies_in_order, move

# A head whose licence (CC0) lets it be shown.
HEAD = Path("t1") / "allineate_T1_head_2mm.nii.gz"
# Of the axial slices, from below: the ventricles.
HEIGHT = 0.62
SEVERITIES = (2.0, 5.0)
# Of each kind's trajectory, the same at both severities: of thirty, that with the median PSNR at the severer.
SEEDS: dict[MotionKind, int] = {"sudden_motion": 14, "drifting_motion": 17, "periodic_motion": 24}
COLOURS = {"turned (°)": "#ff9020", "down (mm)": "#60b0ff", "right (mm)": "#70d070"}


def show(panel: Axes, image: np.ndarray, brightest: float, title: str) -> None:
    """Draw a slice in the window of the clean one."""
    panel.imshow(image, cmap="gray", vmin=0, vmax=brightest, interpolation="bicubic")
    panel.set_title(title, color="white", fontsize=12)
    panel.set_axis_off()


def plot(panel: Axes, trajectory: Trajectory) -> None:
    """Draw where the patient was when each line was measured, and when those of the middle were."""
    curves = (trajectory.degrees, *trajectory.shift_mm.T)
    for curve, (name, colour) in zip(curves, COLOURS.items(), strict=True):
        panel.plot(frequencies_in_order("sequential", len(curve)), curve, color=colour, label=name, linewidth=1.2)
    panel.axvline(0, color="white", linewidth=0.5, linestyle=":")
    panel.set_ylim(-1.08 * max(SEVERITIES), 1.08 * max(SEVERITIES))
    panel.set_facecolor("black")
    panel.tick_params(colors="white", labelsize=8)
    for spine in panel.spines.values():
        spine.set_color("grey")


def draw(path: Path) -> None:
    """Severities below each other; the clean slice, then each kind with its trajectory under it."""
    volume = read_volume(Path(os.environ["UPGAN_SHARED_DATA"]) / HEAD)
    layout = Reorientation.of(volume.ijk_to_ras, "axial")
    slices = layout.apply(volume.voxels)
    clean = slices[round(HEIGHT * len(slices))].astype(np.float32)
    brightest = float(np.percentile(clean, 99.8))
    figure = Figure(figsize=(14, 13.4), facecolor="black")
    grid = figure.subplots(4, 4, gridspec_kw={"height_ratios": [3.6, 1, 3.6, 1], "wspace": 0.14, "hspace": 0.06})
    figure.subplots_adjust(0.01, 0.04, 0.99, 0.94)
    for row, severity in zip((0, 2), SEVERITIES, strict=True):
        show(grid[row, 0], clean, brightest, "clean")
        grid[row + 1, 0].set_axis_off()
        for column, (kind, seed) in enumerate(SEEDS.items(), start=1):
            trajectory = draw_trajectory(kind, severity, len(clean), np.random.default_rng(seed))
            title = f"{kind.removesuffix('_motion')}, severity {severity:g}"
            show(grid[row, column], move(clean, trajectory, layout.in_plane_spacing), brightest, title)
            plot(grid[row + 1, column], trajectory)
    grid[1, 1].legend(
        *grid[1, 1].get_legend_handles_labels(), bbox_to_anchor=(-0.25, 0.5), loc="center right", labelcolor="white",
        facecolor="black", edgecolor="grey",
    )  # fmt: skip
    for panel in grid[3, 1:]:
        panel.set_xlabel("line of k-space, in order of time", color="white", fontsize=9)
    figure.suptitle(
        "A real head (T1, 2 mm), phase encoding up and down, lines in sequence; the patient's right on the left",
        color="white",
        fontsize=13,
    )
    picture = io.BytesIO()
    figure.savefig(picture, dpi=72, facecolor="black")
    # A palette would lose either the curves' colours or the ghosts' faint greys.
    Image.open(picture).convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "Documentation/motion.png"))
