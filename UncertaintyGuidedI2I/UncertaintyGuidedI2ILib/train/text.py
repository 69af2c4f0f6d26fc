"""What the Train panel says of runs, and of buttons that can do nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.text import shownUnit
from UncertaintyGuidedI2ILib.train.session.states import OURS, Button, State, sentBy

if TYPE_CHECKING:
    from upgan.training.record.runs import Run


def whyDead(button: Button, at: State) -> str:
    """Return why a button can do nothing in a state, or nothing where it can."""
    if sentBy(at, button) is not None:
        return ""
    if at in OURS:
        return {
            "pause": _("A checkpoint is being written."),
            "stop": _("A checkpoint is being written."),
            "save": _("Pause or stop the training first, or wait for its end."),
        }.get(button, _("A training is running: pause or stop it first."))
    if button in ("check", "start"):
        return {
            State.CHECKING: _("The data are being checked."),
            State.SAVING: _("A model is being saved."),
        }.get(at, _("The engine is at work; a moment."))
    return {
        State.NONE: _("Choose or start a run first."),
        State.GONE: _("Choose or start a run first."),
        State.OVER: _("This run is over."),
        State.WATCHED: _("Another process trains this run."),
    }.get(at, _("The engine is at work for something else."))


def runLabel(run: Run, state: str) -> str:
    """Return one line for a selector: "site-model (paused)"; the state is one of ``training.record.runs.State``."""
    states = {
        "new": _("just begun"),
        "running": _("running"),
        "paused": _("paused"),
        "stopped": _("stopped early"),
        "finished": _("finished"),
        "damaged": _("damaged"),
        "newer": _("of a newer version"),
    }
    return f"{run.folder.name} ({states[state]})"


def runText(run: Run, unit: str) -> str:
    """Return one line on a run that is not under way here; the unit of its images is empty for the inputs' own."""
    text = {
        "new": _("This run has hardly begun; it can go on."),
        "running": _("Another process trains this run; it can be watched, but not paused from here."),
        "paused": _("Paused in stage {stage} of {stages}."),
        "stopped": _("Stopped in stage {stage} of {stages}."),
        "finished": _("Finished."),
        "damaged": _("Files of this run are damaged; resuming it says which, and what to do."),
        "newer": _("A newer version of this software began this run; update the extension to go on with it."),
    }[run.state].format(stage=run.stage, stages=run.stages)
    if run.best is None:
        return text
    error = f"{run.best['mae']:.4g} {shownUnit(unit)}"
    best = _("Best mean absolute error on the validation patients: {error}.").format(error=error)
    return f"{text} {best}"
