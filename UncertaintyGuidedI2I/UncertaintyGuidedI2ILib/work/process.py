"""The worker's process: started with the application's Python, spoken to in lines, and ended for certain."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import qt

MODULE = Path(__file__).parents[2]

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
# Bytes of a line: more than any event has, and no more than a process without a line's end may make the viewer hold.
LONGEST_LINE = 16 << 20


class Process(Protocol):
    """What the client needs of its worker's process; it may be started again when it has ended."""

    @property
    def isRunning(self) -> bool:
        """Whether there is a process."""

    def start(self, folder: Path) -> None:
        """Start the process in the background.

        Args:
            folder: The process' scratch folder.

        Raises:
            UpganError: ``worker_not_started``, where the system says so at once.
        """

    def send(self, line: str) -> None:
        """Write a line, without its end, to the running process."""

    def beKnownAs(self, said: Any) -> None:
        """Take who the worker says it is, since what was started may be its launcher only.

        Args:
            said: The process id that the worker has told, or anything: what cannot be one is not taken.
        """

    def end(self) -> None:
        """Close the process' stdin; where it does not end by itself, it is killed."""

    def endNow(self) -> None:
        """End the process and wait until it has ended."""


class WorkerProcess:
    """One process at a time, and the lines that it writes.

    All callbacks come on the main thread; none comes any more for a process that is over.

    Args:
        command: Program and arguments of the worker, to which ``--scratch FOLDER`` is added; the engine's by default.
        graceS: Seconds that work gets to end in order when the process is to end.
        onLine: Called with each line of its stdout that is not empty.
        onGarbage: Called with the beginning of a line that is too long.
        onLog: Called with each line of its stderr, and with what happens to the process.
        onEnded: Called with a sentence that says how it ended, when all it wrote was heard.

    Attributes:
        pid: The worker's process id, where it has said it; else 0.
    """

    def __init__(
        self,
        command: Sequence[str] | None,
        graceS: float,
        onLine: Callable[[bytes], None],
        onGarbage: Callable[[bytes], None],
        onLog: Callable[[str], None],
        onEnded: Callable[[str], None],
    ) -> None:
        self.pid = 0
        self._command = command or [_python(), "-c", START, str(MODULE)]
        self._grace = ["--grace", str(graceS)] if graceS else []
        self._killAfterMs = KILL_AFTER_MS + round(1000 * graceS)
        self._onLine = onLine
        self._onGarbage = onGarbage
        self._onLog = onLog
        self._onEnded = onEnded
        self._process: Any = None
        self._ended: Any = None
        self._partial = bytearray()
        self._partialLog = b""

    @property
    def isRunning(self) -> bool:
        """Whether there is a process, whatever it does."""
        return self._process is not None

    def start(self, folder: Path) -> None:
        """Start the program; that it cannot be started is told here or, later, by ``onEnded``."""
        from upgan.errors import UpganError

        process = qt.QProcess()
        process.connect("readyReadStandardOutput()", self._onOutput)
        process.connect("readyReadStandardError()", self._onLogOutput)
        process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._onProcessError)
        self._process = process
        self._partial = bytearray()
        self._partialLog = b""
        self.pid = 0
        process.start(self._command[0], [*self._command[1:], "--scratch", str(folder), *self._grace])
        if self._process is None:
            # On Windows the error comes from within start().
            raise UpganError(
                "worker_not_started",
                f"The engine's process could not be started ({self._command[0]}).",
                "Restart the application; if it happens again, install the extension anew.",
            )

    def send(self, line: str) -> None:
        """Write a line; Qt does so when the process takes it."""
        self._process.write(line + "\n")

    def beKnownAs(self, said: Any) -> None:
        """Take a process id as what may be killed: 0 and -1 would be whole groups of processes, among them this one."""
        self.pid = said if type(said) is int and 1 < said < 1 << 31 and said != os.getpid() else 0

    def end(self) -> None:
        """Close the process' stdin, and kill it where it is still there when its grace is over."""
        process = self._process
        process.closeWriteChannel()

        def killIfStillThere() -> None:
            if self._process is process:
                self._kill()

        qt.QTimer.singleShot(self._killAfterMs, killIfStillThere)

    def endNow(self) -> None:
        """End the process and wait for that, well under a second beside its grace."""
        process = self._process
        process.closeWriteChannel()
        if not process.waitForFinished(self._killAfterMs) and self._process is process:
            self._kill()
            process.waitForFinished(KILL_AFTER_MS)
        # The signal that tells of the end may still be under way, or have come already.
        if self._process is process:
            self._lose("The engine's process was ended.")

    def _kill(self) -> None:
        self._onLog("The engine's process did not end in time: it is killed.")
        # Slicer's Python is a launcher: the worker itself is its child, and says who it is when it starts.
        if self.pid and self.pid != self._process.processId():
            try:
                os.kill(self.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            except OSError:
                self._onLog("The engine's process had ended already.")
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

    def _onLogOutput(self) -> None:
        if self._process is None:
            return
        text = self._partialLog + self._process.readAllStandardError().data()
        *lines, self._partialLog = text.split(b"\n")
        shown = lines[-MOST_LOGGED:]
        if len(lines) > len(shown):
            self._onLog(f"… {len(lines) - len(shown)} lines left out")
        for line in shown:
            self._onLog(line[:LONGEST_LOGGED].decode("utf-8", "replace").rstrip())
        # A line without end must not grow for ever.
        self._partialLog = self._partialLog[:LONGEST_LOGGED]

    def _onProcessError(self, error: int) -> None:
        # Everything but a failed start is followed by `finished`.
        if error == qt.QProcess.FailedToStart and self._process is not None:
            self._lose(f"The engine's process could not be started ({self._command[0]}).")

    def _onFinished(self, exitCode: int, exitStatus: int) -> None:
        process = self._process
        if process is None:
            return
        self._onOutput()
        self._onLogOutput()
        if self._process is process:
            crashed = exitStatus != qt.QProcess.NormalExit
            how = "was ended by the system" if crashed else f"ended with code {exitCode}"
            self._lose(f"The engine's process {how}.")

    def _lose(self, sentence: str) -> None:
        for rest in (bytes(self._partial), self._partialLog):
            if rest.strip():
                self._onLog(f"The engine's last words: {rest[:LONGEST_LOGGED]!r}")
        # This may run in one of its own signals: it must live until Qt is out of it.
        self._process, self._ended = None, self._process
        self._onEnded(sentence)


def _python() -> str:
    """Return the Python that has the application's packages: Slicer's own executable is no interpreter."""
    return shutil.which("PythonSlicer") or sys.executable
