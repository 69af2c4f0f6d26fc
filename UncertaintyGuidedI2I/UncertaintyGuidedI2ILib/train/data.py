"""The Train panel's data: which pairs, what they are, how they are split; and what the engine found when it looked."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.train.degraded import DegradedPictures
from UncertaintyGuidedI2ILib.train.export import exportPairs, pairIndex
from UncertaintyGuidedI2ILib.train.pair_table import PairTable, Row, checkedRows, summary
from UncertaintyGuidedI2ILib.train.pairs import ScenePair, addPair, removePair, scenePairs
from UncertaintyGuidedI2ILib.widgets import Labels, bindPath, bindSelector, bindText, enable, select, showPath, showText
from UncertaintyGuidedI2ILib.work.cooperative import Cooperative

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.train.session.training import Training

# By widget: the choice, and its values as people call them.
SELECTORS: dict[str, tuple[str, Labels]] = {
    "sourceSelector": (
        "source",
        {
            "folder": _("folder of images"),
            "table": _("table of files (CSV)"),
            "scene": _("volumes of the scene"),
        },
    ),
    "layoutSelector": (
        "layout",
        {
            "manifest": _("simulated heads (manifest.json)"),
            "pattern": _("files named by a pattern"),
            "bids": _("BIDS"),
            "ixi": _("IXI-T1 (public brain MRI)"),
        },
    ),
    "taskSelector": (
        "task",
        {
            "pet_to_ct": _("PET → pseudo-CT"),
            "mr_to_ct": _("T1 MRI → pseudo-CT"),
            "mri_undersampled": _("undersampled MRI → full"),
            "mri_motion": _("MRI with motion → clean"),
        },
    ),
    "degradationSelector": (
        "degradation",
        {
            "none": _("as they are given"),
            # What is made is made from the targets.
            "undersampling": _("made: undersampled by any mask"),
            "central_lines": _("made: central 8 % of the lines"),
            "central_block": _("made: central block of k-space"),
            "published_lines": _("made: lines of the authors' script"),
            "regular_4x": _("made: regular lines, 4×"),
            "regular_8x": _("made: regular lines, 8×"),
            "random_4x": _("made: random lines, 4×"),
            "random_8x": _("made: random lines, 8×"),
            "any_motion": _("made: motion of any of these kinds"),
            "sudden_motion": _("made: sudden motion"),
            "drifting_motion": _("made: drifting motion"),
            "periodic_motion": _("made: periodic motion"),
            "motion": _("made: motion as published"),
        },
    ),
}
# Tasks whose inputs can be made from their targets.
RESTORATIONS = ("mri_undersampled", "mri_motion")
# By widget: the choice.
TEXTS = {"inputPatternEdit": "inputPattern", "targetPatternEdit": "targetPattern"}
PATHS = {"folderEdit": "folder", "tableEdit": "table"}


class DataSection:
    """Follows the choices, lists the pairs and has the engine check them.

    Args:
        ui: Widgets of TrainPanel.ui.
        session: The training session, which asks the engine.
        choices: Returns the panel's pack of choices, or None where there is no scene to save them in.
        onChanged: Called when what can be done may have changed.
    """

    def __init__(self, ui: Any, session: Training, choices: Callable[[], Any], onChanged: Callable[[], None]) -> None:
        self._ui = ui
        self._session = session
        self._choices = choices
        self._onChanged = onChanged
        self._table = PairTable(ui.pairsTable)
        self._degraded = DegradedPictures(ui)
        # What was checked, and what the table shows now.
        self._checked: Any = None
        self._shown: Any = None
        # The base model's task, in force where there is one.
        self.fixedTask = ""
        self._writing: Cooperative[Path] | None = None
        # Where the scene's volumes were last written.
        self._files: Path | None = None
        # Of the pairs in them, in order.
        self._targets: list[str] = []
        for name, (choice, labels) in SELECTORS.items():
            bindSelector(getattr(ui, name), labels, choices, choice)
        for name, choice in TEXTS.items():
            bindText(getattr(ui, name), choices, choice)
        for name, choice in PATHS.items():
            bindPath(getattr(ui, name), choices, choice)
        ui.addPairButton.connect("clicked(bool)", self.onAddPair)
        ui.removePairButton.connect("clicked(bool)", self.onRemovePair)
        ui.pairsTable.connect("itemSelectionChanged()", self._showPairButtons)
        ui.subjectEdit.connect("textChanged(QString)", self._showPairButtons)
        for selector in (ui.inputVolumeSelector, ui.targetVolumeSelector):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self._showPairButtons)

    @property
    def isWriting(self) -> bool:
        """Whether volumes of the scene are being handed over."""
        return self._writing is not None

    @property
    def isChecked(self) -> bool:
        """Whether the engine has looked at what is chosen now."""
        return self._checked is not None and self._checked == self._asked()

    def whyNot(self) -> str:
        """Return why there is nothing to check or to train on, or nothing."""
        choices = self._choices()
        if choices is None:
            return _("There is no scene.")
        if self.isWriting:
            return _("The volumes of the scene are being handed over.")
        if choices.source == "folder":
            return self._whyNoFolder(choices)
        if choices.source == "table":
            return "" if _isSet(choices.table) else _("Choose the table of files.")
        return "" if scenePairs(slicer.mrmlScene) else _("Add at least one pair of volumes.")

    def config(self, onReady: Callable[[dict[str, Any]], None], onError: Callable[[Exception], None]) -> None:
        """Give the sections "data" and "split" of a configuration, in the background where volumes must be written.

        Args:
            onReady: Called with the two sections, by name.
            onError: Called with an ``UpganError``.

        Raises:
            OutputError: What ``TrainingSession.newPairsFolder`` raises.
        """
        choices = self._choices()
        pairs = scenePairs(slicer.mrmlScene) if choices.source == "scene" else []
        self._targets = [pair.target.GetID() for pair in pairs]
        if choices.source != "scene":
            onReady(self._sections(Path(choices.folder if choices.source == "folder" else choices.table)))
            return
        # The files of an earlier check; those that a run has taken are elsewhere.
        if self._files is not None:
            shutil.rmtree(self._files, ignore_errors=True)
        self._files = self._session.newPairsFolder()

        def finish(table: Path) -> None:
            self._writing = None
            self._onChanged()
            onReady(self._sections(table))

        def fail(error: Exception) -> None:
            self._writing = None
            self._onChanged()
            onError(error)

        self._writing = Cooperative(exportPairs(pairs, self._files), finish, fail)
        self._onChanged()

    def showResult(self, result: Mapping[str, Any]) -> None:
        """Show what the engine found."""
        self._checked = self._shown = self._asked()
        rows = checkedRows(result)
        if self._targets:
            # The engine labels the sessions of a patient anew; the files tell which pair is which.
            files = {pair["subject"]: pair.get("target") for pair in result["pairs"]}
            rows = [
                replace(row, pair=self._targets[pairIndex(file)]) if (file := files[row.subject]) else row
                for row in rows
            ]
        self._table.show(rows)
        self._ui.dataSummaryLabel.text = summary(result)
        self._ui.dataSummaryLabel.visible = True

    def show(self) -> None:
        """Follow the choices: only what they need is asked for; what was found of other data is taken away."""
        choices, ui = self._choices(), self._ui
        if choices is None:
            return
        for name, (choice, labels) in SELECTORS.items():
            selector = getattr(ui, name)
            # What a base model fixes is shown, not chosen: it must not be written back.
            blocked = selector.blockSignals(True)
            select(selector, self.task if choice == "task" else getattr(choices, choice))
            _removeForeign(selector, labels)
            selector.blockSignals(blocked)
        for name, choice in TEXTS.items():
            showText(getattr(ui, name), getattr(choices, choice))
        for name, choice in PATHS.items():
            showPath(getattr(ui, name), getattr(choices, choice))
        ui.taskSelector.enabled = not self.fixedTask
        isFolder, isScene = choices.source == "folder", choices.source == "scene"
        isMade = self.degradation != "none"
        usesPatterns = isFolder and choices.layout in ("pattern", "bids")
        ui.inputPatternLabel.text = _("Input suffix:") if choices.layout == "bids" else _("Input pattern:")
        ui.targetPatternLabel.text = _("Target suffix:") if choices.layout == "bids" else _("Target pattern:")
        for widgets, visible in (
            ((ui.folderLabel, ui.folderEdit, ui.layoutLabel, ui.layoutSelector), isFolder),
            ((ui.inputPatternLabel, ui.inputPatternEdit), usesPatterns and not isMade),
            ((ui.targetPatternLabel, ui.targetPatternEdit), usesPatterns),
            ((ui.tableLabel, ui.tableEdit), choices.source == "table"),
            ((ui.subjectLabel, ui.subjectEdit, ui.targetVolumeLabel, ui.targetVolumeSelector), isScene),
            ((ui.inputVolumeLabel, ui.inputVolumeSelector), isScene and not isMade),
            ((ui.addPairButton, ui.removePairButton), isScene),
            ((ui.degradationLabel, ui.degradationSelector, ui.degradeButton), self.task in RESTORATIONS),
        ):
            for widget in widgets:
                widget.visible = visible
        self._showRows()
        self._showPairButtons()
        self._degraded.show(self._asked())

    @property
    def subject(self) -> str | None:
        """The patient whose row is chosen in the table, or None."""
        row = self._table.selectedRow
        return row.subject if row is not None else None

    def showDegraded(self, result: Mapping[str, Any]) -> None:
        """Show what the degradation makes of a patient, as long as it is of what is chosen."""
        self._degraded.take(result, self._asked())

    @property
    def task(self) -> str:
        """Name of the task: what is translated into what."""
        return self.fixedTask or self._choices().task

    @property
    def degradation(self) -> str:
        """Name of the degradation that makes the inputs, or nothing; only a restoration has any."""
        return self._choices().degradation if self.task in RESTORATIONS else "none"

    def stop(self) -> None:
        """Leave the writing of volumes and the loading of pictures unfinished: the scene goes."""
        self._table.stop()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def forget(self) -> None:
        """Know nothing of what was checked any more."""
        self._checked = self._shown = None
        self._table.show([])
        self._degraded.show(None)
        self._ui.dataSummaryLabel.visible = False

    def onAddPair(self, checked: bool = False) -> None:
        """Note the chosen volumes as a pair."""
        ui = self._ui
        source = ui.inputVolumeSelector.currentNode() if self.degradation == "none" else None
        addPair(ScenePair(ui.subjectEdit.text.strip(), source, ui.targetVolumeSelector.currentNode()))
        ui.subjectEdit.text = ""
        self._onChanged()

    def onRemovePair(self, checked: bool = False) -> None:
        """Forget the pair whose row is chosen."""
        row = self._table.selectedRow
        for pair in scenePairs(slicer.mrmlScene):
            if row is not None and pair.target.GetID() == row.pair:
                removePair(pair)
        self._onChanged()

    def _sections(self, path: Path) -> dict[str, Any]:
        choices = self._choices()
        layout = choices.layout if choices.source == "folder" else "csv"
        usesPatterns = layout in ("pattern", "bids")
        parts = {
            "train": choices.trainPatients,
            "validation": choices.validationPatients,
            "test": choices.testPatients,
        }
        return {
            "data": {
                "path": str(path),
                "layout": layout,
                "input": choices.inputPattern if usesPatterns else "",
                "target": choices.targetPattern if usesPatterns else "",
                "task": self.task,
                "degradation": self.degradation,
                "register_pairs": choices.registerPairs,
                "trust_guessed_places": choices.trustGuessedPlaces,
                "skip_bad": choices.skipBad,
            },
            "split": {part: count or None for part, count in parts.items()},
        }

    def _asked(self) -> Any:
        """Return everything that a check depends on."""
        choices = self._choices()
        if choices is None:
            return None
        pairs = [(p.subject, p.source and p.source.GetID(), p.target.GetID()) for p in scenePairs(slicer.mrmlScene)]
        isScene = choices.source == "scene"
        return self._sections(Path(choices.folder if choices.source == "folder" else choices.table)), isScene and pairs

    def _showRows(self) -> None:
        """Show the pairs of the scene as long as they are not checked; what belongs to other data goes."""
        asked = self._asked()
        if asked == self._shown:
            return
        self._shown = asked
        self._ui.dataSummaryLabel.visible = False
        pairs = scenePairs(slicer.mrmlScene) if self._choices().source == "scene" else []
        self._table.show(
            Row(
                pair.subject,
                input=pair.source.GetName() if pair.source is not None else "",
                target=pair.target.GetName(),
                pair=pair.target.GetID(),
                isChecked=False,
            )
            for pair in pairs
        )

    def _showPairButtons(self, *arguments: Any) -> None:
        ui = self._ui
        enable(ui.addPairButton, self._whyNoPair(), _("Note the two volumes as a pair of this patient."))
        chosen = self._table.selectedRow
        isPair = chosen is not None and bool(chosen.pair)
        why = "" if isPair else _("Choose a row of the table first.")
        enable(ui.removePairButton, why, _("Forget the pair that is chosen in the table; its volumes stay."))

    def _whyNoPair(self) -> str:
        ui = self._ui
        if self._choices() is None:
            return _("There is no scene.")
        source, target = ui.inputVolumeSelector.currentNode(), ui.targetVolumeSelector.currentNode()
        if not ui.subjectEdit.text.strip():
            return _("Give the patient a name first, e.g. 07: no two patients may share one.")
        if target is None:
            return _("Choose the target volume.")
        if self.degradation == "none":
            if source is None:
                return _("Choose the input volume.")
            if source is target:
                return _("Input and target are the same volume.")
        return ""

    def _whyNoFolder(self, choices: Any) -> str:
        if not _isSet(choices.folder):
            return _("Choose the folder of images.")
        if choices.layout in ("pattern", "bids"):
            if not choices.targetPattern:
                return _("Say how the target files are named.")
            if self.degradation == "none" and not choices.inputPattern:
                return _("Say how the input files are named.")
        return ""


def _removeForeign(selector: Any, labels: Labels) -> None:
    """Take away values that only a base model had brought, as soon as they are not shown any more."""
    for index in reversed(range(selector.count)):
        if index != selector.currentIndex and selector.itemData(index) not in labels:
            selector.removeItem(index)


def _isSet(path: Path) -> bool:
    """Whether a path was chosen: an empty one is the current folder, which nobody means."""
    return str(path) not in ("", ".")
