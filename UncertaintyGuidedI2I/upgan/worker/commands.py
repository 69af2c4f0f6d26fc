"""What the worker can do: arguments as JSON in, a result as JSON out; voxels travel as .npy files."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from upgan.errors import InputError
from upgan.evaluation.request import CheckArguments
from upgan.images.npy import load_voxels, save_voxels
from upgan.progress import Progress
from upgan.schema import Affine, Arguments, FilePath, Name
from upgan.worker.requests import NoArguments, Validated
from upgan.worker.training import training_commands

if TYPE_CHECKING:
    from upgan.inference.engine import InferenceEngine
    from upgan.inference.ensemble import Ensemble

_MOST_MODELS = 100


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class TranslateArguments(Arguments):
    """What to translate and how, as ``upgan.inference.engine.InferenceEngine.translate`` takes it.

    Attributes:
        voxels: The .npy file of the volume's voxels, [K, J, I], of any real type.
        ijk_to_ras: The affine from the voxels' indices to RAS, 4x4, mm.
        modality: DICOM modality code where the viewer knows it.
        placement: How sure ``ijk_to_ras`` is, as far as the viewer knows.
        placement_note: A sentence on why ``ijk_to_ras`` is not certain; empty where there is nothing to say.
        source: What names the input in the provenance.
        folder: The folder into which the outputs are written, as <name>.npy.
        model: The name of an installed model, or the path of a bundle; or several, which are taken as one.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: The networks' arithmetic.
        plane: The plane of the slices; the model's own where None.
        phases: Whether the maps of the last phase or of all phases are written.
        outputs: The quantities that are written; "epistemic" takes twice the time, and is not there in sagittal slices.
        replace_nonfinite: The value, in the volume's unit, in place of NaN and infinities; None refuses these.
    """

    voxels: FilePath
    ijk_to_ras: Affine
    modality: str | None = None
    placement: Literal["certain", "guessed", "ambiguous"] = "certain"
    placement_note: str = ""
    source: str = ""
    folder: FilePath
    model: Annotated[list[Name], Field(min_length=1, max_length=_MOST_MODELS), BeforeValidator(_listed)]
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    plane: Literal["axial", "coronal", "sagittal"] | None = None
    phases: Literal["last", "all"] = "last"
    outputs: Annotated[list[Literal["image", "alpha", "beta", "sigma", "epistemic"]], Field(min_length=1)]
    replace_nonfinite: Annotated[float, Field(strict=True)] | None = None


class ImportModelArguments(Arguments):
    """The model to add to the library.

    Attributes:
        path: A model's folder, or a zip of one.
    """

    path: FilePath


class RemoveModelArguments(Arguments):
    """The model to delete from the library.

    Attributes:
        name: The model's name, as ``upgan.bundles.library.installed_models`` lists it.
    """

    name: Name


def commands() -> Mapping[str, Validated[Any]]:
    """Return the commands of one worker, which share its warm engine."""
    engines = _WarmEngine()
    return {
        "info": Validated(NoArguments, _info),
        "translate": Validated(TranslateArguments, partial(_translate, engines)),
        "check": Validated(CheckArguments, _check),
        "import_model": Validated(ImportModelArguments, _import_model),
        "remove_model": Validated(RemoveModelArguments, _remove_model),
        **training_commands(),
    }


class _WarmEngine:
    """The engine of the last translation: the next one with the same choices pays for no loading."""

    def __init__(self) -> None:
        self._engine: InferenceEngine | None = None
        self._choice: tuple[str, str] | None = None

    def get(self, models: list[str], device: str, precision: str) -> InferenceEngine | Ensemble:
        from upgan.bundles.library import find_bundle
        from upgan.inference.engine import InferenceEngine
        from upgan.inference.ensemble import Ensemble

        # Opened every time: the model may have been replaced or removed since.
        bundle, *others = (find_bundle(name) for name in models)
        if others:
            # An ensemble keeps no networks: there is one in memory at a time.
            self._engine = None
            return Ensemble([bundle, *others], device, precision)
        choice = (device, precision)
        if self._engine is None or self._choice != choice or self._engine.bundle != bundle:
            # First, so that two models are never in the graphics card's memory.
            self._engine = None
            self._engine = InferenceEngine(bundle, device, precision)
            self._choice = choice
        return self._engine


def _translate(engines: _WarmEngine, request: TranslateArguments, progress: Progress) -> dict[str, Any]:
    from upgan.images.placement import Placement
    from upgan.images.volume import Volume

    progress.tell(0.0, "loading the model")
    engine = engines.get(request.model, request.device, request.precision)
    progress.tell(0.0, "reading the image")
    voxels = np.asarray(_load(request.voxels), dtype=np.float32)
    placement = Placement(request.placement, request.placement_note)
    _refuse_full_disk(request, voxels.shape, engine)
    progress = progress.steadily()
    translation = engine.translate(
        Volume(voxels, np.asarray(request.ijk_to_ras), request.modality, placement),
        plane=request.plane,
        phases=request.phases,
        progress=progress,
        replace_nonfinite=request.replace_nonfinite,
        source=request.source,
        epistemic="epistemic" in request.outputs,
    )
    outputs = []
    for output in translation.outputs(request.outputs):
        progress.tell(1.0, "handing over the results")
        path = request.folder / f"{output.name}.npy"
        save_voxels(path, output.voxels)
        outputs.append(
            {
                "name": output.name,
                "quantity": output.quantity,
                "phase": output.phase,
                "unit": output.unit,
                "file": str(path),
                "maximum": float(output.voxels.max()),
            }
        )
    return {
        "outputs": outputs,
        "image_name": translation.task.image_name,
        "display": translation.display.model_dump(),
        "provenance": translation.provenance,
    }


def _refuse_full_disk(request: TranslateArguments, shape: tuple[int, ...], engine: InferenceEngine | Ensemble) -> None:
    """Refuse what the outputs' disk has no room for; that its folder is not there is found when they are written."""
    from upgan.inference.memory import bytes_of_outputs, refuse_full_disk

    with contextlib.suppress(OSError):
        of_each_phase = [output for output in request.outputs if output != "epistemic"]
        outputs = engine.kept(request.phases) * len(of_each_phase) + ("epistemic" in request.outputs)
        refuse_full_disk(request.folder, bytes_of_outputs(shape, outputs))


def _check(request: CheckArguments, progress: Progress) -> dict[str, Any]:
    from upgan.evaluation.check import run_check

    return run_check(request, progress)


def _import_model(request: ImportModelArguments, progress: Progress) -> dict[str, Any]:
    from upgan.bundles.library import import_model

    progress.tell(0.0, "verifying the model")
    return import_model(request.path).to_json()


def _remove_model(request: RemoveModelArguments, progress: Progress) -> dict[str, Any]:
    from upgan.bundles.library import remove_model

    remove_model(request.name)
    return {}


def _info(request: NoArguments, progress: Progress) -> dict[str, Any]:
    import torch

    import upgan
    from upgan.inference.devices import devices

    return {
        "engine_version": upgan.__version__,
        "torch_version": torch.__version__,
        "devices": [device._asdict() for device in devices()],
    }


def _load(path: Path) -> np.ndarray:
    try:
        # Read, not mapped: on Windows a mapped file could not be removed if the viewer died meanwhile.
        return load_voxels(path)
    except (OSError, ValueError) as error:
        raise InputError(
            "transfer_failed", "The image did not reach the engine.", "Try again; check the temporary folder's disk."
        ) from error
