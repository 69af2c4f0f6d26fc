"""What may happen to a training: it is stopped, killed at any moment, runs out of disk, meets NaN or diverges."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from Engine.heads import write_pairs
from Engine.training_runs import STEPS, Onlooker, all_same, kept, tiny
from upgan.errors import Cancelled, DeviceError, InputError, OutputError, TrainingError
from upgan.pairs.finding import PairFiles
from upgan.training.loop import progressive
from upgan.training.loop.stage import Stage
from upgan.training.model.trained_run import TrainedRun
from upgan.training.record import checkpoint
from upgan.training.record.health import Health
from upgan.training.record.run_config import read_run_config, write_run_config
from upgan.training.record.runs import read_run
from upgan.training.run.finishing import finish
from upgan.training.run.prepare import files_of, images_not_found
from upgan.training.run.trainer import resume, train
from upgan.training.slices.batches import Batches

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A folder with five small heads."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder, [11, 12, 13, 14, 15])
    return folder


@pytest.fixture(scope="module")
def healthy():
    """Who saw the run below."""
    return Onlooker()


@pytest.fixture(scope="module")
def uninterrupted(pairs, healthy, tmp_path_factory):
    """Everything that a run's last checkpoint holds when nothing happened to it."""
    folder = tmp_path_factory.mktemp("training") / "run"
    train(tiny(pairs), folder, healthy)
    return kept(folder)


@pytest.fixture(scope="module")
def usual_rates(uninterrupted, healthy):
    """Rate by stage and step of a run to which nothing happened."""
    return {(line["stage"], line["step"]): line["rate"] for line in healthy.of("steps")}


def journal(run):
    return [json.loads(line) for line in (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()]


# Stopped, killed


@pytest.mark.parametrize("steps", [1, 9, 20])  # at the start, between two stages, just before the end
def test_a_run_that_is_paused_goes_on_to_the_same_weights(pairs, uninterrupted, tmp_path, steps):
    with pytest.raises(Cancelled):
        train(tiny(pairs), tmp_path / "run", Onlooker(stop_after=steps))
    assert not (tmp_path / "run" / "finished.json").exists()
    assert journal(tmp_path / "run")[-1]["code"] == "paused"
    onlooker = Onlooker()
    resume(tmp_path / "run", onlooker)
    assert len(onlooker.fractions) == STEPS - steps
    assert all_same(kept(tmp_path / "run"), uninterrupted)


def test_a_best_epoch_that_an_earlier_version_measured_otherwise_is_measured_anew(pairs, uninterrupted, tmp_path):
    """Its figure was taken in a wider mask: nothing measured now would ever have beaten it."""
    run = tmp_path / "run"
    with pytest.raises(Cancelled):
        train(tiny(pairs), run, Onlooker(stop_after=8))
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


def test_a_run_of_an_earlier_version_goes_on_from_a_stages_end_to_the_same_weights(pairs, uninterrupted, tmp_path):
    """Its best epoch is measured anew, and these weights are not those that the next stage begins with."""
    run = tmp_path / "run"
    with pytest.raises(Cancelled):
        train(tiny(pairs), run, Onlooker(stop_after=13))  # in the second stage
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
def test_a_best_epoch_that_cannot_be_measured_anew_does_not_end_a_run(pairs, tmp_path, damage):
    run = tmp_path / "run"
    with pytest.raises(Cancelled):
        train(tiny(pairs), run, Onlooker(stop_after=5))
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


class Killed(BaseException):
    """No ordinary exception: nothing in the code under test may catch it, as nothing catches a SIGKILL."""


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


def test_a_process_that_is_killed_leaves_a_run_that_goes_on_to_the_same_weights(pairs, uninterrupted, tmp_path):
    """With the system's own SIGKILL, at a random moment of the training."""
    run = tmp_path / "run"
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


def test_what_a_killed_process_wrote_after_its_last_checkpoint_is_not_told_twice(pairs, tmp_path, monkeypatch):
    run = tmp_path / "run"
    original = Batches.__getitem__

    def dying(self, step):
        if self.stage == 2 and step == 4:
            raise Killed
        return original(self, step)

    monkeypatch.setattr(Batches, "__getitem__", dying)
    with pytest.raises(Killed):
        train(tiny(pairs), run, Onlooker())
    monkeypatch.undo()
    with (run / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"kind": "steps", "half a li')
    resume(run, Onlooker())
    lines = journal(run)
    epochs = [(line["stage"], line["epoch"]) for line in lines if line["kind"] == "validation"]
    assert epochs == sorted(set(epochs))
    assert "resumed" in [line["code"] for line in lines if line["kind"] == "event"]


# The disk


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
def test_when_the_disk_is_full_the_last_checkpoint_survives_and_the_run_says_so(pairs, uninterrupted, tmp_path):
    import resource

    run = tmp_path / "run"
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
            train(tiny(pairs), run, Filling())
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


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 16
    path.write_bytes(content)


def test_a_run_whose_last_checkpoint_is_damaged_or_gone_goes_on_from_the_one_before_to_the_same_weights(
    pairs, uninterrupted, tmp_path
):
    run = tmp_path / "run"
    with pytest.raises(Cancelled):
        train(tiny(pairs), run, Onlooker(stop_after=17))  # in the end-to-end stage, two steps after its beginning
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


def test_where_the_one_before_is_damaged_too_it_goes_on_from_the_end_of_the_stage_before(
    pairs, uninterrupted, tmp_path
):
    run = tmp_path / "run"
    with pytest.raises(Cancelled):
        train(tiny(pairs), run, Onlooker(stop_after=19))
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


def test_where_no_checkpoint_is_whole_that_a_run_can_go_on_from_it_says_what_can_be_done(pairs, tmp_path):
    run = tmp_path / "our run"
    # The best epoch of a stage that may end early is kept while it lasts, and is not its end.
    with pytest.raises(Cancelled):
        train(tiny(pairs, schedule={"early_stopping": 5}), run, Onlooker(stop_after=4))
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


def test_a_journal_that_a_power_cut_left_short_is_gone_on_with(pairs, tmp_path):
    with pytest.raises(Cancelled):
        train(tiny(pairs), tmp_path / "run", Onlooker(stop_after=8))
    path = tmp_path / "run" / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    resume(tmp_path / "run", Onlooker())
    assert journal(tmp_path / "run")[-1]["code"] == "finished"  # every line is whole


def test_images_that_were_replaced_while_the_run_was_paused_are_not_trained_on(pairs, tmp_path):
    heads = shutil.copytree(pairs, tmp_path / "heads")
    with pytest.raises(Cancelled):
        train(tiny(heads), tmp_path / "run", Onlooker(stop_after=4))
    split = json.loads((tmp_path / "run" / "split.json").read_text(encoding="utf-8"))
    trained_on, held_out = split["train"][0], split["test"][0]
    for kind in ("nacpet", "ct"):
        shutil.copy(heads / f"{held_out}_{kind}.nii.gz", heads / f"{trained_on}_{kind}.nii.gz")
    with pytest.raises(InputError, match=trained_on) as refusal:
        resume(tmp_path / "run", Onlooker())
    assert refusal.value.code == "images_changed"


def test_a_run_whose_images_were_moved_goes_on_with_its_slices_and_is_told_the_new_place(pairs, tmp_path):
    heads, run, moved = shutil.copytree(pairs, tmp_path / "heads"), tmp_path / "run", tmp_path / "elsewhere"
    with pytest.raises(Cancelled):
        train(tiny(heads), run, Onlooker(stop_after=4))
    heads.rename(moved)
    onlooker = Onlooker(stop_after=2)
    with pytest.raises(Cancelled):
        resume(run, onlooker)
    (note,) = [event["sentence"] for event in onlooker.of("event") if event["code"] == "images_not_found"]
    assert str(heads) in note

    # Slices that are not whole bit by bit are not gone on with, and then the images are needed.
    slices = next((run / "cache").glob("*.npy"))
    whole = slices.read_bytes()
    flipped(slices)
    with pytest.raises(InputError) as refusal:
        resume(run, Onlooker())
    assert refusal.value.code == "images_not_found"
    assert str(heads) in refusal.value.sentence
    assert str(run / "cache") in refusal.value.sentence
    assert f"upgan train --resume {run} --data" in refusal.value.remedy
    slices.write_bytes(whole)

    # Others' images are none of this run's; nor are too few.
    data = (run / "data.json").read_bytes()
    manifest = json.loads((moved / "manifest.json").read_text(encoding="utf-8"))
    for name, subjects, code in (
        ("fewer.json", manifest["subjects"][1:], "subjects_missing"),
        (
            "others.json",
            [{**entry, "ct": entry["ct"].replace("1", "2")} for entry in manifest["subjects"]],
            "images_changed",
        ),
    ):
        (moved / name).write_text(json.dumps({**manifest, "subjects": subjects}), encoding="utf-8")
        with pytest.raises(InputError) as refusal:
            resume(run, Onlooker(), moved / name)
        assert refusal.value.code == code
    assert (run / "data.json").read_bytes() == data

    onlooker = Onlooker(stop_after=1)
    with pytest.raises(Cancelled):
        resume(run, onlooker, moved)
    assert "images_not_found" not in [event["code"] for event in onlooker.of("event")]
    moved.rename(heads)
    with pytest.raises(Cancelled):
        train(tiny(heads), run, Onlooker(stop_after=1))  # the same configuration, but for the place
    assert slices.read_bytes() == whole
    assert journal(run)[-1]["code"] == "paused"
    assert TrainedRun.read(run, "best").files["sub-001"].input.parent == heads


def test_a_finished_run_is_told_the_new_place_of_the_images_that_its_model_is_measured_on(pairs, tmp_path):
    heads, run, moved = shutil.copytree(pairs, tmp_path / "heads"), tmp_path / "run", tmp_path / "elsewhere"
    train(tiny(heads, schedule={"epochs": [1, 0], "joint_epochs": 0}), run, Onlooker())
    heads.rename(moved)
    with pytest.raises(InputError) as refusal:
        list(TrainedRun.read(run, "best").pairs(["sub-001"]))
    assert refusal.value.code == "images_not_found"
    assert str(heads) in refusal.value.sentence
    resume(run, Onlooker(), moved)
    assert [pair.subject for pair in TrainedRun.read(run, "best").pairs(["sub-001"])] == ["sub-001"]


def test_images_within_a_runs_folder_move_with_it(pairs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(pairs, run / "pairs")
    with pytest.raises(Cancelled):
        train(tiny(run / "pairs"), run, Onlooker(stop_after=1))
    onlooker = Onlooker(stop_after=1)
    with pytest.raises(Cancelled):
        resume(run.rename(tmp_path / "moved"), onlooker)
    assert [event["code"] for event in onlooker.of("event")] == ["resumed", "paused"]


def test_images_that_were_moved_are_found_where_they_are_also_by_who_names_their_former_place(pairs, tmp_path):
    heads, run, moved = shutil.copytree(pairs, tmp_path / "heads"), tmp_path / "run", tmp_path / "elsewhere"
    with pytest.raises(Cancelled):
        train(tiny(heads), run, Onlooker(stop_after=1))
    heads.rename(moved)
    with pytest.raises(Cancelled):
        resume(run, Onlooker(stop_after=1), moved / "manifest.json")
    onlooker = Onlooker(stop_after=1)
    with pytest.raises(Cancelled):
        train(tiny(heads), run, onlooker)
    assert [event["code"] for event in onlooker.of("event")] == ["resumed", "paused"]


def test_places_are_relative_to_the_runs_folder_only_where_it_is_written_down(pairs, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(pairs, tmp_path / "heads")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Cancelled):
        train(tiny(Path("heads")), Path("run"), Onlooker(stop_after=1))
    content = json.loads((run / "data.json").read_text(encoding="utf-8"))
    heads = tmp_path / "heads"
    assert {files.input.parent for files in files_of(content, run)} == {heads}
    # An earlier version wrote them as they were given.
    del content["relative_to"]
    for entry in content["pairs"]:
        entry["input"] = str(Path("heads") / Path(entry["input"]).name)
    assert {files.input.absolute().parent for files in files_of(content, run)} == {heads}


def test_lost_images_in_places_without_a_common_folder_are_told(tmp_path, monkeypatch):
    def refuse(paths):
        raise ValueError("Paths don't have the same drive")

    pair = PairFiles("s", Path("pet.nii"), tmp_path / "ct.nii")
    assert images_not_found([pair], tmp_path).code == "images_not_found"
    monkeypatch.setattr(os.path, "commonpath", refuse)
    assert str(Path.cwd()) in images_not_found([pair], tmp_path).sentence


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"pairs": [5], "spacing_mm": [1, 1]}'])
def test_what_a_run_knows_of_its_images_is_told_to_be_damaged(pairs, tmp_path, content):
    run = tmp_path / "run"
    run.mkdir()
    write_run_config(tiny(pairs), run)
    (run / "data.json").write_bytes(content)
    for begin in (lambda: resume(run, Onlooker()), lambda: train(tiny(pairs), run, Onlooker())):
        with pytest.raises(InputError) as refusal:
            begin()
        assert refusal.value.code == "run_damaged"
        assert "data.json" in refusal.value.remedy


class Unprepared(Onlooker):
    """Stops a run while its slices are prepared."""

    def hear(self, text, fraction, remaining_s):
        if "slices" in text:
            raise Cancelled


def unplaced(folder):
    """Have a folder's images say no place."""
    for path in folder.glob("*.nii.gz"):
        image = nibabel.load(path)
        voxels, header = np.asarray(image.dataobj), image.header.copy()
        bare = nibabel.Nifti1Image(voxels, None, header)
        bare.header["qform_code"] = bare.header["sform_code"] = 0
        nibabel.save(bare, path)


def test_notes_on_guessed_places_are_told_by_the_start_that_begins_the_journal_and_by_no_other(pairs, tmp_path):
    heads, run = shutil.copytree(pairs, tmp_path / "heads"), tmp_path / "run"
    unplaced(heads)
    told = []
    for onlooker in (Unprepared(), Onlooker(stop_after=1), Onlooker(stop_after=1)):
        with pytest.raises(Cancelled):
            train(tiny(heads), run, onlooker)
        told.append("guessed_place" in [event["code"] for event in onlooker.of("event")])
    assert told == [False, True, False]


def test_a_run_begun_before_it_could_be_said_trusts_guessed_places_and_any_other_can_be_told_to(pairs, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(Cancelled):
        train(tiny(pairs), run, Onlooker(stop_after=1))
    assert not read_run_config(run).data.trust_guessed_places
    with pytest.raises(Cancelled):
        train(tiny(pairs, data={"trust_guessed_places": True}), run, Onlooker(stop_after=1))
    assert read_run_config(run).data.trust_guessed_places
    content = json.loads((run / "config.json").read_text(encoding="utf-8"))
    del content["data"]["trust_guessed_places"]
    (run / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(Cancelled):
        train(tiny(pairs), run, Onlooker(stop_after=1))
    assert read_run_config(run).data.trust_guessed_places


@pytest.mark.parametrize("value", [5, None, []])
def test_a_section_that_is_no_object_is_a_damaged_run(pairs, tmp_path, value):
    content = {**tiny(pairs).model_dump(mode="json"), "architecture": value}
    (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        read_run_config(tmp_path)
    assert refusal.value.code == "run_damaged"


def test_a_run_that_was_ended_and_goes_on_is_not_ended_any_more(pairs, tmp_path):
    with pytest.raises(Cancelled):
        train(tiny(pairs), tmp_path / "run", Onlooker(stop_after=4))
    finish(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "finished.json").read_text(encoding="utf-8"))["stopped"]
    with pytest.raises(Cancelled):
        resume(tmp_path / "run", Onlooker(stop_after=4))
    assert not (tmp_path / "run" / "finished.json").exists()


def test_images_left_by_a_process_killed_at_the_very_end_are_removed(pairs, tmp_path, monkeypatch):
    def die(*arguments, **named):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("upgan.training.loop.progressive.shutil.rmtree", die)
        with pytest.raises(Killed):
            train(tiny(pairs), tmp_path / "run", Onlooker())
    assert (tmp_path / "run" / "cache").exists()
    resume(tmp_path / "run", Onlooker())
    assert not (tmp_path / "run" / "cache").exists()


def test_a_folder_that_cannot_be_used_is_refused_in_words(pairs, tmp_path):
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(OutputError) as refusal:
        train(tiny(pairs), tmp_path / "file" / "run", Onlooker())
    assert refusal.value.code == "not_writable"


def test_a_graphics_card_without_room_is_told_with_what_to_do(pairs, tmp_path, monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory (made up by a test)")

    monkeypatch.setattr(Stage, "step", full)
    with pytest.raises(DeviceError) as refusal:
        train(tiny(pairs), tmp_path / "run", Onlooker())
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


# Damaged and edited


@pytest.fixture(scope="module")
def paused(pairs, tmp_path_factory):
    """A run that was paused in its second stage."""
    run = tmp_path_factory.mktemp("paused") / "run"
    with pytest.raises(Cancelled):
        train(tiny(pairs), run, Onlooker(stop_after=11))
    return run


@pytest.fixture
def copied(paused, tmp_path):
    return shutil.copytree(paused, tmp_path / "run")


def edited(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def moved_from_test_to_train(split):
    split["train"].append(split["test"].pop())
    split["test"].append(split["train"].pop(0))


def without_memory(run):
    """Make a run's checkpoints what earlier versions wrote."""
    for path in [*(run / "checkpoints").iterdir()]:
        tensors, state = checkpoint.load(path)
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, path, metadata={"state": json.dumps(state)})


def makes_a_model_or_goes_on(run):
    """Whatever is made of a run: it goes on, or a model is read of it."""
    yield lambda: resume(run, Onlooker())
    yield lambda: TrainedRun.read(run, "best")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("config.json", lambda c: c["data"].update(plane="coronal"), ['data.plane "axial" → "coronal"']),
        ("config.json", lambda c: c.update(seed=8), ["seed 7 → 8"]),
        ("config.json", lambda c: c["split"].update(seed=3), ["split.seed 0 → 3"]),
        ("config.json", lambda c: c["schedule"].update(learning_rate=1.0), ["schedule.learning_rate 0.005 → 1.0"]),
        ("config.json", lambda c: c["schedule"].update(epochs=[9, 2]), ["schedule.epochs [3, 2] → [9, 2]"]),
        ("config.json", lambda c: c["architecture"].update(width=512), ["architecture.width 4 → 512"]),
        ("config.json", lambda c: c["discriminator"].update(width=8), ["discriminator.width 4 → 8"]),
        ("split.json", moved_from_test_to_train, ["test → train", "train → test"]),
        ("data.json", lambda c: c["pairs"][0].update(sha256="f" * 64), ["checksum of the images of sub-001"]),
        ("data.json", lambda c: c.update(spacing_mm=[1.0, 4.0]), ["spacing_mm", "→ [1.0, 4.0]"]),
        ("data.json", lambda c: c["task"]["output"].update(factor=500.0), ["task.output.factor 1000.0 → 500.0"]),
    ],
)
def test_what_was_edited_since_a_run_was_begun_is_named_and_not_gone_on_with(copied, name, change, said):
    cached = {path: path.read_bytes() for path in (copied / "cache").iterdir()}
    edited(copied / name, change)
    for way in makes_a_model_or_goes_on(copied):
        with pytest.raises(InputError) as refusal:
            way()
        assert refusal.value.code == "run_changed"
        assert all(each in refusal.value.sentence for each in said)
        assert name in refusal.value.remedy
    assert {path: path.read_bytes() for path in (copied / "cache").iterdir()} == cached


def test_what_may_change_while_a_run_is_paused_is_gone_on_with(copied):
    def change(config):
        config.update(name="another")
        config["compute"].update(device="auto", loaders=0)

    edited(copied / "config.json", change)
    onlooker = Onlooker(stop_after=1)
    with pytest.raises(Cancelled):
        resume(copied, onlooker)
    assert [event["code"] for event in onlooker.of("event")] == ["resumed", "paused"]


def test_lost_descriptions_are_made_again_only_where_they_come_out_the_same(copied):
    (copied / "data.json").unlink()
    edited(copied / "config.json", lambda config: config["split"].update(seed=3))
    with pytest.raises(InputError, match=r"split.seed 0 → 3") as refusal:
        resume(copied, Onlooker())
    assert refusal.value.code == "run_changed"
    assert not (copied / "data.json").exists()
    edited(copied / "config.json", lambda config: config["split"].update(seed=0))
    with pytest.raises(Cancelled):
        resume(copied, Onlooker(stop_after=1))


def test_a_checkpoint_remembers_patients_and_names_none(paused):
    begun = checkpoint.read_begun(checkpoint.path_of(paused, checkpoint.LAST))
    assert len(begun["patients"]) == 5
    assert all(b"sub-00" not in path.read_bytes() for path in (paused / "checkpoints").iterdir())


def test_a_run_of_an_earlier_version_goes_on_and_what_does_not_fit_its_weights_is_said(copied):
    without_memory(copied)
    for change in (
        lambda config: config["architecture"].update(width=8),
        lambda config: (config["architecture"].update(phases=1), config["schedule"].update(epochs=[3])),
        lambda config: config["architecture"].update(deepest=3),
    ):
        whole = (copied / "config.json").read_bytes()
        edited(copied / "config.json", change)
        for way in makes_a_model_or_goes_on(copied):
            with pytest.raises(InputError) as refusal:
                way()
            assert refusal.value.code in ("weights_mismatch", "checkpoint_damaged")
        (copied / "config.json").write_bytes(whole)
    edited(copied / "config.json", lambda config: config["discriminator"].update(width=8))
    with pytest.raises(InputError) as refusal:
        resume(copied, Onlooker())
    assert refusal.value.code == "weights_mismatch"
    (copied / "config.json").write_bytes(whole)
    edited(copied / "config.json", lambda config: config["data"].update(plane="coronal"))
    with pytest.raises(InputError, match='plane "axial" → "coronal"'):
        resume(copied, Onlooker())
    (copied / "config.json").write_bytes(whole)
    onlooker = Onlooker(stop_after=1)
    with pytest.raises(Cancelled):
        resume(copied, onlooker)
    assert [event["code"] for event in onlooker.of("event")] == ["resumed", "paused"]
    assert checkpoint.read_begun(checkpoint.path_of(copied, checkpoint.LAST))["config"]["seed"] == 7


ODD_JSON = {
    "empty": b"",
    "cut": b'{"pairs": [{"subj',
    "binary": bytes(range(256)),
    "list": b"[]",
    "number": b"5",
    "deep": b"[" * 50_000,
    "deep object": b'{"pairs":' * 9_000,
    "huge number": b'{"pairs": ' + b"9" * 5_000 + b"}",
    "no number": b'{"pairs": NaN}',
    "nothing in it": b"{}",
}


@pytest.mark.parametrize("name", ["data.json", "split.json", "finished.json", "config.json"])
@pytest.mark.parametrize("content", ODD_JSON.values(), ids=ODD_JSON)
def test_a_damaged_file_of_a_run_is_named_with_what_to_do(copied, name, content):
    (copied / name).write_bytes(content)
    ways = [*makes_a_model_or_goes_on(copied)]
    for way in ways[: 1 if name == "finished.json" else 2]:
        with pytest.raises(InputError) as refusal:
            way()
        assert refusal.value.code == "run_damaged"
        assert name in refusal.value.sentence
        assert name in refusal.value.remedy
    # A short look, in the viewer, does not know what belongs into the lists of patients.
    is_seen = name in ("config.json", "finished.json") or content not in (b"{}", b'{"pairs": NaN}')
    assert read_run(copied).state == ("damaged" if is_seen else "paused")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("data.json", lambda c: c["pairs"][0].update(subject=5)),
        ("data.json", lambda c: c["pairs"][0].update(input=5)),
        ("data.json", lambda c: c["pairs"].append(c["pairs"][0])),
        ("data.json", lambda c: c.pop("task")),
        ("data.json", lambda c: c["task"].update(output={"factor": 1e400})),
        ("data.json", lambda c: c.update(spacing_mm=[0, 1])),
        ("data.json", lambda c: c.update(spacing_mm=[1e-300, 1])),
        ("data.json", lambda c: c.update(notes=[5])),
        ("data.json", lambda c: c.update(statement=["x"])),
        ("data.json", lambda c: c.update(path=5)),
        ("split.json", lambda c: c.pop("test")),
        ("split.json", lambda c: c.update(more=[])),
        ("split.json", lambda c: c.update(train="abc")),
        ("split.json", lambda c: c.update(test=[])),
        ("split.json", lambda c: c["train"].append("nobody")),
        ("split.json", lambda c: c["train"].append(c["test"][0])),
        ("split.json", lambda c: c["train"].append({})),
    ],
)
def test_a_file_of_a_run_that_lacks_or_confuses_something_is_named(copied, name, change):
    edited(copied / name, change)
    for way in makes_a_model_or_goes_on(copied):
        with pytest.raises(InputError, match=name) as refusal:
            way()
        assert refusal.value.code == "run_damaged"


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"\x1b[2J", b"x" * 9_000])
def test_what_a_run_was_computed_on_is_asked_for_where_it_cannot_be_read(copied, content):
    (copied / "machine.txt").unlink()
    if content is not None:
        (copied / "machine.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"machine\.txt") as refusal:
        TrainedRun.read(copied, "best")
    assert refusal.value.code == "run_damaged"
    (copied / "machine.txt").write_text("a calculator\n", encoding="utf-8")  # as it says
    assert TrainedRun.read(copied, "best").machine == "a calculator"


@pytest.mark.parametrize("name", ["best", "phase_1"])
def test_no_model_is_made_of_a_checkpoint_with_a_flipped_bit_nor_of_a_file_elsewhere(copied, name):
    flipped(checkpoint.path_of(copied, name))
    with pytest.raises(InputError) as refusal:
        TrainedRun.read(copied, name)
    assert refusal.value.code == "checkpoint_unreadable"
    for other in ("../checkpoints/last", "x" * 5000, "a\0b", ".."):
        with pytest.raises(InputError) as refusal:
            TrainedRun.read(copied, other)
        assert refusal.value.code == "run_unfinished"


def test_a_run_whose_last_checkpoint_is_damaged_can_be_ended(copied):
    flipped(checkpoint.path_of(copied, checkpoint.LAST))
    (copied / "finished.json").write_bytes(b"{")
    finish(copied)
    finished = json.loads((copied / "finished.json").read_text(encoding="utf-8"))
    assert finished["stopped"]
    assert finished["best"]["mae"] > 0


def test_a_checkpoint_of_a_newer_version_is_not_taken_for_a_damaged_one(copied, monkeypatch):
    last = checkpoint.path_of(copied, checkpoint.LAST)
    tensors, state = checkpoint.load(last)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
        checkpoint.save(last, tensors, state)
    with pytest.raises(InputError) as refusal:
        resume(copied, Onlooker())
    assert refusal.value.code == "checkpoint_newer"


def test_slices_with_a_flipped_bit_are_made_anew_and_that_is_told(copied):
    slices = sorted((copied / "cache").glob("*.npy"))
    whole = [path.read_bytes() for path in slices]
    flipped(slices[0])
    entry = slices[1].with_suffix(".json")
    entry.write_bytes(entry.read_bytes().replace(b'"reference": ', b'"reference": 1', 1))
    slices[2].with_suffix(".json").write_bytes(b"{")
    onlooker = Onlooker(stop_after=1)
    with pytest.raises(Cancelled):
        resume(copied, onlooker)
    told = {event["sentence"].partition(":")[0] for event in onlooker.of("event") if event["code"] == "slices_damaged"}
    assert len(told) == 3
    assert [path.read_bytes() for path in slices] == whole
    assert b'"reference": 1' not in entry.read_bytes()


# NaN and divergence


def poison(monkeypatch, times, step=7):
    """Let a batch of the first stage hold NaN so many times."""
    original = Batches.__getitem__
    left = times

    def poisoned(self, number):
        nonlocal left
        batch = original(self, number)
        if self.stage == 1 and number == step and left:
            left -= 1
            batch.a[0, 0, 0, 0] = float("nan")
        return batch

    monkeypatch.setattr(Batches, "__getitem__", poisoned)
    return poisoned


def test_after_a_nan_the_run_goes_back_names_the_batch_and_halves_the_rate(pairs, usual_rates, tmp_path, monkeypatch):
    poison(monkeypatch, times=1)
    onlooker = Onlooker()
    train(tiny(pairs), tmp_path / "run", onlooker)
    (event,) = [line for line in onlooker.of("event") if line["code"] == "rolled_back"]
    assert "not a number" in event["sentence"]
    assert event["sentence"].count(" slice ") == 4  # a batch
    rates = {(line["stage"], line["step"]): line["rate"] for line in onlooker.of("steps")}
    assert rates[1, 9] == pytest.approx(usual_rates[1, 9] / 2)
    assert rates[2, 6] == pytest.approx(usual_rates[2, 6])  # the next stage has its own
    assert all(torch.isfinite(tensor).all() for tensor in kept(tmp_path / "run").values())


def test_a_pause_right_after_a_nan_does_not_keep_it(pairs, tmp_path, monkeypatch):
    poison(monkeypatch, times=1)
    with pytest.raises(Cancelled):
        train(tiny(pairs), tmp_path / "run", Onlooker(stop_after=8))
    assert all(torch.isfinite(tensor).all() for tensor in kept(tmp_path / "run").values())
    resume(tmp_path / "run", Onlooker())
    assert journal(tmp_path / "run")[-1]["code"] == "finished"


def test_a_discriminator_that_is_lost_in_an_epochs_last_step_is_not_kept(pairs, tmp_path, monkeypatch):
    original, left = Stage.step, [1]

    def spoiling(self, number, *parts):
        losses = original(self, number, *parts)
        if number == 5 and left.pop() if left else False:
            next(self.judges[0].parameters()).data.fill_(float("nan"))
        return losses

    monkeypatch.setattr(Stage, "step", spoiling)
    onlooker = Onlooker()
    train(tiny(pairs), tmp_path / "run", onlooker)
    assert [line["code"] for line in onlooker.of("event")] == ["rolled_back", "finished"]


def test_an_error_that_is_no_number_is_never_the_best(pairs, tmp_path, monkeypatch):
    original, left = progressive.validate, [1]

    def lost(*arguments):
        figures = original(*arguments)
        if left:
            left.pop()
            figures[1]["mae"] = float("nan")
        return figures

    monkeypatch.setattr(progressive, "validate", lost)
    onlooker = Onlooker()
    train(tiny(pairs), tmp_path / "run", onlooker)
    assert [line["code"] for line in onlooker.of("event")] == ["rolled_back", "finished"]
    _, state = checkpoint.load(checkpoint.path_of(tmp_path / "run", checkpoint.BEST))
    assert np.isfinite(state["best"]["mae"])


def test_a_nan_that_stays_ends_the_run_after_three_times_with_what_it_had(pairs, tmp_path, monkeypatch):
    poison(monkeypatch, times=100)
    onlooker = Onlooker()
    with pytest.raises(TrainingError, match="slice") as failure:
        train(tiny(pairs), tmp_path / "run", onlooker)
    assert failure.value.code == "diverged"
    assert [line["code"] for line in onlooker.of("event")] == ["rolled_back"] * 3 + ["diverged"]
    _, state = checkpoint.load(checkpoint.path_of(tmp_path / "run", checkpoint.LAST))
    assert (state["step"], state["rollbacks"]) == (6, 3)


def test_the_halved_rate_is_not_forgotten_when_the_run_is_killed_afterwards(pairs, usual_rates, tmp_path, monkeypatch):
    poisoned = poison(monkeypatch, times=1)

    class Dying(Onlooker):
        def line(self, line):
            super().line(line)
            if self.lines[-2:-1] and self.lines[-2].get("code") == "rolled_back":
                raise Killed

    with pytest.raises(Killed):
        train(tiny(pairs), tmp_path / "run", Dying())
    monkeypatch.setattr(Batches, "__getitem__", poisoned)
    onlooker = Onlooker()
    resume(tmp_path / "run", onlooker)
    rates = {(line["stage"], line["step"]): line["rate"] for line in onlooker.of("steps")}
    assert rates[1, 9] == pytest.approx(usual_rates[1, 9] / 2)


def test_an_error_that_grows_to_four_times_its_lowest_is_a_divergence():
    health = Health()
    assert not any(health.observe(1.0, 0.1) for _ in range(100))
    found = [health.observe(1.0, 1.0) for _ in range(60)]
    assert any(found)
    assert "four times" in next(filter(None, found))


def test_a_hard_batch_alone_is_no_divergence(rng):
    health = Health()
    errors = 0.1 * rng.lognormal(0, 0.3, 500)
    errors[[100, 250, 400]] = 0.8
    assert not any(health.observe(1.0, error) for error in errors)


def test_an_error_that_falls_from_high_is_no_divergence():
    health = Health()
    assert not any(health.observe(1.0, 3 * 0.98**step) for step in range(300))
