"""Several processes that train one model compute what one process computes with the whole batch."""

import json
import math
import os
import socket
import subprocess
import sys

import pytest

from Engine.training_runs import Onlooker, kept, tiny
from upgan.errors import InputError
from upgan.training.loop import progressive
from upgan.training.run.trainer import train

# At a low rate: at a high one a millionth more or less in the input is a hundredth in the loss some steps later.
SCHEDULE = {"epochs": [2, 1], "joint_epochs": 1, "learning_rate": 2e-4, "joint_learning_rate": 2e-4}
# So that frozen phases are run once, by the first process for both: each slice is drawn more than once.
ONCE = {"augmentation": {"rotation_degrees": 0, "intensity": 0, "flip": 0}, "schedule": {**SCHEDULE, "batch": 18}}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def torchrun(config, run, processes: int = 2) -> subprocess.CompletedProcess:
    """Start the command line under torchrun, as the documentation says."""
    path = run.parent / "config.toml"
    path.write_text(toml(config), encoding="utf-8")
    meeting = ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    command = ["torch.distributed.run", "--nproc-per-node", str(processes), *meeting]
    program = [sys.executable, "-m", *command, "-m", "upgan.cli", "train", str(path), "--output", str(run)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(program, capture_output=True, text=True, timeout=240, env=environment, check=False)


def toml(config) -> str:
    """A configuration as a file says it: JSON's values are TOML's."""
    content = config.model_dump(mode="json", exclude_none=True)
    single = [f"{name} = {json.dumps(value)}" for name, value in content.items() if not isinstance(value, dict)]
    sections = [
        "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in section.items())])
        for name, section in content.items()
        if isinstance(section, dict)
    ]
    return "\n".join([*single, *sections])


@pytest.mark.nightly
def test_two_processes_have_the_losses_and_errors_of_one_with_the_same_batch(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(progressive, "_WINDOW_S", math.inf)  # One process looks at the clock, two do not.
    config = tiny(pairs, **ONCE)
    one = Onlooker()
    train(config, tmp_path / "one", one)
    ended = torchrun(config, tmp_path / "two")
    assert ended.returncode == 0, ended.stderr[-3000:]
    lines = [json.loads(line) for line in (tmp_path / "two" / "journal.jsonl").read_text("utf-8").splitlines()]
    for name in ("loss", "likelihood", "l1", "adversarial", "discriminator"):
        ours = [line[name] for line in lines if line["kind"] == "steps"]
        theirs = [line[name] for line in one.of("steps")]
        assert ours == pytest.approx(theirs, rel=1e-3), name
    ours = [line["phases"] for line in lines if line["kind"] == "validation"]
    theirs = [line["phases"] for line in one.of("validation")]
    assert [sorted(phases) for phases in ours] == [sorted(phases) for phases in theirs]
    for mine, others in zip(ours, theirs, strict=True):
        for phase, figures in mine.items():
            assert figures["mae"] == pytest.approx(others[phase]["mae"], rel=1e-4)
    assert kept(tmp_path / "two").keys() == kept(tmp_path / "one").keys()


def test_processes_share_the_statistics_of_their_batches(tmp_path):
    """SharedBatchNorm2d in two threads' place: the same as PyTorch's over the whole batch, and its gradients too."""
    script = """
import sys, torch, torch.distributed as dist
from upgan.training.loop.processes import SharedBatchNorm2d
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
torch.manual_seed(0)
whole = torch.randn(6, 3, 5, 4) * 3 + 1
expected = torch.nn.BatchNorm2d(3)
shared = torch.nn.BatchNorm2d(3)
shared.__class__ = SharedBatchNorm2d
for layer in (expected, shared):
    torch.nn.init.uniform_(layer.weight, generator=torch.Generator().manual_seed(1))
    torch.nn.init.uniform_(layer.bias, generator=torch.Generator().manual_seed(2))
whole.requires_grad_(True)
part = whole.detach()[rank * 3 : rank * 3 + 3].clone().requires_grad_(True)
out, ours = expected(whole), shared(part)
torch.testing.assert_close(ours, out[rank * 3 : rank * 3 + 3], rtol=1e-4, atol=1e-5)
torch.testing.assert_close(shared.running_mean, expected.running_mean)
torch.testing.assert_close(shared.running_var, expected.running_var)
scale = torch.arange(out.numel()).view_as(out).sin()
(out * scale).sum().backward()
(ours * scale[rank * 3 : rank * 3 + 3]).sum().backward()
torch.testing.assert_close(part.grad, whole.grad[rank * 3 : rank * 3 + 3], rtol=1e-3, atol=1e-4)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(rank), str(tmp_path / "meeting")],
            stderr=subprocess.PIPE,
            env=environment,
        )
        for rank in (0, 1)
    ]
    for process in both:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode()[-2000:]


def test_one_process_is_no_group(pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_PROCID", "0")
    onlooker = Onlooker(stop_after=1)
    with pytest.raises(Exception, match="cancelled") as ended:
        train(tiny(pairs), tmp_path / "run", onlooker)
    assert not isinstance(ended.value, InputError)
