"""Progressive training: each phase in turn with the earlier ones frozen, then all of them together."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from upgan.errors import Cancelled, InputError, OutputError, TrainingError
from upgan.files import write_json
from upgan.networks.cascade import Cascade
from upgan.networks.published import PublishedCascade
from upgan.progress import Progress
from upgan.training.loop.frozen import keep_handed_on
from upgan.training.loop.recovery import Recovered, recover
from upgan.training.loop.stage import DISCRIMINATORS, Stage, StagePlan, StepLosses, plan_stages
from upgan.training.loop.validation import preview, validate
from upgan.training.loop.work_done import Pace
from upgan.training.record import checkpoint
from upgan.training.record.journal import Journal
from upgan.training.record.layout import CACHE, FINISHED, HANDED_ON
from upgan.training.record.state import MEASURE, Best, RunState
from upgan.training.settings.config import TrainingConfig
from upgan.training.slices.augmentation import mirrored_by_columns
from upgan.training.slices.batches import Batches
from upgan.training.slices.dataset import RunData
from upgan.training.slices.handed_on import HandedOn
from upgan.uncertainty.distribution import GeneralizedNormal

# Steps between two lines of the journal; a GPU's losses are read, and waited for, only then.
_WINDOW = 10
# A line at least this often where one process trains.
_WINDOW_S = 5.0
_MOST_ROLLBACKS = 3
# Beside the checkpoints at the end of each epoch.
_CHECKPOINT_EVERY_S = 300.0


class Watch(Protocol):
    """Who looks on."""

    @property
    def progress(self) -> Progress:
        """Told how far the run is, at every step; what listens may raise ``Cancelled``, and the run stops in order."""

    def line(self, line: dict[str, Any]) -> None:
        """Hear a line of the journal."""


class _UnhealthyError(Exception):
    """The networks no longer learn, or are no longer numbers: nothing of this may be kept."""


class _Step(NamedTuple):
    names: list[tuple[str, int]]
    losses: StepLosses


class ProgressiveTraining:
    """A run under way.

    Args:
        fabric: Device, precision and processes.
        config: The run.
        folder: The run's folder.
        data: The slices and their split.
        cascade: The networks on the device, with random weights or those of the base model.
        watch: Told of every step and every line of the journal, by the first process alone.
    """

    def __init__(
        self,
        fabric: Fabric,
        config: TrainingConfig,
        folder: Path,
        data: RunData,
        cascade: Cascade | PublishedCascade,
        watch: Watch,
    ) -> None:
        self.fabric, self.config, self.folder, self.data = fabric, config, folder, data
        self.cascade, self.watch = cascade, watch
        self.state = RunState()
        slices = sum(data.cache.subjects[subject].count for subject in data.split.train)
        self._plans = plan_stages(config, cascade.architecture.phases, slices)
        are_mirrored = config.augmentation.flip > 0 and mirrored_by_columns(data.cache.plane)
        kept_in = folder / CACHE / HANDED_ON
        self._handed_on = HandedOn(data.cache, kept_in, cascade.handed_on_channels, are_mirrored)
        self._last = checkpoint.path_of(folder, checkpoint.LAST)
        self._stage: Stage
        self._pace: Pace
        self._progress: Progress
        self._window: list[_Step] = []
        self._journal: Journal | None = None
        # What the discriminators of phases knew when their stage was over: the end-to-end stage goes on with them.
        self._discriminators: dict[str, Tensor] = {}
        # Whether a whole file may be moved aside for the next one, or must not be by a damaged one.
        self._is_last_whole = True
        now = time.monotonic()
        self._clock, self._saved, self._closed = now, now, now
        self._asked_to_stop = False

    def run(self) -> None:
        """Take all stages that are left, and write down that the run is finished."""
        found = recover(self.folder, self.config, self._plans)
        tensors = self._take_up(found) if found else {}
        resumed, told = found is not None, found.told if found else ""
        del found  # All that a stage has gathered: it need not be held while the run lasts.
        self.fabric.barrier()
        if self.fabric.is_global_zero:
            self._journal = Journal(self.folder, self.state.journal, self.state.total_steps, self.watch.line)
        self._clock = self._saved = self._closed = time.monotonic()
        try:
            for code, sentence in (*(() if resumed else self.data.notes), *self.data.warnings):
                self._tell(code, sentence)
            if resumed:
                if told:
                    self._tell("checkpoint_damaged", told)
                self._tell("resumed", f"The training goes on with step {self.state.step + 1} of its stage.")
                if self.state.measure != MEASURE:
                    self._measure_kept()
            elif self.config.base:
                # The model to beat, and to keep where nothing beats it.
                self.state.phases_trained = self.cascade.architecture.phases
                self._validate(0, 0, self.cascade)
            for index in range(self.state.stage, len(self._plans)):
                self._run_stage(index, tensors)
                tensors = {}
            self._finish()
        finally:
            if self._journal is not None:
                self._journal.close()

    def _take_up(self, found: Recovered) -> dict[str, Tensor]:
        """Go where a checkpoint is; returns what the stage in which it lies needs."""
        self.state = found.state
        self._is_last_whole = not found.told
        self._discriminators = checkpoint.named(found.tensors, DISCRIMINATORS)
        if not found.is_between:
            return found.tensors
        checkpoint.load_cascade(self.cascade, checkpoint.weights_among(found.tensors), self._last)
        return {}

    def _run_stage(self, index: int, tensors: dict[str, Tensor]) -> None:
        plan = self._plans[index]
        batches = Batches(
            self.data.cache,
            self.data.split.train,
            self.config,
            plan.number,
            self.fabric.global_rank,
            self.fabric.world_size,
            restores=self.data.task.output.relative,
        )
        steps = plan.epochs * batches.epoch_steps
        self._pace = Pace(self._plans, batches.epoch_steps)
        try:
            self._stage = Stage(self.fabric, self.cascade, self.config, plan, steps, self._discriminators)
        except ValueError as error:
            raise checkpoint.weights_mismatch(self._last) from error
        if tensors:
            self._restore(tensors)
            if not self._is_last_whole:
                self._save()
        else:
            self.state.begin_stage(index)
            self._begin_as_predecessor(plan)
            phases = [phase + 1 for phase in plan.trained]
            self._write(kind="stage", stage=plan.number, phases=phases, epochs=plan.epochs, steps=steps)
            self._save()
        if plan.is_kept and self.state.step < steps:
            self._keep_handed_on(index, batches)
        while self.state.step < steps:
            try:
                self._take_steps(plan, batches, steps)
            except _UnhealthyError as trouble:
                self._roll_back(str(trouble))
        if plan.is_kept and self.fabric.is_global_zero:
            self._handed_on.remove()
        self._end_stage(plan)

    def _keep_handed_on(self, index: int, batches: Batches) -> None:
        """Run the frozen phases once, in the first process while the others wait, or at every step if need be."""
        plan, refused = self._plans[index], ""
        if self.fabric.is_global_zero:
            done = self._pace.fraction(self.state.stage, self.state.step)
            progress = self.watch.progress.part(done, done, f"computing once what phase {plan.trained[0]} hands on,")
            subjects = self.data.split.train
            try:
                keep_handed_on(self._handed_on, self.cascade, plan.trained[0], subjects, self.fabric, progress)
            except Cancelled:
                self._asked_to_stop = True
            except OutputError as error:  # Time is no reason to end a training.
                self._handed_on.remove()
                refused = error.sentence
        self._asked_to_stop, refused = self.fabric.broadcast((self._asked_to_stop, refused))
        if self._asked_to_stop:
            self._pause(plan)
        if refused:
            self._tell("not_kept", f"{refused} It is computed anew at every step, which takes longer.")
            self._plans[index] = plan._replace(is_kept=False)
            self._pace = Pace(self._plans, batches.epoch_steps)
        else:
            batches.handed_on = self._handed_on

    def _begin_as_predecessor(self, plan: StagePlan) -> None:
        """Start a later phase from the one before where that is asked for; a base model's phases know better."""
        wanted = self.config.schedule.begin_as_predecessor and self.config.base is None
        if wanted and len(plan.trained) == 1 and plan.trained[0] and isinstance(self.cascade, Cascade):
            self.cascade.begin_as_predecessor(plan.trained[0])

    def _take_steps(self, plan: StagePlan, batches: Batches, steps: int) -> None:
        """Take steps until the stage ends.

        Raises:
            _UnhealthyError: In all processes alike.
        """
        state = self.state
        # The clock begins anew: stages differ in speed, and what another process took tells nothing of this one.
        self._progress = self.watch.progress.steadily(self._pace.fraction(state.stage, state.step))
        order = range(state.step, steps)
        loaders, pinned = self.config.compute.loaders, self.fabric.device.type == "cuda"
        for batch in DataLoader(batches, batch_size=None, sampler=order, num_workers=loaders, pin_memory=pinned):
            given = [*batch[:4], *([] if batch.handed_on is None else [batch.handed_on])]
            parts = (part.contiguous(memory_format=torch.channels_last) for part in given)
            losses = self._stage.step(state.step, *(self.fabric.to_device(part) for part in parts))
            self._window.append(_Step(batch.names, losses))
            state.step += 1
            state.total_steps += 1
            state.phases_trained = max(state.phases_trained, plan.trained[-1] + 1)
            epoch, rest = divmod(state.step, batches.epoch_steps)
            if not rest or self._is_window_full():
                self._close_window(plan, epoch + bool(rest), steps)
            if not rest and self._end_epoch(plan, epoch, steps):
                return
            self._look_up(plan, epoch + bool(rest), steps)

    def _is_window_full(self) -> bool:
        """All processes must find the same, so that only a single one may look at the clock."""
        late = self.fabric.world_size == 1 and time.monotonic() - self._closed > _WINDOW_S
        return late or len(self._window) >= _WINDOW

    def _close_window(self, plan: StagePlan, epoch: int, steps: int) -> None:
        """Read the losses of the last steps and write down their mean.

        Raises:
            _UnhealthyError: They are no numbers, or grow; nothing is written.
        """
        window, self._window = self._window, []
        self._closed = time.monotonic()
        read = torch.stack([torch.stack([value.float() for value in step.losses]) for step in window])
        if self.fabric.world_size > 1:
            read = self.fabric.all_reduce(read, reduce_op="mean")  # type: ignore[assignment]
        for step, values in zip(window, read.cpu(), strict=True):
            losses = StepLosses(*values)
            total = float(losses.loss + losses.gradient + losses.discriminator)
            trouble = self.state.health.observe(total, float(losses.l1))
            if trouble:
                slices = ", ".join(f"{subject} slice {number + 1}" for subject, number in step.names)
                raise _UnhealthyError(f"{trouble} ({slices}).")
        means = StepLosses(*read.mean(0))
        self._write(
            kind="steps",
            stage=plan.number,
            epoch=epoch,
            epochs=plan.epochs,
            step=self.state.step,
            steps=steps,
            **{name: round(float(value), 6) for name, value in means._asdict().items()},
            rate=self._stage.rate(self.state.step - 1),
            seconds=round(self._tick(), 2),
            remaining_s=self._progress.remaining_s(self._pace.fraction(self.state.stage, self.state.step)),
        )

    def _look_up(self, plan: StagePlan, epoch: int, steps: int) -> None:
        """Tell how far the run is; stop where that is asked for, save where it is time."""
        state, where = self.state, plan.title(self.cascade.architecture.phases)
        if self.fabric.is_global_zero:
            done = self._pace.fraction(state.stage, state.step)
            try:
                self._progress.tell(done, f"{where}, epoch {epoch} of {plan.epochs}")
            except Cancelled:
                self._asked_to_stop = True
        is_due = time.monotonic() - self._saved > _CHECKPOINT_EVERY_S
        if self.fabric.world_size > 1:
            if self._window:  # Several processes meet at the end of a window only.
                return
            self._asked_to_stop, is_due = self.fabric.broadcast((self._asked_to_stop, is_due))
        if not self._asked_to_stop and not is_due:
            return
        if self._window:
            self._close_window(plan, epoch, steps)
        self._refuse_nan()
        if self._asked_to_stop:
            self._pause(plan)
        self._save()

    def _pause(self, plan: StagePlan) -> NoReturn:
        """Stop in order.

        Raises:
            Cancelled: Always.
        """
        self._tell("paused", f"The training was paused in {plan.title(self.cascade.architecture.phases)}.")
        self._save()
        raise Cancelled

    def _end_epoch(self, plan: StagePlan, epoch: int, steps: int) -> bool:
        """Validate, keep the best and the last; True where the stage is to end here.

        Raises:
            _UnhealthyError: Something is no number; then nothing is kept.
        """
        self._refuse_nan()
        if not self._validate(plan.number, epoch, self._stage.weights):
            raise _UnhealthyError("The error on the validation patients was not a number.")
        patience = self.config.schedule.early_stopping
        best = self.state.stage_best
        stale = patience is not None and best is not None and epoch - best.epoch >= patience
        stale = self.fabric.broadcast(stale)
        if stale and self.state.step < steps:
            self._tell("early_stopped", f"The validation error has not fallen for {patience} epochs: the stage ends.")
            self.state.step = steps  # so that a run that is resumed here does not take them after all
        self._save()
        self._preview(plan.number, epoch)
        return stale

    def _validate(self, stage: int, epoch: int, weights: nn.Module) -> bool:
        """Measure on the validation subjects and keep what is best; False where the error is no number."""
        # In the first process alone; the others wait for its word.
        found = self._measure(stage, epoch, weights) if self.fabric.is_global_zero else True
        return bool(self.fabric.broadcast(found))

    def _measure(self, stage: int, epoch: int, weights: nn.Module) -> bool:
        data, phases = self.data, self.state.phases_trained
        predict = self._predicting(weights)
        figures = validate(predict, data.cache, data.split.validation, data.task, self.fabric.device)
        here = Best(stage, epoch, figures[phases]["mae"])
        if not math.isfinite(here.mae):
            return False
        is_best = self.state.best is None or here.mae < self.state.best.mae
        self._write(
            kind="validation",
            stage=stage,
            epoch=epoch,
            step=self.state.step,
            phases={str(phase): values for phase, values in figures.items()},
            best=is_best,
        )
        if is_best:
            self.state.best = here
            self._keep(checkpoint.BEST, weights)
        if self.state.stage_best is None or here.mae < self.state.stage_best.mae:
            self.state.stage_best = here
            if self.config.schedule.early_stopping and stage:
                self._keep(self._stage.plan.name, weights, self._discriminators | self._stage.discriminator_tensors())
        return True

    def _measure_kept(self) -> None:
        """Measure the best weights anew where an earlier version measured them by another definition."""
        state = self.state
        state.measure = MEASURE
        if state.best is None or not self.fabric.is_global_zero:
            return
        # Where the run goes on between two stages, the next one begins with these.
        handed_on = {name: tensor.clone() for name, tensor in self.cascade.state_dict().items()}
        trained = state.phases_trained
        try:
            path = checkpoint.path_of(self.folder, checkpoint.BEST)
            tensors, kept = checkpoint.load_weights(path)
            checkpoint.load_cascade(self.cascade, tensors, path)
            state.phases_trained = int(kept["phases_trained"])
            data, predict = self.data, self._predicting(self.cascade)
            figures = validate(predict, data.cache, data.split.validation, data.task, self.fabric.device)
            again = replace(state.best, mae=figures[state.phases_trained]["mae"])
            # Of a stage's best that is another there is no such measure: the next epoch takes its place.
            state.stage_best = again if state.stage_best == state.best else None
            state.best = again
        except InputError as error:
            if error.code not in ("no_checkpoint", "checkpoint_unreadable"):
                raise
            # No reason to end a training whose last checkpoint is whole: the next epoch is the best.
            state.best = state.stage_best = None
        finally:
            state.phases_trained = trained
            self.cascade.load_state_dict(handed_on)

    def _preview(self, stage: int, epoch: int) -> None:
        """Show what the weights make of the first validation subject."""
        if self.fabric.is_global_zero:
            data, device, predict = self.data, self.fabric.device, self._predicting(self._stage.weights)
            try:
                preview(predict, data.cache, data.split.validation[0], data.task, device, self.folder, stage, epoch)
            except OutputError as error:  # A picture is no reason to end a training.
                self._tell("no_preview", error.sentence)

    def _predicting(self, weights: nn.Module) -> Callable[[Tensor], list[GeneralizedNormal]]:
        """Let a cascade predict as it will in use: in eval mode, with all phases that were trained."""
        weights.eval()

        def predict(a: Tensor) -> list[GeneralizedNormal]:
            with torch.inference_mode(), self.fabric.autocast():
                found: list[GeneralizedNormal] = weights(a, self.state.phases_trained)
                return found

        return predict

    def _end_stage(self, plan: StagePlan) -> None:
        """Hand the stage's outcome on: its averaged weights, or its best epoch's where it may end early."""
        kept = checkpoint.path_of(self.folder, plan.name)
        self._discriminators |= self._stage.discriminator_tensors()
        if self.config.schedule.early_stopping:
            self.fabric.barrier()
            tensors = self._outcome(kept)
            checkpoint.load_cascade(self.cascade, checkpoint.weights_among(tensors), kept)
            # The discriminators' own epoch; the first version did not keep them.
            self._discriminators |= checkpoint.named(tensors, DISCRIMINATORS)
        else:
            self.cascade.load_state_dict(self._stage.weights.state_dict())
            self._keep(plan.name, self.cascade, self._discriminators)

    def _outcome(self, kept: Path) -> dict[str, Tensor]:
        """Read what a stage that ends at its best epoch hands on.

        Raises:
            InputError: ``checkpoint_damaged``.
        """
        try:
            return checkpoint.load(kept)[0]
        except InputError as error:
            before = checkpoint.previous_of(self._last)
            raise InputError(
                "checkpoint_damaged",
                f"{kept}, the best epoch of the stage that is over, is damaged or gone.",
                f"Put back a copy of {kept.name}; or remove {self._last} and {before.name} and resume the training, "
                "which then goes through this stage again.",
            ) from error

    def _finish(self) -> None:
        if not self.fabric.is_global_zero:
            return
        best = self.state.best
        self._tell("finished", "The training is finished.")
        content = {"seconds": round(self._tick(), 1), "best": vars(best) if best else None, "stopped": False}
        write_json(self.folder / FINISHED, content)
        shutil.rmtree(self.folder / CACHE, ignore_errors=True)
        checkpoint.previous_of(self._last).unlink(missing_ok=True)

    def _roll_back(self, trouble: str) -> None:
        """Go back to the last checkpoint with half the rate.

        Raises:
            TrainingError: ``diverged``, after three times.
        """
        rollbacks, seconds = self.state.rollbacks + 1, self._tick()
        if rollbacks > _MOST_ROLLBACKS:
            self._tell("diverged", trouble)
            raise TrainingError(
                "diverged",
                f"The training diverged {rollbacks} times. {trouble}",
                "Look at the named slices; choose a lower learning rate, or gradient clipping at 1.",
            )
        self.fabric.barrier()
        tensors, state = checkpoint.load(self._last)
        self.state = RunState.from_json(state)
        self._restore(tensors)
        self.state.rollbacks, self.state.seconds = rollbacks, seconds
        self._stage.rate_factor = 0.5**rollbacks
        self._tell("rolled_back", f"{trouble} The training went back to its last checkpoint, with half the rate.")
        self._save()

    def _refuse_nan(self) -> None:
        """Look at all that a checkpoint would hold; every process has the same.

        Raises:
            _UnhealthyError: Some of it is no number.
        """
        held = [*checkpoint.weights(self.cascade).values(), *self._stage.tensors().values()]
        if not all(bool(tensor.isfinite().all()) for tensor in held):
            raise _UnhealthyError("Some weights were not numbers any more.")

    def _save(self) -> None:
        """Write everything that is needed to go on."""
        self._tick()
        if self.fabric.is_global_zero:
            assert self._journal is not None
            self.state.journal = self._journal.brought_to_the_disk()
            tensors = checkpoint.weights(self.cascade) | self._discriminators | self._stage.tensors()
            state, is_whole = self.state.to_json(), self._is_last_whole
            checkpoint.save(self._last, tensors, state, keep=is_whole, begun=self.data.begun)
            self._is_last_whole = True
        self._saved = time.monotonic()

    def _keep(self, name: str, weights: nn.Module, beside: Mapping[str, Tensor] | None = None) -> None:
        """Write weights that a model can be made of, and what else a stage hands on."""
        if self.fabric.is_global_zero:
            tensors = checkpoint.weights(weights) | dict(beside or {})
            path = checkpoint.path_of(self.folder, name)
            checkpoint.save(path, tensors, self.state.to_json(), begun=self.data.begun)

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        self._window.clear()
        checkpoint.load_cascade(self.cascade, checkpoint.weights_among(tensors), self._last)
        try:
            self._stage.restore(tensors)
        except ValueError as error:  # Of the discriminators or the optimisers.
            raise checkpoint.weights_mismatch(self._last) from error
        self._stage.rate_factor = 0.5**self.state.rollbacks

    def _tick(self) -> float:
        """Add the time since the last call to the run's own; returns the sum."""
        now = time.monotonic()
        self.state.seconds += now - self._clock
        self._clock = now
        return self.state.seconds

    def _write(self, **line: Any) -> None:
        if self._journal is not None:
            line = {"kind": line.pop("kind"), **line, "stages": self._plans[-1].number}
            self._journal.write(line, self.state.total_steps)

    def _tell(self, code: str, sentence: str) -> None:
        self._write(kind="event", code=code, sentence=sentence)
