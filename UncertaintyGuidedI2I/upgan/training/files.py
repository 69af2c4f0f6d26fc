"""Names of the files in a run's folder, and how they are written: whole or not at all."""

from __future__ import annotations

import json
import math
import os
import time
import uuid
from pathlib import Path
from typing import Any

from upgan.errors import OutputError
from upgan.unpacking import open_plain

CONFIG = "config.json"
SPLIT = "split.json"
DATA = "data.json"
MACHINE = "machine.txt"
CACHE = "cache"
LOCK = "run.lock"
FINISHED = "finished.json"

_PATIENCE_S = 2.0

# Of a description; a run of thousands of patients has one of a few megabytes.
LARGEST_JSON = 64 << 20


def write_json(path: Path, content: Any) -> None:
    """Put JSON in place of what the file held.

    Raises:
        OutputError: ``not_writable``.
    """
    # Several processes may write at once, on several computers.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=2) + "\n")
            file.flush()
            # To the disk before it gets its name: a power cut must not leave the name with nothing in it.
            os.fsync(file.fileno())
        replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            "not_writable", f"{path} cannot be written: {error.strerror}.", "Free some space or choose another folder."
        ) from error


def replace(temporary: Path, path: Path) -> None:
    """Put a file in place of another, at once; on Windows, where it may be open for reading, a little later."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            os.replace(temporary, path)
        except PermissionError:
            if os.name != "nt" or time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def read_json(path: Path, most: int = LARGEST_JSON) -> Any:
    """Read what ``write_json`` wrote.

    Raises:
        OSError: It is not there or cannot be read.
        ValueError: It is no JSON, holds numbers that are none or beyond all limits, is nested too deep or too long.
    """
    try:
        return json.loads(read_regular(path, most).decode("utf-8"), parse_constant=_no_number, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def read_regular(path: Path, most: int) -> bytes:
    """Read a file whole, if it is one: nobody waits at a pipe or reads a device without end.

    Raises:
        OSError: It is not there, cannot be read, or is no file.
        ValueError: It is longer than so many bytes, or nothing can have that name.
    """
    with open_plain(path, follow=True) as file:
        # Python makes room for as much as it is asked for.
        text = file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
    if len(text) > most:
        raise ValueError(f"longer than {most} bytes")
    return text


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is beyond all limits")
    return number
