"""Whether the main thread is alive: how long it ever kept a timer waiting."""

import time
from collections.abc import Callable
from importlib import import_module
from typing import Self


class Heartbeat:
    """Beats every few milliseconds while the block runs.

    Attributes:
        longest_s: The longest time between two beats.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._last = 0.0
        self._timer = import_module("qt").QTimer()
        self._timer.interval = 2
        self._timer.timeout.connect(self._beat)

    def __enter__(self) -> Self:
        self._last = time.monotonic()
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.stop()

    def _beat(self) -> None:
        now = time.monotonic()
        self.longest_s = max(self.longest_s, now - self._last)
        self._last = now


def shortest_block_s(run: Callable[[], None], attempts: int = 3) -> float:
    """Return the longest that a run blocks the main thread, in the best of a few runs.

    What our own code blocks, it blocks each time; what other processes on this machine take, they take once.
    """
    longest = []
    while len(longest) < attempts and min(longest, default=1.0) >= 0.1:
        with Heartbeat() as heartbeat:
            run()
        longest.append(heartbeat.longest_s)
    return min(longest)
