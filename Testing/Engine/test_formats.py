"""Files of every version: those of earlier ones are read for ever, a newer one's are never taken for something else."""

import hashlib
import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from Engine.training_runs import Onlooker
from UncertaintyGuidedI2ILib.train.history import TrainingHistory
from upgan.bundles.bundle import Bundle, problems
from upgan.bundles.library import find_bundle, import_model, installed_models
from upgan.bundles.metadata import FORMAT, checked_metadata
from upgan.errors import BundleError, InputError
from upgan.images.volume import Volume
from upgan.images.writing import write_volume
from upgan.inference.engine import InferenceEngine
from upgan.inference.estimate import estimate
from upgan.inference.saving import read_result
from upgan.training.model.trained_run import TrainedRun
from upgan.training.record import checkpoint, layout
from upgan.training.record.journal_reader import JournalReader, read_journal
from upgan.training.record.run_config import read_run_config
from upgan.training.record.runs import checkpoints, list_runs, read_run, read_run_json, read_run_state
from upgan.training.record.state import RunState
from upgan.training.run.finishing import finish
from upgan.training.run.trainer import resume

FIXTURES = Path(__file__).resolve().parents[1] / "Fixtures"

LPS = np.diag([-2.0, -2.0, 3.0, 1.0])


def ramp() -> Volume:
    """An image that anybody can make again, [2, 18, 20]."""
    k, j, i = np.indices((2, 18, 20), dtype=np.float32)
    return Volume(100 * (1 + k) + j * i, LPS)


@pytest.fixture
def first_run(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("UPGAN_RUNS", str(tmp_path / "runs"))
    zipfile.ZipFile(FIXTURES / "run-1.zip").extractall(tmp_path / "runs")
    return tmp_path / "runs" / "run-1"


def test_the_fixtures_are_what_was_written_then():
    stated = dict(re.findall(r"`(\S+\.zip)` \| `([0-9a-f]{64})`", (FIXTURES / "README.md").read_text("utf-8")))
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FIXTURES.glob("*.zip")}
    assert stated == found
    assert len(found) >= 2


def test_a_model_of_the_first_format_is_installed_and_translates_as_it_did(run, tmp_path):
    model = import_model(FIXTURES / "bundle-1.zip")
    assert model in installed_models()
    assert problems(model.folder) == []
    metadata = find_bundle("first-format").metadata
    assert (metadata.version, metadata.upgan.format, metadata.upgan.cost) == ("1.0.0", 1, None)
    assert metadata.upgan.calibration.scale == (0.5, 2.0)
    assert metadata.upgan.domain.pixel_mm == (2.0, 2.0)
    assert metadata.newer_note == ""
    assert estimate(metadata.upgan.model_dump(), (2, 18, 20), LPS).multiply_adds > 0
    last = InferenceEngine(find_bundle("first-format"), "cpu", "float32").translate(ramp()).last
    for maps, mean, voxel in (
        (last.image, -959.4015515645345, -907.14624),
        (last.alpha, 1172.8962345547147, 1181.2638),
        (last.beta, 4.959494807985094, 4.8920846),
        (last.sigma, 669.4174870808919, 673.7966),
    ):
        assert (maps.mean(dtype=float), maps[1, 5, 7]) == pytest.approx((mean, voxel), rel=1e-4)
    verified = run("bundle", "verify", model.folder)
    assert (verified.code, "Warning" in verified.err) == (0, False)


def test_a_run_of_the_first_format_is_read_by_all_that_reads_runs(first_run):
    assert [found.folder for found in list_runs()] == [first_run]
    found = read_run(first_run)
    assert (found.name, found.state, found.stage, found.stages) == ("tiny", "paused", 2, 2)
    assert found.best == {"stage": 2, "epoch": 1, "mae": pytest.approx(1146.9989498)}
    assert read_run_state(first_run) == "paused"
    assert checkpoints(first_run) == ["best", "last"]
    config = read_run_config(first_run)
    assert (config.seed, config.architecture.width, config.schedule.epochs) == (7, 1, (1,))
    lines = read_journal(first_run)
    assert [line["kind"] for line in lines] == [*["stage", "steps", "validation"] * 2, "event"]
    history = TrainingHistory()
    assert history.follow(JournalReader(first_run).read().lines)
    assert history.errorOf("best")[0] == pytest.approx(1146.9989498)
    for name in ("best", "last"):
        trained = TrainedRun.read(first_run, name)
        assert trained.split.test == ["p02"]
        assert trained.cascade.architecture == config.architecture
        assert len(trained.checksums) == 5
    weights, state = checkpoint.load(checkpoint.path_of(first_run, "last"))
    assert RunState.from_json(state).to_json()["phases_trained"] == 1
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_a_run_of_the_first_format_goes_on_as_far_as_its_images_are_there(first_run):
    with pytest.raises(InputError) as refusal:
        resume(first_run, Onlooker())
    assert refusal.value.code == "images_not_found"
    finish(first_run)
    assert read_run_state(first_run) == "stopped"


# What is written now


def test_what_is_written_says_its_format(tiny_bundle, translate, tmp_path):
    assert json.loads((tiny_bundle.folder / "configs/metadata.json").read_text())["upgan"]["format"] == FORMAT
    write_volume(ramp(), tmp_path / "pet.nii.gz")
    assert translate(tmp_path / "pet.nii.gz").code == 0
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["format"] == 1
    assert read_result(tmp_path / "out")


# What a newer version has written


def changed(bundle: Bundle, change) -> dict:
    """Let a copy of a bundle's metadata say something else."""
    path = bundle.folder / "configs" / "metadata.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content["upgan"])
    path.write_text(json.dumps(content), encoding="utf-8")
    return content


def test_what_a_newer_version_says_beside_is_told_and_ignored(tiny_bundle, translate, run, tmp_path):
    before = InferenceEngine(tiny_bundle, "cpu", "float32").translate(ramp()).last.image
    domain = {
        "volumes": 3,
        "plane": "axial",
        **{key: [0, 1000] for key in ("gap_mm", "tilt_deg", "diameter_mm", "brightness", "highlights", "contrast")},
        "pixel_mm": [2, 2],
        "field_mm": [10, 1000],
        "sex": "F",
    }
    content = changed(
        tiny_bundle,
        lambda section: section.update({"format": FORMAT + 1, "sca\x1bnner": "X", "domain": domain, "owner": {"a": 1}}),
    )
    original = json.dumps(content)
    metadata = checked_metadata(content)
    assert json.dumps(content) == original
    assert metadata.upgan.format == FORMAT + 1
    for name in (r"upgan.sca\x1bnner", "upgan.domain.sex", "upgan.owner"):
        assert name in metadata.newer_note
    translation = InferenceEngine(Bundle.open(tiny_bundle.folder), "cpu", "float32").translate(ramp())
    np.testing.assert_array_equal(translation.last.image, before)
    assert metadata.newer_note in translation.provenance["warnings"]
    write_volume(ramp(), tmp_path / "pet.nii.gz")
    for told in (translate(tmp_path / "pet.nii.gz"), run("bundle", "verify", tiny_bundle.folder)):
        assert told.code == 0
        assert "upgan.owner" in told.err


def to(**entries):
    return lambda section: section.update({"format": FORMAT + 1, **entries})


def within(part, **entries):
    return lambda section: (section[part].update(entries), section.update(format=FORMAT + 1))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (within("architecture", kernel=5), "bundle_newer"),
        (within("task", gamma=2.2), "bundle_newer"),
        (lambda section: (section["task"]["input"].update(median=1), to()(section)), "bundle_newer"),
        (
            to(calibration={"patients": 3, "voxels": 9, "scale": [1, 1], "conformal": {}, "note": "", "shift": 1}),
            "bundle_newer",
        ),
        (to(plane="oblique"), "bundle_newer"),
        (within("architecture", name="diffusion"), "unknown_architecture"),
        # Of this version's own format, and where the number is none, it is a fault.
        (lambda section: section.update(owner="X"), "metadata_invalid"),
        (lambda section: section.update(format=FORMAT, owner="X"), "metadata_invalid"),
        (lambda section: section.update(format=0), "metadata_invalid"),
        (lambda section: section.update(format="2", owner="X"), "metadata_invalid"),
        (lambda section: section.update(format=True), "metadata_invalid"),
    ],
)
def test_what_may_change_numbers_is_refused_as_a_newer_versions(tiny_bundle, change, code):
    content = changed(tiny_bundle, change)
    assert problems(tiny_bundle.folder)[0].code == code
    with pytest.raises(BundleError) as refusal:
        checked_metadata(content)
    assert refusal.value.code == code
    assert refusal.value.remedy


def test_a_newer_versions_run_is_called_so(first_run):
    config = read_run_json(first_run)
    (first_run / "config.json").write_text(json.dumps({**config, "format": layout.FORMAT + 1}), encoding="utf-8")
    assert read_run(first_run).state == read_run_state(first_run) == "newer"
    before = sorted(first_run.rglob("*"))
    asked = (
        lambda: resume(first_run, Onlooker()),
        lambda: TrainedRun.read(first_run, "best"),
        lambda: finish(first_run),
    )
    for ask in asked:
        with pytest.raises(InputError) as refusal:
            ask()
        assert refusal.value.code == "run_newer"
    assert [path for path in sorted(first_run.rglob("*")) if path.name != "run.lock"] == before
    # Nor does one that ended become one of today's.
    (first_run / "finished.json").write_text(json.dumps({"stopped": False}), encoding="utf-8")
    assert read_run(first_run).state == "newer"


def test_a_run_without_the_configuration_that_this_version_knows_is_no_empty_folder(first_run, tmp_path):
    (first_run / "config.json").rename(first_run / "run.json")
    said = []
    for folder in (first_run, tmp_path):
        with pytest.raises(InputError) as refusal:
            read_run_json(folder)
        assert refusal.value.code == "no_run"
        said.append(f"{refusal.value.sentence} {refusal.value.remedy}")
    assert "checkpoints" in said[0]
    assert "another version" in said[0]
    assert "another version" not in said[1]
    shutil.rmtree(first_run / "checkpoints")
    with pytest.raises(InputError, match=r"journal\.jsonl"):
        read_run_json(first_run)
