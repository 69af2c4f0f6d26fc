"""Where the one training stands: it follows the tables of ``states``, watches the run, and tells who listens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.train.session.refusals import refused
from UncertaintyGuidedI2ILib.train.session.states import OURS, RESTING, Event, State, following, refusal
from UncertaintyGuidedI2ILib.train.session.watch import RunWatch
from UncertaintyGuidedI2ILib.work.upkeep import Upkeep

if TYPE_CHECKING:
    from upgan.training.record.runs import Run


class TrainingCourse:
    """The run that is looked at, and how it goes on; a subclass makes it go on.

    Attributes:
        at: The state of ``states`` in which the session is.
        progress: {"stage", "fraction", "remaining_s"} of what is under way here; else empty.
        error: What ended the training, where it was an error.
    """

    def __init__(self) -> None:
        self.at = State.NONE
        self.progress: dict[str, Any] = {}
        self.error: Exception | None = None
        self._upkeep = Upkeep()
        self._watch = RunWatch(lambda: self._upkeep.run({_("the state of the training"): self._onClock}))
        self._onChanged: list[Callable[[], None]] = []

    @property
    def run(self) -> Path | None:
        """Folder of the run that is looked at; None where there is none."""
        return self._watch.run

    @property
    def journal(self) -> list[dict[str, Any]]:
        """Lines of the run's journal so far; another list whenever it was read anew."""
        return self._watch.journal

    @property
    def state(self) -> str:
        """What this session's process does, else what the run's folder tells, as ``State.word`` says it."""
        isAside = self.at in (State.WAITING, State.PREPARING)
        return (self._watch.resting if isAside else self.at).word

    @property
    def isOurs(self) -> bool:
        """Whether it is this session that trains the run, and may pause it."""
        return self.at in OURS

    @property
    def isBusy(self) -> bool:
        """Whether something is under way, or ending, so that nothing else may be asked for."""
        return self.at not in RESTING

    def whenChanged(self, callback: Callable[[], None]) -> None:
        """Have a panel told when state, progress or journal have changed."""
        self._onChanged.append(callback)

    def runs(self) -> list[Run]:
        """Return the runs in their home, the newest first, whoever trains them."""
        from upgan.training.record.runs import list_runs

        return list_runs()

    def select(self, run: Path | None) -> None:
        """Look at a run, without going on with it, or at none.

        Raises:
            UpganError: ``training_busy`` while another run is trained from here, or ``no_run``.
        """
        if run != self.run:
            self._refuse(Event.SELECT)
        folder = existing(run).folder if run is not None else None
        if not self.isOurs:
            self.error = None
            self._watch.follow(folder)
            self._look()
            self._move(Event.SELECT)
        self._tell()

    def prepare(self) -> None:
        """Have nothing else begin while a configuration is put together, until it is used or ``drop``.

        Raises:
            UpganError: ``training_busy``.
        """
        self._refuse(Event.PREPARE)
        self._move(Event.PREPARE)
        self._tell()

    def _rest(self, event: Event = Event.ENDED) -> None:
        self.progress = {}
        self._upkeep.run({_("the state of the training"): self._look})
        self._move(event)
        self._tell()

    def _look(self) -> None:
        self._watch.read()
        self._watch.ask()

    def _onClock(self) -> None:
        if self._watch.hasMore:
            self._watch.read()
            self._tell()
            return
        hasRead = self._watch.read()
        # What is trained here, the folder cannot tell from what another process trains.
        if not self.isOurs:
            self._watch.ask()
        if self._move(Event.LOOKED) or hasRead:
            self._tell()

    def _tell(self) -> None:
        # Whoever listens, the others hear of it too.
        listeners = enumerate(list(self._onChanged))
        self._upkeep.run({_("what shows the training ({number})").format(number=i): listen for i, listen in listeners})

    def _move(self, event: Event) -> bool:
        """Follow the tables; returns whether it stands elsewhere now."""
        return self._stand(following(self.at, event, self._watch.resting))

    def _stand(self, at: State) -> bool:
        before, self.at = self.at, at
        # What another process trains goes on while something is asked or put together here.
        isAside = at in (State.WAITING, State.PREPARING)
        self._watch.keepLooking(self.isOurs or (self._watch.resting if isAside else at) is State.WATCHED)
        return at is not before

    def _refuse(self, event: Event, at: State | None = None) -> None:
        """Raise why an event cannot be here, or in another state; nothing where it can."""
        code = refusal(at or self.at, event)
        if code is not None:
            raise refused(code)


def existing(run: Path | None) -> Run:
    """Return a run as its folder tells it, or raise why it is none."""
    from upgan.training.record.runs import read_run, read_run_json

    if run is not None:
        read_run_json(run)
        found = read_run(run)
        if found is not None:
            return found
    raise refused("no_run")
