"""Qt's modal dialogs: those for files are recorded and answered, others refused, so that no test waits for a user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtWidgets import QDialog, QFileDialog, QMessageBox

from Host.messages import Conversation

FILE_DIALOGS = ("getOpenFileName", "getSaveFileName", "getExistingDirectory")
WAITING = (
    *((QMessageBox, name) for name in ("question", "information", "warning", "critical", "exec", "exec_")),
    *((QDialog, name) for name in ("exec", "exec_")),
)


def dialogs(conversation: Conversation) -> list[tuple[type, str, Any]]:
    """Return what takes the place of Qt's functions: (class, name, function)."""
    replaced = [(QFileDialog, name, staticmethod(_file_dialog(conversation, name))) for name in FILE_DIALOGS]
    return replaced if conversation.interactive else [*replaced, *((cls, name, _refuse) for cls, name in WAITING)]


def _file_dialog(conversation: Conversation, name: str) -> Callable:
    original = getattr(QFileDialog, name)

    def ask(parent: Any = None, caption: str = "", *arguments: Any) -> str:
        if not conversation.interactive:
            conversation.say("file", caption)
            return conversation.file_answer
        chosen = original(parent, caption, *arguments)
        # PySide6 adds the filter; PythonQt does not.
        return chosen[0] if isinstance(chosen, tuple) else chosen

    return ask


def _refuse(*arguments: Any) -> Any:
    raise RuntimeError("This would wait for a user; the panels ask by slicer.util, which the host answers")
