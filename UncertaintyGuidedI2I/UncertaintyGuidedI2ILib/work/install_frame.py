"""A panel's frame that says which packages are missing for what the panel does, and installs them when asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib import dependencies


class InstallFrame:
    """Knows what is missing since it was last looked for.

    Args:
        ui: Widgets of the panel, with ``packagesFrame``, ``packagesLabel`` and ``installButton``.
        sentence: A sentence on what needs the packages, with a place {names} for theirs.
        files: Requirements files, as ``dependencies.missing`` takes them.
        onInstalled: Called when all is there; a worker that runs already has looked for it in vain.
        onError: Called with an ``UpganError``.
        onTried: Called after each try, however it ended.
    """

    def __init__(
        self,
        ui: Any,
        sentence: str,
        files: tuple[Path, ...],
        onInstalled: Callable[[], None],
        onError: Callable[[Exception], None],
        onTried: Callable[[], None],
    ) -> None:
        self._ui = ui
        self._sentence = sentence
        self._files = files
        self._onInstalled = onInstalled
        self._onError = onError
        self._onTried = onTried
        self._missing: list[str] = []
        ui.installButton.connect("clicked(bool)", self.onInstall)

    def look(self) -> None:
        """Look what is missing: each time the user comes to the module, it may have changed."""
        self._missing = dependencies.missing(*self._files)

    def whyNot(self) -> str:
        """Return a sentence that says that packages are missing, or nothing."""
        if not self._missing:
            return ""
        return _("Install the missing packages first: {names}.").format(names=", ".join(self._missing))

    def show(self, isFree: bool) -> None:
        """Show the frame where something is missing.

        Args:
            isFree: Whether nothing is under way: an installation ends the worker, whoever it works for.
        """
        self._ui.packagesFrame.visible = bool(self._missing)
        self._ui.packagesLabel.text = self._sentence.format(names=", ".join(self._missing))
        self._ui.installButton.enabled = isFree

    def onInstall(self, checked: bool = False) -> None:
        """Install what is missing; ``ensureInstalled`` asks first."""
        from upgan.errors import UpganError

        with slicer.util.tryWithErrorDisplay(_("The installation failed unexpectedly.")):
            try:
                if dependencies.ensureInstalled(slicer.util.confirmOkCancelDisplay, *self._files):
                    self._onInstalled()
            except UpganError as error:
                self._onError(error)
        self._onTried()
