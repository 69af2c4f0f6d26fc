"""Which images a model calls unlike its training data: slices told apart, and verdicts, kind by kind.

    python Testing/Experiments/familiarity.py pet-ct-phantom build/phantom-heads ../shared/data [every n-th slice, 1]

prints Markdown: AUROC of slices (held-out heads against each kind) by mean σ, by the disagreement with the mirror image
in σ, and by the distance of the features, and how many volumes the limits of the model's bundle call unlike. The second
folder is that of ``make model``, with pairs.csv; the third has the real images. Where the bundle has no limits they are
measured on the heads trained on and set on the validation heads, as ``upgan bundle create`` does. About ten minutes on
one core.
"""

import csv
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage, stats

from upgan.bundles.bundle import Bundle
from upgan.bundles.library import find_bundle
from upgan.images.orientation import Reorientation
from upgan.images.reading import read_volume
from upgan.images.scope import scope_of
from upgan.images.volume import Volume
from upgan.inference.engine import InferenceEngine
from upgan.pairs.preparation import Pair
from upgan.simulation.pet import Scanner, simulate_nac_pet
from upgan.simulation.phantom import simulate_head
from upgan.training.model.familiarity import limited
from upgan.uncertainty.familiarity import FEWEST_PIXELS, Familiarity

OTHER_SCANNER = Scanner(filter_mm=8.0, counts=2.5e5, scatter_fraction=0.4)
SCORES = ("sigma", "flip", "features")
IN = "held-out heads"


class Case(NamedTuple):
    kind: str
    name: str
    volume: Volume
    ct: Volume | None


class Seen(NamedTuple):
    """One volume: each score of its slices, the verdict's JSON, and how its errors are where a CT tells."""

    case: Case
    slices: dict[str, np.ndarray]
    verdict: dict
    mae: float | None
    ratio: float | None


def main(model: str, heads: Path, shared: Path, every: int) -> None:
    engine = InferenceEngine(with_limits(find_bundle(model), heads), device="cpu")
    known = engine.bundle.metadata.upgan.familiarity
    print(
        f"{model}: {known.volumes} images, {known.slices} slices, {len(known.mean)} features; limits {known.limits}\n"
    )
    print_costs(engine, heads)
    seen = [look(engine, thinned(case, every)) for case in cases(heads, shared)]
    print_table(seen)
    print_volumes(seen)


def with_limits(bundle: Bundle, heads: Path) -> Bundle:
    if bundle.metadata.upgan.familiarity is not None and bundle.metadata.upgan.familiarity.limits is not None:
        return bundle
    engine = InferenceEngine(bundle, device="cpu")
    training = (engine.slice_features(head) for _, head, _ in read_part(heads, "train"))
    engine.bundle = knowing(bundle, Familiarity.measure(training))
    validation = [Pair(name, pet, ct, sha256="") for name, pet, ct in read_part(heads, "validation")]
    return knowing(bundle, limited(engine, validation, len(validation)))


def knowing(bundle: Bundle, familiarity: Familiarity) -> Bundle:
    section = bundle.metadata.upgan.model_copy(update={"familiarity": familiarity})
    return replace(bundle, metadata=bundle.metadata.model_copy(update={"upgan": section}))


def read_part(heads: Path, part: str) -> Iterator[tuple[str, Volume, Volume]]:
    for row in csv.DictReader((heads / "pairs.csv").open(encoding="utf-8")):
        if row["split"] == part:
            yield row["subject"], read_volume(heads / row["input"]), read_volume(heads / row["target"])


def cases(heads: Path, shared: Path) -> Iterator[Case]:
    """Yield held-out heads, what becomes of them, and real images."""
    manifest = json.loads((heads / "manifest.json").read_text(encoding="utf-8"))
    seeds = {entry["subject"]: entry["seed"] for entry in manifest["subjects"]}
    for name, pet, ct in read_part(heads, "test"):
        yield Case(IN, name, pet, ct)
        yield Case("rotated 30°", name, rotated(pet, 0.0), rotated(ct, -1000.0))
        yield Case("mirrored front to back", name, mirrored(pet), mirrored(ct))
        yield Case("15 % larger", name, enlarged(pet), enlarged(ct))
        yield Case("other scanner", name, simulate_nac_pet(simulate_head(seeds[name]), OTHER_SCANNER), ct)
    real = {
        "fruit (T1)": ["ood/fruit_t1_ge_slab.nii.gz"],
        "bottle (T1)": ["ood/phantom_bottle_t1_2mm.nii.gz"],
        "NAC-PET of a body": ["petct/pet_nac.nii.gz"],
        "AC-PET of a head": ["pet/brainweb06_osem_slab.nii.gz"],
        "AC-PET of a body": ["petct/pet_ac.nii.gz"],
        "T1 heads": [*sorted(f"t1/{path.name}" for path in (shared / "t1").glob("*.nii.gz"))],
    }
    for kind, names in real.items():
        for name in names:
            yield Case(kind, Path(name).name.partition(".")[0], read_volume(shared / name), None)


def thinned(case: Case, every: int) -> Case:
    """Leave out slices; the networks look at each by itself."""

    def few(volume: Volume) -> Volume:
        upright = volume.reoriented("axial")
        return Volume(upright.voxels[::every], upright.ijk_to_ras @ np.diag([1, 1, every, 1]))

    return case._replace(volume=few(case.volume), ct=few(case.ct) if case.ct is not None else None)


def rotated(volume: Volume, outside: float) -> Volume:
    turned = ndimage.rotate(volume.voxels, 30, axes=(1, 2), reshape=False, order=1, cval=outside)
    return Volume(turned, volume.ijk_to_ras)


def mirrored(volume: Volume) -> Volume:
    return Volume(volume.voxels[:, ::-1].copy(), volume.ijk_to_ras)


def enlarged(volume: Volume) -> Volume:
    return Volume(volume.voxels, volume.ijk_to_ras @ np.diag([1.15, 1.15, 1.15, 1.0]))


def look(engine: InferenceEngine, case: Case) -> Seen:
    section = engine.bundle.metadata.upgan
    translation = engine.translate(case.volume, epistemic=True)
    sigma = translation.last.sigma
    upright = Reorientation.of(case.volume.ijk_to_ras, section.plane)
    features = engine.slice_features(case.volume)
    shown = features.pixels >= FEWEST_PIXELS
    is_object = upright.apply(case.volume.voxels) > translation.reference / 16
    means = {
        name: (upright.apply(maps) * is_object).sum(axis=(1, 2)) / np.maximum(is_object.sum(axis=(1, 2)), 1)
        for name, maps in (("sigma", sigma), ("epistemic", translation.epistemic))
    }
    slices = {
        "sigma": means["sigma"][shown],
        "flip": means["epistemic"][shown] / means["sigma"][shown],
        "features": section.familiarity.distances(features.means[shown]),
    }
    mae = ratio = None
    if case.ct is not None:
        inside = scope_of(case.ct, "HU").mask
        error = (translation.last.image - case.ct.voxels)[inside]
        mae = float(np.abs(error).mean())
        ratio = float(np.sqrt(np.square(error).mean() / np.square(sigma[inside]).mean()))
    return Seen(case, slices, translation.provenance["familiarity"], mae, ratio)


def print_table(seen: list[Seen]) -> None:
    print("| kind | volumes | slices | σ | flip | features | unlike by flip | by features | by either |", end="")
    print(" MAE (HU) | RMSE / RMS σ |\n|---|---|---|---|---|---|---|---|---|---|---|")
    usual = {score: pooled([one for one in seen if one.case.kind == IN], score) for score in SCORES}
    for kind in dict.fromkeys(one.case.kind for one in seen):
        group = [one for one in seen if one.case.kind == kind]
        values = {score: pooled(group, score) for score in SCORES}
        areas = ["" if kind == IN else f"{auroc(usual[score], values[score]):.2f}" for score in SCORES]
        unlike = [
            sum(one.verdict["scores"][score] > one.verdict["limits"][score] for one in group)
            for score in ("flip", "features")
        ]
        unlike.append(sum(one.verdict["is_unlike"] for one in group))
        errors = [""] * 2
        if group[0].mae is not None:
            errors = [f"{np.mean([one.mae for one in group]):.0f}", f"{np.mean([one.ratio for one in group]):.2f}"]
        counts = [str(len(group)), str(values["features"].size)]
        print(f"| {' | '.join([kind, *counts, *areas, *map(str, unlike), *errors])} |")
    print()


def print_volumes(seen: list[Seen]) -> None:
    print("| image | features | flip |\n|---|---|---|")
    for kind in dict.fromkeys(one.case.kind for one in seen):
        group = [one for one in seen if one.case.kind == kind]
        cells = []
        for score in ("features", "flip"):
            found = sorted(one.verdict["scores"][score] for one in group)
            cells.append(f"{found[0]:.2f} to {found[-1]:.2f}" if len(found) > 1 else f"{found[0]:.2f}")
        print(f"| {kind} | {' | '.join(cells)} |")


def print_costs(engine: InferenceEngine, heads: Path) -> None:
    """Processor time of a translation without features, with them, and with the mirror image; the least of five."""
    _, pet, _ = next(read_part(heads, "test"))
    known = engine.bundle
    quickest = {}
    for title, bundle, epistemic in (
        ("without features", knowing(known, None), False),
        ("with features", known, False),
        ("with the mirror image, too", known, True),
    ):
        engine.bundle = bundle
        taken = []
        for _ in range(5):
            started = time.process_time()
            engine.translate(pet, epistemic=epistemic)
            taken.append(time.process_time() - started)
        quickest[title] = min(taken)
    engine.bundle = known
    base = next(iter(quickest.values()))
    print("; ".join(f"{title} {seconds:.2f} s ({seconds / base:.1%})" for title, seconds in quickest.items()), "\n")


def pooled(seen: list[Seen], score: str) -> np.ndarray:
    return np.concatenate([one.slices[score] for one in seen])


def auroc(usual: np.ndarray, other: np.ndarray) -> float:
    """Chance that a slice of another kind has the higher score."""
    return float(stats.mannwhitneyu(other, usual).statistic / usual.size / other.size)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 1)
