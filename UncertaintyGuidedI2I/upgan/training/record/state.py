"""How far a run is: what its last checkpoint says in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from upgan.training.record.health import Health

MEASURE = 2
"""Number of the definition in ``validation.validate``: 1 was a dilated mask on the networks' pixels."""


@dataclass
class Best:
    """The epoch with the lowest validation error so far.

    Attributes:
        stage: The number of its stage, the first being 1; 0 is the base model as it came.
        epoch: The number of the epoch within the stage; 0 is before the first step.
        mae: Mean absolute error of the last trained phase, in output units (HU in PET→CT).
    """

    stage: int
    epoch: int
    mae: float


@dataclass
class RunState:
    """How far a run is, and what it must remember to go on.

    Attributes:
        stage: Index of the stage among those that the run has.
        step: Steps done within it.
        total_steps: Steps done in the whole run.
        seconds: Time spent training, s.
        phases_trained: The number of phases that have taken a step at least: a model of this state has no more.
        best: The best epoch of the whole run.
        stage_best: The best epoch of this stage.
        rollbacks: The number of times that this stage has gone back to its last checkpoint; each halves the rate.
        health: Whether this stage still learns.
        journal: Length of the journal in bytes.
        measure: Number of the definition of the figures by which ``best`` and ``stage_best`` were measured.
    """

    stage: int = 0
    step: int = 0
    total_steps: int = 0
    seconds: float = 0.0
    phases_trained: int = 0
    best: Best | None = None
    stage_best: Best | None = None
    rollbacks: int = 0
    health: Health = field(default_factory=Health)
    journal: int = 0
    measure: int = MEASURE

    def to_json(self) -> dict[str, Any]:
        """Return the state as a checkpoint keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RunState:
        """Read a state as ``to_json`` has written it.

        Raises:
            ValueError: It is no state of a run.
        """
        try:
            best, stage_best = (Best(**content[name]) if content[name] else None for name in ("best", "stage_best"))
            restored = {"measure": 1, **content, "best": best, "stage_best": stage_best}
            state = cls(**{**restored, "health": Health(**content["health"])})
        except (KeyError, TypeError) as error:
            raise ValueError("no state of a run") from error
        counts = [state.stage, state.step, state.total_steps, state.phases_trained, state.rollbacks, state.journal]
        numbers = [state.seconds, state.health.mean, state.health.lowest]
        for found in filter(None, (best, stage_best)):
            counts += [found.stage, found.epoch]
            numbers.append(found.mae)
        counts += [state.health.steps, state.measure]
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("a count that is none")
        if not all(type(number) in (int, float) for number in numbers):
            raise ValueError("a number that is none")
        return state

    def begin_stage(self, stage: int) -> None:
        """Go to the start of a stage."""
        self.stage, self.step, self.rollbacks = stage, 0, 0
        self.stage_best, self.health = None, Health()
