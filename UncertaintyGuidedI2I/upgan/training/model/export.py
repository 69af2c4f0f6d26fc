"""From a run to a model bundle: calibrated on its validation patients, measured on its test patients, with a card."""

from __future__ import annotations

import datetime
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from upgan.bundles.bundle import Bundle, refuse_existing, software_versions, write_bundle
from upgan.bundles.domain import Domain
from upgan.bundles.layout import NAME
from upgan.bundles.metadata import LONGEST_VERSION
from upgan.errors import InputError
from upgan.evaluation.paired import compare_paired, conclusion
from upgan.evaluation.report import evaluate
from upgan.foreign_text import is_visible
from upgan.images.volume import Volume
from upgan.inference.engine import InferenceEngine
from upgan.progress import SILENT, Progress
from upgan.tasks import Task
from upgan.training.model.calibrate import calibrate
from upgan.training.model.card import model_card
from upgan.training.model.familiarity import limited
from upgan.training.model.markdown import unit_in_words
from upgan.training.model.trained_run import TrainedRun
from upgan.uncertainty.familiarity import Familiarity, SliceFeatures

_OWN_DATA = "The site's own data."

# Figures that two models are compared in, and whether more is better.
_COMPARED = {"mae": False, "psnr": True, "ssim_3d": True}


def export(
    run: Path,
    folder: Path,
    licence: str,
    version: str,
    checkpoint: str = "best",
    name: str | None = None,
    progress: Progress = SILENT,
    *,
    remark: str = "",
) -> Bundle:
    """Make a bundle of a run's checkpoint; what its card states is measured through the engine itself.

    Args:
        run: The run's folder; it need not be over.
        folder: The bundle to write.
        licence: Text of the bundle's licence.
        version: The model's version.
        checkpoint: ``best``, ``last``, ``phase_1`` …; phases that were not trained yet are left out.
        name: The model's name; the run's where None.
        progress: Told what is being done; what it raises ends the work.
        remark: What its maker says on the card beside that, such as how another model does.

    Raises:
        InputError: ``run_unfinished``, ``bad_name``, ``bad_version``, or what is wrong with the run's folder or images.
        BundleError: The base model is not there any more.
        OutputError: The bundle cannot be written.
    """
    refuse_existing(folder)
    found = TrainedRun.read(run, checkpoint)
    name = name or found.config.name
    if not re.fullmatch(NAME, name):
        raise InputError(
            "bad_name", f"A model cannot be called '{name}'.", "Use letters, digits, hyphens, underscores and dots."
        )
    if len(version) > LONGEST_VERSION or not is_visible(version):
        raise InputError("bad_version", "The model's version is no short line of text.", "Give one such as 1.2.0.")
    validation, test = found.patients(found.split.validation), found.patients(found.split.test)
    calibrating, describing, limiting, measuring, comparing = progress.parts(
        (len(validation), "calibrating on validation"),
        (len(found.split.train), "describing training"),
        (len(validation), "comparing validation with training"),
        (len(test), "measuring on test"),
        (len(test) if found.base else 0, f"measuring {found.base.metadata.name if found.base else ''} on test"),
    )

    section: dict[str, Any] = {
        "task": found.task.model_dump(mode="json"),
        "plane": found.data.plane,
        "spacing_mm": found.data.spacing_mm,
    }
    metadata = _metadata(found, name, version)
    with tempfile.TemporaryDirectory() as scratch:
        # With the half-precision weights that users will have, not with the run's own.
        draft = InferenceEngine(write_bundle(Path(scratch) / "draft", found.cascade, metadata, section, "", licence))
        calibration = calibrate(
            draft,
            found.pairs(validation),
            len(validation),
            chosen=found.chosen_by_validation,
            progress=calibrating,
        )
        section["calibration"] = calibration.model_dump(mode="json")
        seen: list[SliceFeatures] = []
        domain = Domain.measure(_inputs(found, draft, seen, describing), found.data.plane)
        section["domain"] = domain.model_dump(mode="json")
        known = _known(seen)
        section["familiarity"] = known and known.model_dump(mode="json")
        finished = InferenceEngine(
            write_bundle(Path(scratch) / "finished", found.cascade, metadata, section, "", licence)
        )
        familiarity = known and limited(finished, found.pairs(validation), len(validation), limiting)
        section["familiarity"] = familiarity and familiarity.model_dump(mode="json")
        measured = evaluate(finished, found.pairs(test), len(test), measuring)
    rows = measured.pop("rows")  # They name patients.
    section["figures"] = {"test": measured, "training": _training(found)}
    if found.base is not None:
        section["figures"]["compared_with"] = _compared(found, found.base, test, rows, comparing)
    card = model_card(found, name, version, section["figures"], calibration, domain, familiarity, remark)
    bundle = write_bundle(folder, found.cascade, metadata, section, card, licence)
    progress.tell(1.0, "done")
    return bundle


def _inputs(
    found: TrainedRun, engine: InferenceEngine, seen: list[SliceFeatures], progress: Progress
) -> Iterator[Volume]:
    """Yield the training inputs, and note what the model's first network sees in each."""
    train = found.split.train
    for pair, step in progress.each(found.pairs(train), len(train), "image"):
        seen.append(engine.slice_features(pair.source, progress=step))
        yield pair.source


def _known(seen: list[SliceFeatures]) -> Familiarity | None:
    """Return what there is to know another image by; None where the training's show too little of an object."""
    try:
        return Familiarity.measure(seen)
    except InputError as error:
        if error.code != "nothing_measured":
            raise
        return None


def _compared(
    found: TrainedRun, base: Bundle, test: list[str], rows: dict[str, dict[str, dict[str, float]]], progress: Progress
) -> dict[str, Any]:
    """Measure the base model on the same patients; patient by patient, the last phases of both."""
    theirs = evaluate(InferenceEngine(base), found.pairs(test), len(test), progress)["rows"]
    ours, others = (phases[str(len(phases))] for phases in (rows, theirs))
    tests = {
        key: compare_paired(
            key,
            [ours[subject][key] for subject in test],
            [others[subject][key] for subject in test],
            higher_is_better=higher_is_better,
        )
        for key, higher_is_better in _COMPARED.items()
    }
    return {
        "name": base.metadata.name,
        "version": base.metadata.version,
        "sha256": base.sha256,
        "tests": [paired.to_json() for paired in tests.values()],
        "conclusion": conclusion(
            tests["mae"], [tests["psnr"], tests["ssim_3d"]], base.metadata.name, unit_in_words(found.task.unit)
        ),
    }


def _training(found: TrainedRun) -> dict[str, Any]:
    state, best = found.state, found.state.get("best")
    chosen = {"stage": best["stage"], "epoch": best["epoch"]} if found.checkpoint == "best" and best else {}
    return {
        "hours": round(state["seconds"] / 3600, 2),
        "machine": found.machine,
        "steps": state["total_steps"],
        "checkpoint": {"name": found.checkpoint, **chosen},
        "subjects": {part: len(members) for part, members in found.split._asdict().items()},
        "patients": {part: len(found.patients(members)) for part, members in found.split._asdict().items()},
        "data": found.content.get("statement") or _OWN_DATA,
        "fingerprint": found.content["fingerprint"],
        "measured": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _metadata(found: TrainedRun, name: str, version: str) -> dict[str, Any]:
    task: Task = found.task
    channel = {
        "type": "image",
        "num_channels": 1,
        "spatial_shape": ["16*n", "16*n"],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
    }
    phases = found.cascade.architecture.phases
    return {
        "name": name,
        "version": version,
        "changelog": {version: "as trained"},
        **software_versions(),
        "task": task.title,
        "description": f"UP-GAN with {phases} phase{'s' * (phases > 1)}: {task.title} with pixel-wise uncertainty.",
        "authors": "Whoever trained it, with UncertaintyGuidedI2I",
        "copyright": "See LICENSE",
        "intended_use": "Demonstration and software tests; not for patients.",
        "network_data_format": {
            "inputs": {"image": {**channel, "format": "magnitude", "channel_def": {"0": task.input_modality}}},
            "outputs": {
                "pred": {
                    **channel,
                    "format": "magnitude",
                    "num_channels": 3,
                    "channel_def": {"0": task.image_name, "1": "alpha (scale)", "2": "beta (shape)"},
                }
            },
        },
    }
