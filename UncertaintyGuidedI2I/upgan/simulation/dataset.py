"""Folders of simulated pairs, NAC-PET or T1 with CT, with a manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from upgan import __version__
from upgan.errors import InputError
from upgan.files import explained, write_json
from upgan.images.writing import write_volume
from upgan.progress import SILENT, Progress
from upgan.simulation.mr import draw_acquisition, simulate_mr_head, simulate_t1
from upgan.simulation.pet import Scanner, simulate_nac_pet
from upgan.simulation.phantom import PIXEL_MM, simulate_head

STATEMENT = "Simulated data: no patient was imaged. For software tests and demonstrations, not for clinical use."


def simulate_pet_ct_pairs(
    subjects: int,
    output: Path,
    seed: int = 0,
    scanner: Scanner | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Write pairs of NAC-PET (relative uptake, float32) and CT (HU, int16) and a manifest, each file by rename.

    Args:
        subjects: How many; subject n is the same in a larger set of the same seed.
        output: Folder; made if it is not there.
        seed: The seed of the whole set.
        scanner: Default scanner if none is given.
        progress: Told after each subject.

    Returns:
        Path of ``manifest.json``.

    Raises:
        InputError: If `subjects` is not positive, or ``resolution_too_fine``.
        OutputError: ``folder_not_made``, or what ``write_volume`` and ``write_json`` refuse.
    """
    scanner = scanner or Scanner()
    across, within = scanner.finished_width_mm(PIXEL_MM)
    about = {
        "scanner": scanner.model_dump(),
        "resolution_mm": {"in_plane": round(within, 2), "across_slices": round(across, 2)},
        "input": "nacpet",
        "target": "ct",
        "units": {"nacpet": "relative uptake without attenuation correction", "ct": "HU"},
    }

    def write(name: str, own_seed: int) -> dict[str, Any]:
        head = simulate_head(own_seed)
        files = {"nacpet": f"{name}_nacpet.nii.gz", "ct": f"{name}_ct.nii.gz"}
        write_volume(simulate_nac_pet(head, scanner), output / files["nacpet"])
        write_volume(head.ct, output / files["ct"], dtype=np.int16)
        return files

    return _write_set(subjects, output, seed, about, write, progress)


def simulate_mr_ct_pairs(subjects: int, output: Path, seed: int = 0, progress: Progress = SILENT) -> Path:
    """Write pairs of T1-weighted MR (arbitrary unit, int16) and CT (HU, int16) and a manifest, each file by rename.

    Every subject was in a scanner and sequence of its own, which the manifest describes (``acquisition``).

    Args:
        subjects: How many; subject n is the same in a larger set of the same seed.
        output: Folder; made if it is not there.
        seed: The seed of the whole set.
        progress: Told after each subject.

    Returns:
        Path of ``manifest.json``.

    Raises:
        InputError: If `subjects` is not positive.
        OutputError: ``folder_not_made``, or what ``write_volume`` and ``write_json`` refuse.
    """
    about = {
        "input": "t1",
        "target": "ct",
        "units": {"t1": "arbitrary", "ct": "HU"},
    }

    def write(name: str, own_seed: int) -> dict[str, Any]:
        head, acquisition = simulate_mr_head(own_seed), draw_acquisition(own_seed)
        files = {"t1": f"{name}_t1.nii.gz", "ct": f"{name}_ct.nii.gz"}
        write_volume(simulate_t1(head, acquisition), output / files["t1"], dtype=np.int16)
        write_volume(head.ct, output / files["ct"], dtype=np.int16)
        return {**files, "acquisition": acquisition.model_dump()}

    return _write_set(subjects, output, seed, about, write, progress)


def _write_set(
    subjects: int,
    output: Path,
    seed: int,
    about: dict[str, Any],
    write: Callable[[str, int], dict[str, Any]],
    progress: Progress,
) -> Path:
    """Have each subject's files written, given its name and seed, and list them in a manifest."""
    if subjects < 1:
        raise InputError("no_subjects", f"{subjects} subjects cannot be simulated.", "Ask for at least one.")
    with explained(f"The folder '{output.name}'", "Choose a place where you may write.", "folder_not_made"):
        output.mkdir(parents=True, exist_ok=True)
    entries = []
    for index, step in progress.each(range(subjects), subjects, "simulating head"):
        name, own_seed = f"sub-{index + 1:03d}", subject_seed(seed, index)
        entries.append({"subject": name, "seed": own_seed, **write(name, own_seed)})
        step.tell(1.0)
    manifest = {"statement": STATEMENT, "engine_version": __version__, "seed": seed, **about, "subjects": entries}
    write_json(output / "manifest.json", manifest)
    return output / "manifest.json"


def subject_seed(seed: int, index: int) -> int:
    """Derive the seed of one subject from that of the set, whatever the size of the set."""
    return int(np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(1)[0])
