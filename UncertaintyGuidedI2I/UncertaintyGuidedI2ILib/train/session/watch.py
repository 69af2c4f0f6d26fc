"""What is followed of a run's folder, whoever trains it: its journal, a piece at a time, and how it stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt

from UncertaintyGuidedI2ILib.train.session.states import State, stateOf

if TYPE_CHECKING:
    from upgan.training.record.journal_reader import JournalReader

# Between two looks at the journal, of which so many bytes are read at a time: a few milliseconds.
LOOK_MS = 1000
JOURNAL_BYTES = 256 << 10


class RunWatch:
    """Reads on a clock as long as the run goes on, and at once while there is more to read.

    Args:
        onClock: Called at each tick.

    Attributes:
        run: Folder of the run; None where none is looked at.
        journal: Lines of its journal so far; another list whenever it was read anew.
        hasMore: Whether there were more lines than were read at a time.
        resting: The state of rest that the folder told when it was last asked.
    """

    def __init__(self, onClock: Callable[[], None]) -> None:
        self.run: Path | None = None
        self.journal: list[dict[str, Any]] = []
        self.hasMore = False
        self.resting = State.NONE
        self._reader: JournalReader | None = None
        self._goesOn = False
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", onClock)

    def follow(self, run: Path | None) -> None:
        """Look at this run from now on."""
        from upgan.training.record.journal_reader import JournalReader

        self.run, self.journal, self.hasMore = run, [], False
        self._reader = JournalReader(run) if run is not None else None
        self._setTimer()

    def read(self) -> bool:
        """Read a piece of what the journal has gained; returns whether there was anything."""
        if self._reader is None:
            return False
        gain = self._reader.read(JOURNAL_BYTES)
        if gain.is_anew:
            # A resumed run's journal begins again at its checkpoint.
            self.journal = []
        self.journal.extend(gain.lines)
        self.hasMore = gain.has_more
        self._setTimer()
        return gain.is_anew or bool(gain.lines)

    def ask(self) -> None:
        """Ask the folder how the run stands."""
        from upgan.training.record.runs import read_run_state

        self.resting = stateOf(read_run_state(self.run) if self.run is not None else None)

    def keepLooking(self, goesOn: bool) -> None:
        """Read on the clock, as long as the run goes on."""
        self._goesOn = goesOn
        self._setTimer()

    def stop(self) -> None:
        """Read no more."""
        self._timer.stop()

    def _setTimer(self) -> None:
        if self.hasMore or self._goesOn:
            self._timer.interval = 0 if self.hasMore else LOOK_MS
            self._timer.start()
        else:
            self._timer.stop()
