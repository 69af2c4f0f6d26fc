"""Long work on the main thread in small pieces, so that the viewer stays live between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

import qt

T = TypeVar("T")

# At most this long without the viewer; a step of a few milliseconds may come on top.
SLICE_S = 0.02


class Cooperative(Generic[T]):
    """Takes stepwise work to its end while the application goes on, a little whenever it has nothing else to do.

    Exactly one of the callbacks is called, on the main thread, unless the work is cancelled: then neither is.

    Args:
        steps: A generator that works a few milliseconds between two yields and returns the result.
        onFinished: Called with what the generator returned.
        onError: Called with what it raised.
    """

    def __init__(
        self, steps: Generator[None, None, T], onFinished: Callable[[T], None], onError: Callable[[Exception], None]
    ) -> None:
        self._steps = steps
        self._onFinished = onFinished
        self._onError = onError
        self._timer = qt.QTimer()
        self._timer.interval = 0
        self._timer.connect("timeout()", self._goOn)
        self._timer.start()

    def cancel(self) -> None:
        """Stop for good; the generator's ``finally`` blocks run. After the end it does nothing."""
        self._stop()
        self._steps.close()

    def _goOn(self) -> None:
        until = time.monotonic() + SLICE_S
        try:
            while time.monotonic() < until:
                next(self._steps)
        except StopIteration as end:
            result = end.value
        except Exception as error:  # noqa: BLE001 - handed on, not swallowed
            self._stop()
            self._onError(error)
            return
        else:
            return
        self._stop()
        self._onFinished(result)

    def _stop(self) -> None:
        self._timer.stop()
        # The timer's connection holds this object, which holds the timer: Python cannot see that circle.
        self._timer.disconnect("timeout()", self._goOn)
