"""Begins runs and goes on with them, one process (or group of processes) a run.

A run lives in its folder. Whatever ends it - the user, an error, the computer - it goes on from its last checkpoint,
with the weights that it would have had without the interruption.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric

from upgan.bundles.bundle import Bundle
from upgan.bundles.library import find_bundle
from upgan.errors import DeviceError, InputError
from upgan.files import refusal
from upgan.networks.build import build
from upgan.progress import Progress
from upgan.training.loop.processes import make_fabric
from upgan.training.loop.progressive import ProgressiveTraining, Watch
from upgan.training.record.layout import CACHE, CONFIG, DATA, FINISHED, LOCK
from upgan.training.record.run_config import read_run_config, write_run_config
from upgan.training.record.runs import read_finished
from upgan.training.run.prepare import data_of, find_again, place_of, prepare_data, refuse_edits
from upgan.training.settings.config import TrainingConfig

_LOCK_S = 2.0


def train(config: TrainingConfig, folder: Path, watch: Watch) -> None:
    """Begin a run in a folder of its own, or go on with it where it was begun with the same configuration.

    Raises:
        InputError: ``other_run`` where the folder holds a run of another configuration, ``run_in_use``, or what is
            wrong with the data.
        Cancelled: The user stopped it; it can go on.
        TrainingError: ``diverged``.
        OutputError: The disk is full or cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from upgan import train
        >>> from upgan.progress import SILENT
        >>> from upgan.training.settings.config_file import read_config
        >>> class Printer:
        ...     progress = SILENT
        ...
        ...     def line(self, line):
        ...         if line["kind"] == "validation":
        ...             print("epoch", line["epoch"])
        >>> train(read_config(Path("config.toml")), Path("run"), Printer())
        epoch 1
    """
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # It will hold patients' images.
    begun = read_run_config(folder) if (folder / CONFIG).exists() else None
    moved_to = None
    if begun is not None:
        if _comparable(begun, begun) != _comparable(config, begun):
            raise InputError(
                "other_run",
                f"{folder} holds a run with another configuration.",
                "Choose another folder, or empty this one.",
            )
        # The same in every other respect: the images have moved. What the run was begun with, though, may say where
        # they were, long after they were found again elsewhere.
        is_former = config.data.path == begun.data.path and not config.data.path.exists()
        moved_to = config.data.path if config.data.path != place_of(begun, folder) and not is_former else None
    if begun is None or (begun != config and not (folder / DATA).exists()):
        moved_to = None  # It has not looked at any yet, or what it began with is lost.
        write_run_config(config, folder)
    elif config.data.trust_guessed_places and not begun.data.trust_guessed_places:
        trusting = begun.data.model_copy(update={"trust_guessed_places": True})
        write_run_config(begun.model_copy(update={"data": trusting}), folder)
    resume(folder, watch, moved_to)


def resume(folder: Path, watch: Watch, moved_to: Path | None = None) -> None:
    """Go on with a run from its last checkpoint, or from the latest that is whole.

    Args:
        folder: The run's folder.
        watch: Told of every step and every line of the journal.
        moved_to: Where the images of the run are now, as ``data.path`` says it; what is written down of a finished run
            too, whose model is measured on them.

    Raises:
        InputError: What ``train`` and ``read_run_config`` refuse; ``run_damaged`` for any other of its files;
            ``run_changed`` where they were edited since it was begun; ``checkpoint_damaged``, ``weights_mismatch``;
            ``images_not_found`` where images are gone and the slices made of them are not whole; what
            ``prepare.find_again`` refuses.
    """
    config = read_run_config(folder)
    if _is_finished(folder):
        if moved_to is not None:
            tell_place(folder, moved_to, watch.progress)
        shutil.rmtree(folder / CACHE, ignore_errors=True)  # Somebody may have ended it in between.
        return
    fabric = make_fabric(config.compute)
    lock = FileLock(folder / LOCK)
    try:
        with _explained(folder):
            if fabric.is_global_zero:
                # Whoever asks whether the run is in use holds the lock for an instant.
                lock.acquire(timeout=_LOCK_S)
                (folder / FINISHED).unlink(missing_ok=True)  # It was stopped, and is not any more.
            _run(fabric, config, folder, watch, moved_to)
    finally:
        lock.release()


def tell_place(folder: Path, moved_to: Path, progress: Progress) -> None:
    """Write down where the images of a run are now that does not go on, so that its model can be measured on them.

    Args:
        folder: The run's folder.
        moved_to: Where the images are now, as ``data.path`` says it.
        progress: Told which patient is being recognised; may raise ``Cancelled``, and nothing is written.

    Raises:
        InputError: ``run_in_use``, or what ``read_run_config`` and ``prepare.find_again`` refuse.
        OutputError: ``disk_full`` or ``not_writable``.
    """
    config = read_run_config(folder)
    with _explained(folder), FileLock(folder / LOCK, timeout=_LOCK_S):
        find_again(data_of(config, _base_of(config))[0], folder, moved_to, progress.part(0.0, 0.0))


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say in words what a disk or a graphics card refuses."""
    try:
        yield
    except Timeout as error:
        raise InputError(
            "run_in_use", f"Another process is training in {folder}.", "Wait for it, or stop it first."
        ) from error
    except OSError as error:
        raise refusal(error, f"The training's folder {folder}") from error
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            "out_of_memory",
            "The training does not fit into the graphics card's memory.",
            "Choose a smaller batch or width, end other programs that use the card, or choose the CPU.",
        ) from error


def _run(fabric: Fabric, config: TrainingConfig, folder: Path, watch: Watch, moved_to: Path | None) -> None:
    base = _base_of(config)
    if fabric.is_global_zero:
        refuse_edits(config, base, folder)
    torch.manual_seed(config.seed)
    cascade = base.load_cascade() if base else build(config.architecture)
    phases = cascade.architecture.phases
    if len(config.schedule.epochs) != phases:
        raise InputError(
            "config_invalid",
            f"schedule.epochs names {len(config.schedule.epochs)} phases, the base model has {phases}.",
            "Give one number of epochs per phase.",
        )
    data = prepare_data(config, base, folder, fabric, watch.progress, moved_to)
    cascade.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    ProgressiveTraining(fabric, config, folder, data, cascade, watch).run()


def _base_of(config: TrainingConfig) -> Bundle | None:
    return find_bundle(config.base) if config.base else None


def _comparable(config: TrainingConfig, begun: TrainingConfig) -> dict[str, Any]:
    """A configuration but for where the images are, and for what a run of the first version could not say.

    Whether guessed places are trusted decides whether images are used, and not what is made of them.
    """
    is_first = begun.loss.normalisation == "slice"
    exclude = {"data": {"path", "trust_guessed_places"}, "loss": {"normalisation"} if is_first else set()}
    return config.model_dump(mode="json", exclude=exclude)


def _is_finished(folder: Path) -> bool:
    """Whether the run has come to its end; one that the user ended before may go on.

    Raises:
        InputError: ``run_damaged``.
    """
    finished = read_finished(folder)
    if finished is None:
        return False
    if not finished:
        raise InputError(
            "run_damaged",
            f"{FINISHED} of the training in {folder} is damaged.",
            f"Put a copy of {FINISHED} back; or delete it and resume the training, which writes it again at its end.",
        )
    return not finished["stopped"]
