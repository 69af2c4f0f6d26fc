"""Files: opened without waiting or following, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
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


@contextlib.contextmanager
def atomically(path: Path, *, suffix: str = ".tmp", private: bool = False, durable: bool = False) -> Iterator[Path]:
    """Name a file beside a place, and have what is written to it take that place at the end: whole, or not at all.

    Whatever ends the work before, a signal too, the new file goes and what was there stays.

    Args:
        path: The place, where a file may be.
        suffix: The ending of the name beside it, for libraries that go by it.
        private: Make the file at once, readable by this user only, whatever the umask.
        durable: Bring it to the disk before it gets its name: a power cut must not leave the name with nothing in it.

    Yields:
        The path to write to.

    Raises:
        OSError: It cannot be written there.
    """
    # Several processes may write at once, on several computers.
    temporary = path.with_name(f".{uuid.uuid4().hex}{suffix}")
    try:
        if private:
            private_file(temporary)
        yield temporary
        if durable:
            to_the_disk(temporary)
        replace(temporary, path)
        if durable and os.name == "posix":  # where a name, too, must be brought to the disk
            to_the_disk(path.parent)
    finally:
        with contextlib.suppress(OSError):  # It is absent after success, or its folder is.
            temporary.unlink()


def remove_unfinished(folder: Path) -> None:
    """Remove what ``atomically`` has left where its process was killed; in folders that one process writes to.

    What cannot be removed stays.
    """
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()


DRAFT = ".draft-"
# Nobody writes longer at one.
_ABANDONED_AFTER_S = 24 * 3600


@contextlib.contextmanager
def draft(home: Path) -> Iterator[Path]:
    """Make a private folder within another, for what is to be moved there whole; it is gone at the end, in any case.

    Args:
        home: The other folder, which is made where it is not there. The new one, whose name begins with ``DRAFT``, is
            on the same file system.

    Yields:
        The folder, which this user alone may enter: what is made in it has the permissions it is to have later.

    Raises:
        OSError: It cannot be made there.
    """
    # Named before it is made, so that it can be removed whatever ends this on the way, a signal too.
    folder = home / f"{DRAFT}{uuid.uuid4().hex[:12]}"
    home.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_drafts(home: Path, prefix: str = DRAFT) -> None:
    """Delete what processes that were killed have begun in a folder, but not what another may be writing now.

    Args:
        home: The folder, which need not exist.
        prefix: How the names of drafts there begin.
    """
    for path in home.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # Another process may be sweeping, too.
            if time.time() - path.stat().st_mtime > _ABANDONED_AFTER_S:
                shutil.rmtree(path, ignore_errors=True)


_FULL = (errno.ENOSPC, errno.EDQUOT)


def refusal(error: Exception, what: str, remedy: str = "", code: str = "") -> OutputError:
    """Say what could not be written, and why: the one place that tells a full disk from any other.

    Args:
        error: The error of the system; or of a library, whose text is for programmers and is not repeated.
        what: What was being written, as a sentence begins.
        remedy: What to do; to free some space, or to choose another folder, where nothing better is known.
        code: ``disk_full`` or ``not_writable`` unless another is given.
    """
    reason = (error.strerror or error) if isinstance(error, OSError) else "the library that writes it does not say why"
    if isinstance(error, OSError) and error.errno in _FULL:
        sentence = f"{what} cannot be written, for the disk is full: {reason}."
        return OutputError(code or "disk_full", sentence, remedy or "Free some space, or choose another disk.")
    remedy = remedy or "Change the folder's permissions, or choose another folder."
    return OutputError(code or "not_writable", f"{what} cannot be written: {reason}.", remedy)


@contextlib.contextmanager
def explained(what: str, remedy: str = "", code: str = "") -> Iterator[None]:
    """Say in words what the disk refuses meanwhile.

    Args:
        what: What is being written, as a sentence begins.
        remedy: What to do; to free some space, or to choose another folder, where nothing better is known.
        code: ``disk_full`` or ``not_writable`` unless another is given.

    Raises:
        OutputError: The one that ``refusal`` makes of the system's error.
    """
    try:
        yield
    except OSError as error:
        raise refusal(error, what, remedy, code) from error


def private_file(path: Path) -> None:
    """Make an empty file that this user alone may read, whatever the umask.

    Raises:
        OSError: It cannot be made, or is there already.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def to_the_disk(path: Path) -> None:
    """Have a file, or which files a folder holds, survive a power cut.

    Raises:
        OSError: It cannot be opened or brought there.
    """
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # On some servers' disks nobody can do that for a folder.
            raise
    finally:
        os.close(descriptor)


_PATIENCE_S = 2.0


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


# Of a description; a run of thousands of patients has one of a few megabytes.
LARGEST_JSON = 64 << 20


def write_json(path: Path, content: Any) -> None:
    """Put JSON in place of what the file held.

    Raises:
        OutputError: ``disk_full`` or ``not_writable``.
    """
    with explained(str(path)), atomically(path, durable=True) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


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


def home_of(what: str) -> Path:
    """Return the folder of the user's models or runs, which need not exist.

    It is what ``UPGAN_MODELS`` says, or ``.upgan/models`` in the home folder; likewise for any other word.

    Args:
        what: What is kept there, in the plural: "models".

    Raises:
        OutputError: ``no_home`` where the system knows no home folder.
    """
    variable = f"UPGAN_{what.upper()}"
    chosen = os.environ.get(variable)
    try:
        return Path(chosen).expanduser().absolute() if chosen else Path.home() / ".upgan" / what
    except RuntimeError as error:
        remedy = f"Set the environment variable {variable} to a folder."
        raise OutputError("no_home", f"There is no home folder to keep {what} in.", remedy) from error
