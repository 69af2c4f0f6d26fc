"""The Train panel's results: charts and preview of the run that is looked at, and the model that is made of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.messages import plain
from UncertaintyGuidedI2ILib.text import formatValue, shownUnit
from UncertaintyGuidedI2ILib.train.history import TrainingHistory
from UncertaintyGuidedI2ILib.train.moved_images import askForImages, isAboutMovedImages
from UncertaintyGuidedI2ILib.train.plots import TrainingPlots
from UncertaintyGuidedI2ILib.train.preview import TrainingPreview
from UncertaintyGuidedI2ILib.train.session.states import Event, sentBy
from UncertaintyGuidedI2ILib.train.text import whyDead
from UncertaintyGuidedI2ILib.widgets import Labels, enable
from UncertaintyGuidedI2ILib.work.cooperative import Cooperative
from UncertaintyGuidedI2ILib.work.upkeep import Upkeep

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.train.session.training import Training

CHARTS: Labels = {
    "loss": _("Training loss"),
    "validation": _("Validation error"),
    "coverage": _("Coverage of the intervals"),
}
PREVIEWS: Labels = {"image": _("Prediction with σ"), "target": _("Truth"), "input": _("Input")}

# As the engine takes names of models.
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


class ResultsSection:
    """Shows what the journal and the folder of a run hold.

    Args:
        ui: Widgets of TrainPanel.ui.
        session: The training session, which knows the run.
        onError: Called with an ``UpganError``.
        onModelSaved: Called with the name of a new model.
    """

    def __init__(
        self,
        ui: Any,
        session: Training,
        onError: Callable[[Exception], None],
        onModelSaved: Callable[[str], None],
    ) -> None:
        self._ui = ui
        self._session = session
        self._onError = onError
        self._onModelSaved = onModelSaved
        self._upkeep = Upkeep()
        self._plots = TrainingPlots(slicer.mrmlScene)
        self._preview = TrainingPreview(slicer.mrmlScene)
        self._loading: Cooperative[None] | None = None
        # Shown when it is there, because the user asked for it while it was being read.
        self._isAskedFor = False
        self._run: Path | None = None
        self._unit = ""
        # What the list of checkpoints was made from, and what the user chose of it.
        self._listed: Any = None
        self._checkpoint = ""
        for selector, labels in ((ui.chartSelector, CHARTS), (ui.previewSelector, PREVIEWS)):
            for value, label in labels.items():
                selector.addItem(label, value)
        ui.showChartButton.connect("clicked(bool)", self.onShowChart)
        ui.chartSelector.connect("currentIndexChanged(int)", self._onChartSelected)
        ui.showPreviewButton.connect("clicked(bool)", self.onShowPreview)
        ui.saveModelButton.connect("clicked(bool)", self.onSaveModel)
        ui.checkpointSelector.connect("activated(int)", self._onCheckpointChosen)
        ui.modelNameEdit.connect("textChanged(QString)", self._showSave)

    @property
    def history(self) -> TrainingHistory:
        """The numbers of the run's journal."""
        return self._plots.history

    def show(self) -> None:
        """Follow the session: charts grow in place, figures and checkpoints are those of now."""
        run = self._session.run
        if run != self._run:
            self._run, self._unit, self._listed, self._checkpoint = run, unitOf(run), None, ""
            self._plots.clear()
            self._stopLoading()
            self._preview.clear()
            self._ui.modelNameEdit.text = _nameOf(run)
            self._ui.savedLabel.visible = False
        self._upkeep.run(
            {
                _("the charts"): self._followJournal,
                _("the preview"): self._followPreview,
                _("the checkpoints"): self._listCheckpoints,
                _("the buttons"): self._showButtons,
            }
        )

    def forget(self) -> None:
        """Know nothing of charts and preview volumes any more: the scene goes."""
        self._stopLoading()

    def cleanup(self) -> None:
        """Take away what shows a run that nobody follows any more."""
        self._stopLoading()
        self._preview.clear()
        self._plots.clear()

    def onShowChart(self, checked: bool = False) -> None:
        """Show the chosen chart in the layout, because the user asks for it; it grows as long as it is there."""
        name = self._ui.chartSelector.currentData
        if self._plots.hasLines(name):
            slicer.modules.plots.logic().ShowChartInLayout(self._plots.chart(name))

    def onShowPreview(self, checked: bool = False) -> None:
        """Show the preview in the slice views, because the user asks for it."""
        if self._run is not None:
            self._stopLoading()
            self._isAskedFor = True
            self._load()

    def onSaveModel(self, checked: bool = False) -> None:
        """Make a model of the chosen checkpoint, or let it be: the button does what it says."""
        from upgan.errors import UpganError

        try:
            if sentBy(self._session.at, "save") is Event.STOP:
                self._session.stop()
            elif not self._whyNotSave():
                self._ui.savedLabel.visible = False
                self._save(self._ui.checkpointSelector.currentData, self._ui.modelNameEdit.text)
        except UpganError as error:
            self._onError(error)

    def _save(self, checkpoint: str, name: str, data: Path | None = None) -> None:
        from upgan.errors import UpganError

        run = self._session.run

        def fail(error: Exception) -> None:
            # A model is measured on its test patients: their images are needed, wherever they are now.
            place = askForImages(run) if run is not None and isAboutMovedImages(error) else None
            if place is None:
                self._onError(error)
                return
            try:
                self._save(checkpoint, name, place)
            except UpganError as refusal:
                self._onError(refusal)

        self._session.saveModel(checkpoint, name, self._onSaved, fail, data)

    def _onSaved(self, model: dict[str, Any]) -> None:
        chosen = self._ui.checkpointSelector.currentText
        text = _("The model {name} was saved and can be chosen under Translate ({checkpoint}). It lies in {folder}.")
        self._ui.savedLabel.text = text.format(name=model["name"], checkpoint=chosen, folder=model["folder"])
        self._ui.savedLabel.visible = True
        self._onModelSaved(model["name"])

    def _followJournal(self) -> None:
        if self._run is not None:
            self._plots.follow(self._run.name, self._unit, self._session.journal)

    def _followPreview(self) -> None:
        if self._run is None or self._loading is not None:
            return
        if self._ui.livePreviewCheckBox.checked and self._preview.isOutdated(self._run):
            self._load()

    def _load(self) -> None:
        assert self._run is not None
        self._loading = Cooperative(self._preview.load(self._run), self._onPreviewLoaded, self._onPreviewFailed)

    def _stopLoading(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
        self._loading, self._isAskedFor = None, False

    def _onPreviewLoaded(self, result: None) -> None:
        isAskedFor, self._loading, self._isAskedFor = self._isAskedFor, None, False
        if isAskedFor:
            self._preview.show(self._ui.previewSelector.currentData)
            slicer.util.resetSliceViews()
        self._showButtons()

    def _onPreviewFailed(self, error: Exception) -> None:
        isAskedFor, self._loading, self._isAskedFor = self._isAskedFor, None, False
        # A refresh that nobody asked for comes again with the next epoch.
        if isAskedFor:
            self._onError(error)

    def _onCheckpointChosen(self, index: int) -> None:
        self._checkpoint = self._ui.checkpointSelector.itemData(index)
        self._showWholeCheckpoint()

    def _onChartSelected(self, index: int) -> None:
        self._showButtons()

    def _showButtons(self) -> None:
        ui = self._ui
        nothing = "" if self._run is not None else _("Choose or start a run first.")
        hasChart = self._run is not None and self._plots.hasLines(ui.chartSelector.currentData)
        enable(
            ui.showChartButton,
            nothing or ("" if hasChart else _("There is nothing to draw yet.")),
            _("Show the chart beside the views; the layout changes. It goes on growing with the training."),
        )
        hasPreview = self._run is not None and self._preview.isAvailable(self._run)
        enable(
            ui.showPreviewButton,
            nothing or ("" if hasPreview else _("There is a preview after the first epoch.")),
            _("Show a validation patient in the slice views, as the model sees him now."),
        )
        about = self._preview.about
        ui.previewLabel.text = previewTitle(about) if about else ""
        ui.previewLabel.visible = bool(about)
        self._showSave()

    def _showSave(self, *arguments: Any) -> None:
        isSaving = sentBy(self._session.at, "save") is Event.STOP
        self._ui.saveModelButton.text = _("Cancel") if isSaving else _("Save as model")
        save = _("Make a model of this checkpoint: measured on the test patients, with its card and licence.")
        enable(self._ui.saveModelButton, "" if isSaving else self._whyNotSave(), save)

    def _whyNotSave(self) -> str:
        if self._run is None:
            return _("Choose or start a run first.")
        if not self._ui.checkpointSelector.count:
            return _("There is a checkpoint after the first epoch.")
        if dead := whyDead("save", self._session.at):
            return dead
        if not MODEL_NAME.fullmatch(self._ui.modelNameEdit.text):
            return _("Give the model a name of lower case letters, digits and hyphens.")
        return ""

    def _listCheckpoints(self) -> None:
        """Offer the checkpoints that there are, each with its error on the validation patients."""
        from upgan.training.record.runs import checkpoints

        found = checkpoints(self._run) if self._run is not None else []
        # Else the stage's last epoch is, as the engine does.
        keepsBest = bool(_section(self._run, "schedule").get("early_stopping"))
        figures = {name: self._figure(name, keepsBest) for name in found}
        if figures == self._listed:
            return
        self._listed = figures
        selector = self._ui.checkpointSelector
        blocked = selector.blockSignals(True)
        selector.clear()
        for name, figure in figures.items():
            label = checkpointLabel(name)
            selector.addItem(_("{name}: {figure}").format(name=label, figure=figure) if figure else label, name)
        # The best, where the user chose nothing else: it comes later than the last.
        selector.currentIndex = max(0, selector.findData(self._checkpoint)) if found else -1
        selector.blockSignals(blocked)
        selector.enabled = bool(found)
        self._showWholeCheckpoint()

    def _showWholeCheckpoint(self) -> None:
        """Say in the tool tip what the selector may have no room for."""
        what = _("Which state of the networks to keep, with its error on the validation patients.")
        selector = self._ui.checkpointSelector
        selector.toolTip = plain(f"{selector.currentText}\n{what}".strip())

    def _figure(self, checkpoint: str, keepsBest: bool) -> str:
        found = self.history.errorOf(checkpoint, keepsBest)
        if found is None:
            return ""
        error, stage, epoch = found
        text = _("MAE {mae}, stage {stage}, epoch {epoch}") if stage else _("MAE {mae}, the base model itself")
        return text.format(mae=f"{formatValue(error)} {shownUnit(self._unit)}", stage=stage, epoch=epoch)


def previewTitle(about: dict[str, Any]) -> str:
    """Return one line on what a preview shows: "patient 7, phase 2 after epoch 14 of stage 2"."""
    title = _("Patient {subject}, phase {phase}, after epoch {epoch} of stage {stage}")
    return title.format(**{name: about.get(name, "?") for name in ("subject", "phase", "epoch", "stage")})


def checkpointLabel(name: str) -> str:
    """Return a checkpoint's name for people."""
    if name.startswith("phase_"):
        return _("phase {phase} alone").format(phase=name.removeprefix("phase_"))
    labels = {"best": _("best"), "last": _("last"), "all_phases": _("all phases end to end")}
    # A newer version may keep others.
    return labels.get(name, name)


def _config(run: Path | None) -> dict[str, Any]:
    """Return a run's configuration; runs are folders, and anything may happen to those."""
    from upgan.errors import InputError
    from upgan.training.record.runs import read_run_json

    try:
        return read_run_json(run) if run is not None else {}
    except InputError:
        return {}


def _section(run: Path | None, name: str) -> dict[str, Any]:
    section = _config(run).get(name)
    return section if isinstance(section, dict) else {}


def _nameOf(run: Path | None) -> str:
    return str(_config(run).get("name", run.name if run is not None else ""))


def unitOf(run: Path | None) -> str:
    """Return the unit of a run's images: its base model's, or else its task's."""
    config = _config(run)
    if config.get("base"):
        return _unitOfModel(str(config["base"]))
    from upgan.tasks import TASKS

    task = TASKS.get(str(_section(run, "data").get("task", "")))
    return task.unit if task is not None else ""


def _unitOfModel(name: str) -> str:
    from UncertaintyGuidedI2ILib.models import installedModels

    for model in installedModels():
        if name in (model.name, str(model.folder)):
            task = model.metadata.get("upgan", {}).get("task", {})
            return str(task.get("unit", "")) if isinstance(task, dict) else ""
    return ""
