"""Keeps None, True and False alive under Python 3.11."""

from __future__ import annotations

import ctypes
import sys

MANY = 1 << 40


def keep_singletons_alive() -> None:
    """Give None, True and False more references than can be lost.

    Since Python 3.12 they are immortal, and PySide6's wheels (6.12), which are built with its headers, return them
    without counting the reference. Under Python 3.11 each such call takes one away, and after some ten thousand of
    them the process ends with "deallocating None".
    """
    if sys.version_info < (3, 12):
        for singleton in (None, True, False):
            # The reference count is the first field of every object of CPython.
            ctypes.c_ssize_t.from_address(id(singleton)).value += MANY
