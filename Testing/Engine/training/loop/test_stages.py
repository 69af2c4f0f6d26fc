"""Training on a handful of small simulated heads: what moves, what stays, what is kept, and that it learns."""

import copy
import json
import re
import shutil
import stat
import struct
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from Engine.training_runs import STEPS, Onlooker, all_same, kept, same, tiny, trained
from upgan.bundles.bundle import Bundle, write_bundle
from upgan.errors import BundleError, Cancelled, InputError
from upgan.networks.cascade import Cascade, CascadeArchitecture
from upgan.tasks import MRI_MOTION, MRI_UNDERSAMPLED, PET_TO_CT
from upgan.training.loop.processes import make_fabric
from upgan.training.loop.stage import Stage, plan_stages
from upgan.training.model.trained_run import TrainedRun
from upgan.training.record import checkpoint
from upgan.training.record.layout import FORMAT
from upgan.training.record.run_config import read_run_config, write_run_config
from upgan.training.run.prepare import data_of
from upgan.training.run.trainer import resume, train
from upgan.training.settings.config import TrainingConfig


@pytest.fixture(scope="module")
def run(whole):
    """A finished training."""
    return whole


@pytest.fixture(scope="module")
def onlooker(healthy):
    """Who saw it."""
    return healthy


# What is written down


def test_the_journal_tells_of_stages_steps_epochs_and_the_end(run, onlooker):
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == onlooker.lines
    stages = [(line["stage"], line["phases"], line["epochs"], line["steps"]) for line in onlooker.of("stage")]
    assert stages == [(1, [1], 3, 9), (2, [2], 2, 6), (3, [1, 2], 2, 6)]
    validations = [(line["stage"], line["epoch"], sorted(line["phases"])) for line in onlooker.of("validation")]
    assert validations == [
        *((1, epoch, ["1"]) for epoch in (1, 2, 3)),
        *((2, epoch, ["1", "2"]) for epoch in (1, 2)),
        *((3, epoch, ["1", "2"]) for epoch in (1, 2)),
    ]
    assert set(onlooker.of("validation")[0]["phases"]["1"]) == {
        "mae",
        "psnr",
        "ssim_3d",
        "coverage_50%",
        "coverage_90%",
    }
    assert onlooker.of("event")[-1]["code"] == "finished"
    steps = onlooker.of("steps")
    assert [line["step"] for line in steps if line["stage"] == 1][-1] == 9
    assert all(
        np.isfinite([line[name] for name in ("loss", "likelihood", "l1", "rate", "seconds")]).all() for line in steps
    )
    seconds = [line["seconds"] for line in steps]
    assert seconds == sorted(seconds)


def test_the_progress_reaches_the_end_and_never_goes_back(run, onlooker):
    assert len(onlooker.fractions) == STEPS
    assert onlooker.fractions == sorted(onlooker.fractions)
    assert onlooker.fractions[-1] == 1
    # A step of the end-to-end stage costs more than one of the first phase.
    assert onlooker.fractions[8] < 9 / STEPS


def test_tensorboard_finds_the_same_figures(run, onlooker):
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in (run / "tensorboard").iterdir():
        content = path.read_bytes()
        while content:  # TFRecord: length, its checksum, the event, its checksum
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[12 + length + 4 :]
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    errors = [value for _, tag, value in sorted(found) if tag == "validation/mae/phase_1"]
    expected = [line["phases"]["1"]["mae"] for line in onlooker.of("validation")]
    assert errors == pytest.approx(expected, rel=1e-6)
    assert max(step for step, *_ in found) == STEPS


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_nobody_else_may_look_into_a_runs_folder(run):
    assert stat.S_IMODE(run.stat().st_mode) == 0o700


def test_a_finished_run_keeps_no_copy_of_the_images(run):
    assert not (run / "cache").exists()
    finished = json.loads((run / "finished.json").read_text(encoding="utf-8"))
    assert not finished["stopped"]
    assert finished["seconds"] > 0


def test_the_best_checkpoint_is_that_of_the_lowest_validation_error(run, onlooker):
    best = min(onlooker.of("validation"), key=lambda line: line["phases"][max(line["phases"])]["mae"])
    assert best["best"]
    _, state = checkpoint.load_weights(checkpoint.path_of(run, "best"))
    assert (state["best"]["stage"], state["best"]["epoch"]) == (best["stage"], best["epoch"])
    assert state["best"]["mae"] == best["phases"][max(best["phases"])]["mae"]
    assert state["phases_trained"] == len(best["phases"])


def test_the_split_is_written_down_and_by_subject(run):
    split = json.loads((run / "split.json").read_text(encoding="utf-8"))
    assert [len(split[part]) for part in ("train", "validation", "test")] == [3, 1, 1]
    assert len({*split["train"], *split["validation"], *split["test"]}) == 5
    data = json.loads((run / "data.json").read_text(encoding="utf-8"))
    assert len(data["fingerprint"]) == 64
    assert data["spacing_mm"] == [4, 4]


# What moves and what stays


def weights(run, name):
    found, _ = checkpoint.load_weights(checkpoint.path_of(run, name))
    return found


def test_a_phase_leaves_its_predecessors_and_their_running_statistics_bit_identical(run):
    before, after = weights(run, "phase_1"), weights(run, "phase_2")
    first = [name for name in before if name.startswith("generators.0.")]
    assert any("running_mean" in name for name in first)
    assert all(same(before[name], after[name]) for name in first)
    assert not any(same(before[name], after[name]) for name in before if name.startswith("generators.1."))


def test_a_phase_does_not_touch_its_successors(pairs, run):
    torch.manual_seed(7)
    untrained = Cascade(tiny(pairs).architecture).state_dict()
    after = weights(run, "phase_1")
    later = [name for name in after if name.startswith("generators.1.")]
    assert later
    assert all(same(untrained[name].contiguous(), after[name]) for name in later)


def test_in_the_joint_stage_everything_moves(run):
    before, after = weights(run, "phase_2"), weights(run, "all_phases")
    assert [name for name in before if same(before[name], after[name])] == []


def discriminators(tensors, phase):
    found = {name: tensor for name, tensor in tensors.items() if name.startswith(f"judges.{phase}.")}
    assert found
    return found


def test_the_end_to_end_stage_goes_on_with_the_discriminators_of_the_phases(start, run, tmp_path):
    first, second = kept(run, "phase_1"), kept(run, "phase_2")
    assert all_same(discriminators(second, 0), discriminators(first, 0))
    # At a rate of nearly nothing they stay what they were.
    schedule = {"epochs": [1, 1], "joint_epochs": 1, "joint_learning_rate": 1e-12, "early_stopping": 3}
    train(start(tmp_path / "run", schedule=schedule), tmp_path / "run", Onlooker())
    phases, together = kept(tmp_path / "run", "phase_2"), kept(tmp_path / "run")
    for phase in (0, 1):
        for name, learned in discriminators(phases, phase).items():
            if name.endswith("weight"):
                torch.testing.assert_close(together[name], learned, rtol=0, atol=1e-7)


def test_the_last_phase_ends_where_the_cascade_ends(run):
    assert all_same(
        weights(run, "all_phases"),
        {
            name.removeprefix("averaged.module."): tensor
            for name, tensor in kept(run).items()
            if name.startswith("averaged.module.")
        },
    )


def test_frozen_statistics_stay_while_the_weights_move(start, tmp_path):
    schedule = {"epochs": [1, 0], "joint_epochs": 1, "freeze_normalisation": True, "weight_averaging": None}
    train(start(tmp_path / "run", schedule=schedule), tmp_path / "run", Onlooker())
    before, after = weights(tmp_path / "run", "phase_1"), weights(tmp_path / "run", "all_phases")
    statistics = [name for name in before if "running_" in name]
    assert statistics
    assert all(same(before[name], after[name]) for name in statistics)
    assert not same(before["generators.1.image_head.weight"], after["generators.1.image_head.weight"])


def test_the_same_seed_gives_the_same_run_whatever_prepares_its_batches_and_another_seed_another(start, run, tmp_path):
    again = start(tmp_path / "again", compute={"loaders": 2})
    train(again, tmp_path / "again", Onlooker())
    assert all_same(kept(tmp_path / "again"), kept(run))
    other = start(tmp_path / "other", seed=8)
    with pytest.raises(Cancelled):
        train(other, tmp_path / "other", Onlooker(stop_after=10))  # in the second stage
    first, others = weights(run, "phase_1"), weights(tmp_path / "other", "phase_1")
    assert not same(others["generators.0.image_head.weight"], first["generators.0.image_head.weight"])


def test_a_stage_without_epochs_is_left_out(pairs):
    config = tiny(pairs, schedule={"epochs": [0, 2], "joint_epochs": 0})
    assert [(plan.name, plan.trained, plan.rate) for plan in plan_stages(config, 2)] == [("phase_2", (1,), 5e-3)]


def test_the_defaults_are_the_papers(tmp_path):
    config = tiny(tmp_path).model_validate({"name": "paper", "data": {"path": "x"}})
    stages = plan_stages(config, 3)
    assert [(plan.trained, plan.rate) for plan in stages] == [
        ((0,), 2e-3),
        ((1,), 2e-3),
        ((2,), 2e-3),
        ((0, 1, 2), 5e-4),
    ]
    assert (config.loss.likelihood, config.loss.adversarial, config.loss.l1) == (1, 0.001, 0)
    assert config.loss.form == "generalized_gaussian"
    assert (config.schedule.batch, config.architecture.phases, config.architecture.width) == (8, 3, 64)
    assert {plan.epochs for plan in stages} == {1000}


# Options


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": {"hand_over": "image"}},
        {"architecture": {"hand_over": "image+sigma", "features": True, "residual": False}},
        {"architecture": {"coarse_first": True}, "schedule": {"begin_as_predecessor": True}},
        {"loss": {"form": "beta_nll"}},
        {"loss": {"form": "detached_mean", "l1": 2.0}},
        {"architecture": {"name": "published-up-gan", "chains": [2, 1], "phases": None, "deepest": None}},
        {"loss": {"form": "published_product"}},
        {"loss": {"adversarial": 0.0}},
        {"loss": {"l1": 0.0, "l1_warm_up": 2}},
        {"discriminator": {"conditional": True, "layers": 3}},
        {"schedule": {"weight_averaging": None, "gradient_clip": None}},
        {"compute": {"loaders": 2}},
        {"compute": {"precision": "bfloat16"}},
    ],
    ids=str,
)
def test_every_option_trains(begun, pairs, tmp_path, changes):
    config = tiny(pairs, schedule={"epochs": [1, 1], "joint_epochs": 1, "epoch_steps": 2}).model_dump(mode="json")
    for section, change in changes.items():
        merged = {**config[section], **change}
        config[section] = {name: value for name, value in merged.items() if value is not None or section == "schedule"}
    if "chains" in config["architecture"]:
        config["architecture"] = {"name": "published-up-gan", "chains": [2, 1], "width": 4}
    onlooker = Onlooker()
    write_run_config(tiny(pairs).model_validate(config), shutil.copytree(begun, tmp_path / "run"))
    resume(tmp_path / "run", onlooker)
    assert onlooker.of("event")[-1]["code"] == "finished"
    assert all(np.isfinite(line["loss"]) for line in onlooker.of("steps"))
    judged = [line["discriminator"] for line in onlooker.of("steps")]
    assert all(judged) == bool(config["loss"]["adversarial"])


def test_during_the_l1_warm_up_the_uncertainty_heads_do_not_move(pairs, start, tmp_path):
    loss = {"l1": 0.0, "l1_warm_up": 3}
    schedule = {"epochs": [1, 0], "joint_epochs": 0, "weight_averaging": None}
    train(start(tmp_path / "run", loss=loss, schedule=schedule), tmp_path / "run", Onlooker())
    torch.manual_seed(7)
    before, after = Cascade(tiny(pairs).architecture).state_dict(), weights(tmp_path / "run", "phase_1")
    assert same(before["generators.0.scale_head.weight"], after["generators.0.scale_head.weight"])
    assert not same(before["generators.0.image_head.weight"], after["generators.0.image_head.weight"])


def test_a_stage_ends_at_its_best_epoch_when_the_error_no_longer_falls(start, tmp_path):
    # A rate at which nothing gets better for long.
    schedule = {
        "epochs": [40, 0],
        "joint_epochs": 0,
        "epoch_steps": 1,
        "early_stopping": 3,
        "learning_rate": 0.3,
        "gradient_clip": None,
        "weight_averaging": None,
        "warm_up": 0,
    }
    onlooker = Onlooker()
    train(start(tmp_path / "run", schedule=schedule), tmp_path / "run", onlooker)
    errors = [line["phases"]["1"]["mae"] for line in onlooker.of("validation")]
    assert len(errors) < 40
    assert "early_stopped" in [line["code"] for line in onlooker.of("event")]
    assert min(errors[-3:]) >= min(errors) == errors[-4]
    best, state = checkpoint.load_weights(checkpoint.path_of(tmp_path / "run", "phase_1"))
    assert state["stage_best"]["mae"] == errors[-4]
    assert all_same(best, weights(tmp_path / "run", "best"))


# A base model


@pytest.fixture
def base(pairs, tmp_path):
    """A model with random weights on pixels of another size."""
    torch.manual_seed(1)
    cascade = Cascade(CascadeArchitecture(phases=2, width=4, deepest=2))
    metadata = {"name": "base", "version": "1", "description": "for tests"}
    section = {"task": PET_TO_CT.model_dump(mode="json"), "spacing_mm": [6.0, 6.0]}
    return write_bundle(tmp_path / "base", cascade, metadata, section, "card", "for tests")


def test_a_base_model_brings_its_weights_and_its_pixel_size_and_is_measured_first(base, pairs, tmp_path):
    schedule = {"epochs": [0, 0], "joint_epochs": 1, "joint_learning_rate": 1e-9, "weight_averaging": None}
    onlooker = Onlooker()
    config = tiny(pairs, base=str(base.folder), architecture={"phases": 3}, schedule=schedule)
    train(config, tmp_path / "run", onlooker)
    data = json.loads((tmp_path / "run" / "data.json").read_text(encoding="utf-8"))
    assert data["spacing_mm"] == [6, 6]
    first = onlooker.of("validation")[0]
    assert (first["stage"], first["epoch"], sorted(first["phases"])) == (0, 0, ["1", "2"])
    learned = weights(tmp_path / "run", "all_phases")
    for name, tensor in Bundle.open(base.folder).load_cascade().named_parameters():
        torch.testing.assert_close(learned[name], tensor, rtol=0, atol=1e-6)


SITES_OWN = MRI_UNDERSAMPLED.model_copy(update={"name": "dixon_undersampled"})


@pytest.mark.parametrize(
    ("of_base", "named", "expected"),
    [
        (MRI_UNDERSAMPLED, "mri_motion", "mri_motion"),
        (MRI_MOTION, "mri_undersampled", "mri_undersampled"),
        (MRI_UNDERSAMPLED, "pet_to_ct", "mri_undersampled"),  # which is what a configuration says that says nothing
        (PET_TO_CT, "mri_motion", "pet_to_ct"),
        (SITES_OWN, "mri_motion", "dixon_undersampled"),
    ],
)
def test_a_model_goes_on_at_its_own_task_or_from_one_restoration_of_mri_to_the_other(
    of_base, named, expected, tmp_path
):
    section = {"task": of_base.model_dump(mode="json"), "spacing_mm": [6.0, 6.0]}
    cascade = Cascade(CascadeArchitecture(phases=1, width=4, deepest=2))
    metadata = {"name": "base", "version": "1", "description": "for tests"}
    other = write_bundle(tmp_path / "other", cascade, metadata, section, "card", "for tests")
    config = TrainingConfig.model_validate(
        {"name": "x", "base": "other", "data": {"path": "pairs.json", "task": named}, "schedule": {"epochs": [1]}}
    )
    data, task = data_of(config, other)
    assert (task.name, data.spacing_mm) == (expected, (6, 6))


def test_where_nothing_beats_the_base_model_it_is_the_best_checkpoint(base, pairs, tmp_path):
    schedule = {"epochs": [0, 0], "joint_epochs": 2, "joint_learning_rate": 3.0, "gradient_clip": None}
    onlooker = Onlooker()
    train(tiny(pairs, base=str(base.folder), schedule=schedule), tmp_path / "run", onlooker)
    errors = [line["phases"]["2"]["mae"] for line in onlooker.of("validation")]
    _, state = checkpoint.load_weights(checkpoint.path_of(tmp_path / "run", "best"))
    assert state["best"]["epoch"] == int(np.argmin(errors))


def test_a_base_model_with_another_number_of_phases_is_refused(base, pairs, tmp_path):
    config = tiny(pairs, base=str(base.folder), schedule={"epochs": [1, 1, 1]})
    with pytest.raises(InputError, match="has 2") as refusal:
        train(config, tmp_path / "run", Onlooker())
    assert refusal.value.code == "config_invalid"


def test_another_model_under_the_name_of_the_base_is_not_gone_on_from(base, pairs, tmp_path):
    config = tiny(pairs, base=str(base.folder), schedule={"epochs": [0, 0], "joint_epochs": 2})
    with pytest.raises(Cancelled):
        train(config, tmp_path / "run", Onlooker(stop_after=2))
    shutil.rmtree(base.folder)
    torch.manual_seed(2)
    other = Cascade(CascadeArchitecture(phases=2, width=4, deepest=2))
    section = {"task": PET_TO_CT.model_dump(mode="json"), "spacing_mm": [6.0, 6.0]}
    write_bundle(base.folder, other, {"name": "base", "version": "1", "description": "other"}, section, "card", "x")
    with pytest.raises(BundleError) as refusal:
        resume(tmp_path / "run", Onlooker())
    assert refusal.value.code == "base_changed"


# Whose folder it is


def as_the_first_version_wrote_it(run):
    """Its configuration had no normalisation, its discriminators were called by their place in the stage."""
    path = run / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["loss"]["normalisation"]
    path.write_text(json.dumps(content), encoding="utf-8")
    last = checkpoint.path_of(run, "last")
    tensors, state = checkpoint.load(last)
    renamed = {re.sub(r"^judges\.\d", "judge.0", name): tensor for name, tensor in tensors.items()}
    save_file(renamed, last, metadata={"state": json.dumps(state)})


def test_a_run_of_the_first_version_goes_on_with_the_loss_that_it_began_with(start, tmp_path):
    schedule = {"epochs": [2, 0], "joint_epochs": 0}
    config = start(tmp_path / "whole", loss={"normalisation": "slice"}, schedule=schedule)
    whole = trained(config, tmp_path / "whole")
    run = tmp_path / "run"
    with pytest.raises(Cancelled):
        train(start(run, loss={"normalisation": "slice"}, schedule=schedule), run, Onlooker(stop_after=4))
    as_the_first_version_wrote_it(run)
    newer = config.model_copy(update={"loss": config.loss.model_copy(update={"normalisation": "body"})})
    train(newer, run, Onlooker())  # what its own configuration file says today
    assert all_same(kept(run), whole)


def test_averaged_over_the_slice_l1_is_the_mean_of_all_pixels(pairs):
    config = tiny(pairs, loss={"normalisation": "slice"})
    (plan, *_) = plan_stages(config, 2)
    torch.manual_seed(0)
    stage = Stage(make_fabric(config.compute), Cascade(config.architecture), config, plan, steps=10)
    a, b, body = torch.rand(3, 2, 1, 32, 32)
    before = copy.deepcopy(stage.cascade)
    for generator in before.generators:
        generator.train()
    expected = (before(a, 1)[0].loc - b).abs().mean()
    losses = stage.step(0, a, b, (body > 0.7).float())
    torch.testing.assert_close(losses.l1, expected.detach())


def test_a_run_of_another_configuration_is_not_taken_for_ones_own(pairs, run):
    with pytest.raises(InputError) as refusal:
        train(tiny(pairs, seed=9), run, Onlooker())
    assert refusal.value.code == "other_run"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda config: None, "no_run"),
        (lambda config: "{", "run_damaged"),
        (lambda config: {**config, "seed": "seven"}, "run_damaged"),
        (lambda config: {**config, "seed": "seven", "warp": 1}, "run_damaged"),
        (lambda config: {key: config[key] for key in config if key != "data"}, "run_damaged"),
        (lambda config: {**config, "format": FORMAT + 1}, "run_newer"),
        (lambda config: {**config, "warp": 1}, "run_newer"),
        (lambda config: {**config, "data": {**config["data"], "plane": "curved"}}, "run_newer"),
        (lambda config: {**config, "architecture": {"name": "diffusion"}}, "run_newer"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_told_apart_by_whoever_asks(change, code, pairs, tmp_path):
    config = tiny(pairs)
    write_run_config(config, tmp_path)
    changed = change(json.loads((tmp_path / "config.json").read_text()))
    if changed is None:
        (tmp_path / "config.json").unlink()
    else:
        (tmp_path / "config.json").write_text(changed if isinstance(changed, str) else json.dumps(changed))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.safetensors").touch()
    asks = [lambda: resume(tmp_path, Onlooker()), lambda: TrainedRun.read(tmp_path, "best")]
    for ask in asks if changed is None else [*asks, lambda: train(config, tmp_path, Onlooker())]:
        with pytest.raises(InputError) as refusal:
            ask()
        assert refusal.value.code == code
        assert refusal.value.remedy


def test_a_run_written_before_configurations_had_a_format_is_read(pairs, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(tiny(pairs).model_dump(mode="json")))
    assert read_run_config(tmp_path) == tiny(pairs)


def test_the_remedy_for_a_damaged_configuration_works(pairs, run, paused_after, tmp_path):
    paused_after(5)
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(InputError) as refusal:
        resume(tmp_path / "run", Onlooker())
    assert "delete that file and start the same training in the same folder" in refusal.value.remedy
    (tmp_path / "run" / "config.json").unlink()
    onlooker = Onlooker()
    train(tiny(pairs), tmp_path / "run", onlooker)
    assert onlooker.of("steps")[0]["step"] > 5
    assert all_same(kept(tmp_path / "run"), kept(run))


def test_what_says_that_a_run_is_over_is_damaged_and_the_remedy_works(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    finished = tmp_path / "run" / "finished.json"
    for content in ("", "[]", "{}", '{"stopped": 1}', "[" * 10_000, '{"seconds": NaN'):
        finished.write_text(content)
        with pytest.raises(InputError, match=r"finished\.json") as refusal:
            resume(tmp_path / "run", Onlooker())
        assert refusal.value.code == "run_damaged"
        assert "delete it" in refusal.value.remedy
    finished.unlink()
    resume(tmp_path / "run", Onlooker())
    assert json.loads(finished.read_text())["stopped"] is False
    assert all_same(kept(tmp_path / "run"), kept(run))


def test_a_finished_run_is_left_as_it_is(run):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    onlooker = Onlooker()
    resume(run, onlooker)
    assert onlooker.lines == []
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_two_processes_do_not_train_the_same_run(start, tmp_path):
    class Second(Onlooker):
        def hear(self, text, fraction, remaining_s):
            if "epoch" in text:
                with pytest.raises(InputError) as refusal:
                    resume(tmp_path / "run", Onlooker())
                assert refusal.value.code == "run_in_use"
                raise Cancelled

    with pytest.raises(Cancelled):
        train(start(tmp_path / "run"), tmp_path / "run", Second())
