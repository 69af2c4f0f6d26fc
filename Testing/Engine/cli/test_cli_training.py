"""``upgan train``, ``evaluate`` and ``bundle create`` as typed: what is said, what stops a run, and how it goes on."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import typer
from rich.console import Console

from Engine.command_line import assert_refused, environment_of
from Engine.training_runs import all_same, kept, tiny
from upgan.bundles.bundle import Bundle
from upgan.cli.commands import app
from upgan.cli.progress_bar import TrainingDisplay
from upgan.errors import Cancelled
from upgan.training.run import trainer
from upgan.training.settings.config_file import read_config

SMALL = [
    ("architecture.phases", 2),
    ("architecture.width", 4),
    ("architecture.deepest", 2),
    ("discriminator.width", 4),
    ("discriminator.layers", 2),
    ("split.train", 3),
    ("schedule.epochs", "[2, 1]"),
    ("schedule.joint_epochs", 1),
    ("schedule.epoch_steps", 3),
    ("schedule.batch", 4),
    ("schedule.weight_averaging", 0.5),
    ("compute.device", "cpu"),
    ("compute.precision", "float32"),
]


def settings(*more):
    return [word for key, value in (*SMALL, *more) for word in ("--set", f"{key}={value}")]


@pytest.fixture
def config(run, pairs, tmp_path):
    """A configuration as --init writes it, for the pairs above."""
    path = tmp_path / "config.toml"
    assert run("train", "--init", path).code == 0
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("pairs/manifest.json", (pairs / "manifest.json").as_posix()), encoding="utf-8")
    return path


@pytest.fixture
def calls(monkeypatch):
    """Replace the training by a list of what would have been trained."""
    made = []
    monkeypatch.setattr(trainer, "train", lambda config, folder, watch: made.append(("train", config, folder)))
    monkeypatch.setattr(trainer, "resume", lambda folder, watch, moved_to: made.append(("resume", folder, moved_to)))
    return made


# The ways to call it


def test_a_run_is_started_as_the_file_and_the_command_line_say(run, config, calls, tmp_path):
    outcome = run("train", config, "--output", tmp_path / "run", "--set", "schedule.batch=3", "--set", "seed=9")
    assert (outcome.code, outcome.out) == (0, f"{tmp_path / 'run'}\n")
    assert calls == [("train", read_config(config, ["schedule.batch=3", "seed=9"]), tmp_path / "run")]
    assert f"upgan bundle create {tmp_path / 'run'}" in outcome.err


def test_a_run_goes_on_where_it_was(run, calls, tmp_path):
    outcome = run("train", "--resume", tmp_path / "run")
    assert outcome.code == 0
    assert run("train", "--resume", tmp_path / "run", "--data", tmp_path / "elsewhere").code == 0
    assert calls == [("resume", tmp_path / "run", None), ("resume", tmp_path / "run", tmp_path / "elsewhere")]


def test_a_configuration_is_written_with_the_preset_asked_for_and_quick_by_default(run, tmp_path):
    assert run("train", "--init", tmp_path / "a.toml").out == f"{tmp_path / 'a.toml'}\n"
    assert read_config(tmp_path / "a.toml").architecture.width == 16
    assert run("train", "--init", tmp_path / "b.toml", "--preset", "paper").code == 0
    assert read_config(tmp_path / "b.toml").architecture.width == 64
    outcome = run("train", "--init", tmp_path / "c.toml", "--preset", "fine-tune", "--base", "pet-ct-phantom")
    assert outcome.code == 0
    assert read_config(tmp_path / "c.toml").base == "pet-ct-phantom"


def test_a_base_in_the_current_folder_is_found_from_wherever_the_file_is(run, tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny_bundle.folder.parent)
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "c.toml"
    assert run("train", "--init", path, "--preset", "fine-tune", "--base", tiny_bundle.folder.name).code == 0
    assert read_config(path).base == str(tiny_bundle.folder)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "--resume RUN"),
        (("c.toml", "--resume", "run"), "--resume RUN"),
        (("c.toml", "--init", "d.toml"), "--init FILE"),
        (("c.toml",), "--output"),
        (("--resume", "run", "--set", "seed=1"), "--set"),
        (("--resume", "run", "--output", "other"), "--output"),
        (("c.toml", "--output", "run", "--preset", "quick"), "--preset"),
        (("c.toml", "--output", "run", "--data", "elsewhere"), "--data"),
        (("--resume", "run", "--base", "x"), "--base"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_done(run, calls, arguments, named):
    outcome = run("train", *arguments)
    assert outcome.code == 2
    assert named in " ".join(outcome.err.split())
    assert "Traceback" not in outcome.err
    assert calls == []


def test_a_wrong_configuration_is_refused_in_one_line(run, config, calls, tmp_path):
    outcome = run("train", config, "--output", tmp_path / "run", "--set", "schedule.bach=3")
    assert_refused(outcome, "config_invalid")
    assert "'schedule.batch'" in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_file_in_the_way_of_a_new_configuration_is_left_alone(run, tmp_path):
    (tmp_path / "c.toml").write_text("mine", encoding="utf-8")
    assert_refused(run("train", "--init", tmp_path / "c.toml"), "exists")
    assert (tmp_path / "c.toml").read_text(encoding="utf-8") == "mine"


def test_every_command_in_the_documentation_is_one(tmp_path, monkeypatch):
    """Parsed, not run: options, and what must be there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "LICENCE.txt").touch()
    text = (Path(__file__).parents[3] / "Documentation" / "Training.md").read_text(encoding="utf-8")
    text = text.replace("torchrun --nproc-per-node 4 -m upgan.cli", "upgan").replace("srun upgan", "upgan")
    lines = [
        shlex.split(line, comments=True)
        for line in re.findall(r"(?:^ {4}|`|`srun )upgan ([^`\n]* [^`\n]*)", text, re.M)
    ]
    assert len(lines) > 12
    for words in lines:
        command = typer.main.get_command(app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words[0]]
            words = words[1:]
        context = command.make_context("upgan", words)
        assert context.params


# From pairs to a model


def test_pairs_become_a_run_and_a_run_becomes_a_model_that_is_evaluated(run, config, pairs, tmp_path):
    outcome = run("train", config, "--output", tmp_path / "run", *settings())
    assert outcome.code == 0, outcome.err
    lines = outcome.err.splitlines()
    assert [line for line in lines if line.startswith("stage ") and " of 3: " in line] == [
        "stage 1 of 3: phase 1, epochs 2, steps 6",
        "stage 2 of 3: phase 2, epochs 1, steps 3",
        "stage 3 of 3: phases 1, 2 together, epochs 1, steps 3",
    ]
    journal = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    (first, *_) = [line["phases"]["1"]["mae"] for line in journal if line["kind"] == "validation"]
    assert f"stage 1, epoch 1: phase 1 on the validation patients: MAE {first:.4g}, PSNR" in outcome.err
    # No terminal: nothing for single steps.
    assert len(lines) < 15
    (tmp_path / "LICENSE").write_text("for tests", encoding="utf-8")
    options = ("--licence", tmp_path / "LICENSE", "--checkpoint", "phase_1", "--name", "mine", "--version", "2.0")
    remark = ("--remark", "Another one is better.")
    outcome = run("bundle", "create", tmp_path / "run", "--output", tmp_path / "model", *options, *remark)
    assert outcome == (0, f"{tmp_path / 'model'}\n", outcome.err)
    metadata = Bundle.open(tmp_path / "model").metadata
    assert (metadata.name, metadata.version, metadata.upgan.architecture.phases) == ("mine", "2.0", 1)
    assert "Another one is better." in (tmp_path / "model" / "docs" / "README.md").read_text(encoding="utf-8")
    with_table = tmp_path / "pairs.csv"
    pet, ct = (pairs / f"sub-002_{kind}.nii.gz" for kind in ("nacpet", "ct"))
    with_table.write_text(f"subject,input,target\nx,{pet},{ct}\n", encoding="utf-8")
    from_table = run("evaluate", with_table, "--model", tmp_path / "model", "--device", "cpu")
    from_manifest = run("evaluate", pairs / "manifest.json", "--model", tmp_path / "model", "--device", "cpu")
    assert json.loads(from_table.out)["subjects"] == 1
    assert json.loads(from_manifest.out)["subjects"] == 5
    rows = json.loads(from_manifest.out)["rows"]["1"]
    assert json.loads(from_table.out)["rows"]["1"]["x"] == pytest.approx(rows["sub-002"])


def test_evaluation_resamples_from_a_guess_only_when_told_to(run, tiny_bundle, write_pairs, tmp_path):
    write_pairs(tmp_path, [11])
    path = tmp_path / "sub-001_ct.nii.gz"
    image = nibabel.load(path)
    elsewhere = image.affine + np.array([[0, 0, 0, 40.0], [0] * 4, [0] * 4, [0] * 4])
    larger = nibabel.Nifti1Image(np.pad(image.get_fdata(), [(0, 1), (0, 0), (0, 0)], "edge"), image.affine)
    larger.set_qform(image.affine, 1)
    larger.set_sform(elsewhere, 2)
    nibabel.save(larger, path)
    arguments = ("evaluate", tmp_path / "manifest.json", "--model", tiny_bundle.folder, "--device", "cpu")
    assert_refused(run(*arguments), "unsure_place")
    outcome = run(*arguments, "--trust-guessed-places")
    assert outcome.code == 0
    assert "Warning: sub-001: 'sub-001_ct.nii.gz'" in outcome.err


def test_a_checkpoint_that_is_not_there_is_refused_by_name(run, tmp_path):
    (tmp_path / "LICENSE").touch()
    outcome = run(
        "bundle", "create", tmp_path, "--output", tmp_path / "m", "--licence", tmp_path / "LICENSE", "--checkpoint", "x"
    )
    assert_refused(outcome, "run_unfinished")
    assert "'x'" in outcome.err


# Stopping


class Process:
    """A training of its own, whose lines are read as they come."""

    def __init__(self, *arguments) -> None:
        command = [sys.executable, "-m", "upgan.cli", "train", *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment_of(OMP_NUM_THREADS="1"),
        )
        self.lines: list[str] = []

    def wait_for(self, start: str) -> None:
        while not self.lines or not self.lines[-1].startswith(start):
            line = self.process.stderr.readline()
            assert line, self.lines
            self.lines.append(line)

    def end(self) -> int:
        self.lines += self.process.communicate(timeout=60)[1].splitlines()
        return self.process.returncode


@pytest.fixture
def configured(pairs, tmp_path):
    """A run that has its configuration and nothing else."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(tiny(pairs).model_dump_json(), encoding="utf-8")
    return tmp_path / "run"


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
def test_a_run_that_is_interrupted_goes_on_to_the_weights_of_one_that_was_not(run, configured, whole):
    process = Process("--resume", configured)
    process.wait_for("stage 1, epoch 1")
    process.process.send_signal(signal.SIGINT)
    assert process.end() == 130, process.lines
    assert process.lines[-1] == f"Paused. Go on with: upgan train --resume {configured}"
    assert "Traceback" not in "".join(process.lines)
    assert not (configured / "finished.json").exists()
    assert run("train", "--resume", configured).code == 0
    assert all_same(kept(configured), kept(whole))


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
def test_a_cluster_that_ends_a_run_leaves_it_time_for_a_checkpoint(configured):
    process = Process("--resume", configured)
    process.wait_for("stage 1, epoch 1")
    process.process.send_signal(signal.SIGTERM)
    assert process.end() == 143, process.lines
    assert process.lines[-1] == f"Paused. Go on with: upgan train --resume {configured}"
    assert (configured / "checkpoints" / "last.safetensors").exists()


def interrupted(program: str, *waits: float) -> tuple[int, float]:
    """Run a training that looks up never, or only when its text says so, and press Ctrl-C after each of some waits."""
    code = (
        "import sys, time, types\nfrom upgan import cli\n"
        f"def resume(folder, watch, moved_to):\n    print('begun', flush=True)\n{program}\n"
        "sys.modules['upgan.training.run.trainer'] = types.SimpleNamespace(resume=resume)\n"
        "sys.argv = ['upgan', 'train', '--resume', 'run']\ncli.main()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment_of()) as process:
        process.stdout.readline()
        for wait in waits:
            time.sleep(wait)
            process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        try:
            return process.wait(timeout=20), time.monotonic() - sent
        finally:
            process.kill()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
def test_a_second_ctrl_c_ends_at_once_what_does_not_look_up():
    code, seconds = interrupted("    time.sleep(30)", 0.1, 1.3)
    assert code == -signal.SIGINT
    assert seconds < 5


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
def test_the_same_ctrl_c_that_comes_twice_still_ends_in_order():
    """From the terminal and from torchrun."""
    code, _ = interrupted("    time.sleep(1)\n    watch.progress.tell(0.0)", 0.1, 0.1)
    assert code == 130


def test_after_the_training_ctrl_c_means_again_what_it_did(run, calls, tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert run("train", "--resume", tmp_path / "run").code == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID"])
def test_of_several_processes_the_first_alone_speaks(run, monkeypatch, tmp_path, variable):
    def resume(folder, watch, moved_to):
        watch.line({"kind": "event", "code": "finished", "sentence": "The training is finished."})

    monkeypatch.setattr(trainer, "resume", resume)
    for rank, speaks in (("0", True), ("1", False)):
        monkeypatch.setenv(variable, rank)
        outcome = run("train", "--resume", tmp_path / "run")
        assert bool(outcome.err) == bool(outcome.out) == speaks


def test_a_paused_process_that_is_not_the_first_says_nothing_either(run, monkeypatch, tmp_path):
    def resume(folder, watch, moved_to):
        raise Cancelled

    monkeypatch.setattr(trainer, "resume", resume)
    monkeypatch.setenv("RANK", "1")
    assert run("train", "--resume", tmp_path / "run") == (130, "", "")


# What a terminal shows

STEPS = {"kind": "steps", "loss": 1.2345, "stage": 1, "step": 3}


def shown(*, is_terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=120, highlight=False)
    with TrainingDisplay(console) as display:
        for step in range(100):
            display.hear("phase 1 of 3, epoch 1 of 20", step / 100, 3725.4)
            display.line({**STEPS, "step": step})
        display.line({"kind": "event", "code": "rolled_back", "sentence": "The loss [sub-1 slice 3] was not a number."})
    return console.file.getvalue()


def test_a_terminal_shows_stage_loss_and_the_trainers_own_time_left():
    text = shown(is_terminal=True)
    for part in ("phase 1 of 3, epoch 1 of 20", "99 %", "loss 1.23", "1:02:05 left"):
        assert part in text
    assert "The loss [sub-1 slice 3] was not a number." in text


def test_a_log_file_has_no_line_for_single_steps():
    assert shown(is_terminal=False) == "The loss [sub-1 slice 3] was not a number.\n"
