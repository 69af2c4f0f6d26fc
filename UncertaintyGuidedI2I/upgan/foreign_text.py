"""Texts from strangers: what one line of a label may hold, and how any text is shown so that it cannot pretend.

A name with a line break forges a row of a list, an escape sequence colours or clears a terminal, and a character that
turns the direction of writing makes one word look like another.
"""

from __future__ import annotations

import unicodedata

# Controls (with line breaks and escapes), formats (with those that turn the direction of writing), lone surrogates,
# and the two separators that end a line or a paragraph.
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def is_visible(text: str) -> bool:
    """Whether every character of a text is seen where it stands."""
    return text.isprintable() or not any(unicodedata.category(letter) in _HIDDEN for letter in text)


def escaped(text: object) -> str:
    r"""Return a text on one line in which nothing is hidden: what is not seen becomes \n, \x1b, \u202e and the like."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        letter.encode("unicode_escape").decode("ascii") if unicodedata.category(letter) in _HIDDEN else letter
        for letter in shown
    )
