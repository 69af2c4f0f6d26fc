"""Training on a handful of small simulated heads: what moves, what stays, what is kept, and that it learns."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from Engine.test_evaluation import SHAPE, write_pairs
from upgan.bundle import Bundle, problems
from upgan.domain import Domain
from upgan.errors import InputError
from upgan.evaluation.body import body_mask
from upgan.evaluation.report import evaluate
from upgan.inference import InferenceEngine
from upgan.tasks import PET_TO_CT
from upgan.training.config import TrainingConfig, read_config
from upgan.training.dataset import load_slices, split_subjects
from upgan.training.progressive import ProgressiveTrainer
from upgan.training.publish import publish
from upgan.volume import read_volume, write_volume

CONFIG = """
name = "tiny"
precision = "32-true"
[architecture]
phases = 2
width = 4
deepest = 2
[data]
manifest = "pairs/manifest.json"
train = 3
validation = 1
test = 1
[loss]
l1 = 5.0
outside_body = 0.02
[schedule]
steps = [150, 50]
joint_steps = 15
batch = 4
learning_rate = 5e-3
warm_up = 5
discriminator_width = 4
seed = 7
"""
STAGES = 3


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with five small heads."""
    folder = tmp_path_factory.mktemp("training")
    (folder / "pairs").mkdir()
    write_pairs(folder / "pairs", [11, 12, 13, 14, 15])
    return folder


@pytest.fixture(scope="module")
def config(home) -> TrainingConfig:
    return written(home, CONFIG)


@pytest.fixture(scope="module")
def log() -> list[dict]:
    """Lines reported by the run below."""
    return []


@pytest.fixture(scope="module")
def run(home, config, log) -> Path:
    """A finished training."""
    ProgressiveTrainer(config, home / "run", log.append).run()
    return home / "run"


def written(folder: Path, text: str) -> TrainingConfig:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def quick(config: TrainingConfig, **changes) -> TrainingConfig:
    """The same run with a few steps only."""
    schedule = config.schedule.model_copy(update={"steps": (4, 3), "joint_steps": 2, **changes})
    return config.model_copy(update={"schedule": schedule})


def train(config: TrainingConfig, folder: Path) -> dict[str, torch.Tensor]:
    return ProgressiveTrainer(config, folder, lambda line: None).run().state_dict()


def stage(run: Path, number: int) -> dict[str, torch.Tensor]:
    return load_file(run / f"stage_{number}.safetensors")


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Bit for bit."""
    return one.dtype == other.dtype and one.numpy().tobytes() == other.numpy().tobytes()


# The configuration


def test_a_configuration_is_read_with_its_paths_relative_to_it_and_the_defaults_of_the_paper(home):
    config = written(home, CONFIG)
    assert config.data.manifest == (home / "pairs" / "manifest.json").resolve()
    assert config.schedule.steps == (150, 50)
    assert config.schedule.joint_learning_rate == 5e-4
    assert (config.loss.likelihood, config.loss.adversarial) == (1, 0.001)
    assert config.architecture.attention


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ("warm_up = 5", "warmup = 5", "schedule.warmup"),
        ("width = 4", "width = 0", "architecture.width"),
        ("steps = [150, 50]", "steps = [150, 50, 20]", "schedule.steps"),
        ("steps = [150, 50]", "steps = [150, -1]", "schedule.steps.1"),
        ("train = 3", 'task = "pet_to_mr"', "pet_to_mr"),
        ('name = "tiny"', 'name = "Not A Name"', "name"),
        ('precision = "32-true"', 'precision = "16-true"', "precision"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, right, wrong, named):
    assert right in CONFIG
    with pytest.raises(InputError) as refusal:
        written(tmp_path, CONFIG.replace(right, wrong, 1))
    assert refusal.value.code == "config_invalid"
    assert named in refusal.value.sentence


def test_a_missing_entry_is_named(tmp_path):
    with pytest.raises(InputError, match=r"schedule\.steps") as refusal:
        written(tmp_path, CONFIG.replace("steps = [150, 50]\n", ""))
    assert refusal.value.code == "config_invalid"


def test_a_configuration_that_is_not_there_or_no_toml_is_refused(tmp_path):
    with pytest.raises(InputError) as refusal:
        read_config(tmp_path / "none.toml")
    assert refusal.value.code == "config_not_found"
    for content in (b"name = ", b"\xff\xfe"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(InputError) as refusal:
            read_config(tmp_path / "bad.toml")
        assert refusal.value.code == "config_unreadable"


# The data


def test_the_split_is_by_subject_in_order_and_disjoint(home):
    split = split_subjects(home / "pairs" / "manifest.json", 2, 1, 2)
    assert split == (["sub-001", "sub-002"], ["sub-003"], ["sub-004", "sub-005"])


def test_a_split_never_borrows_subjects_it_does_not_have(home):
    with pytest.raises(InputError, match="has 5") as refusal:
        split_subjects(home / "pairs" / "manifest.json", 3, 1, 2)
    assert refusal.value.code == "too_few_subjects"


def test_slices_are_normalised_half_precision_and_know_the_body(home):
    pairs = home / "pairs"
    slices = load_slices(pairs / "manifest.json", ["sub-001", "sub-002"], PET_TO_CT)
    assert len(slices) == 2 * SHAPE[0]
    assert {part.shape for part in slices} == {(2 * SHAPE[0], 1, *SHAPE[1:])}
    assert {part.dtype for part in slices} == {torch.float16}
    ct, uptake = (read_volume(pairs / f"sub-002_{kind}.nii.gz") for kind in ("ct", "nacpet"))
    a, b, body = (part[SHAPE[0] :, 0].float().numpy() for part in slices)
    np.testing.assert_allclose(1000 * b - 1000, ct.voxels, atol=2)  # float16 at 4: half of 2⁻⁸
    np.testing.assert_allclose(a, np.sqrt(uptake.voxels / PET_TO_CT.calibrate(uptake).reference), rtol=1e-3, atol=1e-4)
    assert set(np.unique(body)) == {0, 1}
    tight = body_mask(ct.voxels)
    assert body[tight].all()
    assert tight.sum() < body.sum() < 1.4 * tight.sum()


def test_the_network_learns_from_the_slices_that_the_engine_will_show_it(home, tmp_path):
    """Whatever axes and directions the files are stored in."""
    pairs = home / "pairs"
    expected = load_slices(pairs / "manifest.json", ["sub-001"], PET_TO_CT)
    (tmp_path / "manifest.json").write_text((pairs / "manifest.json").read_text(encoding="utf-8"), encoding="utf-8")
    for kind in ("ct", "nacpet"):
        name = f"sub-001_{kind}.nii.gz"
        write_volume(read_volume(pairs / name).reoriented("sagittal"), tmp_path / name)
    found = load_slices(tmp_path / "manifest.json", ["sub-001"], PET_TO_CT)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


# The stages


def test_the_loss_falls_and_the_log_says_when_each_stage_ended(run, log):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == log
    assert [(line["stage"], line["step"]) for line in lines] == [(1, 50), (1, 100), (1, 150), (2, 50), (3, 15)]
    losses = [line["loss"] for line in lines if line["stage"] == 1]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.5
    assert [len(line["validation_mae"]) for line in lines if line["step"] == line["steps"]] == [1, 2, 2]


def test_a_phase_leaves_its_predecessors_and_their_running_statistics_bit_identical(run):
    before, after = stage(run, 1), stage(run, 2)
    first = [name for name in before if name.startswith("generators.0.")]
    assert any("running_mean" in name for name in first)
    assert all(same(before[name], after[name]) for name in first)
    assert not any(same(before[name], after[name]) for name in before if name.startswith("generators.1."))


def test_a_phase_does_not_touch_its_successors(run, config):
    untrained = ProgressiveTrainer(config, run, print).cascade.state_dict()
    after = stage(run, 1)
    later = [name for name in after if name.startswith("generators.1.")]
    assert all(same(untrained[name].contiguous(), after[name]) for name in later)


def test_in_the_joint_stage_everything_moves(run):
    before, after = stage(run, 2), stage(run, 3)
    assert [name for name in before if same(before[name], after[name])] == []


def test_a_finished_stage_is_not_repeated(run, config):
    kept = sorted(run.glob("stage_*.safetensors"))
    assert len(kept) == STAGES
    times = [path.stat().st_mtime_ns for path in kept]
    lines: list[dict] = []
    cascade = ProgressiveTrainer(config, run, lines.append).run()
    assert lines == []
    assert [path.stat().st_mtime_ns for path in kept] == times
    last = stage(run, STAGES)
    assert all(same(tensor.contiguous(), last[name]) for name, tensor in cascade.state_dict().items())
    assert not cascade.training


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(config, tmp_path):
    one, two = (train(quick(config), tmp_path / name) for name in ("one", "two"))
    assert all(same(one[name], two[name]) for name in one)
    other = train(quick(config, seed=8), tmp_path / "other")
    assert not same(one["generators.0.image_head.weight"], other["generators.0.image_head.weight"])


@pytest.mark.parametrize("finished", [1, 2])
def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(config, tmp_path, finished):
    expected = train(quick(config), tmp_path / "run")
    for number in range(finished + 1, STAGES + 1):
        (tmp_path / "run" / f"stage_{number}.safetensors").unlink()
    found = train(quick(config), tmp_path / "run")
    assert all(same(expected[name], found[name]) for name in expected)


def test_stages_of_another_configuration_are_not_taken_for_ones_own(config, tmp_path):
    train(quick(config), tmp_path / "run")
    with pytest.raises(InputError) as refusal:
        train(quick(config, learning_rate=1e-3), tmp_path / "run")
    assert refusal.value.code == "other_run"
    kept = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert kept["schedule"]["learning_rate"] == config.schedule.learning_rate


def test_the_joint_stage_of_a_single_phase_has_its_own_length(config, tmp_path):
    architecture = config.architecture.model_copy(update={"phases": 1})
    single = quick(config, steps=(3,), joint_steps=2).model_copy(update={"architecture": architecture})
    lines: list[dict] = []
    ProgressiveTrainer(single, tmp_path / "run", lines.append).run()
    assert [(line["stage"], line["steps"]) for line in lines] == [(1, 3), (2, 2)]


def test_a_later_phase_starts_where_its_predecessor_ended_and_ends_no_worse(run, config, log):
    trainer = ProgressiveTrainer(config, run, print)
    trainer.cascade.load_state_dict(stage(run, 1))
    slices = load_slices(config.data.manifest, ["sub-004"], PET_TO_CT)
    with torch.no_grad():
        first, second = trainer.cascade.eval()(slices.a.float())
    torch.testing.assert_close(second.loc, first.loc, rtol=0, atol=0)
    (ended,) = [line["validation_mae"] for line in log if line["stage"] == 2]
    assert ended[1] < ended[0]


def test_the_validation_error_is_the_mean_absolute_one_inside_the_body_in_hounsfield_units(run, config, log):
    trainer = ProgressiveTrainer(config, run, print)
    trainer.cascade.load_state_dict(stage(run, STAGES))
    a, b, body = (part.float() for part in load_slices(config.data.manifest, ["sub-004"], PET_TO_CT))
    with torch.no_grad():
        predictions = trainer.cascade.eval()(a)
    expected = [1000 * float((prediction.loc - b).abs()[body > 0].mean()) for prediction in predictions]
    assert log[-1]["validation_mae"] == pytest.approx(expected, abs=0.02)


# The model


@pytest.fixture(scope="module")
def bundle(run, home) -> Bundle:
    return publish(run, home / "tiny", licence="for tests", version="0.3.1")


def test_the_model_beats_the_best_constant_on_a_head_it_has_not_seen(bundle, home):
    truth = read_volume(home / "pairs" / "sub-005_ct.nii.gz").voxels
    inside = truth[body_mask(truth)]
    best = np.abs(inside - np.median(inside)).mean()  # no constant has a smaller mean absolute error
    assert bundle.metadata.upgan.figures["test"]["phases"]["2"]["mae"][0] < 0.9 * best


def test_a_published_model_verifies_and_states_what_was_measured(bundle, home, config):
    assert problems(bundle.folder) == []
    metadata = bundle.metadata
    assert (metadata.name, metadata.version) == ("tiny", "0.3.1")
    assert metadata.upgan.spacing_mm == (4.0, 4.0)
    assert (bundle.folder / "LICENSE").read_text(encoding="utf-8") == "for tests"
    # Measured on the one test subject, with the weights that were published.
    engine = InferenceEngine(Bundle.open(bundle.folder), "auto")
    measured = evaluate(engine, config.data.manifest, ["sub-005"])
    figures = metadata.upgan.figures
    assert figures["test"] == measured
    assert figures["training"]["subjects"] == {"train": 3, "validation": 1, "test": 1}
    inputs = [read_volume(home / "pairs" / f"sub-{number:03}_nacpet.nii.gz") for number in (1, 2, 3)]
    assert metadata.upgan.domain == Domain.measure(inputs, "axial")
    card = (bundle.folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert metadata.upgan.domain.describe() in " ".join(card.split())
    rows = {line.split(" | ")[0].strip("| "): line for line in card.splitlines() if line.startswith("|")}
    for phase in measured["phases"].values():
        assert f"{phase['mae'][0]:.1f} ± " in rows["MAE (HU)"]
        assert f"{phase['ssim'][0]:.3f} ± " in rows["SSIM"]
        assert f"{phase['coverage_90%'][0]:.1%} ± " in rows["coverage of 90 %"]
    for stated in ("tiny 0.3.1", "Not for patients", "3 subjects to train on", "150, 50 steps", "seed 7"):
        assert stated in " ".join(card.split())


def test_a_published_model_has_the_weights_of_the_last_stage_in_half_precision(bundle, run):
    published = load_file(bundle.folder / "models" / "model.safetensors")
    for name, tensor in stage(run, STAGES).items():
        torch.testing.assert_close(published[name], tensor.half() if tensor.is_floating_point() else tensor)


def test_an_unfinished_run_is_not_published(run, tmp_path):
    for kept in ([], ["config.json"], ["config.json", "log.jsonl", "stage_1.safetensors", "stage_2.safetensors"]):
        for name in kept:
            (tmp_path / name).write_bytes((run / name).read_bytes())
        with pytest.raises(InputError) as refusal:
            publish(tmp_path, tmp_path / "model", "for tests", "1")
        assert refusal.value.code == "run_unfinished"
        assert not (tmp_path / "model").exists()
