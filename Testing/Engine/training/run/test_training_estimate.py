"""What is said of time and memory before a run starts, beside what it then takes."""

import subprocess
import sys
import time

import pytest
import torch

from Engine.command_line import environment_of
from upgan.errors import DeviceError
from upgan.training.run.estimate import estimate
from upgan.training.settings.config import AugmentationConfig
from upgan.training.settings.config_file import config_from
from upgan.training.settings.presets import preset

CANVAS = (112, 96)


def quick(batch: int = 8, **schedule):
    values = preset("quick")
    # Every kind of stage there is.
    stages = {"epochs": [60, 30, 20], "joint_epochs": 20, "batch": batch}
    values["schedule"] = {**values["schedule"], **stages, **schedule}
    values["architecture"] |= {"width": 8, "phases": len(values["schedule"]["epochs"])}
    return config_from({"name": "x", "data": {"path": "."}, "compute": {"precision": "float32"}, **values})


def estimated(config, canvas=CANVAS, slices=1000):
    return estimate(config, config.architecture, canvas, slices, "cpu")


MEASURE = """
import re, sys, torch
from upgan.networks.cascade import Cascade
from upgan.training.settings.config import TrainingConfig
from upgan.training.loop.processes import make_fabric
from upgan.training.loop.stage import Stage, plan_stages
config = TrainingConfig.model_validate_json(sys.argv[1])
fabric = make_fabric(config.compute)
cascade = Cascade(config.architecture).to(memory_format=torch.channels_last)
stage = Stage(fabric, cascade, config, plan_stages(config, 3)[-1], 9)
for batch in map(int, sys.argv[4:]):
    a = torch.rand(batch, 1, int(sys.argv[2]), int(sys.argv[3]))
    for step in range(2):
        stage.step(200 + step, a, a, torch.ones_like(a))
    # Its own: what getrusage tells may be inherited from the process that started this one.
    print("peak", 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]))
"""


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's own peak memory")
def test_memory_is_within_a_factor_of_two_of_what_a_step_takes():
    command = [sys.executable, "-c", MEASURE, quick().model_dump_json(), *map(str, CANVAS), "2", "6"]
    done = subprocess.run(command, env=environment_of(OMP_NUM_THREADS="1"), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    measured = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("peak")]
    said = [estimated(quick(batch)).memory_bytes for batch in (2, 6)]
    for ours, theirs in zip(said, measured, strict=True):
        assert theirs / 2 < ours < 2 * theirs
    # And so is what the slices themselves need, without all that a process needs anyway.
    theirs = measured[1] - measured[0]
    assert theirs / 2 < said[1] - said[0] < 2 * theirs


def test_a_graphics_card_too_small_for_a_step_is_told_as_such(monkeypatch):
    def step(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory (made up by a test)")

    monkeypatch.setattr("upgan.training.loop.stage.Stage.step", step)
    with pytest.raises(DeviceError) as refusal:
        estimated(quick())
    assert refusal.value.code == "out_of_memory"


@pytest.fixture
def steady(monkeypatch):
    """Let a step take 10 ms and 1 µs a pixel, whatever the computer is doing, and a second for each new size."""
    clock, seen = [0.0], set()

    def step(self, number, a, b, body, handed_on=None):
        clock[0] += 0.01 + 1e-6 * a.numel() + (0.5 if a.numel() not in seen else 0.0)
        seen.add(a.numel())

    monkeypatch.setattr("upgan.training.loop.stage.Stage.step", step)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])


def test_time_is_that_of_a_step_times_all_steps(steady):
    config = quick(epochs=[0, 0, 0], joint_epochs=4, epoch_steps=50)
    expected = 200 * (0.01 + 1e-6 * 8 * 112 * 96)
    assert estimated(config).seconds == pytest.approx(1.15 * expected, rel=1e-6)


def test_stages_that_train_one_phase_take_a_third_of_the_time_and_less(steady):
    def seconds(**schedule):
        return estimated(quick(epoch_steps=50, **schedule)).seconds

    joint = seconds(epochs=[0, 0, 0], joint_epochs=4)
    # Phase 1 goes forward once and back; all three together three times, past each other: 3 of 9.
    assert seconds(epochs=[4, 0, 0], joint_epochs=4) == pytest.approx(joint * (1 + 3 / 9))
    assert seconds(epochs=[4, 4, 4], joint_epochs=4) == pytest.approx(joint * (1 + (3 + 4 + 5) / 9))


def test_frozen_phases_that_are_run_once_take_no_time_of_a_step(steady):
    # Of 3200 slices drawn in a stage 1000 are different ones, twice as many with their mirror images.
    config = quick(epochs=[4, 4, 4], joint_epochs=0, epoch_steps=100)
    mirrored = config.model_copy(update={"augmentation": AugmentationConfig(flip=0.5)})
    assert estimated(mirrored).seconds == pytest.approx(1.15 * 1200 * (0.01 + 1e-6 * 8 * 112 * 96), rel=1e-6)


def test_an_epoch_is_a_pass_over_the_slices_where_no_length_is_given(steady):
    config = quick(epochs=[0, 0, 0], joint_epochs=2, epoch_steps=None)
    assert estimated(config, slices=1600).seconds == pytest.approx(4 * estimated(config, slices=400).seconds)
    assert estimated(config, slices=3).seconds == pytest.approx(estimated(config, slices=8).seconds)


def test_where_a_step_takes_long_few_are_tried(monkeypatch):
    clock, sides = [0.0], []

    def step(self, number, a, b, body):
        clock[0] += 2.0
        sides.append(a.shape[-1])

    monkeypatch.setattr("upgan.training.loop.stage.Stage.step", step)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    estimated(quick(), canvas=(512, 512))
    assert len(sides) == 3
    assert max(sides) == 64
