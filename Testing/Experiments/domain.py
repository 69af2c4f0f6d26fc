"""Where the limits of bundles/domain.py come from: features of real images, held-out heads, what odd geometry costs.

    python Testing/Experiments/domain.py build/phantom-heads/manifest.json ../shared/data

prints Markdown. The first argument is the training set of the bundled model (``make model`` simulates it).
"""

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from upgan.bundles.domain import Domain, appearance_of, misfits
from upgan.bundles.library import find_bundle
from upgan.images.orientation import Plane
from upgan.images.patient import body_mask
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.inference.engine import InferenceEngine
from upgan.pairs.config import DataConfig
from upgan.pairs.finding import find_pairs
from upgan.tasks import MRI_MOTION, PET_TO_CT

MODEL = "pet-ct-phantom"
TRAINED_ON = 80
PLANE: Plane = "axial"
SAMPLES = Path(__file__).resolve().parents[2] / "UncertaintyGuidedI2I" / "Resources" / "SampleData"
CENTRAL = slice(20, 60, 4)  # the slices of the sample that are translated


def main(manifest: Path, images: Path) -> None:
    pairs = find_pairs(DataConfig(path=manifest))[:TRAINED_ON]
    pet = Domain.measure((read_volume(pair.input) for pair in pairs if pair.input), PLANE)
    print(f"Measured on {pet.volumes} training inputs of {MODEL}:\n\n    {pet.model_dump_json()}\n")
    volumes = {folder: read_folder(images / folder) for folder in ("t1", "ood", "pet")}
    volumes["pet"]["spm_OldNorm_PET_2mm"] = read_volume(images / "templates" / "spm_OldNorm_PET_2mm.nii")
    volumes["pet"]["sample_nacpet"] = read_volume(SAMPLES / "sample_nacpet.nrrd")
    heads = volumes["t1"]
    mri = Domain.measure(heads.values(), PLANE)
    print(f"Measured on the {len(heads)} T1 heads:\n\n    {mri.model_dump_json()}\n")
    print_features(volumes, pet)
    print_held_out(heads, volumes["ood"])
    print_costs()


def read_folder(folder: Path) -> dict[str, Volume]:
    return {path.name.partition(".")[0]: read_volume(path) for path in sorted(folder.glob("*.nii*"))}


def print_features(volumes: dict[str, dict[str, Volume]], pet: Domain) -> None:
    print("| image | pixel | gap | diameter | brightness | highlights | contrast | warnings of the PET model |")
    print("|---|---|---|---|---|---|---|---|")
    for folder in volumes.values():
        for name, volume in folder.items():
            alone, seen = Domain.measure([volume], PLANE), appearance_of(volume, PLANE)
            print(
                f"| {name} | {alone.pixel_mm[0]:.2f} | {alone.gap_mm[0]:.2f} | {seen.diameter_mm:.0f} | "
                f"{seen.brightness:.2f} | {seen.highlights:.2f} | {seen.contrast:.3f} | "
                f"{len(misfits(PET_TO_CT, pet, volume))} |"
            )
    print()


def print_held_out(heads: dict[str, Volume], others: dict[str, Volume]) -> None:
    print("| T1 heads trained on | held-out heads that warn | fewest warnings of | |")
    print("|---|---|---|---|")
    for count in range(len(heads) - 1, 3, -1):
        warned, fewest = [], dict.fromkeys(others, len(Domain.model_fields))
        for chosen in itertools.combinations(heads, count):
            domain = Domain.measure([heads[name] for name in chosen], PLANE)
            warned += [bool(misfits(MRI_MOTION, domain, heads[name])) for name in heads if name not in chosen]
            for name, volume in others.items():
                fewest[name] = min(fewest[name], len(misfits(MRI_MOTION, domain, volume)))
        cells = " | ".join(f"{name}: {number}" for name, number in fewest.items())
        print(f"| {count} | {sum(warned)} of {len(warned)} | {cells} |")
    print()


def print_costs() -> None:
    """Error of the bundled model inside the body of its sample, with the geometry of the PET changed."""
    engine = InferenceEngine(find_bundle(MODEL), device="cpu")
    pet, ct = (read_volume(SAMPLES / f"sample_{name}.nrrd") for name in ("nacpet", "ct"))
    print("| geometry | MAE (HU) |\n|---|---|")
    for title, volume, back, truth in changed(pet, ct.voxels):
        image = back(engine.translate(volume).last.image)
        print(f"| {title} | {np.abs(image - truth)[body_mask(truth, (3.0, 2.0, 2.0))].mean():.0f} |")


def changed(
    pet: Volume, ct: np.ndarray
) -> Iterator[tuple[str, Volume, Callable[[np.ndarray], np.ndarray], np.ndarray]]:
    """Yield a title, the changed PET, how its translation gets back onto the CT's grid, and that CT."""
    voxels, truth = pet.voxels[CENTRAL], ct[CENTRAL]
    for factor in (1, 1.6, 2, 2.5):
        for zoom, title in (((1, 1, 1 / factor), "columns"), ((1, 1 / factor, 1 / factor), "rows and columns")):
            coarse = ndimage.zoom(ndimage.gaussian_filter(voxels, [0.4 * (1 / z - 1) for z in zoom]), zoom, order=1)
            steps = [n / m for n, m in zip(voxels.shape, coarse.shape, strict=True)][::-1]
            yield (
                f"pixels {factor} times as large, {title}",
                Volume(coarse, pet.ijk_to_ras @ np.diag([*steps, 1])),
                lambda image: ndimage.zoom(image, np.divide(truth.shape, image.shape), order=1),
                truth,
            )
    for factor in (1.5, 2, 3):
        wide = [(0, 0), *(((int(n * (factor - 1) / 2),) * 2) for n in voxels.shape[1:])]
        inside = tuple(slice(before, before + n) for (before, _), n in zip(wide, voxels.shape, strict=True))
        padded = Volume(np.pad(voxels, wide), pet.ijk_to_ras)
        yield f"field of view {factor} times as wide", padded, lambda image, inside=inside: image[inside], truth
    for factor in (0.9, 0.8, 0.6):
        inside = tuple(slice(int(n * (1 - factor) / 2), int(n * (1 + factor) / 2)) for n in voxels.shape[1:])
        cut = (slice(None), *inside)
        yield f"field of view cut to {factor}", Volume(voxels[cut], pet.ijk_to_ras), lambda image: image, truth[cut]
    for count in (1, 2, 3, 4):
        thick, mean_ct = (
            part[: 40 // count * count].reshape(-1, count, *part.shape[1:]).mean(1)
            for part in (pet.voxels[20:60], ct[20:60])
        )
        affine = pet.ijk_to_ras @ np.diag([1, 1, count, 1])
        yield f"slices {count} times as far apart, and as thick", Volume(thick, affine), lambda image: image, mean_ct


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
