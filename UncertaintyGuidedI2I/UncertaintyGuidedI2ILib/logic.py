"""What scripts, the panel and the self-test call: translations of volume nodes, and trainings."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from UncertaintyGuidedI2ILib import dependencies
from UncertaintyGuidedI2ILib.models import DEFAULT_MODEL
from UncertaintyGuidedI2ILib.scene import nodes as scene
from UncertaintyGuidedI2ILib.scene import voxels as transfer
from UncertaintyGuidedI2ILib.scene.display import DisplayHints
from UncertaintyGuidedI2ILib.scene.outputs import Output, addOutputs
from UncertaintyGuidedI2ILib.scene.placement import placementOf

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.train.session.session import TrainingSession
    from upgan.bundles.bundle import Bundle
    from upgan.images.orientation import Plane
    from upgan.images.volume import Volume
    from upgan.inference.engine import InferenceEngine, ProgressCallback
    from upgan.inference.ensemble import Ensemble
    from upgan.inference.translation import Quantity, Translation
    from upgan.training.record.runs import Run

QUANTITIES: tuple[Quantity, ...] = ("image", "alpha", "beta", "sigma")
# What can be asked for.
OUTPUTS: tuple[Quantity, ...] = (*QUANTITIES, "epistemic")


class Model(Protocol):
    """What the logic knows of a model; ``upgan.bundles.bundle.Bundle`` is one."""

    @property
    def sha256(self) -> str:
        """The SHA-256 of its weights, which is the model's identity."""


class Translator(Protocol):
    """What the logic knows of what translates; ``upgan.inference.ensemble.Ensemble`` is one."""

    def translate(
        self,
        volume: Volume,
        *,
        plane: Plane | None = None,
        phases: Literal["last", "all"] = "last",
        progress: ProgressCallback | None = None,
        replace_nonfinite: float | None = None,
        source: str = "",
        epistemic: bool = False,
    ) -> Translation:
        """Translate a volume, as ``upgan.inference.engine.InferenceEngine.translate`` says."""


class Engine(Translator, Protocol):
    """What the logic knows of an engine; ``upgan.inference.engine.InferenceEngine`` is one."""

    @property
    def bundle(self) -> Model:
        """The model that the engine was made from."""


class UncertaintyGuidedI2ILogic:
    """Translates volume nodes in this process, blocking; trains models in a process of their own.

    Translations need neither Qt nor the application, trainings do. The module's panels show what is done with their own
    logic, which is ``slicer.util.getModuleLogic("UncertaintyGuidedI2I")``.

    Args:
        findBundle: Finds a model by name or path; by default the engine's own search.
        makeEngine: Makes an engine of (bundle, device, precision, batch), where the bundle is one that ``findBundle``
            has found; by default the real one.
        makeEnsemble: Makes what translates with several, of (bundles, device, precision, batch); by default the real
            one.
    """

    def __init__(
        self,
        findBundle: Callable[[str], Model] | None = None,
        makeEngine: Callable[[Any, str, str, int | None], Engine] | None = None,
        makeEnsemble: Callable[[Any, str, str, int | None], Translator] | None = None,
    ) -> None:
        self._findBundle: Callable[[str], Model] = findBundle or _findBundle
        self._makeEngine: Callable[[Any, str, str, int | None], Engine] = makeEngine or _makeEngine
        self._makeEnsemble: Callable[[Any, str, str, int | None], Translator] = makeEnsemble or _makeEnsemble
        self._engines: dict[tuple[str, str, str, int | None], Engine] = {}
        self._training: TrainingSession | None = None

    def translate(
        self,
        inputVolumeNode: slicer.vtkMRMLScalarVolumeNode,
        model: str | Sequence[str] = DEFAULT_MODEL,
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
            model: Name of an installed model, or path of a model bundle; or several of one task, which are taken as one
                (``upgan.Ensemble``).
            device: "auto", "cpu", "cuda" or another torch device.
            outputs: Which of "image", "alpha", "beta", "sigma", "epistemic" to add. The last, the disagreement with the
                mirror image, takes twice the time, is of the last phase alone, and there is none of sagittal slices; of
                several models it is their disagreement, and takes no more time.
            phases: "last", or "all" for every phase's outputs.
            precision: "auto", "float32" or "bfloat16".
            plane: The plane of the slices: "axial", "coronal" or "sagittal"; by default the model's.
            progress: Called as the work goes on; may raise ``upgan.errors.Cancelled``.
            batch: Slices at a time; by default the engine chooses.
            replaceNonfinite: Value to put in place of NaN and Inf in what the engine sees; a volume that holds any
                is refused where None.

        Returns:
            New volume nodes by output name: "pseudo_ct", "alpha", "beta", "sigma", "epistemic", "sigma_phase_1", ...
            Their attribute ``UncertaintyGuidedI2I.Familiarity`` says, as JSON, whether the volume is like the model's
            training data: ``is_unlike`` (null where it cannot be told), ``sentence``, ``scores``, ``limits``.

        Raises:
            UpganError: With a code, a sentence and a remedy; ``Cancelled`` where the user stopped or the input is gone.
        """
        from upgan.errors import Cancelled

        _refuseUnknown(outputs, phases)
        volume = replace(scene.volumeFromNode(inputVolumeNode), placement=placementOf(inputVolumeNode))
        mrmlScene = inputVolumeNode.GetScene()
        bundles = [self._findBundle(name) for name in ([model] if isinstance(model, str) else model)]
        translation = self._translator(bundles, device, precision, batch).translate(
            volume,
            plane=plane,
            phases=phases,
            progress=progress,
            replace_nonfinite=replaceNonfinite,
            source=scene.sourceName(inputVolumeNode),
            epistemic="epistemic" in outputs,
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
        from upgan.bundles.library import installed_models

        names = [model.name for model in installed_models() if not model.problem]
        return sorted(names, key=lambda name: name != DEFAULT_MODEL)

    @property
    def training(self) -> TrainingSession:
        """The one training of this logic: its state, progress and journal, and what may be done with it.

        Raises:
            UpganError: ``no_application`` where there is no Qt.
        """
        if self._training is None:
            self._training = _newTraining()
        return self._training

    def startTraining(self, config: Mapping[str, Any] | str | Path) -> Path:
        """Begin to train in the background; ``trainingState`` and ``training`` tell how it goes.

        Args:
            config: A configuration as the command line reads it: path of a TOML file, or its content.

        Returns:
            The run's folder.

        Raises:
            UpganError: ``no_application``, what ``TrainingSession.start`` raises, and what is wrong with the
                configuration; what is wrong with the data is told later, by ``training.error``.
        """
        # Reading a configuration takes some of them, too.
        dependencies.refuseMissing(dependencies.TRANSLATING, dependencies.TRAINING)
        from upgan.training.settings.config_file import config_from, read_config

        read = config_from(config) if isinstance(config, Mapping) else read_config(Path(config))
        return self.training.start(read.model_dump(mode="json"))

    def pauseTraining(self) -> None:
        """Let the training write a checkpoint and end its process.

        Raises:
            UpganError: What ``TrainingSession.pause`` raises.
        """
        self.training.pause()

    def resumeTraining(self, run: str | Path | None = None) -> None:
        """Go on with a run from its last checkpoint, in the background.

        Args:
            run: The run's folder; by default that of the run that was trained or looked at last.

        Raises:
            UpganError: What ``TrainingSession.resume`` raises.
        """
        self.training.resume(Path(run) if run is not None else None)

    def stopTraining(self) -> None:
        """End the run for good where it is, after a checkpoint.

        Raises:
            UpganError: What ``TrainingSession.stop`` raises.
        """
        self.training.stop()

    @property
    def trainingState(self) -> str:
        """What the training does: "idle", "checking", "running", "pausing", "paused", "stopping" or "saving"."""
        return self.training.state

    def trainingRuns(self) -> list[Run]:
        """Return all runs on this computer, the newest first, whoever trains them."""
        from upgan.training.record.runs import list_runs

        return list_runs()

    def saveModel(
        self,
        checkpoint: str = "best",
        name: str = "",
        onSaved: Callable[[dict[str, Any]], None] | None = None,
        onError: Callable[[Exception], None] | None = None,
    ) -> None:
        """Make a model of the run, in the background; it can then be translated with by its name.

        Args:
            checkpoint: "best", "last", "phase_1", ...
            name: The name of the new model; by default the run's.
            onSaved: Called with the installed model: name, origin, folder.
            onError: Called with what went wrong, which is logged by default.

        Raises:
            UpganError: What ``TrainingSession.saveModel`` raises.
        """
        run = self.training.run
        name = name or (run.name if run is not None else "")
        self.training.saveModel(checkpoint, name, onSaved or (lambda model: None), onError or _logError)

    def _translator(self, bundles: Sequence[Model], device: str, precision: str, batch: int | None) -> Translator:
        if len(bundles) == 1:
            return self._engine(bundles[0], device, precision, batch)
        # It keeps no networks that could be kept warm.
        return self._makeEnsemble(bundles, device, precision, batch)

    def _engine(self, bundle: Model, device: str, precision: str, batch: int | None) -> Engine:
        """Return an engine, the one of an earlier translation where there was one: the second pays for no loading."""
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

    unknown = [output for output in outputs if output not in OUTPUTS]
    if unknown or not outputs or isinstance(outputs, str):
        raise InputError(
            "unknown_output",
            f"There is no output '{', '.join(unknown)}'." if unknown else "No list of outputs was asked for.",
            f"Give a list of {', '.join(OUTPUTS)}.",
        )
    if phases not in ("last", "all"):
        raise InputError("unknown_phases", f"Phases cannot be '{phases}'.", "Choose 'last' or 'all'.")


def _newTraining() -> TrainingSession:
    from upgan.errors import UpganError

    try:
        from UncertaintyGuidedI2ILib.train.session.session import TrainingSession, trainingClient
    except ModuleNotFoundError as error:
        # What slicer-core lacks.
        if error.name not in ("qt", "slicer.i18n"):
            raise
        raise UpganError(
            "no_application",
            "Models are trained from scripts inside the Slicer application only.",
            "Use the command line: upgan train CONFIG.toml.",
        ) from error
    return TrainingSession(trainingClient())


def _logError(error: Exception) -> None:
    logging.error(str(error))


def _findBundle(model: str) -> Bundle:
    from upgan.bundles.library import find_bundle

    return find_bundle(model)


def _makeEngine(bundle: Bundle, device: str, precision: str, batch: int | None) -> InferenceEngine:
    from upgan.inference.engine import InferenceEngine

    return InferenceEngine(bundle, device=device, precision=precision, batch=batch)


def _makeEnsemble(bundles: Sequence[Bundle], device: str, precision: str, batch: int | None) -> Ensemble:
    from upgan.inference.ensemble import Ensemble

    return Ensemble(bundles, device=device, precision=precision, batch=batch)
