"""One training at a time, in a worker process of its own: start, pause, resume, stop, watch, save as a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import slicer

from UncertaintyGuidedI2ILib import dependencies
from UncertaintyGuidedI2ILib.train.session.course import TrainingCourse, existing
from UncertaintyGuidedI2ILib.train.session.new_run import NewRun, PairDrafts
from UncertaintyGuidedI2ILib.train.session.refusals import crashed
from UncertaintyGuidedI2ILib.train.session.states import RESTING, Event, State, stateOf
from UncertaintyGuidedI2ILib.work.client import WorkerClient
from UncertaintyGuidedI2ILib.work.worker import Handler, TrainingWorker

NEEDED = (dependencies.TRANSLATING, dependencies.TRAINING)
# What a checkpoint takes at most when the application quits: one step, and its weights to the disk.
GRACE_S = 10.0
STARTING = {"stage": "starting the engine", "fraction": 0.0, "elapsed_s": 0.0, "remaining_s": None}


def trainingClient() -> WorkerClient:
    """Return a client whose worker gets the time to write a checkpoint."""
    return WorkerClient(graceS=GRACE_S)


class TrainingSession(TrainingCourse):
    """The one run that is trained, or looked at, from this application.

    It holds nothing of the scene and goes on when the scene or the module is closed. Its process is started when first
    needed, and ended when a training rests, so that the graphics card's memory is free for translations. Runs that
    other processes train, e.g. the command line, are watched only. ``states`` says what may follow what.

    Args:
        client: The client of a worker that no one else uses.
    """

    def __init__(self, client: TrainingWorker) -> None:
        super().__init__()
        self._client = client
        self._drafts = PairDrafts()
        # Until it has reached something.
        self._begun: NewRun | None = None
        # Pictures of the pairs, and of one patient's degraded input.
        self._pictures: dict[str, Path] = {}
        client.whenBusyChanges(self._onBusyChanged)
        # The application may quit without closing its modules first.
        slicer.app.connect("aboutToQuit()", self.close)

    def checkData(self, config: Mapping[str, Any], onResult: Handler, onError: Handler) -> None:
        """Find and check the pairs of a configuration; ``stop`` ends it.

        Args:
            config: The configuration, a ``upgan.training.settings.config.TrainingConfig`` in JSON.
            onResult: Called with the pairs, their problems and thumbnails, which live until the next check, and with
                an estimate of what the training costs.
            onError: Called with an ``UpganError``.

        Raises:
            UpganError: ``training_busy``, ``package_missing``, or what ``Worker.request`` raises.
        """
        self._refuseUnlessReady(Event.CHECK)
        arguments = {"config": config, "thumbnails": str(self._newPictures("check_data"))}
        self._work(Event.CHECK, "check_data", arguments, self._thenRest(onResult), self._thenRest(onError))

    def degrade(self, config: Mapping[str, Any], subject: str | None, onResult: Handler, onError: Handler) -> None:
        """Have pictures made of one patient: the input that a degradation makes, and its target; ``stop`` ends it.

        Args:
            config: The configuration, a ``upgan.training.settings.config.TrainingConfig`` in JSON.
            subject: The patient's label; the first one's where None.
            onResult: Called with {"subject", "input", "target"}: paths of pictures, which live until the next ones.
            onError: Called with an ``UpganError``.

        Raises:
            UpganError: What ``checkData`` raises.
        """
        self._refuseUnlessReady(Event.CHECK)
        arguments = {"config": config, "subject": subject, "folder": str(self._newPictures("degrade"))}
        self._work(Event.CHECK, "degrade", arguments, self._thenRest(onResult), self._thenRest(onError))

    def start(self, config: Mapping[str, Any]) -> Path:
        """Begin a run in a folder of its own.

        Args:
            config: The configuration, a ``upgan.training.settings.config.TrainingConfig`` in JSON. Where its data lie
                in a folder of ``newPairsFolder``, that folder becomes part of the run.

        Returns:
            The run's folder. What goes wrong later is told by ``error``.

        Raises:
            UpganError: ``training_busy``, ``package_missing``, ``bad_name``, or what ``Worker.request`` raises.
        """
        from upgan.errors import UpganError

        self._refuseUnlessReady(Event.START)
        self._begun = NewRun(str(config.get("name", "")), self._drafts)
        folder = self._begun.folder
        try:
            config = self._begun.withPairs(config)
            self._train("train", {"config": config, "folder": str(folder)}, folder)
        except UpganError:
            self._takeBack()
            raise
        return folder

    def pause(self) -> None:
        """Let the training write a checkpoint and end its process; nothing where it does not run.

        Raises:
            UpganError: ``run_in_use`` where another process trains the run.
        """
        self._refuse(Event.PAUSE)
        if self._move(Event.PAUSE):
            self._client.interrupt()
            self._tell()

    def resume(self, run: Path | None = None, data: Path | None = None) -> None:
        """Go on from the last checkpoint.

        Args:
            run: A run's folder; by default that of the run looked at.
            data: Where its images are now, as ``data.path`` of its configuration says it; None where they were.

        Raises:
            UpganError: ``training_busy``, ``package_missing``, ``no_run`` and the like, ``run_in_use``, ``run_over``,
                or what ``Worker.request`` raises.
        """
        if self.at not in RESTING:
            self._refuse(Event.RESUME)
        found = existing(run or self.run)
        # As it stands now, and also where it is not the run looked at.
        self._refuseUnlessReady(Event.RESUME, stateOf(found.state))
        self._begun = None
        arguments = {"folder": str(found.folder), **_movedTo(data)}
        self._train("resume_training", arguments, found.folder)

    def stop(self) -> None:
        """End the run for good, where it is, after a checkpoint; or end a check or the making of a model.

        Raises:
            UpganError: ``run_in_use`` where another process trains the run; for a paused run also what ``resume`` does.
        """
        if self.at is State.PAUSED:
            self._refuseUnlessReady(Event.STOP)
            self._finishRun()
            return
        self._refuse(Event.STOP)
        if self.at in (State.CHECKING, State.RUNNING, State.PAUSING, State.SAVING):
            self._client.interrupt()
        if self._move(Event.STOP):
            self._tell()

    def saveModel(
        self, checkpoint: str, name: str, onResult: Handler, onError: Handler, data: Path | None = None
    ) -> None:
        """Make a model of the run, with card, figures on the test patients and calibration; ``stop`` ends it.

        Args:
            checkpoint: "best", "last", "phase_1", ...
            name: The name that the model gets among the installed ones.
            onResult: Called with the installed model: name, origin, folder.
            onError: Called with an ``UpganError``.
            data: Where the run's images are now, as ``data.path`` of its configuration says it; None where they were.

        Raises:
            UpganError: ``training_busy``, ``package_missing``, ``no_run``, or what ``Worker.request`` raises.
        """
        self._refuseUnlessReady(Event.SAVE)
        run = str(existing(self.run).folder)
        arguments = {"run": run, "checkpoint": checkpoint, "name": name, **_movedTo(data)}

        def endThen(answer: Handler) -> Handler:
            return lambda content: self._endProcess(lambda: self._thenRest(answer)(content))

        self._work(Event.SAVE, "create_model", arguments, endThen(onResult), endThen(onError))

    def presetConfig(self, preset: str, base: str | None, onResult: Handler, onError: Handler) -> None:
        """Ask for the values of a preset, for a base model or from scratch.

        Raises:
            UpganError: What ``checkData`` raises.
        """
        self._question("start_config", {"preset": preset, "base": base}, onResult, onError)

    def info(self, onResult: Handler, onError: Handler) -> None:
        """Ask for the devices that there are.

        Raises:
            UpganError: What ``checkData`` raises.
        """
        self._question("info", {}, onResult, onError)

    def newPairsFolder(self) -> Path:
        """Return a private folder for the scene's volumes; removed at the end unless a run takes it.

        Raises:
            OutputError: ``no_home`` or ``not_writable``.
        """
        return self._drafts.newFolder()

    def drop(self) -> None:
        """Give up what is being prepared; nothing where nothing is."""
        if self._move(Event.DROP):
            # The engine may still have a question to answer.
            self._onBusyChanged()
            self._tell()

    def close(self) -> None:
        """End the process, which writes a checkpoint first; no callback is called any more. Waits up to 10 s."""
        slicer.app.disconnect("aboutToQuit()", self.close)
        self._onChanged.clear()
        self._client.stop()
        self.at = self._watch.resting
        self._watch.stop()
        for folder in self._pictures.values():
            self._client.removeFolder(folder)
        self._pictures.clear()
        self._drafts.remove()

    def _train(self, command: str, arguments: dict[str, Any], run: Path) -> None:
        self._request(Event.START, command, arguments, self._onTrained, self._onTrainingEnded)
        self.error = None
        self._watch.follow(run)
        self._begin()

    def _onTrained(self, result: dict[str, Any]) -> None:
        self._endProcess(self._rest)

    def _onTrainingEnded(self, error: Exception) -> None:
        from upgan.errors import Cancelled, UpganError

        isWanted = isinstance(error, Cancelled)
        isCrash = isinstance(error, UpganError) and error.code == "worker_ended"
        isNothing = self._begun is not None and not self._begun.hasReached(isRefused=not (isWanted or isCrash))
        if isWanted and not isNothing and self.at is State.STOPPING:
            self._finishRun()
            return
        if not isWanted:
            self.error = crashed(error) if isCrash and not isNothing else error

        def takeBackAndRest() -> None:
            self._takeBack()
            self._rest(Event.NOTHING_LEFT if isWanted else Event.ENDED)

        # Its files go when the process has let go of them.
        self._endProcess(takeBackAndRest if isNothing else self._rest)

    def _finishRun(self) -> None:
        def fail(error: Exception) -> None:
            self.error = error
            self._endProcess(self._rest)

        self._work(Event.STOP, "finish_training", {"folder": str(self.run)}, self._onTrained, fail)

    def _takeBack(self) -> None:
        """Remove a run that was refused before it reached anything."""
        assert self._begun is not None
        self._begun.takeBack()
        if self.run == self._begun.folder:
            self._watch.follow(None)
        self._begun = None

    def _question(self, command: str, arguments: dict[str, Any], onResult: Handler, onError: Handler) -> None:
        self._refuseUnlessReady(Event.ASK)
        self._request(Event.ASK, command, arguments, self._thenRest(onResult), self._thenRest(onError))
        self._tell()

    def _work(self, event: Event, command: str, arguments: dict[str, Any], onResult: Handler, onError: Handler) -> None:
        self._request(event, command, arguments, onResult, onError)
        self._begin()

    def _begin(self) -> None:
        self.progress = self.progress or dict(STARTING)
        self._tell()

    def _request(
        self, event: Event, command: str, arguments: dict[str, Any], onResult: Handler, onError: Handler
    ) -> None:
        """Ask the engine for what an event means; where it does not take it, nothing has happened."""
        before = self.at
        self._move(event)
        try:
            self._client.request(command, arguments, self._onProgress, onResult, onError)
        except Exception:
            self._stand(before)
            raise

    def _endProcess(self, onEnded: Callable[[], None]) -> None:
        """End the process, so that it holds no memory of the graphics card while it has nothing to do."""
        self._client.cancel(onEnded)

    def _thenRest(self, answer: Handler) -> Handler:
        def restThen(content: Any) -> None:
            self._rest()
            answer(content)

        return restThen

    def _onBusyChanged(self) -> None:
        if self._move(Event.ENGINE_BUSY if self._client.isBusy else Event.ENGINE_FREE):
            self._tell()

    def _onProgress(self, progress: dict[str, Any]) -> None:
        self.progress = progress
        self._tell()

    def _refuseUnlessReady(self, event: Event, at: State | None = None) -> None:
        self._refuse(event, at)
        dependencies.refuseMissing(*NEEDED)

    def _newPictures(self, of: str) -> Path:
        """Return a new folder in the place of the one that a command had before."""
        if of in self._pictures:
            self._client.removeFolder(self._pictures.pop(of))
        self._pictures[of] = self._client.newFolder()
        return self._pictures[of]


def _movedTo(data: Path | None) -> dict[str, str]:
    return {} if data is None else {"data": str(data)}
