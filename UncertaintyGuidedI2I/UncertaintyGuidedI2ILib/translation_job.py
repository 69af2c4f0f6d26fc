"""One translation in the background: a node's voxels to the worker, the outputs back, nodes at the end."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.util import VTKObservationMixin

from UncertaintyGuidedI2ILib import scene, transfer
from UncertaintyGuidedI2ILib.cooperative import Cooperative
from UncertaintyGuidedI2ILib.display import DisplayHints
from UncertaintyGuidedI2ILib.outputs import Output, addOutputs
from UncertaintyGuidedI2ILib.phases import collectPhases
from UncertaintyGuidedI2ILib.worker_client import WorkerClient

Nodes = dict[str, slicer.vtkMRMLScalarVolumeNode]


@dataclass(frozen=True)
class TranslationChoices:
    """How to translate; see ``upgan.commands.TranslateArguments``."""

    model: str
    device: str
    precision: str
    plane: str | None
    allPhases: bool
    outputs: tuple[str, ...]
    replaceNonfinite: float | None = None


class TranslationJob(VTKObservationMixin):
    """Runs from its construction until exactly one of ``onFinished`` and ``onError`` is called.

    It ends with ``Cancelled`` where the user cancels, or where the input leaves the scene.

    Args:
        client: The worker's.
        inputNode: The volume to translate.
        choices: How.
        onProgress: Called with {"stage", "fraction", "remaining_s"}.
        onFinished: Called with the new nodes by output name, and the seconds that the network took.
        onError: Called with an ``UpganError``.

    Raises:
        UpganError: What ``scene.refuseOtherThanScalarVolume`` and ``WorkerClient.newJobFolder`` raise; then nothing
            was started.
    """

    def __init__(
        self,
        client: WorkerClient,
        inputNode: slicer.vtkMRMLScalarVolumeNode,
        choices: TranslationChoices,
        onProgress: Callable[[dict[str, Any]], None],
        onFinished: Callable[[Nodes, float], None],
        onError: Callable[[Exception], None],
    ) -> None:
        VTKObservationMixin.__init__(self)
        scene.refuseOtherThanScalarVolume(inputNode)
        self._client = client
        self._choices = choices
        self._onProgress = onProgress
        self._onFinished = onFinished
        self._onError = onError
        self._folder = client.newJobFolder()
        self._scene = inputNode.GetScene()
        self._inputID = inputNode.GetID()
        self._stamp = scene.Stamp.of(inputNode)
        self._over = False
        self._isCancelled = False
        self.addObserver(self._scene, self._scene.NodeRemovedEvent, self._onNodeRemoved)
        self._steps: Cooperative[Any] = Cooperative(
            transfer.writeVoxels(inputNode, self._folder / "input.npy"), self._onWritten, self._fail
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

    def _onWritten(self, nothing: None) -> None:
        from upgan.errors import UpganError

        try:
            inputNode = self._input()
        except UpganError as error:
            self._fail(error)
            return
        arguments = {
            "voxels": str(self._folder / "input.npy"),
            "ijk_to_ras": scene.ijkToRAS(inputNode).tolist(),
            "modality": scene.modality(inputNode),
            "source": scene.sourceName(inputNode),
            "folder": str(self._folder),
            "model": self._choices.model,
            "device": self._choices.device,
            "precision": self._choices.precision,
            "plane": self._choices.plane,
            "phases": "all" if self._choices.allPhases else "last",
            "outputs": list(self._choices.outputs),
            "replace_nonfinite": self._choices.replaceNonfinite,
        }
        try:
            self._client.request("translate", arguments, self._onProgress, self._onResult, self._fail, job=self._folder)
        except UpganError as error:
            self._fail(error)

    def _onResult(self, result: dict[str, Any]) -> None:
        self._onProgress({"stage": "adding the results to the scene", "fraction": 1.0, "remaining_s": None})
        if self._isCancelled:
            return
        self._steps = Cooperative(self._read(result), lambda outputs: self._add(result, outputs), self._fail)

    def _read(self, result: dict[str, Any]) -> Generator[None, None, list[Output]]:
        like = self._input().GetImageData()
        outputs = []
        for entry in result["outputs"]:
            path = Path(entry["file"])
            image = yield from transfer.readImage(path, like)
            path.unlink(missing_ok=True)
            what = scene.OutputName(entry["name"], entry["quantity"], entry["phase"], entry["unit"])
            outputs.append(Output(what, image, entry["maximum"]))
        return outputs

    def _add(self, result: dict[str, Any], outputs: list[Output]) -> None:
        try:
            provenance = {**result["provenance"], "run": uuid.uuid4().hex}
            hints = DisplayHints.of(result["display"])
            with scene.allOrNothing(self._scene):
                nodes = addOutputs(self._input(), outputs, result["image_name"], hints, provenance)
                nodes = _asSequences(outputs, nodes)
        except Exception as error:  # noqa: BLE001 - handed on, not swallowed
            self._fail(error)
            return
        self._end()
        self._onFinished(nodes, float(provenance["seconds"]))

    def _input(self) -> slicer.vtkMRMLScalarVolumeNode:
        """Return the input, as long as it is still the volume that was sent."""
        from upgan.errors import InputError

        node = self._scene.GetNodeByID(self._inputID)
        # Else old and new voxels were sent together, or the outputs would lie where the input was not.
        if scene.Stamp.of(node) != self._stamp:
            raise InputError(
                "input_changed",
                "The input volume was changed while it was being translated.",
                "Translate it again and leave it as it is meanwhile.",
            )
        return node

    def _onNodeRemoved(self, caller: Any, event: str) -> None:
        if not self._isCancelled and not self._over and self._scene.GetNodeByID(self._inputID) is None:
            self.cancel()

    def _fail(self, error: Exception) -> None:
        if not self._over:
            self._end()
            self._onError(error)

    def _end(self) -> None:
        self._over = True
        self.removeObservers()
        self._client.removeJobFolder(self._folder)


def _asSequences(outputs: list[Output], nodes: Nodes) -> Nodes:
    """Let the phases be scrubbed through; return the nodes of the last phase, which show them."""
    phases: dict[int, Nodes] = {}
    for output in outputs:
        phases.setdefault(output.what.phase, {})[output.what.quantity] = nodes[output.what.name]
    if len(phases) == 1:
        return nodes
    collectPhases(phases)
    return {output.what.name: nodes[output.what.name] for output in outputs if output.what.phase == max(phases)}
