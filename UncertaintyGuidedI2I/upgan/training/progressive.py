"""Progressive training: each phase in turn with the earlier ones frozen, then all of them together."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from upgan.devices import devices
from upgan.distribution import GeneralizedNormal
from upgan.errors import InputError
from upgan.losses import discriminator_loss, generalized_gaussian_loss, generator_adversarial_loss
from upgan.networks.cascade import Cascade
from upgan.networks.patchgan import PatchDiscriminator
from upgan.tasks import TASKS
from upgan.training.config import LossConfig, TrainingConfig
from upgan.training.dataset import Slices, load_slices, split_subjects

# Steps between two lines of the log and two looks at the validation subjects.
_LOG_EVERY = 50
_VALIDATE_EVERY = 500


def phase_loss(prediction: GeneralizedNormal, b: Tensor, body: Tensor, loss: LossConfig) -> Tensor:
    """λ1·Eq. 1 with its weight outside the body, plus the optional L1; all tensors [N, 1, H, W]."""
    weight = body + loss.outside_body * (1 - body)
    return (
        loss.likelihood * generalized_gaussian_loss(prediction, b, weight) + loss.l1 * (prediction.loc - b).abs().mean()
    )


class ProgressiveTrainer:
    """Trains one cascade, stage by stage; a finished stage is kept on disk and not repeated.

    Args:
        config: The run.
        folder: Where stages and the log go.
        report: Called with each line of the log as a dictionary.
    """

    def __init__(self, config: TrainingConfig, folder: Path, report: Callable[[dict[str, Any]], None]) -> None:
        self.config = config
        self.folder = folder
        self.report = report
        self.fabric = Fabric(accelerator="auto", devices=1, precision=config.precision)  # type: ignore[arg-type]
        self.fabric.seed_everything(config.schedule.seed, verbose=False)
        self.cascade = Cascade(config.architecture).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(self) -> Cascade:
        """Train all stages and return the cascade in eval mode.

        Raises:
            InputError: ``other_run`` where the folder holds stages of another configuration.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._refuse_other_run()
        data = self.config.data
        split = split_subjects(data.manifest, data.train, data.validation, data.test)
        (self.folder / "config.json").write_text(self.config.model_dump_json(indent=2), encoding="utf-8")
        (self.folder / "machine.txt").write_text(devices()[0].description, encoding="utf-8")
        (self.folder / "split.json").write_text(json.dumps(split._asdict(), indent=2), encoding="utf-8")
        task = TASKS[data.task]
        train, validation = (load_slices(data.manifest, part, task) for part in (split.train, split.validation))
        phases = self.config.architecture.phases
        stages = [[phase] for phase in range(phases)]
        if self.config.schedule.joint_steps:
            stages.append(list(range(phases)))
        for number, trained in enumerate(stages, start=1):
            kept = self.folder / f"stage_{number}.safetensors"
            # Made even where it will not run: the later discriminators' random start follows from this one's.
            stage = _Stage(self, number, trained, train, validation)
            if kept.exists():
                self.cascade.load_state_dict(load_file(kept))
            else:
                stage.run()
                state = {name: tensor.contiguous() for name, tensor in self.cascade.state_dict().items()}
                save_file(state, kept.with_suffix(".tmp"))
                kept.with_suffix(".tmp").replace(kept)
        return self.cascade.eval()

    def _refuse_other_run(self) -> None:
        """Kept stages belong to the configuration beside them; only where the data lie may have changed."""
        kept = self.folder / "config.json"
        if not kept.exists() or not list(self.folder.glob("stage_*.safetensors")):
            return
        ours = self.config.model_dump(mode="json")
        theirs = json.loads(kept.read_text(encoding="utf-8"))
        for config in (ours, theirs):
            config["data"].pop("manifest", None)
        if ours != theirs:
            raise InputError(
                "other_run",
                f"{self.folder} holds stages of a run with another configuration.",
                "Choose another folder, or empty this one.",
            )


class _Stage:
    """One stage: the phases it trains, its optimisers and its data order."""

    def __init__(
        self, trainer: ProgressiveTrainer, number: int, trained: list[int], train: Slices, validation: Slices
    ) -> None:
        self.trainer, self.number, self.trained = trainer, number, trained
        self.train, self.validation = train, validation
        schedule = trainer.config.schedule
        joint = number > trainer.config.architecture.phases
        self.steps = schedule.joint_steps if joint else schedule.steps[trained[0]]
        self.rate = schedule.joint_learning_rate if joint else schedule.learning_rate
        self.random = torch.Generator().manual_seed(schedule.seed + number)

        cascade = trainer.cascade
        for phase, generator in enumerate(cascade.generators):
            generator.requires_grad_(phase in trained)
        discriminators = [PatchDiscriminator(width=schedule.discriminator_width) for _ in trained]
        fabric = trainer.fabric
        self.generators = fabric.setup_module(cascade)
        self.discriminators = [fabric.setup_module(discriminator) for discriminator in discriminators]
        self.optimizer: Any = fabric.setup_optimizers(self._adam([cascade]))
        self.discriminator_optimizer: Any = fabric.setup_optimizers(self._adam(discriminators))
        optimizers: tuple[Any, Any] = (self.optimizer, self.discriminator_optimizer)
        self.schedulers = [torch.optim.lr_scheduler.LambdaLR(optimizer, self._pace) for optimizer in optimizers]

    def _adam(self, modules: Sequence[nn.Module]) -> torch.optim.Adam:
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        return torch.optim.Adam(parameters, lr=self.rate, betas=(0.9, 0.999))

    def _pace(self, step: int) -> float:
        """Linear warm-up, then a cosine to zero."""
        warm_up = self.trainer.config.schedule.warm_up
        if step < warm_up:
            return (step + 1) / (warm_up + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(self.steps - warm_up, 1)))

    def run(self) -> None:
        """Take the stage's steps and log them as JSON lines."""
        start, losses = time.monotonic(), []
        with (self.trainer.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            for step in range(1, self.steps + 1):
                losses.append(self._step(*self._batch()))
                if step % _LOG_EVERY == 0 or step == self.steps:
                    line: dict[str, Any] = {
                        "stage": self.number,
                        "step": step,
                        "steps": self.steps,
                        "loss": round(float(torch.stack(losses).mean()), 5),
                        "seconds": round(time.monotonic() - start, 1),
                    }
                    if step % _VALIDATE_EVERY == 0 or step == self.steps:
                        line["validation_mae"] = self._validate()
                    losses.clear()
                    print(json.dumps(line), file=log, flush=True)
                    self.trainer.report(line)

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Draw random slices, half of them mirrored left to right; float32 on the device."""
        chosen = torch.randint(len(self.train), (self.trainer.config.schedule.batch,), generator=self.random)
        mirrored = torch.rand(len(chosen), generator=self.random) < 0.5
        batch = []
        for part in self.train:
            slices = part[chosen].float()
            slices[mirrored] = slices[mirrored].flip(-1)
            batch.append(self.trainer.fabric.to_device(slices.contiguous(memory_format=torch.channels_last)))
        return batch[0], batch[1], batch[2]

    def _step(self, a: Tensor, b: Tensor, body: Tensor) -> Tensor:
        """Take one step of the trained generators, then one of their discriminators."""
        fabric, loss_config = self.trainer.fabric, self.trainer.config.loss
        for phase, generator in enumerate(self.trainer.cascade.generators):
            generator.train(phase in self.trained)
        predictions = self.generators(a, max(self.trained) + 1)
        loss = a.new_zeros(())
        for phase, discriminator in zip(self.trained, self.discriminators, strict=True):
            loss = loss + phase_loss(predictions[phase], b, body, loss_config)
            if loss_config.adversarial:
                discriminator.requires_grad_(False)
                scores = discriminator(predictions[phase].loc)
                loss = loss + loss_config.adversarial * generator_adversarial_loss(scores)
                discriminator.requires_grad_(True)
        self.optimizer.zero_grad()
        fabric.backward(loss)
        fabric.clip_gradients(self.generators, self.optimizer, max_norm=self.trainer.config.schedule.gradient_clip)
        self.optimizer.step()
        if loss_config.adversarial:
            self._discriminate([predictions[phase].loc.detach() for phase in self.trained], b)
        for scheduler in self.schedulers:
            scheduler.step()
        return loss.detach()

    def _discriminate(self, generated: list[Tensor], b: Tensor) -> None:
        loss = b.new_zeros(())
        for discriminator, image in zip(self.discriminators, generated, strict=True):
            loss = loss + discriminator_loss(discriminator(b), discriminator(image))
        self.discriminator_optimizer.zero_grad()
        self.trainer.fabric.backward(loss)
        self.discriminator_optimizer.step()

    @torch.no_grad()
    def _validate(self) -> list[float]:
        """Mean absolute error inside the body of each phase so far, in output units."""
        self.trainer.cascade.eval()
        count = max(self.trained) + 1
        errors, weight = torch.zeros(count), 0.0
        for slices in zip(*(part.split(16) for part in self.validation), strict=True):
            a, b, body = (self.trainer.fabric.to_device(part.float()) for part in slices)
            for phase, prediction in enumerate(self.generators(a, count)):
                errors[phase] += float(((prediction.loc - b).abs() * body).sum())
            weight += float(body.sum())
        factor = TASKS[self.trainer.config.data.task].output.factor
        return [round(float(error) / weight * factor, 2) for error in errors]
