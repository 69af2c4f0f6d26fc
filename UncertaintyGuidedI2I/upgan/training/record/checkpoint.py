"""What a run needs to go on, in one safetensors file that is there whole or not at all.

Tensors are named by what they belong to (``cascade.…``, ``optimizer.…``); everything else is JSON in the file's
header: the state, a checksum of both, what the run was begun with (see ``begun``), and a checksum of that. There is no
random state to keep: order, augmentation and degradation are functions of seed, stage and step.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from upgan.errors import InputError
from upgan.files import atomically, explained, remove_unfinished, replace, to_the_disk

# Of what is written: 1 has no checksum, or none but that of tensors and state. Both are read for ever.
FORMAT = 2

LAST = "last"
BEST = "best"
# Of ``last``: what it was before. Another ending, for it is nobody's choice: a model is never made of it.
_BEFORE = ".previous"
_STATE = "state"
_CHECKSUM = "sha256"
_FORMAT = "format"
_BEGUN = "begun"
_BEGUN_CHECKSUM = "begun_sha256"
# Each of them is in a file with a format; a file with one of them missing is damaged.
_WITH_FORMAT = {_STATE, _CHECKSUM, _FORMAT, _BEGUN, _BEGUN_CHECKSUM}
_WITHOUT_FORMAT = {_STATE, _CHECKSUM}
# Of the header in bytes: the paper's networks, with all that their optimisers gather, have less than a tenth of it.
_LONGEST_HEADER = 16 << 20
_WEIGHTS = "cascade."
AVERAGED = "averaged.module."


def path_of(run: Path, name: str) -> Path:
    """Return the file in which a run keeps a checkpoint: ``last``, ``best``, ``phase_1`` and so on."""
    return run / "checkpoints" / f"{name}.safetensors"


def previous_of(path: Path) -> Path:
    """Return the file in which the checkpoint before the last is kept."""
    return path.with_suffix(_BEFORE)


def save(
    path: Path,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    *,
    keep: bool = False,
    begun: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint: to a file beside it first, to the disk's surface, then in place of the old one.

    Args:
        path: The file to write.
        tensors: The tensors to keep, by name.
        state: What else to keep, as far as JSON can hold it.
        keep: Leave the old one at ``previous_of(path)``, where the disk knows links.
        begun: What the run was begun with, see ``begun.begun_with``.

    Raises:
        OutputError: ``checkpoint_not_written``; the old one is still there.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text, beginning = json.dumps(state), json.dumps(begun)
    metadata = {
        _FORMAT: str(FORMAT),
        _STATE: text,
        _CHECKSUM: _checksum(contiguous, text),
        _BEGUN: beginning,
        _BEGUN_CHECKSUM: _checksum_of_beginning(str(FORMAT), beginning),
    }
    remedy = "Free some space on that disk; the training then goes on from the checkpoint before."
    with explained(f"The training's state in {path.parent}", remedy, "checkpoint_not_written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        # It may be as large as a checkpoint.
        remove_unfinished(path.parent)
        with atomically(path, durable=True) as temporary:
            try:
                save_file(contiguous, temporary, metadata=metadata)
            except SafetensorError as error:
                raise OSError(str(error)) from error
            to_the_disk(temporary)  # before the one before the last goes
            if keep:
                _keep(path)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint: its tensors, and the rest.

    Raises:
        InputError: ``no_checkpoint`` or ``checkpoint_unreadable``, also where a single bit is not as it was written;
            ``checkpoint_newer`` where a newer version wrote it.
    """
    try:
        metadata = _metadata(path)
        with safe_open(path, framework="pt") as file:
            # Copies: what is mapped into memory changes with the file, which Windows would not let be replaced.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
        # The first version wrote no checksum.
        if _CHECKSUM in metadata and metadata[_CHECKSUM] != _checksum(tensors, metadata[_STATE]):
            raise ValueError("other content than was written")
        state = json.loads(metadata[_STATE])
        if not isinstance(state, dict):
            raise ValueError("no state")
        return tensors, state
    except FileNotFoundError as error:
        raise InputError(
            "no_checkpoint", f"There is no checkpoint {path.name} in {path.parent}.", "Let the training go on a little."
        ) from error
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise unreadable(path) from error


def unreadable(path: Path) -> InputError:
    """What is said of a checkpoint that is not as it was written."""
    return InputError(
        "checkpoint_unreadable",
        f"{path} is damaged, or is not a checkpoint of a training.",
        "Choose another checkpoint, or put back a copy of the file.",
    )


def load_cascade(cascade: torch.nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Give networks their weights, which take the place of their own.

    Args:
        cascade: The networks; with memory of their own, or without (device ``meta``).
        weights: The weights, by the names that the cascade gives them.
        path: The checkpoint that they come from.

    Raises:
        InputError: ``weights_mismatch``.
    """
    is_bare = any(tensor.is_meta for tensor in cascade.state_dict().values())
    try:
        cascade.load_state_dict(weights, assign=is_bare)
    except RuntimeError as error:
        raise weights_mismatch(path) from error


def weights_mismatch(path: Path) -> InputError:
    """What is said where a checkpoint does not fit the networks that a run's configuration describes."""
    return InputError(
        "weights_mismatch",
        f"The weights in {path} are not those of the networks that the training's configuration describes.",
        "Put back the architecture, or the base model, that the training was begun with.",
    )


def read_begun(path: Path) -> dict[str, Any] | None:
    """Read what a run was begun with, without its tensors.

    Returns:
        As ``save`` was given it; None where there is no checkpoint, an earlier version wrote it, or it is damaged.

    Raises:
        InputError: ``checkpoint_newer``.
    """
    try:
        begun = json.loads(_metadata(path)[_BEGUN])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return begun if isinstance(begun, dict) else None


def _metadata(path: Path) -> dict[str, str]:
    """Read what a file's header says beside the tensors, as it was written.

    Raises:
        OSError: There is no such file.
        ValueError: It is damaged.
        InputError: ``checkpoint_newer``.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(0, "it is not a file")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LONGEST_HEADER:
            raise ValueError("the header is longer than any")
        header = json.loads(file.read(length))
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("no state")
    if metadata.keys() <= _WITHOUT_FORMAT:
        return metadata
    if not metadata.keys() >= _WITH_FORMAT:
        raise ValueError("incomplete")
    if metadata[_BEGUN_CHECKSUM] != _checksum_of_beginning(metadata[_FORMAT], metadata[_BEGUN]):
        raise ValueError("other content than was written")
    if metadata[_FORMAT] != str(FORMAT):
        raise InputError(
            "checkpoint_newer", f"A newer version of this software wrote {path}.", "Update this software to go on."
        )
    return metadata


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
    """Give an optimiser what it had gathered.

    Raises:
        ValueError: It was of other parameters.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for full_name, tensor in tensors.items():
        if full_name.startswith(f"{name}."):
            index, key = full_name.removeprefix(f"{name}.").split(".")
            state.setdefault(int(index), {})[key] = tensor
    known = sum(len(group["params"]) for group in optimizer.param_groups)
    if not all(0 <= index < known for index in state):
        raise ValueError("of other parameters")
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


def _checksum_of_beginning(number: str, begun: str) -> str:
    """SHA-256 of the format's number and of what the run was begun with, which are read without the tensors."""
    return hashlib.sha256(f"{number}\n{begun}".encode()).hexdigest()


def _keep(path: Path) -> None:
    """Give what is at a path a second name, so that it outlives its replacement, which is whole at any moment."""
    link = path.with_name(f".{uuid.uuid4().hex}.tmp")
    with contextlib.suppress(OSError, NotImplementedError):  # Not there yet, or a disk without links.
        os.link(path, link)
        replace(link, previous_of(path))
    link.unlink(missing_ok=True)
