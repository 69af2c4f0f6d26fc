"""How far some work is, as a bar and a line of text: told at any rate, drawn on a clock."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import qt

from UncertaintyGuidedI2ILib.messages import showError
from UncertaintyGuidedI2ILib.text import duration

# Slow enough for a window that takes 70 ms to be drawn (software OpenGL), fast enough to look alive.
CLOCK_MS = 200


class ProgressLine:
    """A progress bar draws the window at once whenever its value is set: hundreds of lines in a row would stop it.

    The first word on some work is drawn at once, what follows on the clock, the newest only; how it ended at once
    again, and for good. While the work is silent, e.g. while the engine loads, the time goes on.

    Args:
        bar: A QProgressBar.
        label: A QLabel, for one line.
        saysElapsed: Whether the line tells the time that was spent.
    """

    def __init__(self, bar: Any, label: Any, saysElapsed: bool = True) -> None:
        self._bar = bar
        self._label = label
        self._saysElapsed = saysElapsed
        self._progress: Mapping[str, Any] = {}
        self._started = time.monotonic()
        self._clock = qt.QTimer()
        self._clock.interval = CLOCK_MS
        self._clock.timeout.connect(self._draw)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first word on the work that is, or was last, under way."""
        return time.monotonic() - self._started

    def tell(self, progress: Mapping[str, Any]) -> None:
        """Take down how far the work is.

        Args:
            progress: The worker's, with "stage", "fraction" and "remaining_s".
        """
        self._progress = progress
        if not self._clock.active:
            self._started = time.monotonic()
            self._clock.start()
            self._draw()

    def show(self, text: str, fraction: float | None = None) -> None:
        """End with this line, and with the bar so full; where it is None the bar stays as it is."""
        self._clock.stop()
        if fraction is not None:
            self._setBar(fraction)
        self._label.text = text

    def showError(self, error: Exception) -> None:
        """Show an error in a message box, and end with its sentence."""
        self.show(showError(error))

    def stop(self) -> None:
        """Draw nothing any more: the widgets go."""
        self._clock.stop()

    def _draw(self) -> None:
        self._setBar(self._progress["fraction"] or 0.0)
        self._label.text = progressText(self._progress, self.elapsed_s if self._saysElapsed else None)

    def _setBar(self, fraction: float) -> None:
        self._bar.value = round(self._bar.maximum * fraction)


def progressText(progress: Mapping[str, Any], elapsed_s: float | None) -> str:
    """Return one line on how far the work is: "Phase 2 of 3, slice 40 of 128; 3 s spent, about 12 s left".

    Args:
        progress: The worker's, with "stage" and "remaining_s".
        elapsed_s: Seconds since the work was started; None where they do not matter.
    """
    stage, remaining_s = progress["stage"], progress["remaining_s"]
    times = [f"{duration(elapsed_s)} spent"] if elapsed_s is not None else []
    times += [f"about {duration(remaining_s)} left"] if remaining_s is not None else []
    return "; ".join(filter(None, [f"{stage[:1].upper()}{stage[1:]}", ", ".join(times)]))
