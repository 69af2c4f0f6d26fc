"""What else comes from outside: models, the worker's lines, runs, configurations and tables of pairs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import struct
import tempfile
import threading
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

from Fuzz.json_mutation import mutate_json
from Fuzz.mutation import damaged, lines
from Fuzz.target import Files, Target

WEIGHTS, METADATA = "models/model.safetensors", "configs/metadata.json"

# --- Models -----------------------------------------------------------------------------------------------------------


@cache
def _model() -> Files:
    import torch

    from upgan.bundles.bundle import software_versions, write_bundle
    from upgan.networks.cascade import Cascade, CascadeArchitecture
    from upgan.tasks import PET_TO_CT

    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as temporary:
        about = {
            "name": "tiny",
            "version": "1.2.3",
            "changelog": {"1.2.3": "made"},
            "description": "made up",
            "task": "tests",
            "authors": "tests",
            "copyright": "none",
            "network_data_format": {"inputs": {}, "outputs": {}},
            **software_versions(),
        }
        folder = Path(temporary) / "tiny"
        section = {"task": PET_TO_CT.model_dump(), "spacing_mm": (2.0, 2.0)}
        write_bundle(folder, Cascade(CascadeArchitecture(phases=1, width=1)), about, section, card="# x", licence="x")
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _damaged_model(files: Files, chance: random.Random) -> Files:
    """Damage metadata or weights, mostly so that the checksum still is that of the weights."""
    if chance.random() < 0.5:
        files[METADATA] = mutate_json(files[METADATA], chance)
        return files
    files[WEIGHTS] = _damaged_tensors(files[WEIGHTS], chance)
    if chance.random() < 0.8:
        metadata = json.loads(files[METADATA])
        metadata["upgan"]["sha256"][WEIGHTS] = hashlib.sha256(files[WEIGHTS]).hexdigest()
        files[METADATA] = json.dumps(metadata).encode()
    return files


def _damaged_tensors(data: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        return damaged(data, chance)
    length = int.from_bytes(data[:8], "little")
    header = mutate_json(data[8 : 8 + length], chance)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _open_model(folder: Path) -> None:
    """Verify a model as ``upgan bundle verify`` does, and load it as a translation does."""
    from upgan.bundles.bundle import Bundle, problems

    found = problems(folder)
    if found:
        raise found[0]
    Bundle.open(folder).load_cascade()


def _zip_of(files: Files) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(f"tiny/{name}"), data, zipfile.ZIP_DEFLATED)
    return content.getvalue()


ODD_NAMES = ("../../up", "/etc/up", "C:\\up", "a\0b", "CON", "tiny/./x", "tiny//x", "tiny/models", "\u202e", "x" * 300)


def _damaged_zip(files: Files, chance: random.Random) -> Files:
    if chance.random() < 0.5:
        return {"model.zip": damaged(files["model.zip"], chance)}
    model = _damaged_model(dict(_model()), chance) if chance.random() < 0.5 else dict(_model())
    if chance.random() < 0.6:
        model[chance.choice(ODD_NAMES)] = b"x"
    whole = _zip_of(model)
    return {"model.zip": damaged(whole, chance) if chance.random() < 0.3 else whole}


def _import_model(folder: Path) -> None:
    """Import an archive into a library of its own, and hold it to what is to be written."""
    from upgan.bundles.library import import_model
    from upgan.errors import UpganError

    home = Path(os.environ["UPGAN_MODELS"])
    shutil.rmtree(home, ignore_errors=True)
    around = sorted(os.listdir(home.parent))
    try:
        import_model(folder / "model.zip")
    except UpganError:
        left = [path for path in home.rglob("*") if path.is_file()]
        assert not left, f"a refused model left {left[0].name}"
        raise
    finally:
        beside = set(os.listdir(home.parent)) - set(around) - {home.name}
        assert not beside, f"it wrote {beside} outside of the library"


# --- The worker -------------------------------------------------------------------------------------------------------

LINES = b"".join(
    json.dumps(line).encode() + b"\n"
    for line in (
        {"id": 1, "command": "info"},
        {
            "id": 2,
            "command": "translate",
            "arguments": {"image": "a.nrrd", "output": "out", "settings": {"plane": "axial"}},
        },
        {"id": 2, "command": "cancel"},
        {"id": 3, "command": "info", "arguments": {}},
    )
)


def _damaged_lines(files: Files, chance: random.Random) -> Files:
    requests = files["lines"].splitlines()
    at = chance.randrange(len(requests))
    requests[at] = mutate_json(requests[at], chance)
    content = b"\n".join(requests) + b"\n"
    return {"lines": damaged(content, chance) if chance.random() < 0.2 else content}


def _serve(folder: Path) -> None:
    """Let a worker whose commands do nothing read lines: it is to end, and what it says is to be JSON."""
    from upgan.worker.server import Worker

    faults: list[str] = []
    said = io.StringIO()
    worker = Worker(
        io.BytesIO((folder / "lines").read_bytes()),
        said,
        {"info": lambda arguments, progress: {}, "translate": lambda arguments, progress: {"seen": sorted(arguments)}},
        lambda: faults.append("it did not end when its input closed"),
        grace_s=5.0,
    )
    hook = threading.excepthook
    threading.excepthook = lambda fault: faults.append(f"its thread raised {fault.exc_type}: {fault.exc_value}")
    try:
        worker.run()
    finally:
        threading.excepthook = hook
    assert not faults, faults[0]
    for line in said.getvalue().splitlines():
        assert isinstance(json.loads(line, parse_constant=_no_json), dict)


def _no_json(constant: str) -> None:
    raise AssertionError(f"it said {constant}, which is no JSON")


# --- Runs, configurations and tables ----------------------------------------------------------------------------------


def _run() -> Files:
    def text(content: Any) -> bytes:
        return json.dumps(content).encode()

    journal = (
        {"kind": "stage", "stage": 1, "stages": 2, "phases": 1},
        {
            "kind": "steps",
            "stage": 1,
            "epoch": 1,
            "step": 10,
            "losses": {"l1": 0.5},
            "seconds": 5.0,
            "remaining_s": 9.0,
        },
        {"kind": "epoch", "stage": 1, "epoch": 3, "phases": {"1": {"mae": 40.5}}, "best": True},
    )
    return {
        "config.json": text({"name": "made up", "data": {"path": "pairs.csv", "layout": "csv"}, "seed": 1}),
        "finished.json": text({"stopped": False, "best": {"stage": 1, "epoch": 3, "mae": 40.5}, "time": 3.0}),
        "journal.jsonl": b"".join(text(line) + b"\n" for line in journal),
        "checkpoints/last.safetensors": b"",
    }


def _damaged_run(files: Files, chance: random.Random) -> Files:
    name = chance.choice([name for name in files if name.endswith(("json", "jsonl"))])
    if name.endswith("jsonl"):
        files[name] = _damaged_lines({"lines": files[name]}, chance)["lines"]
    else:
        files[name] = mutate_json(files[name], chance)
    if chance.random() < 0.05:
        del files[name]
    return files


def _look_at_run(folder: Path) -> None:
    from upgan.training.record.journal_reader import read_journal
    from upgan.training.record.runs import read_run, read_run_json, read_run_state

    read_run(folder)
    read_run_state(folder)
    read_journal(folder)
    read_run_json(folder)


@cache
def _checkpoint() -> bytes:
    import torch

    from upgan.training.record import checkpoint

    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "last.safetensors"
        checkpoint.save(path, {"a.weight": torch.arange(12.0).reshape(3, 4)}, {"stage": 1, "epoch": 2})
        return path.read_bytes()


def _load_checkpoint(folder: Path) -> None:
    from upgan.training.record import checkpoint

    checkpoint.load(folder / "last.safetensors")


CONFIG = b"""name = "made-up"
[data]
path = "pairs.csv"
layout = "csv"
plane = "axial"
spacing_mm = [2.0, 2.0]
[split]
train = 7
[loss]
adversarial = 0.001
"""
TABLE = b"""subject,input,target,split
one,one/pet.nii.gz,one/ct.nii.gz,train
two,two/pet.nii.gz,two/ct.nii.gz,test
"three, four",three/pet.nii.gz,three/ct.nii.gz,validation
"""


def _read_config(folder: Path) -> None:
    from upgan.training.settings.config_file import read_config

    read_config(folder / "config.toml")


def _read_table(folder: Path) -> None:
    from upgan.pairs.config import DataConfig
    from upgan.pairs.finding import find_pairs

    find_pairs(DataConfig(path=folder / "pairs.csv", layout="csv"))


def _of_text(name: str, file: str, content: bytes, run: Any, words: tuple[str, ...]) -> Target:
    mutate = lines(None, words)
    return Target(
        name,
        lambda: [{file: content}],
        lambda files, chance: {file: (mutate if chance.random() < 0.8 else damaged)(files[file], chance)},
        run,
    )


TARGETS = (
    Target("model/folder", lambda: [dict(_model())], _damaged_model, _open_model),
    Target("model/archive", lambda: [{"model.zip": _zip_of(_model())}], _damaged_zip, _import_model),
    Target("worker/lines", lambda: [{"lines": LINES}], _damaged_lines, _serve),
    Target("run/folder", lambda: [_run()], _damaged_run, _look_at_run),
    Target(
        "run/checkpoint",
        lambda: [{"last.safetensors": _checkpoint()}],
        lambda files, chance: {"last.safetensors": _damaged_tensors(files["last.safetensors"], chance)},
        _load_checkpoint,
    ),
    _of_text(
        "run/configuration", "config.toml", CONFIG, _read_config, ("[data]", '"a', "[1, 2", "1979-05-27", "{", "'''")
    ),
    _of_text("run/table of pairs", "pairs.csv", TABLE, _read_table, (";", ",", '"', "subject", "train", "none")),
)
