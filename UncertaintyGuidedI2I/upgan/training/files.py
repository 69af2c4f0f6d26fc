"""Names of the files in a run's folder, and how they are written: whole or not at all."""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

from upgan.errors import OutputError

CONFIG = "config.json"
SPLIT = "split.json"
DATA = "data.json"
MACHINE = "machine.txt"
CACHE = "cache"
LOCK = "run.lock"
FINISHED = "finished.json"

_PATIENCE_S = 2.0


def write_json(path: Path, content: Any) -> None:
    """Put JSON in place of what the file held.

    Raises:
        OutputError: ``not_writable``.
    """
    # Several processes may write at once, on several computers.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
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


def read_json(path: Path) -> Any:
    """Read what ``write_json`` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))
