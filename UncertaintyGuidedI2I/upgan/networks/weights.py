"""Weights from strangers: the bytes whose checksum is compared are the bytes that are loaded, and nothing else is.

What a file claims of itself is compared with the network it is for before safetensors' own parser sees it: a header of
a million tensors would keep that busy for half a minute.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from upgan.errors import BundleError
from upgan.files import open_plain

# Of the 4000 tensors of the largest model that may be, at 100 to 150 bytes each.
_LARGEST_HEADER = 1 << 20

_PARAMETERS = (torch.float16, torch.bfloat16, torch.float32)
_COUNTERS = (torch.int64,)


def load_weights(path: Path, sha256: str, network: nn.Module, name: str) -> dict[str, Tensor]:
    """Read a network's weights as float32, and its counters of batches.

    Args:
        path: A safetensors file.
        sha256: What its checksum must be.
        network: What they are for; may be on torch's meta device.
        name: The model's name, for messages.

    Raises:
        BundleError: ``weights_mismatch`` where they are another network's, or of a type that weights do not have;
            ``checksum_mismatch``; ``weights_not_finite`` for NaN, infinities and negative variances.
    """
    expected = network.state_dict()
    try:
        data = _read(path, expected)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise checksum_mismatch(path.name)
        state = load(data)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _mismatch(name) from error
    del data
    if state.keys() != expected.keys():
        raise _mismatch(name)
    for key, tensor in state.items():
        types = _PARAMETERS if expected[key].is_floating_point() else _COUNTERS
        if tensor.dtype not in types or tensor.shape != expected[key].shape:
            raise _mismatch(name)
    refuse_senseless(state, name)
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in state.items()}


def refuse_senseless(state: dict[str, Tensor], name: str) -> None:
    """Refuse numbers that no training leaves: NaN, infinities, negative variances and counts.

    Args:
        state: A network's state dict.
        name: The name of the model or file, for messages.

    Raises:
        BundleError: ``weights_not_finite``.
    """
    for key, tensor in state.items():
        must_not_be_negative = key.endswith(("running_var", "num_batches_tracked"))
        if not tensor.isfinite().all() or (must_not_be_negative and (tensor < 0).any()):
            raise BundleError(
                "weights_not_finite",
                f"Some weights of '{name}' are not numbers, or variances below zero.",
                "Train it again with a lower learning rate, or get another copy.",
            )


def checksum_mismatch(name: str) -> BundleError:
    """Return the refusal of a file that is not the one whose checksum the metadata have."""
    return BundleError(
        "checksum_mismatch",
        f"{name} is not the file the model was published with.",
        "Get the model again; do not use this copy.",
    )


def _read(path: Path, expected: dict[str, Tensor]) -> bytes:
    """Read a file whole that has the header and about the size of these tensors.

    Raises:
        OSError: It cannot be read.
        ValueError: It has not; or TypeError, by what its header is instead.
    """
    largest = 8 + _LARGEST_HEADER + sum(max(tensor.element_size(), 4) * tensor.numel() for tensor in expected.values())
    with open_plain(path) as file:
        if os.fstat(file.fileno()).st_size > largest:
            raise ValueError("larger than these tensors")
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if length > _LARGEST_HEADER:
            raise ValueError("longer than any header")
        header = file.read(length)
        if json.loads(header).keys() - {"__metadata__"} != expected.keys():
            raise ValueError("other tensors")
        return b"".join((start, header, file.read(largest)))


def _mismatch(name: str) -> BundleError:
    return BundleError(
        "weights_mismatch",
        f"The weights of '{name}' are not those of its architecture.",
        "Get the model again from where it came from.",
    )
