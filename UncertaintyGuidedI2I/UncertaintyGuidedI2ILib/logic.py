"""What scripts, the panel and the self-test call: a volume node in, nodes with its translation out."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from UncertaintyGuidedI2ILib import scene, transfer
from UncertaintyGuidedI2ILib.display import DisplayHints
from UncertaintyGuidedI2ILib.outputs import Output, addOutputs

if TYPE_CHECKING:
    from upgan.bundle import Bundle
    from upgan.inference import InferenceEngine, Progress
    from upgan.translation import Quantity, Translation
    from upgan.volume import Plane

DEFAULT_MODEL = "pet-ct-phantom"
QUANTITIES: tuple[Quantity, ...] = ("image", "alpha", "beta", "sigma")

ProgressCallback = Callable[["Progress"], None]


class UncertaintyGuidedI2ILogic:
    """Runs the engine on volume nodes, in this process and blocking; needs neither Qt nor the application.

    Args:
        findBundle: Finds a model by name or path; by default the engine's own search.
        makeEngine: Makes an engine of (bundle, device, precision, batch); by default the real one.
    """

    def __init__(
        self,
        findBundle: Callable[[str], Bundle] | None = None,
        makeEngine: Callable[[Bundle, str, str, int | None], InferenceEngine] | None = None,
    ) -> None:
        self._findBundle = findBundle or _findBundle
        self._makeEngine = makeEngine or _makeEngine
        self._engines: dict[tuple[str, str, str, int | None], InferenceEngine] = {}

    def translate(
        self,
        inputVolumeNode: slicer.vtkMRMLScalarVolumeNode,
        model: str = DEFAULT_MODEL,
        device: str = "auto",
        outputs: Sequence[Quantity] = QUANTITIES,
        phases: Literal["last", "all"] = "last",
        precision: str = "auto",
        plane: Plane | None = None,
        progress: ProgressCallback | None = None,
        batch: int | None = None,
        replaceNonfinite: float | None = None,
    ) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
        """Translate a volume and add the outputs to its scene: all of them, or none if anything fails.

        Args:
            inputVolumeNode: A scalar volume; it is not changed.
            model: Name of a bundled model, or path of a model bundle.
            device: "auto", "cpu", "cuda" or another torch device.
            outputs: Of "image", "alpha", "beta", "sigma".
            phases: "last", or "all" for every phase's outputs.
            precision: "auto" or one of the engine's.
            plane: Slice plane; by default the model's.
            progress: Called as the work goes on; may raise ``upgan.errors.Cancelled``.
            batch: Slices at a time; by default the engine chooses.
            replaceNonfinite: Value to put in place of NaN and Inf in what the engine sees; a volume that holds any
                is refused where None.

        Returns:
            New volume nodes by output name: "pseudo_ct", "alpha", "beta", "sigma", "sigma_phase_1", ...

        Raises:
            UpganError: With a code, a sentence and a remedy; ``Cancelled`` where the user stopped or the input is gone.
        """
        from upgan.errors import Cancelled

        _refuseUnknown(outputs, phases)
        volume = scene.volumeFromNode(inputVolumeNode)
        mrmlScene = inputVolumeNode.GetScene()
        bundle = self._findBundle(model)
        translation = self._engine(bundle, device, precision, batch).translate(
            volume,
            plane=plane,
            phases=phases,
            progress=progress,
            replace_nonfinite=replaceNonfinite,
            source=scene.sourceName(inputVolumeNode),
        )
        # Progress may have let the user delete the input or close the scene.
        if not scene.isInScene(inputVolumeNode, mrmlScene):
            raise Cancelled
        return addOutputs(
            inputVolumeNode,
            _outputsOf(translation, outputs, inputVolumeNode.GetImageData()),
            translation.task.image_name,
            DisplayHints.of(translation.display.model_dump()),
            {**translation.provenance, "run": uuid.uuid4().hex},
        )

    def releaseEngines(self) -> None:
        """Forget the engines kept warm, and with them the memory that their networks hold."""
        self._engines.clear()

    def modelNames(self) -> list[str]:
        """Return the names of all models that can be used, the default first; works without the engine's packages."""
        from upgan.library import installed_models

        names = [model.name for model in installed_models() if not model.problem]
        return sorted(names, key=lambda name: name != DEFAULT_MODEL)

    def _engine(self, bundle: Bundle, device: str, precision: str, batch: int | None) -> InferenceEngine:
        """Return an engine, from an earlier run where there was one: the second run pays for no loading."""
        key = (bundle.sha256, device, precision, batch)
        engine = self._engines.get(key)
        # The same weights may lie in two bundles that say different things of them.
        if engine is None or engine.bundle != bundle:
            engine = self._engines[key] = self._makeEngine(bundle, device, precision, batch)
        return engine


def _outputsOf(translation: Translation, quantities: Sequence[Quantity], like: vtk.vtkImageData) -> Iterator[Output]:
    for output in translation.outputs(quantities):
        image = transfer.emptyLike(like)
        vtk_to_numpy(image.GetPointData().GetScalars()).reshape(output.voxels.shape)[:] = output.voxels
        what = scene.OutputName(output.name, output.quantity, output.phase, output.unit)
        yield Output(what, image, float(output.voxels.max()))


def _refuseUnknown(outputs: Sequence[str], phases: str) -> None:
    from upgan.errors import InputError

    unknown = [output for output in outputs if output not in QUANTITIES]
    if unknown or not outputs or isinstance(outputs, str):
        raise InputError(
            "unknown_output",
            f"There is no output '{', '.join(unknown)}'." if unknown else "No list of outputs was asked for.",
            f"Give a list of {', '.join(QUANTITIES)}.",
        )
    if phases not in ("last", "all"):
        raise InputError("unknown_phases", f"Phases cannot be '{phases}'.", "Choose 'last' or 'all'.")


def _findBundle(model: str) -> Bundle:
    from upgan.bundle import find_bundle

    return find_bundle(model)


def _makeEngine(bundle: Bundle, device: str, precision: str, batch: int | None) -> InferenceEngine:
    from upgan.inference import InferenceEngine

    return InferenceEngine(bundle, device=device, precision=precision, batch=batch)
