"""Qt's modal dialogs: recorded and answered, so that no test waits for a user; shown where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtWidgets import QDialog, QFileDialog, QMessageBox

from Host.messages import Conversation

FILE_DIALOGS = ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory")
MESSAGE_BOXES = {"question": "yes-no", "information": "info", "warning": "warning", "critical": "error"}
# What a box with these buttons returns for the answers yes and no, in this order of preference.
AGREEING = ("Yes", "Ok", "Retry", "Save", "Open", "Apply")
REFUSING = ("No", "Cancel", "Close", "Abort", "Discard")


def dialogs(conversation: Conversation) -> list[tuple[type, str, Any]]:
    """Return what takes the place of Qt's functions: (class, name, function)."""
    replaced: list[tuple[type, str, Any]] = [
        *((QFileDialog, name, staticmethod(_file_dialog(conversation, name))) for name in FILE_DIALOGS),
        *((QMessageBox, name, staticmethod(_message_box(conversation, name))) for name in MESSAGE_BOXES),
    ]
    if not conversation.interactive:
        for name in ("exec", "exec_"):
            replaced.append((QMessageBox, name, lambda self: _answer_box(conversation, self)))
            replaced.append((QDialog, name, lambda self: _answer_dialog(conversation, self)))
    return replaced


def _file_dialog(conversation: Conversation, name: str) -> Callable:
    original = getattr(QFileDialog, name)

    def ask(parent: Any = None, caption: str = "", *arguments: Any) -> Any:
        if not conversation.interactive:
            conversation.say("file", caption)
            answer = conversation.file_answer
            return ([answer] if answer else []) if name == "getOpenFileNames" else answer
        chosen = original(parent, caption, *arguments)
        # PySide6 adds the filter; PythonQt does not.
        return chosen[0] if isinstance(chosen, tuple) else chosen

    return ask


def _message_box(conversation: Conversation, name: str) -> Callable:
    original = getattr(QMessageBox, name)

    def ask(parent: Any, title: str, text: str, buttons: int | None = None, default: int | None = None) -> int:
        if buttons is None:
            buttons = QMessageBox.Yes | QMessageBox.No if name == "question" else QMessageBox.Ok
        if conversation.interactive:
            return original(parent, title, text, buttons)
        return _button(buttons, conversation.say(MESSAGE_BOXES[name], text))

    return ask


def _answer_box(conversation: Conversation, box: QMessageBox) -> int:
    return _button(box.standardButtons, conversation.say("dialog", box.text, box.detailedText))


def _answer_dialog(conversation: Conversation, dialog: QDialog) -> int:
    return QDialog.Accepted if conversation.say("dialog", dialog.windowTitle) else QDialog.Rejected


def _button(buttons: int, agreed: bool) -> int:
    for name in AGREEING if agreed else REFUSING:
        button = getattr(QMessageBox, name)
        if buttons & button:
            return button
    return buttons
