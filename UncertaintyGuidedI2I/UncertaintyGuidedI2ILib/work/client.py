"""The viewer's end of ``upgan worker``: one request, one answer, whatever arrives.

The protocol is described in Documentation/Worker.md.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import qt

from UncertaintyGuidedI2ILib.work.process import LONGEST_LOGGED, Process, WorkerProcess
from UncertaintyGuidedI2ILib.work.scratch import PrivateFolder
from UncertaintyGuidedI2ILib.work.worker import Handler, JobWorker, TrainingWorker

if TYPE_CHECKING:
    from upgan.errors import UpganError

PROTOCOL = 1

# Characters of a sentence or a stage that are shown.
LONGEST_TEXT = 1000
# Nothing takes longer, s.
MOST_S = 1e12


class _Request(NamedTuple):
    id: int
    onProgress: Handler
    onResult: Handler
    onError: Handler


class WorkerClient(JobWorker, TrainingWorker):
    """One worker process and the one piece of work that it may have at a time, whichever panel asks.

    The process is started when first needed and kept warm. What was asked of one that is lost is answered with
    ``worker_ended``, or ``worker_garbled`` where it was not understood, and the next request starts another.

    Args:
        command: Program and arguments of the worker, as ``work.process.WorkerProcess`` takes them.
        onLog: Called with each line that the worker writes beside its protocol, and with what happens to it.
        graceS: Seconds that work gets to end in order when the process is to end, e.g. to write a checkpoint; by
            default it is dropped.
    """

    def __init__(
        self,
        command: list[str] | None = None,
        onLog: Callable[[str], None] = logging.info,
        graceS: float = 0.0,
    ) -> None:
        self.onLog = onLog
        self._process: Process = WorkerProcess(
            command, graceS, self._onLine, self._onGarbage, lambda line: self.onLog(line), self._onProcessEnded
        )
        self._folder = PrivateFolder()
        self._isReady = False
        self._active: _Request | None = None
        self._lastID = 0
        self._job: Path | None = None
        self._isEnding = False
        self._whenEnded: list[Callable[[], None]] = []
        self._onBusyChanged: list[Callable[[], None]] = []
        self._wasBusy = False

    @property
    def isBusy(self) -> bool:
        """Whether there is a request, a job, or a process that is to end."""
        return self._active is not None or self._job is not None or self._isEnding

    @property
    def isRunning(self) -> bool:
        """Whether there is a process, warm or at work."""
        return self._process.isRunning

    def whenBusyChanges(self, callback: Callable[[], None]) -> None:
        """Have somebody more told, each time that ``isBusy`` has changed."""
        self._onBusyChanged.append(callback)

    def request(
        self,
        command: str,
        arguments: dict[str, Any],
        onProgress: Handler,
        onResult: Handler,
        onError: Handler,
        job: Path | None = None,
    ) -> None:
        """Send a request, as ``Worker.request`` describes it; the process is started where it does not run."""
        if self._active is not None or self._isEnding or self._job != job:
            raise _busy()
        self.start()
        self._lastID += 1
        self._active = _Request(self._lastID, onProgress, onResult, onError)
        self._tellBusy()
        self._send(self._lastID, command, arguments=arguments)

    def start(self) -> None:
        """Start the process in the background, so that it is warm when it is needed.

        Raises:
            OutputError: ``temp_not_writable``.
            UpganError: ``worker_not_started``, where the system says so at once; else whoever asks is told later.
        """
        if not self._process.isRunning:
            self._isReady = False
            self._process.start(self._folder.path())

    def interrupt(self) -> None:
        """Send the wish to end the request under way in order, as ``TrainingWorker.interrupt`` describes it."""
        if self._active is not None and not self._isEnding:
            self._send(self._active.id, "cancel")

    def cancel(self, onEnded: Callable[[], None] = lambda: None) -> None:
        """End the process without waiting for it, as ``Worker.cancel`` describes it."""
        if not self._process.isRunning:
            qt.QTimer.singleShot(0, onEnded)
            return
        self._whenEnded.append(onEnded)
        if self._isEnding:
            return
        self._isEnding = True
        self._tellBusy()
        self._sendShutdown()
        self._process.end()

    def stop(self) -> None:
        """End the process and wait for it, well under a second beside its grace: for quitting and reloading."""
        self._active = None
        self._job = None
        self._whenEnded.clear()
        if self._process.isRunning:
            self._sendShutdown()
            self._process.endNow()
        self._folder.remove()

    def newJobFolder(self) -> Path:
        """Start the process and reserve it for a job, as ``JobWorker.newJobFolder`` describes it."""
        if self.isBusy:
            raise _busy()
        self.start()
        self._job = self._folder.newFolder("job")
        self._tellBusy()
        return self._job

    def removeJobFolder(self, folder: Path) -> None:
        """Remove a job's files; the process is free for the next where they were those of the job that has it."""
        self._folder.removeFolder(folder)
        if self._job == folder:
            self._job = None
            self._removeFolderUnlessUsed()
            self._tellBusy()

    def newFolder(self) -> Path:
        """Make a folder of no job, as ``TrainingWorker.newFolder`` describes it, whether there is a process or not."""
        return self._folder.newFolder("kept")

    def removeFolder(self, folder: Path) -> None:
        """Remove a folder of ``newFolder``; nothing where it is gone already."""
        self._folder.removeFolder(folder)
        self._removeFolderUnlessUsed()

    def _send(self, number: int, command: str, **content: Any) -> None:
        self._process.send(json.dumps({"id": number, "command": command, **content}))

    def _sendShutdown(self) -> None:
        """Ask the process to end; a stdin that closes without this says that the application is gone."""
        self._lastID += 1
        self._send(self._lastID, "shutdown")

    def _onLine(self, line: bytes) -> None:
        """Take a line for what it says: whatever that is, nothing but a whole event reaches who asked."""
        try:
            event = json.loads(line)
            kind = event["event"]
        except (ValueError, KeyError, TypeError, RecursionError):
            self._onGarbage(line)
            return
        if kind == "ready":
            if self._isReady:
                self._onGarbage(line)
            else:
                self._onReady(event)
        elif self._active is None or self._isEnding or not _isAbout(event, self._active):
            if kind == "error":
                self.onLog(f"The engine refused a request: {_text(event.get('sentence'))}")
        elif kind == "progress":
            progress = _progressOf(event)
            if progress is None:
                self._onGarbage(line)
            else:
                self._active.onProgress(progress)
        elif kind == "result" and isinstance(event.get("result"), dict):
            self._finishRequest(lambda request: request.onResult(event["result"]))
        elif kind == "cancelled" or (kind == "error" and isinstance(event.get("code"), str)):
            self._finishRequest(lambda request: request.onError(self._errorOf(event)))
        else:
            self._onGarbage(line)

    def _onGarbage(self, line: bytes) -> None:
        """Log what is no event. A process that writes it once it was ready may have lost an answer: it is ended."""
        from upgan.errors import UpganError

        self.onLog(f"The engine wrote something unexpected: {line[:LONGEST_LOGGED]!r}")
        # Slicer's launcher may have its say before.
        if self._isEnding or not self._isReady:
            return
        error = UpganError(
            "worker_garbled",
            "The engine's process wrote something that is not understood.",
            "Try again: it is started anew. If it happens again, see the log and report it.",
        )
        request, self._active = self._active, None
        # When it is gone, so that whoever is told may ask again.
        self.cancel(lambda: request.onError(error) if request is not None else None)

    def _onReady(self, event: dict[str, Any]) -> None:
        from upgan.errors import UpganError

        self._isReady = True
        self._process.beKnownAs(event.get("pid"))
        said = event.get("protocol")
        if type(said) is not int or said != PROTOCOL:
            error = UpganError(
                "wrong_version",
                "The engine's process is of another version than the module.",
                "Restart the application; if it happens again, install the extension anew.",
            )
            self._finishRequest(lambda request: request.onError(error))
            self.cancel()

    def _errorOf(self, event: dict[str, Any]) -> UpganError:
        from upgan.errors import Cancelled, UpganError

        if event["event"] == "cancelled":
            return Cancelled()
        if event.get("details"):
            self.onLog(str(event["details"]))
        sentence = _text(event.get("sentence")) or "The engine gave an answer that is not understood."
        return UpganError(_text(event["code"]), sentence, _text(event.get("remedy")) or "Try again.")

    def _finishRequest(self, answer: Callable[[_Request], None]) -> None:
        request, self._active = self._active, None
        # Only now, so that an answer may ask for the next thing.
        try:
            if request is not None:
                answer(request)
        finally:
            self._tellBusy()

    def _onProcessEnded(self, sentence: str) -> None:
        """Clean up after a process that is gone, and tell whoever waited for it."""
        from upgan.errors import Cancelled, UpganError

        cancelled, self._isEnding = self._isEnding, False
        self._removeFolderUnlessUsed()
        remedy = "Try again: it is started anew. If it happens again, see the log, choose a smaller image or the CPU."
        error = Cancelled() if cancelled else UpganError("worker_ended", sentence, remedy)
        self._finishRequest(lambda request: request.onError(error))
        waiting, self._whenEnded = self._whenEnded, []
        for onEnded in waiting:
            onEnded()

    def _removeFolderUnlessUsed(self) -> None:
        if not self._process.isRunning and not self._folder.isUsed:
            self._folder.remove()

    def _tellBusy(self) -> None:
        if self.isBusy != self._wasBusy:
            self._wasBusy = self.isBusy
            for callback in self._onBusyChanged:
                callback()


def _isAbout(event: dict[str, Any], request: _Request) -> bool:
    """Return whether an event means a request: the refusal of a line that was not understood has no id."""
    number = event.get("id")
    if number is None:
        return event["event"] == "error"
    return type(number) is int and number == request.id


def _progressOf(event: dict[str, Any]) -> dict[str, Any] | None:
    """Return the progress that an event tells, or nothing where it is none."""
    stage: Any = event.get("stage")
    fraction: Any = event.get("fraction")
    times = {name: event.get(name) for name in ("elapsed_s", "remaining_s")}
    numbers = [fraction, *(time for time in times.values() if time is not None)]
    if not isinstance(stage, str) or not all(map(_isNumber, numbers)):
        return None
    return {"stage": stage[:LONGEST_TEXT], "fraction": min(max(float(fraction), 0.0), 1.0), **times}


def _isNumber(value: Any) -> bool:
    # Comparisons with NaN are false; integers may be too large for a float.
    return type(value) in (int, float) and abs(value) < MOST_S


def _text(said: Any) -> str:
    return said[:LONGEST_TEXT] if isinstance(said, str) else ""


def _busy() -> UpganError:
    from upgan.errors import UpganError

    return UpganError("worker_busy", "The engine is at work already.", "Wait for it to finish, or cancel what it does.")
