"""How much a model's answer changes by what lies around the object: air, its place in the field of view, its edge.

    python Testing/Experiments/surroundings.py pet-ct-phantom build/phantom-heads/pairs.csv

prints a Markdown table: the change inside the body of held-out heads, and what it does to the error.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from upgan.bundles.library import find_bundle
from upgan.images.patient import body_mask
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.inference.engine import InferenceEngine
from upgan.pairs.config import DataConfig
from upgan.pairs.finding import find_pairs

# Pixels of air added above, below, left and right; negative ones are cut off.
CHANGES = {
    "16 pixels of air more on each side": (16, 16, 16, 16),
    "48 pixels more": (48, 48, 48, 48),
    "112 pixels more": (112, 112, 112, 112),
    "7 pixels to the left, in 14 columns more": (0, 0, 0, 14),
    "at the lower edge of 64 rows more": (64, 0, 0, 0),
}
HEADS = 5
# The central part of each head.
SLICES = slice(16, 56, 4)


def main(model: str, table: Path) -> None:
    """Print the table."""
    engine = InferenceEngine(find_bundle(model), "cpu")
    pairs = [pair for pair in find_pairs(DataConfig(path=table, layout="csv")) if pair.split == "test"][:HEADS]
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in CHANGES}
    for pair in pairs:
        assert pair.input is not None
        assert pair.target is not None
        pet, ct = read_volume(pair.input), read_volume(pair.target)
        truth = ct.voxels[SLICES]
        body = body_mask(ct.voxels, (3.0, 2.0, 2.0))[SLICES]
        voxels = pet.voxels[SLICES]
        plain = engine.translate(Volume(voxels, pet.ijk_to_ras)).last.image
        for name, (above, below, left, right) in CHANGES.items():
            wide = np.pad(voxels, [(0, 0), (above, below), (left, right)])
            image = engine.translate(Volume(wide, pet.ijk_to_ras)).last.image
            image = image[:, above : above + truth.shape[1], left : left + truth.shape[2]]
            change = (image - plain)[body]
            errors = [float(np.abs(each - truth)[body].mean()) for each in (plain, image)]
            rows[name].append((float(np.sqrt(np.square(change).mean())), *errors))
    print(f"| {model}, {len(pairs)} held-out heads | change inside the body (HU RMS) | MAE before | MAE after |")
    print("|---|---|---|---|")
    for name, found in rows.items():
        change, before, after = np.mean(found, axis=0)
        print(f"| {name} | {change:.2f} | {before:.1f} | {after:.1f} |")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
