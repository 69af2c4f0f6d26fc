"""Write the table of the real T1 heads that the two models of the MRI tasks learn from, with their split.

    python Testing/Experiments/mri/table.py SHARED_DATA build/mri-heads

SHARED_DATA is a folder with t1/, oms/ and ixi/ (Testing/Experiments/mri/README.md names every image, its source and
its licence). Heads to train on and to watch are written as they are and once more at 2 mm, as a scanner of that
resolution would have measured them: a part of their k-space. So a model meets masks and movements on fine pixels and on
coarse ones. All sessions of one person are on one side. What is held out was never trained on, and IXI's licence would
not let it be.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from upgan.images.orientation import Reorientation
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.images.writing import write_volume

# By person: the files, and the part that they are in.
PEOPLE = {
    "adi": ("train", ["t1/adi_26y_trio3T"]),
    "qa-asl": ("train", ["t1/qa_asl_35y_prisma3T"]),
    "studyforrest": ("train", ["t1/studyforrest_sub02_slab"]),
    "uih": ("train", ["t1/uih_A_umr770_slab"]),
    "mne": ("train", ["t1/mne_ecog_T1"]),
    "oms-01": ("train", ["oms/patient01_study1_T1W", "oms/patient01_study2_T1W"]),
    "oms-03": ("train", ["oms/patient03_study2_T1W"]),
    "oms-12": ("train", ["oms/patient12_study1_T1W", "oms/patient12_study2_T1W"]),
    "oms-04": ("validation", ["oms/patient04_study1_T1W"]),
    "brainchop": ("validation", ["t1/brainchop_t1_crop"]),
    "allineate": ("test", ["t1/allineate_T1_head_2mm", "t1/allineate_T1w2mm"]),
    "ixi-012": ("test", ["ixi/IXI012-HH-1211-T1_ds"]),
    "ixi-013": ("test", ["ixi/IXI013-HH-1212-T1_ds"]),
    "ixi-014": ("test", ["ixi/IXI014-HH-1236-T1_ds"]),
    "ixi-015": ("test", ["ixi/IXI015-HH-1258-T1_ds"]),
    "ixi-033": ("test", ["ixi/IXI033-HH-1259-T1_ds"]),
    "ixi-034": ("test", ["ixi/IXI034-HH-1260-T1_ds"]),
    "ixi-049": ("test", ["ixi/IXI049-HH-1358-T1_ds"]),
}

COARSE_MM = 2.0


def main(shared: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "heads.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["subject", "target", "split"])
        for person, (part, names) in PEOPLE.items():
            for session, name in enumerate(names, 1):
                path = (shared / f"{name}.nii.gz").resolve()
                table.writerow([f"{person}_ses-{session}", path, part])
                if part != "test":
                    coarse = folder / f"{path.name.removesuffix('.nii.gz')}_2mm.nii.gz"
                    write_volume(at_resolution(read_volume(path), COARSE_MM), coarse)
                    table.writerow([f"{person}_ses-{session}coarse", coarse.resolve(), part])


def at_resolution(volume: Volume, pixel_mm: float) -> Volume:
    """What a scanner of coarser axial pixels would have measured: the middle of each slice's k-space; a magnitude."""
    layout = Reorientation.of(volume.ijk_to_ras, "axial")
    slices, factors = layout.apply(volume.voxels), [1.0, 1.0, 1.0]
    for axis, spacing in ((1, layout.in_plane_spacing[0]), (2, layout.in_plane_spacing[1])):
        count = slices.shape[axis]
        kept = min(count, round(count * spacing / pixel_mm))
        spectrum = np.fft.fftshift(np.fft.fft(slices, axis=axis), axes=axis)
        first = count // 2 - kept // 2  # frequency 0 stays at the middle index of what is kept
        spectrum = np.take(spectrum, np.arange(first, first + kept), axis=axis)
        slices = np.fft.ifft(np.fft.ifftshift(spectrum, axes=axis), axis=axis) * (kept / count)
        factors[axis] = count / kept
    # The first pixel's centre stays where it was.
    affine = volume.ijk_to_ras @ layout.to_original_indices(volume.voxels.shape) @ np.diag([*factors[::-1], 1.0])
    return Volume(np.abs(slices).astype(np.float32), affine)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
