"""Folders of simulated NAC-PET / CT pairs with a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from upgan import __version__
from upgan.errors import InputError
from upgan.files import explained, write_json
from upgan.images.writing import write_volume
from upgan.progress import SILENT, Progress
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
    if subjects < 1:
        raise InputError("no_subjects", f"{subjects} subjects cannot be simulated.", "Ask for at least one.")
    scanner = scanner or Scanner()
    across, within = scanner.finished_width_mm(PIXEL_MM)
    with explained(f"The folder '{output.name}'", "Choose a place where you may write.", "folder_not_made"):
        output.mkdir(parents=True, exist_ok=True)
    entries = []
    for index, step in progress.each(range(subjects), subjects, "simulating head"):
        entries.append(_write_subject(output, index, subject_seed(seed, index), scanner))
        step.tell(1.0)
    manifest = {
        "statement": STATEMENT,
        "engine_version": __version__,
        "seed": seed,
        "scanner": scanner.model_dump(),
        "resolution_mm": {"in_plane": round(within, 2), "across_slices": round(across, 2)},
        "input": "nacpet",
        "target": "ct",
        "units": {"nacpet": "relative uptake without attenuation correction", "ct": "HU"},
        "subjects": entries,
    }
    write_json(output / "manifest.json", manifest)
    return output / "manifest.json"


def subject_seed(seed: int, index: int) -> int:
    """Derive the seed of one subject from that of the set, whatever the size of the set."""
    return int(np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(1)[0])


def _write_subject(output: Path, index: int, seed: int, scanner: Scanner) -> dict[str, Any]:
    name = f"sub-{index + 1:03d}"
    head = simulate_head(seed)
    files = {"nacpet": f"{name}_nacpet.nii.gz", "ct": f"{name}_ct.nii.gz"}
    write_volume(simulate_nac_pet(head, scanner), output / files["nacpet"])
    write_volume(head.ct, output / files["ct"], dtype=np.int16)
    return {"subject": name, "seed": seed, **files}
