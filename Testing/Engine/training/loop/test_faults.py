"""What may happen to a training: it is stopped, killed at any moment, or runs out of disk."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from Engine.training_runs import STEPS, Killed, Onlooker, all_same, flipped, journal, kept, tiny
from upgan.errors import Cancelled, DeviceError, InputError, OutputError
from upgan.training.loop.stage import Stage
from upgan.training.record import checkpoint
from upgan.training.run.finishing import finish
from upgan.training.run.trainer import resume, train
from upgan.training.slices.batches import Batches

ROOT = Path(__file__).resolve().parents[4]

# Nothing of what is asked here needs the second phase.
ONE_STAGE = {"epochs": [3, 0], "joint_epochs": 0}


# Stopped, killed


def test_a_run_that_is_paused_goes_on_to_the_same_weights(start, uninterrupted, tmp_path):
    run = tmp_path / "run"
    start(run)
    done = 0
    for steps in (1, 9, 20):  # at the start, between two stages, just before the end
        onlooker = Onlooker(stop_after=steps - done)
        with pytest.raises(Cancelled):
            resume(run, onlooker)
        assert len(onlooker.fractions) == steps - done
        assert not (run / "finished.json").exists()
        assert journal(run)[-1]["code"] == "paused"
        done = steps
    onlooker = Onlooker()
    resume(run, onlooker)
    assert len(onlooker.fractions) == STEPS - done
    assert all_same(kept(run), uninterrupted)


def test_a_best_epoch_that_an_earlier_version_measured_otherwise_is_measured_anew(paused_after, uninterrupted):
    """Its figure was taken in a wider mask: nothing measured now would ever have beaten it."""
    run = paused_after(8)
    true = journal_best(run)
    path = checkpoint.path_of(run, checkpoint.LAST)
    tensors, state = checkpoint.load(path)
    del state["measure"]
    state["best"]["mae"] = state["stage_best"]["mae"] = 1.0
    checkpoint.save(path, tensors, state)
    resume(run, Onlooker())
    assert all_same(kept(run), uninterrupted)
    best = json.loads((run / "finished.json").read_text(encoding="utf-8"))["best"]["mae"]
    assert 1 < best <= true * (1 + 1e-6)


def test_a_run_of_an_earlier_version_goes_on_from_a_stages_end_to_the_same_weights(paused_after, uninterrupted):
    """Its best epoch is measured anew, and these weights are not those that the next stage begins with."""
    run = paused_after(13)  # in the second stage
    for name in ("phase_1", checkpoint.BEST):
        path = checkpoint.path_of(run, name)
        tensors, state = checkpoint.load(path)
        del state["measure"]
        state["best"]["mae"] = 1.0
        if name == checkpoint.BEST:  # of another epoch than the stage's last
            tensors = {key: tensor * 0.9 if ".running_" not in key else tensor for key, tensor in tensors.items()}
        checkpoint.save(path, tensors, state)
    last = checkpoint.path_of(run, checkpoint.LAST)
    last.write_bytes(b"")
    checkpoint.previous_of(last).unlink()
    resume(run, Onlooker())
    assert all_same(kept(run), uninterrupted)
    assert json.loads((run / "finished.json").read_text(encoding="utf-8"))["best"]["mae"] > 1


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_best_epoch_that_cannot_be_measured_anew_does_not_end_a_run(paused_after, damage):
    run = paused_after(5)
    path = checkpoint.path_of(run, checkpoint.LAST)
    tensors, state = checkpoint.load(path)
    del state["measure"]
    state["best"]["mae"] = state["stage_best"]["mae"] = 1.0
    checkpoint.save(path, tensors, state)
    damage(checkpoint.path_of(run, checkpoint.BEST))
    onlooker = Onlooker(stop_after=2)
    with pytest.raises(Cancelled):
        resume(run, onlooker)
    (line,) = onlooker.of("validation")
    assert line["best"]
    assert checkpoint.load(checkpoint.path_of(run, checkpoint.BEST))[1]["measure"] == 2


def journal_best(run):
    lines = [line for line in journal(run) if line["kind"] == "validation"]
    return min(line["phases"][max(line["phases"])]["mae"] for line in lines)


def test_a_run_killed_at_any_moment_resumes_to_the_same_weights(pairs, uninterrupted, tmp_path, monkeypatch):
    """Killed before each single step and each single change of a file, one after another."""
    moments = 0
    die_at = None

    def moment() -> None:
        nonlocal moments
        moments += 1
        if moments == die_at:
            raise Killed

    def before(function):
        def wrapped(*arguments, **named):
            moment()
            return function(*arguments, **named)

        return wrapped

    for owner, name in ((os, "replace"), (os, "fsync"), (os, "truncate"), (checkpoint, "save_file"), (Path, "open")):
        monkeypatch.setattr(owner, name, before(getattr(owner, name)))
    monkeypatch.setattr(Batches, "__getitem__", before(Batches.__getitem__))

    # Short of the time it takes to try them all: every fourth moment, in a run that goes on after each.
    run = tmp_path / "run"
    killed = 0
    while not (run / "finished.json").exists():
        moments, die_at = 0, 3 + 4 * killed if killed < 60 else None
        try:
            train(tiny(pairs), run, Onlooker())
        except Killed:
            killed += 1
    assert killed > 20
    assert all_same(kept(run), uninterrupted)


CHILD = """
import sys, json
sys.path[:0] = [{module!r}, {testing!r}]
from pathlib import Path
from Engine.training_runs import Onlooker, tiny
from upgan.training.run.trainer import train
class Loud(Onlooker):
    def hear(self, text, fraction, remaining_s):
        print(text, flush=True)
train(tiny(Path({pairs!r})), Path({run!r}), Loud())
"""


def child(pairs, run):
    code = CHILD.format(
        module=str(ROOT / "UncertaintyGuidedI2I"), testing=str(ROOT / "Testing"), pairs=str(pairs), run=str(run)
    )
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.nightly
def test_a_process_that_is_killed_leaves_a_run_that_goes_on_to_the_same_weights(start, pairs, uninterrupted, tmp_path):
    """With the system's own SIGKILL, at a random moment of the training."""
    run = tmp_path / "run"
    start(run)
    process = child(pairs, run)
    for line in process.stdout:
        if "epoch" in line:
            break
    time.sleep(float(np.random.default_rng().uniform(0, 0.8)))
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    resume(run, Onlooker())
    assert all_same(kept(run), uninterrupted)


def test_what_a_killed_process_wrote_after_its_last_checkpoint_is_not_told_twice(start, tmp_path, monkeypatch):
    run = tmp_path / "run"
    config = start(run, schedule={"joint_epochs": 0})
    original = Batches.__getitem__

    def dying(self, step):
        if self.stage == 2 and step == 4:
            raise Killed
        return original(self, step)

    monkeypatch.setattr(Batches, "__getitem__", dying)
    with pytest.raises(Killed):
        train(config, run, Onlooker())
    monkeypatch.undo()
    with (run / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"kind": "steps", "half a li')
    resume(run, Onlooker())
    lines = journal(run)
    epochs = [(line["stage"], line["epoch"]) for line in lines if line["kind"] == "validation"]
    assert epochs == sorted(set(epochs))
    assert "resumed" in [line["code"] for line in lines if line["kind"] == "event"]


def test_a_run_that_was_ended_and_goes_on_is_not_ended_any_more(paused_after):
    run = paused_after(5)
    finish(run)
    assert json.loads((run / "finished.json").read_text(encoding="utf-8"))["stopped"]
    with pytest.raises(Cancelled):
        resume(run, Onlooker(stop_after=1))
    assert not (run / "finished.json").exists()


def test_images_left_by_a_process_killed_at_the_very_end_are_removed(start, tmp_path, monkeypatch):
    config = start(tmp_path / "run", schedule=ONE_STAGE)

    def die(*arguments, **named):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("upgan.training.loop.progressive.shutil.rmtree", die)
        with pytest.raises(Killed):
            train(config, tmp_path / "run", Onlooker())
    assert (tmp_path / "run" / "cache").exists()
    resume(tmp_path / "run", Onlooker())
    assert not (tmp_path / "run" / "cache").exists()


# The disk


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
def test_when_the_disk_is_full_the_last_checkpoint_survives_and_the_run_says_so(start, uninterrupted, tmp_path):
    import resource

    run = tmp_path / "run"
    config = start(run)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    class Filling(Onlooker):
        def line(self, line):
            super().line(line)
            if line["kind"] == "validation" and line["epoch"] == 2:
                # From now on the system writes no file beyond 20 kB, whoever asks: a checkpoint is larger.
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))

    try:
        with pytest.raises(OutputError) as failure:
            train(config, run, Filling())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert failure.value.code == "checkpoint_not_written"
    assert list((run / "checkpoints").glob("*.tmp")) == []
    _, state = checkpoint.load(checkpoint.path_of(run, checkpoint.LAST))
    assert (state["stage"], state["step"]) == (0, 3)  # the end of the first epoch
    resume(run, Onlooker())
    assert all_same(kept(run), uninterrupted)


def cut(path):
    path.write_bytes(path.read_bytes()[:1000])


def test_a_run_whose_last_checkpoint_is_damaged_or_gone_goes_on_from_the_one_before_to_the_same_weights(
    paused_after, uninterrupted
):
    run = paused_after(17)  # in the end-to-end stage, two steps after its beginning
    last = checkpoint.path_of(run, checkpoint.LAST)
    for damage in (flipped, Path.unlink):
        damage(last)
        onlooker = Onlooker(stop_after=1)
        with pytest.raises(Cancelled):  # What is damaged must not take the place of what is whole.
            resume(run, onlooker)
        assert [event["code"] for event in onlooker.of("event")] == ["checkpoint_damaged", "resumed", "paused"]
    onlooker = Onlooker()
    resume(run, onlooker)
    assert [event["code"] for event in onlooker.of("event")] == ["resumed", "finished"]
    assert all_same(kept(run), uninterrupted)
    assert not checkpoint.previous_of(last).exists()


def test_where_the_one_before_is_damaged_too_it_goes_on_from_the_end_of_the_stage_before(paused_after, uninterrupted):
    run = paused_after(19)
    before = journal(run)
    last = checkpoint.path_of(run, checkpoint.LAST)
    last.write_bytes(b"")
    cut(checkpoint.previous_of(last))
    onlooker = Onlooker()
    resume(run, onlooker)
    assert [event["code"] for event in onlooker.of("event")] == ["checkpoint_damaged", "resumed", "finished"]
    assert len(onlooker.fractions) == STEPS - 15  # of the end-to-end stage
    assert [line["stage"] for line in journal(run) if line["kind"] == "stage"] == [1, 2, 3]
    assert [line for line in journal(run) if line.get("stage") in (1, 2)] == [
        line for line in before if line.get("stage") in (1, 2)
    ]
    _, state = checkpoint.load(last)
    assert (state["total_steps"], state["phases_trained"]) == (STEPS, 2)
    assert all_same(kept(run), uninterrupted)


def test_where_no_checkpoint_is_whole_that_a_run_can_go_on_from_it_says_what_can_be_done(start, tmp_path):
    run = tmp_path / "our run"
    # The best epoch of a stage that may end early is kept while it lasts, and is not its end.
    with pytest.raises(Cancelled):
        train(start(run, schedule={"early_stopping": 5}), run, Onlooker(stop_after=4))
    last = checkpoint.path_of(run, checkpoint.LAST)
    assert checkpoint.path_of(run, "phase_1").exists()
    for path in (last, checkpoint.previous_of(last)):
        cut(path)
    with pytest.raises(InputError, match="last") as refusal:
        resume(run, Onlooker())
    assert refusal.value.code == "checkpoint_damaged"
    assert f"upgan bundle create '{run}' --checkpoint best" in refusal.value.remedy
    for name in (checkpoint.BEST, "phase_1"):
        cut(checkpoint.path_of(run, name))
    with pytest.raises(InputError) as refusal:
        resume(run, Onlooker())
    assert str(last.parent) in refusal.value.remedy
    shutil.rmtree(last.parent)  # as it says
    onlooker = Onlooker(stop_after=1)
    with pytest.raises(Cancelled):
        resume(run, onlooker)
    assert [line["stage"] for line in onlooker.of("stage")] == [1]


def test_a_single_bit_that_is_not_as_it_was_written_is_found(tmp_path):
    path = tmp_path / "last.safetensors"
    tensors = {"weights": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(7)}
    checkpoint.save(path, tensors, {"step": 12, "mae": 101.5})
    read, state = checkpoint.load(path)
    assert all_same(read, tensors)
    assert state == {"step": 12, "mae": 101.5}
    whole = path.read_bytes()
    for place in range(8, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with contextlib.suppress(InputError):
            read, state = checkpoint.load(path)  # a blank that fills up the header
        assert all_same(read, tensors)
        assert state == {"step": 12, "mae": 101.5}
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError) as refusal:
        checkpoint.load(path)
    assert refusal.value.code == "checkpoint_unreadable"


def test_a_journal_that_a_power_cut_left_short_is_gone_on_with(start, tmp_path):
    with pytest.raises(Cancelled):
        train(start(tmp_path / "run", schedule=ONE_STAGE), tmp_path / "run", Onlooker(stop_after=8))
    path = tmp_path / "run" / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    resume(tmp_path / "run", Onlooker())
    assert journal(tmp_path / "run")[-1]["code"] == "finished"  # every line is whole


def test_a_folder_that_cannot_be_used_is_refused_in_words(pairs, tmp_path):
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(OutputError) as refusal:
        train(tiny(pairs), tmp_path / "file" / "run", Onlooker())
    assert refusal.value.code == "not_writable"


def test_a_graphics_card_without_room_is_told_with_what_to_do(start, tmp_path, monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory (made up by a test)")

    monkeypatch.setattr(Stage, "step", full)
    with pytest.raises(DeviceError) as refusal:
        train(start(tmp_path / "run"), tmp_path / "run", Onlooker())
    assert refusal.value.code == "out_of_memory"


def test_a_checkpoint_that_does_not_reach_the_disk_costs_neither_of_those_before(tmp_path, monkeypatch):
    path = checkpoint.path_of(tmp_path, checkpoint.LAST)
    for step in (1, 2):
        checkpoint.save(path, {"a": torch.zeros(3)}, {"step": step}, keep=True)
        # As a process leaves it that is killed meanwhile.
        (path.parent / ".0123.tmp").write_bytes(b"half")

    def broken(number):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OutputError) as refusal:
        checkpoint.save(path, {"a": torch.zeros(3)}, {"step": 3}, keep=True)
    assert refusal.value.code == "checkpoint_not_written"
    kept = {file.name: checkpoint.load(file)[1]["step"] for file in path.parent.iterdir()}
    assert kept == {path.name: 2, checkpoint.previous_of(path).name: 1}
