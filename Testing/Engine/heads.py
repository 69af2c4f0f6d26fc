"""Small simulated heads as files, as ``upgan simulate`` writes them."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from upgan.images.reading import read_volume
from upgan.images.writing import write_volume
from upgan.pairs.preparation import Pair
from upgan.simulation.pet import Scanner, simulate_nac_pet
from upgan.simulation.phantom import simulate_head

SHAPE, SPACING_MM = (16, 56, 48), (12.0, 4.0, 4.0)


def simulate(seed: int, folder: Path) -> None:
    """Write one head as ``nacpet.nii.gz`` and ``ct.nii.gz``."""
    head = simulate_head(seed, SHAPE, SPACING_MM)
    write_volume(simulate_nac_pet(head, Scanner(angles=60)), folder / "nacpet.nii.gz")
    write_volume(head.ct, folder / "ct.nii.gz", dtype=np.int16)


def copy_pairs(folder: Path, seeds: Iterable[int], simulated: Callable[[int], Path]) -> Path:
    """Put heads, each of which is simulated in a folder, into one folder with a manifest, which is returned."""
    entries = []
    for number, seed in enumerate(seeds, start=1):
        name = f"sub-{number:03d}"
        entry = {"subject": name, "nacpet": f"{name}_nacpet.nii.gz", "ct": f"{name}_ct.nii.gz"}
        for kind in ("nacpet", "ct"):
            shutil.copyfile(simulated(seed) / f"{kind}.nii.gz", folder / entry[kind])
        entries.append(entry)
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"input": "nacpet", "target": "ct", "subjects": entries}), encoding="utf-8")
    return manifest


def read_pairs(folder, *names, stored_as=None):
    """Pairs of ``write_pairs``, their axes permuted and flipped as a plane's where one is given."""
    for name in names:
        volumes = [read_volume(folder / f"{name}_{kind}.nii.gz") for kind in ("nacpet", "ct")]
        source, target = (volume.reoriented(stored_as) if stored_as else volume for volume in volumes)
        yield Pair(name, source, target, sha256="")
