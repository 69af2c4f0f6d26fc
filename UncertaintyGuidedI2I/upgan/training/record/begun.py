"""What a run was begun with, as its checkpoints remember it: its files may be edited, and nobody would see it.

A rate or a plane that changes on the way makes weights of nothing that is written down; a patient who was trained on
and then moves to the test makes figures that are too good. Neither goes on without a word. Patients are remembered by
hashes of their labels: a checkpoint names nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from upgan.errors import InputError
from upgan.networks.architecture import Architecture
from upgan.pairs.finding import file_stem
from upgan.pairs.splitting import Split
from upgan.training.record import checkpoint
from upgan.training.settings.config import TrainingConfig

# What may change while a run is paused: its name, where images and the base model lie (they are known by their
# checksums), and on what it is computed.
_FREE: dict[str, Any] = {
    "name": True,
    "base": True,
    "data": {"path", "layout", "input", "target", "trust_guessed_places"},
    "compute": {"device", "loaders"},
}

# Of what was changed in one sentence.
_NAMED = 6

_CONFIG, _IMAGES, _PATIENTS = "config", "images", "patients"


def begun_with(config: TrainingConfig, content: Mapping[str, Any], split: Split) -> dict[str, Any]:
    """Put down what a run trains with, as JSON gives it back.

    Args:
        config: The run's configuration, as ``read_run_config`` reads it.
        content: What data.json says, as ``training.run.prepare.read_data`` gives it.
        split: The labels of the subjects in each part.
    """
    checksums = {entry["subject"]: entry["sha256"] for entry in content["pairs"]}
    record = {
        _CONFIG: config.model_dump(mode="json", exclude=_FREE),
        _IMAGES: {
            "plane": content["plane"],
            "spacing_mm": content["spacing_mm"],
            "task": content["task"],
            "base_sha256": content.get("base_sha256"),
        },
        _PATIENTS: {
            file_stem(subject): [part, checksums.get(subject)]
            for part, subjects in split._asdict().items()
            for subject in subjects
        },
    }
    return dict(json.loads(json.dumps(record)))


def refuse_changes(run: Path, now: Mapping[str, Any], split: Split) -> None:
    """Let no run go on, and no model be made of it, with other settings or patients than it was begun with.

    Checkpoints of earlier versions do not say what that was: their runs go on as they always did.

    Args:
        run: The run's folder.
        now: What its files say now, as ``begun_with`` puts it down.
        split: The labels of the subjects in each part, to name those whom ``now`` does not.

    Raises:
        InputError: ``run_changed``, with what was changed, from what to what; ``checkpoint_newer``.
    """
    begun = _remembered(run)
    if not begun:
        return
    labels = {file_stem(subject): subject for subjects in split for subject in subjects}
    found = [*_changed_settings(begun, now), *_changed_patients(begun, now, labels)]
    if found:
        raise run_changed(run, found)


def run_changed(run: Path, found: Sequence[str]) -> InputError:
    """What is said where a run was begun with something else than its files say now."""
    more = len(found) - _NAMED
    listed = "; ".join(found[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
    return InputError(
        "run_changed",
        f"The training in {run} was begun with something else than its files say now: {listed}.",
        "Put config.json, split.json and data.json back as they were. What is to be trained with other settings or "
        "patients is a new training in another folder; a model of this one can be its base.",
    )


def changed(name: str, then: Any, now: Any) -> str:
    """Say that something is no longer what it was."""
    return f"{name} {_shown(then)} → {_shown(now)}"


def _remembered(run: Path) -> dict[str, Any] | None:
    """What the first checkpoint that tells it says; all of a run say the same."""
    last = checkpoint.path_of(run, checkpoint.LAST)
    for path in (last, checkpoint.previous_of(last), *sorted(last.parent.glob("*.safetensors"))):
        begun = checkpoint.read_begun(path)
        if begun is not None:
            return begun
    return None


def _changed_settings(begun: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    begun = {**begun, _CONFIG: _of_this_version(begun.get(_CONFIG, {}))}
    for section in (_CONFIG, _IMAGES):
        before, after = (dict(_leaves(record.get(section, {}))) for record in (begun, now))
        # A key that only one of them has is another version's.
        for key in (key for key in before if key in after and before[key] != after[key]):
            yield changed(key, before[key], after[key])


def _of_this_version(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Say the sizes of networks as this version does, whichever wrote them down."""
    try:
        architecture = TypeAdapter(Architecture).validate_python(config["architecture"])
    except (KeyError, ValidationError):
        return config
    return {**config, "architecture": architecture.model_dump(mode="json")}


def _changed_patients(begun: Mapping[str, Any], now: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[str]:
    before, after = begun.get(_PATIENTS, {}), now[_PATIENTS]
    for stem, label in labels.items():
        if stem not in before:
            yield f"{label} was added to {after[stem][0]}"
        elif before[stem][0] != after[stem][0]:
            yield f"{label}, {before[stem][0]} → {after[stem][0]}"
        elif before[stem][1] != after[stem][1]:
            yield f"the checksum of the images of {label}"
    for stem in before.keys() - after.keys():
        yield f"one who was in {before[stem][0]} is gone"


def _leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
