"""The images of a run that is paused: replaced, moved, gone, or nobody knows where they lie."""

import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from Engine.training_runs import Onlooker, Unprepared, flipped, journal, tiny
from upgan.errors import Cancelled, InputError
from upgan.pairs.finding import PairFiles
from upgan.training.model.trained_run import TrainedRun
from upgan.training.record.run_config import read_run_config
from upgan.training.run.prepare import files_of, images_not_found
from upgan.training.run.trainer import resume, train


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


def test_a_run_begun_before_it_could_be_said_trusts_guessed_places_and_any_other_can_be_told_to(pairs, paused_after):
    run = paused_after(1)
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
