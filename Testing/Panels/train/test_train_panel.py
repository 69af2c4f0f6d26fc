"""The Train panel: data chosen and checked, a training started, watched and steered, a model made of it."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from Panels.fake_session import PRESET, FakeSession, event_line, stage_line, steps_line, validation_line
from Panels.heartbeat import shortest_block_s
from Panels.processes import pause

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install '.[slicer]'")

PATIENT_S = 20


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.setenv("UPGAN_RUNS", str(tmp_path / "runs"))
    return FakeSession(tmp_path / "runs")


@pytest.fixture
def opened(host, load_panel, session, monkeypatch):
    """The panel with its choices: panel, ui, parameter node, names of saved models."""
    widget, ui = load_panel("TrainPanel.ui")
    from UncertaintyGuidedI2ILib import dependencies
    from UncertaintyGuidedI2ILib.parameters import UncertaintyGuidedI2IParameterNode
    from UncertaintyGuidedI2ILib.train import panel as train_panel

    monkeypatch.setattr(dependencies, "missing", lambda *files: [])
    monkeypatch.setattr(train_panel, "FOLLOW_MS", 10)
    saved = []
    panel = train_panel.TrainPanel(ui, session, saved.append)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "choices")
    parameters = UncertaintyGuidedI2IParameterNode(node)
    panel.setParameterNode(parameters)
    yield panel, ui, parameters, saved, widget
    panel.cleanup()


@pytest.fixture
def panel(opened):
    return opened[0]


@pytest.fixture
def ui(opened):
    return opened[1]


@pytest.fixture
def choices(opened):
    return opened[2].train


@pytest.fixture
def saved(opened):
    return opened[3]


@pytest.fixture
def folder(choices, tmp_path):
    """A folder of images, chosen with its patterns."""
    choices.folder = tmp_path
    choices.layout = "pattern"
    choices.inputPattern, choices.targetPattern = "{subject}/pet.nii.gz", "{subject}/ct.nii.gz"
    return tmp_path


@pytest.fixture
def running(host, ui, session, folder):
    """A training under way, with a few lines in its journal."""
    ui.startButton.click()
    for name in ("best", "last", "phase_1", "all_phases"):
        path = session.run / "checkpoints" / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    journal = [stage_line(1, [1]), *(steps_line(1, step, 5 - step / 50) for step in range(1, 101))]
    journal += [validation_line(1, 1, [120.0]), validation_line(1, 2, [100.0])]
    session.tell(journal=journal, progress={"stage": "phase 1 of 3", "fraction": 0.25, "remaining_s": 90.0})
    host.wait_until(lambda: ui.showChartButton.enabled)
    return session.run


def write_preview(run, epoch):
    (run / "preview").mkdir(exist_ok=True)
    for name in ("input", "target", "image", "sigma"):
        np.save(run / "preview" / f"{name}.npy", np.full((3, 4, 5), epoch, np.float32))
    display = {"window": 2000, "level": 300, "sigma_threshold": 100, "sigma_max": 500, "alpha_max": 500}
    about = {"subject": "07", "ijk_to_ras": np.eye(4).tolist(), "stage": 1, "epoch": epoch, "phase": 1, "unit": "HU"}
    (run / "preview" / "preview.json").write_text(json.dumps({**about, "display": display}))


def items(selector):
    return [selector.itemText(i) for i in range(selector.count)]


def choose(selector, value):
    """Choose an entry as a user does: both signals come, in Qt's order."""
    selector.currentIndex = selector.findData(value)
    selector.activated.emit(selector.currentIndex)


def rows(ui):
    table = ui.pairsTable
    return [[table.item(i, column).text() for column in range(table.columnCount)] for i in range(table.rowCount)]


def kinds(host, kind):
    return [host.scene.GetNthNodeByClass(i, kind) for i in range(host.scene.GetNumberOfNodesByClass(kind))]


def shown(*widgets):
    return [not widget.isHidden() for widget in widgets]


# --- Data -------------------------------------------------------------------------------------------------------------


def test_start_says_what_is_missing_one_thing_after_another(ui, choices, tmp_path):
    def why():
        assert not ui.startButton.enabled
        assert ui.statusLabel.text == ui.startButton.toolTip
        return ui.statusLabel.text

    assert why() == "Choose the folder of images."
    choices.folder = tmp_path
    choices.layout = "pattern"
    assert why() == "Say how the target files are named."
    choices.targetPattern = "{subject}/ct.nii.gz"
    assert why() == "Say how the input files are named."
    choices.inputPattern = "{subject}/pet.nii.gz"
    choices.name = "Our Model"
    assert "lower case letters" in why()
    choices.name = "our-model"
    choices.preset = "fine-tune"
    assert "needs a base model" in why()
    choices.preset = "quick"
    assert ui.startButton.enabled
    choices.source = "table"
    assert why() == "Choose the table of files."
    choices.source = "scene"
    assert why() == "Add at least one pair of volumes."


def test_only_what_the_source_needs_is_asked_for(ui, choices):
    folder = (ui.folderEdit, ui.layoutSelector)
    scene = (ui.inputVolumeSelector, ui.targetVolumeSelector, ui.subjectEdit, ui.addPairButton)
    assert shown(*folder, ui.tableEdit, *scene) == [True] * 2 + [False] * 5
    choose(ui.sourceSelector, "table")
    assert choices.source == "table"
    assert shown(*folder, ui.tableEdit, *scene) == [False] * 2 + [True] + [False] * 4
    choose(ui.sourceSelector, "scene")
    assert shown(*folder, ui.tableEdit, *scene) == [False] * 3 + [True] * 4
    choices.source = "folder"
    assert ui.sourceSelector.currentData == "folder"
    assert shown(ui.inputPatternEdit, ui.targetPatternEdit) == [False, False]
    choices.layout = "bids"
    assert shown(ui.inputPatternEdit, ui.targetPatternEdit) == [True, True]
    assert ui.inputPatternLabel.text == "Input suffix:"


def test_typing_in_the_middle_leaves_the_cursor_there(ui, choices):
    choices.layout = "pattern"
    for edit, choice in (
        (ui.nameEdit, "name"),
        (ui.inputPatternEdit, "inputPattern"),
        (ui.targetPatternEdit, "targetPattern"),
    ):
        setattr(choices, choice, "abcdef")
        assert edit.text == "abcdef"
        edit.setCursorPosition(2)
        edit.insert("x")
        edit.textEdited.emit(edit.text)
        assert getattr(choices, choice) == "abxcdef"
        assert edit.cursorPosition == 3


def test_a_folder_that_is_cleared_is_none(panel, ui, choices, tmp_path):
    assert ui.folderEdit.currentPath == ui.tableEdit.currentPath == ""
    ui.folderEdit.currentPath = f"{tmp_path}/"
    assert choices.folder == tmp_path
    # What is being typed is not corrected meanwhile.
    assert ui.folderEdit.currentPath == f"{tmp_path}/"
    assert "Choose the folder" not in ui.startButton.toolTip
    ui.folderEdit.currentPath = ""
    assert str(choices.folder) == "."
    assert ui.folderEdit.currentPath == ""
    assert ui.startButton.toolTip == "Choose the folder of images."
    choices.source = "table"
    choices.table = tmp_path / "pairs.csv"
    assert ui.tableEdit.currentPath == str(tmp_path / "pairs.csv")
    parameters = panel._binding.node
    panel.setParameterNode(None)
    panel.setParameterNode(parameters)
    assert choices.table == tmp_path / "pairs.csv"


def test_inputs_can_be_made_from_the_targets_for_mri_alone(ui, choices):
    assert ui.degradationSelector.isHidden()
    choices.task = "mri_motion"
    choices.layout = "pattern"
    assert not ui.degradationSelector.isHidden()
    choose(ui.degradationSelector, "motion")
    assert choices.degradation == "motion"
    assert shown(ui.inputPatternEdit, ui.targetPatternEdit) == [False, True]


def test_all_tasks_and_all_degradations_are_offered_by_names_that_people_read(ui, choices):
    from UncertaintyGuidedI2ILib import parameters
    from upgan.tasks import TASKS

    for selector, values in ((ui.taskSelector, TASKS), (ui.degradationSelector, parameters.DEGRADATIONS)):
        assert [selector.itemData(i) for i in range(selector.count)] == list(values)
        assert not set(items(selector)) & set(values)
        assert len(set(items(selector))) == len(values)
    for task, made in TASKS.items():
        choices.task = task
        assert shown(ui.degradationSelector, ui.degradeButton) == [made.output.relative] * 2


def test_a_degraded_patient_is_shown_beside_his_target_until_something_else_is_chosen(
    host, ui, choices, session, folder, tmp_path
):
    import qt

    choices.task = "mri_undersampled"
    assert not ui.degradeButton.enabled  # nothing is made
    choices.degradation = "regular_4x"
    picture = qt.QImage(40, 40, qt.QImage.Format_Grayscale8)
    picture.fill(128)
    assert picture.save(str(tmp_path / "a.png"))
    ui.degradeButton.click()
    name, config, subject = session.asked[-1]
    assert (name, config["data"]["degradation"], subject) == ("degrade", "regular_4x", None)
    assert (ui.checkButton.text, ui.degradeButton.enabled) == ("Cancel", False)
    session.answer({"subject": "07", "input": str(tmp_path / "a.png"), "target": str(tmp_path / "a.png")})
    assert shown(ui.degradedFrame) == [True]
    assert "07" in ui.degradedTitle.text
    assert ui.degradedInputLabel.pixmap.width() == 190
    choices.degradation = "random_8x"
    assert shown(ui.degradedFrame) == [False]


def test_the_engine_is_asked_about_exactly_what_was_chosen(ui, choices, session, folder):
    choices.trainPatients, choices.testPatients = 20, 5
    for box, choice in (
        (ui.skipBadCheckBox, "skipBad"),
        (ui.registerCheckBox, "registerPairs"),
        (ui.trustPlacesCheckBox, "trustGuessedPlaces"),
    ):
        box.click()
        assert getattr(choices, choice)
    ui.checkButton.click()
    (config,) = [arguments[0] for name, *arguments in session.asked if name == "checkData"]
    assert config["data"] == {
        "path": str(folder),
        "layout": "pattern",
        "input": "{subject}/pet.nii.gz",
        "target": "{subject}/ct.nii.gz",
        "task": "pet_to_ct",
        "degradation": "none",
        "register_pairs": True,
        "trust_guessed_places": True,
        "skip_bad": True,
        "plane": "axial",
        "spacing_mm": None,
    }
    assert config["split"] == {"train": 20, "validation": None, "test": 5, "seed": 0}


def test_the_configuration_is_one_that_the_engine_accepts(ui, choices, session, folder):
    from upgan.training.settings.config import TrainingConfig

    choices.name = "site-7"
    choices.device = "cpu"
    ui.startButton.click()
    (config,) = [arguments[0] for name, *arguments in session.asked if name == "start"]
    accepted = TrainingConfig.model_validate(config)
    assert (accepted.name, accepted.compute.device, accepted.schedule.epochs) == ("site-7", "cpu", (60, 30, 20))


FOUND: dict[str, Any] = {
    "pairs": [
        {"subject": "01", "part": "train", "problems": []},
        {
            "subject": "02",
            "part": "validation",
            "problems": [{"code": "s", "sentence": "It is small.", "remedy": "Look.", "severity": "warning"}],
        },
        {
            "subject": "03",
            "part": "",
            "problems": [{"code": "u", "sentence": "No <b>HU</b>.", "remedy": "Rescale.", "severity": "error"}],
        },
        {"subject": "04", "part": "test", "problems": []},
    ],
    "problems": [{"code": "few", "sentence": "3 are few.", "remedy": "Take a base model.", "severity": "warning"}],
    "slices": 81,
    "canvas": [112, 96],
    "spacing_mm": [2.0, 2.5],
    "estimate": {"seconds": 3700.0, "memory_bytes": 2_300_000_000, "device": "cpu"},
}


def test_what_was_found_is_listed_with_the_worst_first(ui, session, folder):
    ui.checkButton.click()
    session.answer(FOUND)
    assert [(row[0], row[1], row[4]) for row in rows(ui)] == [
        ("03", "", "✗ No <b>HU</b>."),
        ("02", "validate", "⚠ It is small."),
        ("01", "train", "✓"),
        ("04", "test", "✓"),
    ]
    assert "Rescale." in ui.pairsTable.item(0, 4).toolTip()
    assert "<b>" not in ui.pairsTable.item(0, 4).toolTip()
    text = ui.dataSummaryLabel.text
    assert "1 of 4 patients cannot be used" in text
    assert "1 patients to train on, 1 to validate, 1 to test; 81 slices of up to 112 × 96 pixels of 2 × 2.5 mm" in text
    assert "3 are few." in text
    assert "1 h 1 min and 2.3 GB of memory on cpu" in text


def test_pictures_of_the_pairs_come_into_the_table(host, ui, session, folder, tmp_path):
    import qt

    picture = qt.QImage(40, 40, qt.QImage.Format_Grayscale8)
    picture.fill(128)
    assert picture.save(str(tmp_path / "a.png"))
    ui.checkButton.click()
    pair = {**FOUND["pairs"][0], "thumbnails": {"input": str(tmp_path / "a.png"), "target": str(tmp_path / "no.png")}}
    session.answer({**FOUND, "pairs": [pair]})
    host.wait_until(lambda: not ui.pairsTable.item(0, 2).icon().isNull())
    assert ui.pairsTable.item(0, 3).icon().isNull()


@pytest.mark.parametrize("choice", ["registerPairs", "trustGuessedPlaces"])
def test_what_was_found_of_other_data_is_taken_away(ui, choices, session, folder, choice):
    ui.checkButton.click()
    session.answer(FOUND)
    assert rows(ui)
    setattr(choices, choice, True)
    assert rows(ui) == []
    assert ui.dataSummaryLabel.isHidden()


def test_check_turns_into_cancel(host, ui, session, folder):
    from upgan.errors import Cancelled

    ui.checkButton.click()
    assert ui.checkButton.text == "Cancel"
    assert not ui.dataFrame.enabled
    ui.checkButton.click()
    assert session.asked[-1] == ("stop",)
    session.answer(Cancelled())
    assert ui.checkButton.text == "Check data"
    assert ui.statusLabel.text == "Cancelled."
    assert ui.dataFrame.enabled
    assert host.messages == []


def test_a_refusal_is_told_with_its_remedy(host, ui, session, folder):
    from upgan.errors import InputError

    ui.checkButton.click()
    session.answer(InputError("no_pairs", "There are no pairs.", "Look at the patterns."))
    (message,) = host.messages
    assert "There are no pairs." in message.text
    assert "Look at the patterns." in message.text
    assert ui.checkButton.enabled
    session.failure = InputError("training_busy", "At work.", "Wait.")
    ui.startButton.click()
    assert "At work." in host.messages[-1].text
    assert ui.startButton.enabled


# --- Volumes of the scene ---------------------------------------------------------------------------------------------


@pytest.fixture
def scene_pair(ui, choices, add_volume):
    """A pair of volumes, added by hand."""
    choices.source = "scene"
    pet, ct = add_volume("PET"), add_volume("CT")
    ui.inputVolumeSelector.setCurrentNode(pet)
    ui.targetVolumeSelector.setCurrentNode(ct)
    ui.subjectEdit.text = "07"
    ui.addPairButton.click()
    return pet, ct


def test_a_pair_of_volumes_needs_two_volumes_and_a_name(ui, choices, add_volume):
    choices.source = "scene"
    pet, ct = add_volume("PET"), add_volume("CT")
    for selector in (ui.inputVolumeSelector, ui.targetVolumeSelector):
        selector.setCurrentNode(None)
    ui.subjectEdit.text = "07"
    assert "target" in ui.addPairButton.toolTip
    ui.targetVolumeSelector.setCurrentNode(ct)
    assert "input" in ui.addPairButton.toolTip
    ui.inputVolumeSelector.setCurrentNode(ct)
    assert "the same volume" in ui.addPairButton.toolTip
    ui.inputVolumeSelector.setCurrentNode(pet)
    assert ui.addPairButton.enabled
    ui.subjectEdit.text = " "
    assert not ui.addPairButton.enabled


def test_pairs_of_the_scene_are_listed_and_removed(ui, scene_pair):
    assert [row[0] for row in rows(ui)] == ["07"]
    assert ui.startButton.enabled
    ui.pairsTable.setCurrentCell(0, 0)
    ui.removePairButton.click()
    assert rows(ui) == []
    assert not ui.startButton.enabled


def test_pairs_of_the_scene_are_saved_with_it(host, ui, scene_pair, tmp_path):
    from UncertaintyGuidedI2ILib.train.pairs import scenePairs

    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    host.close_scene()
    assert scenePairs(host.scene) == []
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    (pair,) = scenePairs(host.scene)
    assert (pair.subject, pair.source.GetName(), pair.target.GetName()) == ("07", "PET", "CT")


def test_deleting_the_target_takes_its_pair_along(host, ui, scene_pair):
    host.scene.RemoveNode(scene_pair[1])
    host.wait_until(lambda: rows(ui) == [])
    assert not ui.startButton.enabled


def test_volumes_of_the_scene_reach_the_engine_as_files(host, ui, session, scene_pair):
    from upgan.pairs.config import DataConfig
    from upgan.pairs.finding import find_pairs

    ui.checkButton.click()
    host.wait_until(lambda: session.state == "checking", PATIENT_S)
    config = session.asked[-1][1]
    (pair,) = find_pairs(DataConfig.model_validate(config["data"]))
    assert pair.subject == "07"
    assert pair.input.is_file()
    session.answer(FOUND)
    ui.checkButton.click()
    host.wait_until(lambda: session.state == "checking", PATIENT_S)
    # Of the first check nothing is left.
    assert not pair.input.exists()


def test_closing_the_scene_while_volumes_are_handed_over_asks_for_nothing(host, panel, ui, session, scene_pair):
    ui.checkButton.click()
    panel.onSceneStartClose()
    panel.setParameterNode(None)
    host.close_scene()
    panel.onSceneEndClose()
    host.wait_until(lambda: True)
    assert [name for name, *rest in session.asked] == ["presetConfig"]
    assert not ui.checkButton.enabled
    assert host.messages == []


def test_a_pair_that_is_removed_leaves_the_patients_other_sessions(host, ui, choices, session, add_volume):
    from UncertaintyGuidedI2ILib.train.pairs import ScenePair, addPair, scenePairs

    choices.source = "scene"
    for session_number in (1, 2, 3):
        addPair(ScenePair("07", add_volume(f"PET {session_number}"), add_volume(f"CT {session_number}")))
    choices.skipBad = True

    def left():
        return [pair.target.GetName() for pair in scenePairs(host.scene)]

    ui.pairsTable.setCurrentCell(0, 0)
    ui.removePairButton.click()
    assert left() == ["CT 2", "CT 3"]
    # Checked, they have labels of their own, and come in another order.
    ui.checkButton.click()
    host.wait_until(lambda: session.state == "checking", PATIENT_S)
    pairs = [{"subject": f"07_ses-{i}", "target": f"/runs/{i:03}_target.nrrd", "problems": []} for i in (2, 1)]
    session.answer({**FOUND, "pairs": pairs})
    ui.pairsTable.setCurrentCell(0, 0)
    assert rows(ui)[0][0] == "07_ses-2"
    ui.removePairButton.click()
    assert left() == ["CT 2"]


def test_the_files_of_a_pair_tell_which_pair_it_is(host, ui, session, scene_pair, monkeypatch):
    from UncertaintyGuidedI2ILib.train.export import pairIndex
    from upgan.pairs.config import DataConfig
    from upgan.pairs.finding import find_pairs

    ui.checkButton.click()
    host.wait_until(lambda: session.state == "checking", PATIENT_S)
    (pair,) = find_pairs(DataConfig.model_validate(session.asked[-1][1]["data"]))
    assert pairIndex(str(pair.target)) == pairIndex(str(pair.input)) == 0


@pytest.fixture
def ask_later(session, monkeypatch):
    """Let the engine answer for a preset when the test says so, as a process of its own does."""
    waiting = []
    monkeypatch.setattr(session, "presetConfig", lambda *asked: waiting.append(asked[2]))
    return waiting


def test_pairs_that_cannot_be_written_are_told_and_the_panel_goes_on(
    host, ui, session, scene_pair, ask_later, monkeypatch
):
    from upgan.errors import OutputError

    def refuse():
        raise OutputError("not_writable", "No room.", "Make some.")

    monkeypatch.setattr(session, "newPairsFolder", refuse)
    ui.startButton.click()
    assert not ui.startButton.enabled
    ask_later[0](dict(PRESET))
    assert "No room." in host.messages[-1].text
    assert ui.startButton.enabled
    assert ui.dataFrame.enabled


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "loaded into"])
def test_a_scene_that_changes_before_the_engine_answers_starts_no_run(
    host, panel, ui, session, folder, ask_later, closes
):
    ui.startButton.click()
    parameters = panel._binding.node
    if closes:
        panel.onSceneStartClose()
    panel.setParameterNode(None)
    panel.setParameterNode(parameters)
    assert ui.startButton.enabled
    ask_later[0](dict(PRESET))
    assert session.asked == []
    assert session.run is None


def test_what_was_found_of_another_scenes_data_is_not_shown(panel, ui, session, folder):
    ui.checkButton.click()
    panel.setParameterNode(panel._binding.node)
    session.answer(FOUND)
    assert rows(ui) == []


# --- Model ------------------------------------------------------------------------------------------------------------


def test_the_engine_is_asked_for_a_preset_only_when_somebody_looks_at_it(ui, session):
    assert session.asked == []
    ui.advancedGroup.collapsed = False
    assert session.asked == [("presetConfig", "quick", None)]
    assert ui.epochsEdit.text == "60, 30, 20"
    assert ui.batchSpinBox.value == 8
    assert ui.rateSpinBox.value == 0.001
    assert ui.flipSpinBox.value == 50
    assert ui.changesLabel.text == "As the preset has it."
    choose(ui.presetSelector, "paper")
    assert session.asked[1:] == [("presetConfig", "paper", None)]
    assert ui.epochsEdit.text == "1000, 1000, 1000"
    assert ui.earlyStoppingSpinBox.text == "never stop early"


def test_only_what_the_user_changed_is_kept_and_reaches_the_engine(ui, choices, session, folder):
    ui.advancedGroup.collapsed = False
    assert json.loads(choices.changes) == {}
    ui.batchSpinBox.value = 2
    ui.earlyStoppingSpinBox.value = 0
    ui.handOverSelector.currentIndex = ui.handOverSelector.findData("image+sigma")
    ui.scaleSpinBox.value = 10
    ui.epochsEdit.text = "3, 2"
    ui.epochsEdit.editingFinished.emit()
    expected = {
        "schedule.batch": 2,
        "schedule.early_stopping": None,
        "architecture.hand_over": "image+sigma",
        "augmentation.scale": 0.1,
        "schedule.epochs": [3, 2],
    }
    assert json.loads(choices.changes) == expected
    assert ui.changesLabel.text == "5 settings differ from the preset."
    ui.startButton.click()
    config = session.asked[-1][1]
    assert config["schedule"] == PRESET["schedule"] | {"batch": 2, "early_stopping": None, "epochs": [3, 2]}
    assert config["architecture"] == PRESET["architecture"] | {"hand_over": "image+sigma", "phases": 2}
    assert config["augmentation"]["scale"] == 0.1


def test_what_phases_hand_on_can_be_all_that_the_engine_knows(ui):
    from upgan.networks.architecture import HandOver

    ui.advancedGroup.collapsed = False
    selector = ui.handOverSelector
    assert [selector.itemData(index) for index in range(selector.count)] == list(get_args(HandOver))
    assert selector.itemData(selector.currentIndex) == "product"


def test_of_networks_of_another_kind_the_panel_says_nothing_of_what_phases_hand_on(ui, session, monkeypatch):
    published = {**PRESET, "architecture": {"name": "published-up-gan", "chains": [1, 1, 1], "width": 64}}
    monkeypatch.setattr(session, "presetConfig", lambda *arguments: arguments[2](published))
    ui.advancedGroup.collapsed = False
    choose(ui.baseSelector, "pet-ct-phantom")
    assert ui.handOverSelector.currentIndex == -1
    assert not ui.handOverSelector.enabled


def test_a_change_taken_back_by_hand_is_none(ui, choices):
    ui.advancedGroup.collapsed = False
    ui.batchSpinBox.value = 2
    ui.batchSpinBox.value = 8
    assert json.loads(choices.changes) == {}
    assert not ui.defaultsButton.enabled


def test_all_changes_are_taken_back_at_once(ui, choices):
    ui.advancedGroup.collapsed = False
    ui.batchSpinBox.value = 2
    ui.widthSpinBox.value = 8
    ui.defaultsButton.click()
    assert (ui.batchSpinBox.value, ui.widthSpinBox.value) == (8, 16)
    assert json.loads(choices.changes) == {}


@pytest.mark.parametrize("text", ["", "many", "-3", ", ".join(["1"] * 17)])
def test_epochs_that_are_no_numbers_are_not_taken(ui, choices, text):
    ui.advancedGroup.collapsed = False
    ui.epochsEdit.text = text
    ui.epochsEdit.editingFinished.emit()
    assert ui.epochsEdit.text == "60, 30, 20"
    assert json.loads(choices.changes) == {}


def test_another_preset_starts_from_its_own_values(ui, choices):
    ui.advancedGroup.collapsed = False
    ui.batchSpinBox.value = 2
    choose(ui.presetSelector, "paper")
    assert json.loads(choices.changes) == {}
    assert ui.batchSpinBox.value == 8


@pytest.mark.parametrize("changes", ["", "[]", "no JSON", '{"data.path": "/etc", "schedule.batch": 3}'])
def test_changes_of_a_strange_scene_do_no_harm(ui, choices, session, folder, changes):
    choices.changes = changes
    ui.startButton.click()
    config = session.asked[-1][1]
    assert config["data"]["path"] == str(folder)
    assert config["schedule"]["batch"] == (3 if "batch" in changes else 8)


def test_a_base_model_brings_its_task_and_networks(ui, choices, session, folder):
    choices.task = "mri_motion"
    choices.degradation = "motion"
    assert "pet-ct-phantom (bundled)" in items(ui.baseSelector)
    choose(ui.baseSelector, "pet-ct-phantom")
    assert choices.baseModel == "pet-ct-phantom"
    assert choices.preset == "fine-tune"
    assert ui.taskSelector.currentData == "pet_to_ct"
    assert not ui.taskSelector.enabled
    ui.advancedGroup.collapsed = False
    assert session.asked[-1] == ("presetConfig", "fine-tune", "pet-ct-phantom")
    assert not ui.widthSpinBox.enabled
    ui.epochsEdit.text = "1"
    ui.epochsEdit.editingFinished.emit()
    # Its phases stay as many as they are.
    assert json.loads(choices.changes) == {}
    ui.startButton.click()
    config = session.asked[-1][1]
    assert config["base"] == "pet-ct-phantom"
    assert (config["data"]["task"], config["data"]["degradation"]) == ("pet_to_ct", "none")
    choose(ui.baseSelector, "")
    assert choices.preset == "quick"
    assert ui.taskSelector.currentData == "mri_motion"


def test_coming_again_and_a_loaded_scene_change_no_setting(panel, ui, choices):
    choose(ui.baseSelector, "pet-ct-phantom")
    choices.preset = "paper"
    choices.changes = '{"schedule.epochs": [5, 5, 5], "schedule.batch": 2}'
    before = (choices.preset, choices.changes)
    panel.enter()
    panel.setParameterNode(panel._binding.node)
    assert (choices.preset, choices.changes) == before
    choices.baseModel = ""
    assert (choices.preset, choices.changes) == before


def test_a_task_of_a_base_model_alone_goes_with_it(panel, ui, choices, monkeypatch):
    from types import SimpleNamespace

    from UncertaintyGuidedI2ILib.train import settings as train_settings

    model = SimpleNamespace(name="ours", problem="", metadata={"upgan": {"task": {"name": "pet_to_mri"}}})
    monkeypatch.setattr(train_settings, "installedModels", lambda: [model])
    monkeypatch.setattr(train_settings, "modelLabel", lambda model: model.name)
    panel.enter()
    tasks = items(ui.taskSelector)
    choose(ui.baseSelector, "ours")
    assert ui.taskSelector.currentData == "pet_to_mri"
    choose(ui.baseSelector, "")
    assert items(ui.taskSelector) == tasks
    assert ui.taskSelector.currentData == choices.task == "pet_to_ct"


def test_a_base_model_that_is_not_installed_is_named(ui, choices, folder):
    choices.baseModel = "gone"
    assert "gone is not installed" in ui.startButton.toolTip


# --- Training ---------------------------------------------------------------------------------------------------------


def test_the_buttons_do_what_they_say(host, ui, session, running):
    assert (ui.pauseButton.text, ui.pauseButton.enabled, ui.stopButton.enabled) == ("Pause", True, True)
    assert not ui.startButton.enabled
    assert "running" in ui.startButton.toolTip
    assert ui.runSelector.currentText == "site-model (running)"
    assert not ui.runSelector.enabled
    host.wait_until(lambda: ui.statusLabel.text == "Phase 1 of 3; about 1 min 30 s left")
    assert ui.progressBar.value == 250
    ui.pauseButton.click()
    assert session.asked[-1] == ("pause",)
    assert (ui.pauseButton.text, ui.pauseButton.enabled, ui.stopButton.enabled) == ("Pausing…", False, False)
    assert ui.runSelector.currentText == "site-model (running)"
    session.tell("paused", progress={})
    assert (ui.pauseButton.text, ui.pauseButton.enabled, ui.stopButton.enabled) == ("Resume", True, True)
    assert ui.runSelector.currentText == "site-model (paused)"
    assert ui.runSelector.currentText in ui.runSelector.toolTip
    assert ui.startButton.enabled
    ui.pauseButton.click()
    assert session.asked[-1] == ("resume", running)
    assert ui.pauseButton.text == "Pause"
    # The folder says "paused" until the worker has taken it.
    assert ui.runSelector.currentText == "site-model (running)"


def test_stop_asks_first(host, ui, session, running):
    host.answer = False
    ui.stopButton.click()
    assert len(host.messages) == 1
    assert "cannot go on afterwards" in host.messages[0].text
    assert ("stop",) not in session.asked
    host.answer = True
    ui.stopButton.click()
    assert session.asked[-1] == ("stop",)
    assert ui.stopButton.text == "Stopping…"
    (session.run / "finished.json").write_text('{"seconds": 9.0, "best": null, "stopped": true}')
    session.tell("idle", progress={})
    assert not ui.stopButton.enabled
    assert not ui.pauseButton.enabled
    assert "over" in ui.pauseButton.toolTip
    assert ui.statusLabel.text.startswith("Stopped")
    assert ui.startButton.enabled


def test_what_ended_a_training_is_told_once(host, ui, session, running):
    from upgan.errors import UpganError

    error = UpganError("diverged", "The loss diverged three times.", "Choose a lower rate.")
    session.tell("paused", error=error, progress={})
    session.tell()
    (message,) = host.messages
    assert "diverged three times" in message.text
    assert "lower rate" in message.text


# How a run's images are read, the dialog for their new place, and what it has to choose.
MOVED = [
    ({"layout": "pattern", "path": "heads"}, "getExistingDirectory", "elsewhere"),
    ({"layout": "csv", "path": "pairs.csv"}, "getOpenFileName", "elsewhere/pairs.csv"),
    ({"layout": "manifest", "path": "fold.json"}, "getOpenFileName", "elsewhere/fold.json"),
    (None, "getExistingDirectory", "elsewhere"),
]


@pytest.fixture
def moved(session, running, monkeypatch, request):
    """What goes wrong in the run, and the answers that wait for the dialog in question; no other may come."""
    import qt

    from upgan.errors import InputError

    data, dialog, _ = request.param
    (running / "config.json").write_text(json.dumps({"name": "site-model", "base": None, "data": data}))
    answers = []
    for name in ("getExistingDirectory", "getOpenFileName"):
        monkeypatch.setattr(qt.QFileDialog, name, lambda *asked, name=name: answers.pop() if name == dialog else 1 / 0)
    return InputError("images_not_found", "The images of 07 are not where they were.", "Put them back."), answers


@pytest.mark.parametrize(("moved", "place"), [(case, Path(case[2])) for case in MOVED], indirect=["moved"])
def test_a_run_whose_images_were_moved_goes_on_with_the_place_that_the_user_gives(host, session, running, moved, place):
    error, answers = moved
    answers.append(str(place))
    # Its process is ending: nothing can be asked for yet.
    session.tell(error=error)
    assert len(answers) == 1
    session.tell("paused", progress={})
    assert session.asked[-1] == ("resume", running, place)
    session.tell()
    assert session.state == "running"
    assert host.messages == []


@pytest.mark.parametrize("moved", MOVED[:1], indirect=True)
def test_who_does_not_know_where_the_images_are_is_told_what_was_refused(host, ui, session, running, moved):
    error, answers = moved
    answers.append("")
    session.tell("paused", error=error, progress={})
    host.wait_until(lambda: ui.saveModelButton.enabled)
    ui.saveModelButton.click()
    asked = session.asked[-1]
    answers.append("")
    session.answer(error)
    assert session.asked[-1] == asked == ("saveModel", "best", "site-model")
    assert answers == []
    assert ["not where they were" in message.text for message in host.messages] == [True, True]
    assert "not where they were" in ui.statusLabel.text


@pytest.mark.parametrize(("moved", "place"), [(MOVED[1], Path(MOVED[1][2]))], indirect=["moved"])
def test_a_model_is_measured_on_images_at_the_place_that_the_user_gives(host, ui, session, saved, moved, place):
    error, answers = moved
    session.tell("paused", progress={})
    host.wait_until(lambda: ui.saveModelButton.enabled)
    ui.saveModelButton.click()
    answers.append(str(place))
    session.answer(error)
    assert session.asked[-1] == ("saveModel", "best", "site-model", place)
    session.answer({"name": "site-model", "origin": "trained", "folder": "/models/trained/site-model"})
    assert saved == ["site-model"]
    assert host.messages == []


def test_what_happened_is_listed(host, ui, session, running):
    assert ui.eventsEdit.isHidden()
    session.journal.append(event_line("rolled_back", "The loss diverged: gone back to step 90 with half the rate."))
    session.tell()
    host.wait_until(lambda: "half the rate" in ui.eventsEdit.plainText)
    assert not ui.eventsEdit.isHidden()


def test_the_newest_of_what_happened_is_in_sight(host, ui, session, running):
    session.journal.extend(event_line("paused", f"Event {number}.") for number in range(100))
    session.tell()
    host.wait_until(lambda: "Event 99" in ui.eventsEdit.plainText)
    assert ui.eventsEdit.textCursor().position() == len(ui.eventsEdit.plainText)


def test_a_training_that_was_ended_before_it_began_is_not_gone_without_a_word(host, ui, choices, session, folder):
    ui.startButton.click()
    ui.pauseButton.click()
    session.tell("idle", run=None, progress={})
    pause(host, 0.1)
    assert "nothing is left" in ui.statusLabel.text
    choices.name = "another"
    ui.startButton.click()
    assert "nothing is left" not in ui.statusLabel.text


def test_other_runs_are_not_read_again_and_again_while_one_begins(host, panel, ui, session, folder, monkeypatch):
    ui.startButton.click()
    config = session.run / "config.json"
    later = config.rename(session.run / "later.json")
    panel.onRefreshRuns()
    assert ui.runSelector.currentText == "site-model"
    listed = []
    runs = session.runs
    monkeypatch.setattr(session, "runs", lambda: listed.append(1) or runs())
    for _ in range(3):
        session.tell()
        pause(host, 0.05)
    assert listed == []
    later.rename(config)
    session.tell()
    host.wait_until(lambda: ui.runSelector.currentText == "site-model (running)")
    assert listed == [1]


def test_a_folder_that_holds_no_run_any_more_is_not_looked_at(host, panel, session, choices, tmp_path):
    choices.run = str(tmp_path)
    panel.setParameterNode(panel._binding.node)
    assert session.asked == []
    assert session.run is None


def test_runs_on_the_disk_are_found_and_looked_at(host, ui, session, choices):
    earlier = session.newRun("earlier")
    ui.refreshRunsButton.click()
    assert any("earlier" in text for text in items(ui.runSelector))
    choose(ui.runSelector, str(earlier))
    assert session.run == earlier
    assert ui.pauseButton.text == "Resume"
    assert ui.pauseButton.enabled
    assert choices.run == str(earlier)


def test_the_run_of_a_saved_scene_is_found_again(host, panel, session, choices):
    earlier = session.newRun("earlier")
    choices.run = str(earlier)
    parameters = panel._binding.node
    panel.setParameterNode(None)
    # Also while the engine is asked for a preset, as it is when a panel has just been opened.
    session.beginToAsk()
    panel.setParameterNode(parameters)
    assert session.run == earlier
    # But never in the place of one that is trained.
    session.tell("running")
    choices.run = str(session.newRun("another"))
    panel.setParameterNode(parameters)
    assert session.run == earlier
    assert choices.run == str(earlier)


def test_a_run_of_another_process_is_watched_only(ui, session, folder):
    other = session.newRun("other")
    ui.refreshRunsButton.click()
    choose(ui.runSelector, str(other))
    session.tell("watched")
    assert ui.pauseButton.text == "Resume"
    assert not ui.pauseButton.enabled
    assert not ui.stopButton.enabled
    assert "Another process" in ui.pauseButton.toolTip
    assert ui.runSelector.enabled
    assert ui.startButton.enabled


def test_closing_the_scene_leaves_the_training_alone(host, panel, ui, session, running):
    ui.showChartButton.click()
    asked = list(session.asked)
    panel.onSceneStartClose()
    panel.setParameterNode(None)
    host.close_scene()
    panel.onSceneEndClose()
    session.journal.append(steps_line(1, 101))
    session.tell(progress={"stage": "phase 1 of 3", "fraction": 0.5, "remaining_s": None})
    host.wait_until(lambda: ui.progressBar.value == 500)
    assert session.asked == asked
    assert ui.pauseButton.enabled
    ui.showChartButton.click()
    assert kinds(host, "vtkMRMLPlotChartNode")


def test_missing_packages_are_named_and_offered(ui, panel, folder, monkeypatch):
    from UncertaintyGuidedI2ILib import dependencies

    asked = []
    monkeypatch.setattr(dependencies, "missing", lambda *files: asked.extend(files) or ["torchio>=1.0"])
    panel.enter()
    assert not ui.packagesFrame.isHidden()
    assert "torchio" in ui.packagesLabel.text
    assert not ui.startButton.enabled
    assert not ui.checkButton.enabled
    assert "missing packages" in ui.startButton.toolTip
    assert dependencies.TRAINING in asked
    monkeypatch.setattr(dependencies, "missing", lambda *files: [])
    panel.enter()
    assert ui.packagesFrame.isHidden()
    assert ui.startButton.enabled


# --- Results ----------------------------------------------------------------------------------------------------------


def test_no_view_changes_until_it_is_asked_for_and_then_the_chart_grows(host, ui, session, running):
    layout = slicer.app.layoutManager().layout
    assert kinds(host, "vtkMRMLPlotChartNode") == []
    ui.showChartButton.click()
    assert slicer.app.layoutManager().layout != layout
    (chart,) = kinds(host, "vtkMRMLPlotChartNode")
    assert {view.GetPlotChartNodeID() for view in kinds(host, "vtkMRMLPlotViewNode")} == {chart.GetID()}
    table = chart.GetNthPlotSeriesNode(0).GetTableNode()
    before = table.GetNumberOfRows()
    session.journal.extend(steps_line(1, step) for step in range(101, 131))
    session.tell()
    host.wait_until(lambda: table.GetNumberOfRows() > before)
    assert kinds(host, "vtkMRMLPlotChartNode") == [chart]


def test_the_axes_of_a_chart_grow_with_its_numbers(host, ui, session, running):
    ui.showChartButton.click()
    manager = slicer.app.layoutManager()
    shown = manager.plotWidget(0).plotView()
    before = shown.chart().recalculated
    session.tell()
    pause(host, 0.05)
    assert shown.chart().recalculated == before
    session.journal.append(steps_line(1, 101))
    session.tell()
    host.wait_until(lambda: shown.chart().recalculated == before + 1)
    assert shown.scene().GetDirty()
    # A view of another chart is left alone.
    manager.plotWidget(0).mrmlPlotViewNode().SetPlotChartNodeID(None)
    session.journal.append(steps_line(1, 102))
    session.tell()
    pause(host, 0.05)
    assert shown.chart().recalculated == before + 1


def test_a_chart_that_cannot_be_drawn_takes_nothing_else_with_it(host, ui, session, running, monkeypatch):
    from UncertaintyGuidedI2ILib.train import plots as training_plots

    for name in ("loss", "validation"):
        choose(ui.chartSelector, name)
        ui.showChartButton.click()
    loss, error = kinds(host, "vtkMRMLPlotChartNode")
    fit = training_plots._fitAxes
    monkeypatch.setattr(training_plots, "_fitAxes", lambda chart: fit(chart if chart is not loss else None))
    for epoch in (3, 4):
        session.journal += [
            steps_line(1, 100 + epoch),
            validation_line(1, epoch, [90.0]),
            event_line("x", f"Epoch {epoch}."),
        ]
        session.tell("paused", progress={})
        host.wait_until(lambda epoch=epoch: ui.eventsEdit.plainText.endswith(f"Epoch {epoch}."))
        assert ui.saveModelButton.enabled
        assert error.GetNthPlotSeriesNode(0).GetTableNode().GetNumberOfRows() == epoch
    host.process_events()
    assert [message.kind for message in host.messages] == ["error"]
    assert len(host.uncaught) == 1
    host.uncaught.clear()


def test_the_error_is_drawn_in_the_tasks_unit(host, ui, running):
    choose(ui.chartSelector, "validation")
    ui.showChartButton.click()
    (chart,) = kinds(host, "vtkMRMLPlotChartNode")
    assert chart.GetYAxisTitle() == "MAE (HU)"


def test_a_chart_without_numbers_says_so(ui, session, folder):
    assert "Choose or start a run" in ui.showChartButton.toolTip
    ui.startButton.click()
    assert not ui.showChartButton.enabled


def test_the_preview_is_shown_and_follows_the_training_where_it_is_asked_to(host, ui, choices, session, running):
    assert not ui.showPreviewButton.enabled
    write_preview(running, 1)
    session.tell()
    host.wait_until(lambda: ui.showPreviewButton.enabled)
    assert kinds(host, "vtkMRMLScalarVolumeNode") == []
    ui.showPreviewButton.click()
    host.wait_until(lambda: not ui.previewLabel.isHidden())
    assert ui.previewLabel.text == "Patient 07, phase 1, after epoch 1 of stage 1"
    nodes = {node.GetName().split()[-1]: node for node in kinds(host, "vtkMRMLScalarVolumeNode")}
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == nodes["prediction"].GetID()
    assert composite.GetForegroundVolumeID() == nodes["sigma"].GetID()

    write_preview(running, 2)
    session.tell()
    pause(host, 0.2)
    assert slicer.util.arrayFromVolume(nodes["prediction"]).max() == 1
    ui.livePreviewCheckBox.checked = True
    assert choices.livePreview
    host.wait_until(lambda: slicer.util.arrayFromVolume(nodes["sigma"]).max() == 2)
    assert ui.previewLabel.text == "Patient 07, phase 1, after epoch 2 of stage 1"
    host.scene.RemoveNode(nodes["sigma"])
    write_preview(running, 3)
    session.tell()
    host.wait_until(lambda: ui.previewLabel.isHidden())
    assert len(kinds(host, "vtkMRMLScalarVolumeNode")) == 3


def test_a_preview_that_cannot_be_read_is_tried_once(host, panel, ui, session, running, monkeypatch):
    write_preview(running, 1)
    session.tell()
    host.wait_until(lambda: ui.showPreviewButton.enabled)
    ui.showPreviewButton.click()
    host.wait_until(lambda: not ui.previewLabel.isHidden())
    ui.livePreviewCheckBox.checked = True
    tried = []
    load = panel.results._preview.load
    monkeypatch.setattr(panel.results._preview, "load", lambda run: tried.append(run) or load(run))
    write_preview(running, 2)
    (running / "preview" / "sigma.npy").write_bytes(b"no array")
    for _ in range(4):
        session.tell()
        pause(host, 0.05)
    assert len(tried) == 1
    write_preview(running, 3)
    session.tell()
    host.wait_until(lambda: "epoch 3" in ui.previewLabel.text)


def test_checkpoints_are_offered_with_their_error_the_best_first(host, ui, session, running):
    assert items(ui.checkpointSelector) == [
        "best: MAE 100 HU, stage 1, epoch 2",
        "last: MAE 100 HU, stage 1, epoch 2",
        "phase 1 alone: MAE 100 HU, stage 1, epoch 2",
        "all phases end to end",
    ]
    assert ui.checkpointSelector.currentData == "best"
    choose(ui.checkpointSelector, "last")
    session.journal.append(validation_line(1, 3, [110.0], best=False))
    session.tell()
    host.wait_until(lambda: "110" in ui.checkpointSelector.currentText)
    assert ui.checkpointSelector.currentData == "last"
    assert ui.checkpointSelector.currentText in ui.checkpointSelector.toolTip
    assert ui.checkpointSelector.itemText(0) == "best: MAE 100 HU, stage 1, epoch 2"


def test_a_base_model_that_training_has_not_improved_is_called_so(host, ui, session, folder):
    ui.startButton.click()
    (session.run / "checkpoints").mkdir()
    (session.run / "checkpoints" / "best.safetensors").touch()
    session.tell(journal=[validation_line(0, 0, [80.0]), validation_line(1, 1, [85.0], best=False)])
    host.wait_until(lambda: "80" in ui.checkpointSelector.currentText)
    assert ui.checkpointSelector.currentText == "best: MAE 80 HU, the base model itself"


def test_the_best_is_chosen_as_soon_as_there_is_one(host, ui, session, folder):
    ui.startButton.click()
    (session.run / "checkpoints").mkdir()
    for name in ("last", "best"):
        (session.run / "checkpoints" / f"{name}.safetensors").touch()
        session.tell()
        host.wait_until(lambda name=name: ui.checkpointSelector.currentData == name)


def test_a_model_is_saved_under_the_name_that_was_given(host, ui, session, running, saved):
    assert "Pause or stop" in ui.saveModelButton.toolTip
    session.tell("paused", progress={})
    host.wait_until(lambda: ui.saveModelButton.enabled)
    assert ui.modelNameEdit.text == "site-model"
    ui.modelNameEdit.text = "Größe"
    assert not ui.saveModelButton.enabled
    ui.modelNameEdit.text = "site-7"
    ui.saveModelButton.click()
    assert session.asked[-1] == ("saveModel", "best", "site-7")
    host.wait_until(lambda: ui.saveModelButton.text == "Cancel")
    session.answer({"name": "site-7", "origin": "trained", "folder": "/models/trained/site-7"})
    assert saved == ["site-7"]
    assert "site-7" in ui.savedLabel.text
    assert "/models/trained/site-7" in ui.savedLabel.text
    assert "100 HU" in ui.savedLabel.text


def test_saving_a_model_can_be_cancelled(host, ui, session, running, saved):
    from upgan.errors import Cancelled

    session.tell("paused", progress={})
    host.wait_until(lambda: ui.saveModelButton.enabled)
    ui.saveModelButton.click()
    host.wait_until(lambda: ui.saveModelButton.text == "Cancel")
    ui.saveModelButton.click()
    assert session.asked[-1] == ("stop",)
    session.answer(Cancelled())
    host.wait_until(lambda: ui.saveModelButton.text == "Save as model")
    assert saved == []
    assert host.messages == []


def test_cleaning_up_takes_away_what_nobody_follows_any_more(host, panel, ui, session, running):
    ui.showChartButton.click()
    write_preview(running, 1)
    ui.showPreviewButton.enabled = True
    ui.showPreviewButton.click()
    host.wait_until(lambda: len(kinds(host, "vtkMRMLScalarVolumeNode")) == 4)
    panel.cleanup()
    for kind in ("vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode", "vtkMRMLTableNode", "vtkMRMLScalarVolumeNode"):
        assert kinds(host, kind) == []


def test_the_viewer_stays_live_with_five_hundred_patients_and_a_long_journal(host, ui, session, folder):
    ui.startButton.click()
    session.tell("idle", progress={})
    pairs = [{**FOUND["pairs"][0], "subject": f"{i:03}"} for i in range(500)]
    journal = [stage_line(1, [1], steps=10**6)]
    journal += [steps_line(1, step, steps=10**6) for step in range(1, 100_001)]

    def work():
        ui.checkButton.click()
        session.answer({**FOUND, "pairs": pairs})
        session.tell(journal=[*journal])
        host.wait_until(lambda: ui.showChartButton.enabled, PATIENT_S)
        ui.showChartButton.click()
        journal.append(steps_line(1, len(journal), steps=10**6))
        session.tell(journal=[*journal])

    assert shortest_block_s(work) < 0.1


def test_the_panel_fits_into_five_hundred_pixels(ui, opened, folder):
    ui.advancedGroup.collapsed = False
    assert opened[4].minimumSizeHint.width() <= 500
