"""What the command line refuses, in which words, and that nothing is left behind."""

import os
import pickle
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch

from Engine.bomb import Bomb
from Engine.command_line import LPS, SHAPE, assert_refused, files_of, save_nifti, series_folder
from Engine.made_images import blob
from upgan.bundles.bundle import write_bundle
from upgan.errors import OutputError
from upgan.images.volume import Volume
from upgan.inference.saving import OutputFolder


def text_file(path: Path) -> Path:
    path.write_text("This is a letter, not an image.\n" * 20)
    return path


def truncated(path: Path) -> Path:
    noise = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    content = save_nifti(path, noise).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def colour_nifti(path: Path) -> Path:
    voxels = np.zeros((6, 5, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.Nifti1Image(voxels, LPS).to_filename(path)
    return path


def colour_nrrd(path: Path) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True), str(path))
    return path


def with_holes(path: Path) -> Path:
    voxels = blob(SHAPE)
    voxels[0, 0, :5] = np.nan
    voxels[1, 0, :2] = (np.inf, -np.inf)
    return save_nifti(path, voxels)


def folder_without_images(path: Path) -> Path:
    path.mkdir()
    text_file(path / "README")
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


# What is given, the code of the refusal, and words that its sentence must have.
BAD_IMAGES = {
    "missing file": (lambda p: p / "pet.nii.gz", "file_not_found", "pet.nii.gz"),
    "missing file with brackets": (lambda p: p / "[a] pet [bold].nii", "file_not_found", "'[a] pet [bold].nii'"),
    "text as NIfTI": (lambda p: text_file(p / "pet.nii.gz"), "not_an_image", "pet.nii.gz"),
    "text as NRRD": (lambda p: text_file(p / "pet.nrrd"), "not_an_image", "pet.nrrd"),
    "truncated gzip": (lambda p: truncated(p / "pet.nii.gz"), "truncated_file", "pet.nii.gz"),
    "empty file": (lambda p: empty(p / "pet.nii.gz"), "empty_file", "pet.nii.gz"),
    "four dimensions": (
        lambda p: save_nifti(p / "pet.nii", np.zeros((3, 4, 5, 6), np.float32)),
        "not_three_dimensional",
        "3 values or frames",
    ),
    "colour NIfTI": (lambda p: colour_nifti(p / "photo.nii"), "colour_image", "photo.nii"),
    "colour NRRD": (lambda p: colour_nrrd(p / "photo.nrrd"), "colour_image", "photo.nrrd"),
    "no voxels": (lambda p: save_nifti(p / "pet.nii", np.zeros((0, 5, 6), np.float32)), "empty_volume", "6 x 5 x 0"),
    "one slice": (lambda p: save_nifti(p / "pet.nii", blob((1, 16, 16))), "single_slice", "16 x 16 x 1"),
    "one voxel": (lambda p: save_nifti(p / "pet.nii", np.ones((1, 1, 1), np.float32)), "single_slice", "1 x 1 x 1"),
    "NaN and infinity": (lambda p: with_holes(p / "pet.nii.gz"), "not_finite", "5 NaN and 2 infinite"),
    "constant": (lambda p: save_nifti(p / "pet.nii", np.full(SHAPE, 7, np.float32)), "constant_image", "7"),
    "nothing above zero": (lambda p: save_nifti(p / "pet.nii", -1 - blob(SHAPE)), "no_signal", "above zero"),
    "a CT": (lambda p: save_nifti(p / "ct.nii", 40 * blob(SHAPE) - 1000), "input_is_ct", "a CT in HU, but PT"),
    "absurd spacing": (
        lambda p: save_nifti(p / "pet.nii", affine=np.diag([2000.0, 2000, 2000, 1])),
        "absurd_spacing",
        "2000 x 2000 x 2000 mm",
    ),
    "singular affine": (lambda p: save_nifti(p / "pet.nii", affine=np.diag([2.0, 2, 0, 1])), "singular_affine", "axes"),
    "two DICOM series": (lambda p: series_folder(p, "PT", "MR"), "several_series", "1.2.3.2 (MR, 4"),
    "folder without images": (lambda p: folder_without_images(p / "dicom"), "no_dicom", "dicom"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
@pytest.mark.parametrize("output_exists", [False, True])
def test_an_image_that_cannot_be_translated_is_refused_and_nothing_is_written(translate, tmp_path, kind, output_exists):
    make, code, words = BAD_IMAGES[kind]
    image = make(tmp_path)
    if output_exists:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "sigma.nrrd").write_text("of an earlier run")
    before = files_of(tmp_path)
    outcome = translate(image)
    assert_refused(outcome, code)
    assert words in outcome.err
    assert files_of(tmp_path) == before


def test_a_series_that_is_not_there_is_refused_with_those_that_are(translate, tmp_path):
    outcome = translate(series_folder(tmp_path, "PT", "MR"), "--series", "9.9")
    assert_refused(outcome, "no_such_series")
    assert "1.2.3.1" in outcome.err
    assert "Secret" not in outcome.err  # the patient in the test's DICOM files


@pytest.mark.parametrize("phases", ["last", "all"])
def test_a_result_that_is_no_number_is_refused_and_nothing_is_written(translate, tiny_bundle, tmp_path, phases):
    cascade = tiny_bundle.load_cascade()
    with torch.no_grad():
        for name, parameter in cascade.named_parameters():
            if name.endswith("weight"):
                parameter.fill_(6e4)  # which half precision just holds
    section = {"task": tiny_bundle.metadata.upgan.task.model_dump(), "spacing_mm": (2.0, 2.0)}
    metadata = {"name": "loud", "version": "1", "description": ""}
    bundle = write_bundle(tiny_bundle.folder.with_name("loud"), cascade, metadata, section, "# loud", "none")
    image = save_nifti(tmp_path / "pet.nii")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sigma.nrrd").write_text("of an earlier run")
    before = files_of(tmp_path)
    assert_refused(translate(image, "--phases", phases, model=bundle.folder), "not_finite_output")
    assert files_of(tmp_path) == before


def flip_a_bit(folder: Path) -> None:
    weights = folder / "models" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def rename_architecture(folder: Path) -> None:
    metadata = folder / "configs" / "metadata.json"
    metadata.write_text(metadata.read_text(encoding="utf-8").replace('"up-gan"', '"transformer"'), encoding="utf-8")


DAMAGED_BUNDLES = {
    "checksum_mismatch": flip_a_bit,
    "metadata_missing": lambda folder: (folder / "configs" / "metadata.json").unlink(),
    "unknown_architecture": rename_architecture,
    "holds_pickle": lambda folder: (folder / "models" / "extra.pkl").write_bytes(
        pickle.dumps(Bomb(folder.parent / "exploded"))
    ),
    "bundle_not_found": lambda folder: folder.rename(folder.with_name("elsewhere")),
}


@pytest.mark.parametrize("code", DAMAGED_BUNDLES)
def test_a_damaged_model_is_refused_by_translate_and_by_verify(translate, run, tiny_bundle, tmp_path, code):
    DAMAGED_BUNDLES[code](tiny_bundle.folder)
    image = save_nifti(tmp_path / "pet.nii")
    before = files_of(tmp_path)
    assert_refused(translate(image), code)
    verdict = run("bundle", "verify", tiny_bundle.folder)
    assert verdict.code == 2
    assert verdict.out == ""
    assert verdict.err.startswith(f"{code}: ")
    assert verdict.err.rstrip("\n").endswith(".")
    assert files_of(tmp_path) == before
    assert not list(tmp_path.rglob("exploded"))


def test_cuda_is_refused_where_there_is_none(run, tiny_bundle, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    image = save_nifti(tmp_path / "pet.nii")
    before = files_of(tmp_path)
    options = ("--output", tmp_path / "out", "--model", tiny_bundle.folder, "--device", "cuda")
    assert_refused(run("translate", image, *options), "no_cuda")
    assert_refused(run("translate", image, *options[:-1], "toaster"), "unknown_device")
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    "options",
    [
        ("--phases", "first"),
        ("--plane", "oblique"),
        ("--format", "jpeg"),
        ("--precision", "float8"),
        ("--batch", "0"),
        ("--batch", "many"),
        ("--replace-nonfinite", "nan"),
        ("--replace-nonfinite", "-inf"),
        ("--colour", "red"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_name(translate, tmp_path, options):
    image = save_nifti(tmp_path / "pet.nii")
    before = files_of(tmp_path)
    outcome = translate(image, *options)
    assert outcome.code == 2
    assert options[0] in outcome.err
    assert "Traceback" not in outcome.err
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("below", ["", "sub", "sub/folder", "x[/b]"])
def test_an_output_folder_that_is_a_file_or_below_one_is_refused(translate, tmp_path, below):
    image = save_nifti(tmp_path / "pet.nii")
    (tmp_path / "out").write_text("a file")
    before = files_of(tmp_path)
    assert_refused(translate(image, output=tmp_path / "out" / below), "not_writable")
    assert files_of(tmp_path) == before


def test_a_result_whose_name_a_folder_has_stops_all_of_them(translate, tmp_path):
    image = save_nifti(tmp_path / "pet.nii")
    (tmp_path / "out" / "sigma.nrrd").mkdir(parents=True)
    (tmp_path / "out" / "alpha.nrrd").write_text("of an earlier run")
    before = files_of(tmp_path)
    outcome = translate(image)
    assert_refused(outcome, "not_writable")
    assert "sigma.nrrd" in outcome.err
    assert files_of(tmp_path) == before


def test_a_folder_without_permission_is_refused(translate, tmp_path):
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("permissions do not hold root back")
    image = save_nifti(tmp_path / "pet.nii")
    (tmp_path / "locked").mkdir(mode=0o500)
    for output in (tmp_path / "locked", tmp_path / "locked" / "out"):
        assert_refused(translate(image, output=output), "not_writable")
    assert files_of(tmp_path / "locked") == {}


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system in memory with options, which needs root; it is gone after the test."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = []

    def mount(options: str) -> Path:
        try:
            command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
            failed = subprocess.run(command, capture_output=True).returncode != 0
        except FileNotFoundError:
            failed = True
        if failed:
            pytest.skip("no small disk: mounting one needs root and Linux")
        mounted.append(folder)
        return folder

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


def test_a_read_only_disk_is_refused_even_for_root(translate, tmp_path, small_disk):
    image = save_nifti(tmp_path / "pet.nii")
    disk = small_disk("ro,size=1m")
    for output in (disk, disk / "out"):
        assert_refused(translate(image, output=output), "not_writable")
    assert files_of(disk) == {}


@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz"])
def test_a_full_disk_is_told_and_left_as_it_was(translate, tmp_path, small_disk, suffix):
    # The maps of noise compress badly: the disk takes one of the four and part of the next.
    voxels = np.random.default_rng(0).random((16, 64, 64), dtype=np.float32)
    image = save_nifti(tmp_path / "pet.nii", voxels)
    disk = small_disk("size=128k")
    (disk / "notes.txt").write_text("mine")
    before = files_of(disk)
    for output in (disk, disk / "out"):
        outcome = translate(image, "--format", suffix, output=output)
        assert_refused(outcome, "disk_full")
        assert files_of(disk) == before


def test_a_disk_that_is_full_only_when_the_provenance_is_written_is_told_too(small_disk):
    disk = small_disk("size=64k")

    def save() -> None:
        with OutputFolder(disk / "out") as folder:
            folder.add_volume("sigma.nrrd", Volume(blob((2, 8, 8)), LPS))
            folder.add_json("provenance.json", {"long": "x" * 100_000})

    with pytest.raises(OutputError) as refusal:
        save()
    assert refusal.value.code == "disk_full"
    assert "provenance.json" in refusal.value.sentence
    assert files_of(disk) == {}
