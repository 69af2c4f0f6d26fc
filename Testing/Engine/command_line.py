"""What tests of the command line share: its outcome, files to give it, and what it left."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import SimpleITK

import upgan
from Engine.made_images import blob, save_series

NAMES = ("pseudo_ct", "alpha", "beta", "sigma")
SHAPE = (8, 32, 48)  # K, J, I: whole multiples of the network's 16 within the slices
LPS = np.diag([-2.0, -2.0, 2.0, 1.0])  # stored as the network sees it, at the tiny bundle's spacing
OBLIQUE = np.array([[-1.75, 0.5, 0.25, 90.5], [0.5, 1.75, -0.5, -60.25], [0.25, 0.5, 2.5, -31.125], [0, 0, 0, 1.0]])


class Outcome(NamedTuple):
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


def outside(*arguments, **environment) -> Outcome:
    """Run the command line in a process of its own, as a shell would."""
    done = subprocess.run(
        [sys.executable, "-m", "upgan.cli", *map(str, arguments)],
        capture_output=True,
        env=environment_of(**environment),
        timeout=120,
    )
    return Outcome(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def environment_of(**changes) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(upgan.__file__).parents[1]), **changes}


def save_nifti(path: Path, voxels: np.ndarray | None = None, affine: np.ndarray = LPS) -> Path:
    """Write voxels [K, J, I] by nibabel, which is not what the engine writes with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image((blob(SHAPE) if voxels is None else voxels).T, None)
    image.set_sform(affine, code=1)  # takes singular ones too
    image.header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    image.to_filename(path)
    return path


def load_nifti(path: Path) -> np.ndarray:
    """[K, J, I]."""
    return np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj).T


def load_nrrd(path: Path) -> np.ndarray:
    """[K, J, I]."""
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def files_of(folder: Path) -> dict[str, str]:
    """Everything below a folder, hidden or not, with checksums of the files."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def provenance_of(folder: Path) -> dict:
    return json.loads((folder / "provenance.json").read_text(encoding="utf-8"))


def assert_refused(outcome: Outcome, code: str) -> None:
    """Exit code 2, the code, a sentence, a remedy on the last line, and no traceback."""
    assert outcome.code == 2, outcome
    assert "Traceback" not in outcome.err
    *_, error, remedy = outcome.err.rstrip("\n").split("\n")
    assert error.startswith(f"Error ({code}): ")
    assert error.endswith(".")
    assert len(remedy) > 10
    assert remedy.endswith(".")
    assert outcome.out == ""


def series_folder(tmp_path: Path, *modalities: str) -> Path:
    """A folder of DICOM series numbered 1.2.3.1, 1.2.3.2, …, one per modality, with intensities above zero."""
    folder = tmp_path / "dicom"
    folder.mkdir()
    for number, modality in enumerate(modalities, start=1):
        heights = [3.0 * n for n in range(number + 2)]
        save_series(folder, heights, SeriesInstanceUID=f"1.2.3.{number}", Modality=modality, RescaleIntercept=300)
    return folder
