"""The data of a run: found, checked, split and cached before anything is trained, and written down in its folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lightning_fabric import Fabric

from upgan.bundle import Bundle
from upgan.devices import devices
from upgan.errors import BundleError, InputError
from upgan.tasks import TASKS, Task
from upgan.training.cache import SliceCache, build_cache
from upgan.training.checking import CheckedPair, check_pairs, median_spacing, refuse
from upgan.training.config import DataConfig, TrainingConfig
from upgan.training.files import CACHE, DATA, MACHINE, SPLIT, read_json, write_json
from upgan.training.pairs import PairFiles, find_pairs, manifest_path
from upgan.training.splitting import Split, split_subjects

# Told how far the preparation is: text, fraction, seconds left; may raise Cancelled.
Progress = Callable[[str, float, float | None], None]


@dataclass(frozen=True)
class RunData:
    """What a run trains on.

    Attributes:
        task: The translation.
        split: Subjects' names.
        cache: Their slices.
    """

    task: Task
    split: Split
    cache: SliceCache


def data_of(config: TrainingConfig, base: Bundle | None) -> tuple[DataConfig, Task]:
    """Settings of the data and the task, which a base model brings along."""
    if base is None:
        return config.data, TASKS[config.data.task]
    model = base.metadata.upgan
    return config.data.model_copy(update={"plane": model.plane, "spacing_mm": model.spacing_mm}), model.task


def prepare_data(
    config: TrainingConfig, base: Bundle | None, folder: Path, fabric: Fabric, progress: Progress
) -> RunData:
    """Prepare the data in the first process, while the others wait.

    Raises:
        InputError: What is wrong with the data; nothing is trained on less than was asked for.
        Cancelled: By ``progress``.
    """
    data, task = data_of(config, base)
    if fabric.is_global_zero:
        base_sha256 = base.sha256 if base else None
        if (folder / DATA).exists() and read_json(folder / DATA)["base_sha256"] != base_sha256:
            raise base_changed(str(config.base))
        _prepare(config, data, task, base_sha256, folder, fabric, progress)
    fabric.barrier()
    return RunData(task, Split(**read_json(folder / SPLIT)), SliceCache.open(folder / CACHE))


def _prepare(
    config: TrainingConfig,
    data: DataConfig,
    task: Task,
    base_sha256: str | None,
    folder: Path,
    fabric: Fabric,
    progress: Progress,
) -> None:
    def count(text: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(f"{text} {done} of {total}", 0.0, None)

    if not (folder / DATA).exists():
        checked = check_pairs(find_pairs(data), data, task, count("checking patient"))
        split = split_subjects(refuse(checked, data.skip_bad, config.split), config.split)
        spacing_mm = data.spacing_mm or median_spacing([pair for pair in checked if pair.files.subject in split.train])
        kept = {*split.train, *split.validation, *split.test}
        write_json(folder / SPLIT, split._asdict())
        (folder / MACHINE).write_text(_machine(fabric), encoding="utf-8")
        # Last: with it, a run that is resumed checks nothing again.
        write_json(
            folder / DATA,
            {
                "pairs": [_described(pair) for pair in checked if pair.files.subject in kept],
                "left_out": [_described(pair) for pair in checked if pair.files.subject not in kept],
                "spacing_mm": list(spacing_mm),
                "plane": data.plane,
                "task": task.model_dump(mode="json"),
                "statement": data.statement or _statement_of(data),
                "base_sha256": base_sha256,
            },
        )
    content, parts = read_json(folder / DATA), read_json(folder / SPLIT)
    seen = {*parts["train"], *parts["validation"]}
    pairs = [_files(entry) for entry in content["pairs"] if entry["subject"] in seen]
    rows, columns = content["spacing_mm"]
    cache = build_cache(pairs, data, task, (rows, columns), folder / CACHE, count("preparing slices of patient"))
    for entry in content["pairs"]:
        cached = cache.subjects.get(entry["subject"])
        if cached is not None and cached.sha256 != entry["sha256"]:
            raise images_changed(entry["subject"])
    if "fingerprint" not in content:
        write_json(folder / DATA, {**content, "fingerprint": cache.fingerprint})


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


def _statement_of(data: DataConfig) -> str:
    """Read what a manifest says of its images; other layouts say nothing."""
    if data.layout != "manifest":
        return ""
    return str(read_json(manifest_path(data)).get("statement", ""))


def _described(pair: CheckedPair) -> dict[str, object]:
    files = pair.files
    return {
        "subject": files.subject,
        "input": str(files.input) if files.input else None,
        "target": str(files.target) if files.target else None,
        "sha256": pair.sha256,
        "problems": [problem.sentence for problem in pair.problems],
    }


def _files(entry: dict[str, str | None]) -> PairFiles:
    source, target = (Path(side) if side else None for side in (entry["input"], entry["target"]))
    return PairFiles(str(entry["subject"]), source, target)
