"""What the module said to the user, and what the user answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        kind: "info", "warning", "error", "ok-cancel", "yes-no", "retry-close", "status", "delay", "file" or "dialog".
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

    if message.kind in ("status", "delay"):
        slicer.util.mainWindow().statusBar().showMessage(message.text, 5000)
        return True
    icons = {"info": QMessageBox.Information, "warning": QMessageBox.Warning, "error": QMessageBox.Critical}
    buttons = {"ok-cancel": QMessageBox.Ok | QMessageBox.Cancel, "yes-no": QMessageBox.Yes | QMessageBox.No}
    box = QMessageBox(slicer.util.mainWindow())
    box.icon = icons.get(message.kind, QMessageBox.Question)
    box.text, box.detailedText = message.text, message.details
    box.standardButtons = buttons.get(message.kind, QMessageBox.Ok)
    return box.exec() in (QMessageBox.Ok, QMessageBox.Yes)


@dataclass
class Conversation:
    """Records messages and answers questions; nothing here is modal.

    Attributes:
        messages: In order.
        answer: To every question: True for OK, Yes and Retry; or a function of the message that says so.
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

        def tell(kind: str) -> Callable:
            def show(text: str, windowTitle: str | None = None, parent: Any = None, **options: Any) -> None:  # noqa: N803
                self.say(kind, text, options.get("detailedText", ""))

            return show

        def ask(kind: str) -> Callable:
            def show(text: str, windowTitle: str | None = None, parent: Any = None, **options: Any) -> bool:  # noqa: N803
                return bool(self.say(kind, text, options.get("detailedText", "")))

            return show

        def status(message: str, duration: int = 0) -> bool:
            self.say("status", message)
            return True

        def delay(message: str, autoCloseMsec: int = 1000, parent: Any = None, **options: Any) -> None:  # noqa: N803
            self.say("delay", message)

        def open_dialog() -> bool:
            import slicer
            from PySide6.QtWidgets import QFileDialog

            path = QFileDialog.getOpenFileName(slicer.util.mainWindow(), "Open volume")
            if path:
                slicer.util.loadVolume(path)
            return bool(path)

        return {
            "infoDisplay": tell("info"),
            "warningDisplay": tell("warning"),
            "errorDisplay": tell("error"),
            "confirmOkCancelDisplay": ask("ok-cancel"),
            "confirmYesNoDisplay": ask("yes-no"),
            "confirmRetryCloseDisplay": ask("retry-close"),
            "showStatusMessage": status,
            "delayDisplay": delay,
            "openAddVolumeDialog": open_dialog,
            "openAddDataDialog": open_dialog,
        }
