"""What lies where in a model's folder, and what its metadata are before anybody believes them; needs no torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from upgan.bundles.strangers import LIMITS, Limits, check_names, plain_files
from upgan.errors import BundleError
from upgan.files import open_plain
from upgan.plain_json import is_deeper

# Where things lie in a model's folder.
METADATA = Path("configs/metadata.json")


WEIGHTS = Path("models/model.safetensors")


CARD = Path("docs/README.md")


LICENCE = Path("LICENSE")


PARTS = (METADATA, WEIGHTS, CARD, LICENCE)


# What a model may be called.
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"


# Besides the four a model may have these in docs/, which nothing here opens: pictures and texts for its card.
_PICTURES = {".png": b"\x89PNG", ".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff"}


_TEXTS = (".md", ".txt")


# Other data that bundles elsewhere hold. They are no part of a model here, but no sign of an attack either.
_DATA = (".json", ".toml", ".yaml", ".yml", ".safetensors", "")


_CODE = (b"PK\x03\x04", b"\x1f\x8b", b"\x7fELF", b"MZ", b"#!", *(bytes([0x80, protocol]) for protocol in range(2, 6)))


# Of a file, that tell what it is.
_LONGEST_START = 4096


_LARGEST_METADATA = 1 << 20


AGAIN = "Get the model again from where it came from."


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read a model's metadata.json, of which no more is certain than that it has a section ``upgan``.

    Every number in it is finite: NaN, ``Infinity`` and 1e999, which Python writes and reads as JSON, become null.

    Raises:
        BundleError: ``metadata_missing``, ``metadata_unreadable`` or ``unknown_architecture``.
    """
    name = METADATA.as_posix()
    try:
        with open_plain(folder / METADATA) as file:
            text = file.read(_LARGEST_METADATA + 1)
    except FileNotFoundError as error:
        raise BundleError(
            "metadata_missing", f"The model has no {name}.", "A MONAI bundle folder is expected."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the folder's name
        sentence = f"The model's {name} cannot be read: {getattr(error, 'strerror', None) or error}."
        raise BundleError("metadata_unreadable", sentence, AGAIN) from error
    try:
        if len(text) > _LARGEST_METADATA:
            raise ValueError("far longer than any metadata")
        content = json.loads(text.decode("utf-8"), parse_float=_finite, parse_constant=_finite)
        if is_deeper(content):
            raise ValueError("nested deeper than any metadata")
    except (ValueError, RecursionError) as error:
        raise BundleError("metadata_unreadable", f"The model's {name} is not JSON.", AGAIN) from error
    if not isinstance(content, dict) or not isinstance(content.get("upgan"), dict):
        raise BundleError(
            "unknown_architecture",
            "The bundle is not a UP-GAN: its metadata has no section 'upgan'.",
            "Choose a model made by this software, or import published checkpoints with `upgan bundle import`.",
        )
    return content


def _finite(text: str) -> float | None:
    """Return the number that JSON holds, or None for what is no number or beyond float64."""
    number = float(text)
    return number if math.isfinite(number) else None


def files_of_model(folder: Path, limits: Limits = LIMITS) -> tuple[list[str], list[BundleError]]:
    """Look at a model's files by name, kind and size, and at the first bytes of what is not the weights.

    A model is its four files, and pictures and texts in ``docs/``. All others are refused, whatever they hold: what
    nobody looks for cannot be opened by mistake.

    Args:
        folder: The model's folder.
        limits: How many files, and how many bytes, a model may have.

    Returns:
        Relative paths, and what is wrong with them; the paths are none where a fault forbids looking any further.

    Raises:
        OSError: The folder cannot be read.
    """
    try:
        names = list(plain_files(folder, limits))
        check_names(names)
    except BundleError as error:
        return [], [error]
    found = []
    for name in sorted(names):
        with open_plain(folder / name) as file:
            found.append(foreign(name, file.read(_LONGEST_START)))
    return names, [problem for problem in found if problem is not None]


def foreign(name: str, start: bytes) -> BundleError | None:
    """Say what a file that is no part of a model is, or one that is not what its name says.

    Args:
        name: The file's path in the model's folder, with "/" between the parts.
        start: The file's first bytes, or more.

    Returns:
        ``holds_pickle`` or ``foreign_file``, or None for a model's.
    """
    suffix, start = Path(name).suffix.lower(), start[:_LONGEST_START]
    if name == WEIGHTS.as_posix():
        looks_like_code = start[8:9] != b"{"  # eight bytes of length, then the JSON header
    else:
        looks_like_code = start.startswith(_CODE) or suffix not in (*_DATA, *_TEXTS, *_PICTURES)
    if looks_like_code:
        return BundleError(
            "holds_pickle",
            f"The model holds {name}, which could carry code and is not opened.",
            "Use a model whose weights are safetensors only.",
        )
    if name in (WEIGHTS.as_posix(), METADATA.as_posix()):
        return None  # more is asked of them where they are read
    is_text = name in (LICENCE.as_posix(), CARD.as_posix()) or suffix in _TEXTS
    is_part = name == LICENCE.as_posix() or name.startswith(f"{CARD.parent.as_posix()}/")
    if is_part and (b"\0" not in start if is_text else start.startswith(_PICTURES.get(suffix, ()))):
        return None
    return BundleError(
        "foreign_file",
        f"The model holds {name}, which is no part of a model, or not what its name says, and is not opened.",
        f"A model is {', '.join(part.as_posix() for part in PARTS)}, and pictures and texts in docs: remove the rest.",
    )
