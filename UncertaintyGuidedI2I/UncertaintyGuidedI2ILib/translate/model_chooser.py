"""The Translate panel's models: a selector, others to join in, a card, and a menu to import and remove."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.messages import plain
from UncertaintyGuidedI2ILib.models import installedModels, modelLabel
from UncertaintyGuidedI2ILib.text import oneLine
from UncertaintyGuidedI2ILib.translate.model_card import cardHtml
from UncertaintyGuidedI2ILib.widgets import addMenu, enable, select

if TYPE_CHECKING:
    from upgan.bundles.library import InstalledModel
    from upgan.bundles.metadata import BundleMetadata

# Command, arguments, what the panel says meanwhile, and what to do with the result.
AskWorker = Callable[[str, dict[str, Any], str, Callable[[dict[str, Any]], None]], None]


class ModelChooser:
    """Offers what is installed and keeps the choice where it is saved.

    Args:
        ui: Widgets of TranslatePanel.ui.
        choices: Returns the panel's pack of choices, or None where there is no scene to save them in.
        askWorker: Asks the worker for an import or a removal: they verify weights, which only the worker can.
        canRead: Tells whether what reads models' metadata is imported; until then none is offered to join another.
    """

    def __init__(self, ui: Any, choices: Callable[[], Any], askWorker: AskWorker, canRead: Callable[[], bool]) -> None:
        self._ui = ui
        self._choices = choices
        self._askWorker = askWorker
        self._canRead = canRead
        self._models: dict[str, InstalledModel] = {}
        # What may join the chosen model, and the menu that shows it.
        self._suitable: dict[str, list[InstalledModel]] = {}
        self._offered: list[InstalledModel] = []
        self._togetherActions: list[Any] = []
        self._togetherMenu = qt.QMenu(ui.togetherButton)
        ui.togetherButton.setMenu(self._togetherMenu)
        *_imports, self._removeAction = addMenu(
            ui.modelsButton,
            [
                (_("Import from a folder…"), self.onImportFolder),
                (_("Import from a zip archive…"), self.onImportArchive),
                (_("Remove this model…"), self.onRemove),
            ],
        )
        ui.modelSelector.connect("currentIndexChanged(int)", self._onSelected)

    @property
    def model(self) -> InstalledModel | None:
        """The chosen model, or None where it is not installed."""
        choices = self._choices()
        return self._models.get(choices.model) if choices is not None else None

    @property
    def members(self) -> list[InstalledModel]:
        """The models that translate: the chosen one first, then those that join it; empty where it is not installed."""
        model = self.model
        if model is None:
            return []
        chosen = self._chosenTogether()
        return [model, *(other for other in self._companions(model) if other.name in chosen)]

    @property
    def isAwaited(self) -> bool:
        """Whether others are to join the chosen model, installed here or not."""
        return bool(self._chosenTogether())

    @property
    def missing(self) -> list[str]:
        """Names of those that were to join and do not, for people; none where there is no model to join."""
        members = {model.name for model in self.members}
        return [oneLine(name) for name in self._chosenTogether() if name not in members] if members else []

    @property
    def hasCompanions(self) -> bool:
        """Whether other installed models may join the chosen one."""
        model = self.model
        return model is not None and bool(self._companions(model))

    def refresh(self) -> None:
        """Look what is installed."""
        self._models = {model.name: model for model in installedModels()}
        self._suitable = {}
        selector = self._ui.modelSelector
        blocked = selector.blockSignals(True)
        selector.clear()
        for model in self._models.values():
            selector.addItem(modelLabel(model), model.name)
        selector.blockSignals(blocked)

    def showChoice(self) -> None:
        """Show the chosen model, or choose another where it is not here."""
        choices = self._choices()
        if choices is None or not self._models:
            return
        if choices.model not in self._models:
            # A scene from another installation may name a model that is not here.
            choices.model = next(iter(self._models))
        select(self._ui.modelSelector, choices.model)
        self._showTogether()

    def showCard(self) -> None:
        """Show what the chosen model can and cannot do."""
        model = self.model
        self._ui.cardBrowser.setHtml(cardHtml(model) if model else "")
        self._removeAction.enabled = model is not None and model.origin != "bundled"

    def onImportFolder(self, checked: bool = False) -> None:
        """Import a model that lies in a folder."""
        self._import(qt.QFileDialog.getExistingDirectory(None, _("Folder of the model"), ""))

    def onImportArchive(self, checked: bool = False) -> None:
        """Import a model that lies in a zip archive."""
        self._import(qt.QFileDialog.getOpenFileName(None, _("Archive of the model"), "", _("Zip archives (*.zip)")))

    def onRemove(self, checked: bool = False) -> None:
        """Remove the chosen model from this computer, after asking."""
        model = self.model
        question = _("Remove the model “{name}” from this computer?")
        if model is not None and slicer.util.confirmOkCancelDisplay(plain(question.format(name=model.name))):
            self._askWorker("remove_model", {"name": model.name}, _("Removing the model…"), lambda result: None)

    def _showTogether(self) -> None:
        """Offer the models that may join the chosen one, and say which do."""
        button, model = self._ui.togetherButton, self.model
        companions = self._companions(model) if model is not None else []
        chosen = self._chosenTogether()
        if companions != self._offered:
            self._offered = companions
            self._togetherMenu.clear()
            self._togetherActions = [self._togetherMenu.addAction(_unmarked(modelLabel(each))) for each in companions]
            for action, companion in zip(self._togetherActions, companions, strict=True):
                action.checkable = True
                action.connect("triggered(bool)", partial(self._onTogether, companion.name))
        for action, companion in zip(self._togetherActions, companions, strict=True):
            action.checked = companion.name in chosen
        joining = [oneLine(companion.name) for companion in companions if companion.name in chosen]
        button.text = _unmarked(", ".join(joining)) or _("no other model")
        why = "" if companions else _("No other installed model translates the same in the same plane.")
        toolTip = _(
            "Several models of the same task: the result is their mean, σ also holds how far they differ, and the "
            "epistemic map is where they disagree. It takes the time of all of them, and the memory of one."
        )
        enable(button, why, toolTip)

    def _companions(self, model: InstalledModel) -> list[InstalledModel]:
        """Return the installed models whose results can be taken together with those of this one."""
        if len(self._models) < 2 or not self._canRead():
            return []
        if model.name not in self._suitable:
            self._suitable[model.name] = _companionsOf(model, self._models.values())
        return self._suitable[model.name]

    def _chosenTogether(self) -> list[str]:
        choices = self._choices()
        try:
            chosen = json.loads(choices.together) if choices is not None else []
        except (ValueError, RecursionError):  # a scene may hold anything
            return []
        return [name for name in chosen if isinstance(name, str)] if isinstance(chosen, list) else []

    def _onTogether(self, name: str, checked: bool = False) -> None:
        choices = self._choices()
        if choices is not None:
            others = [other for other in self._chosenTogether() if other != name]
            choices.together = json.dumps([*others, name] if checked else others)

    def _import(self, path: str) -> None:
        if path:
            self._askWorker("import_model", {"path": path}, _("Verifying the model…"), self._chooseImported)

    def _chooseImported(self, result: dict[str, Any]) -> None:
        choices = self._choices()
        if choices is not None:
            choices.model = result["name"]

    def _onSelected(self, index: int) -> None:
        choices = self._choices()
        if choices is not None and index >= 0:
            choices.model = self._ui.modelSelector.itemData(index)


def _companionsOf(model: InstalledModel, others: Iterable[InstalledModel]) -> list[InstalledModel]:
    from upgan.bundles.companions import why_not_together

    stated = _stated(model)
    if stated is None:
        return []
    known = [(other, _stated(other)) for other in others if other.name != model.name]
    return [other for other, said in known if said is not None and not why_not_together(stated, said)]


def _stated(model: InstalledModel) -> BundleMetadata | None:
    """Return what a model says of itself, where it can be used."""
    from upgan.bundles.metadata import checked_metadata
    from upgan.errors import BundleError

    try:
        return None if model.problem else checked_metadata(model.metadata)
    except BundleError:
        return None


def _unmarked(text: str) -> str:
    """Return text for a button or a menu, which take & for a key."""
    return plain(text).replace("&", "&&")
