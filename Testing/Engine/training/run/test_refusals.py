"""Bad data end a training before it starts, with the patient's label and what to do; or are left out where asked."""

import json
import shutil

import nibabel
import numpy as np
import pytest

from Engine.training_runs import Onlooker, tiny
from upgan.errors import InputError
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.images.writing import write_volume
from upgan.training.run.trainer import train

BAD = "sub-003"


@pytest.fixture(scope="module")
def good(tmp_path_factory, write_pairs):
    folder = tmp_path_factory.mktemp("good")
    write_pairs(folder, [11, 12, 13, 14, 15, 16])
    (folder / "manifest.json").unlink()
    return folder


@pytest.fixture
def heads(good, tmp_path):
    """Six pairs, to be spoilt."""
    return shutil.copytree(good, tmp_path / "heads")


def pattern(folder, **changes):
    data = {
        "layout": "pattern",
        "path": str(folder),
        "input": "{subject}_nacpet.nii.gz",
        "target": "{subject}_ct.nii.gz",
    }
    return tiny(folder, **{"data": data, **changes})


def changed(path, change):
    volume = read_volume(path)
    write_volume(change(volume), path)


def miss_a_side(heads):
    (heads / f"{BAD}_ct.nii.gz").unlink()


def swap_sides(heads):
    pet, ct = heads / f"{BAD}_nacpet.nii.gz", heads / f"{BAD}_ct.nii.gz"
    pet.rename(heads / "x.nii.gz")
    ct.rename(pet)
    (heads / "x.nii.gz").rename(ct)


def write_attenuation_instead_of_hu(heads):
    changed(
        heads / f"{BAD}_ct.nii.gz",
        lambda ct: Volume(np.maximum(9.6e-5 * (ct.voxels + 1000), 0).astype(np.float32), ct.ijk_to_ras),
    )


def add_a_fourth_dimension(heads):
    path = heads / f"{BAD}_nacpet.nii.gz"
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.stack([image.get_fdata()] * 2, axis=-1), image.affine), path)


def say_another_place_too(path):
    """Let the sform say another place than the qform, which is what is taken."""
    image = nibabel.load(path)
    elsewhere = image.affine.copy()
    elsewhere[0, 3] += 50
    both = nibabel.Nifti1Image(image.get_fdata(), image.affine)
    both.set_qform(image.affine, 1)
    both.set_sform(elsewhere, 2)
    nibabel.save(both, path)


def move_to_another_place(heads):
    def moved(ct):
        affine = np.array(ct.ijk_to_ras)
        affine[:3, 3] += 1000
        return Volume(ct.voxels, affine)

    changed(heads / f"{BAD}_ct.nii.gz", moved)


def cut_the_file_short(heads):
    path = heads / f"{BAD}_nacpet.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])


def put_nan(heads):
    def holed(pet):
        voxels = np.array(pet.voxels)
        voxels[3, 4, 5] = np.nan
        return Volume(voxels, pet.ijk_to_ras)

    changed(heads / f"{BAD}_nacpet.nii.gz", holed)


SPOILT = [
    (miss_a_side, "missing_target"),
    (swap_sides, "swapped_modalities"),
    (write_attenuation_instead_of_hu, "not_hu"),
    (add_a_fourth_dimension, "not_three_dimensional"),
    (move_to_another_place, "not_overlapping"),
    (cut_the_file_short, "truncated_file"),
    (put_nan, "not_finite"),
]


def refused(config, run) -> InputError:
    onlooker = Onlooker()
    with pytest.raises(InputError) as refusal:
        train(config, run, onlooker)
    assert onlooker.lines == []  # nothing was trained
    assert not (run / "checkpoints").exists()
    assert refusal.value.remedy
    return refusal.value


@pytest.mark.parametrize(("spoil", "code"), SPOILT, ids=lambda value: getattr(value, "__name__", None))
def test_a_bad_pair_is_named_before_the_training_starts(heads, tmp_path, spoil, code):
    spoil(heads)
    error = refused(pattern(heads), tmp_path / "run")
    assert error.code == code
    assert BAD in error.sentence


def test_the_rest_goes_on_only_if_asked_and_who_was_left_out_is_written_down(heads, tmp_path):
    cut_the_file_short(heads)
    schedule = {"epochs": [1, 0], "joint_epochs": 0}
    config = pattern(heads, schedule=schedule)
    config = config.model_copy(update={"data": config.data.model_copy(update={"skip_bad": True})})
    say_another_place_too(heads / "sub-001_ct.nii.gz")
    watch = Onlooker()
    train(config, tmp_path / "run", watch)
    (event,) = [line for line in watch.of("event") if line["code"] == "two_places"]
    assert event["sentence"].startswith("sub-001: Target: ")
    split = json.loads((tmp_path / "run" / "split.json").read_text(encoding="utf-8"))
    assert BAD not in {*split["train"], *split["validation"], *split["test"]}
    data = json.loads((tmp_path / "run" / "data.json").read_text(encoding="utf-8"))
    assert [pair["subject"] for pair in data["left_out"]] == [BAD]
    assert data["left_out"][0]["problems"]


def test_pairs_on_unequal_grids_are_brought_together(heads, tmp_path):
    """No refusal: the target is resampled, and data.json says so."""

    def finer(ct):
        affine = np.array(ct.ijk_to_ras)
        affine[:3, :3] = affine[:3, :3] / 2
        return Volume(np.repeat(np.repeat(np.repeat(ct.voxels, 2, 0), 2, 1), 2, 2), affine)

    changed(heads / f"{BAD}_ct.nii.gz", finer)
    train(pattern(heads, schedule={"epochs": [1, 0], "joint_epochs": 0}), tmp_path / "run", Onlooker())
    data = json.loads((tmp_path / "run" / "data.json").read_text(encoding="utf-8"))
    found = {pair["subject"]: pair["problems"] for pair in [*data["pairs"], *data["left_out"]]}
    assert any("grid" in sentence for sentence in found[BAD])


def test_an_empty_folder_and_a_single_patient_are_refused(good, tmp_path):
    (tmp_path / "empty").mkdir()
    assert refused(pattern(tmp_path / "empty"), tmp_path / "run-1").code == "no_pairs"
    (tmp_path / "one").mkdir()
    for path in good.glob("sub-001*"):
        shutil.copy(path, tmp_path / "one")
    assert refused(pattern(tmp_path / "one"), tmp_path / "run-2").code == "one_patient"


def test_the_same_patient_in_two_parts_of_a_table_is_refused(good, tmp_path):
    parts = ["train", "train", "validation", "test"]
    rows = [(f"sub-{n:03}", f"sub-{n:03}", part) for n, part in enumerate(parts, start=1)] + [
        ("sub-001", "sub-005", "test")
    ]
    lines = [f"{who},{good}/{files}_nacpet.nii.gz,{good}/{files}_ct.nii.gz,{part}" for who, files, part in rows]
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join(["subject,input,target,split", *lines]), encoding="utf-8")
    config = tiny(good, data={"layout": "csv", "path": str(table)})
    error = refused(config, tmp_path / "run")
    assert error.code == "patient_in_two_parts"
    assert "sub-001" in error.sentence
