"""From a finished run to a model bundle with an honest card."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from upgan.bundle import Bundle, software_versions, write_bundle
from upgan.domain import Domain
from upgan.errors import InputError
from upgan.evaluation.report import evaluate
from upgan.inference import InferenceEngine
from upgan.networks.cascade import Cascade
from upgan.tasks import TASKS, Task
from upgan.training.card import model_card
from upgan.training.config import TrainingConfig
from upgan.training.dataset import PLANE, read_pairs, split_subjects
from upgan.volume import Reorientation


def publish(
    run: Path, folder: Path, licence: str, version: str, progress: Callable[[int, int], None] | None = None
) -> Bundle:
    """Make a bundle of a run, with figures measured on its test subjects through the engine itself.

    Args:
        run: Folder of a finished training.
        folder: The bundle to write; its name is the model's.
        licence: Text of the bundle's licence.
        version: Of the model.
        progress: Called with (evaluated, test subjects).

    Raises:
        InputError: ``run_unfinished``.
        OutputError: The bundle cannot be written.
    """
    config, cascade = _load_run(run)
    task = TASKS[config.data.task]
    split = split_subjects(config.data.manifest, config.data.train, config.data.validation, config.data.test)
    first = next(read_pairs(config.data.manifest, split.train[:1])).source
    domain = Domain.measure((pair.source for pair in read_pairs(config.data.manifest, split.train)), PLANE)
    section = {
        "task": task.model_dump(mode="json"),
        "plane": PLANE,
        "spacing_mm": [round(step, 4) for step in Reorientation.of(first.ijk_to_ras, PLANE).in_plane_spacing],
        "domain": domain.model_dump(mode="json"),
    }
    metadata = _metadata(config, task, version)
    with tempfile.TemporaryDirectory() as scratch:
        # Measured with the half-precision weights that users will have, not with the run's own.
        draft = write_bundle(Path(scratch) / "draft", cascade, metadata, section, "", licence)
        figures = evaluate(InferenceEngine(draft, device="auto"), config.data.manifest, split.test, progress)
    training = {
        "hours": round(_seconds(run) / 3600, 2),
        "machine": (run / "machine.txt").read_text(encoding="utf-8"),
        "subjects": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "data": json.loads(config.data.manifest.read_text(encoding="utf-8")).get("statement", "user's own"),
    }
    section["figures"] = {"test": figures, "training": training}
    card = model_card(config, task, version, figures, training, domain, cascade)
    return write_bundle(folder, cascade, metadata, section, card, licence)


def _load_run(run: Path) -> tuple[TrainingConfig, Cascade]:
    try:
        config = TrainingConfig.model_validate_json((run / "config.json").read_text(encoding="utf-8"))
        stages = config.architecture.phases + bool(config.schedule.joint_steps)
        state = load_file(run / f"stage_{stages}.safetensors")
    except FileNotFoundError as error:
        raise InputError(
            "run_unfinished", f"{run} holds no finished training.", "Let `upgan train` finish; it goes on where it was."
        ) from error
    cascade = Cascade(config.architecture)
    cascade.load_state_dict(state)
    return config, cascade.eval()


def _seconds(run: Path) -> float:
    """Time spent training: the last line of each stage holds its seconds."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return sum(line["seconds"] for line in lines if line["step"] == line["steps"])


def _metadata(config: TrainingConfig, task: Task, version: str) -> dict[str, Any]:
    channel = {
        "type": "image",
        "num_channels": 1,
        "spatial_shape": ["16*n", "16*n"],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
    }
    return {
        "name": config.name,
        "version": version,
        "changelog": {version: "first version"},
        **software_versions(),
        "task": task.title,
        "description": f"UP-GAN with {config.architecture.phases} phases: {task.title} with pixel-wise uncertainty.",
        "authors": "The UncertaintyGuidedI2I developers",
        "copyright": "Copyright (c) The UncertaintyGuidedI2I developers",
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
