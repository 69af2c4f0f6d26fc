"""What a panel's button does in the background: one job at a time, which the same button cancels."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, Protocol

import slicer
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.messages import plain
from UncertaintyGuidedI2ILib.text import duration
from UncertaintyGuidedI2ILib.widgets import enable
from UncertaintyGuidedI2ILib.work.progress_line import ProgressLine


class State(Enum):
    """What a panel is doing."""

    IDLE = "idle"
    RUNNING = "running"
    CANCELLING = "cancelling"


class Job(Protocol):
    """What ``work.job.WorkerJob`` is to whoever starts it."""

    def start(self) -> None:
        """Begin the work, once; may raise an ``UpganError``."""

    def cancel(self) -> None:
        """Stop the work; the job's ``onError`` is called with ``Cancelled``."""

    def abandon(self) -> None:
        """Stop the work without any callback."""


class Consent(NamedTuple):
    """What the user may allow where the engine has refused to go on without being told.

    Attributes:
        code: The error code of the refusal.
        question: The question to the user, with a place {refusal} for the refusal's sentence.
        options: The options, by name, of the job that is tried after a yes.
    """

    code: str
    question: str
    options: dict[str, Any]


class Action:
    """Goes from idle through running, and perhaps cancelling, back to idle, whatever the job comes to.

    Double clicks, Cancel and a closing scene do the right thing at any time.

    Args:
        ui: Widgets of the panel, with ``progressBar`` and ``statusLabel``.
        newJob: Returns the job for what is chosen now. It is given the job's ``onProgress``, ``onFinished`` and
            ``onError``, and the options of a consent by name; an ``UpganError`` that it raises is as one of the job.
        firstStage: What is done until the job says something.
        consent: What the user may allow, and is asked about where the engine refuses to go on without it.
        onFinished: Called with what came of the job, when the action is idle again and says that it is done.
        onFailed: Called with an error that is neither a wish of the user nor asked about; the panel shows it.
        onChanged: Called after every change of state.

    Attributes:
        state: Whether the action is idle, running or being cancelled.
        progress: The panel's line, for what else the panel has to say.
    """

    def __init__(
        self,
        ui: Any,
        newJob: Callable[..., Job],
        firstStage: str,
        consent: Consent,
        onFinished: Callable[..., None],
        onFailed: Callable[[Exception], None],
        onChanged: Callable[[], None],
    ) -> None:
        self.state = State.IDLE
        self.progress = ProgressLine(ui.progressBar, ui.statusLabel)
        self._newJob = newJob
        self._firstStage = firstStage
        self._consent = consent
        self._onFinished = onFinished
        self._onFailed = onFailed
        self._onChanged = onChanged
        self._job: Job | None = None

    @property
    def isIdle(self) -> bool:
        """Whether nothing is under way, nor being cancelled."""
        return self.state is State.IDLE

    def toggle(self, whyNot: str) -> None:
        """Start a job, unless there is a reason why not, or cancel the one under way: the button does what it says."""
        if self.state is State.RUNNING:
            self.cancel()
        elif not whyNot:
            self.start()

    def start(self, **options: Any) -> None:
        """Run a job; nothing where one is under way already, e.g. with a second click."""
        from upgan.errors import UpganError

        if not self.isIdle:
            return
        self._setState(State.RUNNING)
        self.progress.tell({"stage": self._firstStage, "fraction": 0.0, "remaining_s": None})
        try:
            self._job = self._newJob(self._onProgress, self._finish, self._fail, **options)
            self._job.start()
        except UpganError as error:
            self._fail(error)

    def cancel(self) -> None:
        """Stop the job, once; nothing where none runs."""
        if self.state is not State.RUNNING:
            return
        self._setState(State.CANCELLING)
        if self._job is not None:
            self.progress.show(_("Cancelling…"))
            self._job.cancel()

    def abandon(self) -> None:
        """Let go of job and widgets without another word: the panel goes."""
        self.progress.stop()
        if self._job is not None:
            self._job.abandon()
            self._job = None

    def showButton(self, button: Any, name: str, whyNot: str, does: str, stops: str) -> None:
        """Let the button say what a click does now, or why it does nothing.

        Args:
            button: A QPushButton.
            name: What it is called while nothing runs.
            whyNot: Why it cannot be clicked while nothing runs, or nothing.
            does: The button's tool tip while nothing runs.
            stops: The button's tool tip while the job runs.
        """
        isRunning = self.state is State.RUNNING
        button.text = name if self.isIdle else _("Cancel") if isRunning else _("Cancelling…")
        enable(button, "" if isRunning else whyNot, stops if isRunning else does)

    def _onProgress(self, progress: dict[str, Any]) -> None:
        if self.state is State.RUNNING:
            self.progress.tell(progress)

    def _finish(self, *found: Any) -> None:
        self.progress.show(_("Done in {time}.").format(time=duration(self.progress.elapsed_s)), fraction=1.0)
        self._end()
        self._onFinished(*found)

    def _fail(self, error: Exception) -> None:
        from upgan.errors import Cancelled

        self.progress.show("", fraction=0.0)
        self._end()
        if isinstance(error, Cancelled):
            self.progress.show(_("Cancelled. Nothing was added to the scene."))
        elif self._isAllowed(error):
            self.start(**self._consent.options)
        else:
            self._onFailed(error)

    def _isAllowed(self, error: Exception) -> bool:
        from upgan.errors import UpganError

        if not isinstance(error, UpganError) or error.code != self._consent.code:
            return False
        question = self._consent.question.format(refusal=error.sentence)
        return bool(slicer.util.confirmOkCancelDisplay(plain(question)))

    def _end(self) -> None:
        self._job = None
        self._setState(State.IDLE)

    def _setState(self, state: State) -> None:
        self.state = state
        self._onChanged()
