"""Makes the sample that ships with the module: the first simulated head that the bundled model never saw."""

import hashlib
import sys
from pathlib import Path

import numpy as np

from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.images.writing import write_volume

SUBJECT = "sub-101"  # the configuration's train, validation and test subjects are the first hundred

# A scanner stores whole numbers; relative uptake of 1 becomes this many.
COUNTS = 20_000


def main(heads: Path, samples: Path) -> None:
    """Write ``sample_nacpet.nrrd``, ``sample_ct.nrrd`` and their checksums."""
    samples.mkdir(parents=True, exist_ok=True)
    pet = read_volume(heads / f"{SUBJECT}_nacpet.nii.gz")
    volumes = {
        "sample_nacpet.nrrd": Volume(pet.voxels * COUNTS, pet.ijk_to_ras),
        "sample_ct.nrrd": read_volume(heads / f"{SUBJECT}_ct.nii.gz"),
    }
    lines = []
    for name, volume in volumes.items():
        write_volume(volume, samples / name, dtype=np.int16)
        lines.append(f"{hashlib.sha256((samples / name).read_bytes()).hexdigest()}  {name}\n")
    (samples / "SHA256SUMS").write_text("".join(sorted(lines)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
