"""One comparison through the worker: voxels out, figures and error map back, nodes at the end; in the background."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from UncertaintyGuidedI2ILib.check import nodes as check_nodes
from UncertaintyGuidedI2ILib.scene import nodes as scene
from UncertaintyGuidedI2ILib.scene import voxels as transfer
from UncertaintyGuidedI2ILib.scene.phases import phaseNodes
from UncertaintyGuidedI2ILib.scene.placement import placementOf
from UncertaintyGuidedI2ILib.scene.results import Result
from UncertaintyGuidedI2ILib.work.job import WorkerJob

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.work.worker import JobWorker


class CheckJob(WorkerJob):
    """One comparison in the background, from ``start`` on.

    Args:
        client: The client of the worker that compares.
        result: The result to check, in the phase that it shows now; it has an image.
        reference: The real image, on any grid, under any linear transform.
        trustGuessedPlaces: Compare also where the files say no place, or two.
        onProgress: Called with {"stage", "fraction", "remaining_s"} of the work.
        onFinished: Called with the new nodes.
        onError: Called with an ``UpganError``, ``Cancelled`` where the user cancels or a volume leaves the scene.

    Raises:
        UpganError: ``nonlinear_transform``, and what ``scene.nodes.refuseOtherThanScalarVolume`` raises.
    """

    def __init__(
        self,
        client: JobWorker,
        result: Result,
        reference: slicer.vtkMRMLScalarVolumeNode,
        trustGuessedPlaces: bool,
        onProgress: Callable[[dict[str, Any]], None],
        onFinished: Callable[[check_nodes.Check], None],
        onError: Callable[[Exception], None],
    ) -> None:
        image = result.nodes["image"]
        scene.refuseOtherThanScalarVolume(image)
        scene.refuseOtherThanScalarVolume(reference)
        super().__init__(client, "check", [image, reference], onProgress, onFinished, onError)
        self._imageID = image.GetID()
        self._referenceID = reference.GetID()
        self._phase = result.phase
        self._dimensions = image.GetImageData().GetDimensions()
        self._geometry = {
            "ijk_to_ras": scene.ijkToWorld(image).tolist(),
            "reference_ijk_to_ras": scene.ijkToWorld(reference).tolist(),
            "unit": result.unit,
            "image_placement_note": _note(image),
            "reference_placement_note": _note(reference),
            "trust_guessed_places": trustGuessedPlaces,
        }
        # The phase's own data, which stay as they are when another phase is shown meanwhile.
        phase = phaseNodes(result).get(self._phase, {})
        self._volumes = {name: phase.get(name, result.nodes.get(name)) for name in ("image", "alpha", "beta")}
        self._volumes["reference"] = reference

    def send(self, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """Write image, parameters and reference."""
        volumes = {name: node for name, node in self._volumes.items() if node is not None}
        stamps = {name: scene.Stamp.of(node) for name, node in volumes.items()}
        paths = {}
        for name, node in volumes.items():
            paths[name] = str(folder / f"{name}.npy")
            yield from transfer.writeVoxels(node, Path(paths[name]))
        if stamps != {name: scene.Stamp.of(node) for name, node in volumes.items()}:
            raise _changed()
        return {**dict.fromkeys(self._volumes), **paths, **self._geometry, "output": str(folder)}

    def receive(self, result: dict[str, Any]) -> Generator[None, None, tuple[check_nodes.Check]]:
        """Read the error map and add everything, all or nothing."""
        error = yield from transfer.readImage(self.file(result["error"]), self._image().GetImageData())
        reference = self.scene.GetNodeByID(self._referenceID)
        return (check_nodes.addCheck(self._image(), self._phase, reference, result, error),)

    def _image(self) -> slicer.vtkMRMLScalarVolumeNode:
        """Return the image, as long as it still lies where it was when it was sent."""
        node = self.scene.GetNodeByID(self._imageID)
        image = node.GetImageData()
        place = scene.ijkToWorld(node).tolist()
        if image is None or image.GetDimensions() != self._dimensions or place != self._geometry["ijk_to_ras"]:
            raise _changed()
        return node


def _note(node: slicer.vtkMRMLScalarVolumeNode) -> str:
    placement = placementOf(node)
    return "" if placement.is_certain else placement.sentence


def _changed() -> Exception:
    from upgan.errors import InputError

    return InputError(
        "input_changed",
        "The result or the reference was changed while they were being compared.",
        "Compare again and leave them as they are meanwhile.",
    )
