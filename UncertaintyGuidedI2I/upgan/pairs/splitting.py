"""Which patients are trained on, watched and held out: by patient, never by slice or session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from upgan.errors import InputError
from upgan.pairs.config import SplitConfig
from upgan.pairs.finding import PairFiles

# Of all patients, where no number is given.
_SHARES = {"test": 0.3, "validation": 0.1}


class Split(NamedTuple):
    """The labels of the subjects of the three parts, each sorted; no patient is in two of them."""

    train: list[str]
    validation: list[str]
    test: list[str]


def split_subjects(pairs: Sequence[PairFiles], config: SplitConfig) -> Split:
    """Shuffle the patients and part them; a split that the pairs bring along is taken as it is.

    The held-out patients are drawn first, so that runs with more or fewer training patients have the same ones.

    Raises:
        InputError: ``one_patient``, ``too_few_subjects``, ``patient_in_two_parts``, ``split_incomplete`` or
            ``empty_part``.
    """
    patients: dict[str, list[PairFiles]] = {}
    for pair in pairs:
        patients.setdefault(pair.patient, []).append(pair)
    if len(patients) == 1:
        raise InputError(
            "one_patient",
            "There are images of one patient only.",
            "Add patients: at least one each to train on, to watch and to hold out.",
        )
    parts = _given(patients) if any(pair.split for pair in pairs) else _drawn(sorted(patients), config)
    return Split(
        **{
            part: sorted(pair.subject for patient in members for pair in patients[patient])
            for part, members in parts.items()
        }
    )


def _given(patients: dict[str, list[PairFiles]]) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {name: [] for name in Split._fields}
    for patient, pairs in patients.items():
        assigned = sorted({pair.split or "" for pair in pairs})
        if "" in assigned:
            raise InputError(
                "split_incomplete",
                f"{pairs[0].subject} is assigned to no part, others are.",
                "Fill in the column split for every subject, or for none.",
            )
        if len(assigned) > 1:
            raise InputError(
                "patient_in_two_parts",
                f"Patient {patient} is in {' and in '.join(assigned)}.",
                "Put all images of a patient into one part: what was trained on cannot be held out.",
            )
        parts[assigned[0]].append(patient)
    for name, members in parts.items():
        if not members:
            raise InputError(
                "empty_part", f"The split has no patient for {name}.", "Assign at least one patient to each part."
            )
    return parts


def _drawn(patients: list[str], config: SplitConfig) -> dict[str, list[str]]:
    counts = {name: getattr(config, name) for name in Split._fields}
    needed = sum(count or 1 for count in counts.values())
    if len(patients) < needed:
        asked = " + ".join(f"{count or 'at least 1'} ({name})" for name, count in counts.items())
        raise InputError(
            "too_few_subjects",
            f"The split asks for {asked} patients; there are {len(patients)}.",
            "Add patients or ask for fewer.",
        )
    spare = len(patients) - needed
    for name, share in _SHARES.items():
        if counts[name] is None:
            more = min(max(round(share * len(patients)) - 1, 0), spare)
            counts[name] = 1 + more
            spare -= more
    if counts["train"] is None:
        counts["train"] = 1 + spare
    order = [patients[index] for index in np.random.default_rng(config.seed).permutation(len(patients))]
    parts = {}
    for name in ("test", "validation", "train"):
        parts[name], order = order[: counts[name]], order[counts[name] :]
    return parts
