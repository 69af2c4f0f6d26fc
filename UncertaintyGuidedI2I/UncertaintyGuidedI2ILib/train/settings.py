"""The Train panel's model: what to start from, a preset, and the settings in which the user departs from it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.models import installedModels, modelLabel
from UncertaintyGuidedI2ILib.widgets import Labels, bindSelector, select

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.train.session.training import Training
    from upgan.bundles.library import InstalledModel

PRESETS: Labels = {
    "quick": _("quick: a smaller network, about an hour"),
    "fine-tune": _("fine-tune: adapt the base model"),
    "paper": _("paper: as published, days on a GPU"),
}
HAND_OVERS: Labels = {
    "image": _("image alone"),
    "image+sigma": _("image and σ"),
    "product": _("image × σ, as in the paper"),
}
DEVICES: Labels = {"auto": _("automatic"), "cpu": _("CPU"), "cuda": _("GPU (CUDA)")}


class Setting(NamedTuple):
    """One of the advanced settings.

    Attributes:
        widget: Name of its spin box, selector or line of text.
        path: The setting's dotted name in a configuration, e.g. "schedule.batch".
        isOptional: Whether 0 stands for "not at all".
        isPercent: Whether the share in the configuration is shown in per cent.
        ofNewModels: Whether it is a setting of new models only: a base model brings its own value.
    """

    widget: str
    path: str
    isOptional: bool = False
    isPercent: bool = False
    ofNewModels: bool = False


EPOCHS = "schedule.epochs"
MOST_PHASES = 16
SETTINGS = (
    Setting("epochsEdit", EPOCHS),
    Setting("jointEpochsSpinBox", "schedule.joint_epochs"),
    Setting("batchSpinBox", "schedule.batch"),
    Setting("earlyStoppingSpinBox", "schedule.early_stopping", isOptional=True),
    Setting("rateSpinBox", "schedule.learning_rate"),
    Setting("jointRateSpinBox", "schedule.joint_learning_rate"),
    Setting("widthSpinBox", "architecture.width", ofNewModels=True),
    Setting("handOverSelector", "architecture.hand_over", ofNewModels=True),
    Setting("likelihoodSpinBox", "loss.likelihood"),
    Setting("adversarialSpinBox", "loss.adversarial"),
    Setting("l1SpinBox", "loss.l1"),
    Setting("flipSpinBox", "augmentation.flip", isPercent=True),
    Setting("rotationSpinBox", "augmentation.rotation_degrees"),
    Setting("scaleSpinBox", "augmentation.scale", isPercent=True),
    Setting("intensitySpinBox", "augmentation.intensity", isPercent=True),
)


class SettingsSection:
    """Offers base models and presets, and keeps what the user changed: a preset that grows better stays in force.

    Args:
        ui: Widgets of TrainPanel.ui.
        session: The training session, which asks the engine for the presets' values.
        choices: Returns the panel's pack of choices, or None where there is no scene to save them in.
        onChanged: Called when what can be done may have changed.
        onError: Called with an ``UpganError``.
    """

    def __init__(
        self,
        ui: Any,
        session: Training,
        choices: Callable[[], Any],
        onChanged: Callable[[], None],
        onError: Callable[[Exception], None],
    ) -> None:
        self._ui = ui
        self._session = session
        self._choices = choices
        self._onChanged = onChanged
        self._onError = onError
        self._models: dict[str, InstalledModel] = {}
        # By preset and base model: what the engine said they are.
        self._presets: dict[tuple[str, str], dict[str, Any]] = {}
        bindSelector(ui.presetSelector, PRESETS, choices, "preset")
        bindSelector(ui.deviceSelector, DEVICES, choices, "device")
        for value, label in HAND_OVERS.items():
            ui.handOverSelector.addItem(label, value)
        # By the user alone: what a scene brings, or a refresh shows, must not drop its changes.
        ui.baseSelector.connect("activated(int)", self._onBaseChosen)
        ui.presetSelector.connect("activated(int)", self._onPresetChosen)
        ui.advancedGroup.connect("toggled(bool)", self._onAdvancedToggled)
        ui.defaultsButton.connect("clicked(bool)", self.onDefaults)
        for setting in SETTINGS:
            widget = getattr(ui, setting.widget)
            widget.connect(_changedSignal(widget), partial(self._onEdited, setting))

    @property
    def baseTask(self) -> str:
        """Name of the base model's task, or nothing."""
        model = self._models.get(self._choices().baseModel) if self._choices() is not None else None
        task = model.metadata["upgan"].get("task") if model is not None else None
        return str(task.get("name", "")) if isinstance(task, dict) else ""

    def refresh(self) -> None:
        """Look which models are installed: ours, for only those can be trained on."""
        models = [model for model in installedModels() if not model.problem]
        self._models = {model.name: model for model in models}
        selector = self._ui.baseSelector
        blocked = selector.blockSignals(True)
        selector.clear()
        selector.addItem(_("none: from scratch"), "")
        for model in models:
            selector.addItem(modelLabel(model), model.name)
        selector.blockSignals(blocked)

    def whyNot(self) -> str:
        """Return why a training cannot begin with these settings, or nothing."""
        choices = self._choices()
        if choices is None:
            return _("There is no scene.")
        if choices.baseModel and choices.baseModel not in self._models:
            return _("The base model {name} is not installed.").format(name=choices.baseModel)
        if choices.preset == "fine-tune" and not choices.baseModel:
            return _("Fine-tuning needs a base model: choose one, or another preset.")
        return ""

    def config(self, onReady: Callable[[dict[str, Any]], None], onError: Callable[[Exception], None]) -> None:
        """Give the configuration but for its data: the preset with the user's changes, base model and device.

        Args:
            onReady: Called with that configuration, as soon as the engine has said what the preset is.
            onError: Called with an ``UpganError``.

        Raises:
            UpganError: What ``TrainingSession.presetConfig`` raises.
        """

        def change(preset: dict[str, Any]) -> None:
            choices = self._choices()
            if choices is None:
                return
            config = copy.deepcopy(preset)
            for path, value in self._changes().items():
                if self._isOffered(path):
                    _put(config, path, value)
            if not choices.baseModel:
                _put(config, "architecture.phases", len(_at(config, EPOCHS)))
            config["base"] = choices.baseModel or None
            _put(config, "compute.device", choices.device)
            self.show()
            onReady(config)

        self._withPreset(change, onError)

    def show(self) -> None:
        """Bring base model, preset and settings up to date with the choices."""
        choices, ui = self._choices(), self._ui
        if choices is None:
            return
        select(ui.baseSelector, choices.baseModel)
        select(ui.presetSelector, choices.preset)
        select(ui.deviceSelector, choices.device)
        preset, changes = self._preset(), self._changes()
        for setting in SETTINGS:
            widget = getattr(ui, setting.widget)
            widget.enabled = preset is not None and self._isOffered(setting.path)
            if preset is not None:
                value = changes.get(setting.path, _at(preset, setting.path))
                if not self._isOffered(setting.path):
                    value = _at(preset, setting.path)
                _write(widget, setting, value)
        offered = [path for path in changes if self._isOffered(path)]
        changed = _("{count} settings differ from the preset.").format(count=len(offered))
        ui.changesLabel.text = changed if offered else _("As the preset has it.") if preset else ""
        ui.defaultsButton.enabled = bool(changes)

    def onDefaults(self, checked: bool = False) -> None:
        """Take all changes back."""
        choices = self._choices()
        if choices is not None:
            choices.changes = "{}"

    def _withPreset(self, onReady: Callable[[dict[str, Any]], None], onError: Callable[[Exception], None]) -> None:
        preset = self._preset()
        if preset is not None:
            onReady(preset)
            return
        choices = self._choices()
        key = (choices.preset, choices.baseModel)

        def keep(config: dict[str, Any]) -> None:
            self._presets[key] = config
            onReady(config)

        self._session.presetConfig(choices.preset, choices.baseModel or None, keep, onError)

    def _preset(self) -> dict[str, Any] | None:
        choices = self._choices()
        return self._presets.get((choices.preset, choices.baseModel)) if choices is not None else None

    def _changes(self) -> dict[str, Any]:
        """Return the changes that the scene holds; what is none is left out, for scenes come from anywhere."""
        try:
            changes = json.loads(self._choices().changes)
        except ValueError:
            return {}
        paths = {setting.path for setting in SETTINGS}
        return {path: value for path, value in changes.items() if path in paths} if isinstance(changes, dict) else {}

    def _isOffered(self, path: str) -> bool:
        """Whether a setting counts: what a base model brings cannot be chosen."""
        isNew = not self._choices().baseModel
        return isNew or not any(setting.path == path and setting.ofNewModels for setting in SETTINGS)

    def _onEdited(self, setting: Setting, *arguments: Any) -> None:
        preset, choices = self._preset(), self._choices()
        if preset is None or choices is None:
            return
        changes = self._changes()
        value, usual = _read(getattr(self._ui, setting.widget), setting), _at(preset, setting.path)
        changes.pop(setting.path, None)
        isValid = setting.path != EPOCHS or self._areEpochs(value, len(usual))
        if isValid and value != usual:
            changes[setting.path] = value
        choices.changes = json.dumps(changes)
        self.show()

    def _areEpochs(self, value: list[int], phases: int) -> bool:
        """Whether these are numbers of epochs, one a phase; a base model's number of phases is fixed."""
        return len(value) == phases if self._choices().baseModel else 1 <= len(value) <= MOST_PHASES

    def _onBaseChosen(self, index: int) -> None:
        choices = self._choices()
        if choices is None or index < 0:
            return
        choices.baseModel = self._ui.baseSelector.itemData(index)
        # It has its own number of phases.
        self._drop([EPOCHS])
        if choices.baseModel and choices.preset != "fine-tune":
            choices.preset = "fine-tune"
        elif not choices.baseModel and choices.preset == "fine-tune":
            choices.preset = "quick"
        self._askIfOpen()

    def _onPresetChosen(self, index: int) -> None:
        self._drop([setting.path for setting in SETTINGS])
        self._askIfOpen()

    def _drop(self, paths: list[str]) -> None:
        choices = self._choices()
        if choices is not None:
            choices.changes = json.dumps({path: v for path, v in self._changes().items() if path not in paths})

    def _onAdvancedToggled(self, isOpen: bool) -> None:
        self._askIfOpen()

    def _askIfOpen(self) -> None:
        """Ask the engine for the preset's values only where somebody looks at them: it must be started for that."""
        from upgan.errors import UpganError

        isOpen = not self._ui.advancedGroup.collapsed
        if isOpen and self._preset() is None and not self._session.isBusy and not self.whyNot():
            self._ui.changesLabel.text = _("Asking the engine for the preset…")
            try:
                self._withPreset(lambda preset: self.show(), self._onError)
            except UpganError as error:
                self._onError(error)
        self.show()


def _changedSignal(widget: Any) -> str:
    if hasattr(widget, "currentIndex"):
        return "currentIndexChanged(int)"
    if hasattr(widget, "text") and not hasattr(widget, "value"):
        return "editingFinished()"
    return "valueChanged(int)" if isinstance(widget.value, int) else "valueChanged(double)"


def _read(widget: Any, setting: Setting) -> Any:
    """Return what a widget says, as a configuration has it."""
    if setting.path == EPOCHS:
        return [int(text) for text in widget.text.split(",") if text.strip().isdecimal()]
    if hasattr(widget, "currentIndex"):
        return widget.itemData(widget.currentIndex)
    value = widget.value
    if setting.isOptional and not value:
        return None
    return round(value / 100, 6) if setting.isPercent else value


def _write(widget: Any, setting: Setting, value: Any) -> None:
    blocked = widget.blockSignals(True)
    if setting.path == EPOCHS:
        widget.text = ", ".join(str(count) for count in value)
    elif hasattr(widget, "currentIndex"):
        # Blank where it is none of these, as of networks of another kind.
        widget.currentIndex = widget.findData(value)
    else:
        shown = 100 * (value or 0) if setting.isPercent else value or 0
        # A whole number where the box is one of whole numbers.
        widget.value = type(widget.value)(shown)
    widget.blockSignals(blocked)


def _at(config: Mapping[str, Any], path: str) -> Any:
    section, name = path.split(".")
    return (config.get(section) or {}).get(name)


def _put(config: dict[str, Any], path: str, value: Any) -> None:
    section, name = path.split(".")
    config.setdefault(section, {})[name] = value
