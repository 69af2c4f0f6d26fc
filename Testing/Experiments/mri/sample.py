"""Makes the samples of the two models beside it, of a real head that none of them was trained on.

    python Testing/Experiments/mri/sample.py SHARED_DATA build/mri-samples

The head is `t1/allineate_T1_head_2mm` of README.md, CC0: it may be shipped.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.simulation.degradation import Degradation, degrade_volume

sys.path.append(str(Path(__file__).parent.parent))
from samples import add_samples

HEAD = "t1/allineate_T1_head_2mm.nii.gz"
DEGRADED = {
    "sample_undersampled.nrrd": Degradation(kinds=("random_4x",)),
    "sample_motion.nrrd": Degradation(kinds=("periodic_motion",), severity=(3.0, 3.0)),
}
SEED = 2021

# The head's brightest tissue is at 233: rounded to whole numbers it would show steps.
FACTOR = 10.0


def main(shared: Path, samples: Path) -> None:
    """Write ``sample_head.nrrd`` as it was scanned, what is made of it, and the checksums."""
    read = read_volume(shared / HEAD)
    head = replace(read, voxels=(read.voxels * np.float32(FACTOR)))
    made: dict[str, Volume] = {"sample_head.nrrd": head}
    made |= {name: degrade_volume(head, degradation, "axial", SEED) for name, degradation in DEGRADED.items()}
    add_samples(samples, made)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
