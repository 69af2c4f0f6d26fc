"""Files: opened without waiting or following, written whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import time
import uuid
from pathlib import Path
from typing import Any, BinaryIO

from upgan.errors import OutputError


def open_plain(path: Path, *, follow: bool = False) -> BinaryIO:
    """Open a file to read its bytes; anything that could block, or lead elsewhere, is an error at once.

    Args:
        path: A stranger's file.
        follow: Whether it may be a link, as a path may be that the user gave.

    Raises:
        OSError: It cannot be opened, or is a pipe, a socket, a device, a folder or a link.
    """
    kind = path.stat(follow_symlinks=follow).st_mode
    if not stat.S_ISREG(kind):  # Opening a device can do something to it.
        raise OSError(errno.EINVAL, "it is no plain file")
    # And again once it is open: it may have been replaced meanwhile, and the open must not wait for a pipe's writer.
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    descriptor = os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no plain file")
    return os.fdopen(descriptor, "rb")


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
