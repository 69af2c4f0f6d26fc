"""The configuration of a run, put together in the background; given up where the choices are not those of now."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.train.data import DataSection
    from UncertaintyGuidedI2ILib.train.settings import SettingsSection

Handler = Callable[[Any], None]


class Preparation:
    """Takes the engine's word on the preset, and files of the scene's volumes.

    Exactly one of the callbacks is called, unless it is dropped: then neither is.

    Args:
        settings: The section of the panel that knows all of the configuration but the data.
        data: The section of the panel that knows the data.
        onReady: Called with the configuration but for its name; an ``UpganError`` that it raises is handed on.
        onError: Called with an ``UpganError``.
    """

    def __init__(self, settings: SettingsSection, data: DataSection, onReady: Handler, onError: Handler) -> None:
        self._settings = settings
        self._data = data
        self._onReady = onReady
        self._onError = onError
        self._isDropped = False

    def start(self) -> None:
        """Begin, once."""
        fail = self.unlessDropped(self._onError)

        def addData(config: dict[str, Any]) -> None:
            finish = self._handingOn(lambda sections: self._onReady({**config, **_over(config, sections)}))
            self._data.config(finish, fail)

        self._handingOn(lambda ask: self._settings.config(ask, fail))(self._handingOn(addData))

    def drop(self) -> None:
        """Let it come to nothing, and what was asked for with it."""
        self._isDropped = True

    def unlessDropped(self, answer: Handler) -> Handler:
        """Return a handler that does nothing where the choices are not those of now any more."""
        return lambda content: None if self._isDropped else answer(content)

    def _handingOn(self, step: Handler) -> Handler:
        """Return a step that may refuse."""
        from upgan.errors import UpganError

        def run(content: Any) -> None:
            try:
                step(content)
            except UpganError as error:
                self._onError(error)

        return self.unlessDropped(run)


def _over(config: dict[str, Any], sections: dict[str, Any]) -> dict[str, Any]:
    """Return sections on top of the same sections of a configuration."""
    return {name: {**(config.get(name) or {}), **section} for name, section in sections.items()}
