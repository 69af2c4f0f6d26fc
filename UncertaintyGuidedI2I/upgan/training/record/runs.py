"""The runs on this computer: what their folders tell, without torch, so that a viewer may look in its own process.

~/.upgan/runs/<name>    one folder a run; ``UPGAN_RUNS`` names another place than ``~/.upgan/runs``
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from upgan.errors import InputError, OutputError
from upgan.files import home_of, read_regular, refusal
from upgan.training.record.journal_reader import JOURNAL, is_count, is_finite, last_lines, parsed
from upgan.training.record.layout import DATA, FORMAT, FORMAT_KEY, SPLIT

State = Literal["new", "running", "paused", "stopped", "finished", "damaged", "newer"]

_CONFIG = "config.json"
_FINISHED = "finished.json"
_LOCK = "run.lock"
_CHECKPOINTS = "checkpoints"

# What only a run's folder has, whichever version made it.
_OF_A_RUN = (_CHECKPOINTS, JOURNAL, SPLIT)

# In the order of use: what to go on with or publish comes first.
_FIRST = ("best", "last")

# A viewer waits for this. Configurations have some kilobytes; of what describes more patients only the ends are seen.
_LARGEST_CONFIG = 64 << 10
_LARGEST_FINISHED = 4 << 10
_LARGEST_LIST = 64 << 10


@dataclass(frozen=True)
class Run:
    """A run as its folder shows it.

    Attributes:
        folder: The run's folder.
        name: The name of the model that it makes.
        created: When its configuration was written, seconds since 1970.
        state: ``new`` before its first checkpoint; ``running`` while a process trains; ``paused`` where it can go on;
            ``stopped`` where the user ended it early; ``finished``; ``damaged`` where a file that it needs is not what
            a run writes, as far as a short look tells; ``newer`` where a newer version began it, which alone can go on.
        best: The best epoch so far, as ``{"stage", "epoch", "mae"}`` with the error in output units; None before the
            first validation.
        stage: The number of the stage it is in, the first being 1; 0 before it has begun one.
        stages: The number of stages; 0 where that is not known yet.
        fraction: The share of its time that is over, 0 to 1, as last reported.
    """

    folder: Path
    name: str
    created: float
    state: State
    best: dict[str, Any] | None
    stage: int
    stages: int
    fraction: float


def runs_home() -> Path:
    """Folder of the user's runs, which need not exist: ``UPGAN_RUNS``, or ``.upgan/runs`` in the home folder.

    Raises:
        OutputError: ``no_home`` where the system knows no home folder.
    """
    return home_of("runs")


def list_runs() -> list[Run]:
    """List the runs in ``runs_home()``, the newest first; folders that hold none are left out."""
    try:
        folders = sorted(runs_home().iterdir())
    except (OSError, OutputError):  # Nobody has trained here yet, or may look.
        return []
    found = [run for folder in folders if (run := read_run(folder)) is not None]
    return sorted(found, key=lambda run: run.created, reverse=True)


def read_run(folder: Path) -> Run | None:
    """Look at one run; None where the folder holds none. Only the end of its journal is looked at.

    Never fails, whatever the folder holds: a run that cannot be read is ``damaged``.
    """
    try:
        created = (folder / _CONFIG).stat().st_mtime
    except (OSError, ValueError):
        return None
    try:
        config = read_run_json(folder)
    except InputError:
        return Run(folder, folder.name, created, "damaged", None, 0, 0, 0.0)
    finished = read_finished(folder)
    best = _best_of(finished)
    needed = {"steps": b'"kind": "steps"'} | ({} if best else {"best": b'"best": true'})
    lines = last_lines(folder, needed, beside={"stage": b'"kind": "stage"'})
    steps, stage = lines.get("steps", {}), lines.get("stage", {})
    where = stage if stage.get("stage", 0) > steps.get("stage", 0) else steps
    state, name = _state(folder, finished), config.get("name")
    if not isinstance(name, str):
        state, name = "damaged", folder.name
    if state != "running" and is_newer(config):
        state = "newer"
    elif state != "running" and any(_is_damaged_list(folder / file) for file in (DATA, SPLIT)):
        state = "damaged"
    return Run(
        folder,
        name=name,
        created=created,
        state=state,
        best=best or _best(lines.get("best", {})),
        stage=where.get("stage", 0),
        stages=where.get("stages", 0),
        fraction=1.0 if finished and not finished.get("stopped") else _fraction(steps),
    )


def read_run_state(folder: Path) -> State | None:
    """Return only what a run is doing, which may be asked for every second; None as for ``read_run``.

    A run whose ``data.json`` or ``split.json`` is damaged is not known by this.
    """
    try:
        config = read_run_json(folder)
    except InputError as error:
        return None if error.code in ("run_not_found", "no_run") else "damaged"
    state = _state(folder, read_finished(folder))
    return "newer" if state != "running" and is_newer(config) else state


def is_newer(config: Mapping[str, Any]) -> bool:
    """Whether a newer version began the run of a configuration, as its file has it."""
    written = config.get(FORMAT_KEY, 1)
    return isinstance(written, int) and written > FORMAT


def read_run_json(folder: Path) -> dict[str, Any]:
    """Read a run's configuration as it was written, whatever the values.

    Raises:
        InputError: ``run_not_found`` where there is no such folder; ``no_run`` where it holds no configuration;
            ``run_not_readable`` where the system refuses; ``run_damaged`` where it is no JSON object.
    """
    path = folder / _CONFIG
    try:
        text = read_regular(path, _LARGEST_CONFIG)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise (_no_run(folder) if os.path.lexists(folder) else _not_found(folder)) from error
    except ValueError as error:  # Too long, or nothing can have that name.
        if not os.path.lexists(path):
            raise _not_found(folder) from error
        raise run_damaged(folder, f"{_CONFIG} is far longer than what a run writes") from error
    except OSError as error:
        raise InputError(
            "run_not_readable",
            f"The training in {folder} cannot be read: {error.strerror or error}.",
            "Change the permissions of its folder and files, or ask their owner to.",
        ) from error
    content = parsed(text)
    if content is None:
        raise run_damaged(folder, f"{_CONFIG} is empty or was overwritten")
    return content


def run_damaged(folder: Path, why: str) -> InputError:
    """What is said of a run whose configuration is not what was written; its checkpoints may be whole."""
    return InputError(
        "run_damaged",
        f"The configuration ({_CONFIG}) of the training in {folder} is damaged: {why}.",
        f"Put a copy of {_CONFIG} back. Without one, delete that file and start the same training in the same folder "
        "with `upgan train CONFIG.toml --output FOLDER`: it goes on from its last checkpoint. Where the first version "
        'began it, normalisation = "slice" belongs under [loss] of CONFIG.toml.',
    )


def _not_found(folder: Path) -> InputError:
    return InputError(
        "run_not_found",
        f"There is no folder {folder}.",
        "Choose the folder of a run; where it lies on another disk or computer, connect that first.",
    )


def _no_run(folder: Path) -> InputError:
    beside = [name for name in _OF_A_RUN if (folder / name).exists()]
    if beside:
        return InputError(
            "no_run",
            f"In {folder} lies {beside[0]} of a training, but no {_CONFIG} that this version could read it by.",
            f"If another version of this software trained there, use that one; else put a copy of {_CONFIG} back.",
        )
    return InputError(
        "no_run", f"{folder} holds no training.", f"Choose the folder of a run, in which there is a {_CONFIG}."
    )


def new_run_folder(name: str) -> Path:
    """Make a folder for a run in ``runs_home()``, which only its owner may read: it will hold patients' images.

    Args:
        name: The name of the run's model; the folder is called so, or ``name-2`` and so on where runs of that name are
            kept.

    Raises:
        InputError: ``bad_name``.
        OutputError: ``no_home``, ``disk_full`` or ``not_writable``.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise InputError(
            "bad_name", f"A run cannot be called '{name}'.", "Use lower-case letters, digits and hyphens only."
        )
    home = runs_home()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in itertools.count(1):
            folder = home / (name if number == 1 else f"{name}-{number}")
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                return folder
    except OSError as error:
        raise refusal(error, str(home), "Set the environment variable UPGAN_RUNS to a folder of yours.") from error
    raise AssertionError("unreachable: there are always more numbers")


def checkpoints(run: Path) -> list[str]:
    """Name the checkpoints that a model can be made of: best, last, then each phase's and the end-to-end stage's."""
    names = {path.stem for path in (run / _CHECKPOINTS).glob("*.safetensors")}
    first = [name for name in _FIRST if name in names]
    return first + sorted(names.difference(_FIRST), key=lambda name: (name.startswith("all"), _number(name), name))


def _number(name: str) -> int:
    found = re.search(r"\d+", name)
    return int(found.group()) if found else 0


def _state(folder: Path, finished: dict[str, Any] | None) -> State:
    if _is_locked(folder / _LOCK):
        return "running"
    if finished is None:
        return "paused" if (folder / _CHECKPOINTS / "last.safetensors").is_file() else "new"
    if not finished:
        return "damaged"
    return "stopped" if finished["stopped"] else "finished"


def _is_locked(path: Path) -> bool:
    """Whether a process holds the run: tried, without waiting, and given back at once."""
    if not path.exists():
        return False
    try:
        from filelock import FileLock, Timeout  # where it is absent nothing trains
    except ImportError:
        return False
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # A disk of others' or without locks: nothing of ours trains there.
        return False
    lock.release()
    return False


def _best(line: Mapping[str, Any]) -> dict[str, Any] | None:
    phases = line.get("phases")
    if not phases or "epoch" not in line:
        return None
    return _best_of({"best": {**line, "mae": phases[max(phases, key=int)]["mae"]}})


def _best_of(finished: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The best epoch as a run that is over says it; None where it says none, or none that there can be."""
    best = (finished or {}).get("best")
    if not isinstance(best, dict):
        return None
    stage, epoch, mae = (best.get(name) for name in ("stage", "epoch", "mae"))
    if not (is_count(stage) and is_count(epoch) and is_finite(mae)):
        return None
    return {"stage": stage, "epoch": epoch, "mae": mae}


def _fraction(steps: Mapping[str, Any]) -> float:
    seconds, left = steps.get("seconds"), steps.get("remaining_s")
    return seconds / (seconds + left) if seconds and left is not None else 0.0


def read_finished(folder: Path) -> dict[str, Any] | None:
    """What a run says that is over; None where it is not, and empty where that cannot be read."""
    try:
        content = parsed(read_regular(folder / _FINISHED, _LARGEST_FINISHED)) or {}
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return content if isinstance(content.get("stopped"), bool) else {}


def _is_damaged_list(path: Path) -> bool:
    """Whether a file that is there is no JSON object; a long one is looked at where it begins and ends only."""
    try:
        if path.stat().st_size <= _LARGEST_LIST:
            return parsed(read_regular(path, _LARGEST_LIST)) is None
        with path.open("rb") as file:
            start = file.read(512).lstrip()
            file.seek(-512, os.SEEK_END)
            end = file.read(512).rstrip()
    except FileNotFoundError:  # It has not looked at any images yet.
        return False
    except (OSError, ValueError):
        return True
    return not (start.startswith(b"{") and end.endswith(b"}"))
