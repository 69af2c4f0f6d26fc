"""What a training session says where it refuses, or where its process ended on its own."""

from __future__ import annotations

from UncertaintyGuidedI2ILib.train.session.states import Refusal

# Sentence and remedy by code.
TEXTS: dict[Refusal, tuple[str, str]] = {
    "training_busy": ("The training's engine is at work.", "Pause or stop what it does, or wait."),
    "run_in_use": (
        "Another process trains this run, e.g. a command line.",
        "Pause or stop it where it was started.",
    ),
    "run_over": ("This training is over.", "Save its model and go on from that in a new one."),
    "no_run": ("There is no such training.", "Start one, or choose one of the list."),
}


def refused(code: Refusal) -> Exception:
    """Return the error with which something is refused."""
    from upgan.errors import InputError, UpganError

    kind = InputError if code in ("run_over", "no_run") else UpganError
    return kind(code, *TEXTS[code])


def crashed(error: Exception) -> Exception:
    """Return the error of a process that ended on its own, for a run that can go on."""
    from upgan.errors import UpganError

    assert isinstance(error, UpganError)
    remedy = "Resume: it goes on from its last checkpoint. If it ends again, choose a smaller batch or the CPU."
    return UpganError(error.code, error.sentence, remedy)
