"""A training in the background: one at a time, watched, paused and resumed, and never lost without a word."""

import inspect
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from Panels.heartbeat import shortest_block_s
from Panels.processes import children_of, is_alive, pause

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install '.[slicer]'")
filelock = pytest.importorskip("filelock")

MODULE = Path(__file__).parents[3] / "UncertaintyGuidedI2I"
SAMPLES = MODULE / "Resources" / "SampleData"
MADE_UP = [sys.executable, str(Path(__file__).parents[1] / "training_worker.py")]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("UPGAN_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def said() -> list[str]:
    """What is in the log of the test's sessions."""
    return []


@pytest.fixture
def make_session(host, runs, said, monkeypatch):
    """Make sessions with a made-up worker; they are closed at the end."""
    host.expose_library(MODULE, "UncertaintyGuidedI2I")
    from UncertaintyGuidedI2ILib import dependencies
    from UncertaintyGuidedI2ILib.train.session.session import GRACE_S, TrainingSession
    from UncertaintyGuidedI2ILib.work.client import WorkerClient

    # The made-up worker needs none of them.
    monkeypatch.setattr(dependencies, "missing", lambda *files: [])
    made = []

    def make(command=MADE_UP):
        session = TrainingSession(WorkerClient(command, said.append, GRACE_S))
        made.append(session)
        return session

    yield make
    for session in made:
        session.close()


@pytest.fixture
def session(make_session):
    return make_session()


@pytest.fixture
def begin(session, host):
    """Start a training and wait for its first line."""

    def start(**made_up):
        folder = session.start({"name": "heads", "made_up": made_up})
        host.wait_until(lambda: session.journal or session.state != "running", 20)
        return folder

    return start


def test_the_made_up_worker_takes_what_the_real_one_takes():
    from Panels.training_worker import MadeUpWorker
    from upgan.worker.commands import commands

    made_up = {name: getattr(MadeUpWorker, name) for name in commands() if hasattr(MadeUpWorker, name)}
    assert {"check_data", "train", "resume_training", "finish_training", "create_model"} <= set(made_up)
    for name, command in made_up.items():
        arguments = commands()[name].arguments.model_fields
        taken = set(list(inspect.signature(command).parameters)[1:])
        assert {argument for argument, field in arguments.items() if field.is_required()} <= taken, name
        assert taken <= set(arguments), name


class Answers:
    def __init__(self):
        self.results, self.errors = [], []

    @property
    def handlers(self):
        return self.results.append, self.errors.append

    @property
    def arrived(self):
        return bool(self.results or self.errors)


def refusal(function, *arguments):
    from upgan.errors import UpganError

    with pytest.raises(UpganError) as error:
        function(*arguments)
    assert error.value.remedy
    return error.value.code


def steps(session):
    return [line["step"] for line in session.journal]


def test_a_training_runs_to_its_end_and_its_process_ends_with_it(session, host, runs):
    seen = []
    session.whenChanged(lambda: seen.append(session.state))
    folder = session.start({"name": "heads", "made_up": {"steps": 70}})
    assert folder == runs / "heads"
    assert folder.stat().st_mode & 0o077 == 0
    assert session.state == "running"
    assert session.isOurs
    assert session.progress["stage"] == "starting the engine"
    host.wait_until(lambda: session.progress.get("stage") == "phase 1 of 1, epoch 1 of 1", 20)
    # While it goes on, not only when it is over.
    host.wait_until(lambda: 0 < len(session.journal) < 70, 5)
    host.wait_until(lambda: session.state == "idle", 20)
    assert steps(session) == list(range(1, 71))
    assert session.error is None
    assert session.run == folder
    assert session.progress == {}
    assert not session.isOurs
    assert children_of(os.getpid()) == set()
    assert list(dict.fromkeys(seen)) == ["running", "idle"]
    assert [(run.folder, run.state) for run in session.runs()] == [(folder, "finished")]


def test_a_paused_training_has_written_its_checkpoint_and_goes_on_from_there(session, host, begin):
    folder = begin()
    before = session.journal
    session.pause()
    session.pause()
    assert session.state == "pausing"
    host.wait_until(lambda: session.state != "pausing", 10)
    assert session.state == "paused"
    assert session.error is None
    # A graphics card's memory is free for a translation meanwhile.
    assert children_of(os.getpid()) == set()
    checkpoint = json.loads((folder / "checkpoints" / "last.safetensors").read_text())[0]
    assert steps(session)[-1] == checkpoint
    session.resume()
    assert session.state == "running"
    host.wait_until(lambda: session.journal and steps(session)[-1] > checkpoint, 20)
    assert steps(session) == list(range(1, steps(session)[-1] + 1))
    assert session.journal is not before
    assert session.run == folder


def test_a_stopped_training_is_over_and_is_not_resumed(session, host, begin):
    folder = begin()
    session.stop()
    assert session.state == "stopping"
    host.wait_until(lambda: session.state != "stopping", 10)
    assert session.state == "idle"
    assert session.run == folder
    assert json.loads((folder / "finished.json").read_text())["stopped"]
    assert json.loads((folder / "checkpoints" / "last.safetensors").read_text())[0] == steps(session)[-1]
    assert children_of(os.getpid()) == set()
    assert refusal(session.resume) == "run_over"


@pytest.mark.parametrize("end", ["pause", "stop"])
def test_a_training_that_is_ended_before_it_began_leaves_no_run(end, session, host, runs):
    session.start({"name": "heads"})
    getattr(session, end)()
    host.wait_until(lambda: session.state == "idle", 10)
    assert session.at.value == "gone"
    assert session.error is None
    assert session.run is None
    assert list(runs.iterdir()) == []


@pytest.mark.parametrize("late", [False, True], ids=["while it is being paused", "when it is paused"])
def test_stop_ends_a_paused_training_too(late, session, host, begin):
    folder = begin()
    session.pause()
    if late:
        host.wait_until(lambda: session.state == "paused", 10)
    session.stop()
    assert session.state == "stopping"
    host.wait_until(lambda: session.state == "idle", 10)
    assert json.loads((folder / "finished.json").read_text())["stopped"]


def test_a_killed_process_leaves_a_paused_training_that_goes_on_from_its_last_checkpoint(session, host, begin):
    begin(die=20)
    host.wait_until(lambda: session.state != "running", 20)
    assert session.state == "paused"
    assert session.error.code == "worker_ended"
    assert "last checkpoint" in session.error.remedy
    assert steps(session)[-1] == 20
    session.resume()
    assert session.error is None
    host.wait_until(lambda: len({line["pid"] for line in session.journal}) == 2, 20)
    # The checkpoint was written at step 1: what came after it is trained, and written, again.
    first, second = dict.fromkeys(line["pid"] for line in session.journal)
    assert [line["step"] for line in session.journal if line["pid"] == first] == [1]
    assert next(line["step"] for line in session.journal if line["pid"] == second) == 2


def test_a_training_that_is_refused_leaves_no_run_and_its_pairs_where_they_were(session, host, runs):
    draft = session.newPairsFolder()
    (draft / "pairs.csv").write_text("subject,input,target\n")
    data = {"path": str(draft / "pairs.csv")}
    session.start({"name": "heads", "data": data, "made_up": {"refuse": "wrong_unit"}})
    host.wait_until(lambda: session.state == "idle", 20)
    assert session.error.code == "wrong_unit"
    assert session.run is None
    assert session.runs() == []
    assert list(runs.iterdir()) == [draft]
    assert (draft / "pairs.csv").exists()
    # The same choices may be tried again.
    folder = session.start({"name": "heads", "data": data})
    assert (folder / "pairs" / "pairs.csv").exists()


def test_a_refused_training_is_over_also_where_its_pairs_cannot_go_back(session, host, runs, monkeypatch):
    draft = session.newPairsFolder()
    (draft / "pairs.csv").write_text("subject,input,target\n")
    rename, processes = os.rename, []

    def fail(source, target):
        if target == draft:
            processes.append(children_of(os.getpid()))
            raise PermissionError(13, "in use")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    session.start({"name": "heads", "data": {"path": str(draft / "pairs.csv")}, "made_up": {"refuse": "wrong_unit"}})
    host.wait_until(lambda: session.state == "idle", 20)
    # The process, which may hold the files open, ends first.
    assert processes == [set()]
    assert session.error.code == "wrong_unit"
    assert not session.isBusy
    assert session.run is None
    assert list(runs.iterdir()) == []


def test_the_scenes_volumes_become_part_of_the_run_and_others_are_removed_at_the_end(session, host, runs, begin):
    taken, left = session.newPairsFolder(), session.newPairsFolder()
    (taken / "pairs.csv").write_text("subject,input,target\n")
    assert taken.stat().st_mode & 0o077 == 0
    folder = session.start({"name": "heads", "data": {"path": str(taken / "pairs.csv"), "layout": "csv"}})
    host.wait_until(lambda: session.journal, 20)
    data = json.loads((folder / "config.json").read_text())["data"]
    assert data == {"path": str(folder / "pairs" / "pairs.csv"), "layout": "csv"}
    session.close()
    assert (folder / "pairs" / "pairs.csv").exists()
    assert not taken.exists()
    assert not left.exists()


def test_volumes_that_a_crash_has_left_are_removed_after_a_day(session, runs):
    old, new = runs / ".pairs-old", runs / ".pairs-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, time.time() - 2 * 24 * 3600))
    session.newPairsFolder()
    assert not old.exists()
    assert new.exists()


def test_volumes_that_another_application_removes_meanwhile_are_no_error(session, runs, monkeypatch):
    gone = runs / ".pairs-gone"
    runs.mkdir(parents=True)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [gone])
    assert session.newPairsFolder().is_dir()


def test_quitting_waits_for_the_checkpoint_and_another_session_goes_on_from_it(
    session, make_session, said, host, begin
):
    folder = begin()
    processes = children_of(os.getpid())
    heard = []
    session.whenChanged(lambda: heard.append(session.state))
    slicer.app._emit("aboutToQuit()")
    assert not any(map(is_alive, processes))
    assert not any("killed" in line for line in said)
    checkpoint = json.loads((folder / "checkpoints" / "last.safetensors").read_text())[0]
    assert checkpoint == len((folder / "journal.jsonl").read_text().splitlines())
    pause(host, 0.1)
    assert heard == []

    later = make_session()
    assert [run.state for run in later.runs()] == ["paused"]
    later.select(folder)
    assert later.state == "paused"
    assert steps(later)[-1] == checkpoint
    later.resume()
    host.wait_until(lambda: len(later.journal) > checkpoint, 20)
    assert later.journal[checkpoint]["step"] == checkpoint + 1


def test_a_run_that_another_process_trains_is_watched_and_left_alone(session, host, begin, make_session):
    folder = begin()
    watcher = make_session()
    watcher.select(folder)
    assert watcher.state == "running"
    assert not watcher.isOurs
    seen = len(watcher.journal)
    host.wait_until(lambda: len(watcher.journal) > seen, 10)
    # Also while something else is put together here.
    watcher.prepare()
    seen = len(watcher.journal)
    host.wait_until(lambda: len(watcher.journal) > seen, 10)
    watcher.drop()
    for forbidden in (watcher.pause, watcher.stop, watcher.resume):
        assert refusal(forbidden) == "run_in_use"
    assert session.state == "running"
    session.pause()
    host.wait_until(lambda: watcher.state == "paused", 10)
    assert len(watcher.journal) == len(session.journal)
    watcher.resume()
    assert watcher.isOurs


def test_a_watched_journal_that_is_cut_back_is_read_anew(session, host, runs):
    folder = runs / "heads"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"name": "heads"}')
    (folder / "journal.jsonl").write_text("".join(f'{{"kind": "steps", "step": {step}}}\n' for step in range(1, 6)))
    with filelock.FileLock(folder / "run.lock"):
        session.select(folder)
        before = session.journal
        assert steps(session) == [1, 2, 3, 4, 5]
        (folder / "journal.jsonl").write_text('{"kind": "steps", "step": 1}\n{"kind": "steps", "step": 7}\n')
        host.wait_until(lambda: steps(session) == [1, 7], 5)
    assert session.journal is not before
    host.wait_until(lambda: session.state == "paused", 5)


def test_one_thing_at_a_time(session, host, begin):
    begin()
    other = session.runs()[0].folder.parent / "other"
    other.mkdir()
    (other / "config.json").write_text('{"name": "other"}')
    answers = Answers()
    for ask in (
        lambda: session.start({"name": "heads"}),
        session.resume,
        lambda: session.checkData({}, *answers.handlers),
        lambda: session.saveModel("best", "heads", *answers.handlers),
        lambda: session.select(other),
    ):
        assert refusal(ask) == "training_busy"
    assert session.state == "running"
    assert sorted(run.name for run in session.runs()) == ["heads", "other"]
    session.pause()
    host.wait_until(lambda: session.state == "paused", 10)
    session.select(other)
    assert session.run == other
    assert session.journal == []
    session.select(None)
    assert session.run is None
    assert session.state == "idle"


def test_what_is_prepared_has_the_engine_until_it_is_used_or_dropped(session, host):
    answers, started = Answers(), []
    session.prepare()
    assert refusal(session.prepare) == "training_busy"
    session.presetConfig("quick", None, *answers.handlers)
    session.drop()
    # The question is still to be answered.
    assert session.at.value == "waiting"
    assert refusal(session.checkData, {}, *answers.handlers) == "training_busy"
    host.wait_until(lambda: answers.arrived, 20)
    assert not session.isBusy
    session.prepare()
    session.presetConfig("quick", None, lambda preset: started.append(session.start({"name": "heads"})), print)
    host.wait_until(lambda: started, 20)
    session.drop()
    assert session.at.value == "running"


def test_a_check_is_answered_and_its_thumbnails_live_until_the_next_one(session, host):
    first, second = Answers(), Answers()
    session.checkData({}, *first.handlers)
    assert session.state == "checking"
    host.wait_until(lambda: first.arrived, 20)
    assert session.state == "idle"
    picture = Path(first.results[0]["pairs"][0]["thumbnails"]["input"])
    assert picture.exists()
    assert picture.parent.stat().st_mode & 0o077 == 0
    # Warm, for Start comes next.
    (process,) = children_of(os.getpid())
    session.checkData({}, *second.handlers)
    assert not picture.exists()
    host.wait_until(lambda: second.arrived, 20)
    assert children_of(os.getpid()) == {process}
    session.close()
    assert not Path(second.results[0]["pairs"][0]["thumbnails"]["input"]).exists()


def test_stop_ends_a_check_and_the_making_of_a_model(session, host, begin):
    check = Answers()
    session.checkData({"made_up": {"steps": 10**6}}, *check.handlers)
    session.stop()
    host.wait_until(lambda: check.arrived, 20)
    assert [error.code for error in check.errors] == ["cancelled"]
    begin()
    session.pause()
    host.wait_until(lambda: session.state == "paused", 10)
    model = Answers()
    session.saveModel("last", "heads", *model.handlers)
    assert session.state == "saving"
    session.stop()
    host.wait_until(lambda: model.arrived, 20)
    assert [error.code for error in model.errors] == ["cancelled"]
    assert session.state == "paused"
    assert session.error is None


def test_a_run_and_its_model_are_told_where_images_are_that_were_moved(session, host, begin):
    """Whoever hears of the refusal when nothing is under way any more may answer at once."""
    moved = begin() / "moved"
    session.pause()
    host.wait_until(lambda: session.state == "paused", 10)
    moved.touch()
    session.resume()
    refused = []

    def answer():
        if session.error is not None and not session.isBusy and not refused:
            refused.append(session.error.code)
            session.resume(session.run, Path("new place"))

    session.whenChanged(answer)
    host.wait_until(lambda: refused and session.progress.get("stage", "").startswith("phase"), 20)
    assert (refused, session.error, moved.read_text()) == (["images_not_found"], None, "new place")
    session.pause()
    host.wait_until(lambda: session.state == "paused", 10)
    model = Answers()

    def save_again(error):
        refused.append(error.code)
        session.saveModel("best", "heads", *model.handlers, Path("another"))

    session.saveModel("best", "heads", print, save_again)
    host.wait_until(lambda: model.arrived, 20)
    assert refused == ["images_not_found"] * 2
    assert model.results[0]["name"] == "heads"
    assert moved.read_text() == "another"


def test_a_model_is_made_of_a_run_that_rests(session, host, begin):
    folder = begin(steps=3)
    host.wait_until(lambda: session.state == "idle", 20)
    answers = Answers()
    session.saveModel("best", "our-heads", *answers.handlers)
    host.wait_until(lambda: answers.arrived, 20)
    assert answers.results[0]["name"] == "our-heads"
    assert answers.results[0]["folder"] == str(folder)
    assert not is_alive(answers.results[0]["pid"])
    assert session.state == "idle"


def test_what_is_not_there_is_refused(session, runs, tmp_path):
    assert refusal(session.resume) == "no_run"
    assert refusal(session.select, tmp_path) == "no_run"
    assert refusal(session.resume, tmp_path / "none") == "run_not_found"
    (tmp_path / "config.json").write_text("{")
    assert refusal(session.select, tmp_path) == "run_damaged"
    assert refusal(session.saveModel, "best", "heads", print, print) == "no_run"
    assert refusal(session.start, {"name": "../heads"}) == "bad_name"
    assert not runs.exists()
    # Nothing runs: nothing to do.
    session.pause()
    session.stop()
    assert session.state == "idle"


def test_missing_packages_are_told_before_anything_is_started(session, monkeypatch, runs):
    from UncertaintyGuidedI2ILib import dependencies

    monkeypatch.setattr(dependencies, "missing", lambda *files: ["torchio>=0.20"] if len(files) == 2 else [])
    assert refusal(session.start, {"name": "heads"}) == "package_missing"
    assert refusal(session.checkData, {}, print, print) == "package_missing"
    assert not runs.exists()
    assert session.runs() == []


def test_a_process_that_cannot_be_started_leaves_no_run(session, monkeypatch, runs):
    monkeypatch.setattr(slicer.app, "temporaryPath", "/proc/1")
    assert refusal(session.start, {"name": "heads"}) == "temp_not_writable"
    assert list(runs.iterdir()) == []
    assert session.state == "idle"


def test_a_program_that_is_not_there_leaves_no_run(make_session, host, runs):
    session = make_session(["/no/such/python"])
    session.start({"name": "heads"})
    host.wait_until(lambda: session.state == "idle", 10)
    assert session.error.code == "worker_ended"
    assert "checkpoint" not in session.error.remedy
    assert list(runs.iterdir()) == []


def test_presets_and_devices_are_asked_of_the_engine(session, host):
    preset, devices = Answers(), Answers()
    session.presetConfig("quick", None, *preset.handlers)
    assert session.isBusy
    assert session.state == "idle"
    host.wait_until(lambda: preset.arrived, 20)
    assert preset.results == [{"preset": "quick", "base": None}]
    session.info(*devices.handlers)
    host.wait_until(lambda: devices.arrived, 20)
    assert devices.results[0]["devices"]


@pytest.fixture
def slabs(tmp_path):
    """Three pairs cut from the sample, as a configuration of a small training."""
    from upgan.images.writing import write_image

    images = {name: SimpleITK.ReadImage(str(SAMPLES / f"sample_{name}.nrrd")) for name in ("nacpet", "ct")}
    rows = ["subject,input,target,split"]
    for part, first in (("train", 20), ("validation", 36), ("test", 52)):
        for name, image in images.items():
            voxels = SimpleITK.GetArrayFromImage(image)[first : first + 4]
            write_image(voxels, np.diag([2.0, 2.0, 2.0, 1.0]), tmp_path / f"{part}_{name}.nrrd", voxels.dtype)
        rows.append(f"{part},{part}_nacpet.nrrd,{part}_ct.nrrd,{part}")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    return {
        "name": "slabs",
        "architecture": {"phases": 1, "width": 4, "deepest": 4},
        "data": {"path": str(tmp_path / "pairs.csv"), "layout": "csv"},
        "loss": {"adversarial": 0.0},
        "schedule": {"epochs": [1000], "joint_epochs": 0, "batch": 1},
        "compute": {"device": "cpu"},
    }


def test_quitting_keeps_every_step_of_a_real_training(host, runs, slabs, warm_worker):
    pytest.importorskip("lightning_fabric")
    host.expose_library(MODULE, "UncertaintyGuidedI2I")
    from UncertaintyGuidedI2ILib.train.session.session import TrainingSession, trainingClient
    from upgan.training.record.checkpoint import load_weights

    log = []
    client = trainingClient()
    client.onLog = log.append
    session = TrainingSession(client)
    folder = session.start(slabs)
    host.wait_until(lambda: session.error or any(line["kind"] == "steps" for line in session.journal), 120)
    assert session.error is None
    processes = warm_worker() or children_of(os.getpid())
    assert processes
    session.close()
    assert not any(map(is_alive, processes))
    assert not any("killed" in line for line in log)
    assert not client.isRunning
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    done = [line["step"] for line in lines if line["kind"] == "steps"][-1]
    assert lines[-1]["code"] == "paused"
    assert load_weights(folder / "checkpoints" / "last.safetensors")[1]["total_steps"] == done

    later = TrainingSession(trainingClient())
    later.resume(folder)
    host.wait_until(lambda: later.error or any(line["step"] > done for line in _steps_lines(later)), 120)
    assert later.error is None
    assert [line["step"] for line in _steps_lines(later) if line["step"] <= done][-1] == done
    later.close()


def _steps_lines(session):
    return [line for line in session.journal if line["kind"] == "steps"]


def test_closing_the_scene_leaves_a_training_alone(session, host, begin, add_volume):
    begin()
    add_volume("PET", np.zeros((2, 2, 2), np.float32))
    host.close_scene()
    seen = len(session.journal)
    host.wait_until(lambda: len(session.journal) > seen, 10)
    assert session.state == "running"


def test_a_long_journal_does_not_stop_the_viewer(session, host, runs):
    folder = runs / "long"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"name": "long"}')
    line = json.dumps({"kind": "steps", "stage": 1, "stages": 1, "step": 1, "loss": 0.5, "pad": "x" * 150})
    (folder / "journal.jsonl").write_text((line + "\n") * 100_000)

    def look():
        session.select(folder)
        host.wait_until(lambda: len(session.journal) == 100_000, 20)

    # Read at once it takes three times as long.
    assert shortest_block_s(look) < 0.25
    # Every second, as long as it is followed.
    before = _bytes_read()
    for _ in range(10):
        session._look()
    assert _bytes_read() - before < 300_000


def _bytes_read():
    """What this process has read so far, as the system counts it."""
    try:
        return int(Path("/proc/self/io").read_text().split()[1])
    except OSError:  # Not Linux.
        return 0


def test_a_journal_that_is_cut_back_and_grows_beyond_that_before_anybody_looks_is_read_anew(session, runs):
    folder = runs / "heads"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"name": "heads"}')
    journal = folder / "journal.jsonl"
    journal.write_text("".join(f'{{"kind": "steps", "step": {step}, "pid": 1}}\n' for step in range(1, 6)))
    session.select(folder)
    before = session.journal
    journal.write_text("".join(f'{{"kind": "steps", "step": {step}, "pid": 2}}\n' for step in range(1, 9)))
    session._look()
    assert session.journal is not before
    assert [(line["step"], line["pid"]) for line in session.journal] == [(step, 2) for step in range(1, 9)]
