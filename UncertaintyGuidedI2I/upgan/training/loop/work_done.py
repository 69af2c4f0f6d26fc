"""How much of a run's work is done."""

from __future__ import annotations

from collections.abc import Sequence

from upgan.training.loop.stage import StagePlan


class Pace:
    """Counts work in generators' forward passes: the end-to-end stage's steps take longer than others.

    What is done once for a stage does not count, as little as the validation.

    Args:
        plans: All stages.
        epoch_steps: Steps of an epoch, the same in every stage.
    """

    def __init__(self, plans: Sequence[StagePlan], epoch_steps: int) -> None:
        self._costs = [plan.cost for plan in plans]
        self._steps = [plan.epochs * epoch_steps for plan in plans]

    def fraction(self, stage: int, step: int) -> float:
        """Share of the whole run's work that is done at a step of a stage (its index)."""
        return self._done(stage, step) / self._done(len(self._costs), 0)

    def _done(self, stage: int, step: int) -> float:
        before = sum(cost * steps for cost, steps in zip(self._costs[:stage], self._steps[:stage], strict=True))
        return before + (self._costs[stage] * step if step else 0.0)
