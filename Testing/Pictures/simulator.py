"""Draw four simulated patients, CT above NAC-PET, as a radiologist would hang them.

With upgan installed, or PYTHONPATH=UncertaintyGuidedI2I, from the top of the checkout:

    python Testing/Pictures/simulator.py [Documentation/simulated_heads.png]
"""

import io
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import binary_fill_holes

from upgan.images.volume import Volume
from upgan.simulation.pet import simulate_nac_pet
from upgan.simulation.phantom import simulate_head

PATIENTS = (12, 21, 30, 41)
HEAD_WINDOW = (-700.0, 1100.0)
BRAIN_WINDOW = (-50.0, 110.0)
UPTAKE_WINDOW = (0.0, 0.32)
VENTRICLES_BELOW_VERTEX_MM = 64.0
VIEWS = ("axial, sinuses", "axial, ventricles", "coronal, sinuses", "sagittal")
VENTRICLES = 1
CAPTION = (
    f"Four simulated patients, no real ones. CT {HEAD_WINDOW[0]:.0f} to {HEAD_WINDOW[1]:.0f} HU "
    f"(ventricles: 9 mm thick, {BRAIN_WINDOW[0]:.0f} to {BRAIN_WINDOW[1]:.0f} HU); NAC-PET 0 to {UPTAKE_WINDOW[1]:.2f} "
    "of grey matter's true uptake. Patient's right, or front, on the left."
)

Cut = tuple[str, int]


def cuts(ct: Volume) -> list[Cut]:
    """Find the slices worth showing: those with most air inside the head, the ventricles and the midline."""
    body = np.stack([binary_fill_holes(section) for section in ct.voxels > -400.0])
    air = (ct.voxels < -500.0) & body
    spacing_k = float(ct.spacing[2])
    top = int(np.flatnonzero(body.sum(axis=(1, 2)) > 50)[-1])
    # The fullest slice 90 to 140 mm under the vertex holds sinuses rather than the mouth.
    low, high = (int(top - below / spacing_k) for below in (140.0, 90.0))
    axial = low + int(air[low:high].sum(axis=(1, 2)).argmax())
    row = int(air[low - 3 : high, 20:60].sum(axis=(0, 2)).argmax()) + 20
    column = round(float(np.argwhere(body[top - 12 : top - 3])[:, 2].mean()))
    ventricles = int(top - VENTRICLES_BELOW_VERTEX_MM / spacing_k)
    return [("axial", axial), ("slab", ventricles), ("coronal", row), ("sagittal", column)]


def section(volume: Volume, cut: Cut) -> tuple[np.ndarray, float]:
    """Give a slice in radiological orientation and the ratio of its pixels' height and width.

    The grid runs to the patient's left, back and head, so that only the head has to be turned up.
    """
    plane, index = cut
    i, j, k = volume.spacing
    if plane == "axial":
        return volume.voxels[index], j / i
    if plane == "slab":
        # Brain is read on thick slices, for their lower noise.
        return volume.voxels[index - 1 : index + 2].mean(axis=0), j / i
    if plane == "coronal":
        return volume.voxels[::-1, index], k / i
    return volume.voxels[::-1, :, index], k / j


def draw_patient(panels: np.ndarray, seed: int) -> None:
    """Fill two rows of panels, [2, views]."""
    head = simulate_head(seed)
    pet = simulate_nac_pet(head)
    for view, cut in enumerate(cuts(head.ct)):
        hu_window = BRAIN_WINDOW if view == VENTRICLES else HEAD_WINDOW
        rows = ((head.ct, hu_window, "gray"), (pet, UPTAKE_WINDOW, "gray_r"))
        for panel, (volume, (low, high), colours) in zip(panels[:, view], rows, strict=True):
            pixels, aspect = section(volume, cut)
            panel.imshow(pixels, cmap=colours, vmin=low, vmax=high, aspect=aspect, interpolation="bicubic")
            panel.set_anchor("N")
            panel.set_xticks([])
            panel.set_yticks([])


def draw(path: Path) -> None:
    """Two patients beside each other, two such pairs below each other."""
    figure = Figure(figsize=(16, 9.3), facecolor="black")
    widths = [192, 192, 192, 224] * 2
    grid = figure.subplots(4, 2 * len(VIEWS), gridspec_kw={"wspace": 0.02, "hspace": 0.02, "width_ratios": widths})
    figure.subplots_adjust(0.022, 0.002, 0.998, 0.94)
    for number, seed in enumerate(PATIENTS):
        top, left = 2 * (number // 2), len(VIEWS) * (number % 2)
        draw_patient(grid[top : top + 2, left : left + len(VIEWS)], seed)
    for panel, view in zip(grid[0], VIEWS * 2, strict=True):
        panel.set_title(view, color="white", fontsize=12)
    for panel, name in zip(grid[:, 0], ("CT", "NAC-PET") * 2, strict=True):
        panel.set_ylabel(name, color="white", fontsize=13)
    figure.suptitle(CAPTION, color="white", fontsize=12, y=0.993)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=90, facecolor="black")
    # One grey channel instead of four of colour: a third of the size.
    Image.open(picture).convert("L").save(path, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "Documentation/simulated_heads.png"))
