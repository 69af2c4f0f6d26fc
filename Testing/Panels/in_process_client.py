"""The worker's client without the worker: comparisons in a thread of the test's own process."""

# The client's own names.
# ruff: noqa: N802, N803

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.work.worker import Handler, JobWorker

PATIENT_S = 60


class InProcessClient:
    """Answers in the place of the worker with the engine's own comparison, in a thread, one request at a time.

    Attributes:
        gate: The answer waits for it.
        requests: Arguments of what was asked.
        failure: Raised where the request is refused at once.
    """

    def __init__(self, qt: Any, folder: Path) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.requests: list[dict[str, Any]] = []
        self.failure: Exception | None = None
        self._folder = folder
        self._qt = qt
        self._handlers: tuple[Handler, Handler, Handler] | None = None
        self._job: Path | None = None
        self._onBusyChanged: list[Callable[[], None]] = []
        self._answer: list[tuple[Any, ...]] = []
        self._timer = qt.QTimer()
        self._timer.interval = 2
        self._timer.timeout.connect(self._look)

    @property
    def isBusy(self) -> bool:
        return self._handlers is not None or self._job is not None

    def whenBusyChanges(self, callback: Callable[[], None]) -> None:
        self._onBusyChanged.append(callback)

    def newJobFolder(self) -> Path:
        self._job = self._folder / f"job-{len(self.requests)}"
        self._job.mkdir(parents=True)
        return self._job

    def removeJobFolder(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._job = None
        for callback in self._onBusyChanged:
            callback()

    def request(
        self,
        command: str,
        arguments: dict[str, Any],
        onProgress: Handler,
        onResult: Handler,
        onError: Handler,
        job: Path | None = None,
    ) -> None:
        assert command == "check"
        assert job == self._job
        if self.failure is not None:
            raise self.failure
        self.requests.append(arguments)
        self._handlers, self._answer = (onProgress, onResult, onError), []
        threading.Thread(target=self._work, args=(arguments,), daemon=True).start()
        self._timer.start()

    def cancel(self, onEnded: Callable[[], None] = lambda: None) -> None:
        from upgan.errors import Cancelled

        if self._handlers:
            self._finish(2, Cancelled())
        self._qt.QTimer.singleShot(0, onEnded)

    def stop(self) -> None:
        self._timer.stop()
        self._handlers = None

    def _work(self, arguments: dict[str, Any]) -> None:
        from upgan.evaluation.check import run_check
        from upgan.evaluation.request import CheckArguments
        from upgan.progress import Progress

        answer = self._answer
        progress = Progress(lambda stage, fraction, remaining_s: answer.append((0, fraction, stage)))
        try:
            self.gate.wait(PATIENT_S)
            result = run_check(CheckArguments(**arguments), progress)
        except Exception as error:  # noqa: BLE001 - handed on, as the worker does
            answer.append((2, error))
        else:
            answer.append((1, result))

    def _look(self) -> None:
        while self._handlers and self._answer:
            kind, *content = self._answer.pop(0)
            if kind == 0:
                self._handlers[0]({"stage": content[1], "fraction": content[0], "remaining_s": None})
            else:
                self._finish(kind, content[0])

    def _finish(self, kind: int, content: Any) -> None:
        self._timer.stop()
        handlers, self._handlers = self._handlers, None
        assert handlers is not None
        handlers[kind](content)


if TYPE_CHECKING:

    def _stands_in(client: InProcessClient) -> JobWorker:
        return client
