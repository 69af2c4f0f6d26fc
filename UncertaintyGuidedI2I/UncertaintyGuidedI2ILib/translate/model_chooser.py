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
from UncertaintyGuidedI2ILib.models import DEFAULT_MODEL, installedModels, modelLabel
from UncertaintyGuidedI2ILib.samples import sampleNamed
from UncertaintyGuidedI2ILib.scene.nodes import Stamp, modality
from UncertaintyGuidedI2ILib.text import oneLine
from UncertaintyGuidedI2ILib.translate.fit import misfit
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
        inputVolume: Returns the volume to translate, or None: models that are made for such come first.
    """

    def __init__(
        self,
        ui: Any,
        choices: Callable[[], Any],
        askWorker: AskWorker,
        canRead: Callable[[], bool],
        inputVolume: Callable[[], Any],
    ) -> None:
        self._ui = ui
        self._choices = choices
        self._askWorker = askWorker
        self._canRead = canRead
        self._input = inputVolume
        self._models: dict[str, InstalledModel] = {}
        # In the order in which they are offered: those that are made for the input come first.
        self._order: list[InstalledModel] = []
        # By name, in a few words and in sentences, of those that are not; and for what this was found out.
        self._misfits: dict[str, tuple[str, str]] = {}
        self._judged: tuple[Any, ...] = ()
        self._followed: Any = None
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
        # By the user alone.
        ui.modelSelector.connect("activated(int)", self._onChosen)

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
        self._suitable, self._judged = {}, ()
        self._arrange()

    def showChoice(self) -> None:
        """Show the chosen model, or choose another where it is not here; a new input may choose one that fits it."""
        choices = self._choices()
        if choices is None or not self._models:
            return
        self._arrange()
        self._followInput(choices)
        if choices.model not in self._models:
            # A scene from another installation may name a model that is not here.
            _preselect(choices, self._order[0].name)
        select(self._ui.modelSelector, choices.model)
        self._showTogether()

    def _arrange(self) -> None:
        """List the models anew where input or models have changed: those first that are made for the input."""
        node = self._input()
        hasVoxels = node is not None and node.GetImageData() is not None
        image = (node.GetID(), node.GetName(), Stamp.of(node), modality(node)) if hasVoxels else None
        canRead = self._canRead()
        judged = (image, canRead, tuple(self._models))
        if judged == self._judged and self._ui.modelSelector.count:
            return
        found = {
            name: misfit(model, node, canRead) if hasVoxels and not model.problem else ("", "")
            for name, model in self._models.items()
        }
        self._misfits = {name: why for name, why in found.items() if why[0]}
        # What cannot be used stays last; of those that fit, the usual one is first.
        self._order = sorted(
            self._models.values(),
            key=lambda model: (model.problem != "", model.name in self._misfits, model.name != DEFAULT_MODEL),
        )
        self._judged = judged
        selector = self._ui.modelSelector
        blocked = selector.blockSignals(True)
        selector.clear()
        for model in self._order:
            remark, sentences = self._misfits.get(model.name, ("", ""))
            selector.addItem(modelLabel(model, remark), model.name)
            selector.setItemData(selector.count - 1, plain(sentences), qt.Qt.ToolTipRole)
        selector.blockSignals(blocked)

    def _followInput(self, choices: Any) -> None:
        """Choose a model that is made for a new input, unless somebody has chosen one himself.

        A volume may be in the scene before its voxels are, and before it is marked.
        """
        image = self._judged[0] if self._judged else None
        if image == self._followed:
            return
        self._followed = image
        if image is None or choices.model != choices.preselected:
            return
        sample = sampleNamed(self._input().GetName())
        usable = [model.name for model in self._order if not model.problem]
        if sample is not None and sample.model in usable:
            _preselect(choices, sample.model)
        elif choices.model in self._misfits:
            fitting = [name for name in usable if name not in self._misfits]
            _preselect(choices, fitting[0] if fitting else choices.model)

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

    def _onChosen(self, index: int) -> None:
        choices = self._choices()
        if choices is not None and index >= 0:
            choices.preselected = ""

    def _onSelected(self, index: int) -> None:
        choices = self._choices()
        if choices is not None and index >= 0:
            choices.model = self._ui.modelSelector.itemData(index)


def _preselect(choices: Any, name: str) -> None:
    # In this order: in between somebody seems to have chosen, and nothing else is.
    choices.preselected = name
    choices.model = name


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
