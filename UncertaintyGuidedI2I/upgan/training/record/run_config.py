"""The configuration that a run's folder keeps, or why it cannot be read, and what to do then.

Runs of every earlier version are read for ever; what they could not say yet has the value that they went by
(``TrainingConfig.of_run``). Of a newer version's nothing is ignored: a run goes on, and its model says that it was
trained, with all that it began with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from upgan.errors import InputError
from upgan.files import write_json
from upgan.training.record.layout import CONFIG, FORMAT, FORMAT_KEY
from upgan.training.record.runs import is_newer, read_run_json, run_damaged
from upgan.training.settings.config import TrainingConfig

# What pydantic says of keys and choices that a newer version may have added.
_UNKNOWN = {"extra_forbidden", "literal_error", "union_tag_invalid"}


def write_run_config(config: TrainingConfig, folder: Path) -> None:
    """Keep a configuration in a run's folder.

    Raises:
        OutputError: ``disk_full`` or ``not_writable``.
    """
    write_json(folder / CONFIG, {FORMAT_KEY: FORMAT, **config.model_dump(mode="json")})


def read_known_json(folder: Path) -> dict[str, Any]:
    """Read the configuration that a run was begun with as JSON, whatever it holds.

    Raises:
        InputError: What ``runs.read_run_json`` raises; ``run_newer`` where a newer version wrote it.
    """
    content = read_run_json(folder)
    if is_newer(content):
        raise _newer(folder, f"format {content[FORMAT_KEY]}")
    return content


def read_run_config(folder: Path) -> TrainingConfig:
    """Read the configuration that a run was begun with.

    Raises:
        InputError: ``run_not_found``, ``no_run``, ``run_not_readable`` or ``run_damaged`` as ``runs.read_run_json``
            raises them; ``run_damaged`` also for values that no run was begun with; ``run_newer`` where a newer version
            wrote it.
    """
    content = read_known_json(folder)
    content.pop(FORMAT_KEY, None)
    try:
        return TrainingConfig.of_run(content)
    except ValidationError as error:
        faults = error.errors()
        where = ".".join(map(str, faults[0]["loc"])) or CONFIG
        if all(fault["type"] in _UNKNOWN for fault in faults):
            raise _newer(folder, f"'{where}'") from error
        raise run_damaged(folder, f"'{where}' cannot be what it is") from error


def _newer(folder: Path, what: str) -> InputError:
    return InputError(
        "run_newer",
        f"The training in {folder} was begun by a newer version, or its {CONFIG} was changed: {what} is not known.",
        "Update this software, or undo the change.",
    )
