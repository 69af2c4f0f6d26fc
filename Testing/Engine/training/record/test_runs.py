"""Runs as their folders show them: found by a viewer that has neither torch nor the engine's other packages."""

import json
import os
import stat
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from filelock import FileLock

from Engine.command_line import environment_of
from UncertaintyGuidedI2ILib.train.history import TrainingHistory
from upgan.errors import InputError, OutputError
from upgan.training.model.card import _stages
from upgan.training.record.journal_reader import JournalReader, read_journal
from upgan.training.record.runs import (
    checkpoints,
    list_runs,
    new_run_folder,
    read_run,
    read_run_json,
    read_run_state,
    runs_home,
)
from upgan.training.run.finishing import finish

STAGE = {"kind": "stage", "stage": 1, "phases": [1], "epochs": 3, "steps": 9, "stages": 4}
STEPS = {"kind": "steps", "stage": 1, "step": 3, "loss": 1.5, "seconds": 30.0, "remaining_s": 90.0, "stages": 4}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("UPGAN_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def validation(stage, epoch, mae, best):
    phases = {str(phase): {"mae": value} for phase, value in enumerate(mae, start=1)}
    return {"kind": "validation", "stage": stage, "epoch": epoch, "phases": phases, "best": best, "stages": 4}


def begun(name="tiny", lines=(), finished=None, kept=()):
    """A run's folder as the trainer leaves it."""
    folder = new_run_folder(name)
    (folder / "config.json").write_text(json.dumps({"name": name}), encoding="utf-8")
    (folder / "journal.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    (folder / "checkpoints").mkdir()
    for checkpoint in kept:
        (folder / "checkpoints" / f"{checkpoint}.safetensors").touch()
    if finished is not None:
        (folder / "finished.json").write_text(json.dumps(finished), encoding="utf-8")
    return folder


# Where they are


def test_runs_live_where_the_environment_says_or_in_the_home_folder(home, monkeypatch):
    assert runs_home() == home
    monkeypatch.delenv("UPGAN_RUNS")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert runs_home() == home / ".upgan" / "runs"


def test_where_nobody_has_trained_there_are_no_runs(home):
    assert list_runs() == []
    assert not home.exists()


def test_folders_that_hold_no_run_are_left_out(home):
    begun()
    (home / "empty").mkdir()
    (home / "note.txt").touch()
    assert [run.name for run in list_runs()] == ["tiny"]


def test_the_newest_run_comes_first():
    for age, name in ((20, "old"), (0, "new"), (10, "middle")):
        config = begun(name) / "config.json"
        os.utime(config, (1e9 - age, 1e9 - age))
    assert [run.name for run in list_runs()] == ["new", "middle", "old"]


def test_each_run_has_a_folder_of_its_own_that_nobody_else_may_read(home):
    folders = [new_run_folder("tiny") for _ in range(3)]
    assert [folder.name for folder in folders] == ["tiny", "tiny-2", "tiny-3"]
    if os.name == "posix":
        assert {stat.S_IMODE(folder.stat().st_mode) for folder in [home, *folders]} == {0o700}


@pytest.mark.parametrize("name", ["", "..", "a/b", "Tiny", "-x", "über", "a\n"])
def test_a_name_that_is_no_folders_is_refused(name, home):
    with pytest.raises(InputError) as refusal:
        new_run_folder(name)
    assert refusal.value.code == "bad_name"
    assert not home.exists()


def test_a_home_that_cannot_be_made_is_refused(home):
    home.write_bytes(b"")
    with pytest.raises(OutputError) as refusal:
        new_run_folder("tiny")
    assert refusal.value.code == "not_writable"


# What they tell


def test_a_run_is_new_then_running_then_paused_then_finished():
    folder = begun()
    assert read_run(folder).state == "new"
    with FileLock(folder / "run.lock"):
        assert read_run(folder).state == "running"
    assert read_run(folder).state == "new"
    (folder / "checkpoints" / "last.safetensors").touch()
    assert read_run(folder).state == "paused"
    with FileLock(folder / "run.lock"):
        assert read_run(folder).state == "running"
    (folder / "finished.json").write_text('{"seconds": 3, "best": null, "stopped": false}', encoding="utf-8")
    assert read_run(folder).state == "finished"
    (folder / "finished.json").write_text('{"seconds": 3, "best": null, "stopped": true}', encoding="utf-8")
    assert read_run(folder).state == "stopped"


def test_a_run_that_another_process_trains_is_running_until_that_is_killed():
    folder = begun()
    program = (
        "import sys, time\nfrom filelock import FileLock\nlock = FileLock(sys.argv[1])\nlock.acquire()\n"
        "print(1, flush=True)\ntime.sleep(60)"
    )
    command = [sys.executable, "-c", program, folder / "run.lock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            assert read_run(folder).state == "running"
        finally:
            process.kill()
            process.wait()
    assert read_run(folder).state == "new"


def test_asking_whether_a_run_is_running_leaves_it_free_to_run():
    folder = begun()
    with FileLock(folder / "run.lock"):
        read_run(folder)
    read_run(folder)
    with FileLock(folder / "run.lock", blocking=False) as lock:
        assert lock.is_locked


WRONG = [-1, 1.5, "1", None, [], {}, True, 10**400, float("nan"), "²", {"1": 1}, {"1": {"mae": "x"}}, {"²": {"mae": 1}}]


@pytest.mark.parametrize("line", [STAGE, STEPS, validation(1, 2, [40], True)], ids=lambda line: line["kind"])
def test_whatever_a_line_of_a_journal_says_its_readers_get_what_they_can_use(line, home):
    whole = [STAGE, validation(1, 1, [50], True), {**STEPS, "epoch": 1}]
    folder = begun(lines=[])
    for name in ("kind", "stage", "stages", "epoch", "step", "phases", "seconds", "remaining_s", "loss", "epochs"):
        for value in WRONG:
            wrong = {**line, name: value}
            (folder / "journal.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in [*whole, wrong]))
            run, history = read_run(folder), TrainingHistory()
            assert run.state == "new"
            assert 0 <= run.fraction <= 1
            assert f"{run.stage:d} of {run.stages:d}, {run.best or {'mae': 0}}"
            history.follow(read_journal(folder))
            assert history.errorOf("phase_1", keepsBest=False)[1:] in ((1, 1), (1, 2))
            assert _stages(SimpleNamespace(journal=read_journal(folder))).startswith("Epochs: stage 1 of 4")


@pytest.mark.parametrize(
    "name", ["config.json", "finished.json", "data.json", "split.json", "journal.jsonl", "checkpoints", "run.lock"]
)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 300,
        b"\xff\xfe{",
        b"[]",
        b'"text"',
        b"[" * 100_000,
        b'{"a":' * 9_000,
        b'{"stopped": NaN, ',
        b"9" * 9_000,
        b"x" * (3 << 20),
        b"{" + b"\n" * (3 << 20),
        None,
    ],
    ids=[
        "empty",
        "zeros",
        "binary",
        "list",
        "text",
        "deep",
        "deep object",
        "cut",
        "number",
        "long",
        "long object",
        "pipe",
    ],
)
def test_a_look_at_a_run_of_whatever_content_never_fails_nor_waits(name, content):
    folder = begun(lines=[STAGE, STEPS], finished={"seconds": 1, "best": None, "stopped": True})
    (folder / "data.json").write_text('{"pairs": []}', encoding="utf-8")
    (folder / "split.json").write_text('{"train": [], "validation": [], "test": []}', encoding="utf-8")
    path = folder / name
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    elif hasattr(os, "mkfifo"):
        os.mkfifo(path)
    started = time.process_time()  # of this process: other programs may use the computer meanwhile
    run, state = read_run(folder), read_run_state(folder)
    journal = JournalReader(folder).read(1 << 16)
    took = time.process_time() - started
    assert run.state == ("damaged" if name.endswith("n") else "stopped")
    assert state == ("damaged" if name in ("config.json", "finished.json") else "stopped")
    assert [line["kind"] for line in journal.lines] in ([], ["stage", "steps"])
    assert run.best is None
    assert took < 0.25  # 20 ms as a rule; who waits for a pipe waits for ever
    assert [each.folder for each in list_runs()] == [folder]


@pytest.mark.parametrize(
    "best", [[], {"mae": 1}, {"stage": 1, "epoch": 2, "mae": "x"}, {"stage": 1, "epoch": {}, "mae": 1}]
)
def test_a_best_epoch_that_there_cannot_be_is_not_shown(best):
    assert read_run(begun(finished={"seconds": 3, "best": best, "stopped": False})).best is None


def test_the_best_epoch_is_the_last_that_was_the_best_so_far_by_its_last_phase():
    lines = [STAGE, validation(1, 1, [50], True), validation(1, 2, [40], True), validation(1, 3, [45], False)]
    folder = begun(lines=lines)
    assert read_run(folder).best == {"stage": 1, "epoch": 2, "mae": 40}
    with (folder / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(validation(2, 1, [40, 35], True)) + "\n")
    assert read_run(folder).best == {"stage": 2, "epoch": 1, "mae": 35}


def test_a_finished_run_says_itself_what_was_best():
    best = {"stage": 3, "epoch": 7, "mae": 30.5}
    folder = begun(lines=[STAGE, STEPS], finished={"seconds": 9, "best": best, "stopped": False})
    run = read_run(folder)
    assert (run.best, run.fraction) == (best, 1.0)


def test_how_far_a_run_is_comes_from_its_last_lines():
    run = read_run(begun(lines=[STAGE, STEPS]))
    assert (run.stage, run.stages, run.fraction) == (1, 4, 0.25)
    run = read_run(begun(lines=[STAGE, STEPS, {**STAGE, "stage": 2}]))
    assert (run.stage, run.stages, run.fraction) == (2, 4, 0.25)
    run = read_run(begun())
    assert (run.stage, run.stages, run.fraction, run.best) == (0, 0, 0.0, None)
    run = read_run(begun(lines=[STAGE, STEPS], finished={"seconds": 30, "best": None, "stopped": True}))
    assert run.fraction == 0.25


def test_checkpoints_come_in_the_order_of_their_use():
    kept = ["phase_10", "phase_2", "all_phases", "last", "phase_1", "best"]
    assert checkpoints(begun(kept=kept)) == ["best", "last", "phase_1", "phase_2", "phase_10", "all_phases"]
    assert checkpoints(begun()) == []


def test_a_viewer_without_the_engines_packages_can_look():
    folder = begun(lines=[STAGE, STEPS, validation(1, 1, [50], True)], kept=["last"])
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['torch', 'numpy', 'pydantic', 'filelock', 'safetensors']))\n"
        "from upgan.training.record.journal_reader import read_journal\n"
        "from upgan.training.record.runs import list_runs, checkpoints\n"
        "(run,) = list_runs()\n"
        "print(run.state, run.best['mae'], len(read_journal(run.folder)), checkpoints(run.folder))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment_of(), capture_output=True, text=True)
    assert done.stdout == "paused 50 3 ['last']\n", done.stderr
    assert folder.exists()


# The journal


def append(folder, *lines, end="\n"):
    with (folder / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n".join(map(json.dumps, lines)) + end)


def steps(first, last, **changes):
    return [{**STEPS, "step": step, **changes} for step in range(first, last)]


def test_a_journal_is_read_piece_by_piece():
    folder = begun(lines=[STAGE, STEPS])
    reader = JournalReader(folder)
    assert reader.read() == ([STAGE, STEPS], False, False)
    assert reader.read() == ([], False, False)
    with (folder / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(STAGE)[:20])
        file.flush()
        # Half a line is none yet.
        assert reader.read() == ([], False, False)
        file.write(json.dumps(STAGE)[20:] + "\n")
    assert reader.read() == ([STAGE], False, False)


@pytest.mark.parametrize("most", [1, 1000, 10**6])
def test_no_more_of_a_journal_is_read_at_a_time_than_asked_for_and_the_line_that_was_begun(most):
    folder, found = begun(lines=steps(0, 100)), []
    reader = JournalReader(folder)
    while True:
        gain = reader.read(most)
        assert not gain.is_anew
        assert sum(len(json.dumps(line)) + 1 for line in gain.lines) < most + len(json.dumps(STEPS)) + 10
        found += gain.lines
        if not gain.has_more:
            break
    assert found == steps(0, 100)


@pytest.mark.parametrize("again", [0, 3, 6, 40], ids=["shorter", "as long", "a little longer", "longer"])
def test_a_journal_that_was_cut_back_is_read_from_its_start_also_where_it_has_grown_beyond_that(again):
    folder = begun(lines=[STAGE, *steps(1, 5)])
    reader = JournalReader(folder)
    reader.read()
    os.truncate(folder / "journal.jsonl", len(json.dumps(STAGE)) + 1)
    new = steps(1, 1 + again, seconds=31.5)
    if new:
        append(folder, *new)
    assert reader.read() == ([STAGE, *new], True, False)
    assert reader.read() == ([], False, False)


def test_a_journal_that_was_cut_back_to_where_it_was_read_goes_on():
    folder = begun(lines=[STAGE, *steps(1, 5)])
    reader = JournalReader(folder)
    reader.read()
    size = (folder / "journal.jsonl").stat().st_size
    append(folder, STEPS)
    os.truncate(folder / "journal.jsonl", size)
    append(folder, {**STEPS, "step": 9})
    assert reader.read() == ([{**STEPS, "step": 9}], False, False)


def test_another_run_in_the_same_place_is_read_from_its_start():
    folder = begun(lines=[STAGE, STEPS])
    reader = JournalReader(folder)
    reader.read()
    # As whoever keeps old journals would do, and the new one begins with the same lines.
    (folder / "journal.jsonl").rename(folder / "journal.1")
    append(folder, STAGE, STEPS, STEPS)
    assert reader.read() == ([STAGE, STEPS, STEPS], True, False)
    (folder / "journal.jsonl").unlink()
    assert reader.read() == ([], True, False)
    assert reader.read() == ([], False, False)
    append(folder, STAGE)
    assert reader.read() == ([STAGE], False, False)


def test_a_journal_that_is_not_there_yet_is_empty():
    folder = new_run_folder("tiny")
    assert read_journal(folder) == []
    assert JournalReader(folder / "none").read() == ([], False, False)


def test_a_stretch_without_an_end_of_line_costs_its_length_once_and_is_passed_over(home):
    folder = begun(lines=[STAGE, STEPS])
    with (folder / "journal.jsonl").open("ab") as file:
        file.write(b"\xff" * (3 << 20) + b"\n")
    append(folder, validation(1, 1, [50], True))
    started = time.process_time()
    run = read_run(folder)
    assert time.process_time() - started < 0.25
    assert (run.best["mae"], run.fraction, run.stage) == (50, 0.25, 1)
    reader, found, looks = JournalReader(folder), [], 0
    while True:
        gain = reader.read(1 << 18)
        assert not gain.is_anew
        found, looks = found + gain.lines, looks + 1
        if not gain.has_more:
            break
    assert found == [STAGE, STEPS, validation(1, 1, [50], True)]
    assert looks < 20
    with (folder / "journal.jsonl").open("ab") as file:
        file.write(b"\xff" * (3 << 20))  # Nobody ends it.
    while reader.read(1 << 18).has_more:
        pass
    size = (folder / "journal.jsonl").stat().st_size
    append(folder, {"kind": "event"}, STEPS)
    assert reader.read() == ([STEPS], False, False)
    assert size > 6 << 20


def test_a_journal_of_nothing_but_wrong_lines_is_soon_given_up():
    folder = begun(lines=[STAGE, STEPS])
    with (folder / "journal.jsonl").open("ab") as file:
        file.write(b'{"kind": "steps", "kind": "stage" "best": true\n' * 100_000)
    started = time.process_time()
    assert read_run(folder).stage == 0
    assert time.process_time() - started < 0.25


def test_a_damaged_line_is_left_out():
    folder = begun(lines=[STAGE])
    with (folder / "journal.jsonl").open("ab") as file:
        file.write(b'\x00\x00\xff{"kind"\n[1]\n' + b"[" * 9999 + b"\n" + json.dumps(STEPS).encode() + b"\n")
    assert read_journal(folder) == [STAGE, STEPS]


@pytest.fixture(scope="module")
def journals(tmp_path_factory):
    """A short journal and one of the paper's size, 37 MB; the best epoch of both is shortly before their end."""
    folders = []
    for name, repeats in (("short", 1), ("long", 210)):
        folder = tmp_path_factory.mktemp(name)
        (folder / "config.json").write_text('{"name": "x"}')
        some = "".join(f"{json.dumps({**line, 'pad': 'x' * 9000})}\n" for line in steps(1, 21))
        some += json.dumps(validation(1, 2, [40], True)) + "\n"
        with (folder / "journal.jsonl").open("w") as file:
            file.write(json.dumps(STAGE) + "\n")
            for _ in range(repeats):
                file.write(some)
            file.write("".join(f"{json.dumps(line)}\n" for line in (validation(1, 3, [50], False), *steps(21, 23))))
            file.write(json.dumps(STAGE)[:30])
        folders.append(folder)
    assert (folders[1] / "journal.jsonl").stat().st_size > 37e6
    return folders


def bytes_read(function):
    """How many bytes this process reads, as the system counts them."""

    def count():
        with open("/proc/self/io") as file:
            return int(file.readline().split()[1])

    before = count()
    own = count() - before
    before = count()
    function()
    return count() - before - own


def seconds(function):
    times = []
    for _ in range(20):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="only Linux counts them")
def test_a_look_costs_what_is_new_and_not_what_is_there(journals):
    readers = []
    for folder in journals:
        run = read_run(folder)
        assert (run.stage, run.stages, run.fraction, run.best) == (1, 4, 0.25, {"stage": 1, "epoch": 2, "mae": 40})
        reader = JournalReader(folder)
        while reader.read(1 << 20).has_more:
            pass
        append(folder, STEPS)
        assert bytes_read(reader.read) < 30_000
        assert bytes_read(lambda folder=folder: read_run(folder)) < 200_000
        assert bytes_read(lambda folder=folder: read_run_state(folder)) < 30_000
        readers.append(reader)
    for look in (read_run, read_run_state):
        short, long = (seconds(lambda folder=folder, look=look: look(folder)) for folder in journals)
        assert long < 4 * short + 0.001
    short, long = (seconds(reader.read) for reader in readers)
    assert long < 4 * short + 0.001


# Why it cannot be read


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda folder: None, "run_not_found"),
        (lambda folder: folder.write_text("a file"), "no_run"),
        (lambda folder: folder.mkdir(), "no_run"),
        (lambda folder: (folder / "config.json").mkdir(parents=True), "run_not_readable"),
        (lambda folder: written(folder, b""), "run_damaged"),
        (lambda folder: written(folder, b'{"name": "x"'), "run_damaged"),
        (lambda folder: written(folder, b"\x00" * 300), "run_damaged"),
        (lambda folder: written(folder, b"[" * 10_000), "run_damaged"),
        (lambda folder: written(folder, b"[1]"), "run_damaged"),
        (lambda folder: written(folder, b"{" + b" " * 100_000 + b"}"), "run_damaged"),
    ],
)
def test_what_is_no_run_is_told_apart_by_whoever_asks(make, code, tmp_path):
    make(tmp_path / "run")
    for ask in (read_run_json, finish):
        with pytest.raises(InputError) as refusal:
            ask(tmp_path / "run")
        assert refusal.value.code == code
        assert str(tmp_path / "run") in refusal.value.sentence
        assert refusal.value.remedy
    if code in ("run_damaged", "run_not_readable"):
        assert read_run(tmp_path / "run").state == read_run_state(tmp_path / "run") == "damaged"
    else:
        assert read_run(tmp_path / "run") is read_run_state(tmp_path / "run") is None
    assert not (tmp_path / "run" / "finished.json").exists()


def written(folder, content):
    folder.mkdir()
    (folder / "config.json").write_bytes(content)


def test_a_run_that_may_not_be_read_says_so(monkeypatch):
    folder = begun()

    def refuse(path, flags, *more):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError) as refusal:
        read_run_json(folder)
    assert refusal.value.code == "run_not_readable"
    assert "Permission denied" in refusal.value.sentence
