"""One training at a time, in a worker process of its own: start, pause, resume, stop, watch, save as a model."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import qt
import slicer
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib import dependencies
from UncertaintyGuidedI2ILib.train.training import Training
from UncertaintyGuidedI2ILib.work.client import WorkerClient
from UncertaintyGuidedI2ILib.work.upkeep import Upkeep
from UncertaintyGuidedI2ILib.work.worker import Handler, TrainingWorker

if TYPE_CHECKING:
    from upgan.training.record.journal_reader import JournalReader
    from upgan.training.record.runs import Run

State = Literal["idle", "checking", "running", "pausing", "paused", "stopping", "saving"]

NEEDED = (dependencies.TRANSLATING, dependencies.TRAINING)
# What a checkpoint takes at most when the application quits: one step, and its weights to the disk.
GRACE_S = 10.0
# Between two looks at the journal, of which so many bytes are read at a time: a few milliseconds.
LOOK_MS = 1000
JOURNAL_BYTES = 256 << 10
STARTING = {"stage": "starting the engine", "fraction": 0.0, "elapsed_s": 0.0, "remaining_s": None}

# Within a run's folder: copies of the scene's volumes, which belong to the run as its other data do.
PAIRS = "pairs"
# In the runs' home until a run takes them; a folder that was left by a crash is removed after a day.
PAIRS_DRAFT = ".pairs-"
ABANDONED_AFTER_S = 24 * 3600
# Without the one, there is no run to go on with; without the other, what a refused one has reached is nothing.
CONFIG = "config.json"
DATA = "data.json"


def trainingClient() -> WorkerClient:
    """Return a client whose worker gets the time to write a checkpoint."""
    return WorkerClient(graceS=GRACE_S)


class TrainingSession(Training):
    """The one run that is trained, or looked at, from this application.

    It holds nothing of the scene and goes on when the scene or the module is closed. Its process is started when first
    needed, and ended when a training rests, so that the graphics card's memory is free for translations. Runs that
    other processes train, e.g. the command line, are watched only.

    Args:
        client: Of a worker that no one else uses.
    """

    def __init__(self, client: TrainingWorker) -> None:
        self.run: Path | None = None
        self.progress: dict[str, Any] = {}
        self.journal: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self._client = client
        self._doing: State = "idle"
        self._found: State = "idle"
        self._reader: JournalReader | None = None
        self._hasMore = False
        self._isAsking = False
        self._drafts: list[Path] = []
        self._thumbnails: Path | None = None
        # What a refused start puts back: the run's new folder, and where its pairs came from.
        self._begun: tuple[Path, Path | None] | None = None
        self._onChanged: list[Callable[[], None]] = []
        self._upkeep = Upkeep()
        self._timer = qt.QTimer()
        self._timer.interval = LOOK_MS
        self._timer.connect("timeout()", lambda: self._upkeep.run({_("the state of the training"): self._onTimer}))
        client.whenBusyChanges(self._onBusyChanged)
        # The application may quit without closing its modules first.
        slicer.app.connect("aboutToQuit()", self.close)

    @property
    def state(self) -> State:
        """What this session's process does; else what the run's folder tells."""
        return self._doing if self._doing != "idle" else self._found

    @property
    def isOurs(self) -> bool:
        """Whether it is this session that trains the run, and may pause it."""
        return self._doing in ("running", "pausing", "stopping")

    @property
    def isBusy(self) -> bool:
        """Whether this session's process has work, or is ending, so that nothing else may be asked for."""
        return self._doing != "idle" or self._client.isBusy

    def whenChanged(self, callback: Callable[[], None]) -> None:
        """Have a panel told when state, progress or journal have changed."""
        self._onChanged.append(callback)

    def checkData(self, config: Mapping[str, Any], onResult: Handler, onError: Handler) -> None:
        """Find and check the pairs of a configuration; ``stop`` ends it.

        Args:
            config: As ``upgan.training.settings.config.TrainingConfig`` in JSON.
            onResult: Called with pairs, their problems and thumbnails (which live until the next check), and estimate.
            onError: Called with an ``UpganError``.

        Raises:
            UpganError: ``training_busy``, ``package_missing``, or what ``Worker.request`` raises.
        """
        self._refuseUnlessReady()
        self._removeThumbnails()
        self._thumbnails = self._client.newFolder()
        arguments = {"config": config, "thumbnails": str(self._thumbnails)}
        self._request("check_data", arguments, self._thenRest(onResult), self._thenRest(onError))
        self._begin("checking")

    def start(self, config: Mapping[str, Any]) -> Path:
        """Begin a run in a folder of its own.

        Args:
            config: As ``upgan.training.settings.config.TrainingConfig`` in JSON. Where its data lie in a folder of
                ``newPairsFolder``, that folder becomes part of the run.

        Returns:
            The run's folder. What goes wrong later is told by ``error``.

        Raises:
            UpganError: ``training_busy``, ``package_missing``, ``bad_name``, or what ``Worker.request`` raises.
        """
        from upgan.errors import UpganError
        from upgan.training.record.runs import new_run_folder

        self._refuseUnlessReady()
        folder = new_run_folder(str(config.get("name", "")))
        self._begun = (folder, None)
        try:
            config = self._withPairsInRun(config, folder)
            self._train("train", {"config": config, "folder": str(folder)}, folder)
        except UpganError:
            self._removeBegunRun()
            raise
        return folder

    def pause(self) -> None:
        """Let the training write a checkpoint and end its process; nothing where it does not run.

        Raises:
            UpganError: ``run_in_use`` where another process trains the run.
        """
        self._refuseOthers()
        if self._doing == "running":
            self._client.interrupt()
            self._begin("pausing")

    def resume(self, run: Path | None = None, data: Path | None = None) -> None:
        """Go on from the last checkpoint.

        Args:
            run: A run's folder; by default that of the run looked at.
            data: Where its images are now, as ``data.path`` of its configuration says it; None where they were.

        Raises:
            UpganError: ``training_busy``, ``package_missing``, ``no_run`` and the like, ``run_in_use``, ``run_over``,
                or what ``Worker.request`` raises.
        """
        from upgan.errors import InputError

        self._refuseUnlessReady()
        found = _existing(run or self.run)
        if found.state == "running":
            raise _inUse()
        if found.state in ("stopped", "finished"):
            raise InputError("run_over", "This training is over.", "Save its model and go on from that in a new one.")
        self._begun = None
        self._train("resume_training", {"folder": str(found.folder), **_movedTo(data)}, found.folder)

    def stop(self) -> None:
        """End the run for good, where it is, after a checkpoint; or end a check or the making of a model.

        Raises:
            UpganError: ``run_in_use`` where another process trains the run; for a paused run also what ``resume`` does.
        """
        self._refuseOthers()
        if self._doing in ("checking", "saving"):
            self._client.interrupt()
        elif self._doing in ("running", "pausing"):
            self._client.interrupt()
            self._begin("stopping")
        elif self.state == "paused":
            self._refuseUnlessReady()
            self._finishRun()
            self._begin("stopping")

    def saveModel(
        self, checkpoint: str, name: str, onResult: Handler, onError: Handler, data: Path | None = None
    ) -> None:
        """Make a model of the run, with card, figures on the test patients and calibration; ``stop`` ends it.

        Args:
            checkpoint: "best", "last", "phase_1", ...
            name: Of the model among the installed ones.
            onResult: Called with the installed model: name, origin, folder.
            onError: Called with an ``UpganError``.
            data: Where the run's images are now, as ``data.path`` of its configuration says it; None where they were.

        Raises:
            UpganError: ``training_busy``, ``package_missing``, ``no_run``, or what ``Worker.request`` raises.
        """
        self._refuseUnlessReady()
        run = str(_existing(self.run).folder)
        arguments = {"run": run, "checkpoint": checkpoint, "name": name, **_movedTo(data)}

        def endThen(answer: Handler) -> Handler:
            return lambda content: self._endProcess(lambda: self._thenRest(answer)(content))

        self._request("create_model", arguments, endThen(onResult), endThen(onError))
        self._begin("saving")

    def presetConfig(self, preset: str, base: str | None, onResult: Handler, onError: Handler) -> None:
        """Ask for the values of a preset, for a base model or from scratch.

        Raises:
            UpganError: As ``checkData``.
        """
        self._refuseUnlessReady()
        self._request("start_config", {"preset": preset, "base": base}, onResult, onError)
        self._tell()

    def info(self, onResult: Handler, onError: Handler) -> None:
        """Ask for the devices that there are.

        Raises:
            UpganError: As ``checkData``.
        """
        self._refuseUnlessReady()
        self._request("info", {}, onResult, onError)
        self._tell()

    def runs(self) -> list[Run]:
        """Return the runs in their home, the newest first, whoever trains them."""
        from upgan.training.record.runs import list_runs

        return list_runs()

    def select(self, run: Path | None) -> None:
        """Look at a run, without going on with it, or at none.

        Raises:
            UpganError: ``training_busy`` while another run is trained from here, or ``no_run``.
        """
        if self.isOurs and run != self.run:
            raise _busy()
        folder = _existing(run).folder if run is not None else None
        if not self.isOurs:
            self.error = None
            self._follow(folder)
            self._look()
        self._tell()

    def newPairsFolder(self) -> Path:
        """Return a private folder for the scene's volumes; removed at the end unless a run takes it.

        Raises:
            OutputError: ``no_home`` or ``not_writable``.
        """
        from upgan.errors import OutputError
        from upgan.training.record.runs import runs_home

        home = runs_home()
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(home)
            folder = Path(tempfile.mkdtemp(prefix=PAIRS_DRAFT, dir=home))
        except OSError as error:
            raise OutputError(
                "not_writable",
                f"No pairs can be kept in {home}: {error.strerror}.",
                "Set the environment variable UPGAN_RUNS to a folder of yours.",
            ) from error
        self._drafts.append(folder)
        return folder

    def close(self) -> None:
        """End the process, which writes a checkpoint first; no callback is called any more. Waits up to 10 s."""
        slicer.app.disconnect("aboutToQuit()", self.close)
        self._timer.stop()
        self._onChanged.clear()
        self._client.stop()
        self._doing = "idle"
        self._removeThumbnails()
        for folder in self._drafts:
            shutil.rmtree(folder, ignore_errors=True)
        self._drafts.clear()

    def _train(self, command: str, arguments: dict[str, Any], run: Path) -> None:
        self._request(command, arguments, self._onTrained, self._onTrainingEnded)
        self.error = None
        self._follow(run)
        self._begin("running")

    def _onTrained(self, result: dict[str, Any]) -> None:
        self._endProcess(self._rest)

    def _onTrainingEnded(self, error: Exception) -> None:
        from upgan.errors import Cancelled, UpganError

        isWanted = isinstance(error, Cancelled)
        isCrash = isinstance(error, UpganError) and error.code == "worker_ended"
        isNothing = (
            self._begun is not None and not (self._begun[0] / (CONFIG if isWanted or isCrash else DATA)).exists()
        )
        if isWanted and not isNothing and self._doing == "stopping":
            self._finishRun()
            return
        if isCrash and not isNothing:
            error = _crashed(error)
        if not isWanted:
            self.error = error
        # Its files go when the process has let go of them.
        self._endProcess(self._removeBegunRunAndRest if isNothing else self._rest)

    def _removeBegunRunAndRest(self) -> None:
        self._removeBegunRun()
        self._rest()

    def _finishRun(self) -> None:
        def fail(error: Exception) -> None:
            self.error = error
            self._endProcess(self._rest)

        self._request("finish_training", {"folder": str(self.run)}, lambda result: self._endProcess(self._rest), fail)

    def _request(self, command: str, arguments: dict[str, Any], onResult: Handler, onError: Handler) -> None:
        self._isAsking = True
        try:
            self._client.request(command, arguments, self._onProgress, onResult, onError)
        finally:
            self._isAsking = False

    def _endProcess(self, onEnded: Callable[[], None]) -> None:
        """End the process, so that it holds no memory of the graphics card while it has nothing to do."""
        self._client.cancel(onEnded)

    def _begin(self, doing: State) -> None:
        if self._doing == "idle":
            self.progress = dict(STARTING)
        self._doing = doing
        self._setTimer()
        self._tell()

    def _thenRest(self, answer: Handler) -> Handler:
        def restThen(content: Any) -> None:
            self._rest()
            answer(content)

        return restThen

    def _rest(self) -> None:
        self._doing = "idle"
        self.progress = {}
        self._upkeep.run({_("the state of the training"): self._look})
        self._tell()

    def _follow(self, run: Path | None) -> None:
        from upgan.training.record.journal_reader import JournalReader

        self.run, self.journal, self._hasMore = run, [], False
        self._reader = JournalReader(run) if run is not None else None

    def _look(self) -> bool:
        """Look at what is new in the run's folder; returns whether anything is."""
        before = self._found
        hasRead = self._readJournal()
        if not self.isOurs:
            self._found = _stateOf(self.run)
        self._setTimer()
        return hasRead or before != self._found

    def _readJournal(self) -> bool:
        """Read a piece of what the journal has gained; returns whether there was anything."""
        if self._reader is None:
            return False
        gain = self._reader.read(JOURNAL_BYTES)
        if gain.is_anew:
            # A resumed run's journal begins again at its checkpoint.
            self.journal = []
        self.journal.extend(gain.lines)
        self._hasMore = gain.has_more
        return gain.is_anew or bool(gain.lines)

    def _setTimer(self) -> None:
        if self._hasMore or self.state in ("running", "pausing", "stopping"):
            self._timer.interval = 0 if self._hasMore else LOOK_MS
            self._timer.start()
        else:
            self._timer.stop()

    def _onTimer(self) -> None:
        if self._hasMore:
            self._readJournal()
            self._setTimer()
            self._tell()
        elif self._look():
            self._tell()

    def _onBusyChanged(self) -> None:
        # Else a panel would hear of it before the state has changed.
        if not self._isAsking:
            self._tell()

    def _onProgress(self, progress: dict[str, Any]) -> None:
        self.progress = progress
        self._tell()

    def _tell(self) -> None:
        # Whoever listens, the others hear of it too.
        listeners = enumerate(list(self._onChanged))
        self._upkeep.run({_("what shows the training ({number})").format(number=i): listen for i, listen in listeners})

    def _withPairsInRun(self, config: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
        from upgan.errors import OutputError

        path = Path(config.get("data", {}).get("path", ""))
        draft = next((draft for draft in self._drafts if path.is_relative_to(draft)), None)
        if draft is None:
            return config
        try:
            # One file system: however large the volumes, this takes no time.
            os.rename(draft, folder / PAIRS)
        except OSError as error:
            raise OutputError(
                "not_writable", f"The pairs cannot be moved to {folder}: {error.strerror}.", "Choose them again."
            ) from error
        self._drafts.remove(draft)
        self._begun = (folder, draft)
        place = folder / PAIRS / path.relative_to(draft)
        return {**config, "data": {**config["data"], "path": str(place)}}

    def _removeBegunRun(self) -> None:
        """Remove a run that was refused before it reached anything; its pairs go back to where they were."""
        assert self._begun is not None
        folder, draft = self._begun
        self._begun = None
        if draft is not None:
            # Where they cannot go back they go with the run: the scene still has the volumes.
            with contextlib.suppress(OSError):
                os.rename(folder / PAIRS, draft)
                self._drafts.append(draft)
        shutil.rmtree(folder, ignore_errors=True)
        if self.run == folder:
            self._follow(None)

    def _removeThumbnails(self) -> None:
        if self._thumbnails is not None:
            self._client.removeFolder(self._thumbnails)
            self._thumbnails = None

    def _refuseUnlessReady(self) -> None:
        if self.isBusy:
            raise _busy()
        dependencies.refuseMissing(*NEEDED)

    def _refuseOthers(self) -> None:
        if self.state == "running" and not self.isOurs:
            raise _inUse()


def _movedTo(data: Path | None) -> dict[str, str]:
    return {} if data is None else {"data": str(data)}


def _existing(run: Path | None) -> Run:
    """Return a run as its folder tells it, or raise why it is none."""
    from upgan.errors import InputError
    from upgan.training.record.runs import read_run, read_run_json

    if run is not None:
        read_run_json(run)
        found = read_run(run)
        if found is not None:
            return found
    raise InputError("no_run", "There is no such training.", "Start one, or choose one of the list.")


def _stateOf(run: Path | None) -> State:
    from upgan.training.record.runs import read_run_state

    found = read_run_state(run) if run is not None else None
    if found is None or found in ("stopped", "finished"):
        return "idle"
    return "running" if found == "running" else "paused"


def _sweep(home: Path) -> None:
    """Remove copies of volumes that a crashed application has left, but none that another may be using now."""
    for draft in home.glob(f"{PAIRS_DRAFT}*"):
        # Another application may be sweeping, too.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime > ABANDONED_AFTER_S:
                shutil.rmtree(draft, ignore_errors=True)


def _crashed(error: Exception) -> Exception:
    from upgan.errors import UpganError

    assert isinstance(error, UpganError)
    remedy = "Resume: it goes on from its last checkpoint. If it ends again, choose a smaller batch or the CPU."
    return UpganError(error.code, error.sentence, remedy)


def _busy() -> Exception:
    from upgan.errors import UpganError

    return UpganError("training_busy", "The training's engine is at work.", "Pause or stop what it does, or wait.")


def _inUse() -> Exception:
    from upgan.errors import UpganError

    return UpganError(
        "run_in_use", "Another process trains this run, e.g. a command line.", "Pause or stop it where it was started."
    )
