"""What the journal of a training run says, as numbers to draw: losses, validation errors, coverage."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Points of a drawn line: more than a chart has pixels for is only slow.
MOST_POINTS = 400


def _numbers() -> array[float]:
    return array("d")


@dataclass
class Stage:
    """One stage of the progressive scheme: a phase's initialisation, or all phases end to end.

    Attributes:
        phases: The numbers of the phases that are trained in it, the first being 1.
        start: Number of optimisation steps of the run before this stage.
        startEpoch: Number of epochs of the run before this stage.
        steps: The optimisation steps at which losses are known, counted from the start of the run.
        losses: The generators' loss at each of ``steps``.
    """

    phases: tuple[int, ...]
    start: int
    startEpoch: int
    # Hundreds of thousands in the paper's training: as arrays they are drawn without a copy.
    steps: array[float] = field(default_factory=_numbers)
    losses: array[float] = field(default_factory=_numbers)
    epochs: int = 0


@dataclass
class Validations:
    """Figures of one phase over the epochs.

    Attributes:
        epochs: The epochs in which it was validated, counted from the start of the run.
        figures: The figures by name ("mae", "coverage_90%"), one value for each of ``epochs``.
    """

    epochs: list[int] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=dict)


class TrainingHistory:
    """Follows a journal line by line, at a cost that does not grow with its length.

    A run that was resumed or rolled back repeats steps: what came later counts.

    Attributes:
        stages: The stages by number, the first being 1; a base model was validated in stage 0.
        phases: The validations of each phase by its number, the first being 1.
        validations: The journal's lines of all validations.
        events: Sentences on what happened in the run.
    """

    def __init__(self) -> None:
        self.stages: dict[int, Stage] = {}
        self.phases: dict[int, Validations] = {}
        self.validations: list[Mapping[str, Any]] = []
        self.events: list[str] = []
        self._read = 0
        self._last: Mapping[str, Any] | None = None

    def follow(self, journal: list[dict[str, Any]]) -> bool:
        """Read what is new in a journal that grows; another one, or a shorter one, is read from its start.

        Returns:
            Whether there was anything new.
        """
        isAnother = self._read > 0 and (len(journal) < self._read or journal[self._read - 1] != self._last)
        if isAnother:
            self.stages, self.phases, self.validations, self.events, self._read = {}, {}, [], [], 0
        new = journal[self._read :]
        self._add(new)
        self._read = len(journal)
        self._last = journal[-1] if journal else None
        return isAnother or bool(new)

    def errorOf(self, checkpoint: str, keepsBest: bool = True) -> tuple[float, int, int] | None:
        """Return the MAE of a checkpoint's last phase on the validation patients, and the checkpoint's stage and epoch.

        Args:
            checkpoint: "best", "last", or the name of a stage: "phase_1" and so on, or "all_phases".
            keepsBest: Whether each stage's best epoch is kept, as where training may stop early; else its last one is.
        """
        lines = self.validations
        if checkpoint == "best":
            lines = [line for line in lines if line.get("best")]
        elif checkpoint != "last":
            lines = [line for line in lines if self._checkpointOf(line["stage"]) == checkpoint]
        errors = [(line["phases"][max(line["phases"], key=int)]["mae"], *_when(line)) for line in lines]
        if not errors:
            return None
        return errors[-1] if checkpoint in ("best", "last") or not keepsBest else min(errors)

    def _checkpointOf(self, number: int) -> str:
        """Return what the engine calls a stage: each phase has the stage of its number, all together the next."""
        stage = self.stages.get(number)
        if stage is None or not stage.phases:
            return ""
        return "all_phases" if number == max(stage.phases) + 1 else f"phase_{number}"

    def _add(self, lines: Iterable[Mapping[str, Any]]) -> None:
        for line in lines:
            kind = line.get("kind")
            if kind == "stage":
                self._stage(line["stage"], tuple(line.get("phases", ())))
            elif kind == "steps":
                self._addSteps(line)
            elif kind == "validation":
                self._addValidation(line)
            elif kind == "event":
                self.events.append(line["sentence"])

    def _stage(self, number: int, phases: tuple[int, ...] = ()) -> Stage:
        if number not in self.stages:
            before = [stage for other, stage in self.stages.items() if other < number]
            start = max((int(stage.steps[-1]) for stage in before if stage.steps), default=0)
            startEpoch = max((stage.startEpoch + stage.epochs for stage in before), default=0)
            self.stages[number] = Stage(phases, start, startEpoch)
        stage = self.stages[number]
        stage.phases = phases or stage.phases
        return stage

    def _addSteps(self, line: Mapping[str, Any]) -> None:
        if line.get("loss") is None or "stage" not in line:
            return
        stage = self._stage(line["stage"])
        step = stage.start + line["step"]
        while stage.steps and stage.steps[-1] >= step:
            stage.steps.pop()
            stage.losses.pop()
        stage.steps.append(step)
        stage.losses.append(line["loss"])

    def _addValidation(self, line: Mapping[str, Any]) -> None:
        if not line["phases"]:
            return
        stage = self._stage(line["stage"])
        stage.epochs = line["epoch"]
        epoch = stage.startEpoch + line["epoch"]
        while self.validations and _when(self.validations[-1]) >= _when(line):
            self.validations.pop()
        self.validations.append(line)
        for name, figures in line["phases"].items():
            phase = self.phases.setdefault(int(name), Validations())
            while phase.epochs and phase.epochs[-1] >= epoch:
                phase.epochs.pop()
                for values in phase.figures.values():
                    values.pop()
            phase.epochs.append(epoch)
            for figure in ("mae", "coverage_50%", "coverage_90%"):
                value = figures.get(figure)
                phase.figures.setdefault(figure, []).append(float("nan") if value is None else value)


def _when(line: Mapping[str, Any]) -> tuple[int, int]:
    return line["stage"], line["epoch"]


def thinned(x: Sequence[float], y: Sequence[float], most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Return at most so many points of a line, each the mean over as many neighbours: x [N], y [N]."""
    size = -(-len(x) // most) if x else 1
    starts = np.arange(0, len(x), size)
    if not len(starts):
        return np.empty(0), np.empty(0)
    counts = np.diff([*starts, len(x)])
    means = [np.add.reduceat(np.asarray(values, dtype=float), starts) / counts for values in (x, y)]
    return means[0], means[1]
