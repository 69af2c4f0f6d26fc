"""The Translate panel's models: a selector, the card of the chosen one, and a menu to import and remove."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.messages import plain
from UncertaintyGuidedI2ILib.models import installedModels, modelLabel
from UncertaintyGuidedI2ILib.translate.model_card import cardHtml
from UncertaintyGuidedI2ILib.widgets import addMenu, select

if TYPE_CHECKING:
    from upgan.bundles.library import InstalledModel

# Command, arguments, what the panel says meanwhile, and what to do with the result.
AskWorker = Callable[[str, dict[str, Any], str, Callable[[dict[str, Any]], None]], None]


class ModelChooser:
    """Offers what is installed and keeps the choice where it is saved.

    Args:
        ui: Widgets of TranslatePanel.ui.
        choices: Returns the panel's pack of choices, or None where there is no scene to save them in.
        askWorker: Asks the worker for an import or a removal: they verify weights, which only the worker can.
    """

    def __init__(self, ui: Any, choices: Callable[[], Any], askWorker: AskWorker) -> None:
        self._ui = ui
        self._choices = choices
        self._askWorker = askWorker
        self._models: dict[str, InstalledModel] = {}
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

    def refresh(self) -> None:
        """Look what is installed."""
        self._models = {model.name: model for model in installedModels()}
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
