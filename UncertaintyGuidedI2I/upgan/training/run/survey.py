"""What a run would train on, and what it would cost, for a table that people look at before they start it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from upgan.bundles.bundle import Bundle
from upgan.bundles.library import find_bundle
from upgan.errors import InputError, UpganError
from upgan.inference.devices import choose_device
from upgan.networks.in_plane import canvas_size, inner_size
from upgan.pairs.checking import check_pairs, check_set, median_spacing
from upgan.pairs.finding import find_pairs
from upgan.pairs.findings import CheckedPair, Problem
from upgan.pairs.splitting import split_subjects
from upgan.progress import Progress
from upgan.training.run.estimate import estimate
from upgan.training.run.prepare import architecture_of, data_of
from upgan.training.settings.config import TrainingConfig

# Of the work that checking the pairs is; the rest is the estimate.
_CHECKING = 0.9


def survey(config: TrainingConfig, thumbnails: Path | None, progress: Progress) -> dict[str, Any]:
    """Find and check the pairs of a configuration, split them and estimate the run; nothing is kept.

    Args:
        config: The run.
        thumbnails: An existing folder for pictures of the pairs; none are made where None.
        progress: Told what is being done; what it raises ends the work.

    Returns:
        ``{"pairs": [{"subject", "input", "target", "part", "problems", "thumbnails"}], "problems", "slices", "canvas",
        "spacing_mm", "estimate": {"seconds", "memory_bytes", "device"}}`` as JSON has it; slices, canvas and spacing
        are those of all pairs that can be used.

    Raises:
        InputError: Nothing can be found where the configuration says.
        BundleError: What is wrong with the base model.
    """
    base = find_bundle(config.base) if config.base else None
    data, task = data_of(config, base)
    checked = check_pairs(find_pairs(data), data, task, progress.part(0.0, _CHECKING), thumbnails)
    usable = [pair for pair in checked if pair.usable]
    # Who is left out changes who goes where; else a bad pair keeps the run from starting at all.
    wanted = usable if data.skip_bad else checked
    problems = check_set(wanted, config.split) if wanted else [_none_left()]
    parts = _parts(wanted, config)
    result: dict[str, Any] = {
        "pairs": [_described(pair, parts.get(pair.files.subject, "")) for pair in checked],
        "slices": sum(pair.slices for pair in usable),
        "canvas": [0, 0],
        "spacing_mm": [0.0, 0.0],
        "estimate": {"seconds": None, "memory_bytes": 0, "device": ""},
    }
    if usable:
        spacing = data.spacing_mm or median_spacing(usable)
        training = [pair for pair in usable if parts.get(pair.files.subject, "train") == "train"]
        progress.tell(_CHECKING, "estimating time and memory")
        try:
            # As if objects filled their fields of view.
            canvas = canvas_size(inner_size(pair.shape, pair.spacing_mm, spacing) for pair in usable)
            result["canvas"] = list(canvas)
            result["estimate"] = _estimated(config, base, canvas, sum(pair.slices for pair in training))
        except UpganError as error:  # The data are well all the same.
            problems.append(Problem(error.code, error.sentence, error.remedy, "warning"))
        result["spacing_mm"] = list(spacing)
    return {**result, "problems": [problem._asdict() for problem in problems]}


def _parts(pairs: Sequence[CheckedPair], config: TrainingConfig) -> dict[str, str]:
    try:
        split = split_subjects([pair.files for pair in pairs], config.split)
    except InputError:  # It is among the problems.
        return {}
    return {subject: part for part, subjects in split._asdict().items() for subject in subjects}


def _none_left() -> Problem:
    return Problem("no_pairs", "No subject is left that can be used.", "Correct what the check found.", "error")


def _described(pair: CheckedPair, part: str) -> dict[str, Any]:
    files = pair.files
    return {
        "subject": files.subject,
        "input": str(files.input) if files.input else None,
        "target": str(files.target) if files.target else None,
        "part": part,
        "problems": [problem._asdict() for problem in pair.problems],
        "thumbnails": {side: str(path) for side, path in pair.thumbnails.items()},
    }


def _estimated(config: TrainingConfig, base: Bundle | None, canvas: tuple[int, int], slices: int) -> dict[str, Any]:
    architecture = architecture_of(config, base)
    device = str(choose_device(config.compute.device).device)
    found = estimate(config, architecture, canvas, slices, device)
    return {"seconds": found.seconds, "memory_bytes": found.memory_bytes, "device": device}
