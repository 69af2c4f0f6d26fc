"""A training session without engine: tests say what it does, and see what it was asked for."""

# The session's own names.
# ruff: noqa: N802, N803, N806

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.train.session.states import State
    from UncertaintyGuidedI2ILib.train.session.training import Training
    from UncertaintyGuidedI2ILib.work.worker import Handler
    from upgan.training.record.runs import Run

# As the engine gives it: complete, with a preset's values.
PRESET: dict[str, Any] = {
    "name": "unnamed",
    "base": None,
    "seed": 0,
    "architecture": {"name": "up-gan", "phases": 3, "width": 16, "hand_over": "product"},
    "data": {"path": "data", "plane": "axial", "spacing_mm": None},
    "split": {"train": None, "validation": None, "test": None, "seed": 0},
    "augmentation": {"flip": 0.5, "rotation_degrees": 5.0, "scale": 0.05, "intensity": 0.0},
    "loss": {"form": "generalized_gaussian", "likelihood": 1.0, "adversarial": 0.001, "l1": 5.0},
    "schedule": {
        "epochs": [60, 30, 20],
        "joint_epochs": 20,
        "batch": 8,
        "learning_rate": 0.001,
        "joint_learning_rate": 0.0003,
        "early_stopping": 10,
    },
    "compute": {"device": "auto", "precision": "auto"},
}


# What happens where a test says what the session does now; where it rests, its run's folder has been looked at.
EVENTS = {"checking": "check", "running": "start", "pausing": "pause", "stopping": "stop", "saving": "save"}


class FakeSession:
    """Does what it is told at once, as the tables of states allow it, and remembers it.

    Attributes:
        asked: Names and arguments of what was asked for.
        failure: Raised by whatever is asked for next.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.run: Path | None = None
        self.progress: dict[str, Any] = {}
        self.journal: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.asked: list[tuple[Any, ...]] = []
        self.failure: Exception | None = None
        # Names, not members: each test imports the module anew.
        self._at = self._resting = "none"
        self._callbacks: list[Callable[[], None]] = []
        self._answers: tuple[Handler, Handler] | None = None

    @property
    def at(self) -> State:
        from UncertaintyGuidedI2ILib.train.session.states import State

        return State(self._at)

    @property
    def state(self) -> str:
        from UncertaintyGuidedI2ILib.train.session.states import State

        return State(self._resting if self._at in ("waiting", "preparing") else self._at).word

    @property
    def isOurs(self) -> bool:
        from UncertaintyGuidedI2ILib.train.session.states import OURS

        return self.at in OURS

    @property
    def isBusy(self) -> bool:
        from UncertaintyGuidedI2ILib.train.session.states import RESTING

        return self.at not in RESTING

    def whenChanged(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def tell(self, state: str | None = None, **changes: Any) -> None:
        """Change, and say so.

        Args:
            state: What the session does now, in the words of ``state``, or "watched".
            changes: Attributes.
        """
        for name, value in changes.items():
            setattr(self, name, value)
        if state in EVENTS:
            self._move(EVENTS[state])
        elif state is not None:
            isGone = state == "idle" and self.run is None and self.error is None
            resting = state if state != "idle" else "none" if self.run is None else "over"
            self._move("nothing_left" if isGone else "ended", resting)
        for callback in self._callbacks:
            callback()

    def _move(self, event: str, resting: str = "none") -> None:
        from UncertaintyGuidedI2ILib.train.session.states import Event, State, following, refusal

        assert refusal(self.at, Event(event)) is None, f"{event} in {self._at}"
        self._resting = resting
        self._at = following(self.at, Event(event), State(resting)).value

    def beginToAsk(self) -> None:
        """Have the engine asked something that it has not answered yet."""
        self._move("ask", self._resting)

    def prepare(self) -> None:
        self._move("prepare", self._resting)
        self.tell()

    def drop(self) -> None:
        if self._at == "preparing":
            self._move("drop", self._resting)
            self.tell()

    def answer(self, content: Any) -> None:
        """Answer what was asked for last."""
        assert self._answers is not None
        onResult, onError = self._answers
        self.tell("idle" if self.run is None else "paused", progress={})
        (onError if isinstance(content, Exception) else onResult)(content)

    def _ask(self, name: str, *arguments: Any) -> None:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        self.asked.append((name, *arguments))

    def presetConfig(self, preset: str, base: str | None, onResult: Handler, onError: Handler) -> None:
        self._ask("presetConfig", preset, base)
        config = json.loads(json.dumps(PRESET))
        config["base"] = base
        if preset == "paper":
            config["schedule"] |= {"epochs": [1000, 1000, 1000], "early_stopping": None}
        onResult(config)

    def checkData(self, config: Mapping[str, Any], onResult: Handler, onError: Handler) -> None:
        self._ask("checkData", config)
        self._answers = onResult, onError
        self.tell("checking")

    def degrade(self, config: Mapping[str, Any], subject: str | None, onResult: Handler, onError: Handler) -> None:
        self._ask("degrade", config, subject)
        self._answers = onResult, onError
        self.tell("checking")

    def start(self, config: Mapping[str, Any]) -> Path:
        self._ask("start", config)
        folder = self.newRun(config["name"], config)
        self.tell("running", run=folder, journal=[])
        return folder

    def pause(self) -> None:
        self._ask("pause")
        self.tell("pausing")

    def resume(self, run: Path | None = None, data: Path | None = None) -> None:
        self._ask("resume", run, *filter(None, [data]))
        self.tell("running")

    def stop(self) -> None:
        self._ask("stop")
        self.tell("stopping")

    def saveModel(
        self, checkpoint: str, name: str, onResult: Handler, onError: Handler, data: Path | None = None
    ) -> None:
        self._ask("saveModel", checkpoint, name, *filter(None, [data]))
        self._answers = onResult, onError
        self.tell("saving")

    def runs(self) -> list[Run]:
        from upgan.training.record.runs import list_runs

        return list_runs()

    def select(self, run: Path | None) -> None:
        self._ask("select", run)
        self.tell("paused", run=run, journal=[])

    def newPairsFolder(self) -> Path:
        self.home.mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self.home, prefix=".pairs-"))

    def newRun(self, name: str, config: Mapping[str, Any] | None = None) -> Path:
        """Make a run's folder."""
        folder = self.home / name
        folder.mkdir(parents=True)
        config = config or {"name": name, "base": None, "data": {"task": "pet_to_ct"}}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    def close(self) -> None:
        self._callbacks.clear()


if TYPE_CHECKING:

    def _stands_in(session: FakeSession) -> Training:
        return session


def stage_line(stage: int, phases: list[int], stages: int = 4, epochs: int = 20, steps: int = 100) -> dict[str, Any]:
    return {"kind": "stage", "stage": stage, "stages": stages, "phases": phases, "epochs": epochs, "steps": steps}


def steps_line(stage: int, step: int, loss: float = 1.0, steps: int = 100) -> dict[str, Any]:
    return {"kind": "steps", "stage": stage, "stages": 4, "epoch": 1, "step": step, "steps": steps, "loss": loss}


def validation_line(
    stage: int, epoch: int, maes: list[float], coverage: tuple[float, float] = (0.5, 0.9), best: bool = True
) -> dict[str, Any]:
    phases = {
        str(phase): {"mae": mae, "coverage_50%": coverage[0], "coverage_90%": coverage[1]}
        for phase, mae in enumerate(maes, start=1)
    }
    return {"kind": "validation", "stage": stage, "epoch": epoch, "step": 1, "phases": phases, "best": best}


def event_line(code: str, sentence: str) -> dict[str, Any]:
    return {"kind": "event", "code": code, "sentence": sentence}
