"""Whether the main thread is alive: how long it ever kept a timer waiting."""

import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Self


class Heartbeat:
    """Beats every few milliseconds while the block runs.

    Attributes:
        longest_s: The longest time between two beats, without what the thread waited for a processor that others had.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._last = 0.0
        self._timer = import_module("qt").QTimer()
        self._timer.interval = 2
        self._timer.timeout.connect(self._beat)

    def __enter__(self) -> Self:
        self._last = _own_time_s()
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.stop()

    def _beat(self) -> None:
        now = _own_time_s()
        self.longest_s = max(self.longest_s, now - self._last)
        self._last = now


def _own_time_s() -> float:
    """Return a clock that stands still while this thread is ready to run but has no processor.

    On a busy machine that is its neighbours' doing. Waiting for a lock, a disk or a process is ours and counts, as does
    all on systems that do not tell (Linux does: schedstat of proc(5), time spent on the run queue).
    """
    try:
        waited = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        waited = "0"
    return time.monotonic() - int(waited) * 1e-9


def shortest_block_s(run: Callable[[], None], attempts: int = 3) -> float:
    """Return the longest that a run blocks the main thread, in the best of a few runs.

    What our own code blocks, it blocks each time; what other processes on this machine take, they take once.
    """
    longest: list[float] = []
    while len(longest) < attempts and min(longest, default=1.0) >= 0.1:
        with Heartbeat() as heartbeat:
            run()
        longest.append(heartbeat.longest_s)
    return min(longest)
