"""Bringing a panel up to date part by part: a part that fails is told of once, and the others go on."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.messages import plain


class Upkeep:
    """Runs the parts of updates that come again and again, on a clock or with events, each part for itself.

    A chart that cannot be drawn must not leave buttons grey. Nothing is raised: who called is an event.
    """

    def __init__(self) -> None:
        # Part, kind and place of failures that the user has been told of: most come again with each update.
        self._told: set[tuple[str, str, str]] = set()

    def run(self, parts: Mapping[str, Callable[[], Any]]) -> None:
        """Run all parts in their order.

        Args:
            parts: The parts, each by the name that the user has for what it keeps up to date: "the charts".
        """
        for name, part in parts.items():
            try:
                part()
            except Exception as error:  # noqa: BLE001 - logged and shown, while the other parts go on
                self._tell(name, error)

    def _tell(self, name: str, error: Exception) -> None:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        failure = (name, type(error).__name__, f"{frame.filename}:{frame.lineno}")
        if failure in self._told:
            return
        self._told.add(failure)
        logging.error("The module could not bring up to date: %s", name, exc_info=error)
        sentence = _("The module failed to bring up to date: {part}. Everything else goes on.").format(part=name)
        details = plain("".join(traceback.format_exception(error)))
        # Not now: a message box lets other events through, and this one is not over.
        qt.QTimer.singleShot(0, lambda: slicer.util.errorDisplay(sentence, detailedText=details))
