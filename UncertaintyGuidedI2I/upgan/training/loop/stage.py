"""One stage of the progressive training: the phases it trains, their discriminators and optimisers, and a step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from upgan.networks.cascade import Cascade
from upgan.networks.patchgan import PatchDiscriminator
from upgan.networks.published import PublishedCascade
from upgan.training.loop.losses import (
    PixelWeights,
    discriminator_loss,
    generalized_gaussian_loss,
    generator_adversarial_loss,
    pixel_weights,
    published_product_loss,
    weighted_l1,
)
from upgan.training.loop.processes import share_batch_norm, share_of_total
from upgan.training.record.checkpoint import optimizer_tensors, restore_optimizer
from upgan.training.settings.config import TrainingConfig
from upgan.training.slices.batches import epoch_steps
from upgan.training.slices.handed_on import pays_to_keep
from upgan.uncertainty.distribution import GeneralizedNormal

_BETAS = (0.9, 0.999)
_TOGETHER = "all_phases"

# Of each phase's discriminator, whose number follows.
DISCRIMINATORS = "judges."
# As the first version called them, by their place among those of the stage.
_DISCRIMINATORS_OF_STAGE = "judge."


class StagePlan(NamedTuple):
    """What a stage trains, and for how long.

    Attributes:
        number: The stage's place in the run, the first being 1; the end-to-end stage comes after all phases.
        name: ``phase_1`` … or ``all_phases``.
        trained: Indices of the phases it trains; earlier ones are frozen.
        epochs: The number of epochs.
        rate: Adam's highest rate.
        is_kept: Whether what the frozen phases hand on is computed once and kept, and not at every step.
    """

    number: int
    name: str
    trained: tuple[int, ...]
    epochs: int
    rate: float
    is_kept: bool = False

    def title(self, phases: int) -> str:
        """Return what people call the stage: "phase 2 of 3"."""
        return "all phases together" if self.name == _TOGETHER else f"phase {self.trained[0] + 1} of {phases}"

    @property
    def cost(self) -> float:
        """Time of a step relative to one generator's forward pass: a trained one goes back as well, twice as dear."""
        forwards = len(self.trained) if self.is_kept else 1 + self.trained[-1]
        return forwards + 2 * len(self.trained)


def plan_stages(config: TrainingConfig, phases: int, slices: int | None = None) -> list[StagePlan]:
    """Return the stages of a run in their order; those without epochs are left out.

    Args:
        config: The run.
        phases: The number of its phases.
        slices: The number of slices to train on; where it is not known, no stage plans to keep anything of them.
    """
    schedule = config.schedule

    def is_kept(epochs: int) -> bool:
        if slices is None:
            return False
        return pays_to_keep(config, epochs * epoch_steps(config, slices), slices)

    stages = [
        StagePlan(
            phase + 1, f"phase_{phase + 1}", (phase,), epochs, schedule.learning_rate, phase > 0 and is_kept(epochs)
        )
        for phase, epochs in enumerate(schedule.epochs)
    ]
    everything = tuple(range(phases))
    stages.append(StagePlan(phases + 1, _TOGETHER, everything, schedule.joint_epochs, schedule.joint_learning_rate))
    return [stage for stage in stages if stage.epochs]


class StepLosses(NamedTuple):
    """What a step minimised, each a tensor on the device: reading them waits for it.

    Attributes:
        loss: The generators' whole loss.
        likelihood: Eq. 1, summed over the trained phases and not yet weighted.
        l1: Mean absolute error of the last trained phase, averaged as the loss does, network units.
        adversarial: ‖D(b̂) − 1‖², summed over the trained phases and not yet weighted.
        discriminator: The discriminators' own loss.
        gradient: Norm of the generators' gradient before clipping.
    """

    loss: Tensor
    likelihood: Tensor
    l1: Tensor
    adversarial: Tensor
    discriminator: Tensor
    gradient: Tensor


class Stage:
    """The networks as one stage trains them.

    Args:
        fabric: Device, precision and processes.
        cascade: All generators; those that are not trained are frozen and in eval mode.
        config: The run.
        plan: What this stage trains, and for how long.
        steps: The number of steps of the whole stage.
        known: Tensors of discriminators that earlier stages have taught, as ``discriminator_tensors`` gave them: those
            of the trained phases go on with what they know.

    Raises:
        ValueError: ``known`` are others than the configuration describes.
    """

    def __init__(
        self,
        fabric: Fabric,
        cascade: Cascade | PublishedCascade,
        config: TrainingConfig,
        plan: StagePlan,
        steps: int,
        known: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.fabric, self.cascade, self.config, self.plan, self.steps = fabric, cascade, config, plan, steps
        self.rate_factor = 1.0
        for phase, generator in enumerate(cascade.generators):
            generator.requires_grad_(phase in plan.trained)
        # Seeded by the stage, so that its discriminators are the same whatever was done before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed * 1000 + plan.number)
            wanted = config.discriminator
            discriminators: list[nn.Module] = [
                PatchDiscriminator(2 if wanted.conditional else 1, wanted.width, wanted.layers)
                for _ in (plan.trained if config.loss.adversarial else ())
            ]
        for phase, discriminator in zip(plan.trained, discriminators, strict=False):
            learned = _under(f"{DISCRIMINATORS}{phase}.", known or {})
            if learned:
                _take_up(discriminator, learned)
        self.discriminators = [share_batch_norm(discriminator, fabric) for discriminator in discriminators]
        # Only what is called through Fabric's wrapper is averaged over the processes.
        self._cascade = fabric.setup_module(share_batch_norm(cascade, fabric))
        self._discriminators = [fabric.setup_module(discriminator) for discriminator in self.discriminators]
        self._optimizers = {
            # Fused: some hundred small tensors take a third of the time, of a CPU too.
            name: fabric.setup_optimizers(torch.optim.Adam(_trainable(modules), lr=plan.rate, betas=_BETAS, fused=True))
            for name, modules in (("generators", [cascade]), ("discriminators", self.discriminators))
            if _trainable(modules)
        }
        decay = config.schedule.weight_averaging
        self._averaged = (
            AveragedModel(cascade, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) if decay else None
        )

    @property
    def weights(self) -> nn.Module:
        """The cascade that is validated and kept: the averaged one where weights are averaged."""
        return self._averaged.module if self._averaged is not None else self.cascade

    def step(
        self,
        number: int,
        a: Tensor,
        b: Tensor,
        body: Tensor,
        imaged: Tensor | None = None,
        handed_on: Tensor | None = None,
    ) -> StepLosses:
        """Take the trained generators one step, then their discriminators.

        Args:
            number: The step's number within the stage, the first being 0: it sets the rate.
            a: Input [N, 1, H, W], network units, on the device.
            b: Target [N, 1, H, W], network units, on the device.
            body: 1 inside the body, 0 outside, [N, 1, H, W].
            imaged: 1 where the slices are, 0 where they are padded, [N, 1, H, W]; None where nothing is padded.
            handed_on: What the frozen phases hand on to the one that is trained, [N, C, H, W]; None where they are run.
        """
        self._set_rates(number)
        self._set_modes()
        weights = self._weights(body, torch.ones_like(body) if imaged is None else imaged)
        generated, losses = self._generators_step(number, a, b, weights, handed_on)
        judged = self._discriminators_step(generated, a, b) if self._discriminators else b.new_zeros(())
        if self._averaged is not None:
            self._averaged.update_parameters(self.cascade)
        return losses._replace(discriminator=judged)

    def rate(self, number: int) -> float:
        """Adam's rate at a step: a linear rise where asked for, then a cosine to zero; halved by each rollback."""
        warm_up = self.config.schedule.warm_up
        if number < warm_up:
            pace = (number + 1) / (warm_up + 1)
        else:
            pace = 0.5 * (1 + math.cos(math.pi * (number - warm_up) / max(self.steps - warm_up, 1)))
        return self.plan.rate * self.rate_factor * pace

    def tensors(self) -> dict[str, Tensor]:
        """All that the stage has learned and gathered, beside the cascade itself."""
        found: dict[str, Tensor] = {}
        for name, optimizer in self._optimizers.items():
            found |= optimizer_tensors(name, optimizer)
        found |= self.discriminator_tensors()
        if self._averaged is not None:
            found |= {f"averaged.{name}": tensor for name, tensor in self._averaged.state_dict().items()}
        return found

    def discriminator_tensors(self) -> dict[str, Tensor]:
        """What the discriminators have learned, by phase, the first being 0."""
        return {
            f"{DISCRIMINATORS}{phase}.{name}": tensor
            for phase, discriminator in zip(self.plan.trained, self.discriminators, strict=False)
            for name, tensor in discriminator.state_dict().items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take up what ``tensors`` gave.

        Raises:
            ValueError: It is of other networks than these.
        """
        for name, optimizer in self._optimizers.items():
            restore_optimizer(name, optimizer, tensors)
        for index, (phase, discriminator) in enumerate(zip(self.plan.trained, self.discriminators, strict=False)):
            before = _under(f"{_DISCRIMINATORS_OF_STAGE}{index}.", tensors)
            _take_up(discriminator, before or _under(f"{DISCRIMINATORS}{phase}.", tensors))
        if self._averaged is not None:
            _take_up(self._averaged, _under("averaged.", tensors))

    def _weights(self, body: Tensor, imaged: Tensor) -> PixelWeights:
        config = self.config.loss
        if config.normalisation == "slice":
            likelihood = body + config.outside_body * (1 - body)
            return PixelWeights(likelihood, torch.ones_like(body), share_of_total(likelihood, self.fabric))
        return pixel_weights(body, imaged, config.outside_body, lambda pixels: share_of_total(pixels, self.fabric))

    def _generators_step(
        self, number: int, a: Tensor, b: Tensor, weights: PixelWeights, handed_on: Tensor | None
    ) -> tuple[list[Tensor], StepLosses]:
        config, schedule = self.config.loss, self.config.schedule
        predictions = self._cascade(a, self.plan.trained[-1] + 1, handed_on)[-len(self.plan.trained) :]
        warming_up = number < config.l1_warm_up
        likelihood = adversarial = loss = error = b.new_zeros(())
        for index, prediction in enumerate(predictions):
            fit = _likelihood(prediction, b, weights, config.form)
            if config.normalisation == "slice":
                error = (prediction.loc - b).abs().mean()
            else:
                error = weighted_l1(prediction.loc, b, weights.l1, weights.total)
            # Times zero and not left out, so that every weight has a gradient in every process.
            loss = loss + fit * (0.0 if warming_up else config.likelihood) + error * (config.l1 or float(warming_up))
            likelihood = likelihood + fit.detach()
            if self._discriminators:
                fooled = generator_adversarial_loss(self._score(self.discriminators[index], prediction.loc, a))
                loss = loss + config.adversarial * fooled
                adversarial = adversarial + fooled.detach()
        optimizer: Any = self._optimizers["generators"]
        optimizer.zero_grad()
        self.fabric.backward(loss)
        # Without a limit the norm is still what tells of NaN.
        gradient = nn.utils.clip_grad_norm_(_trainable([self.cascade]), schedule.gradient_clip or math.inf)
        optimizer.step()
        nothing = b.new_zeros(())
        losses = StepLosses(loss.detach(), likelihood, error.detach(), adversarial, nothing, gradient)
        return [prediction.loc.detach() for prediction in predictions], losses

    def _discriminators_step(self, generated: list[Tensor], a: Tensor, b: Tensor) -> Tensor:
        loss = b.new_zeros(())
        for discriminator, image in zip(self._discriminators, generated, strict=True):
            loss = loss + discriminator_loss(discriminator(self._shown(b, a)), discriminator(self._shown(image, a)))
        optimizer: Any = self._optimizers["discriminators"]
        optimizer.zero_grad()
        self.fabric.backward(loss)
        optimizer.step()
        return loss.detach()

    def _score(self, discriminator: nn.Module, image: Tensor, a: Tensor) -> Tensor:
        """Score an image without teaching the discriminator: past the wrapper, whose processes await gradients."""
        discriminator.requires_grad_(False)
        with self.fabric.autocast():
            scores: Tensor = discriminator(self._shown(image, a))
        discriminator.requires_grad_(True)
        return scores.float()

    def _shown(self, image: Tensor, a: Tensor) -> Tensor:
        return torch.cat([image, a], dim=1) if self.config.discriminator.conditional else image

    def _set_rates(self, number: int) -> None:
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:  # type: ignore[union-attr]
                group["lr"] = self.rate(number)

    def _set_modes(self) -> None:
        """Frozen phases answer as they will in use; trained ones too where their statistics are to stay."""
        for phase, generator in enumerate(self.cascade.generators):
            trained = phase in self.plan.trained
            generator.train(trained)
            if trained and self.config.schedule.freeze_normalisation:
                for part in generator.modules():
                    if isinstance(part, nn.BatchNorm2d):
                        part.eval()


def _take_up(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError("of other networks") from error


def _likelihood(prediction: GeneralizedNormal, b: Tensor, weights: PixelWeights, form: str) -> Tensor:
    weight, total = weights.likelihood, weights.total
    if form == "published_product":
        inverse_scale = prediction.scale.reciprocal()
        return published_product_loss(inverse_scale, prediction.concentration, b - prediction.loc, weight, total)
    if form == "detached_mean":
        loc, scale, concentration = prediction.loc.detach(), prediction.scale, prediction.concentration
        prediction = GeneralizedNormal(loc, scale, concentration, validate_args=False)
    return generalized_gaussian_loss(prediction, b, weight, total=total, weighed_by_sigma=form == "beta_nll")


def _trainable(modules: list[nn.Module] | list[Any]) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
