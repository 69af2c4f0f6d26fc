"""What a viewer asks the worker about training: checks, runs, models."""

import json
import os
import shutil
import stat

import pytest
from filelock import FileLock

from Engine.training_runs import STEPS, all_same, kept, tiny
from Engine.worker_process import WorkerProcess
from upgan.bundles.library import find_bundle, installed_models
from upgan.errors import BundleError, Cancelled, InputError, UpganError
from upgan.progress import Progress
from upgan.training.record.runs import read_run
from upgan.training.settings.config_file import config_from
from upgan.worker.commands import commands


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("UPGAN_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


class Reports(list):
    """What was reported; cancels after some reports about epochs."""

    def __init__(self, cancel_after=None):
        super().__init__()
        self.left = cancel_after

    def __call__(self, stage, fraction, remaining_s):
        self.append((stage, fraction, remaining_s))
        if self.left is not None and "epoch" in stage:
            self.left -= 1
            if self.left <= 0:
                raise Cancelled


def ask(command, reports=None, **arguments):
    """Ask as a viewer does: arguments and result are JSON."""
    arguments = json.loads(json.dumps(arguments))
    answer = commands()[command](arguments, Progress(reports))
    return json.loads(json.dumps(answer))


def as_json(config):
    return config.model_dump(mode="json")


# Training


def test_a_training_is_cancelled_resumed_and_ends_as_one_that_was_not(pairs, whole, tmp_path):
    folder = str(tmp_path / "run")
    reports = Reports(cancel_after=5)
    with pytest.raises(Cancelled):
        ask("train", reports, config=as_json(tiny(pairs)), folder=folder)
    assert reports[-1][0].endswith("epoch 2 of 3")
    assert 0 < reports[-1][1] < 1
    assert read_run(tmp_path / "run").state == "paused"
    reports = Reports()
    assert ask("resume_training", reports, folder=folder) == {"folder": folder, "finished": True}
    assert len([report for report in reports if "epoch" in report[0]]) == STEPS - 5
    assert all_same(kept(tmp_path / "run"), kept(whole))


def test_a_wrong_configuration_is_refused_with_its_key_and_makes_no_folder(pairs, tmp_path):
    config = as_json(tiny(pairs))
    config["schedule"]["bach"] = 4
    with pytest.raises(InputError, match=r"schedule\.batch") as refusal:
        ask("train", config=config, folder=str(tmp_path / "run"))
    assert refusal.value.code == "config_invalid"
    assert not (tmp_path / "run").exists()


def test_a_paused_run_is_declared_ended_and_keeps_no_images(pairs, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(Cancelled):
        ask("train", Reports(cancel_after=5), config=as_json(tiny(pairs)), folder=str(run))
    assert (run / "cache").is_dir()
    assert ask("finish_training", folder=str(run)) == {"folder": str(run), "finished": True}
    assert not (run / "cache").exists()
    found = read_run(run)
    assert found.state == "stopped"
    assert found.best["mae"] > 0
    assert json.loads((run / "finished.json").read_text())["seconds"] > 0
    assert (run / "checkpoints" / "best.safetensors").exists()


def test_a_finished_run_stays_finished(whole):
    before = (whole / "finished.json").read_bytes()
    ask("finish_training", folder=str(whole))
    assert (whole / "finished.json").read_bytes() == before


def test_a_run_and_its_model_are_told_where_images_are_that_were_moved(pairs, models, tmp_path, monkeypatch):
    heads, run, moved = shutil.copytree(pairs, tmp_path / "heads"), tmp_path / "run", tmp_path / "elsewhere"
    with pytest.raises(Cancelled):
        ask("train", Reports(cancel_after=5), config=as_json(tiny(heads)), folder=str(run))
    heads.rename(moved)
    shutil.rmtree(run / "cache")
    data = (run / "data.json").read_bytes()
    monkeypatch.setattr("upgan.training.run.trainer._LOCK_S", 0.05)
    for command, arguments in (
        ("resume_training", {"folder": str(run)}),
        ("create_model", {"run": str(run), "name": "mine"}),
    ):
        with pytest.raises(InputError) as refusal:
            ask(command, **arguments)
        assert refusal.value.code == "images_not_found"
        with FileLock(run / "run.lock"), pytest.raises(InputError) as refusal:
            ask(command, **arguments, data=str(moved))
        assert refusal.value.code == "run_in_use"
        assert (run / "data.json").read_bytes() == data
    # A model is made of it, and it rests as before; then it goes on.
    before = (run / "journal.jsonl").read_bytes()
    assert ask("create_model", run=str(run), name="mine", data=str(moved))["name"] == "mine"
    assert (read_run(run).state, (run / "journal.jsonl").read_bytes()) == ("paused", before)
    assert json.loads((run / "data.json").read_text(encoding="utf-8"))["path"] == str(moved)
    again = moved.rename(tmp_path / "again")
    with pytest.raises(Cancelled):
        ask("resume_training", Reports(cancel_after=1), folder=str(run), data=str(again))
    assert json.loads((run / "data.json").read_text(encoding="utf-8"))["path"] == str(again)


def test_a_run_that_has_reached_nothing_can_be_ended_too(tmp_path):
    (tmp_path / "config.json").write_text('{"name": "x"}', encoding="utf-8")
    ask("finish_training", folder=str(tmp_path))
    assert read_run(tmp_path).state == "stopped"


def test_a_run_that_a_process_trains_is_not_ended_behind_its_back(pairs, tmp_path):
    (tmp_path / "config.json").write_text('{"name": "x"}', encoding="utf-8")
    with FileLock(tmp_path / "run.lock"), pytest.raises(InputError) as refusal:
        ask("finish_training", folder=str(tmp_path))
    assert refusal.value.code == "run_in_use"
    assert not (tmp_path / "finished.json").exists()
    with pytest.raises(InputError) as refusal:
        ask("finish_training", folder=str(tmp_path / "none"))
    assert refusal.value.code == "run_not_found"


# A model of a run


def test_a_run_becomes_a_model_that_is_found_by_its_name(whole, models):
    reports = Reports()
    answer = ask("create_model", reports, run=str(whole), checkpoint="best", name="our-scanner")
    assert answer == {
        "name": "our-scanner",
        "origin": "trained",
        "folder": str(models / "trained" / "our-scanner"),
        "problem": "",
    }
    bundle = find_bundle("our-scanner")
    assert bundle.metadata.name == "our-scanner"
    licence = (bundle.folder / "LICENSE").read_text(encoding="utf-8")
    assert "No licence is granted" in licence
    fractions = [fraction for _, fraction, _ in reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert list((models / "trained").glob(".*")) == []
    if os.name == "posix":  # Models may be shared; runs may not.
        assert stat.S_IMODE((bundle.folder / "models" / "model.safetensors").stat().st_mode) == 0o644


def test_a_licence_of_ones_own_is_the_models(whole, models):
    ask("create_model", run=str(whole), checkpoint="last", name="mine", licence="Ask us.")
    assert (models / "trained" / "mine" / "LICENSE").read_text(encoding="utf-8") == "Ask us."


@pytest.mark.parametrize("name", ["pet-ct-phantom", "PET-CT-phantom"])
def test_a_name_that_is_taken_is_refused_before_the_work(whole, models, name):
    reports = Reports()
    with pytest.raises(BundleError) as refusal:
        ask("create_model", reports, run=str(whole), name=name)
    assert refusal.value.code == "name_taken"
    assert reports == []


def test_a_second_model_of_a_name_does_not_take_the_firsts_place(whole, models):
    first = ask("create_model", run=str(whole), name="mine")
    before = {path: path.stat().st_mtime_ns for path in models.rglob("*")}
    with pytest.raises(BundleError) as refusal:
        ask("create_model", run=str(whole), checkpoint="phase_1", name="mine")
    assert refusal.value.code == "name_taken"
    assert {path: path.stat().st_mtime_ns for path in models.rglob("*")} == before
    assert first["name"] == "mine"


@pytest.mark.parametrize("name", ["", "../mine", "a b", ".hidden", "con"])
def test_a_name_that_is_no_models_is_refused(whole, models, name):
    with pytest.raises(BundleError):
        ask("create_model", run=str(whole), name=name)
    assert not (models / "trained").exists() or list((models / "trained").iterdir()) == []


def test_a_model_that_is_cancelled_leaves_nothing(whole, models):
    def cancel(stage, fraction, remaining_s):
        if fraction > 0.2:
            raise Cancelled

    with pytest.raises(Cancelled):
        ask("create_model", cancel, run=str(whole), name="mine")
    assert list((models / "trained").iterdir()) == []
    assert {model.origin for model in installed_models()} == {"bundled"}


# Where to begin


def test_a_preset_comes_as_a_whole_configuration_but_for_name_and_data(pairs):
    values = ask("start_config", preset="quick", base=None)
    assert "name" not in values
    assert "data" not in values
    assert values["architecture"]["width"] == 16
    assert values["schedule"]["freeze_normalisation"] is False  # a default, too
    assert config_from({"name": "x", "data": {"path": str(pairs)}, **values}).schedule.epochs[0] > 0


def test_fine_tuning_comes_with_its_base():
    values = ask("start_config", preset="fine-tune", base="pet-ct-phantom")
    assert values["base"] == "pet-ct-phantom"
    assert values["schedule"]["epochs"] == [0, 0]
    with pytest.raises(UpganError) as refusal:
        ask("start_config", preset="fine-tune", base=None)
    assert refusal.value.code == "preset_needs_base"
    with pytest.raises(UpganError) as refusal:
        ask("start_config", preset="best", base=None)
    assert refusal.value.code == "bad_request"


# What there is to train on


def test_a_check_tells_of_every_pair_its_part_and_of_the_cost(pairs, tmp_path):
    reports = Reports()
    answer = ask("check_data", reports, config=as_json(tiny(pairs)), thumbnails=str(tmp_path))
    assert [pair["subject"] for pair in answer["pairs"]] == [f"sub-{number:03}" for number in range(1, 6)]
    assert sorted(pair["part"] for pair in answer["pairs"]) == ["test", "train", "train", "train", "validation"]
    for pair in answer["pairs"]:
        assert {os.path.dirname(path) for path in pair["thumbnails"].values()} == {str(tmp_path)}
        assert all(os.path.getsize(path) for path in pair["thumbnails"].values())
        assert os.path.exists(pair["input"])
        assert os.path.exists(pair["target"])
    assert answer["problems"] == []
    assert answer["spacing_mm"] == [4, 4]
    assert [side % 16 for side in answer["canvas"]] == [0, 0]
    assert answer["slices"] > 0
    assert answer["estimate"]["device"] == "cpu"
    assert answer["estimate"]["seconds"] > 0
    assert answer["estimate"]["memory_bytes"] > 1e8
    assert reports[0][0] == "checking patient 1 of 5"


def test_the_parts_are_those_that_the_run_will_have(pairs, whole):
    answer = ask("check_data", config=as_json(tiny(pairs)))
    split = json.loads((whole / "split.json").read_text(encoding="utf-8"))
    for part, subjects in split.items():
        assert [pair["subject"] for pair in answer["pairs"] if pair["part"] == part] == subjects


@pytest.fixture
def broken(pairs, tmp_path):
    """The pairs, one of which has lost its input."""
    folder = tmp_path / "broken"
    shutil.copytree(pairs, folder)
    (folder / "sub-003_nacpet.nii.gz").write_bytes(b"nothing")
    return folder


def test_a_bad_pair_is_named_and_left_out_of_the_split_only_if_asked(broken):
    strict, lenient = (
        ask("check_data", config=as_json(tiny(broken, data={"skip_bad": skip}, split={"train": None})))
        for skip in (False, True)
    )
    for answer in (strict, lenient):
        (bad,) = [pair for pair in answer["pairs"] if pair["problems"]]
        assert bad["subject"] == "sub-003"
        assert bad["problems"][0]["severity"] == "error"
        assert bad["problems"][0]["remedy"]
    assert [bool(pair["part"]) for pair in strict["pairs"]] == [True] * 5
    assert [bool(pair["part"]) for pair in lenient["pairs"]] == [True, True, False, True, True]


def test_what_is_wrong_with_the_set_is_a_problem_and_no_failure(pairs):
    answer = ask("check_data", config=as_json(tiny(pairs, split={"train": 30})))
    (problem,) = answer["problems"]
    assert (problem["code"], problem["severity"]) == ("too_few_subjects", "error")
    assert {pair["part"] for pair in answer["pairs"]} == {""}
    assert answer["estimate"]["memory_bytes"] > 0


def test_a_device_that_is_not_there_is_a_warning(pairs):
    answer = ask("check_data", config=as_json(tiny(pairs, compute={"device": "cuda:77"})))
    (problem,) = answer["problems"]
    assert (problem["code"], problem["severity"]) == ("no_cuda", "warning")
    assert answer["estimate"]["seconds"] is None


def test_a_check_is_cancelled_between_two_pairs(pairs):
    def cancel(stage, fraction, remaining_s):
        raise Cancelled

    with pytest.raises(Cancelled):
        ask("check_data", cancel, config=as_json(tiny(pairs)))


def test_data_that_are_not_there_are_a_refusal(tmp_path):
    with pytest.raises(InputError) as refusal:
        ask("check_data", config=as_json(tiny(tmp_path)))
    assert refusal.value.code == "data_not_found"


# In a process of its own


@pytest.fixture
def worker(tmp_path):
    with WorkerProcess(tmp_path / "scratch", "--grace", "30") as process:
        assert process.event()["event"] == "ready"
        yield process


def start(worker, pairs, run):
    """Begin a long training and wait for its first step."""
    config = as_json(tiny(pairs, schedule={"epochs": [300, 2]}))
    worker.send({"id": 1, "command": "train", "arguments": {"config": config, "folder": str(run)}})
    while "epoch" not in worker.event().get("stage", ""):
        pass


def test_a_cancelled_training_leaves_a_checkpoint_and_the_process_stays(worker, pairs, tmp_path):
    start(worker, pairs, tmp_path / "run")
    worker.send({"id": 1, "command": "cancel"})
    assert worker.answer(1)["event"] == "cancelled"
    assert read_run(tmp_path / "run").state == "paused"
    worker.send({"id": 2, "command": "finish_training", "arguments": {"folder": str(tmp_path / "run")}})
    assert worker.answer(2)["result"]["finished"]


def test_a_viewer_that_dies_leaves_a_run_that_was_paused_in_order(worker, pairs, tmp_path):
    start(worker, pairs, tmp_path / "run")
    worker.process.stdin.close()
    assert worker.process.wait(timeout=30) == 0
    assert not worker.scratch.exists()
    events = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    assert events[-1]["code"] == "paused"
    assert read_run(tmp_path / "run").state == "paused"
