"""One comparison through the worker: voxels out, figures and error map back, nodes at the end; in the background."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
import vtk
from slicer.util import VTKObservationMixin

from UncertaintyGuidedI2ILib import check_nodes, scene, transfer
from UncertaintyGuidedI2ILib.cooperative import Cooperative
from UncertaintyGuidedI2ILib.phases import phaseNodes
from UncertaintyGuidedI2ILib.results import Result

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.worker_client import WorkerClient


class CheckJob(VTKObservationMixin):
    """Runs from its construction until exactly one of ``onFinished`` and ``onError`` is called.

    It ends with ``Cancelled`` where the user cancels, or where image or reference leave the scene.

    Args:
        client: The worker's.
        result: What to check, in the phase that it shows now; it has an image.
        reference: The real image, on any grid, under any linear transform.
        onProgress: Called with {"stage", "fraction", "remaining_s"}.
        onFinished: Called with the new nodes.
        onError: Called with an ``UpganError``.

    Raises:
        UpganError: ``nonlinear_transform``, and what ``scene.refuseOtherThanScalarVolume`` and
            ``WorkerClient.newJobFolder`` raise; then nothing was started.
    """

    def __init__(
        self,
        client: WorkerClient,
        result: Result,
        reference: slicer.vtkMRMLScalarVolumeNode,
        onProgress: Callable[[dict[str, Any]], None],
        onFinished: Callable[[check_nodes.Check], None],
        onError: Callable[[Exception], None],
    ) -> None:
        VTKObservationMixin.__init__(self)
        image = result.nodes["image"]
        scene.refuseOtherThanScalarVolume(image)
        scene.refuseOtherThanScalarVolume(reference)
        self._client = client
        self._onProgress = onProgress
        self._onFinished = onFinished
        self._onError = onError
        self._scene = image.GetScene()
        self._imageID = image.GetID()
        self._referenceID = reference.GetID()
        self._phase = result.phase
        self._shape = tuple(reversed(image.GetImageData().GetDimensions()))
        self._geometry = {
            "ijk_to_ras": check_nodes.ijkToWorld(image).tolist(),
            "reference_ijk_to_ras": check_nodes.ijkToWorld(reference).tolist(),
            "unit": result.unit,
        }
        # The phase's own data, which stay as they are when another phase is shown meanwhile.
        phase = phaseNodes(result).get(self._phase, {})
        volumes = {name: phase.get(name, result.nodes.get(name)) for name in ("image", "alpha", "beta")}
        self._sent = [node for node in (*volumes.values(), reference) if node is not None]
        self._stamps = list(map(scene.Stamp.of, self._sent))
        self._over = False
        self._isCancelled = False
        self._folder = client.newJobFolder()
        self.addObserver(self._scene, self._scene.NodeRemovedEvent, self._onNodeRemoved)
        onProgress({"stage": "handing the images to the engine", "fraction": 0.0, "remaining_s": None})
        self._steps: Cooperative[Any] = Cooperative(
            self._write({**volumes, "reference": reference}), self._onWritten, self._fail
        )

    def cancel(self) -> None:
        """Stop; ``onError`` is called with ``Cancelled``, at the latest when the worker has ended."""
        from upgan.errors import Cancelled

        self._isCancelled = True
        self._steps.cancel()
        # The worker is this job's alone: whatever it does may be ended.
        self._client.cancel(lambda: self._fail(Cancelled()))

    def abandon(self) -> None:
        """Stop without any callback: the module goes away. The caller stops the worker."""
        self._steps.cancel()
        self._end()

    def _write(self, volumes: dict[str, Any]) -> Generator[None, None, dict[str, str | None]]:
        paths: dict[str, str | None] = dict.fromkeys(volumes)
        for name, node in volumes.items():
            if node is not None:
                path = self._folder / f"{name}.npy"
                yield from transfer.writeVoxels(node, path)
                paths[name] = str(path)
        return paths

    def _onWritten(self, paths: dict[str, str | None]) -> None:
        from upgan.errors import UpganError

        if list(map(scene.Stamp.of, self._sent)) != self._stamps:
            self._fail(_changed())
            return
        arguments = {**paths, **self._geometry, "output": str(self._folder)}
        try:
            self._client.request("check", arguments, self._onProgress, self._onResult, self._fail, job=self._folder)
        except UpganError as error:
            self._fail(error)

    def _onResult(self, result: dict[str, Any]) -> None:
        self._onProgress({"stage": "adding the results to the scene", "fraction": 1.0, "remaining_s": None})
        if self._isCancelled:
            return
        self._steps = Cooperative(self._read(result), lambda error: self._add(result, error), self._fail)

    def _read(self, result: dict[str, Any]) -> Generator[None, None, vtk.vtkImageData]:
        return (yield from transfer.readImage(Path(result["error"]), self._image().GetImageData()))

    def _add(self, result: dict[str, Any], errorImage: vtk.vtkImageData) -> None:
        try:
            reference = self._scene.GetNodeByID(self._referenceID)
            check = check_nodes.addCheck(self._image(), self._phase, reference, result, errorImage)
        except Exception as error:  # noqa: BLE001 - handed on, not swallowed
            self._fail(error)
            return
        self._end()
        self._onFinished(check)

    def _image(self) -> slicer.vtkMRMLScalarVolumeNode:
        """Return the image, as long as it still lies where it was when it was sent."""
        node = self._scene.GetNodeByID(self._imageID)
        shape = tuple(reversed(node.GetImageData().GetDimensions())) if node.GetImageData() else ()
        place = check_nodes.ijkToWorld(node).tolist()
        if shape != self._shape or place != self._geometry["ijk_to_ras"]:
            raise _changed()
        return node

    def _onNodeRemoved(self, caller: Any, event: str) -> None:
        if (
            not self._isCancelled
            and not self._over
            and None in map(self._scene.GetNodeByID, (self._imageID, self._referenceID))
        ):
            self.cancel()

    def _fail(self, error: Exception) -> None:
        if not self._over:
            self._end()
            self._onError(error)

    def _end(self) -> None:
        self._over = True
        self.removeObservers()
        self._client.removeJobFolder(self._folder)


def _changed() -> Exception:
    from upgan.errors import InputError

    return InputError(
        "input_changed",
        "The result or the reference was changed while they were being compared.",
        "Compare again and leave them as they are meanwhile.",
    )
