"""The command line from end to end: what appears, what is refused in which words, and that nothing is left behind."""

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from scipy import stats

import upgan
from Engine.conftest import blob
from Engine.test_volume import save_series
from upgan.bundle import bundled_models
from upgan.cli import main
from upgan.errors import OutputError
from upgan.networks.cascade import Cascade
from upgan.saving import OutputFolder
from upgan.volume import Volume

NAMES = ("pseudo_ct", "alpha", "beta", "sigma")
SHAPE = (8, 32, 48)  # K, J, I: whole multiples of the network's 16 within the slices
LPS = np.diag([-2.0, -2.0, 2.0, 1.0])  # stored as the network sees it, at the tiny bundle's spacing
OBLIQUE = np.array([[-1.75, 0.5, 0.25, 90.5], [0.5, 1.75, -0.5, -60.25], [0.25, 0.5, 2.5, -31.125], [0, 0, 0, 1.0]])


class Outcome(NamedTuple):
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command line in this process, where torch is loaded already."""

    def upgan_command(*arguments) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["upgan", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return upgan_command


@pytest.fixture
def translate(run, tiny_bundle, tmp_path):
    """Translate with the tiny bundle; into ``tmp_path / "out"`` unless told otherwise."""

    def command(image, *options, output=tmp_path / "out", model=tiny_bundle.folder) -> Outcome:
        fixed = ("--model", model, "--device", "cpu", "--precision", "float32")
        return run("translate", image, "--output", output, *fixed, *options)

    return command


def outside(*arguments, **environment) -> Outcome:
    """Run the command line in a process of its own, as a shell would."""
    done = subprocess.run(
        [sys.executable, "-m", "upgan.cli", *map(str, arguments)],
        capture_output=True,
        env=environment_of(**environment),
        timeout=120,
    )
    return Outcome(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def environment_of(**changes) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(upgan.__file__).parents[1]), **changes}


def save_nifti(path: Path, voxels: np.ndarray | None = None, affine: np.ndarray = LPS) -> Path:
    """Write voxels [K, J, I] by nibabel, which is not what the engine writes with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image((blob(SHAPE) if voxels is None else voxels).T, None)
    image.set_sform(affine, code=1)  # takes singular ones too
    image.to_filename(path)
    return path


def load_nifti(path: Path) -> np.ndarray:
    """[K, J, I]."""
    return np.asarray(nibabel.load(path).dataobj).T


def load_nrrd(path: Path) -> np.ndarray:
    """[K, J, I]."""
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def files_of(folder: Path) -> dict[str, str]:
    """Everything below a folder, hidden or not, with checksums of the files."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def provenance_of(folder: Path) -> dict:
    return json.loads((folder / "provenance.json").read_text(encoding="utf-8"))


def assert_refused(outcome: Outcome, code: str) -> None:
    """Exit code 2, the code, a sentence, a remedy on the last line, and no traceback."""
    assert outcome.code == 2, outcome
    assert "Traceback" not in outcome.err
    *_, error, remedy = outcome.err.rstrip("\n").split("\n")
    assert error.startswith(f"Error ({code}): ")
    assert error.endswith(".")
    assert len(remedy) > 10
    assert remedy.endswith(".")
    assert outcome.out == ""


# --- What comes out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz"])
def test_a_translation_is_four_volumes_and_their_provenance_and_nothing_else(translate, tmp_path, suffix):
    image = save_nifti(tmp_path / "pet.nii.gz")
    outcome = translate(image, "--format", suffix)
    expected = [f"{name}.{suffix}" for name in NAMES] + ["provenance.json"]
    assert outcome.code == 0
    assert sorted(files_of(tmp_path / "out")) == sorted(expected)
    assert [Path(line) for line in outcome.out.splitlines()] == [tmp_path / "out" / name for name in expected]
    provenance = provenance_of(tmp_path / "out")
    assert provenance["source"] == str(image)
    assert provenance["bundle"] == "tiny"
    assert provenance["warnings"] == []


def test_all_phases_are_written_when_asked_for(translate, tmp_path):
    assert translate(save_nifti(tmp_path / "pet.nii"), "--phases", "all").code == 0
    expected = {f"{name}{phase}.nrrd" for name in NAMES for phase in ("", "_phase_1")}
    assert set(files_of(tmp_path / "out")) == {*expected, "provenance.json"}


def test_nifti_comes_back_on_exactly_its_own_grid(translate, tmp_path):
    image = save_nifti(tmp_path / "pet.nii.gz", affine=OBLIQUE)
    assert translate(image, "--format", "nii.gz").code == 0
    expected = nibabel.load(image)
    for name in NAMES:
        found = nibabel.load(tmp_path / "out" / f"{name}.nii.gz")
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found.affine, expected.affine)
        assert found.get_data_dtype() == np.float32


def test_nrrd_comes_back_on_exactly_its_own_grid(translate, tmp_path):
    image = SimpleITK.GetImageFromArray(blob(SHAPE))
    image.SetSpacing((1.5, 2.25, 3.0))
    image.SetOrigin((12.5, -30.0, 7.25))
    image.SetDirection((0.6, -0.8, 0, 0.8, 0.6, 0, 0, 0, 1))
    SimpleITK.WriteImage(image, str(tmp_path / "pet.nrrd"))
    assert translate(tmp_path / "pet.nrrd").code == 0
    for name in NAMES:
        found = SimpleITK.ReadImage(str(tmp_path / "out" / f"{name}.nrrd"))
        assert found.GetSize() == image.GetSize()
        for geometry in ("GetSpacing", "GetOrigin", "GetDirection"):
            np.testing.assert_allclose(getattr(found, geometry)(), getattr(image, geometry)(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_the_files_hold_the_network_in_hounsfield_units(translate, tiny_bundle, tmp_path, plane):
    voxels = blob((16, 32, 48))
    outcome = translate(save_nifti(tmp_path / "pet.nii.gz", voxels), "--plane", plane, "--format", "nii.gz")
    assert outcome.code == 0
    provenance = provenance_of(tmp_path / "out")
    assert provenance["plane"] == plane
    a = np.sqrt(voxels / np.float32(provenance["input_reference"]))
    # Coronal slices show the head upright: rows run from the top down, so that K is turned over.
    slices = a if plane == "axial" else a[::-1].transpose(1, 0, 2)
    with torch.inference_mode():
        last = tiny_bundle.load_cascade()(torch.from_numpy(slices.copy())[:, None])[-1]
    maps = {"pseudo_ct": 1000 * last.loc - 1000, "alpha": 1000 * last.scale, "beta": last.concentration}
    for name, expected in maps.items():
        truth = expected[:, 0].numpy()
        truth = truth if plane == "axial" else truth.transpose(1, 0, 2)[::-1]
        found = load_nifti(tmp_path / "out" / f"{name}.nii.gz")
        np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-2)
        assert np.ptp(truth) > 0
    alpha, beta = (load_nifti(tmp_path / "out" / f"{name}.nii.gz") for name in ("alpha", "beta"))
    sigma = load_nifti(tmp_path / "out" / "sigma.nii.gz")
    np.testing.assert_allclose(sigma, stats.gennorm(beta, 0, alpha).std(), rtol=1e-4)


def test_spaces_brackets_and_foreign_letters_in_paths_are_no_obstacle(translate, tmp_path):
    image = save_nifti(tmp_path / "Größe 1 – σ" / "PET [Köpfe] 脳.nii.gz")
    output = tmp_path / "Größe 1 – σ" / "новый ордner [/b]" / "two levels"
    outcome = translate(image, output=output)
    assert outcome.code == 0
    assert set(files_of(output)) == {*(f"{name}.nrrd" for name in NAMES), "provenance.json"}
    assert provenance_of(output)["source"] == str(image)
    assert str(output / "sigma.nrrd") in outcome.out


def test_a_file_name_that_is_no_text_is_no_obstacle_either(translate, tmp_path):
    image = tmp_path / os.fsdecode(b"pet\xff.nii.gz")
    try:
        save_nifti(image)
    except OSError:
        pytest.skip("this file system allows only text as names")
    assert translate(image).code == 0
    assert provenance_of(tmp_path / "out")["source"].endswith("pet\udcff.nii.gz")


def test_results_of_an_earlier_run_are_replaced_and_other_files_left_alone(translate, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sigma.nrrd").write_text("old")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert translate(save_nifti(tmp_path / "first.nii.gz")).code == 0
    first = files_of(tmp_path / "out")
    assert load_nrrd(tmp_path / "out" / "sigma.nrrd").shape == SHAPE
    assert translate(save_nifti(tmp_path / "second.nii.gz", blob((4, 16, 16)))).code == 0
    second = files_of(tmp_path / "out")
    assert set(first) == set(second) == {*(f"{name}.nrrd" for name in NAMES), "provenance.json", "notes.txt"}
    assert [name for name in first if first[name] == second[name]] == ["notes.txt"]
    assert load_nrrd(tmp_path / "out" / "sigma.nrrd").shape == (4, 16, 16)


def test_nan_can_be_replaced_on_request(translate, tmp_path):
    voxels = blob(SHAPE)
    voxels[0, 0, :3] = np.nan
    assert translate(save_nifti(tmp_path / "pet.nii", voxels), "--replace-nonfinite", 0).code == 0
    assert np.isfinite(load_nrrd(tmp_path / "out" / "pseudo_ct.nrrd")).all()
    assert provenance_of(tmp_path / "out")["replaced_nonfinite"] == 0


def series_folder(tmp_path: Path, *modalities: str) -> Path:
    """A folder of DICOM series numbered 1.2.3.1, 1.2.3.2, …, one per modality, with intensities above zero."""
    folder = tmp_path / "dicom"
    folder.mkdir()
    for number, modality in enumerate(modalities, start=1):
        heights = [3.0 * n for n in range(number + 2)]
        save_series(folder, heights, SeriesInstanceUID=f"1.2.3.{number}", Modality=modality, RescaleIntercept=300)
    return folder


def test_one_of_several_dicom_series_can_be_chosen(translate, tmp_path):
    folder = series_folder(tmp_path, "PT", "PT")
    assert translate(folder, "--series", "1.2.3.2").code == 0
    assert load_nrrd(tmp_path / "out" / "sigma.nrrd").shape == (4, 5, 6)


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_another_modality_passes_with_a_warning_that_is_kept(translate, tmp_path, modality):
    outcome = translate(series_folder(tmp_path, modality))
    assert outcome.code == 0
    (warning,) = provenance_of(tmp_path / "out")["warnings"]
    assert f"Warning: {warning}" in outcome.err
    assert f"marked as {modality}" in warning
    assert "PT" in warning


def test_pet_is_no_reason_for_a_warning(translate, tmp_path):
    outcome = translate(series_folder(tmp_path, "PT"))
    assert outcome.code == 0
    assert "Warning" not in outcome.err
    assert provenance_of(tmp_path / "out")["warnings"] == []


# --- What is refused --------------------------------------------------------------------------------------------------


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
    "absurd spacing": (
        lambda p: save_nifti(p / "pet.nii", affine=np.diag([2000.0, 2000, 2000, 1])),
        "absurd_spacing",
        "2000 x 2000 x 2000 mm",
    ),
    "singular affine": (lambda p: save_nifti(p / "pet.nii", affine=np.diag([2.0, 2, 0, 1])), "singular_affine", "axes"),
    "two DICOM series": (lambda p: series_folder(p, "PT", "MR"), "several_series", "1.2.3.2 (without description, 4"),
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


def flip_a_bit(folder: Path) -> None:
    weights = folder / "models" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def rename_architecture(folder: Path) -> None:
    metadata = folder / "configs" / "metadata.json"
    metadata.write_text(metadata.read_text(encoding="utf-8").replace('"up-gan"', '"transformer"'), encoding="utf-8")


class Bomb:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


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


# --- Where results cannot be written ----------------------------------------------------------------------------------


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


# --- Interruption -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_exists", [False, True])
def test_ctrl_c_leaves_nothing_behind(translate, tmp_path, monkeypatch, output_exists):
    image = save_nifti(tmp_path / "pet.nii")
    if output_exists:
        (tmp_path / "out").mkdir()
    before = files_of(tmp_path)
    phases, seen = Cascade.phases, []

    def interrupted(self, a):
        seen.append(any((tmp_path / "out").glob(".upgan-*")))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return phases(self, a)

    monkeypatch.setattr(Cascade, "phases", interrupted)
    outcome = translate(image, "--batch", 1)
    assert seen == [True] * 3  # the work was under way, and its private folder there
    assert outcome.code not in (0, 2)
    assert "Traceback" not in outcome.err
    assert files_of(tmp_path) == before


def test_a_real_interrupt_signal_leaves_nothing_behind(tiny_bundle, tmp_path):
    if sys.platform == "win32":
        pytest.skip("Windows has no such signal for another process")
    image = save_nifti(tmp_path / "pet.nii", blob((400, 160, 160)))
    before = files_of(tmp_path)
    command = [sys.executable, "-m", "upgan.cli", "translate", image, "--output", tmp_path / "out"]
    options = ["--model", tiny_bundle.folder, "--device", "cpu", "--batch", "1"]
    process = subprocess.Popen([*command, *options], env=environment_of(), stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("out/.upgan-*")):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode not in (0, 2)
    assert "Traceback" not in said
    assert files_of(tmp_path) == before


# --- Other commands ---------------------------------------------------------------------------------------------------


def test_info_names_the_devices_and_the_bundled_models(run):
    outcome = run("info")
    assert outcome.code == 0
    assert f"upgan {upgan.__version__}, PyTorch {torch.__version__}" in outcome.out
    assert "device  cpu: " in outcome.out
    assert "model   pet-ct-phantom: " in outcome.out
    for name, folder in bundled_models().items():
        assert f"model   {name}: {folder}" in outcome.out


def test_verify_names_a_whole_model_with_its_checksum(run, tiny_bundle):
    outcome = run("bundle", "verify", tiny_bundle.folder)
    weights = tiny_bundle.folder / "models" / "model.safetensors"
    assert outcome == (0, f"tiny 1.2.3: complete, sha256 {hashlib.sha256(weights.read_bytes()).hexdigest()}\n", "")


def test_an_import_of_a_pickle_that_would_run_is_refused_and_it_does_not_run(run, tmp_path):
    checkpoint = tmp_path / "phase1.pth"
    checkpoint.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded"), 2))
    zipped = tmp_path / "phase2.pth"
    torch.save({"weight": Bomb(tmp_path / "exploded")}, zipped)
    before = files_of(tmp_path)
    for path in (checkpoint, zipped):
        outcome = run("bundle", "import", path, "--output", tmp_path / "model", "--spacing", 2, 2)
        assert_refused(outcome, "checkpoint_unsafe")
        assert path.name in outcome.err
    assert files_of(tmp_path) == before


def test_a_licence_that_is_not_there_is_refused_by_name(run, tmp_path):
    outcome = run("bundle", "create", tmp_path, "--output", tmp_path / "model", "--licence", tmp_path / "LICENSE")
    assert outcome.code == 2
    assert "--licence" in outcome.err
    assert "Traceback" not in outcome.err


def test_simulate_writes_a_pair_and_its_manifest(run, tmp_path):
    outcome = run("simulate", "pet-ct", "--subjects", 1, "--output", tmp_path / "heads", "--seed", 5)
    assert outcome.code == 0
    manifest = tmp_path / "heads" / "manifest.json"
    assert outcome.out == f"{manifest}\n"
    assert set(files_of(tmp_path / "heads")) == {"manifest.json", "sub-001_nacpet.nii.gz", "sub-001_ct.nii.gz"}
    content = json.loads(manifest.read_text(encoding="utf-8"))
    (subject,) = content["subjects"]
    pet, ct = (nibabel.load(tmp_path / "heads" / subject[key]) for key in (content["input"], content["target"]))
    assert pet.shape == ct.shape
    np.testing.assert_array_equal(pet.affine, ct.affine)
    assert np.asarray(pet.dataobj).min() >= 0
    assert np.asarray(ct.dataobj).min() < -900
    assert "no patient" in content["statement"].lower()


# --- In a process of its own ------------------------------------------------------------------------------------------


def test_help_does_not_wait_for_torch():
    program = (
        "import sys\n"
        "from upgan.cli import main\n"
        "sys.argv = ['upgan', *sys.argv[1:]]\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print([name for name in ('torch', 'SimpleITK', 'nibabel') if name in sys.modules])\n"
    )
    for arguments in (["--help"], ["translate", "--help"], ["bundle", "--help"]):
        found = subprocess.run(
            [sys.executable, "-c", program, *arguments], env=environment_of(), capture_output=True, encoding="utf-8"
        )
        assert found.returncode == 0
        assert "Usage: upgan" in found.stdout
        assert found.stdout.splitlines()[-1] == "[]"


def test_from_a_shell_a_translation_ends_with_zero_and_its_files(tiny_bundle, tmp_path):
    image = save_nifti(tmp_path / "pet σ.nii.gz")
    # A Windows pipe's encoding: it has no σ, which must not end the work after all was done.
    arguments = ("translate", image, "--output", tmp_path / "out σ", "--model", tiny_bundle.folder, "--device", "cpu")
    outcome = outside(*arguments, PYTHONIOENCODING="cp1252")
    assert outcome.code == 0, outcome.err
    assert set(files_of(tmp_path / "out σ")) == {*(f"{name}.nrrd" for name in NAMES), "provenance.json"}
    assert outcome.out.count("\n") == 5


def test_from_a_shell_a_refusal_ends_with_two_and_its_sentence(tiny_bundle, tmp_path):
    before = files_of(tmp_path)
    outcome = outside("translate", tmp_path / "none.nii", "--output", tmp_path / "out", "--model", tiny_bundle.folder)
    assert_refused(outcome, "file_not_found")
    assert files_of(tmp_path) == before
