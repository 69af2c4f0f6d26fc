"""A piece of work in the background: volumes to the worker, its answer back, nodes at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.util import VTKObservationMixin

from UncertaintyGuidedI2ILib.scene import voxels as transfer
from UncertaintyGuidedI2ILib.work.cooperative import Cooperative

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.work.worker import JobWorker


class WorkerJob(VTKObservationMixin, ABC):
    """Runs from ``start`` until exactly one of ``onFinished`` and ``onError`` is called.

    It ends with ``Cancelled`` where the user cancels, or where one of its nodes leaves the scene. A subclass says what
    is sent and what is done with the answer.

    Args:
        client: The client of the worker, which this job has for itself as long as it runs.
        command: The worker's command.
        nodes: The nodes without which the work has no sense.
        onProgress: Called with {"stage", "fraction", "remaining_s"}.
        onFinished: Called with what ``receive`` returns.
        onError: Called with an ``UpganError``.
    """

    def __init__(
        self,
        client: JobWorker,
        command: str,
        nodes: Sequence[slicer.vtkMRMLNode],
        onProgress: Callable[[dict[str, Any]], None],
        onFinished: Callable[..., None],
        onError: Callable[[Exception], None],
    ) -> None:
        VTKObservationMixin.__init__(self)
        self._client = client
        self._command = command
        self._onProgress = onProgress
        self._onFinished = onFinished
        self._onError = onError
        self._isCancelled = False
        self._isOver = False
        self._folder: Path | None = None
        self._steps: Cooperative[Any] | None = None
        self.scene = nodes[0].GetScene()
        # IDs, not nodes: any of them may be deleted meanwhile.
        self._nodeIDs = [node.GetID() for node in nodes]

    def start(self) -> None:
        """Begin the work, once.

        Raises:
            UpganError: What ``JobWorker.newJobFolder`` raises; then nothing was started, and no callback is called.
        """
        assert self._folder is None, "a job is started once"
        self._folder = self._client.newJobFolder()
        self.addObserver(self.scene, self.scene.NodeRemovedEvent, self._onNodeRemoved)
        self._steps = Cooperative(self.send(self._folder), self._onSent, self._fail)

    @abstractmethod
    def send(self, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """Write volumes stepwise into the job's private folder and return the request's arguments."""

    @abstractmethod
    def receive(self, result: dict[str, Any]) -> Generator[None, None, tuple[Any, ...]]:
        """Read the worker's answer stepwise, add to the scene between two yields, and return what came of it.

        Where it is closed before its end, nothing of it stays in the scene.
        """

    def file(self, said: Any) -> Path:
        """Return the path of a file that the worker says it has written into this job's folder.

        Raises:
            InputError: ``transfer_failed`` where it is anywhere else.
        """
        assert self._folder is not None
        return transfer.fileIn(self._folder, said)

    def cancel(self) -> None:
        """Stop; ``onError`` is called with ``Cancelled`` when the worker has ended. Nothing happens where none runs."""
        from upgan.errors import Cancelled

        if self._steps is None or self._isOver:
            return
        self._isCancelled = True
        self._steps.cancel()
        # The worker is this job's alone: whatever it does may be ended.
        self._client.cancel(lambda: self._fail(Cancelled()))

    def abandon(self) -> None:
        """Stop without any callback: the module goes away. The caller stops the worker."""
        if self._steps is not None and not self._isOver:
            self._steps.cancel()
            self._end()

    def _onSent(self, arguments: dict[str, Any]) -> None:
        from upgan.errors import UpganError

        try:
            self._client.request(
                self._command, arguments, self._onProgress, self._onResult, self._fail, job=self._folder
            )
        except UpganError as error:
            self._fail(error)

    def _onResult(self, result: dict[str, Any]) -> None:
        self._onProgress({"stage": "adding the results to the scene", "fraction": 1.0, "remaining_s": None})
        # Whoever hears of progress may have closed the scene.
        if not self._isCancelled:
            self._steps = Cooperative(self.receive(result), self._finish, self._fail)

    def _onNodeRemoved(self, caller: Any, event: str) -> None:
        if not self._isCancelled and not self._isOver and None in map(self.scene.GetNodeByID, self._nodeIDs):
            self.cancel()

    def _finish(self, found: tuple[Any, ...]) -> None:
        self._end()
        self._onFinished(*found)

    def _fail(self, error: Exception) -> None:
        if not self._isOver:
            self._end()
            self._onError(error)

    def _end(self) -> None:
        self._isOver = True
        self.removeObservers()
        assert self._folder is not None
        self._client.removeJobFolder(self._folder)
