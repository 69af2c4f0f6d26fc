"""One translation in the background: a node's voxels to the worker, the outputs back, nodes at the end."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from UncertaintyGuidedI2ILib.scene import voxels as transfer
from UncertaintyGuidedI2ILib.scene.display import DisplayHints
from UncertaintyGuidedI2ILib.scene.nodes import (
    OutputName,
    Stamp,
    allOrNothing,
    ijkToRAS,
    modality,
    refuseOtherThanScalarVolume,
    remove,
    sourceName,
)
from UncertaintyGuidedI2ILib.scene.outputs import Output, addOutputs
from UncertaintyGuidedI2ILib.scene.phases import collectPhases
from UncertaintyGuidedI2ILib.scene.placement import placementOf
from UncertaintyGuidedI2ILib.work.job import WorkerJob
from UncertaintyGuidedI2ILib.work.worker import JobWorker

Nodes = dict[str, slicer.vtkMRMLScalarVolumeNode]


@dataclass(frozen=True)
class TranslationChoices:
    """How to translate: what ``upgan.worker.commands.TranslateArguments`` says of models, device, outputs and so on."""

    models: tuple[str, ...]
    device: str
    precision: str
    plane: str | None
    allPhases: bool
    outputs: tuple[str, ...]
    replaceNonfinite: float | None = None


class TranslationJob(WorkerJob):
    """One translation in the background, from ``start`` on.

    Args:
        client: The client of the worker that translates.
        inputNode: The volume to translate.
        choices: How to translate it.
        onProgress: Called with {"stage", "fraction", "remaining_s"} of the work.
        onFinished: Called with the new nodes by output name, and the seconds that the network took.
        onError: Called with an ``UpganError``, ``Cancelled`` where the user cancels or the input leaves the scene.

    Raises:
        UpganError: What ``scene.nodes.refuseOtherThanScalarVolume`` raises.
    """

    def __init__(
        self,
        client: JobWorker,
        inputNode: slicer.vtkMRMLScalarVolumeNode,
        choices: TranslationChoices,
        onProgress: Callable[[dict[str, Any]], None],
        onFinished: Callable[[Nodes, float], None],
        onError: Callable[[Exception], None],
    ) -> None:
        refuseOtherThanScalarVolume(inputNode)
        super().__init__(client, "translate", [inputNode], onProgress, onFinished, onError)
        self._choices = choices
        self._inputID = inputNode.GetID()
        self._stamp = Stamp.of(inputNode)

    def send(self, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """Write the input's voxels into the job's folder and return the arguments of the request."""
        path = folder / "input.npy"
        yield from transfer.writeVoxels(self._input(), path)
        inputNode = self._input()
        placement = placementOf(inputNode)
        return {
            "voxels": str(path),
            "ijk_to_ras": ijkToRAS(inputNode).tolist(),
            "modality": modality(inputNode),
            "placement": placement.certainty,
            "placement_note": placement.sentence,
            "source": sourceName(inputNode),
            "folder": str(folder),
            "model": list(self._choices.models),
            "device": self._choices.device,
            "precision": self._choices.precision,
            "plane": self._choices.plane,
            "phases": "all" if self._choices.allPhases else "last",
            "outputs": list(self._choices.outputs),
            "replace_nonfinite": self._choices.replaceNonfinite,
        }

    def receive(self, result: dict[str, Any]) -> Generator[None, None, tuple[Nodes, float]]:
        """Read the outputs and add them to the scene, all or none; return the new nodes and the network's seconds."""
        like = self._input().GetImageData()
        outputs = []
        for entry in result["outputs"]:
            path = self.file(entry["file"])
            image = yield from transfer.readImage(path, like)
            path.unlink(missing_ok=True)
            what = OutputName(entry["name"], entry["quantity"], entry["phase"], entry["unit"])
            outputs.append(Output(what, image, entry["maximum"]))
        provenance = {**result["provenance"], "run": uuid.uuid4().hex}
        hints = DisplayHints.of(result["display"])
        with allOrNothing(self.scene) as added:
            nodes = addOutputs(self._input(), outputs, result["image_name"], hints, provenance)
            nodes = _asSequences(outputs, nodes)
        try:
            # What the panels make of the result has an event of its own: both in one would hold the viewer too long.
            yield
        except GeneratorExit:
            for node in added:
                remove(node, self.scene)
            raise
        return nodes, float(provenance["seconds"])

    def _input(self) -> slicer.vtkMRMLScalarVolumeNode:
        """Return the input, as long as it is still the volume that was sent."""
        from upgan.errors import InputError

        node = self.scene.GetNodeByID(self._inputID)
        # Else old and new voxels were sent together, or the outputs would lie where the input was not.
        if Stamp.of(node) != self._stamp:
            raise InputError(
                "input_changed",
                "The input volume was changed while it was being translated.",
                "Translate it again and leave it as it is meanwhile.",
            )
        return node


def _asSequences(outputs: list[Output], nodes: Nodes) -> Nodes:
    """Let the phases be scrubbed through; return the nodes of the last phase, which show them."""
    phases: dict[int, Nodes] = {}
    for output in outputs:
        phases.setdefault(output.what.phase, {})[output.what.quantity] = nodes[output.what.name]
    if len(phases) == 1:
        return nodes
    collectPhases(phases)
    return {output.what.name: nodes[output.what.name] for output in outputs if output.what.phase == max(phases)}
