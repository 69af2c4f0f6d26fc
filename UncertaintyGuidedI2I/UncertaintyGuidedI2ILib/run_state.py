"""Where a run stands, so that double clicks, Cancel and a closing scene do the right thing at any time."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from upgan.inference import Progress


class RunState(Enum):
    """What the module is doing."""

    IDLE = "idle"
    RUNNING = "running"
    CANCELLING = "cancelling"


class Run:
    """The one run that a module can have at a time.

    Args:
        onStateChanged: Called after every change of state.
    """

    def __init__(self, onStateChanged: Callable[[], None]) -> None:
        self.state = RunState.IDLE
        self._onStateChanged = onStateChanged

    def start(self) -> bool:
        """Go from idle to running; False where a run is already under way (a second click)."""
        if self.state is not RunState.IDLE:
            return False
        self._setState(RunState.RUNNING)
        return True

    def cancel(self) -> None:
        """Ask a running run to stop at its next progress; otherwise nothing happens."""
        if self.state is RunState.RUNNING:
            self._setState(RunState.CANCELLING)

    def finish(self) -> None:
        """Go back to idle, however the run ended."""
        self._setState(RunState.IDLE)

    def stopIfCancelled(self) -> None:
        """End the engine's work from within its progress callback.

        Raises:
            Cancelled: Where the user asked for it.
        """
        from upgan.errors import Cancelled

        if self.state is RunState.CANCELLING:
            raise Cancelled

    def _setState(self, state: RunState) -> None:
        self.state = state
        self._onStateChanged()


def progressText(progress: Progress) -> str:
    """Return one line on how far the work is: "Phase 2 of 3, slice 40 of 128, 12 s left"."""
    text = f"Phase {progress.phase} of {progress.phases}, slice {progress.slice} of {progress.slices}"
    return f"{text}, {progress.remaining_s:.0f} s left" if math.isfinite(progress.remaining_s) else text
