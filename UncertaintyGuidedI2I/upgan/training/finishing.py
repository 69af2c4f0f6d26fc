"""Ends a run that is not to go on."""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from upgan.errors import InputError
from upgan.training import checkpoint
from upgan.training.files import CACHE, FINISHED, LOCK, write_json
from upgan.training.runs import read_run_json

# Whoever asks whether the run is in use holds the lock for an instant.
_LOCK_S = 2.0


def finish(run: Path) -> None:
    """Declare a paused run ended and remove its copy of the images; its checkpoints stay.

    Raises:
        InputError: As ``runs.read_run_json``, or ``run_in_use`` while a process trains.
        OutputError: ``not_writable``.
    """
    read_run_json(run)
    try:
        with FileLock(run / LOCK, timeout=_LOCK_S):
            if not (run / FINISHED).exists():
                write_json(run / FINISHED, _reached(run))
            shutil.rmtree(run / CACHE, ignore_errors=True)
    except Timeout as error:
        raise InputError("run_in_use", f"A process is training in {run}.", "Pause it first.") from error


def _reached(run: Path) -> dict[str, object]:
    path = checkpoint.path_of(run, checkpoint.LAST)
    if not path.exists():
        return {"seconds": 0.0, "best": None, "stopped": True}
    state = checkpoint.load(path)[1]
    return {"seconds": round(state["seconds"], 1), "best": state["best"], "stopped": True}
