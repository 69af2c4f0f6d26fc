"""The panel that trains: data, model, the training itself with its buttons, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from UncertaintyGuidedI2ILib import dependencies
from UncertaintyGuidedI2ILib.messages import plain
from UncertaintyGuidedI2ILib.parameters import Binding
from UncertaintyGuidedI2ILib.train.data import DataSection
from UncertaintyGuidedI2ILib.train.moved_images import askForImages, isAboutMovedImages
from UncertaintyGuidedI2ILib.train.preparation import Preparation
from UncertaintyGuidedI2ILib.train.results import MODEL_NAME, ResultsSection, unitOf
from UncertaintyGuidedI2ILib.train.session.states import Button, Event, State, sentBy
from UncertaintyGuidedI2ILib.train.settings import SettingsSection
from UncertaintyGuidedI2ILib.train.text import runLabel, runText, whyDead
from UncertaintyGuidedI2ILib.widgets import bindText, enable, showText
from UncertaintyGuidedI2ILib.work.install_frame import InstallFrame
from UncertaintyGuidedI2ILib.work.progress_line import ProgressLine
from UncertaintyGuidedI2ILib.work.upkeep import Upkeep

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.train.session.training import Training
    from upgan.training.record.runs import Run

NEEDED = (dependencies.TRANSLATING, dependencies.CHECKING, dependencies.TRAINING)
# A training on a GPU takes many steps a second: charts need not follow each.
FOLLOW_MS = 250


class TrainPanel(VTKObservationMixin):
    """Shows a session and lets it be controlled; the training goes on without the panel and without the scene.

    Args:
        ui: Widgets of TrainPanel.ui.
        session: The training; it has a worker of its own, so that the other panels can be used meanwhile.
        onModelSaved: Called with the name of a new model.
    """

    def __init__(self, ui: Any, session: Training, onModelSaved: Callable[[str], None]) -> None:
        VTKObservationMixin.__init__(self)
        self.ui = ui
        self._session = session
        self._binding = Binding(ui, "train", self._onChoicesChanged)
        self._choices = self._binding.choices
        self._upkeep = Upkeep()
        self._runs: dict[Path, Run] = {}
        # The last one: the preset is asked for, volumes are written.
        self._preparation: Preparation | None = None
        self._shownError: Exception | None = None
        self._progress = ProgressLine(ui.progressBar, ui.statusLabel, saysElapsed=False)
        needed = _("Training needs packages that are not installed yet: {names}.")
        self._packages = InstallFrame(ui, needed, NEEDED, lambda: None, self._showError, self.enter)
        self._lastState = ""
        self._lastRun: Path | None = None
        self._isFollowing = False
        self._followTimer = qt.QTimer()
        self._followTimer.setSingleShot(True)
        self._followTimer.interval = FOLLOW_MS
        self._followTimer.timeout.connect(self._follow)
        self.data = DataSection(ui, session, self._choices, self._onChoicesChanged)
        self.settings = SettingsSection(ui, session, self._choices, self._showState, self._showError)
        self.results = ResultsSection(ui, session, self._showError, onModelSaved)
        self._setUp()

    def setParameterNode(self, parameterNode: Any) -> None:
        """Bind the panel to these choices and to no others."""
        self._leavePreparing()
        self._binding.bind(parameterNode)
        if parameterNode is not None:
            self._findRunAgain()
        self._onChoicesChanged()

    def enter(self) -> None:
        """Look what is installed and which runs there are: each time the user comes, it may have changed."""
        self._packages.look()
        self.settings.refresh()
        self._listRuns()
        self._onChoicesChanged()
        self._follow()

    def onSceneStartClose(self) -> None:
        """Let go of the scene's volumes; the training goes on, for it has files of its own."""
        self.data.stop()
        self.results.forget()
        self._leavePreparing()

    def onSceneEndClose(self) -> None:
        """Forget what was found of the data; the choices come anew with the next parameter node."""
        self.data.forget()

    def cleanup(self) -> None:
        """Let go of everything; the front door ends the session."""
        self.data.stop()
        self.setParameterNode(None)
        self.removeObservers()
        self.results.cleanup()
        self._followTimer.stop()
        self._progress.stop()

    def onCheck(self, checked: bool = False) -> None:
        """Have the engine look at all pairs, or let it be: the button does what it says."""
        if sentBy(self._session.at, "check") is Event.STOP:
            self._do(self._session.stop)
        elif not self._whyNotAsk("check"):
            self._prepare(self._check)

    def onDegrade(self, checked: bool = False) -> None:
        """Show what the degradation makes of one patient: the one chosen in the table, or the first."""
        if not self._whyNotDegrade():
            self._prepare(self._degrade)

    def onStart(self, checked: bool = False) -> None:
        """Begin a new run."""
        if not self._whyNotStart():
            self._prepare(self._start)

    def onPause(self, checked: bool = False) -> None:
        """Pause the training, or go on with it: the button does what it says."""
        if sentBy(self._session.at, "pause") is Event.PAUSE:
            self._do(self._session.pause)
        elif not self._whyNotSteer("pause"):
            self._do(lambda: self._session.resume(self._session.run))

    def onStop(self, checked: bool = False) -> None:
        """End the run for good, after asking."""
        question = _("End this training? It cannot go on afterwards, but its checkpoints can be saved as models.")
        if not self._whyNotSteer("stop") and slicer.util.confirmOkCancelDisplay(question):
            self._do(self._session.stop)

    def onRefreshRuns(self, checked: bool = False) -> None:
        """Look again which runs there are."""
        self._listRuns()
        self._showState()

    def _setUp(self) -> None:
        ui = self.ui
        ui.eventsEdit.maximumBlockCount = 2000
        bindText(ui.nameEdit, self._choices, "name")
        ui.checkButton.connect("clicked(bool)", self.onCheck)
        ui.degradeButton.connect("clicked(bool)", self.onDegrade)
        ui.startButton.connect("clicked(bool)", self.onStart)
        ui.pauseButton.connect("clicked(bool)", self.onPause)
        ui.stopButton.connect("clicked(bool)", self.onStop)
        ui.refreshRunsButton.connect("clicked(bool)", self.onRefreshRuns)
        ui.runSelector.connect("currentIndexChanged(int)", self._onRunSelected)
        ui.livePreviewCheckBox.connect("toggled(bool)", self._followSoon)
        self.addObserver(slicer.mrmlScene, slicer.vtkMRMLScene.NodeRemovedEvent, self._onNodeRemoved)
        self._session.whenChanged(self._onSessionChanged)
        self.enter()

    def _prepare(self, use: Callable[[dict[str, Any]], Any]) -> None:
        """Put the configuration together, and use it if the choices are still the same."""
        self._preparation = Preparation(
            self.settings, self.data, lambda config: use({**config, "name": self._choices().name}), self._refuse
        )
        self._do(self._session.prepare)
        if self._session.at is State.PREPARING:
            self._preparation.start()

    def _leavePreparing(self) -> None:
        """Let what was asked for with other choices come to nothing."""
        if self._preparation is not None:
            self._preparation.drop()
        self._session.drop()

    def _check(self, config: dict[str, Any]) -> None:
        assert self._preparation is not None
        # Another scene's choices know nothing of these data.
        show = self._preparation.unlessDropped(self.data.showResult)

        def finish(result: dict[str, Any]) -> None:
            show(result)
            self._showState()

        self._session.checkData(config, finish, self._showError)

    def _degrade(self, config: dict[str, Any]) -> None:
        assert self._preparation is not None
        show = self._preparation.unlessDropped(self.data.showDegraded)

        def finish(result: dict[str, Any]) -> None:
            show(result)
            self._showState()

        self._session.degrade(config, self.data.subject, finish, self._showError)

    def _start(self, config: dict[str, Any]) -> None:
        self._session.start(config)
        self._listRuns()

    def _do(self, act: Callable[[], Any]) -> None:
        """Ask the session for something; it may refuse."""
        from upgan.errors import UpganError

        try:
            act()
        except UpganError as error:
            self._refuse(error)
        self._showState()

    def _refuse(self, error: Exception) -> None:
        self._session.drop()
        self._showError(error)

    def _onSessionChanged(self) -> None:
        """Follow state at once, charts in a moment."""
        session = self._session
        if (session.state, session.run) != (self._lastState, self._lastRun):
            self._lastState, self._lastRun = session.state, session.run
            self._upkeep.run({_("the choice of a run"): self._rememberRun, _("the list of runs"): self._listRuns})
        # Where it is a question, the answer needs a free engine: it is asked when the process has ended.
        isReady = not (isAboutMovedImages(session.error) and session.isBusy)
        if session.error is not None and session.error is not self._shownError and isReady:
            self._shownError = session.error
            self._onTrainingFailed(session.error)
        self._upkeep.run({_("the buttons"): self._showState})
        self._followSoon()

    def _onTrainingFailed(self, error: Exception) -> None:
        """Ask where images are that were not found, and go on with them; else say what went wrong."""
        run = self._session.run
        place = askForImages(run) if run is not None and isAboutMovedImages(error) else None
        if place is None:
            self._showError(error)
        else:
            self._do(lambda: self._session.resume(run, place))

    def _followSoon(self, *arguments: Any) -> None:
        if not self._isFollowing:
            self._isFollowing = True
            self._followTimer.start()

    def _follow(self) -> None:
        self._isFollowing = False
        self._upkeep.run(
            {
                _("the list of runs"): self._listNewRun,
                _("the results"): self.results.show,
                _("the events"): self._showEvents,
                _("the data"): self.data.show,
                _("the buttons"): self._showState,
            }
        )

    def _listNewRun(self) -> None:
        from upgan.training.record.runs import read_run_state

        run = self._session.run
        # Its folder was empty when it was begun.
        if run is not None and run not in self._runs and read_run_state(run) is not None:
            self._listRuns()

    def _showEvents(self) -> None:
        text = "\n".join(self.results.history.events)
        if self.ui.eventsEdit.plainText != text:
            self.ui.eventsEdit.plainText = text
            # The newest is at the end.
            self.ui.eventsEdit.moveCursor(qt.QTextCursor.End)
        self.ui.eventsEdit.visible = bool(text)

    def _onNodeRemoved(self, caller: Any, event: str) -> None:
        # A pair may have lost a volume, a chart its table.
        self._followSoon()

    def _onChoicesChanged(self, caller: Any = None, event: Any = None) -> None:
        """Follow choices made here, by a script or by a loaded scene."""
        self._upkeep.run(
            {
                _("the settings"): self.settings.show,
                _("the data"): self._showData,
                _("the name"): self._showName,
                _("the buttons"): self._showState,
            }
        )

    def _showData(self) -> None:
        if self._choices() is not None:
            self.data.fixedTask = self.settings.baseTask
            self.data.show()

    def _showName(self) -> None:
        choices = self._choices()
        if choices is not None:
            showText(self.ui.nameEdit, choices.name)

    def _findRunAgain(self) -> None:
        """Look at the run that the scene was saved with, unless there is one already."""
        from upgan.training.record.runs import read_run

        wanted = self._choices().run
        # The settings may just be asking for a preset.
        isAsking = self._session.at is State.WAITING and self._session.run is None
        isFree = isAsking or self._session.at in (State.NONE, State.GONE)
        if isFree and wanted and read_run(Path(wanted)) is not None:
            self._do(lambda: self._session.select(Path(wanted)))
        else:
            self._rememberRun()

    def _rememberRun(self) -> None:
        choices = self._choices()
        if choices is not None and self._session.run is not None:
            choices.run = str(self._session.run)

    def _listRuns(self) -> None:
        from upgan.training.record.runs import read_run

        runs = self._session.runs()
        self._runs = {run.folder: run for run in runs}
        other = self._session.run
        if other is not None and other not in self._runs and (found := read_run(other)) is not None:
            # One that lies elsewhere, and is not to be looked for again and again.
            self._runs[other] = found
            runs = [found, *runs]
        selector = self.ui.runSelector
        blocked = selector.blockSignals(True)
        selector.clear()
        selector.addItem(_("none"), "")
        current = self._session.run
        for run in runs:
            # Its folder may not tell yet what the session does with it, and tells nothing of a pause that is asked for.
            isTrained = run.folder == current and (self._session.isOurs or self._session.state == "running")
            selector.addItem(runLabel(run, "running" if isTrained else run.state), str(run.folder))
        if current is not None and current not in self._runs:
            selector.addItem(current.name, str(current))
        selector.currentIndex = max(0, selector.findData(str(current) if current else ""))
        selector.blockSignals(blocked)
        what = _("The run that is looked at. Runs are kept on the disk and found again after a restart.")
        selector.toolTip = f"{plain(selector.currentText)}\n{what}" if current is not None else what

    def _onRunSelected(self, index: int) -> None:
        folder = self.ui.runSelector.itemData(index) if index >= 0 else ""
        if folder:
            self._do(lambda: self._session.select(Path(folder)))
        else:
            # There is no run to go back to: the one that is looked at stays.
            self._listRuns()

    def _showState(self) -> None:
        """Enable what makes sense now, and say why the rest does not."""
        ui, at, isOurs = self.ui, self._session.at, self._session.isOurs
        isFree = not whyDead("choose", at)
        self._packages.show(isFree)
        ui.checkButton.text = _("Cancel") if at is State.CHECKING else _("Check data")
        look = _("Look at every pair before training: is it complete, readable, of the right kind?")
        enable(ui.checkButton, self._whyNotAsk("check"), look)
        degrade = _("Show what the networks will see of the chosen patient, or of the first: input beside target.")
        enable(ui.degradeButton, self._whyNotDegrade(), degrade)
        enable(ui.startButton, self._whyNotStart(), _("Begin a new run with these data and settings."))
        ui.pauseButton.text = _("Pausing…") if at is State.PAUSING else _("Pause") if isOurs else _("Resume")
        pause = _("Write a checkpoint and rest; it can go on at any time, also after a restart of the computer.")
        enable(ui.pauseButton, self._whyNotSteer("pause"), pause if isOurs else _("Go on where the run stopped."))
        ui.stopButton.text = _("Stopping…") if at is State.STOPPING else _("Stop")
        enable(ui.stopButton, self._whyNotSteer("stop"), _("End this run for good; its checkpoints stay."))
        # A training is followed as long as it goes on.
        for widget in (ui.runSelector, ui.refreshRunsButton, ui.dataFrame, ui.modelFrame):
            widget.enabled = isFree
        self._showProgress()

    def _showProgress(self) -> None:
        session = self._session
        run = self._runs.get(session.run) if session.run is not None else None
        if session.isBusy:
            self._progress.tell({"stage": _("preparing"), "fraction": 0.0, "remaining_s": None, **session.progress})
        elif run is not None:
            self._progress.show(runText(run, unitOf(run.folder)), run.fraction)
        elif session.at is State.GONE:
            self._progress.show(_("The training had not begun yet: nothing is left of its run."), fraction=0.0)
        else:
            self._progress.show(self._whyNotStart(), fraction=0.0)

    def _whyNotAsk(self, button: Button) -> str:
        """Return why the engine cannot be asked anything about these data, or nothing."""
        event = sentBy(self._session.at, button)
        if event is Event.STOP:
            return ""
        why = self._packages.whyNot() or whyDead(button, self._session.at)
        return why or self.data.whyNot() or self.settings.whyNot()

    def _whyNotDegrade(self) -> str:
        if self._choices() is not None and self.data.degradation == "none":
            return _("The inputs are read as they are given: choose what makes them from the targets.")
        # Like a new run, it needs a session that rests.
        return self._whyNotAsk("start")

    def _whyNotStart(self) -> str:
        why = self._whyNotAsk("start")
        choices = self._choices()
        if why or choices is None:
            return why
        if not MODEL_NAME.fullmatch(choices.name):
            return _("Give the run a name of lower case letters, digits and hyphens.")
        return ""

    def _whyNotSteer(self, button: Button) -> str:
        """Return why the run that is looked at cannot be paused, go on or be stopped, or nothing."""
        # What is under way can be ended without them.
        missing = "" if self._session.isOurs else self._packages.whyNot()
        return missing or whyDead(button, self._session.at)

    def _showError(self, error: Exception) -> None:
        from upgan.errors import Cancelled

        self._showState()
        if isinstance(error, Cancelled):
            self._progress.show(_("Cancelled."))
        else:
            self._progress.showError(error)
