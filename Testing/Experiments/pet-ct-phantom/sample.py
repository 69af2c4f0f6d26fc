"""Makes the samples of the model beside it: the first simulated head that the bundled model never saw."""

from __future__ import annotations

import sys
from pathlib import Path

from upgan.images.reading import read_volume
from upgan.images.volume import Volume

sys.path.append(str(Path(__file__).parent.parent))
from samples import add_samples

SUBJECT = "sub-101"  # the configuration's train, validation and test subjects are the others

# A scanner stores whole numbers; relative uptake of 1 becomes this many.
COUNTS = 20_000


def main(heads: Path, samples: Path) -> None:
    """Write ``sample_nacpet.nrrd``, ``sample_ct.nrrd`` and the checksums."""
    pet = read_volume(heads / f"{SUBJECT}_nacpet.nii.gz")
    ct = read_volume(heads / f"{SUBJECT}_ct.nii.gz")
    add_samples(samples, {"sample_nacpet.nrrd": Volume(pet.voxels * COUNTS, pet.ijk_to_ras), "sample_ct.nrrd": ct})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
