"""Numbers as people read them, and strangers' texts as they may be shown."""

from __future__ import annotations

import re

# Control characters, and those that turn the direction of writing, with which a text can pretend to be another.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

# What stands for a unit that is the input's own, and no other image's.
ARBITRARY = "a.u."


def shownUnit(unit: str) -> str:
    """Return a unit as people read it: "HU", or "a.u." where it is the input's own and no other's."""
    return unit or ARBITRARY


def formatValue(value: float) -> str:
    """Return four significant digits, and all of those before the decimal point."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Return a time as people say it: "7 s", "3 min 20 s", "1 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def withoutHidden(text: str) -> str:
    """Return a stranger's text, of any number of lines, without the characters that are not seen."""
    return _HIDDEN.sub("", text.encode("utf-8", "replace").decode())


def oneLine(text: str) -> str:
    """Return a stranger's text on one line, without the characters that are not seen."""
    return withoutHidden(text).replace("\t", " ").replace("\n", "")
