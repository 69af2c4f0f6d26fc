"""What a run's folder holds that a model can be made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upgan.bundles.bundle import Architecture, Bundle
from upgan.bundles.library import find_bundle
from upgan.errors import InputError
from upgan.networks.build import Network, build
from upgan.pairs.config import DataConfig
from upgan.pairs.finding import PairFiles
from upgan.pairs.preparation import Pair, prepare_pair
from upgan.pairs.splitting import Split
from upgan.tasks import Task
from upgan.training.record import checkpoint as checkpoints
from upgan.training.record.begun import begun_with, refuse_changes
from upgan.training.record.journal_reader import read_journal
from upgan.training.record.run_config import read_run_config
from upgan.training.record.runs import checkpoints as kept_checkpoints
from upgan.training.record.state import RunState
from upgan.training.run.prepare import (
    architecture_of,
    base_changed,
    files_of,
    images_changed,
    images_not_found,
    read_data,
    read_machine,
    read_split,
)
from upgan.training.settings.config import TrainingConfig


@dataclass(frozen=True)
class TrainedRun:
    """A run with a checkpoint, over or not.

    Attributes:
        folder: The run's folder.
        config: The configuration with which it was started.
        data: Settings of its images: plane and pixel size are those it trained on, a base model's included.
        task: The translation.
        split: The labels of the subjects in each part.
        files: Each subject's files, by label.
        checksums: SHA-256 of each subject's images, by label, as they were when the run began.
        content: What data.json says.
        machine: The computer that it ran on, in words.
        journal: The lines of its journal.
        checkpoint: The name of the checkpoint that was read.
        state: What that checkpoint says of itself, as ``RunState`` has it.
        cascade: The networks of that checkpoint, cut to the phases that were trained; eval mode.
        base: The model it went on from.
    """

    folder: Path
    config: TrainingConfig
    data: DataConfig
    task: Task
    split: Split
    files: dict[str, PairFiles]
    checksums: dict[str, str]
    content: dict[str, Any]
    machine: str
    journal: list[dict[str, Any]]
    checkpoint: str
    state: dict[str, Any]
    cascade: Network
    base: Bundle | None

    @classmethod
    def read(cls, run: Path, checkpoint: str) -> TrainedRun:
        """Read a run's folder.

        Args:
            run: The run's folder.
            checkpoint: ``best``, ``last``, ``phase_1`` …

        Raises:
            InputError: ``run_unfinished`` where the checkpoint is not there yet; ``run_damaged``, naming the file;
                ``run_changed`` where files were edited since the training began; ``checkpoint_unreadable``;
                ``weights_mismatch``; and what ``read_run_config`` raises.
            BundleError: The base model is not there any more, or another (``base_changed``).
        """
        path = checkpoints.path_of(run, checkpoint)
        # By its name among those that are there: it is no path.
        if checkpoint not in kept_checkpoints(run) or not path.is_file():
            raise _unfinished(run, checkpoint)
        config = read_run_config(run)
        content = read_data(run)
        split = read_split(run, content)
        task = Task.model_validate(content["task"])
        data = config.data.model_copy(
            update={"plane": content["plane"], "spacing_mm": tuple(map(float, content["spacing_mm"]))}
        )
        files = {files.subject: files for files in files_of(content, run)}
        checksums = {entry["subject"]: entry["sha256"] for entry in content["pairs"]}
        machine = read_machine(run)
        journal = read_journal(run)
        base = find_bundle(config.base) if config.base else None
        if base is not None and base.sha256 != content.get("base_sha256"):
            raise base_changed(base.metadata.name)
        refuse_changes(run, begun_with(config, content, split), split)
        state_dict, kept = checkpoints.load_weights(path)
        try:
            state = RunState.from_json(kept).to_json()
        except ValueError as error:
            raise checkpoints.unreadable(path) from error
        if not state["phases_trained"]:
            raise _unfinished(run, checkpoint)
        architecture = architecture_of(config, base)
        cascade = _cut(architecture, state_dict, state["phases_trained"], path)
        return cls(
            run,
            config,
            data,
            task,
            split,
            files,
            checksums,
            content,
            machine,
            journal,
            checkpoint,
            state,
            cascade,
            base,
        )

    @property
    def chosen_by_validation(self) -> bool:
        """Whether the validation patients decided which weights were kept."""
        return self.checkpoint == checkpoints.BEST or self.config.schedule.early_stopping is not None

    def patients(self, subjects: Iterable[str]) -> list[str]:
        """Subjects that are one scan of each patient: further sessions are no independent patients."""
        first: dict[str, str] = {}
        for subject in subjects:
            first.setdefault(self.files[subject].patient, subject)
        return list(first.values())

    def pairs(self, subjects: Sequence[str]) -> Iterator[Pair]:
        """Read pairs one after the other, prepared as for the training.

        Raises:
            InputError: ``images_changed``, ``images_not_found``, or what ``prepare_pair`` refuses, naming the subject.
        """
        lost = images_not_found([self.files[subject] for subject in subjects], self.folder)
        if lost is not None:
            raise lost
        for subject in subjects:
            try:
                pair = prepare_pair(self.files[subject], self.data, self.task)
            except InputError as error:
                raise InputError(error.code, f"{subject}: {error.sentence}", error.remedy) from error
            if pair.sha256 != self.checksums[subject]:
                raise images_changed(subject)
            yield pair


def _unfinished(run: Path, checkpoint: str) -> InputError:
    return InputError(
        "run_unfinished",
        f"The training in {run} has no checkpoint '{checkpoint}' yet.",
        "Let it go on until its first epoch is over, or choose another checkpoint.",
    )


def _cut(architecture: Architecture, state_dict: dict[str, Tensor], phases: int, path: Path) -> Network:
    """Build the first phases alone, where later ones were not trained yet.

    Raises:
        InputError: ``weights_mismatch``.
    """
    # Named "generators.0.…". A checkpoint has those of all phases, trained or not.
    numbers = {name.split(".")[1] for name in state_dict if name.startswith("generators.")}
    if numbers != {str(number) for number in range(architecture.phases)} or phases > architecture.phases:
        raise checkpoints.weights_mismatch(path)
    # Without memory of its own: the configuration may claim any size, but only weights that are there are loaded.
    with torch.device("meta"):
        cascade = build(architecture.first(phases))
    wanted = tuple(f"generators.{phase}." for phase in range(phases))
    kept = {name: tensor for name, tensor in state_dict.items() if name.startswith(wanted)}
    checkpoints.load_cascade(cascade, kept, path)
    return cascade.eval()
