"""What is wrong with training data, said before the training starts: of every pair, and of the whole set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from upgan.errors import InputError
from upgan.pairs.config import DataConfig, SplitConfig
from upgan.pairs.finding import PairFiles, similar_patients
from upgan.pairs.findings import UNSURE_PLACE, CheckedPair, Problem
from upgan.pairs.one_pair import PairCheck
from upgan.pairs.outliers import outliers
from upgan.pairs.splitting import Split, split_subjects
from upgan.progress import SILENT, Progress
from upgan.tasks import Task

# Of the bad subjects in one sentence.
_NAMED = 5


def check_pairs(
    pairs: Sequence[PairFiles],
    data: DataConfig,
    task: Task,
    progress: Progress = SILENT,
    thumbnails: Path | None = None,
) -> list[CheckedPair]:
    """Look at every pair, one in memory at a time, and at how it differs from the others.

    Args:
        pairs: The pairs that ``pairs.finding.find_pairs`` has found.
        data: How the pairs are read.
        task: The task that the networks are to learn from the pairs.
        progress: Told after each pair; what it raises ends the work.
        thumbnails: An existing folder for pictures, which are not made where None.
    """
    checked = []
    for files, step in progress.each(pairs, len(pairs), "checking patient"):
        checked.append(PairCheck(files, data, task, thumbnails).look())
        step.tell(1.0)
    usable = [pair for pair in checked if pair.usable]
    found = outliers({pair.files.subject: pair.figures for pair in usable})
    remedy = "Look at both images; leave the subject out if they are not what they should be."
    return [
        replace(
            pair,
            problems=(
                *pair.problems,
                *(Problem("outlier", sentence, remedy, "warning") for sentence in found.get(pair.files.subject, [])),
            ),
        )
        for pair in checked
    ]


def check_set(checked: Sequence[CheckedPair], split: SplitConfig) -> list[Problem]:
    """Return what is wrong with the whole set: no split, an image that is there twice, a patient with two labels."""
    problems = []
    parts: dict[str, str] = {}
    try:
        found: Split = split_subjects([pair.files for pair in checked], split)
        parts = {subject: name for name, subjects in found._asdict().items() for subject in subjects}
    except InputError as error:
        problems.append(Problem(error.code, error.sentence, error.remedy, "error"))
    for one, other in similar_patients(pair.files for pair in checked):
        problems.append(
            Problem(
                "similar_labels",
                f"The labels {one} and {other} differ only in capitals, spaces or the way characters are coded.",
                "Give both one label if they are one patient, and else labels that nobody confuses.",
                "error",
            )
        )
    seen: dict[tuple[str, str], str] = {}
    for pair in checked:
        subject = pair.files.subject
        if parts and subject not in parts:  # Numbers of patients may leave some out.
            continue
        for side, checksum in pair.checksums.items():
            other = seen.setdefault((side, checksum), subject)
            if other == subject:
                continue
            apart = parts.get(subject) != parts.get(other)
            problems.append(
                Problem(
                    "same_image_in_two_parts" if apart else "same_image_twice",
                    f"{other} and {subject} have the same {side} image"
                    + (f", one in {parts.get(other)}, one in {parts.get(subject)}." if apart else "."),
                    "Take one of them out, or give both the same patient's label.",
                    "error" if apart else "warning",
                )
            )
    return problems


def refuse(checked: Sequence[CheckedPair], skip_bad: bool, split: SplitConfig | None = None) -> list[PairFiles]:
    """Return the pairs to train on, or say what is wrong with them.

    Args:
        checked: The pairs as ``check_pairs`` has found them.
        skip_bad: Whether to leave out pairs that cannot be used instead of raising.
        split: How the set will be split; what is wrong with the set as a whole is never skipped.

    Raises:
        InputError: It has the code of the first error and tells the number of the other bad subjects; ``no_pairs``
            where none is left.
    """
    bad = [pair for pair in checked if not pair.usable]
    if bad and not skip_bad:
        first = next(problem for problem in bad[0].problems if problem.severity == "error")
        more = f" {_listed(bad)} cannot be used, of {len(checked)} subjects." if len(bad) > 1 else ""
        raise InputError(
            first.code,
            f"{bad[0].files.subject}: {first.sentence}{more}",
            f"{first.remedy} Or have such subjects left out (data.skip_bad).",
        )
    kept = [pair for pair in checked if pair.usable]
    if not kept:
        raise InputError("no_pairs", "No subject is left that can be used.", "Correct what the check found.")
    for problem in check_set(kept, split or SplitConfig()):
        if problem.severity == "error":
            raise InputError(problem.code, problem.sentence, problem.remedy)
    return [pair.files for pair in kept]


def place_warnings(checked: Iterable[CheckedPair]) -> tuple[tuple[str, str], ...]:
    """Return code and sentence, which names the subject, of every image whose place is a guess."""
    return tuple(
        (problem.code, f"{pair.files.subject}: {problem.sentence}")
        for pair in checked
        for problem in pair.problems
        if problem.code in UNSURE_PLACE.values()
    )


def median_spacing(checked: Sequence[CheckedPair]) -> tuple[float, float]:
    """Return the median of the inputs' pixel sizes (rows, columns) in mm, which is the one to train on."""
    rows, columns = np.median([pair.spacing_mm for pair in checked], axis=0)
    return round(float(rows), 4), round(float(columns), 4)


def _listed(pairs: Sequence[CheckedPair]) -> str:
    names = ", ".join(pair.files.subject for pair in pairs[:_NAMED])
    return f"{names} and {len(pairs) - _NAMED} others" if len(pairs) > _NAMED else names
