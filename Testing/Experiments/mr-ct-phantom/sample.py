"""Makes the samples of the model beside it: the simulated T1 head that it never saw, and its CT."""

from __future__ import annotations

import sys
from pathlib import Path

from upgan.images.reading import read_volume

sys.path.append(str(Path(__file__).parent.parent))
from samples import add_samples

SUBJECT = "sub-101"  # left out of pairs.csv


def main(heads: Path, samples: Path) -> None:
    """Write ``sample_t1.nrrd``, ``sample_t1_ct.nrrd`` and the checksums."""
    add_samples(
        samples,
        {
            "sample_t1.nrrd": read_volume(heads / f"{SUBJECT}_t1.nii.gz"),
            "sample_t1_ct.nrrd": read_volume(heads / f"{SUBJECT}_ct.nii.gz"),
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
