"""The command line from end to end: what appears, and that an interruption leaves nothing behind."""

import gzip
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from scipy import stats

import upgan
from Engine.bomb import Bomb
from Engine.command_line import (
    LPS,
    NAMES,
    OBLIQUE,
    SHAPE,
    assert_refused,
    environment_of,
    files_of,
    load_nifti,
    load_nrrd,
    outside,
    provenance_of,
    save_nifti,
    series_folder,
)
from Engine.made_images import blob, save_series
from upgan.bundles.library import find_bundle
from upgan.images.orientation import Reorientation
from upgan.images.volume import Volume
from upgan.images.writing import write_volume
from upgan.inference.saving import read_result
from upgan.networks.cascade import Cascade
from upgan.simulation.motion import Trajectory, move
from upgan.simulation.phantom import simulate_head


@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz"])
def test_a_translation_is_four_volumes_and_their_provenance_and_nothing_else(translate, tmp_path, suffix):
    image = save_nifti(tmp_path / "pet.nii.gz")
    outcome = translate(image, "--format", suffix)
    expected = [f"{name}.{suffix}" for name in NAMES] + ["provenance.json"]
    assert outcome.code == 0
    assert sorted(files_of(tmp_path / "out")) == sorted(expected)
    assert [Path(line) for line in outcome.out.splitlines()] == [tmp_path / "out" / name for name in expected]
    provenance = provenance_of(tmp_path / "out")
    assert provenance["source"] == image.name
    assert provenance["bundle"] == "tiny"
    assert provenance["warnings"] == []


def test_all_phases_and_one_epistemic_map_are_written_when_asked_for(translate, tmp_path):
    assert translate(save_nifti(tmp_path / "pet.nii"), "--phases", "all", "--epistemic").code == 0
    expected = {f"{name}{phase}.nrrd" for name in NAMES for phase in ("", "_phase_1")} | {"epistemic.nrrd"}
    assert set(files_of(tmp_path / "out")) == {*expected, "provenance.json"}


def test_several_models_leave_one_result_that_names_them_all(translate, tiny_bundle, tiny_companion, tmp_path):
    outcome = translate(save_nifti(tmp_path / "pet.nii"), "--model", tiny_companion.folder)
    assert outcome.code == 0
    found = read_result(tmp_path / "out")
    assert set(found) == {f"{name}.nrrd" for name in (*NAMES, "epistemic")}
    assert load_nrrd(found["epistemic.nrrd"]).max() > 1  # HU
    members = provenance_of(tmp_path / "out")["members"]
    expected = [(bundle.metadata.name, bundle.sha256) for bundle in (tiny_companion, tiny_bundle)]
    assert [(member["bundle"], member["bundle_sha256"]) for member in members] == expected


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
    assert provenance_of(output)["source"] == image.name
    assert str(output / "sigma.nrrd") in outcome.out


def test_a_file_name_that_is_no_text_is_no_obstacle_either(translate, tmp_path):
    image = tmp_path / os.fsdecode(b"pet\xff.nii.gz")
    try:
        save_nifti(image)
    except OSError:
        pytest.skip("this file system allows only text as names")
    assert translate(image).code == 0
    assert provenance_of(tmp_path / "out")["source"] == "pet\udcff.nii.gz"


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


@pytest.mark.parametrize(("codes", "placement"), [((0, 0), "guessed"), ((1, 2), "ambiguous")])
def test_a_place_that_is_not_sure_is_said_kept_and_handed_on(translate, tmp_path, codes, placement):
    image = nibabel.Nifti1Image(blob(SHAPE).T, OBLIQUE)
    image.set_qform(LPS, codes[0])
    image.set_sform(OBLIQUE, codes[1])
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "pet.nii")
    outcome = translate(tmp_path / "pet.nii", "--format", "nii.gz")
    assert outcome.code == 0
    provenance = provenance_of(tmp_path / "out")
    assert provenance["placement"] == placement
    assert "'pet.nii'" in provenance["warnings"][0]
    assert f"Warning: {provenance['warnings'][0]}" in outcome.err
    for name in NAMES:
        header = nibabel.load(tmp_path / "out" / f"{name}.nii.gz").header
        assert (header["qform_code"], header["sform_code"]) == codes
        places = [SimpleITK.ReadImage(path) for path in (tmp_path / "pet.nii", tmp_path / "out" / f"{name}.nii.gz")]
        assert places[0].TransformIndexToPhysicalPoint((40, 30, 7)) == places[1].TransformIndexToPhysicalPoint(
            (40, 30, 7)
        )


def test_a_nifti_that_slicer_could_not_open_is_warned_about(translate, tmp_path):
    slanted = LPS.copy()
    slanted[1, 2] = 0.5
    write_volume(Volume(blob(SHAPE), slanted), tmp_path / "pet.nrrd")
    assert "--format nrrd" in translate(tmp_path / "pet.nrrd", "--format", "nii.gz").err
    assert "--format nrrd" not in translate(tmp_path / "pet.nrrd", output=tmp_path / "other").err
    with pytest.raises(RuntimeError, match="orthonormal"):
        SimpleITK.ReadImage(tmp_path / "out" / "sigma.nii.gz")


def test_pet_is_no_reason_for_a_warning(translate, tmp_path):
    outcome = translate(series_folder(tmp_path, "PT"))
    assert outcome.code == 0
    assert "Warning" not in outcome.err
    assert provenance_of(tmp_path / "out")["warnings"] == []


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


def test_a_real_signal_leaves_nothing_behind(tiny_bundle, heard_signals, tmp_path):
    """Ctrl-C as well, which is made up above: this is how a cluster or a system that shuts down ends it."""
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
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in said
    assert files_of(tmp_path) == before


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_every_command_cleans_up_when_it_is_told_to_end_and_a_second_time_does_not_interrupt_that(
    run, heard_signals, monkeypatch, tmp_path, name
):
    number, cleaned = getattr(signal, name), []

    def work(*arguments):
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), number)
            cleaned.append(True)

    monkeypatch.setattr("upgan.bundles.library.import_model", work)
    before = signal.getsignal(number)
    assert run("bundle", "install", tmp_path).code == 128 + number
    assert cleaned == [True]
    assert signal.getsignal(number) is before


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
def test_a_signal_that_is_ignored_from_the_start_stays_ignored(run, monkeypatch, tmp_path):
    """As under nohup, which work is started with so that it outlives its terminal."""
    done = []
    monkeypatch.setattr(
        "upgan.bundles.library.import_model", lambda path: done.append(os.kill(os.getpid(), signal.SIGHUP))
    )
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(AttributeError):
            run("bundle", "install", tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert done == [None]


def test_too_little_memory_is_told_whatever_wanted_it(run, monkeypatch, tmp_path):
    def work(path):
        raise MemoryError

    monkeypatch.setattr("upgan.bundles.library.import_model", work)
    assert_refused(run("bundle", "install", tmp_path), "out_of_memory")


def test_too_little_memory_or_disk_is_refused_before_the_networks_begin(translate, tmp_path, monkeypatch):
    def never(self, a):
        raise AssertionError("it began")

    monkeypatch.setattr(Cascade, "phases", never)
    image, raw = save_nifti(tmp_path / "pet.nii"), 4 * int(np.prod(SHAPE))
    before = files_of(tmp_path)
    with monkeypatch.context() as patch:
        # Image, α, β; σ, and what writes it.
        patch.setattr("upgan.inference.memory.available_bytes", lambda: 6 * raw - 1)
        assert_refused(translate(image), "out_of_memory")
        patch.setattr("upgan.inference.memory.available_bytes", lambda: 9 * raw - 1)
        assert_refused(translate(image, "--phases", "all"), "out_of_memory")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=4 * raw - 1))
        assert_refused(translate(image), "disk_full")
    assert files_of(tmp_path) == before


def test_neither_a_path_nor_a_patients_name_gets_into_a_result_or_a_message(translate, tmp_path):
    """Of DICOM files of a patient, in a folder called after the patient."""
    secrets = {"PatientName": "SECRET^NAME", "PatientID": "SECRET-4711", "SeriesDescription": "HEAD SECRET"}
    secrets |= {"StudyDescription": "SECRET study", "PatientComments": "SECRET", "ReferringPhysicianName": "SECRET^DR"}
    for number in (1, 2):
        folder = tmp_path / "Secret Name" / "series"
        folder.mkdir(parents=True, exist_ok=True)
        heights = [3.0 * n for n in range(3)]
        tags = {"SeriesInstanceUID": f"1.2.3.{number}", "Modality": "PT", "RescaleIntercept": 300}
        save_series(folder, heights, **tags, **secrets)
    refused = translate(folder)
    assert_refused(refused, "several_series")
    outcomes = [refused]
    for suffix in ("nrrd", "nii.gz"):
        outcomes.append(translate(folder, "--series", "1.2.3.2", "--format", suffix, output=tmp_path / suffix))
        for path in (tmp_path / suffix).iterdir():
            content = path.read_bytes()
            text = gzip.decompress(content) if path.suffix == ".gz" else content
            assert b"secret" not in text.lower(), path.name
    assert [outcome.code for outcome in outcomes] == [2, 0, 0]
    assert not any("secret" in (outcome.out + outcome.err).lower() for outcome in outcomes)


def test_the_provenance_tells_the_content_by_its_hash_and_the_path_only_when_asked_to(translate, tmp_path):
    voxels = blob(SHAPE)
    image = save_nifti(tmp_path / "patient" / "pet.nii", voxels)
    assert translate(image).code == 0
    provenance = provenance_of(tmp_path / "out")
    expected = np.array(SHAPE, "<i8").tobytes() + LPS.astype("<f8").tobytes() + voxels.astype("<f4").tobytes()
    assert provenance["input_sha256"] == hashlib.sha256(expected).hexdigest()
    assert (provenance["source"], "path" in provenance) == ("pet.nii", False)
    assert str(tmp_path) not in (tmp_path / "out" / "provenance.json").read_text(encoding="utf-8")
    assert translate(image, "--record-path").code == 0
    assert provenance_of(tmp_path / "out")["path"] == str(image)


def test_info_names_the_devices_and_the_bundled_models(run):
    outcome = run("info")
    assert outcome.code == 0
    assert f"upgan {upgan.__version__}, PyTorch {torch.__version__}" in outcome.out
    assert "device  cpu: " in outcome.out
    assert f"model   pet-ct-phantom (bundled): {find_bundle('pet-ct-phantom').folder}" in outcome.out


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
    wanted = ("simulate", "pet-ct", "--subjects", 1, "--output", tmp_path / "heads", "--seed", 5, "--resolution")
    refused = run(*wanted, 4)
    assert refused.code == 2
    assert "resolution_too_fine" in refused.err
    assert not (tmp_path / "heads").exists()
    outcome = run(*wanted, 8)
    assert outcome.code == 0
    manifest = tmp_path / "heads" / "manifest.json"
    assert outcome.out == f"{manifest}\n"
    assert set(files_of(tmp_path / "heads")) == {"manifest.json", "sub-001_nacpet.nii.gz", "sub-001_ct.nii.gz"}
    content = json.loads(manifest.read_text(encoding="utf-8"))
    assert content["scanner"]["resolution_mm"] == 8
    (subject,) = content["subjects"]
    pet, ct = (nibabel.load(tmp_path / "heads" / subject[key]) for key in (content["input"], content["target"]))
    assert pet.shape == ct.shape
    np.testing.assert_array_equal(pet.affine, ct.affine)
    assert np.asarray(pet.dataobj).min() >= 0
    assert np.asarray(ct.dataobj).min() < -900
    assert "no patient" in content["statement"].lower()


def test_simulate_writes_a_t1_beside_its_ct(run, tmp_path, monkeypatch):
    small = partial(simulate_head, shape=(12, 32, 28), spacing_mm=(16.0, 7.0, 7.0), with_tissues=True)
    monkeypatch.setattr("upgan.simulation.dataset.simulate_mr_head", small)
    outcome = run("simulate", "mr-ct", "--subjects", 1, "--output", tmp_path / "heads", "--seed", 5)
    assert outcome.code == 0
    assert outcome.out == f"{tmp_path / 'heads' / 'manifest.json'}\n"
    assert set(files_of(tmp_path / "heads")) == {"manifest.json", "sub-001_t1.nii.gz", "sub-001_ct.nii.gz"}


def test_simulate_motion_moves_an_image_on_its_own_grid_and_says_how(run, tmp_path):
    voxels = blob(SHAPE)
    image = save_nifti(tmp_path / "head.nii.gz", voxels, OBLIQUE)
    moved, table = tmp_path / "moved.nii.gz", tmp_path / "moved_trajectory.csv"
    wanted = ("simulate", "motion", image, "--output", moved, "--kind", "drifting", "--order", "centre_out")
    wanted += ("--plane", "coronal", "--axis", "columns", "--seed", 3)
    outcome = run(*wanted, "--severity", 4)
    assert outcome.code == 0
    assert outcome.out == f"{moved}\n{table}\n"
    np.testing.assert_allclose(nibabel.load(moved).affine, OBLIQUE, atol=1e-4)
    layout = Reorientation.of(OBLIQUE, "coronal")
    clean, found = layout.apply(voxels), layout.apply(load_nifti(moved))
    content = np.genfromtxt(table, delimiter=",", names=True)
    for number in (0, len(clean) - 1):
        rows = content[content["slice"] == number]
        assert rows["line"][:3].tolist() == [0, -1, 1]
        shift_mm = np.stack([rows["down_mm"], rows["right_mm"]], axis=1)
        trajectory = Trajectory(rows["time"], rows["degrees"], shift_mm)
        again = move(clean[number], trajectory, layout.in_plane_spacing, "columns", "centre_out")
        np.testing.assert_allclose(found[number], again, atol=1e-3 * voxels.max())
    assert max(abs(content["degrees"]).max(), np.hypot(content["down_mm"], content["right_mm"]).max()) > 3.9
    still = run(*wanted, "--severity", 0)
    assert still.code == 0
    np.testing.assert_allclose(load_nifti(moved), voxels, atol=1e-5 * voxels.max())


@pytest.mark.parametrize(
    ("change", "name", "code"),
    [
        (lambda voxels: voxels, ("moved.nii.gz", "--severity", "-1"), "severity_out_of_range"),
        (lambda voxels: voxels, ("moved.jpg", "--severity", "1"), "unsupported_format"),
        (
            lambda voxels: np.where(voxels > voxels.mean(), 40.0, -1000.0),
            ("moved.nrrd", "--severity", "1"),
            "not_mr",
        ),
        (lambda voxels: voxels * np.float32("nan"), ("moved.nrrd", "--severity", "1"), "not_finite"),
        (lambda voxels: voxels + 1j, ("moved.nrrd", "--severity", "1"), "not_real_valued"),
    ],
)
def test_simulate_motion_leaves_nothing_of_what_cannot_be_moved(run, tmp_path, change, name, code):
    image = save_nifti(tmp_path / "head.nii.gz", change(blob(SHAPE)))
    before = files_of(tmp_path)
    outcome = run("simulate", "motion", image, "--output", tmp_path / name[0], *name[1:])
    assert outcome.code == 2
    assert f"({code})" in outcome.err
    assert files_of(tmp_path) == before


def test_help_does_not_wait_for_torch():
    program = (
        "import sys\n"
        "from upgan.cli.commands import main\n"
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
