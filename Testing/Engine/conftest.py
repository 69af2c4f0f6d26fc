"""Models for tests, an identity that shows what the engine does around a network, and a tiny real one; tiny runs."""

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from Engine.command_line import Outcome
from upgan.bundles.bundle import Bundle, BundleMetadata, software_versions, write_bundle
from upgan.cli.commands import main
from upgan.networks.cascade import Cascade, CascadeArchitecture
from upgan.tasks import PET_TO_CT, Display, InputScale, OutputScale, Task
from upgan.uncertainty.distribution import GeneralizedNormal

IDENTITY_TASK = Task(
    name="identity",
    title="nothing is changed",
    input_modality="MR",
    output_modality="MR",
    image_key="image",
    image_name="image",
    unit="",
    input=InputScale(power=1.0),
    output=OutputScale(relative=True),
    display=Display(window=1, level=0.5, sigma_threshold=0, sigma_max=1, alpha_max=1),
)


class IdentityCascade(nn.Module):
    """Hands its input through; α is the image plus one, β is 2; remembers what it saw and may lack memory."""

    def __init__(self, phases: int = 1, largest_batch: int | None = None) -> None:
        super().__init__()
        self.phase_count = phases
        self.largest_batch = largest_batch
        self.seen: list[torch.Tensor] = []

    def __deepcopy__(self, memo: object) -> "IdentityCascade":
        return self  # the engine works on a copy; what it sees should be seen here

    def phases(self, a: torch.Tensor) -> Iterator[GeneralizedNormal]:
        if self.largest_batch is not None and len(a) > self.largest_batch:
            raise torch.OutOfMemoryError("CUDA out of memory (made up by a test)")
        self.seen.append(a)
        for _ in range(self.phase_count):
            yield GeneralizedNormal(a, a.abs() + 1, torch.full_like(a, 2.0), validate_args=False)


@dataclass(frozen=True)
class IdentityBundle(Bundle):
    """A bundle without files, for the network above."""

    network: IdentityCascade

    def load_cascade(self):
        return self.network


@pytest.fixture
def identity_bundle():
    """Make a bundle of the identity: (spacing_mm, task, phases, largest_batch) → bundle."""

    def make(spacing_mm=(1.0, 1.0), task=IDENTITY_TASK, phases=1, largest_batch=None):
        metadata = BundleMetadata.model_validate(
            {
                "name": "identity",
                "version": "1",
                "description": "",
                "upgan": {
                    "architecture": {"name": "up-gan", "phases": phases, "width": 1},
                    "task": task,
                    "spacing_mm": spacing_mm,
                    "sha256": {"models/model.safetensors": "0" * 64},
                },
            }
        )
        return IdentityBundle(Path(), metadata, IdentityCascade(phases, largest_batch))

    return make


def seasoned(network: nn.Module) -> nn.Module:
    """Give every parameter and running statistic a value that matters, as training would; eval mode."""
    torch.manual_seed(3)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.7, 1.3)
                module.bias.normal_(0, 0.2)
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
            elif isinstance(module, nn.Conv2d):
                module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5)
                module.bias.normal_(0, 0.1)
    return network.eval()


def seasoned_cascade(phases: int = 2, width: int = 2, margin_mm: float | None = None, **sizes) -> Cascade:
    """A small cascade that does something to every pixel, and sees them all unless a margin is given."""
    cascade = Cascade(CascadeArchitecture(phases=phases, width=width, margin_mm=margin_mm, **sizes))
    seasoned(cascade)
    return cascade


def write_tiny(folder: Path, cascade: Cascade, **section) -> Bundle:
    """Write a bundle of a cascade; its name is the folder's, and its section may say more, or other things."""
    return write_bundle(
        folder,
        cascade,
        {
            "name": folder.name,
            "version": "1.2.3",
            "changelog": {"1.2.3": "made"},
            "description": "for tests",
            "task": "tests",
            "authors": "tests",
            "copyright": "none",
            "network_data_format": {"inputs": {}, "outputs": {}},
            **software_versions(),
        },
        {"task": PET_TO_CT.model_dump(), "spacing_mm": (2.0, 2.0), **section},
        card=f"# {folder.name}",
        licence="none",
    )


@pytest.fixture
def tiny_bundle(tmp_path) -> Bundle:
    """A real bundle on disk with a tiny, untrained cascade."""
    return write_tiny(_made(tmp_path / "models") / "tiny", seasoned_cascade())


@pytest.fixture
def tiny_companion(tmp_path) -> Bundle:
    """Another of the same task and plane, with other networks and one phase more."""
    return write_tiny(_made(tmp_path / "models") / "companion", seasoned_cascade(phases=3, deepest=2))


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def pairs(made_once, write_pairs) -> Path:
    """Five small heads that tiny runs are trained on: everybody's, to be copied by who changes them."""
    return made_once("five-heads", lambda folder: write_pairs(folder, [11, 12, 13, 14, 15]))


@pytest.fixture(scope="session")
def begun(made_once, pairs) -> Path:
    """A tiny run that has checked its images and made its slices, and taken no step: everybody's."""
    from Engine.training_runs import Unprepared, begin, tiny

    return made_once("begun", lambda folder: begin(tiny(pairs), folder, Unprepared(last=True)))


@pytest.fixture
def start(begun, pairs):
    """Let a tiny run, with changes, be where the one above is; → its configuration."""
    from Engine.training_runs import tiny
    from upgan.training.record.run_config import write_run_config

    def copy(run: Path, **changes):
        config = tiny(pairs, **changes)
        write_run_config(config, shutil.copytree(begun, run))
        return config

    return copy


@pytest.fixture(scope="session")
def uneventful(made_once, begun) -> Path:
    """A folder with a tiny ``run`` to which nothing happened until its end, and what an onlooker ``heard``."""
    from Engine.training_runs import Onlooker
    from upgan.training.run.trainer import resume

    def make(folder: Path) -> None:
        onlooker = Onlooker()
        resume(shutil.copytree(begun, folder / "run"), onlooker)
        (folder / "heard.json").write_text(json.dumps([onlooker.lines, onlooker.fractions]), encoding="utf-8")

    return made_once("uneventful", make)


@pytest.fixture(scope="module")
def whole(uneventful, tmp_path_factory) -> Path:
    """A tiny run to its end."""
    return shutil.copytree(uneventful / "run", tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="session")
def healthy(uneventful):
    """Who saw the run above."""
    from Engine.training_runs import Onlooker

    onlooker = Onlooker()
    onlooker.lines, onlooker.fractions = json.loads((uneventful / "heard.json").read_text(encoding="utf-8"))
    return onlooker


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command line in this process, where torch is loaded already."""

    def upgan_command(*arguments) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["upgan", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return upgan_command


@pytest.fixture
def translate(run, tiny_bundle, tmp_path):
    """Translate with the tiny bundle; into ``tmp_path / "out"`` unless told otherwise."""

    def command(image, *options, output=tmp_path / "out", model=tiny_bundle.folder) -> Outcome:
        fixed = ("--model", model, "--device", "cpu", "--precision", "float32")
        return run("translate", image, "--output", output, *fixed, *options)

    return command


@pytest.fixture
def heard_signals():
    """Have SIGTERM and SIGHUP end a process, this one's children too, also where nohup has started the tests."""
    before = {
        number: signal.signal(number, signal.SIG_DFL)
        for number in (getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
