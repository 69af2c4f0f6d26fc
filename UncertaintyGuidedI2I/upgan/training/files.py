"""Names of the files in a run's folder, and how they are written: whole or not at all."""

from __future__ import annotations

import json
import os
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


def write_json(path: Path, content: Any) -> None:
    """Put JSON in place of what the file held.

    Raises:
        OutputError: ``not_writable``.
    """
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            "not_writable", f"{path} cannot be written: {error.strerror}.", "Free some space or choose another folder."
        ) from error


def read_json(path: Path) -> Any:
    """Read what ``write_json`` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))
