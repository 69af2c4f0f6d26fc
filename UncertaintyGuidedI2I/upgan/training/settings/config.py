"""A training run, written down: what is trained, on what, how long.

Defaults are the paper's where it states them, but for what a phase hands on (Documentation/Evidence.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from upgan.networks.architecture import Architecture as Architecture
from upgan.networks.architecture import CascadeArchitecture
from upgan.pairs.config import DataConfig, SplitConfig
from upgan.schema import Section
from upgan.tasks import TASKS

# Of steps and epochs: beyond it nothing ends, and numbers are no longer the processor's.
_MOST = 10**9


class AugmentationConfig(Section):
    """Random changes of the training slices, the same for input and target; none in the paper."""

    flip: float = Field(0.0, ge=0, le=1)
    """Share of slices mirrored, left for right; none where slices are sagittal, for they have no left and right."""
    rotation_degrees: float = Field(0.0, ge=0, le=45)
    """Largest rotation in the plane."""
    scale: float = Field(0.0, ge=0, le=0.5)
    """Largest relative change of size: 0.1 is 90 % to 110 %."""
    intensity: float = Field(0.0, ge=0, le=0.5)
    """Largest relative change of the input's intensity, and of the target's where that is in the input's unit."""
    surroundings: float = Field(0.0, ge=0, le=1)
    """Share of the margin around the object by which slices are moved, and by which each side of it is cut off."""


class LossConfig(Section):
    """Weights of the generator's loss (Eq. 2)."""

    form: Literal["generalized_gaussian", "beta_nll", "detached_mean", "published_product"] = "generalized_gaussian"
    """generalized_gaussian is Eq. 1; beta_nll weighs it by σ (Seitzer et al. 2022, with ½); detached_mean lets it train
    α and β alone, and L1 the image; published_product is what the authors' code does: β comes out near 0.68."""
    likelihood: float = Field(1.0, ge=0)
    """λ1 of Eq. 2."""
    adversarial: float = Field(0.001, ge=0)
    """λ2 of Eq. 2; without a discriminator at 0."""
    l1: float = Field(0.0, ge=0)
    """Weight of an L1 term beside Eq. 1, pixel by pixel: the likelihood alone abandons hard pixels (2 works)."""
    outside_body: float = Field(1.0, ge=0, le=1)
    """Weight of Eq. 1 outside the body, where α of a few HU would rule the gradient (0.02 works)."""
    l1_warm_up: int = Field(0, ge=0, le=_MOST)
    """Steps at the start of each stage during which only L1 trains the image."""
    normalisation: Literal["body", "slice"] = "body"
    """body: l1 means the same whatever air is around; slice: L1 is a mean over all pixels, as in the first version."""


class DiscriminatorConfig(Section):
    """The network that tells real patches from made ones; each phase has one."""

    width: int = Field(64, ge=1, le=512)
    """Channels of the first layer."""
    layers: int = Field(3, ge=1, le=6)
    """Strided layers: 3 judge patches of 70 pixels, 4 (as in the published code) of 142."""
    conditional: bool = False
    """Whether the discriminator sees the input beside the image."""


class ScheduleConfig(Section):
    """How long, and how fast. An epoch is one pass over all training slices."""

    epochs: tuple[Annotated[int, Field(ge=0, le=_MOST)], ...] = (1000, 1000, 1000)
    """Epochs of each phase's initialisation, with the earlier phases frozen; 0 leaves a phase as it is."""
    joint_epochs: int = Field(1000, ge=0, le=_MOST)
    """Epochs in which all phases are trained together, end to end."""
    epoch_steps: int | None = Field(None, ge=1, le=_MOST)
    """Steps that count as an epoch, where one pass is too long or too short."""
    batch: int = Field(8, ge=1, le=10_000)
    """Slices a step, over all processes together."""
    learning_rate: float = Field(2e-3, gt=0)
    """Adam's rate for the initialisation; a cosine brings it to zero within each stage."""
    joint_learning_rate: float = Field(5e-4, gt=0)
    """Adam's rate for the end-to-end stage; a cosine brings it to zero within the stage."""
    warm_up: int = Field(0, ge=0, le=_MOST)
    """Steps of linear rise of the rate at the start of each stage."""
    gradient_clip: float | None = Field(None, gt=0)
    """Largest norm of the generators' gradient (1 works)."""
    early_stopping: int | None = Field(None, ge=1, le=_MOST)
    """Epochs without a better validation error after which a stage ends, at its best epoch."""
    weight_averaging: float | None = Field(None, gt=0, lt=1)
    """Decay of an exponential average of the weights, which is what is validated and kept (0.999 works)."""
    begin_as_predecessor: bool = False
    """Whether a later phase begins with the weights of the one before; else with random ones."""
    freeze_normalisation: bool = False
    """Keep the batch normalisation's statistics: a few patients cannot replace them."""


class ComputeConfig(Section):
    """The processor that trains, and its arithmetic. Several GPUs or nodes come from `torchrun` or SLURM."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """Which processor trains: auto, cpu, cuda or cuda:N."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto takes bfloat16 where it is native; heads, σ and the loss are float32 always."""
    loaders: int = Field(0, ge=0, le=64)
    """Extra processes that prepare batches; worth it beside a GPU and with motion."""


class TrainingConfig(Section):
    """All settings of a run."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name of the model that comes out: lower case, digits and hyphens."""
    base: str | None = None
    """Model to go on from, by name or folder; it brings its architecture, plane, pixel size and task, which from one
    restoration of MRI may become the other."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the first weights, the order of the slices and their augmentation."""
    architecture: Architecture = CascadeArchitecture()
    """The networks, where there is no base model."""
    data: DataConfig
    split: SplitConfig = SplitConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    loss: LossConfig = LossConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    compute: ComputeConfig = ComputeConfig()

    @classmethod
    def of_run(cls, content: Mapping[str, Any]) -> Self:
        """Read what a run of this version or an earlier one wrote; it goes on with what it began with.

        The first version's L1 was a mean over all pixels, and it resampled images wherever they were taken to lie. Up
        to the second, a first phase began with an empty image.

        Raises:
            ValueError: It is no configuration.
        """
        content = dict(content)
        for name, key, former in (("loss", "normalisation", "slice"), ("data", "trust_guessed_places", True)):
            section = content.get(name, {})
            if isinstance(section, Mapping) and key not in section:
                content[name] = {**section, key: former}
        sizes = content.get("architecture", {})
        if isinstance(sizes, Mapping) and sizes.get("name", "up-gan") == "up-gan" and "from_input" not in sizes:
            content["architecture"] = {**sizes, "from_input": False}
        return cls.model_validate(content)

    @model_validator(mode="before")
    @classmethod
    def _starts_a_restoration_from_its_input(cls, content: Any) -> Any:
        """From an empty image a network takes long to get as far as the input was from the start."""
        if not isinstance(content, Mapping):
            return content
        data, sizes = content.get("data"), content.get("architecture", {})
        name = data.get("task") if isinstance(data, Mapping) else getattr(data, "task", None)
        task = TASKS.get(name) if isinstance(name, str) else None
        if task is None or not task.is_restoration or not isinstance(sizes, Mapping):
            return content
        if sizes.get("name", "up-gan") != "up-gan" or "from_input" in sizes:
            return content
        return {**content, "architecture": {**sizes, "from_input": True}}

    @model_validator(mode="after")
    def _corrects_what_can_be_corrected(self) -> TrainingConfig:
        is_asked_for = getattr(self.architecture, "from_input", False)
        if self.base is None and is_asked_for and not TASKS[self.data.task].is_restoration:
            raise ValueError(
                f"architecture.from_input: what '{self.data.task}' makes is not on the scale of its inputs"
            )
        return self

    @model_validator(mode="after")
    def _trains_an_image(self) -> TrainingConfig:
        if self.loss.form == "detached_mean" and not self.loss.l1:
            raise ValueError("loss: with detached_mean only l1 trains the image, and l1 is 0")
        return self

    @model_validator(mode="after")
    def _has_one_duration_per_phase(self) -> TrainingConfig:
        # The base model's architecture is not known here; the trainer looks again.
        if self.base is None and len(self.schedule.epochs) != self.architecture.phases:
            raise ValueError(
                f"schedule.epochs names {len(self.schedule.epochs)} phases, the architecture has "
                f"{self.architecture.phases}"
            )
        if not any(self.schedule.epochs) and not self.schedule.joint_epochs:
            raise ValueError("schedule: no stage has any epochs")
        return self
