"""What those who have work for the worker know of it; ``client.WorkerClient`` is the one that has a process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

Handler = Callable[[Any], None]


class Worker(Protocol):
    """Answers requests, one at a time, whoever asks."""

    @property
    def isBusy(self) -> bool:
        """Whether work is under way, or being cancelled."""

    def whenBusyChanges(self, callback: Callable[[], None]) -> None:
        """Have a panel told when work begins and when it is over."""

    def request(
        self,
        command: str,
        arguments: dict[str, Any],
        onProgress: Handler,
        onResult: Handler,
        onError: Handler,
        job: Path | None = None,
    ) -> None:
        """Ask for something, which ends with exactly one call of ``onResult`` or ``onError``.

        Both come on the main thread and never from within this function.

        Args:
            command: One of the worker's; see Documentation/Worker.md.
            arguments: The command's arguments, which JSON can hold.
            onProgress: Called with {"stage", "fraction", "elapsed_s", "remaining_s"}; the latter two may be None.
            onResult: Called with the result, an object; what is in it is as foreign as any file.
            onError: Called with an ``UpganError``: ``Cancelled`` where that was asked for.
            job: The folder of the work that this belongs to, from ``JobWorker.newJobFolder``.

        Raises:
            UpganError: ``worker_busy`` or ``worker_not_started``.
            OutputError: ``temp_not_writable``.
        """

    def cancel(self, onEnded: Callable[[], None] = ...) -> None:
        """End what the worker does by ending the worker: the next request starts a new one.

        Args:
            onEnded: Called when the process is gone, after a request under way was answered with ``Cancelled``.
        """

    def stop(self) -> None:
        """End the worker and wait for it, and remove all its files; no callback is called any more."""


class JobWorker(Worker, Protocol):
    """A worker that a piece of work with files has for itself as long as it has its folder."""

    def newJobFolder(self) -> Path:
        """Reserve the worker for a piece of work and return a private folder for its files.

        Raises:
            UpganError: ``worker_busy`` or ``worker_not_started``.
            OutputError: ``temp_not_writable``.
        """

    def removeJobFolder(self, folder: Path) -> None:
        """Remove the files of a piece of work, which is over; the worker is free for the next."""


class TrainingWorker(Worker, Protocol):
    """A worker whose work may be ended in order, and whose files may outlive its process."""

    def interrupt(self) -> None:
        """Ask the worker to end what it does in order and to stay: a training writes a checkpoint.

        The request is then answered with ``Cancelled``, or with its result where that comes first.
        """

    def newFolder(self) -> Path:
        """Return a private folder for files that may outlive the process, until ``removeFolder`` or ``stop``.

        However the application ends, nothing of it stays behind.

        Raises:
            OutputError: ``temp_not_writable``.
        """

    def removeFolder(self, folder: Path) -> None:
        """Remove a folder of ``newFolder``; nothing where it is gone already."""
