"""The data of a run: found, checked, split and cached before anything is trained, and written down in its folder."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict, Field, model_validator

from upgan.bundles.bundle import Bundle
from upgan.errors import BundleError, InputError
from upgan.files import read_json, read_regular, write_json
from upgan.images.orientation import Plane
from upgan.inference.devices import devices
from upgan.networks.architecture import Architecture
from upgan.pairs.checking import check_pairs, median_spacing, place_warnings, refuse
from upgan.pairs.config import DataConfig, PixelSize
from upgan.pairs.finding import PairFiles, find_pairs, statement_of
from upgan.pairs.findings import CheckedPair
from upgan.pairs.preparation import pair_sha256
from upgan.pairs.splitting import Split, split_subjects
from upgan.progress import Progress
from upgan.tasks import TASKS, Task
from upgan.training.record.begun import begun_with, changed, refuse_changes, run_changed
from upgan.training.record.layout import CACHE, DATA, MACHINE, SPLIT
from upgan.training.settings.config import TrainingConfig
from upgan.training.slices.cache import SliceCache, build_cache
from upgan.training.slices.dataset import Notes, RunData

# Of missing subjects in one sentence.
_NAMED = 5

# In data.json: places that are not absolute are within the run's folder. Earlier versions wrote places as given.
_RELATIVE_TO = "relative_to"
_RUN = "run"

_MADE_ANEW = "The prepared slices were not as they had been written and were made anew of the images."

# What a run was computed on is a line of text.
_LARGEST_MACHINE = 4 << 10


class _Entry(BaseModel):
    """A subject in data.json; what is not named here is only told to people."""

    model_config = ConfigDict(strict=True)

    subject: str = Field(min_length=1)
    input: str | None
    target: str | None
    sha256: str


class _Described(BaseModel):
    """data.json, as far as anything is made of it."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    pairs: list[_Entry] = Field(min_length=1)
    left_out: list[Any] = []
    spacing_mm: PixelSize
    plane: Plane
    task: Task
    statement: str = ""
    base_sha256: str | None = None
    fingerprint: str | None = None
    notes: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = []
    relative_to: str | None = None
    path: str | None = None

    @model_validator(mode="after")
    def _names_everybody_once(self) -> _Described:
        if len({entry.subject for entry in self.pairs}) < len(self.pairs):
            raise ValueError("a subject is there twice")
        return self


class _Parts(BaseModel):
    """split.json."""

    model_config = ConfigDict(strict=True, extra="forbid")

    train: list[str] = Field(min_length=1)
    validation: list[str] = Field(min_length=1)
    test: list[str] = Field(min_length=1)


def data_of(config: TrainingConfig, base: Bundle | None) -> tuple[DataConfig, Task]:
    """Settings of the data and the task, which a base model brings along.

    A model for one of our restorations goes on as one for another where the configuration names that: what it knows of
    images of this modality is of use there, and both are on the scale of their inputs.
    """
    named = TASKS[config.data.task]
    if base is None:
        return config.data, named
    model = base.metadata.upgan
    data = config.data.model_copy(update={"plane": model.plane, "spacing_mm": model.spacing_mm})
    is_another = model.task == TASKS.get(model.task.name) and model.task.is_restoration and named.is_restoration
    return data, named if is_another and named.input_modality == model.task.input_modality else model.task


def architecture_of(config: TrainingConfig, base: Bundle | None) -> Architecture:
    """Return the sizes of the networks, which a base model brings along."""
    return base.metadata.upgan.architecture if base else config.architecture


def place_of(config: TrainingConfig, folder: Path) -> Path:
    """Return where a run's images were said to be last: as configured, or where they were moved to since."""
    return Path(read_data(folder).get("path", config.data.path)) if (folder / DATA).exists() else config.data.path


def read_data(folder: Path) -> dict[str, Any]:
    """Read what a run's folder says of its images: data.json.

    Raises:
        InputError: ``run_damaged``, naming the file.
    """
    try:
        content = dict(read_json(folder / DATA))
        # Of JSON, which has lists where strict Python has tuples.
        _Described.model_validate_json(json.dumps(content))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _damaged(folder, DATA) from error
    return content


def read_split(folder: Path, content: Mapping[str, Any]) -> Split:
    """Read who is in which part: split.json.

    Args:
        folder: The run's folder.
        content: What its data.json says.

    Raises:
        InputError: ``run_damaged``, naming the file, also where it does not part those whom data.json describes.
    """
    try:
        split = Split(**dict(_Parts.model_validate(read_json(folder / SPLIT))))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(folder, SPLIT) from error
    subjects = [subject for part in split for subject in part]
    if sorted(subjects) != sorted(entry["subject"] for entry in content["pairs"]):
        raise _damaged(folder, SPLIT, f"does not part the patients of {DATA}")
    return split


def _read(folder: Path) -> tuple[dict[str, Any], Split]:
    content = read_data(folder)
    return content, read_split(folder, content)


def read_machine(folder: Path) -> str:
    """Read what a run was computed on, in words: machine.txt.

    Raises:
        InputError: ``run_damaged``, naming the file.
    """
    try:
        text = read_regular(folder / MACHINE, _LARGEST_MACHINE).decode("utf-8").strip()
        if not text.isprintable():
            raise ValueError("no line of text")
    except (OSError, ValueError) as error:
        raise InputError(
            "run_damaged",
            f"{MACHINE} of the training in {folder} is missing or damaged.",
            f"Put a copy of {MACHINE} back, or write into it in one line on what computer the training ran.",
        ) from error
    return text


def _damaged(folder: Path, name: str, why: str = "is missing or damaged") -> InputError:
    return InputError(
        "run_damaged",
        f"{name} of the training in {folder} {why}.",
        f"Put a copy of {name} back, or begin the training anew in another folder.",
    )


def refuse_edits(config: TrainingConfig, base: Bundle | None, folder: Path) -> None:
    """Let no run go on that its files describe otherwise than it was begun; before anything is built of them.

    Raises:
        InputError: ``run_damaged`` and ``run_changed``.
        BundleError: ``base_changed``.
    """
    if not (folder / DATA).exists():
        return
    content, split = _read(folder)
    if content.get("base_sha256") != (base.sha256 if base else None):
        raise base_changed(str(config.base))
    refuse_changes(folder, begun_with(config, content, split), split)
    # Checkpoints of earlier versions remember nothing, but these are written down twice in any run.
    data, task = data_of(config, base)
    both = {
        "plane": (content["plane"], data.plane),
        "spacing_mm": (content["spacing_mm"], list(data.spacing_mm or content["spacing_mm"])),
        "task": (content["task"]["name"], task.name),
    }
    found = [changed(name, then, now) for name, (then, now) in both.items() if then != now]
    if found:
        raise run_changed(folder, found)


def prepare_data(
    config: TrainingConfig,
    base: Bundle | None,
    folder: Path,
    fabric: Fabric,
    progress: Progress,
    moved_to: Path | None = None,
) -> RunData:
    """Prepare the data in the first process, while the others wait.

    A run that goes on and does not find its images goes on with the slices that it made of them, if all are whole.

    Args:
        config: The run.
        base: The model it goes on from.
        folder: The run's folder.
        fabric: The run's processes and device.
        progress: Told what is being done.
        moved_to: Where the images are now, see ``find_again``.

    Raises:
        InputError: What is wrong with the data; nothing is trained on less than was asked for.
        Cancelled: ``progress`` has raised it.
    """
    data, task = data_of(config, base)
    progress = progress.part(0.0, 0.0)
    notes: Notes = ()
    warnings: Notes = ()
    if fabric.is_global_zero:
        if moved_to is not None:
            find_again(data, folder, moved_to, progress)
        is_moved = moved_to is not None
        notes, warnings = _prepare(config, base, folder, fabric, progress, are_known=is_moved)
    fabric.barrier()
    content, split = _read(folder)
    begun = begun_with(config, content, split)
    return RunData(task, split, SliceCache.open(folder / CACHE), notes, warnings, begun)


def find_again(data: DataConfig, folder: Path, moved_to: Path, progress: Progress) -> None:
    """Write down where a run's images are now, once they have proved to be those that it began with.

    Args:
        data: The settings of the images with which the run was begun.
        folder: The run's folder.
        moved_to: The file or folder that the layout reads now, in the place of ``data.path``.
        progress: Told what is being done.

    Raises:
        InputError: ``subjects_missing``, ``images_changed``, or what is wrong with the images or their list. Nothing is
            written then.
    """
    if not (folder / DATA).exists():
        raise InputError(
            "run_not_begun", "This training has not looked at any images yet.", "Correct data.path and start it anew."
        )
    moved_to = moved_to.absolute()
    content = read_data(folder)
    found = {pair.subject: pair for pair in find_pairs(data.model_copy(update={"path": moved_to}))}
    missing = [entry["subject"] for entry in content["pairs"] if entry["subject"] not in found]
    if missing:
        raise InputError(
            "subjects_missing",
            f"{moved_to} has no images of {_listed(missing)}, with whom the training began.",
            "Give the place of all images of this training.",
        )
    entries = content["pairs"]
    for entry, step in progress.each(entries, len(entries), "recognising images of patient"):
        step.tell(0.0)
        files = found[entry["subject"]]
        try:
            checksum = pair_sha256(files, data)
        except InputError as error:
            raise InputError(error.code, f"{files.subject}: {error.sentence}", error.remedy) from error
        if checksum != entry["sha256"]:
            raise images_changed(files.subject)
        entry |= _places(files, folder)
    write_json(folder / DATA, {**content, _RELATIVE_TO: _RUN, "path": str(moved_to)})


def _prepare(
    config: TrainingConfig,
    base: Bundle | None,
    folder: Path,
    fabric: Fabric,
    progress: Progress,
    *,
    are_known: bool,
) -> tuple[Notes, Notes]:
    """Prepare the data; returns ``RunData``'s notes and warnings. Images that ``are_known`` are those of before."""
    data, task = data_of(config, base)
    if not (folder / DATA).exists():
        checked = check_pairs(find_pairs(data), data, task, progress)
        split = split_subjects(refuse(checked, data.skip_bad, config.split), config.split)
        spacing_mm = data.spacing_mm or median_spacing([pair for pair in checked if pair.files.subject in split.train])
        kept = {*split.train, *split.validation, *split.test}
        notes = place_warnings(pair for pair in checked if pair.files.subject in kept)
        content: dict[str, Any] = {
            "pairs": [_described(pair, folder) for pair in checked if pair.files.subject in kept],
            "left_out": [_described(pair, folder) for pair in checked if pair.files.subject not in kept],
            "spacing_mm": list(spacing_mm),
            "plane": data.plane,
            "task": task.model_dump(mode="json"),
            "statement": data.statement or statement_of(data),
            "base_sha256": base.sha256 if base else None,
            # The slices take their time: the journal may be begun by another start than this.
            "notes": notes,
            _RELATIVE_TO: _RUN,
        }
        # Where it was lost and the run has checkpoints, it goes on with the same or not at all.
        refuse_changes(folder, begun_with(config, content, split), split)
        write_json(folder / SPLIT, split._asdict())
        (folder / MACHINE).write_text(_machine(fabric), encoding="utf-8")
        # Last: with it, a run that is resumed checks nothing again.
        write_json(folder / DATA, content)
    content, split = _read(folder)
    seen = {*split.train, *split.validation}
    pairs = [files for files in files_of(content, folder) if files.subject in seen]
    rows, columns = content["spacing_mm"]
    checksums = {entry["subject"]: entry["sha256"] for entry in content["pairs"]}
    known = {pair.subject: checksums[pair.subject] for pair in pairs if are_known or missing_of(pair)}
    lost = images_not_found(pairs, folder)
    damaged: list[str] = []
    try:
        cache = build_cache(
            pairs,
            data,
            task,
            (rows, columns),
            folder / CACHE,
            progress,
            margin_mm=architecture_of(config, base).margin_mm,
            known=known,
            measured=split.validation,
            on_damage=damaged.append,
        )
    except InputError as error:
        if lost is not None and error.code == "file_not_found":
            gone = f" The slices made of {damaged[-1]} ({folder / CACHE}) are damaged." if damaged else ""
            raise InputError(lost.code, lost.sentence + gone, lost.remedy) from error
        raise
    for entry in content["pairs"]:
        cached = cache.subjects.get(entry["subject"])
        if cached is not None and cached.sha256 != entry["sha256"]:
            raise images_changed(entry["subject"])
    if "fingerprint" not in content:
        write_json(folder / DATA, {**content, "fingerprint": cache.fingerprint})
    noted = tuple((str(code), str(sentence)) for code, sentence in content.get("notes", ()))
    warned = [("slices_damaged", f"{subject}: {_MADE_ANEW}") for subject in damaged]
    if lost is not None:
        told = f"{lost.sentence} It goes on with the slices that it made of them, which are whole."
        warned.append(("images_not_found", told))
    return noted, tuple(warned)


def _machine(fabric: Fabric) -> str:
    """Describe the processor that trains."""
    described = {device.name: device.description for device in devices()}
    one = described.get(str(fabric.device), described["cpu"])
    return one if fabric.world_size == 1 else f"{fabric.world_size} processes, each on {one}"


def images_changed(subject: str) -> InputError:
    """What is said where images are not those that were checked and split."""
    return InputError(
        "images_changed",
        f"The images of {subject} are not those that the training began with.",
        "Put the former files back, or begin a new training.",
    )


def base_changed(name: str) -> BundleError:
    """What is said where another model has the name of the one that a run began with."""
    return BundleError(
        "base_changed",
        f"'{name}' is not the model that the training began with.",
        "Restore that model, or begin a new training.",
    )


def _described(pair: CheckedPair, folder: Path) -> dict[str, object]:
    return {
        "subject": pair.files.subject,
        **_places(pair.files, folder),
        "sha256": pair.sha256,
        "problems": [problem.sentence for problem in pair.problems],
    }


def _places(files: PairFiles, folder: Path) -> dict[str, str | None]:
    """Return where a subject's images are; within the run's folder relative to it, so that they move with it."""
    return {side: _place(getattr(files, side), folder.absolute()) for side in ("input", "target")}


def _place(path: Path | None, folder: Path) -> str | None:
    if path is None:
        return None
    path = path.absolute()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def files_of(content: Mapping[str, Any], folder: Path) -> list[PairFiles]:
    """Return where the images of a run's subjects are, from what ``read_data`` gives."""
    root = folder if content.get(_RELATIVE_TO) == _RUN else Path()
    return [_files_of(entry, root) for entry in content["pairs"]]


def _files_of(entry: Mapping[str, Any], folder: Path) -> PairFiles:
    source, target = (folder / entry[side] if entry[side] else None for side in ("input", "target"))
    return PairFiles(str(entry["subject"]), source, target)


def missing_of(pair: PairFiles) -> list[Path]:
    """Return the images of a pair that are not where they were."""
    return [path for path in (pair.input, pair.target) if path is not None and not os.path.exists(path)]


def images_not_found(pairs: Sequence[PairFiles], folder: Path) -> InputError | None:
    """Return the refusal where images are not where they were; None where all are."""
    missing = {pair.subject: paths for pair in pairs if (paths := missing_of(pair))}
    if not missing:
        return None
    folders = [path.absolute().parent for paths in missing.values() for path in paths]
    try:
        place = os.path.commonpath(folders)
    except ValueError:  # On several drives.
        place = str(folders[0])
    return InputError(
        "images_not_found",
        f"The images of {_listed(list(missing))} are not where they were when the training began: below {place}.",
        "Put them back, or say where they are now: the Train panel asks for it when the training is resumed or saved "
        f"as a model; the command is upgan train --resume {shlex.quote(str(folder))} --data PLACE.",
    )


def _listed(subjects: Sequence[str]) -> str:
    more = len(subjects) - _NAMED
    return ", ".join(subjects[:_NAMED]) + (f" and {more} others" if more > 0 else "")
