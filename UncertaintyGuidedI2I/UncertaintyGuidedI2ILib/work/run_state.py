"""Where a run stands, so that double clicks, Cancel and a closing scene do the right thing at any time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any


class RunState(Enum):
    """What a panel is doing."""

    IDLE = "idle"
    RUNNING = "running"
    CANCELLING = "cancelling"


class Run:
    """The one run that a panel can have at a time.

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

    def cancel(self) -> bool:
        """Go from running to cancelling; False where there is nothing to cancel."""
        if self.state is not RunState.RUNNING:
            return False
        self._setState(RunState.CANCELLING)
        return True

    def finish(self) -> None:
        """Go back to idle, however the run ended."""
        self._setState(RunState.IDLE)

    def _setState(self, state: RunState) -> None:
        self.state = state
        self._onStateChanged()


def progressText(progress: Mapping[str, Any], elapsed_s: float | None) -> str:
    """Return one line on how far the work is: "Phase 2 of 3, slice 40 of 128; 3 s spent, about 12 s left".

    Args:
        progress: The worker's, with "stage" and "remaining_s".
        elapsed_s: Since the run was started; None where it does not matter.
    """
    stage, remaining_s = progress["stage"], progress["remaining_s"]
    times = [f"{duration(elapsed_s)} spent"] if elapsed_s is not None else []
    times += [f"about {duration(remaining_s)} left"] if remaining_s is not None else []
    return "; ".join(filter(None, [f"{stage[:1].upper()}{stage[1:]}", ", ".join(times)]))


def duration(seconds: float) -> str:
    """Return a time as people say it: "7 s", "3 min 20 s", "1 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
