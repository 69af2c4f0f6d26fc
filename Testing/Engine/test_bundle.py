"""Model bundles: what is written verifies, what is damaged or unsafe is refused, nothing is executed."""

import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from Engine.bomb import Bomb
from upgan.bundle import Bundle, find_bundle, problems, write_bundle
from upgan.errors import BundleError, OutputError
from upgan.library import installed_models

ROOT = Path(__file__).parents[2]
BUNDLED = "pet-ct-phantom"


def edit_metadata(folder: Path, change) -> None:
    path = folder / "configs" / "metadata.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def codes(folder: Path) -> list[str]:
    return [problem.code for problem in problems(folder)]


def test_what_was_written_verifies_and_loads_the_same_weights_in_half_precision(tiny_bundle):
    from Engine.conftest import seasoned_cascade

    assert problems(tiny_bundle.folder) == []
    written = seasoned_cascade().state_dict()
    for name, tensor in Bundle.open(tiny_bundle.folder).load_cascade().state_dict().items():
        expected = written[name]
        torch.testing.assert_close(tensor, expected.half().float() if tensor.is_floating_point() else expected)


def break_weights(folder):
    path = folder / "models" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "checksum_mismatch": break_weights,
    "weights_missing": lambda folder: (folder / "models" / "model.safetensors").unlink(),
    "metadata_missing": lambda folder: (folder / "configs" / "metadata.json").unlink(),
    "metadata_unreadable": lambda folder: (folder / "configs" / "metadata.json").write_text("{"),
    "unknown_architecture": lambda folder: edit_metadata(
        folder, lambda content: content["upgan"]["architecture"].update(name="transformer")
    ),
    "metadata_invalid": lambda folder: edit_metadata(
        folder, lambda content: content["upgan"].update(spacing_mm=[0, 2])
    ),
    "metadata_invalid ": lambda folder: edit_metadata(
        folder, lambda content: content["upgan"]["architecture"].update(concentration_range=[2.0, 3.0])
    ),
    "checksum_missing": lambda folder: edit_metadata(folder, lambda content: content["upgan"].update(sha256={})),
    "bundle_incomplete": lambda folder: (folder / "LICENSE").unlink(),
    "holds_pickle": lambda folder: (folder / "models" / "extra.pt").write_bytes(b"PK\x03\x04"),
    "bundle_unsafe": lambda folder: (folder / "docs" / "link.md").symlink_to("/etc/hostname"),
    "bundle_not_found": shutil.rmtree,
}


@pytest.mark.parametrize("code", DAMAGE)
def test_each_damage_is_named(tiny_bundle, code):
    DAMAGE[code](tiny_bundle.folder)
    assert code.strip() in codes(tiny_bundle.folder)
    with pytest.raises(BundleError) as refusal:
        Bundle.open(tiny_bundle.folder)
    assert refusal.value.remedy


def test_a_bundle_of_another_kind_is_not_a_up_gan(tiny_bundle):
    edit_metadata(tiny_bundle.folder, lambda content: content.pop("upgan"))
    assert codes(tiny_bundle.folder) == ["unknown_architecture"]


@pytest.mark.parametrize("name", ["model.safetensors", "notes.txt", "model.json"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_under_a_harmless_name_is_refused_and_does_not_run(tiny_bundle, tmp_path, name, protocol):
    (tiny_bundle.folder / "models" / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded"), protocol))
    assert "holds_pickle" in codes(tiny_bundle.folder)
    with pytest.raises(BundleError):
        Bundle.open(tiny_bundle.folder)
    assert not (tmp_path / "exploded").exists()


def test_checksums_cannot_point_outside_the_bundle(tiny_bundle):
    outside = tiny_bundle.folder.parent / "outside.safetensors"
    outside.write_bytes(b"x")
    edit_metadata(
        tiny_bundle.folder, lambda content: content["upgan"]["sha256"].update({"../outside.safetensors": "0"})
    )
    assert "weights_missing" in codes(tiny_bundle.folder)


def test_weights_of_another_architecture_are_refused_on_loading(tiny_bundle):
    edit_metadata(tiny_bundle.folder, lambda content: content["upgan"]["architecture"].update(width=4))
    with pytest.raises(BundleError) as refusal:
        Bundle.open(tiny_bundle.folder).load_cascade()
    assert refusal.value.code == "weights_mismatch"


def test_weights_that_half_precision_cannot_hold_are_refused_on_loading(tiny_bundle):
    cascade = tiny_bundle.load_cascade()
    with torch.no_grad():
        cascade.generators[0].image_head.weight.fill_(1e6)
    content = json.loads((tiny_bundle.folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    section = {key: content["upgan"][key] for key in ("task", "spacing_mm")}
    metadata = {"name": "overflown", "version": "1", "description": ""}
    bundle = write_bundle(tiny_bundle.folder.with_name("overflown"), cascade, metadata, section, "", "")
    with pytest.raises(BundleError) as refusal:
        bundle.load_cascade()
    assert refusal.value.code == "weights_not_finite"


def test_an_existing_folder_is_not_overwritten(tiny_bundle):
    with pytest.raises(OutputError) as refusal:
        write_bundle(tiny_bundle.folder, tiny_bundle.load_cascade(), {}, {}, "", "")
    assert refusal.value.code == "exists"
    assert problems(tiny_bundle.folder) == []


def test_nothing_is_left_when_a_bundle_cannot_be_completed(tiny_bundle):
    folder = tiny_bundle.folder.parent / "half"
    with pytest.raises(ValueError, match="name"):
        write_bundle(folder, tiny_bundle.load_cascade(), {}, {}, "", "")
    assert [path.name for path in tiny_bundle.folder.parent.iterdir()] == ["tiny"]


def test_an_unknown_name_lists_the_bundled_models():
    with pytest.raises(BundleError) as refusal:
        find_bundle("no-such-model")
    assert refusal.value.code == "bundle_not_found"
    assert BUNDLED in refusal.value.remedy


def test_the_bundled_model_is_found_by_name_small_and_whole():
    bundle = find_bundle(BUNDLED)
    assert (BUNDLED, "bundled", bundle.folder) in [(m.name, m.origin, m.folder) for m in installed_models()]
    assert sum(path.stat().st_size for path in bundle.folder.rglob("*") if path.is_file()) < 10e6
    assert bundle.metadata.upgan.architecture.phases == 3
    bundle.load_cascade()


def test_the_card_of_the_bundled_model_states_what_its_metadata_measured():
    bundle = find_bundle(BUNDLED)
    card = (bundle.folder / "docs" / "README.md").read_text(encoding="utf-8")
    phases = bundle.metadata.upgan.figures["test"]["phases"]
    for figures in phases.values():
        assert f"{figures['mae'][0]:.1f} ± {figures['mae'][1]:.1f}" in card
    assert "Not for patients" in card


def test_the_bundled_model_errs_least_in_its_last_phase_and_its_intervals_hold():
    phases = find_bundle(BUNDLED).metadata.upgan.figures["test"]["phases"]
    errors = [phases[str(phase)]["mae"][0] for phase in (1, 2, 3)]
    assert errors[0] > errors[1] >= errors[2]
    for level in (50, 80, 90, 95):
        assert phases["3"][f"coverage_{level}%"][0] == pytest.approx(level / 100, abs=0.07)
    assert phases["3"]["spearman_error_sigma"][0] > 0.5


def test_monai_verifies_our_metadata(tiny_bundle, monkeypatch):
    # MONAI fetches the schema by its address; an existing file of that name spares the network.
    from monai.bundle import verify_metadata

    logging.getLogger("monai").setLevel(logging.ERROR)
    schema = Path(__file__).with_name("monai_schema.json")
    for folder in (tiny_bundle.folder, find_bundle(BUNDLED).folder):
        verify_metadata(meta_file=str(folder / "configs" / "metadata.json"), filepath=str(schema))
    edit_metadata(tiny_bundle.folder, lambda content: content.pop("network_data_format"))
    with pytest.raises(ValueError, match="network_data_format"):
        verify_metadata(meta_file=str(tiny_bundle.folder / "configs" / "metadata.json"), filepath=str(schema))


def test_a_plain_install_brings_the_bundled_model(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("upgan-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = f"from upgan.bundle import find_bundle; print(find_bundle({BUNDLED!r}).folder)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert Path(found.stdout.strip()).is_relative_to(tmp_path / "site")
