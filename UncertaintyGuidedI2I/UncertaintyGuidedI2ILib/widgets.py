"""What panels do with Qt's widgets again and again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt

from UncertaintyGuidedI2ILib.messages import plain

# Names of values in a selector, by value.
Labels = dict[str, str]


def enable(widget: Any, whyNot: str, toolTip: str) -> None:
    """Enable a widget, or let its tool tip say why it is not."""
    widget.enabled = not whyNot
    widget.toolTip = plain(whyNot) or toolTip


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


def bindSelector(selector: Any, labels: Labels, choices: Callable[[], Any], choice: str) -> None:
    """Fill a combo box with values under the names that people give them, and write what is selected to a choice.

    Args:
        selector: A QComboBox; ``select`` shows a value in it.
        labels: Names by value.
        choices: Returns the pack of choices, or None where there is none now.
        choice: Name of the choice in the pack.
    """
    for value, label in labels.items():
        selector.addItem(label, value)

    def write(index: int) -> None:
        pack = choices()
        if pack is not None and index >= 0:
            setattr(pack, choice, selector.itemData(index))

    selector.connect("currentIndexChanged(int)", write)


def bindText(edit: Any, choices: Callable[[], Any], choice: str) -> None:
    """Write what is typed into a QLineEdit to a choice; ``showText`` shows it there.

    The property ``SlicerParameterName`` is not used for this: it puts the cursor at the end after each letter.

    Args:
        edit: A QLineEdit.
        choices: Returns the pack of choices, or None where there is none now.
        choice: Name of the choice in the pack, which holds text.
    """

    def write(text: str) -> None:
        pack = choices()
        if pack is not None:
            setattr(pack, choice, text)

    edit.connect("textEdited(QString)", write)


def showText(edit: Any, text: str) -> None:
    """Show a text in a QLineEdit, whose cursor stays where the text is there already."""
    if edit.text != text:
        edit.text = text


def bindPath(edit: Any, choices: Callable[[], Any], choice: str) -> None:
    """Write the path in a ctkPathLineEdit to a choice; ``showPath`` shows it there.

    Args:
        edit: A ctkPathLineEdit, which says nothing of an empty text but that it is not valid.
        choices: Returns the pack of choices, or None where there is none now.
        choice: Name of the choice in the pack; ``Path()`` stands for no path.
    """

    def write(path: str) -> None:
        pack = choices()
        if pack is not None:
            setattr(pack, choice, Path(path))

    edit.connect("currentPathChanged(QString)", write)
    edit.connect("validInputChanged(bool)", lambda isValid: None if isValid else write(""))


def showPath(edit: Any, path: Path) -> None:
    """Show a path, or nothing for ``Path()``; what is being typed stays as it is where it means the same."""
    if Path(edit.currentPath) != path:
        blocked = edit.blockSignals(True)
        edit.currentPath = "" if path == Path() else str(path)
        edit.blockSignals(blocked)
