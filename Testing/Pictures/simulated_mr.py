"""Draw simulated T1 heads beside real ones, on one grid, and compare how bright scalp, skull and brain are in both.

With upgan installed, or PYTHONPATH=UncertaintyGuidedI2I, and the folder of real images, from the top of the checkout:

    UPGAN_SHARED_DATA=../shared/data python Testing/Pictures/simulated_mr.py [Documentation/simulated_t1.png]

writes the picture and prints intensities by depth under the skin, as fractions of white matter's, in Markdown.
"""

import io
import os
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter, label

from upgan.images.reading import read_volume
from upgan.images.resampling import Grid, resample
from upgan.images.volume import Volume
from upgan.simulation.mr import draw_acquisition, simulate_mr_head, simulate_t1

PATIENTS = (25, 26, 30, 34)
REAL = (
    ("t1/adi_26y_trio3T.nii.gz", "3 T"),
    ("t1/brainchop_t1_crop.nii.gz", "not stated"),
    ("t1/allineate_T1w2mm.nii.gz", "not stated"),
    ("ixi/IXI013-HH-1212-T1_ds.nii.gz", "IXI, 3 T"),
)
STEP_MM = (3.0, 2.0, 2.0)
BELOW_VERTEX_MM = (40.0, 65.0, 110.0)
DEPTHS_MM = range(0, 22, 2)
NAMES = {"inversion_prepared": "inversion-prepared", "spoiled": "spoiled", "randomised": "randomised contrast"}


def axial(volume: Volume) -> np.ndarray:
    """Resample to axial slices as the simulator writes them: to the left, to the back, to the head."""
    last = np.array(volume.voxels.shape[::-1]) - 1
    corners = np.array([[*(last * bits), 1.0] for bits in np.ndindex(2, 2, 2)]) @ volume.ijk_to_ras.T
    low, high = corners[:, :3].min(axis=0), corners[:, :3].max(axis=0)
    k, j, i = STEP_MM
    affine = np.diag([-i, -j, k, 1.0])
    affine[:3, 3] = high[0], high[1], low[2]
    slices, rows, columns = (
        int(np.ceil(extent / step)) + 1 for extent, step in zip((high - low)[::-1], STEP_MM, strict=True)
    )
    return resample(volume, Grid((slices, rows, columns), affine), 0.0).voxels


def head_mask(image: np.ndarray) -> np.ndarray:
    """What is brighter than the background, slice by slice without holes."""
    bright = gaussian_filter(image, 0.7) > 0.12 * np.percentile(image[image > image.mean()], 95)
    filled = np.stack([binary_fill_holes(section) for section in np.pad(bright, ((0, 0), (1, 1), (1, 1)))])
    parts, _ = label(filled)
    largest = np.bincount(parts.ravel())[1:].argmax() + 1
    return (parts == largest)[:, 1:-1, 1:-1]


def vertex(mask: np.ndarray) -> int:
    return int(np.flatnonzero(mask.sum(axis=(1, 2)) > 60)[-1])


def by_depth(image: np.ndarray) -> np.ndarray:
    """Mean intensity 0 to 2, 2 to 4, … mm under the skin, 27 to 63 mm below the vertex, over white matter's."""
    mask = head_mask(image)
    top = vertex(mask)
    depth = np.stack(
        [STEP_MM[1] * distance_transform_edt(np.pad(section, 1))[1:-1, 1:-1] for section in mask[top - 21 : top - 9]]
    )
    slab = image[top - 21 : top - 9]
    white = np.percentile(slab[depth > 26.0], 75)
    return np.array([slab[(depth > near) & (depth <= near + 2)].mean() / white for near in DEPTHS_MM])


def draw_head(panels: np.ndarray, image: np.ndarray, title: str) -> None:
    """Three axial slices, and the two others through the middle of the head."""
    mask = head_mask(image)
    top = vertex(mask)
    middle = np.argwhere(mask[max(top - 30, 0) : top]).mean(axis=0).astype(int)
    sections = [(image[max(top - int(below / STEP_MM[0]), 0)], 1.0) for below in BELOW_VERTEX_MM]
    sections += [(image[::-1, middle[1]], 1.5), (image[::-1, :, middle[2]], 1.5)]
    white = np.percentile(image[mask], 97)
    for panel, (pixels, aspect) in zip(panels, sections, strict=True):
        panel.imshow(pixels, cmap="gray", vmin=0.0, vmax=white, aspect=aspect, interpolation="bicubic")
        panel.set_anchor("N")
        panel.axis("off")
    panels[0].set_title(title, color="white", fontsize=10, loc="left")


def draw(path: Path, shared: Path) -> None:
    """Simulated heads on the left, real ones on the right."""
    figure = Figure(figsize=(17, 9.2), facecolor="black")
    grid = figure.subplots(len(PATIENTS), 10, gridspec_kw={"wspace": 0.02, "hspace": 0.1})
    figure.subplots_adjust(0.004, 0.004, 0.996, 0.92)
    profiles = {}
    for row, seed in zip(grid, PATIENTS, strict=True):
        scan = draw_acquisition(seed)
        title = f"simulated, {NAMES[scan.sequence]}" + (
            "" if scan.sequence == "randomised" else f", {scan.field_t:g} T, TE {scan.te_ms:.1f} ms"
        )
        image = simulate_t1(simulate_mr_head(seed), scan).voxels
        profiles[title] = by_depth(image)
        draw_head(row[:5], image, title)
    for row, (name, what) in zip(grid, REAL, strict=True):
        image = axial(read_volume(shared / name))
        title = f"real, {Path(name).name.partition('.')[0]}, {what}"
        profiles[title] = by_depth(image)
        draw_head(row[5:], image, title)
    figure.suptitle(
        "Left: simulated T1 heads, no patients. Right: real T1 heads resampled to the same 2 x 2 x 3 mm. "
        "Each from zero to its own 97th percentile.",
        color="white",
        fontsize=11,
    )
    picture = io.BytesIO()
    figure.savefig(picture, dpi=80, facecolor="black")
    Image.open(picture).convert("L").save(path, optimize=True)
    print("| mm under the skin | " + " | ".join(f"{near}-{near + 2}" for near in DEPTHS_MM) + " |")
    print("|---" * (len(DEPTHS_MM) + 1) + "|")
    for title, profile in profiles.items():
        print(f"| {title} | " + " | ".join(f"{value:.2f}" for value in profile) + " |")


if __name__ == "__main__":
    draw(
        Path(sys.argv[1] if len(sys.argv) > 1 else "Documentation/simulated_t1.png"),
        Path(os.environ.get("UPGAN_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")),
    )
