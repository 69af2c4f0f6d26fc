"""Draw each mask of k-space beside what it leaves of a head, as a radiologist would hang it.

With upgan installed, or PYTHONPATH=UncertaintyGuidedI2I, from the top of the checkout; the head is one of the real
images that ``UPGAN_SHARED_DATA`` names the folder of:

    UPGAN_SHARED_DATA=... python Testing/Pictures/undersampling.py [Documentation/undersampling.png]
"""

import os
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from upgan.images.orientation import Reorientation
from upgan.images.reading import read_volume
from upgan.simulation.kspace import MASKS, mask, undersample

HEAD = Path("t1") / "allineate_T1_head_2mm.nii.gz"
# Below the vertex: the lateral ventricles.
BELOW_VERTEX_MM = 65.0
SEED = 1
COLUMNS = 4


def head() -> np.ndarray:
    """Return an axial slice through the ventricles, front up, [H, W], cut to the head with some air around it."""
    volume = read_volume(Path(os.environ["UPGAN_SHARED_DATA"]) / HEAD)
    layout = Reorientation.of(volume.ijk_to_ras, "axial")
    slices = layout.apply(volume.voxels)
    inside = slices > 0.15 * np.percentile(slices, 99)
    top = int(np.flatnonzero(inside.sum(axis=(1, 2)) > 50)[-1])
    return slices[top - round(BELOW_VERTEX_MM / layout.spacing[2])].astype(np.float32)


def draw(path: Path) -> None:
    """Draw the image itself, then each mask and its image, two of these rows below each other."""
    image = head()
    white = float(np.percentile(image, 99.7))
    figure = Figure(figsize=(2.6 * COLUMNS, 11.0), facecolor="black")
    panels = figure.subplots(4, COLUMNS, gridspec_kw={"height_ratios": [0.62, 1, 0.62, 1]})
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.965, wspace=0.03, hspace=0.1)
    kept_of = {"all": np.ones(image.shape, dtype=bool)}
    for kind in MASKS:
        kept_of[kind] = mask(kind, (image.shape[0], image.shape[1]), "rows", np.random.default_rng(SEED))
    for number, (kind, kept) in enumerate(kept_of.items()):
        row, column = 2 * (number // COLUMNS), number % COLUMNS
        measured = undersample(image, kept, None, np.random.default_rng(SEED))
        error = measured.image - image
        decibels = 10 * np.log10(image.max() ** 2 / np.mean(error**2)) if number else np.inf
        panels[row, column].imshow(kept, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        title = f"{kind}, {kept.mean():.0%}" if number else "all of k-space"
        panels[row, column].set_title(title, color="white", fontsize=11, pad=4)
        panels[row + 1, column].imshow(measured.image, cmap="gray", vmin=0, vmax=white, interpolation="bicubic")
        if number:
            said = f"{decibels:.1f} dB"
            panels[row + 1, column].text(3, 6, said, color="white", fontsize=9, va="top")
    for panel in panels.ravel():
        panel.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=95, facecolor="black")
    # Grey alone: a palette of 64 keeps it small and true.
    Image.open(path).convert("L").quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("Documentation/undersampling.png"))
