"""What frozen phases hand on is computed once: the same losses in less time, whatever happens to the run."""

import errno
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from Engine.memory_cache import MemoryCache
from Engine.training_runs import Onlooker, all_same, flipped, journal, kept, tiny
from upgan.errors import Cancelled
from upgan.networks.cascade import Cascade, CascadeArchitecture
from upgan.pairs.splitting import Split
from upgan.progress import SILENT
from upgan.tasks import PET_TO_CT
from upgan.training.loop import progressive
from upgan.training.loop.frozen import keep_handed_on
from upgan.training.loop.processes import make_fabric
from upgan.training.loop.progressive import ProgressiveTraining
from upgan.training.loop.stage import Stage, plan_stages
from upgan.training.settings.config import ComputeConfig
from upgan.training.slices import handed_on
from upgan.training.slices.dataset import RunData
from upgan.training.slices.references import Reference

# Each of the 18 slices is seen more than twice in the second phase, as it is or mirrored. At a low rate: at a high one
# a millionth more or less in the input is a hundredth in the loss some steps later.
SEEN = {
    "augmentation": {"rotation_degrees": 0, "intensity": 0},
    "architecture": {"hand_over": "product"},
    "loss": {"adversarial": 0.0},
    "schedule": {
        "epochs": [1, 1],
        "joint_epochs": 0,
        "epoch_steps": 3,
        "batch": 13,
        "learning_rate": 2e-4,
        "begin_as_predecessor": True,
    },
}


class Listener(Onlooker):
    """Hears everything, and may stop the run while it computes what is handed on.

    Args:
        stop_at: The patient at whom to stop, as the progress names it.
        stop_after: Steps after which to stop.
    """

    def __init__(self, stop_at: str = "of none", stop_after: int | None = None) -> None:
        super().__init__(stop_after)
        self.stop_at, self.texts, self.kept_in = stop_at, [], Path()

    def hear(self, text, fraction, remaining_s):
        self.texts.append((text, fraction))
        if text.endswith(self.stop_at):
            raise Cancelled
        super().hear(text, fraction, remaining_s)

    def line(self, line):
        super().line({**line, "kept": self.kept_in.exists()})

    @property
    def computed(self) -> list[str]:
        return [text for text, _ in self.texts if "hands on" in text]


def blobs() -> MemoryCache:
    """Small patients whose slices fill no canvas, nobody left-right symmetric."""
    cache = MemoryCache((32, 16), (4.0, 4.0))
    for n, subject in enumerate(("p1", "p2", "p3", "watched")):
        b = ndimage.gaussian_filter(np.random.default_rng(n).random((6, 24, 16)), (0, 2, 2))
        b = 1.5 * (b - b.min()) / np.ptp(b)
        cache.add(subject, b**2, b, b > 0.4)
        target = (1000 * b - 1000).astype(np.float32)
        cache.references[subject] = Reference(target, b > 0.4, (-1000.0, 500.0))
    return cache


def go_on(folder, listener: Listener) -> Listener:
    """Begin a run, or go on with it."""
    folder.mkdir(exist_ok=True)
    config = tiny(folder, **SEEN)
    torch.manual_seed(7)
    data = RunData(PET_TO_CT, Split(["p1", "p2", "p3"], ["watched"], []), blobs())
    cascade = Cascade(config.architecture)
    listener.kept_in = folder / "cache" / "handed_on"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progressive, "_WINDOW_S", math.inf)  # lines that do not depend on the clock
        ProgressiveTraining(make_fabric(config.compute), config, folder, data, cascade, listener).run()
    return listener


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A run whose second phase was trained on what the first handed on once, and who saw it."""
    run = tmp_path_factory.mktemp("once") / "run"
    return run, go_on(run, Listener())


def test_a_step_from_what_was_handed_on_is_bit_for_bit_the_step_that_runs_the_frozen_phases():
    architecture = {"phases": 3, "hand_over": "image+sigma", "features": True}
    config = tiny(Path("pairs"), architecture=architecture, schedule={"epochs": [1, 1, 1]})
    fabric, plan = make_fabric(config.compute), plan_stages(config, 3)[-2]
    a, b = torch.rand(2, 2, 1, 32, 32)
    learned = []
    for is_handed_on in (False, True):
        torch.manual_seed(7)
        cascade = Cascade(config.architecture)
        stage = Stage(fabric, cascade, config, plan, steps=2)
        for generator in cascade.generators:
            torch.nn.init.normal_(generator.image_head.weight)
        given = None
        if is_handed_on:
            given = cascade.eval().handed_on(a, 2).detach()
            # They would give something else by now: they are not asked.
            torch.nn.init.zeros_(cascade.generators[1].image_head.weight)
        stage.step(0, a, b, torch.ones_like(a), handed_on=given)
        learned.append(cascade.generators[2].state_dict())
    assert all_same(*learned)


def test_losses_are_those_of_a_run_on_a_full_disk_that_computes_it_anew_at_every_step(once, tmp_path, monkeypatch):
    run, listener = once
    assert listener.computed == [f"computing once what phase 1 hands on, patient {n} of 3" for n in (1, 2, 3)]
    assert not (run / "cache").exists()
    fractions = [fraction for _, fraction in listener.texts]
    assert fractions == sorted(fractions)
    assert [line["code"] for line in listener.of("event")] == ["finished"]

    written = handed_on.write_records

    def until_full(path, *arguments):
        if any(path.parent.glob("*.npy")):  # The second patient's do not fit any more.
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(path, *arguments)

    monkeypatch.setattr(handed_on, "write_records", until_full)

    anew = Listener()
    go_on(tmp_path / "run", anew)
    assert [line["code"] for line in anew.of("event")] == ["not_kept", "finished"]
    assert "disk is full" in anew.of("event")[0]["sentence"]
    assert not any(line["kept"] for line in (*listener.of("event"), *anew.of("event")))
    for name in ("loss", "likelihood", "l1", "gradient"):
        ours, theirs = ([line[name] for line in seen.of("steps")] for seen in (listener, anew))
        assert ours == pytest.approx(theirs, rel=1e-3), name


def test_a_run_that_is_stopped_while_it_is_computed_or_afterwards_goes_on_to_the_same_weights(once, tmp_path):
    run = tmp_path / "run"
    while_computing, in_the_stage, to_the_end = Listener("2 of 3"), Listener(stop_after=2), Listener()
    with pytest.raises(Cancelled):
        go_on(run, while_computing)
    assert journal(run)[-1]["code"] == "paused"
    with pytest.raises(Cancelled):
        go_on(run, in_the_stage)
    # What was there was not computed again.
    assert [text[-6:] for text in in_the_stage.computed] == ["1 of 2", "2 of 2"]
    first, second, third = sorted((run / "cache" / "handed_on").glob("*.npy"))
    flipped(first)
    second.unlink()
    entry = third.with_suffix(".json")
    entry.write_text(json.dumps({**json.loads(entry.read_text()), "made_of": "of other weights"}))
    go_on(run, to_the_end)
    assert len(to_the_end.computed) == 3
    assert all_same(kept(run), kept(once[0]))


@pytest.mark.parametrize(
    ("changes", "costs"),
    [
        ({}, [3, 3, 3]),
        ({"augmentation": {"rotation_degrees": 0, "intensity": 0, "flip": 0}}, [3, 3, 3]),
        ({"augmentation": {"rotation_degrees": 0, "intensity": 0, "scale": 0.1}}, [3, 4, 5]),
        ({"augmentation": {"rotation_degrees": 1, "intensity": 0}}, [3, 4, 5]),
        ({"augmentation": {"rotation_degrees": 0, "intensity": 0.1}}, [3, 4, 5]),
        ({"data": {"degradation": "motion", "task": "mri_motion"}}, [3, 4, 5]),
        # Once for each of 48 slices and once for its mirror image is no less than 12 steps of 8.
        ({"schedule": {"epochs": [12, 12, 13]}}, [3, 4, 3]),
    ],
    ids=str,
)
def test_frozen_phases_cost_nothing_where_slices_are_mirrored_at_most_and_seen_more_than_once(changes, costs):
    schedule = {"epochs": [13] * 3, "batch": 8, "epoch_steps": 1, **changes.get("schedule", {})}
    config = tiny(Path("pairs"), **{**SEEN, **changes, "architecture": {"phases": 3}, "schedule": schedule})
    assert [plan.cost for plan in plan_stages(config, 3, slices=48)] == [*costs, 9]


def test_slices_longer_than_a_patient_is_in_millimetres_are_computed_as_well(tmp_path):
    """2857 pixels of 0.7 mm are two metres: what counts is the pixels there are."""
    cache = MemoryCache((2608, 16), (0.7, 0.7))
    slices = np.random.default_rng(0).random((2, 2600, 16)).astype(np.float32)
    cache.add("tall", slices, slices, slices > 0.4)
    cascade = Cascade(CascadeArchitecture(phases=2, width=1, deepest=1)).eval()
    kept_maps = handed_on.HandedOn(cache, tmp_path / "kept", cascade.handed_on_channels, False)
    fabric = make_fabric(ComputeConfig(device="cpu", precision="float32"))
    keep_handed_on(kept_maps, cascade, 1, ["tall"], fabric, SILENT)
    assert kept_maps.read("tall", 0, False).shape[-2:] == (2600, 16)
