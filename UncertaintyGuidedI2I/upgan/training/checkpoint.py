"""What a run needs to go on, in one safetensors file that is there whole or not at all.

Tensors are named by what they belong to (``cascade.…``, ``optimizer.…``); everything else is JSON in the file's
header, with a checksum of both. There is no random state to keep: order, augmentation and degradation are functions of
seed, stage and step.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from upgan.errors import InputError, OutputError
from upgan.training.files import replace

LAST = "last"
BEST = "best"
# Of ``last``: what it was before. Another ending, for it is nobody's choice: a model is never made of it.
_BEFORE = ".previous"
_STATE = "state"
_CHECKSUM = "sha256"
_WEIGHTS = "cascade."
AVERAGED = "averaged.module."


def path_of(run: Path, name: str) -> Path:
    """Where a run keeps a checkpoint: ``last``, ``best``, ``phase_1`` and so on."""
    return run / "checkpoints" / f"{name}.safetensors"


def previous_of(path: Path) -> Path:
    """Where the checkpoint before the last is."""
    return path.with_suffix(_BEFORE)


def save(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, keep: bool = False) -> None:
    """Write a checkpoint: to a file beside it first, to the disk's surface, then in place of the old one.

    Args:
        path: Of the file.
        tensors: By name.
        state: JSON-able.
        keep: Leave the old one at ``previous_of(path)``, where the disk knows links.

    Raises:
        OutputError: ``checkpoint_not_written``; the old one is still there.
    """
    temporary = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        text = json.dumps(state)
        save_file(contiguous, temporary, metadata={_STATE: text, _CHECKSUM: _checksum(contiguous, text)})
        _to_the_disk(temporary)
        if keep:
            _keep(path)
        replace(temporary, path)
        if os.name == "posix":  # where a rename, too, must be brought to the disk
            _to_the_disk(path.parent)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            "checkpoint_not_written",
            f"The training's state could not be written to {path.parent}: {error}.",
            "Free some space on that disk; the training then goes on from the checkpoint before.",
        ) from error


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint: its tensors, and the rest.

    Raises:
        InputError: ``no_checkpoint`` or ``checkpoint_unreadable``, also where a single bit is not as it was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            # Copies: what is mapped into memory changes with the file, which Windows would not let be replaced.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
        # The first version wrote no checksum.
        if _CHECKSUM in metadata and metadata[_CHECKSUM] != _checksum(tensors, metadata[_STATE]):
            raise ValueError("other content than was written")
        return tensors, json.loads(metadata[_STATE])
    except FileNotFoundError as error:
        raise InputError(
            "no_checkpoint", f"There is no checkpoint {path.name} in {path.parent}.", "Let the training go on a little."
        ) from error
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "checkpoint_unreadable",
            f"{path} is damaged, or is not a checkpoint of a training.",
            "Choose another checkpoint, or put back a copy of the file.",
        ) from error


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights that a model is made of, as the cascade names them, and the checkpoint's state.

    Where weights are averaged these are the averages; errors as for ``load``.
    """
    tensors, state = load(path)
    return weights_among(tensors, AVERAGED) or weights_among(tensors), state


def weights_among(tensors: Mapping[str, Tensor], prefix: str = _WEIGHTS) -> dict[str, Tensor]:
    """Pick a cascade's tensors out of a checkpoint's, as the cascade names them."""
    return {name.removeprefix(prefix): tensor for name, tensor in named(tensors, prefix).items()}


def named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Pick the tensors whose names begin with a prefix, which they keep."""
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def weights(cascade: torch.nn.Module) -> dict[str, Tensor]:
    """Name a cascade's tensors as a checkpoint does."""
    return {_WEIGHTS + name: tensor for name, tensor in cascade.state_dict().items()}


def optimizer_tensors(name: str, optimizer: Any) -> dict[str, Tensor]:
    """Name what an optimiser has gathered; its settings follow from the configuration."""
    return {
        f"{name}.{index}.{key}": tensor
        for index, gathered in optimizer.state_dict()["state"].items()
        for key, tensor in gathered.items()
    }


def restore_optimizer(name: str, optimizer: Any, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser what it had gathered."""
    state: dict[int, dict[str, Tensor]] = {}
    for full_name, tensor in tensors.items():
        if full_name.startswith(f"{name}."):
            index, key = full_name.removeprefix(f"{name}.").split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    for parameter, gathered in optimizer.state.items():
        for key, tensor in gathered.items():
            if tensor.shape == parameter.shape:  # in the parameter's memory layout, which a file does not keep
                gathered[key] = torch.empty_like(parameter, requires_grad=False).copy_(tensor)


def _checksum(tensors: Mapping[str, Tensor], state: str) -> str:
    """SHA-256 of all that a checkpoint says."""
    checksum = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        checksum.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():
            checksum.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return checksum.hexdigest()


def _keep(path: Path) -> None:
    """Give what is at a path a second name, so that it outlives its replacement, which is whole at any moment."""
    link = path.with_name(f".{uuid.uuid4().hex}.tmp")
    with contextlib.suppress(OSError, NotImplementedError):  # Not there yet, or a disk without links.
        os.link(path, link)
        replace(link, previous_of(path))
    link.unlink(missing_ok=True)


def _to_the_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
