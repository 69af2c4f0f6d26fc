"""A training run, written down: what is trained, on what, how long."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from upgan.errors import InputError
from upgan.networks.cascade import CascadeArchitecture
from upgan.tasks import TASKS


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Section):
    """Paired volumes and their split by subject.

    Attributes:
        manifest: ``manifest.json`` of a folder of pairs, relative to the configuration file.
        task: Name of the task.
        train: Number of subjects to train on, from the manifest's start.
        validation: Number of subjects that follow, to watch.
        test: Number of subjects that follow those, to report on.
    """

    manifest: Path
    task: str = "pet_to_ct"
    train: int = Field(29, ge=1)
    validation: int = Field(5, ge=1)
    test: int = Field(15, ge=1)


class LossConfig(_Section):
    """Weights of the generator's loss; the paper's is (1, 0.001) with Eq. 1 over every pixel and no L1.

    Attributes:
        likelihood: λ1 of Eq. 2.
        adversarial: λ2 of Eq. 2.
        l1: Weight of an L1 term over the whole slice: the likelihood alone abandons hard pixels.
        outside_body: Weight of Eq. 1 outside the body, where α → a few HU would rule the gradient.
    """

    likelihood: float = Field(1.0, ge=0)
    adversarial: float = Field(0.001, ge=0)
    l1: float = Field(0.0, ge=0)
    outside_body: float = Field(1.0, ge=0, le=1)


class ScheduleConfig(_Section):
    """How long, and how fast.

    Attributes:
        steps: Optimiser steps of each phase's initialisation; one number per phase.
        joint_steps: Steps of the end-to-end stage on the sum of all phases' losses.
        batch: Slices a step.
        learning_rate: Adam's rate for initialisation, cosine-annealed per stage.
        joint_learning_rate: The same for the end-to-end stage.
        warm_up: Steps of linear rise at the start of each stage.
        gradient_clip: Largest norm of the gradient.
        discriminator_width: Channels of the patch discriminator's first layer.
        seed: Of everything random.
    """

    steps: tuple[Annotated[int, Field(ge=1)], ...]
    joint_steps: int = Field(0, ge=0)
    batch: int = Field(8, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    joint_learning_rate: float = Field(5e-4, gt=0)
    warm_up: int = Field(20, ge=0)
    gradient_clip: float = Field(1.0, gt=0)
    discriminator_width: int = Field(64, ge=1)
    seed: int = 0


class TrainingConfig(_Section):
    """All of a run.

    Attributes:
        name: Of the model that comes out.
        architecture: The networks.
        data: Where the pairs are.
        loss: What is minimised.
        schedule: How long.
        precision: As Lightning Fabric names it: ``32-true`` or ``bf16-mixed``.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    architecture: CascadeArchitecture
    data: DataConfig
    loss: LossConfig = LossConfig()
    schedule: ScheduleConfig
    precision: str = Field("bf16-mixed", pattern=r"^(32-true|bf16-mixed)$")


def read_config(path: Path) -> TrainingConfig:
    """Read and validate a TOML file; paths in it are relative to the file.

    Raises:
        InputError: ``config_not_found``, ``config_unreadable`` or ``config_invalid``, naming the first wrong key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("config_not_found", f"There is no file {path}.", "Check the path.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError("config_unreadable", f"{path} is not a TOML file: {error}.", "Correct its syntax.") from error
    try:
        config = TrainingConfig.model_validate(content)
        if len(config.schedule.steps) != config.architecture.phases:
            raise InputError(
                "config_invalid",
                f"schedule.steps names {len(config.schedule.steps)} phases, the architecture "
                f"{config.architecture.phases}.",
                "Give one number of steps per phase.",
            )
        if config.data.task not in TASKS:
            raise InputError(
                "config_invalid",
                f"{path}: data.task: there is no task '{config.data.task}'.",
                f"Choose one of {', '.join(TASKS)}.",
            )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError("config_invalid", f"{path}: {where}: {first['msg']}.", "Correct that entry.") from error
    manifest = (path.parent / config.data.manifest).resolve()
    return config.model_copy(update={"data": config.data.model_copy(update={"manifest": manifest})})
