"""What the module said to the user, and what the user answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        kind: "error", "ok-cancel", "delay" or "file".
        text: What was said.
        details: What "Show details" would show.
    """

    kind: str
    text: str
    details: str = ""


def show(message: Message) -> bool:
    """Show a message to a person and return whether the person agreed."""
    import slicer
    from PySide6.QtWidgets import QMessageBox

    if message.kind == "delay":
        slicer.util.mainWindow().statusBar().showMessage(message.text, 5000)
        return True
    asks = message.kind == "ok-cancel"
    box = QMessageBox(slicer.util.mainWindow())
    box.icon = QMessageBox.Question if asks else QMessageBox.Critical
    box.text, box.detailedText = message.text, message.details
    box.standardButtons = QMessageBox.Ok | QMessageBox.Cancel if asks else QMessageBox.Ok
    return box.exec() == QMessageBox.Ok


@dataclass
class Conversation:
    """Records messages and answers questions; nothing here is modal.

    Attributes:
        messages: In order.
        answer: To every question: True for OK; or a function of the message that says so.
        file_answer: The path that file dialogs return.
        interactive: Whether a person sees the messages and answers.
    """

    messages: list[Message] = field(default_factory=list)
    answer: bool | Callable[[Message], bool] = True
    file_answer: str = ""
    interactive: bool = False

    def say(self, kind: str, text: str, details: str = "") -> bool:
        """Record a message and return the answer."""
        message = Message(kind, str(text), str(details))
        self.messages.append(message)
        if self.interactive:
            return show(message)
        return self.answer(message) if callable(self.answer) else self.answer

    def functions(self) -> dict[str, Callable]:
        """Return the functions of ``slicer.util`` that talk to the user."""

        def error(text: str, **options: Any) -> None:
            self.say("error", text, options.get("detailedText", ""))

        def confirm(text: str, **options: Any) -> bool:
            return bool(self.say("ok-cancel", text, options.get("detailedText", "")))

        def delay(message: str, autoCloseMsec: int = 1000) -> None:  # noqa: N803
            self.say("delay", message)

        def open_volume() -> bool:
            import slicer
            from PySide6.QtWidgets import QFileDialog

            path = QFileDialog.getOpenFileName(slicer.util.mainWindow(), "Open volume")
            if path:
                slicer.util.loadVolume(path)
            return bool(path)

        return {
            "errorDisplay": error,
            "confirmOkCancelDisplay": confirm,
            "delayDisplay": delay,
            "openAddVolumeDialog": open_volume,
        }
