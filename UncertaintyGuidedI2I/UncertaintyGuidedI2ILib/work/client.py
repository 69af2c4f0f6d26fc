"""Starts and talks to ``upgan worker``: requests, progress, cancel, crash, restart. Documentation/Worker.md."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import qt
import slicer

if TYPE_CHECKING:
    from upgan.scratch import Scratch

MODULE = Path(__file__).parents[2]
PROTOCOL = 1

# Not by PYTHONPATH, which the launcher of Slicer's Python has ideas of its own about.
START = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('upgan.worker', run_name='__main__', alter_sys=True)"
)

# A worker that has not ended this long after its stdin was closed, and after its grace, is killed.
KILL_AFTER_MS = 500
# What the log shows of a line that is not the protocol's.
LONGEST_LOGGED = 500
MOST_LOGGED = 100
# Bytes of an event: more than any has, and no more than a process without a line's end may make the viewer hold.
LONGEST_LINE = 16 << 20
# Characters of a sentence or a stage that are shown.
LONGEST_TEXT = 1000
# Nothing takes longer, s.
MOST_S = 1e12

Handler = Callable[[Any], None]


class _Request(NamedTuple):
    id: int
    onProgress: Handler
    onResult: Handler
    onError: Handler


class WorkerClient:
    """One worker process and the one piece of work that it may have at a time, whichever panel asks.

    The process is started when first needed and kept warm. Each request ends with exactly one call of ``onResult`` or
    ``onError``, on the main thread and never from within ``request``; a cancelled one with ``Cancelled``, after the
    process has ended. Work that needs files has a job folder, and the worker for itself as long as it has it.

    Args:
        command: Program and arguments of the worker, to which ``--scratch FOLDER`` is added; the engine's by default.
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
        self._command = command or [_python(), "-c", START, str(MODULE)]
        self._grace = ["--grace", str(graceS)] if graceS else []
        self._killAfterMs = KILL_AFTER_MS + round(1000 * graceS)
        self._process: Any = None
        self._ended: Any = None
        self._scratch: Scratch | None = None
        # Folders in it that outlive the process.
        self._kept: set[Path] = set()
        self._pid = 0
        self._isReady = False
        self._partial = bytearray()
        self._partialLog = b""
        self._active: _Request | None = None
        self._lastID = 0
        self._ending = False
        self._onEnded: list[Callable[[], None]] = []
        self._job: Path | None = None
        self._jobs = 0
        self._onBusyChanged: list[Callable[[], None]] = []
        self._wasBusy = False

    @property
    def isBusy(self) -> bool:
        """Whether work is under way, or being cancelled."""
        return self._active is not None or self._job is not None or self._ending

    @property
    def isRunning(self) -> bool:
        """Whether there is a process, warm or at work."""
        return self._process is not None

    def whenBusyChanges(self, callback: Callable[[], None]) -> None:
        """Have a panel told when work begins and when it is over."""
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
        """Ask the worker for something; starts it where it does not run.

        Args:
            command: One of the worker's.
            arguments: JSON-able.
            onProgress: Called with {"stage", "fraction", "elapsed_s", "remaining_s"}; the latter two may be None.
            onResult: Called with the result, an object; what is in it is as foreign as any file.
            onError: Called with an ``UpganError``.
            job: The folder of the work that this belongs to, from ``newJobFolder``.

        Raises:
            UpganError: ``worker_busy``, or what ``start`` raises.
        """
        if self._active is not None or self._ending or self._job != job:
            raise _busy()
        self.start()
        self._lastID += 1
        self._active = _Request(self._lastID, onProgress, onResult, onError)
        self._tellBusy()
        self._send({"id": self._lastID, "command": command, "arguments": arguments})

    def start(self) -> None:
        """Start the process in the background, so that it is warm when it is needed.

        Raises:
            OutputError: ``temp_not_writable``.
            UpganError: ``worker_not_started``, where the system says so at once; else whoever asks is told later.
        """
        from upgan.errors import UpganError

        if self._process is not None:
            return
        folder = self._folder()
        process = qt.QProcess()
        process.connect("readyReadStandardOutput()", self._onOutput)
        process.connect("readyReadStandardError()", self._onLogOutput)
        process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._onProcessError)
        self._process = process
        self._partial = bytearray()
        self._partialLog = b""
        self._pid = 0
        self._isReady = False
        process.start(self._command[0], [*self._command[1:], "--scratch", str(folder), *self._grace])
        if self._process is None:
            # On Windows the error comes from within start().
            raise UpganError(
                "worker_not_started",
                f"The engine's process could not be started ({self._command[0]}).",
                "Restart the application; if it happens again, install the extension anew.",
            )

    def interrupt(self) -> None:
        """Ask the worker to end what it does in order and to stay: a training writes a checkpoint.

        The request is then answered with ``Cancelled``, or with its result where that comes first.
        """
        if self._active is not None and not self._ending:
            self._send({"id": self._active.id, "command": "cancel"})

    def cancel(self, onEnded: Callable[[], None] = lambda: None) -> None:
        """End what the worker does by ending the worker: the next request starts a new one.

        Args:
            onEnded: Called when the process is gone, after a request under way was answered with ``Cancelled``.
        """
        process = self._process
        if process is None:
            qt.QTimer.singleShot(0, onEnded)
            return
        self._onEnded.append(onEnded)
        if self._ending:
            return
        self._ending = True
        self._tellBusy()
        # It then ends by itself; where it does not, it is killed.
        self._shutDown()

        def killIfStillThere() -> None:
            if self._process is process:
                self._kill()

        qt.QTimer.singleShot(self._killAfterMs, killIfStillThere)

    def stop(self) -> None:
        """End the process and wait for it, well under a second beside its grace: for quitting and reloading.

        No callback is called any more.
        """
        self._active = None
        self._job = None
        self._kept.clear()
        self._onEnded.clear()
        if self._process is not None:
            self._endNow()
        self._removeScratch()

    def newJobFolder(self) -> Path:
        """Reserve the worker for a piece of work and return a private folder for its files.

        Raises:
            UpganError: ``worker_busy``, or what ``start`` raises.
            OutputError: ``temp_not_writable``.
        """
        if self.isBusy:
            raise _busy()
        self.start()
        self._job = self._newFolder("job")
        self._tellBusy()
        return self._job

    def removeJobFolder(self, folder: Path) -> None:
        """Remove the files of a piece of work, which is over; the worker is free for the next."""
        shutil.rmtree(folder, ignore_errors=True)
        if self._job == folder:
            self._job = None
            self._removeScratchUnlessUsed()
            self._tellBusy()

    def newFolder(self) -> Path:
        """Return a private folder for files that may outlive the process, until ``removeFolder`` or ``stop``.

        However the application ends, nothing of it stays behind.

        Raises:
            OutputError: ``temp_not_writable``.
        """
        folder = self._newFolder("kept")
        self._kept.add(folder)
        return folder

    def removeFolder(self, folder: Path) -> None:
        """Remove a folder of ``newFolder``; nothing where it is gone already."""
        shutil.rmtree(folder, ignore_errors=True)
        self._kept.discard(folder)
        self._removeScratchUnlessUsed()

    def _newFolder(self, name: str) -> Path:
        from upgan.errors import OutputError

        scratch = self._folder()
        self._jobs += 1
        folder = scratch / f"{name}-{self._jobs}"
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise _notWritable(OutputError, scratch, error) from error
        return folder

    def _folder(self) -> Path:
        """Return the scratch folder, a new one where there is none or somebody has removed it."""
        from upgan.errors import OutputError
        from upgan.scratch import Scratch

        if self._scratch is not None and self._scratch.folder.is_dir():
            return self._scratch.folder
        self._removeScratch()
        temporary = Path(slicer.app.temporaryPath)
        try:
            self._scratch = Scratch(temporary)
        except OSError as error:
            raise _notWritable(OutputError, temporary, error) from error
        return self._scratch.folder

    def _shutDown(self) -> None:
        """Ask the process to end; a stdin that closes without this says that the application is gone."""
        self._lastID += 1
        self._send({"id": self._lastID, "command": "shutdown"})
        self._process.closeWriteChannel()

    def _send(self, message: dict[str, Any]) -> None:
        self._process.write(json.dumps(message) + "\n")

    def _endNow(self) -> None:
        process = self._process
        self._shutDown()
        if not process.waitForFinished(self._killAfterMs) and self._process is process:
            self._kill()
            process.waitForFinished(KILL_AFTER_MS)
        # The signal that tells of the end may still be under way, or have come already.
        if self._process is process:
            self._lose("The engine's process was ended.")

    def _kill(self) -> None:
        self.onLog("The engine's process did not end in time: it is killed.")
        # Slicer's Python is a launcher: the worker itself is its child, and says who it is when it starts.
        if self._pid and self._pid != self._process.processId():
            try:
                os.kill(self._pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            except OSError:
                self.onLog("The engine's process had ended already.")
        self._process.kill()

    def _onOutput(self) -> None:
        process = self._process
        if process is None:
            return
        new = process.readAllStandardOutput().data()
        self._partial += new
        if b"\n" not in new:
            if len(self._partial) > LONGEST_LINE:
                self._onGarbage(bytes(self._partial[:LONGEST_LOGGED]))
                self._partial.clear()
            return
        *lines, rest = bytes(self._partial).split(b"\n")
        self._partial = bytearray(rest)
        for line in lines:
            # An answer may end this process and start another: the rest is nobody's.
            if self._process is process and line.strip():
                self._onLine(line)

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
        elif self._active is None or self._ending or not self._isOfActive(event):
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

    def _isOfActive(self, event: dict[str, Any]) -> bool:
        """Return whether an event means the request under way: the refusal of a line not understood has no id."""
        assert self._active is not None
        number = event.get("id")
        if number is None:
            return event["event"] == "error"
        return type(number) is int and number == self._active.id

    def _onGarbage(self, line: bytes) -> None:
        """Log what is no event. A process that writes it once it was ready may have lost an answer: it is ended."""
        from upgan.errors import UpganError

        self.onLog(f"The engine wrote something unexpected: {line[:LONGEST_LOGGED]!r}")
        # Slicer's launcher may have its say before.
        if self._ending or not self._isReady:
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
        pid = event.get("pid")
        # It is what may be killed: 0 and -1 would be whole groups of processes, among them this one.
        self._pid = pid if type(pid) is int and 1 < pid < 1 << 31 and pid != os.getpid() else 0
        if event.get("protocol") != PROTOCOL:
            error = UpganError(
                "wrong_version",
                "The engine's process is of another version than the module.",
                "Restart the application; if it happens again, install the extension anew.",
            )
            self._finishRequest(lambda request: request.onError(error))
            self.cancel()

    def _errorOf(self, event: dict[str, Any]) -> Exception:
        from upgan.errors import Cancelled, UpganError

        if event["event"] == "cancelled":
            return Cancelled()
        if event.get("details"):
            self.onLog(str(event["details"]))
        sentence = _text(event.get("sentence")) or "The engine gave an answer that is not understood."
        return UpganError(_text(event["code"]), sentence, _text(event.get("remedy")) or "Try again.")

    def _finishRequest(self, answer: Callable[[_Request], None]) -> None:
        request, self._active = self._active, None
        if request is not None:
            # Only now, so that an answer may ask for the next thing.
            try:
                answer(request)
            finally:
                self._tellBusy()
            return
        self._tellBusy()

    def _onLogOutput(self) -> None:
        if self._process is not None:
            text = self._partialLog + self._process.readAllStandardError().data()
            *lines, self._partialLog = text.split(b"\n")
            shown = lines[-MOST_LOGGED:]
            if len(lines) > len(shown):
                self.onLog(f"… {len(lines) - len(shown)} lines left out")
            for line in shown:
                self.onLog(line[:LONGEST_LOGGED].decode("utf-8", "replace").rstrip())
            # A line without end must not grow for ever.
            self._partialLog = self._partialLog[:LONGEST_LOGGED]

    def _onProcessError(self, error: int) -> None:
        # Everything but a failed start is followed by `finished`.
        if error == qt.QProcess.FailedToStart and self._process is not None:
            self._lose(f"The engine's process could not be started ({self._command[0]}).")

    def _onFinished(self, exitCode: int, exitStatus: int) -> None:
        if self._process is None:
            return
        self._onOutput()
        self._onLogOutput()
        if self._process is not None:
            crashed = exitStatus != qt.QProcess.NormalExit
            how = "was ended by the system" if crashed else f"ended with code {exitCode}"
            self._lose(f"The engine's process {how}.")

    def _lose(self, sentence: str) -> None:
        """Clean up after a process that is gone, and tell whoever waited for it."""
        from upgan.errors import Cancelled, UpganError

        for rest in (bytes(self._partial), self._partialLog):
            if rest.strip():
                self.onLog(f"The engine's last words: {rest[:LONGEST_LOGGED]!r}")
        process, self._process = self._process, None
        cancelled, self._ending = self._ending, False
        # This may run in one of its own signals: it must live until Qt is out of it.
        self._ended = process
        self._removeScratchUnlessUsed()
        remedy = "Try again: it is started anew. If it happens again, see the log, choose a smaller image or the CPU."
        error = Cancelled() if cancelled else UpganError("worker_ended", sentence, remedy)
        self._finishRequest(lambda request: request.onError(error))
        waiting, self._onEnded = self._onEnded, []
        for onEnded in waiting:
            onEnded()

    def _removeScratchUnlessUsed(self) -> None:
        if self._process is None and self._job is None and not self._kept:
            self._removeScratch()

    def _removeScratch(self) -> None:
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None

    def _tellBusy(self) -> None:
        if self.isBusy != self._wasBusy:
            self._wasBusy = self.isBusy
            for callback in self._onBusyChanged:
                callback()


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


def _busy() -> Exception:
    from upgan.errors import UpganError

    return UpganError("worker_busy", "The engine is at work already.", "Wait for it to finish, or cancel what it does.")


def _python() -> str:
    """Return the Python that has the application's packages: Slicer's own executable is no interpreter."""
    return shutil.which("PythonSlicer") or sys.executable


def _notWritable(kind: type, folder: Path, error: OSError) -> Exception:
    return kind(
        "temp_not_writable",
        f"The temporary folder {folder} cannot be written: {error.strerror}.",
        "Free some space there, change its permissions, or choose another one in the application's settings.",
    )
