"""What the worker can do about training: arguments as JSON in, a result as JSON out; images and weights stay on disk.

A run belongs to its folder, not to the process: whoever asks next, for the same folder, goes on with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from upgan.progress import Progress
from upgan.schema import Arguments, FilePath, Name
from upgan.worker.requests import Validated

# What a model made on a site's own data may be used for is the site's to say, and nobody else's.
_LICENCE = """\
This model was trained on its maker's own data, on the maker's own computer.
No licence is granted to anybody else: before you pass it on, replace this text by your terms.
It is no medical device and has not been validated for the care of patients.
"""

_VERSION = "0.1.0"


class CheckDataArguments(Arguments):
    """The pairs to check.

    Attributes:
        config: The training's configuration, as ``upgan.training.settings.config.TrainingConfig`` in JSON.
        thumbnails: An existing folder for pictures of the pairs, which are not made where None.
    """

    config: dict[str, Any]
    thumbnails: FilePath | None = None


class DegradeArguments(Arguments):
    """The patient whose input is to be made.

    Attributes:
        config: The training's configuration, as ``upgan.training.settings.config.TrainingConfig`` in JSON.
        subject: The patient's label; the first one's where None.
        folder: An existing folder for the pictures.
    """

    config: dict[str, Any]
    subject: str | None = None
    folder: FilePath


class TrainArguments(Arguments):
    """The training to begin.

    Attributes:
        config: The training's configuration, as ``upgan.training.settings.config.TrainingConfig`` in JSON.
        folder: The folder of the new run.
    """

    config: dict[str, Any]
    folder: FilePath


class RunArguments(Arguments):
    """The run that a command is about.

    Attributes:
        folder: The run's folder.
    """

    folder: FilePath


class ResumeArguments(RunArguments):
    """The run to go on with.

    Attributes:
        data: Where the run's images are now, as ``data.path`` of its configuration says it; None where they were.
    """

    data: FilePath | None = None


class CreateModelArguments(Arguments):
    """The model to make of a run.

    Attributes:
        run: The run's folder.
        checkpoint: The checkpoint that the weights come from: "best", "last", "phase_1", ...
        name: The name of the new model, which no other may have.
        licence: The text of the model's licence; None for one that grants no licence to anybody else.
        data: Where the run's images are now, as ``data.path`` of its configuration says it; None where they were.
    """

    run: FilePath
    checkpoint: Name = "best"
    name: Name
    licence: str | None = None
    data: FilePath | None = None


class StartConfigArguments(Arguments):
    """The configuration to start from.

    Attributes:
        preset: The preset: "paper", "quick" or "fine-tune".
        base: The name of the model to go on from; None where training starts from scratch.
    """

    preset: Literal["paper", "quick", "fine-tune"]
    base: Name | None = None


def training_commands() -> Mapping[str, Validated[Any]]:
    """Return the worker's commands that concern training, by name."""
    return {
        "check_data": Validated(CheckDataArguments, _check_data),
        "degrade": Validated(DegradeArguments, _degrade),
        "train": Validated(TrainArguments, _train),
        "resume_training": Validated(ResumeArguments, _resume_training),
        "finish_training": Validated(RunArguments, _finish_training),
        "create_model": Validated(CreateModelArguments, _create_model),
        "start_config": Validated(StartConfigArguments, _start_config),
    }


class _ReportingWatch:
    """Hands a training's progress on to whoever asked for it; its journal is read from its file."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def line(self, line: dict[str, Any]) -> None:
        """Do nothing: whoever wants to know the journal's lines reads its file."""


def _train(request: TrainArguments, progress: Progress) -> dict[str, Any]:
    from upgan.training.run.trainer import train
    from upgan.training.settings.config_file import config_from

    train(config_from(request.config), request.folder, _ReportingWatch(progress))
    return _outcome(request.folder)


def _resume_training(request: ResumeArguments, progress: Progress) -> dict[str, Any]:
    from upgan.training.run.trainer import resume

    resume(request.folder, _ReportingWatch(progress), request.data)
    return _outcome(request.folder)


def _outcome(folder: Path) -> dict[str, Any]:
    from upgan.training.record.layout import FINISHED

    return {"folder": str(folder), "finished": (folder / FINISHED).is_file()}


def _finish_training(request: RunArguments, progress: Progress) -> dict[str, Any]:
    from upgan.training.run.finishing import finish

    finish(request.folder)
    return _outcome(request.folder)


def _create_model(request: CreateModelArguments, progress: Progress) -> dict[str, Any]:
    from upgan.bundles.library import add_trained
    from upgan.training.model.export import export

    def make(folder: Path) -> None:
        if request.data is not None:
            from upgan.training.run.trainer import tell_place

            tell_place(request.run, request.data, progress)
        licence = request.licence or _LICENCE
        export(request.run, folder, licence, _VERSION, request.checkpoint, request.name, progress)

    return dict(add_trained(request.name, make).to_json())


def _start_config(request: StartConfigArguments, progress: Progress) -> dict[str, Any]:
    """Return a whole configuration, but for the run's name and data, with a preset's values."""
    from upgan.training.settings.config_file import config_from
    from upgan.training.settings.presets import preset

    values = preset(request.preset, request.base)
    config = config_from({"name": "model", "data": {"path": "."}, **values}).model_dump(mode="json")
    return {key: value for key, value in config.items() if key not in ("name", "data")}


def _check_data(request: CheckDataArguments, progress: Progress) -> dict[str, Any]:
    from upgan.training.run.survey import survey
    from upgan.training.settings.config_file import config_from

    return survey(config_from(request.config), request.thumbnails, progress)


def _degrade(request: DegradeArguments, progress: Progress) -> dict[str, Any]:
    """Return pictures of one patient: the input that the degradation makes, and the target that it is made from."""
    from upgan.bundles.library import find_bundle
    from upgan.errors import InputError
    from upgan.pairs.finding import find_pairs
    from upgan.pairs.pictures import write_degraded
    from upgan.training.run.prepare import data_of
    from upgan.training.settings.config_file import config_from

    config = config_from(request.config)
    data, _task = data_of(config, find_bundle(config.base) if config.base else None)
    if data.degradation == "none":
        raise InputError(
            "no_degradation", "The inputs are read as they are given.", "Choose what makes them from the targets."
        )
    progress.tell(0.0, "making an input")
    pairs = find_pairs(data)
    files = next((pair for pair in pairs if pair.subject == request.subject), pairs[0])
    paths = write_degraded(files, data, request.folder)
    return {"subject": files.subject, **{side: str(path) for side, path in paths.items()}}
