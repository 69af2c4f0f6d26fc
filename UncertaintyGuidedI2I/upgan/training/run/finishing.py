"""Ends a run that is not to go on."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from upgan.errors import InputError
from upgan.files import refusal, write_json
from upgan.training.record import checkpoint
from upgan.training.record.layout import CACHE, FINISHED, LOCK
from upgan.training.record.run_config import read_known_json
from upgan.training.record.runs import read_finished
from upgan.training.record.state import RunState

# Whoever asks whether the run is in use holds the lock for an instant.
_LOCK_S = 2.0


def finish(run: Path) -> None:
    """Declare a paused run ended and remove its copy of the images; its checkpoints stay.

    Raises:
        InputError: ``run_in_use`` while a process trains, or what ``run_config.read_known_json`` refuses.
        OutputError: ``disk_full`` or ``not_writable``.
    """
    read_known_json(run)
    try:
        with FileLock(run / LOCK, timeout=_LOCK_S):
            if not read_finished(run):  # Not there, or damaged.
                write_json(run / FINISHED, _reached(run))
            shutil.rmtree(run / CACHE, ignore_errors=True)
    except Timeout as error:
        raise InputError("run_in_use", f"A process is training in {run}.", "Pause it first.") from error
    except OSError as error:
        raise refusal(error, f"The training's folder {run}") from error


def _reached(run: Path) -> dict[str, object]:
    """What the last checkpoint that is whole says; a damaged one is no reason not to end a run."""
    last = checkpoint.path_of(run, checkpoint.LAST)
    for path in (last, checkpoint.previous_of(last)):
        with contextlib.suppress(InputError, ValueError):
            state = RunState.from_json(checkpoint.load(path)[1])
            best = vars(state.best) if state.best else None
            return {"seconds": round(state.seconds, 1), "best": best, "stopped": True}
    return {"seconds": 0.0, "best": None, "stopped": True}
