"""What the panel knows of a training; ``session.TrainingSession`` is the one that has a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from UncertaintyGuidedI2ILib.work.worker import Handler

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.train.session.states import State
    from upgan.training.record.runs import Run


class Training(Protocol):
    """The one run that is trained, or looked at; ``TrainingSession`` says what each may raise.

    Attributes:
        progress: {"stage", "fraction", "remaining_s"} of what is under way here; else empty.
        error: What ended the training, where it was an error.
    """

    progress: dict[str, Any]
    error: Exception | None

    @property
    def run(self) -> Path | None:
        """Folder of the run that is looked at; None where there is none."""

    @property
    def journal(self) -> list[dict[str, Any]]:
        """Lines of the run's journal so far; another list whenever it was read anew."""

    @property
    def at(self) -> State:
        """The state of ``states`` in which the session is."""

    @property
    def state(self) -> str:
        """What is done here, else what the run's folder tells, as ``State.word`` says it."""

    @property
    def isOurs(self) -> bool:
        """Whether the run is trained from here, and may be paused."""

    @property
    def isBusy(self) -> bool:
        """Whether nothing else may be asked for now."""

    def whenChanged(self, callback: Callable[[], None]) -> None:
        """Have a panel told when state, progress or journal have changed."""

    def prepare(self) -> None:
        """Have nothing else begin while a configuration is put together, until it is used or ``drop``."""

    def drop(self) -> None:
        """Let go of a configuration that was put together, unless it is used already."""

    def presetConfig(self, preset: str, base: str | None, onResult: Handler, onError: Handler) -> None:
        """Ask for the values of a preset, for a base model or from scratch."""

    def checkData(self, config: Mapping[str, Any], onResult: Handler, onError: Handler) -> None:
        """Find and check the pairs of a configuration."""

    def degrade(self, config: Mapping[str, Any], subject: str | None, onResult: Handler, onError: Handler) -> None:
        """Have pictures made of one patient's degraded input and its target."""

    def start(self, config: Mapping[str, Any]) -> Path:
        """Begin a run in a folder of its own, which is returned."""

    def pause(self) -> None:
        """Let the training write a checkpoint and rest."""

    def resume(self, run: Path | None = None, data: Path | None = None) -> None:
        """Go on from the last checkpoint, with images that may have moved to ``data``."""

    def stop(self) -> None:
        """End the run for good, or end a check or the making of a model."""

    def saveModel(
        self, checkpoint: str, name: str, onResult: Handler, onError: Handler, data: Path | None = None
    ) -> None:
        """Make a model of the run."""

    def runs(self) -> list[Run]:
        """Return the runs in their home, the newest first, whoever trains them."""

    def select(self, run: Path | None) -> None:
        """Look at a run, without going on with it, or at none."""

    def newPairsFolder(self) -> Path:
        """Return a private folder for the scene's volumes; removed at the end unless a run takes it."""
