"""A training session without engine: tests say what it does, and see what it was asked for."""

# The session's own names.
# ruff: noqa: N802, N803, N806

import json
import tempfile
from pathlib import Path

# As the engine gives it: complete, with a preset's values.
PRESET = {
    "name": "unnamed",
    "base": None,
    "seed": 0,
    "architecture": {"name": "up-gan", "phases": 3, "width": 16, "attention": True},
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


class FakeSession:
    """Does what it is told at once, and remembers it.

    Attributes:
        asked: Names and arguments of what was asked for.
        failure: Raised by whatever is asked for next.
    """

    def __init__(self, home):
        self.home = home
        self.run, self.state, self.progress, self.journal, self.error = None, "idle", {}, [], None
        self.asked = []
        self.failure = None
        self.isOurs = False
        self._callbacks = []
        self._answers = None

    @property
    def isBusy(self):
        return self.isOurs or self.state in ("checking", "saving")

    def whenChanged(self, callback):
        self._callbacks.append(callback)

    def tell(self, state=None, **changes):
        """Change, and say so."""
        for name, value in changes.items():
            setattr(self, name, value)
        if state is not None:
            self.state = state
            self.isOurs = state in ("running", "pausing", "stopping")
        for callback in self._callbacks:
            callback()

    def answer(self, content):
        """Answer what was asked for last."""
        onResult, onError = self._answers
        self.tell("idle" if self.run is None else "paused", progress={})
        (onError if isinstance(content, Exception) else onResult)(content)

    def _ask(self, name, *arguments):
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        self.asked.append((name, *arguments))

    def presetConfig(self, preset, base, onResult, onError):
        self._ask("presetConfig", preset, base)
        config = json.loads(json.dumps(PRESET))
        config["base"] = base
        if preset == "paper":
            config["schedule"] |= {"epochs": [1000, 1000, 1000], "early_stopping": None}
        onResult(config)

    def checkData(self, config, onResult, onError):
        self._ask("checkData", config)
        self._answers = onResult, onError
        self.tell("checking")

    def start(self, config):
        self._ask("start", config)
        folder = self.newRun(config["name"], config)
        self.tell("running", run=folder, journal=[])
        return folder

    def pause(self):
        self._ask("pause")
        self.tell("pausing")

    def resume(self, run=None, data=None):
        self._ask("resume", run, *filter(None, [data]))
        self.tell("running")

    def stop(self):
        self._ask("stop")
        self.tell("stopping")

    def saveModel(self, checkpoint, name, onResult, onError, data=None):
        self._ask("saveModel", checkpoint, name, *filter(None, [data]))
        self._answers = onResult, onError
        self.tell("saving")

    def runs(self):
        from upgan.training.record.runs import list_runs

        return list_runs()

    def select(self, run):
        self._ask("select", run)
        self.tell("paused", run=run, journal=[])

    def newPairsFolder(self):
        self.home.mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self.home, prefix=".pairs-"))

    def newRun(self, name, config=None):
        """Make a run's folder."""
        folder = self.home / name
        folder.mkdir(parents=True)
        config = config or {"name": name, "base": None, "data": {"task": "pet_to_ct"}}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    def close(self):
        self._callbacks.clear()


def stage_line(stage, phases, stages=4, epochs=20, steps=100):
    return {"kind": "stage", "stage": stage, "stages": stages, "phases": phases, "epochs": epochs, "steps": steps}


def steps_line(stage, step, loss=1.0, steps=100):
    return {"kind": "steps", "stage": stage, "stages": 4, "epoch": 1, "step": step, "steps": steps, "loss": loss}


def validation_line(stage, epoch, maes, coverage=(0.5, 0.9), best=True):
    phases = {
        str(phase): {"mae": mae, "coverage_50%": coverage[0], "coverage_90%": coverage[1]}
        for phase, mae in enumerate(maes, start=1)
    }
    return {"kind": "validation", "stage": stage, "epoch": epoch, "step": 1, "phases": phases, "best": best}


def event_line(code, sentence):
    return {"kind": "event", "code": code, "sentence": sentence}
