"""What may happen to the numbers of a training: NaN, and an error that grows."""

import numpy as np
import pytest
import torch

from Engine.training_runs import Killed, Onlooker, journal, kept
from upgan.errors import Cancelled, TrainingError
from upgan.training.loop import progressive
from upgan.training.loop.stage import Stage
from upgan.training.record import checkpoint
from upgan.training.record.health import Health
from upgan.training.run.trainer import resume, train
from upgan.training.slices.batches import Batches

# Nothing of what is asked here needs the second phase.
ONE_STAGE = {"epochs": [3, 0], "joint_epochs": 0}


@pytest.fixture(scope="module")
def usual_rates(healthy):
    """Rate by stage and step of a run to which nothing happened."""
    return {(line["stage"], line["step"]): line["rate"] for line in healthy.of("steps")}


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


def test_after_a_nan_the_run_goes_back_names_the_batch_and_halves_the_rate(start, usual_rates, tmp_path, monkeypatch):
    poison(monkeypatch, times=1)
    onlooker = Onlooker()
    train(start(tmp_path / "run", schedule={"joint_epochs": 0}), tmp_path / "run", onlooker)
    (event,) = [line for line in onlooker.of("event") if line["code"] == "rolled_back"]
    assert "not a number" in event["sentence"]
    assert event["sentence"].count(" slice ") == 4  # a batch
    rates = {(line["stage"], line["step"]): line["rate"] for line in onlooker.of("steps")}
    assert rates[1, 9] == pytest.approx(usual_rates[1, 9] / 2)
    assert rates[2, 6] == pytest.approx(usual_rates[2, 6])  # the next stage has its own
    assert all(torch.isfinite(tensor).all() for tensor in kept(tmp_path / "run").values())


def test_a_pause_right_after_a_nan_does_not_keep_it(start, tmp_path, monkeypatch):
    poison(monkeypatch, times=1)
    with pytest.raises(Cancelled):
        train(start(tmp_path / "run", schedule=ONE_STAGE), tmp_path / "run", Onlooker(stop_after=8))
    assert all(torch.isfinite(tensor).all() for tensor in kept(tmp_path / "run").values())
    resume(tmp_path / "run", Onlooker())
    assert journal(tmp_path / "run")[-1]["code"] == "finished"


def test_a_discriminator_that_is_lost_in_an_epochs_last_step_is_not_kept(start, tmp_path, monkeypatch):
    original, left = Stage.step, [1]

    def spoiling(self, number, *parts):
        losses = original(self, number, *parts)
        if number == 5 and left.pop() if left else False:
            next(self.discriminators[0].parameters()).data.fill_(float("nan"))
        return losses

    monkeypatch.setattr(Stage, "step", spoiling)
    onlooker = Onlooker()
    train(start(tmp_path / "run", schedule=ONE_STAGE), tmp_path / "run", onlooker)
    assert [line["code"] for line in onlooker.of("event")] == ["rolled_back", "finished"]


def test_an_error_that_is_no_number_is_never_the_best(start, tmp_path, monkeypatch):
    original, left = progressive.validate, [1]

    def lost(*arguments):
        figures = original(*arguments)
        if left:
            left.pop()
            figures[1]["mae"] = float("nan")
        return figures

    monkeypatch.setattr(progressive, "validate", lost)
    onlooker = Onlooker()
    train(start(tmp_path / "run", schedule=ONE_STAGE), tmp_path / "run", onlooker)
    assert [line["code"] for line in onlooker.of("event")] == ["rolled_back", "finished"]
    _, state = checkpoint.load(checkpoint.path_of(tmp_path / "run", checkpoint.BEST))
    assert np.isfinite(state["best"]["mae"])


def test_a_nan_that_stays_ends_the_run_after_three_times_with_what_it_had(start, tmp_path, monkeypatch):
    poison(monkeypatch, times=100)
    onlooker = Onlooker()
    config = start(tmp_path / "run")
    with pytest.raises(TrainingError, match="slice") as failure:
        train(config, tmp_path / "run", onlooker)
    assert failure.value.code == "diverged"
    assert [line["code"] for line in onlooker.of("event")] == ["rolled_back"] * 3 + ["diverged"]
    _, state = checkpoint.load(checkpoint.path_of(tmp_path / "run", checkpoint.LAST))
    assert (state["step"], state["rollbacks"]) == (6, 3)


def test_the_halved_rate_is_not_forgotten_when_the_run_is_killed_afterwards(start, usual_rates, tmp_path, monkeypatch):
    poisoned = poison(monkeypatch, times=1)
    config = start(tmp_path / "run", schedule=ONE_STAGE)

    class Dying(Onlooker):
        def line(self, line):
            super().line(line)
            if self.lines[-2:-1] and self.lines[-2].get("code") == "rolled_back":
                raise Killed

    with pytest.raises(Killed):
        train(config, tmp_path / "run", Dying())
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
