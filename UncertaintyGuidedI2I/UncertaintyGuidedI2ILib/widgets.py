"""What panels do with Qt's widgets again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt


def addMenu(button: Any, entries: list[tuple[str, Callable[[bool], None]]]) -> list[Any]:
    """Give a button a menu of (text, slot) and return its actions."""
    menu = qt.QMenu(button)
    actions = []
    for text, slot in entries:
        action = menu.addAction(text)
        action.connect("triggered(bool)", slot)
        actions.append(action)
    button.setMenu(menu)
    return actions


def select(selector: Any, data: str) -> None:
    """Show a combo box's item by its data; one that is not known (yet) is added, so that a saved choice is not lost."""
    index = selector.findData(data)
    if index < 0:
        blocked = selector.blockSignals(True)
        selector.addItem(data, data)
        selector.blockSignals(blocked)
        index = selector.count - 1
    if selector.currentIndex != index:
        selector.currentIndex = index
