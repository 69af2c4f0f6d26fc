"""What the pseudo-CT model of simulated T1 heads makes of real ones, for which no true CT exists.

    python Testing/Experiments/mr-ct-phantom/real_heads.py MODEL SHARED_DATA HEADS OUTPUT

SHARED_DATA holds t1/, ixi/ and templates/; HEADS is the folder of simulated pairs with pairs.csv. For each head a line
goes to OUTPUT/real_heads.csv and a row of pictures to OUTPUT/real_heads.png:

- skull closed: of the directions from the middle of the head upwards, from 10° above the horizontal on, in how many
  there is bone (above 300 HU) between middle and skin; the same for simulated CTs and what the model makes of them;
- bone outside: share of bone voxels outside the head's outline in the T1;
- dark in air: mean T1 inside the pseudo-CT's cavities (below -300 HU), of the T1's median in the head; bone the same;
- histogram: shares of the head that are air, soft tissue and bone, and the most frequent value of soft tissue;
- average CT: correlation inside its head, and Dice of bone (above 200 HU after a Gaussian of 6 mm), with the average of
  30 elderly people (`scct`), after affine registration of the T1 to the average T1 by mutual information. The average
  is blurred, so that no head agrees well: the same of each head with the others' average says how well one can;
- sigma: its mean inside the head, and how unlike the training images the model says the head is.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import SimpleITK
from scipy import ndimage

from upgan.bundles.library import find_bundle
from upgan.images.orientation import Reorientation
from upgan.images.patient import foreground_mask
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.inference.engine import InferenceEngine
from upgan.pairs.config import DataConfig
from upgan.pairs.finding import find_pairs

REAL = [
    *(f"t1/{name}" for name in ("adi_26y_trio3T", "allineate_T1_head_2mm", "allineate_T1w2mm", "brainchop_t1_crop")),
    *(f"t1/{name}" for name in ("mne_ecog_T1", "qa_asl_35y_prisma3T")),
    *(f"ixi/IXI{name}_ds" for name in ("012-HH-1211-T1", "013-HH-1212-T1", "014-HH-1236-T1", "015-HH-1258-T1")),
    *(f"ixi/IXI{name}_ds" for name in ("033-HH-1259-T1", "034-HH-1260-T1", "049-HH-1358-T1")),
]
SIMULATED = 5
AIR_HU, BONE_HU, AVERAGE_BONE_HU = -300.0, 300.0, 200.0
GAUSSIAN_MM = 6.0 / 2.355


def axial(volume: Volume, voxels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(Reorientation.of(volume.ijk_to_ras, "axial").apply(voxels))


def outline(t1: np.ndarray) -> np.ndarray:
    """The head in a T1 [K, J, I], axial: what is brighter than a tenth of its brightest, closed and filled."""
    return foreground_mask(t1, 0.1 * float(np.percentile(t1, 99)))


def closed(hu: np.ndarray, head: np.ndarray, spacing_mm: np.ndarray) -> float:
    """Share of directions upwards in which there is bone before the head ends; spacing along K, J, I."""
    rows = head.any((1, 2)).nonzero()[0]
    top = rows.max()
    # The middle of the brain: some 70 mm under the vertex, in the middle of the head there.
    level = max(int(top - 70 / spacing_mm[0]), int(rows.min()))
    middle = np.array([level, *ndimage.center_of_mass(head[level])])
    rng = np.random.default_rng(0)
    angles, sines = rng.uniform(0, 2 * np.pi, 2000), rng.uniform(np.sin(np.radians(10)), 1, 2000)
    cosines = np.sqrt(1 - sines**2)
    directions = np.stack([sines, cosines * np.sin(angles), cosines * np.cos(angles)], 1) / spacing_mm
    lengths = np.arange(20.0, 140.0, 0.5)
    points = middle[:, None, None] + directions.T[:, :, None] * lengths
    inside = ndimage.map_coordinates(head.astype(np.uint8), points, order=0, cval=0) > 0
    values = ndimage.map_coordinates(hu, points, order=1, cval=-1000.0)
    return float(((values > BONE_HU) & inside).any(-1).mean())


def figures(t1: np.ndarray, hu: np.ndarray, spacing_mm: np.ndarray) -> dict[str, float]:
    head = outline(t1)
    bone, air = hu > BONE_HU, (hu < AIR_HU) & ndimage.binary_erosion(head, iterations=3)
    middle = float(np.median(t1[head]))
    soft = hu[head & (hu > -150) & (hu < 150)]
    histogram, edges = np.histogram(soft, 60)
    return {
        "skull_closed": closed(hu, head, spacing_mm),
        "bone_outside": float((bone & ~ndimage.binary_dilation(head)).sum() / max(bone.sum(), 1)),
        "t1_in_air": float(t1[air].mean() / middle) if air.any() else float("nan"),
        "t1_in_bone": float(t1[bone & head].mean() / middle) if (bone & head).any() else float("nan"),
        "share_air": float(air.sum() / head.sum()),
        "share_bone": float((bone & head).sum() / head.sum()),
        "soft_peak_hu": float(edges[np.argmax(histogram)] + (edges[1] - edges[0]) / 2),
    }


def image_of(volume: Volume, voxels: np.ndarray) -> Any:
    """SimpleITK's image; a sheared grid, which it does not know, is not among the heads."""
    image = SimpleITK.GetImageFromArray(voxels.astype(np.float32))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def affine_to(template: Any, moving: Any) -> Any:
    """Register affinely by mutual information, rigidly first."""
    found = SimpleITK.CenteredTransformInitializer(
        template, moving, SimpleITK.Euler3DTransform(), SimpleITK.CenteredTransformInitializerFilter.MOMENTS
    )
    for kind in ("rigid", "affine"):
        if kind == "affine":
            affine = SimpleITK.AffineTransform(3)
            rigid = SimpleITK.Euler3DTransform(found.Downcast() if hasattr(found, "Downcast") else found)
            affine.SetCenter(rigid.GetCenter())
            affine.SetMatrix(rigid.GetMatrix())
            affine.SetTranslation(rigid.GetTranslation())
            found = affine
        method = SimpleITK.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(40)
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(0.2, 1)
        method.SetInterpolator(SimpleITK.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200, 0.5)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([4, 2, 1])
        method.SetSmoothingSigmasPerLevel([4, 2, 0])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
        method.SetNumberOfWorkUnits(1)
        method.SetInitialTransform(found, inPlace=False)
        found = method.Execute(template, moving)
        if hasattr(found, "GetNthTransform"):
            found = found.GetNthTransform(0)
    return found


def hounsfield_of_cormack(values: np.ndarray) -> np.ndarray:
    """Average CT's units: c = t + 10·clip(t - 900, 0, 200), t = HU + 1000 (Rorden et al., NeuroImage 2012)."""
    t = np.where(values < 900, values, np.where(values <= 3100, (values + 9000) / 11, values - 2000))
    return t - 1000


def agreement(one: np.ndarray, other: np.ndarray, head: np.ndarray, spacing_mm: float) -> tuple[float, float]:
    """Correlation inside the head, and Dice of bone, after a Gaussian."""
    smooth = [ndimage.gaussian_filter(each, GAUSSIAN_MM / spacing_mm) for each in (one, other)]
    bones = [(each > AVERAGE_BONE_HU) & head for each in smooth]
    dice = 2 * (bones[0] & bones[1]).sum() / max(bones[0].sum() + bones[1].sum(), 1)
    return float(np.corrcoef(smooth[0][head], smooth[1][head])[0, 1]), float(dice)


def main(model: str, shared: Path, heads: Path, output: Path) -> None:
    """Measure the simulated and the real heads; write the table and the pictures."""
    output.mkdir(parents=True, exist_ok=True)
    engine = InferenceEngine(find_bundle(model), "cpu")
    rows: list[dict[str, Any]] = []
    shown: list[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    pairs = [
        p for p in find_pairs(DataConfig(path=heads / "pairs.csv", layout="csv", task="mr_to_ct")) if p.split == "test"
    ]
    for pair in pairs[:SIMULATED]:
        assert pair.input is not None
        assert pair.target is not None
        t1, ct = read_volume(pair.input), read_volume(pair.target)
        found = engine.translate(t1)
        parts = [axial(t1, array) for array in (t1.voxels, found.last.image, found.last.sigma)]
        spacing = Reorientation.of(t1.ijk_to_ras, "axial").spacing[::-1]
        for kind, hu in (("true CT", axial(ct, ct.voxels)), ("pseudo-CT", parts[1])):
            rows.append({"head": f"simulated {pair.subject}, {kind}", **figures(parts[0], hu, np.array(spacing))})
        rows[-1]["sigma_hu"] = float(parts[2][outline(parts[0])].mean())
        familiarity = found.provenance["familiarity"] or {}
        rows[-1]["unlike"] = familiarity.get("is_unlike", "")

    folder = shared / "templates"
    average_t1 = SimpleITK.ReadImage(str(folder / "spm_OldNorm_T1_2mm.nii"), SimpleITK.sitkFloat32)
    average_ct = hounsfield_of_cormack(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "scct_2mm.nii"))))
    inside = average_ct > -500
    in_standard: dict[str, np.ndarray] = {}
    for name in REAL:
        t1 = read_volume(shared / f"{name}.nii.gz")
        found = engine.translate(t1)
        parts = [axial(t1, array) for array in (t1.voxels, found.last.image, found.last.sigma)]
        spacing = np.array(Reorientation.of(t1.ijk_to_ras, "axial").spacing[::-1])
        row = {"head": Path(name).name, **figures(parts[0], parts[1], spacing)}
        row["sigma_hu"] = float(parts[2][outline(parts[0])].mean())
        row["unlike"] = (found.provenance["familiarity"] or {}).get("is_unlike", "")
        moved = affine_to(average_t1, image_of(t1, t1.voxels))
        pseudo = SimpleITK.Resample(image_of(t1, found.last.image), average_t1, moved, SimpleITK.sitkLinear, -1000.0)
        in_standard[row["head"]] = SimpleITK.GetArrayFromImage(pseudo)
        row["average_ct_correlation"], row["average_ct_dice_bone"] = agreement(
            in_standard[row["head"]], average_ct, inside, 2.0
        )
        rows.append(row)
        shown.append((row["head"], *parts, spacing))
        print(row, flush=True)
    for row in rows:
        others = [hu for name, hu in in_standard.items() if name != row["head"]]
        if row["head"] in in_standard:
            row["others_dice_bone"] = agreement(in_standard[row["head"]], np.mean(others, 0), inside, 2.0)[1]

    names = list(dict.fromkeys(key for row in rows for key in row))
    with (output / "real_heads.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        for row in rows:
            table.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})
    _draw(shown, output / "real_heads.png")


def _draw(shown: list[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]], path: Path) -> None:
    """Axial, coronal and sagittal through the middle of each head: T1, pseudo-CT, sigma."""
    figure, axes = plt.subplots(len(shown), 9, figsize=(13, 1.55 * len(shown)), facecolor="black", squeeze=False)
    for row, (name, t1, hu, sigma, spacing) in zip(axes, shown, strict=True):
        head = outline(t1)
        middle = [int(np.median(head.any(tuple(a for a in range(3) if a != axis)).nonzero()[0])) for axis in range(3)]
        scales = ((t1, 0, float(np.percentile(t1[head], 99))), (hu, -1000, 1500), (sigma, 0, 500))
        for number, (image, low, high) in enumerate(scales):
            cuts = (image[middle[0]], image[::-1, middle[1]], image[::-1, :, middle[2]])
            sides = ((1, 2), (0, 2), (0, 1))
            for axis, cut, (down, across) in zip(row[3 * number :], cuts, sides, strict=False):
                axis.imshow(
                    cut,
                    cmap="magma" if image is sigma else "gray",
                    vmin=low,
                    vmax=high,
                    aspect=float(spacing[down] / spacing[across]),
                )
        row[0].set_ylabel(name[:18], color="white", fontsize=7)
        for axis in row:
            axis.set_xticks([])
            axis.set_yticks([])
    for axis, title in zip(axes[0][::3], ("T1", "pseudo-CT (−1000 to 1500 HU)", "σ (0 to 500 HU)"), strict=True):
        axis.set_title(title, color="white", fontsize=8, loc="left")
    figure.subplots_adjust(0.03, 0.0, 1, 0.97, 0.01, 0.02)
    figure.savefig(path, dpi=110, facecolor="black")


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:5]))
