"""The process that a viewer talks to: one JSON object a line on stdin, one a line on stdout.

Documentation/Worker.md is the protocol. Whoever starts the process holds its stdin; when that closes, for whatever
reason, the worker ends at once and removes its scratch folder, so that neither processes nor patient data stay behind.
Whatever arrives there, each request is answered, and nothing keeps the process alive when nobody holds it any more.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, NamedTuple, TextIO

import upgan
from upgan import scratch
from upgan.errors import Cancelled, UpganError
from upgan.plain_json import without_nan
from upgan.progress import Progress
from upgan.worker.protocol import ENDING_SIGNALS, GRACE_S, LONGEST_LINE, PROTOCOL, Command

NICENESS = 5
# A viewer needs no more progress than this, and a fast GPU would send thousands.
PROGRESS_INTERVAL_S = 0.05
# How long a signal may have to wait for an idle worker.
_LOOKS_UP_S = 1.0


class Request(NamedTuple):
    """One line of stdin: ``{"id": 7, "command": "translate", "arguments": {…}}``."""

    id: int
    command: str
    arguments: dict[str, Any]


class _Refusal(NamedTuple):
    """The answer to a line that is no request; its id where that could be read."""

    id: int | None
    error: Exception


class Worker:
    """Answers requests one after another; hears cancellations and the end of its input at any time.

    Args:
        requests: The stream of requests, a JSON object a line; its end is the end of the worker.
        events: The stream that events are written to, a JSON object a line.
        commands: The worker's commands, by name.
        abandon: Called where work does not end although the input has closed; must end the process.
        grace_s: Seconds from the closing of the input to the call of ``abandon``.

    Attributes:
        was_shut_down: Whether the end was asked for: then there is still somebody at the other end.
    """

    def __init__(
        self,
        requests: BinaryIO,
        events: TextIO,
        commands: Mapping[str, Command],
        abandon: Callable[[], None],
        grace_s: float = GRACE_S,
    ) -> None:
        self._requests = requests
        self._events = events
        self._commands = commands
        self._abandon = abandon
        self._grace_s = grace_s
        # Requests, and refusals of lines that are none: who reads must not write, for a viewer that does not listen
        # would keep it from hearing that the viewer is gone.
        self._waiting: queue.SimpleQueue[Request | _Refusal | None] = queue.SimpleQueue()
        # Of the requests that are not answered yet, those that are to be cancelled.
        self._open: list[int] = []
        self._cancelled: set[int] = set()
        self._closing = threading.Event()
        self._ended = threading.Event()
        self._counting = threading.Lock()
        self._sending = threading.Lock()
        self.was_shut_down = False

    def run(self) -> None:
        """Work until the input closes or a shutdown is asked for."""
        self._send({"event": "ready", "protocol": PROTOCOL, "engine_version": upgan.__version__, "pid": os.getpid()})
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        while (request := self._next()) is not None:
            if isinstance(request, _Refusal):
                self._send({"event": "error", "id": request.id, **_described(request.error)})
            else:
                self._answer(request)
        self._ended.set()

    def _next(self) -> Request | _Refusal | None:
        """Wait for what comes next, however long that takes, and look up on the way.

        Python's handler of a signal that came just before the wait began, or that another thread took, runs only when
        this thread does: a worker that somebody ended would else stay until its viewer asks for something.
        """
        while True:
            with suppress(queue.Empty):
                return self._waiting.get(timeout=_LOOKS_UP_S)

    def end(self) -> None:
        """End as when the input closes: work that looks at its progress ends in order, what does not is abandoned."""
        self._close()
        if not self._ended.wait(self._grace_s):
            self._abandon()

    def _read(self) -> None:
        try:
            for line in self._lines():
                if line.strip():
                    self._take(line)
                if self._closing.is_set():
                    break
        except OSError:
            pass  # As good as closed.
        finally:
            # However the reading ends: nobody would hear what comes, nor that the viewer is gone.
            self.end()

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines of the input; of a line that is too long, only as much as shows that it is."""
        while line := self._requests.readline(LONGEST_LINE + 1):
            yield line
            while len(line) > LONGEST_LINE and not line.endswith(b"\n"):
                line = self._requests.readline(LONGEST_LINE + 1)

    def _take(self, line: bytes) -> None:
        number = None
        try:
            if len(line) > LONGEST_LINE:
                raise ValueError("it is too long")
            content = json.loads(line.decode("utf-8"), object_pairs_hook=_object)
            if not isinstance(content, dict) or type(content.get("id")) is not int:
                raise ValueError("it has no id")
            number = content["id"]
            command, arguments = content.get("command"), content.get("arguments", {})
            if not isinstance(command, str) or not isinstance(arguments, dict):
                raise ValueError("command and arguments are not what they must be")
        except (ValueError, RecursionError) as error:
            # A line that is no JSON has a long story to tell, which helps nobody.
            why = f": {error}" if type(error) is ValueError else ""
            self._waiting.put(_Refusal(number, _bad_request(f"The request is not understood{why}.")))
            return
        if command == "shutdown":
            self.was_shut_down = True
            self._closing.set()
        elif command == "cancel":
            # Here and not in its turn: what it cancels is what keeps the queue from moving.
            with self._counting:
                if number in self._open:
                    self._cancelled.add(number)
        else:
            with self._counting:
                self._open.append(number)
            self._waiting.put(Request(number, command, arguments))

    def _close(self) -> None:
        self._closing.set()
        self._waiting.put(None)

    def _answer(self, request: Request) -> None:
        started = time.monotonic()
        sent = float("-inf")

        def report(stage: str, fraction: float, remaining_s: float | None) -> None:
            nonlocal sent
            if request.id in self._cancelled or self._closing.is_set():
                raise Cancelled
            now = time.monotonic()
            if now - sent < PROGRESS_INTERVAL_S:
                return
            sent = now
            progress = {"stage": stage, "fraction": round(fraction, 4), "elapsed_s": round(now - started, 3)}
            progress["remaining_s"] = None if remaining_s is None else round(remaining_s, 1)
            self._send({"event": "progress", "id": request.id, **progress})

        try:
            if request.command not in self._commands:
                raise _bad_request(f"There is no command '{request.command[:100]}'.")
            told = Progress(report)
            told.tell(0.0, "starting")
            result = self._commands[request.command](request.arguments, told)
            text = _json({"id": request.id, "event": "result", "result": result})
        except Cancelled:
            text = _json({"id": request.id, "event": "cancelled"})
        except Exception as error:  # noqa: BLE001 - whatever it is, the viewer must hear of it
            text = _json({"id": request.id, "event": "error", **_described(error)})
        with self._counting:
            self._open.remove(request.id)
            if request.id not in self._open:
                self._cancelled.discard(request.id)
        self._write(text)

    def _send(self, event: dict[str, Any]) -> None:
        self._write(_json(event))

    def _write(self, text: str) -> None:
        with self._sending:
            try:
                self._events.write(text + "\n")
                self._events.flush()
            except (OSError, ValueError):
                # Nobody listens any more; that stdin has closed too ends the work.
                return


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Take a JSON object whose names differ: of two values of one name nobody knows which is meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _json(event: dict[str, Any]) -> str:
    """Write an event as JSON, which knows no NaN and no infinity: they become null, wherever they are."""
    try:
        return json.dumps(event, allow_nan=False)
    except ValueError:
        return json.dumps(without_nan(event), allow_nan=False)


def _bad_request(sentence: str) -> UpganError:
    return UpganError("bad_request", sentence, "Use the viewer's and the engine's code of the same version.")


def _described(error: Exception) -> dict[str, str]:
    if isinstance(error, ModuleNotFoundError):
        sentence = f"The Python package '{error.name}' is not installed."
        error = UpganError("package_missing", sentence, "Let the module install what it needs, then try again.")
    elif isinstance(error, MemoryError):
        sentence = "The computer's memory is exhausted."
        error = UpganError("out_of_memory", sentence, "Keep the last phase only, crop the image, or free some memory.")
    if isinstance(error, UpganError):
        return {"code": error.code, "sentence": error.sentence, "remedy": error.remedy}
    return {
        "code": "internal",
        "sentence": f"The engine failed unexpectedly ({type(error).__name__}).",
        "remedy": "Try again; if it happens again, report it with the log.",
        "details": "".join(traceback.format_exception(error)),
    }


def main(folder: Path, grace_s: float = GRACE_S) -> None:
    """Serve stdin and stdout of this process.

    Args:
        folder: The folder for the viewer's files. It is removed at the end, unless the viewer has asked for that end
            and lives.
        grace_s: Seconds that work gets to end in order once stdin has closed.
    """
    if hasattr(os, "nice"):
        # The viewer comes first: its slices must move while the networks keep all cores busy.
        os.nice(NICENESS)
    # The protocol keeps the real stdout for itself: whatever else is printed, by C libraries too, goes to stderr.
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", newline="\n")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    requests = os.fdopen(os.dup(sys.stdin.fileno()), "rb")

    cleaning = threading.Lock()

    def clean_up() -> None:
        # One thread at a time: whoever is done first ends the process.
        with cleaning:
            # A viewer that asked for the end lives, and may want its files; but it may have been killed since. Whether
            # the viewer lives when somebody else ends this process only the lock can tell.
            if (worker is not None and worker.was_shut_down) or (exit_code and (folder / scratch.LOCK).exists()):
                scratch.remove_if_abandoned(folder)
            else:
                scratch.remove(folder)

    def abandon() -> None:
        clean_up()
        os._exit(exit_code or 1)

    worker: Worker | None = None
    exit_code = 0

    def terminate(number: int, frame: FrameType | None) -> None:
        nonlocal exit_code
        for other in ENDING_SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        exit_code = 128 + number
        if worker is None:
            clean_up()
            os._exit(exit_code)
        # Beside the work, which this has interrupted: a training gets its grace for a checkpoint.
        threading.Thread(target=worker.end, name="end", daemon=True).start()

    for number in ENDING_SIGNALS:
        # One that is ignored from the start, as nohup has it, stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, terminate)
    try:
        from upgan.worker.commands import commands

        worker = Worker(requests, events, commands(), abandon, grace_s)
        # What viewers that were killed have left; it takes as long as it takes.
        threading.Thread(target=scratch.sweep, args=(folder.parent,), name="sweep", daemon=True).start()
        worker.run()
    finally:
        clean_up()
    # At once: taking PyTorch down in order takes longer than a user who cancelled should wait.
    sys.stderr.flush()
    os._exit(exit_code)
