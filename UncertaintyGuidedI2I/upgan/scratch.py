"""A process's private folder for images on their way, which does not outlive the process: a viewer's, or a draft's.

The viewer holds a lock in it as long as it lives; the system lets go of the lock however the viewer ends. So whoever
finds the folder later knows whether it may go: the viewer's own worker, or that of the next viewer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

PREFIX = "upgan-"
LOCK = "viewer.lock"

_ATTEMPTS = 5
_PATIENCE_S = 0.05
_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


class Scratch:
    """A folder that this process has made and that is its own until ``remove``, or until it ends.

    Args:
        parent: The folder in which it is made; it is readable by this user only.
        prefix: The beginning of its name.

    Attributes:
        folder: The path of the folder.

    Raises:
        OSError: It cannot be made there.
    """

    def __init__(self, parent: Path, prefix: str = PREFIX) -> None:
        # Before it is locked a folder looks abandoned, and another process may just be sweeping.
        for attempt in range(_ATTEMPTS):
            # Named before it is made, so that it can be removed whatever ends this on the way, a signal too.
            self.folder, self._lock = Path(parent) / f"{prefix}{uuid.uuid4().hex[:12]}", -1
            try:
                self.folder.mkdir(0o700)
                self._lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
                is_ours = _take(self._lock) is not False and (self.folder / LOCK).exists()
            except BaseException:
                self.remove()
                raise
            if is_ours or attempt == _ATTEMPTS - 1:
                return
            os.close(self._lock)

    def release(self) -> None:
        """Leave it as if this process had ended, for the next ``sweep``."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def remove(self) -> None:
        """Remove it with all that is in it."""
        self.release()
        remove(self.folder)


def remove(folder: Path) -> None:
    """Remove a folder although somebody may be writing into it; what cannot be removed stays."""
    # Under another name nobody finds it any more. Windows refuses this, as long as one of its files is open.
    gone = folder.with_name(f"{folder.name}-{uuid.uuid4().hex[:8]}")
    with contextlib.suppress(OSError):
        folder.rename(gone)
        folder = gone
    for _ in range(_ATTEMPTS):
        try:
            _clear(folder)
            return
        except OSError:
            # A file may have been moved by whoever writes; the folder is gone only when nothing is left.
            if not os.path.lexists(folder):
                return
            time.sleep(_PATIENCE_S)


def sweep(parent: Path, prefix: str = PREFIX, before: Callable[[Path], None] | None = None) -> None:
    """Remove what processes that live no more have left in a folder, as far as it is this user's.

    Args:
        parent: The folder in which a ``Scratch`` may have been made.
        prefix: How the names of those that are meant begin.
        before: Called with each one before it is removed, while nobody else takes it for abandoned; one that it raises
            ``OSError`` for stays.
    """
    try:
        with os.scandir(parent) as entries:
            found = [Path(entry.path) for entry in entries if entry.name.startswith(prefix)]
    except OSError:
        return
    for folder in found:
        remove_if_abandoned(folder, before)


def remove_if_abandoned(folder: Path, before: Callable[[Path], None] | None = None) -> None:
    """Remove a folder that a ``Scratch`` has made, unless its owner lives; anything else, links above all, is left.

    Args:
        folder: Perhaps such a folder.
        before: Called with the folder before it is removed, as ``sweep`` does; it stays if that raises ``OSError``.
    """
    try:
        if not _is_private(os.lstat(folder)):
            return
        flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        lock = os.open(folder / LOCK, flags)
    except OSError:
        return
    try:
        is_abandoned = stat.S_ISREG(os.fstat(lock).st_mode) and _take(lock) is True
        if is_abandoned and before is not None:
            try:
                before(folder)
            except OSError:
                return
        if is_abandoned and sys.platform != "win32":
            # While the lock is held, so that no one else takes the folder for abandoned, too.
            remove(folder)
    finally:
        os.close(lock)
    if is_abandoned and sys.platform == "win32":  # Where an open file cannot be removed.
        remove(folder)


def _is_private(status: os.stat_result) -> bool:
    if not stat.S_ISDIR(status.st_mode):
        return False
    return sys.platform == "win32" or (status.st_uid == os.getuid() and not status.st_mode & 0o077)


def _clear(folder: Path) -> None:
    """Remove a folder, its lock last: were this interrupted, the rest would still be known as abandoned."""
    for path in folder.iterdir():
        if path.name == LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (folder / LOCK).unlink(missing_ok=True)
    folder.rmdir()


def _take(file: int) -> bool | None:
    """Lock an open file without waiting; False where another holds it, None where the file system has no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _HELD else None
    return True
