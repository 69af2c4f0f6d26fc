"""What goes wrong, shown to the user: one sentence, a remedy, and never as markup."""

from __future__ import annotations

import logging
import traceback

import slicer
from slicer.i18n import tr as _


def plain(text: str) -> str:
    """Return text that no tool tip or message box takes for markup, and in which nothing is hidden.

    Names in it are written by strangers.
    """
    from upgan.foreign_text import escaped

    return "\n".join(escaped(line) for line in text.split("\n")).replace("<", "‹")


def showError(error: Exception) -> str:
    """Show an error in a message box and return the sentence for a status line.

    Args:
        error: An ``UpganError``; anything else is a defect of ours, shown and logged with its traceback.
    """
    from upgan.errors import UpganError
    from upgan.foreign_text import escaped

    if not isinstance(error, UpganError):
        sentence = _("The module failed unexpectedly.")
        details = "".join(traceback.format_exception(error))
        logging.error(details)
        slicer.util.errorDisplay(sentence, detailedText=plain(details))
        return sentence
    slicer.util.errorDisplay(plain(f"{error.sentence}\n\n{error.remedy}"), detailedText=plain(str(error)))
    return escaped(error.sentence)
