"""Whether a training still learns: NaN and divergence, found before they are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Of the moving mean of the image error: a few dozen batches, so that a hard one alone is no divergence.
_DECAY = 0.95
_SETTLED_AFTER = 40
_DIVERGED_AT = 4.0


@dataclass
class Health:
    """The image error's moving mean and its lowest value within a stage.

    Attributes:
        steps: The number of steps seen so far.
        mean: Moving mean of the mean absolute error, network units.
        lowest: The lowest value of that mean since it has settled.
    """

    steps: int = 0
    mean: float = 0.0
    lowest: float = math.inf

    def observe(self, loss: float, error: float) -> str:
        """Look at one step's loss and mean absolute error; returns what is wrong, or nothing."""
        if not math.isfinite(loss):
            return "The loss or its gradient was not a number"
        self.steps += 1
        # Divided by the weights so far, as Adam does, or the first mean would be far too low.
        self.mean = _DECAY * self.mean + (1 - _DECAY) * error
        mean = self.mean / (1 - _DECAY**self.steps)
        if self.steps < _SETTLED_AFTER:
            return ""
        self.lowest = min(self.lowest, mean)
        return "The error has grown to four times its lowest" if mean > _DIVERGED_AT * self.lowest else ""
