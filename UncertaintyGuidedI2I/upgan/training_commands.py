"""What the worker can do about training: arguments as JSON in, a result as JSON out; images and weights stay on disk.

A run belongs to its folder, not to the process: whoever asks next, for the same folder, goes on with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from upgan.requests import validated
from upgan.worker import Command, Report

# What a model made on a site's own data may be used for is the site's to say, and nobody else's.
_LICENCE = """\
This model was trained on its maker's own data, on the maker's own computer.
No licence is granted to anybody else: before you pass it on, replace this text by your terms.
It is no medical device and has not been validated for the care of patients.
"""

_VERSION = "0.1.0"


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CheckDataArguments(_Arguments):
    """Attributes: config: as JSON; thumbnails: folder for pictures of the pairs, none where None."""

    config: dict[str, Any]
    thumbnails: Path | None = None


class TrainArguments(_Arguments):
    """Attributes: config: as JSON; folder: of the run."""

    config: dict[str, Any]
    folder: Path


class RunArguments(_Arguments):
    """Attributes: folder: of the run."""

    folder: Path


class CreateModelArguments(_Arguments):
    """Attributes: run: its folder; checkpoint: best, last, phase_1 …; name: of the model; licence: its text."""

    run: Path
    checkpoint: str = "best"
    name: str
    licence: str | None = None


class StartConfigArguments(_Arguments):
    """Attributes: preset: paper, quick or fine-tune; base: a model's name."""

    preset: Literal["paper", "quick", "fine-tune"]
    base: str | None = None


def training_commands() -> Mapping[str, Command]:
    """Return the commands, by name."""
    return {
        "check_data": _check_data,
        "train": _train,
        "resume_training": _resume_training,
        "finish_training": _finish_training,
        "create_model": _create_model,
        "start_config": _start_config,
    }


class _ReportingWatch:
    """Hands a training's progress on to whoever asked for it; its journal is read from its file."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def progress(self, text: str, fraction: float, remaining_s: float | None) -> None:
        self._report(text, fraction, remaining_s)

    def line(self, line: dict[str, Any]) -> None:
        """Leave it to the reader of the file."""


def _train(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    from upgan.training.config_file import config_from
    from upgan.training.trainer import train

    request = validated(TrainArguments, arguments)
    train(config_from(request.config), request.folder, _ReportingWatch(report))
    return _outcome(request.folder)


def _resume_training(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    from upgan.training.trainer import resume

    request = validated(RunArguments, arguments)
    resume(request.folder, _ReportingWatch(report))
    return _outcome(request.folder)


def _outcome(folder: Path) -> dict[str, Any]:
    from upgan.training.files import FINISHED

    return {"folder": str(folder), "finished": (folder / FINISHED).is_file()}


def _finish_training(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    from upgan.training.finishing import finish

    request = validated(RunArguments, arguments)
    finish(request.folder)
    return _outcome(request.folder)


def _create_model(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    from upgan.library import add_trained
    from upgan.training.publish import publish

    request = validated(CreateModelArguments, arguments)

    def make(folder: Path) -> None:
        publish(
            request.run,
            folder,
            request.licence or _LICENCE,
            _VERSION,
            request.checkpoint,
            request.name,
            lambda text, fraction: report(text, fraction, None),
        )

    return dict(add_trained(request.name, make).to_json())


def _start_config(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Return a whole configuration, but for the run's name and data, with a preset's values."""
    from upgan.training.config_file import config_from
    from upgan.training.presets import preset

    request = validated(StartConfigArguments, arguments)
    values = preset(request.preset, request.base)
    config = config_from({"name": "model", "data": {"path": "."}, **values}).model_dump(mode="json")
    return {key: value for key, value in config.items() if key not in ("name", "data")}


def _check_data(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    from upgan.training.config_file import config_from
    from upgan.training.survey import survey

    request = validated(CheckDataArguments, arguments)
    return survey(config_from(request.config), request.thumbnails, lambda text, done: report(text, done, None))
