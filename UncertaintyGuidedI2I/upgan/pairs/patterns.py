"""Patterns of file names, ``{subject}/**/*pet.nii.gz``, matched below a folder in a time that no pattern makes long.

``{subject}`` stands for the same label wherever it occurs; ``*`` and ``?`` as in a shell, within a name; ``**/`` for
any folders or none. Python's own ``glob`` and regular expressions try every way in which wildcards can be shared out,
which with some dozens of them does not end.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from upgan.errors import InputError

_SUBJECT = "{subject}"
_ANY_FOLDERS = "**"

# Longer than any path below a folder that people look after, and deeper.
_LONGEST, _DEEPEST = 1000, 32

# Names looked at, each once for every part of the pattern that it might be, and folders below one another: more are no
# set of patients, but a whole disk, or links that lead to it again and again. Some ten seconds.
_MOST_NAMES, _DEEPEST_FOLDER = 10_000_000, 64


class _Found(NamedTuple):
    """A name in a folder, and whether it is a folder or a link; a link to a folder is both."""

    name: str
    is_folder: bool
    is_link: bool


@dataclass(frozen=True)
class Pattern:
    """Names of folders, and of the file or folder at the end, each with its wildcards.

    Attributes:
        parts: The pattern's parts in their order, each ``**`` or the pattern of one name.
    """

    parts: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Pattern:
        """Read a pattern; Windows' separators are as good as others.

        Raises:
            InputError: ``bad_pattern`` where it names no subject, leads out of its folder, or is too long.
        """
        text = text.replace("\\", "/")
        names = [name for name in text.split("/") if name not in ("", ".")]
        leads_out = text.startswith("/") or ".." in names or any(PureWindowsPath(name).drive for name in names)
        if _SUBJECT not in text or leads_out or "\0" in text or len(text) > _LONGEST:
            raise _bad(text)
        parts: list[str] = []
        for number, name in enumerate(names, start=1):
            if name == _ANY_FOLDERS and number < len(names):
                if parts[-1:] != [_ANY_FOLDERS]:
                    parts.append(name)
            else:
                # Several in a row, as one, stand for any characters.
                parts.append(re.sub(r"\*+", "*", name))
        if len(parts) > _DEEPEST:
            raise _bad(text)
        return cls(tuple(parts))

    def find(self, folder: Path) -> Iterator[tuple[str, Path]]:
        """Find what matches below a folder: label and place, in no order.

        Names that begin with a dot are made by systems, such as macOS beside each file it copies: none of them is
        found. Folders that may not be looked into are passed over; ``**`` does not follow links.

        Raises:
            InputError: ``too_many_files``.
        """
        looked_at = 0
        waiting: list[tuple[Path, tuple[str, ...], frozenset[int]]] = [(folder, (), frozenset([0]))]
        while waiting:
            place, names, reached = waiting.pop()
            reached = self._without_folders(reached)
            candidates = self._candidates(place, reached)
            looked_at += (len(candidates) + 1) * len(reached)
            if looked_at > _MOST_NAMES:
                raise InputError(
                    "too_many_files",
                    f"There are too many files and folders below '{folder.name}' to look for the pattern among them.",
                    "Make it narrower, with fewer **/ and *, or name the folder of the patients as data.path.",
                )
            for found in candidates:
                after, path = self._after(reached, found), place / found.name
                if len(self.parts) in after and (subject := self.subject_of((*names, found.name))) is not None:
                    yield subject, path
                further = after - {len(self.parts)}
                if further and found.is_folder and len(names) < _DEEPEST_FOLDER and not _leads_back(place, found):
                    waiting.append((path, (*names, found.name), further))

    @cached_property
    def _likes(self) -> list[re.Pattern[str]]:
        """The regular expression of each part, which a name for it matches whatever the label."""
        return [_expression(part.replace(_SUBJECT, "?*")) for part in self.parts]

    def _without_folders(self, reached: frozenset[int]) -> frozenset[int]:
        """Return the parts reached, and the one after each ``**`` among them, which may stand for no folder."""
        return reached | {number + 1 for number in reached if self.parts[number] == _ANY_FOLDERS}

    def _candidates(self, place: Path, reached: frozenset[int]) -> list[_Found]:
        """Return what may be of interest in a folder, which need not be listed where all names are known."""
        parts = [self.parts[number] for number in reached]
        if not any(_SUBJECT in part or "*" in part or "?" in part for part in parts):
            known = [(part, place / part) for part in parts if os.path.lexists(place / part)]
            return [_Found(part, path.is_dir(), path.is_symlink()) for part, path in known if part[0] != "."]
        try:
            with os.scandir(place) as entries:
                return [_Found(e.name, e.is_dir(), e.is_symlink()) for e in entries if e.name[0] != "."]
        except OSError:
            return []

    def _after(self, reached: frozenset[int], found: _Found) -> frozenset[int]:
        """Return which parts may come next after a name; the number of all where it may be the last."""
        after = set()
        for number in reached:
            part = self.parts[number]
            if part == _ANY_FOLDERS:
                if found.is_folder and not found.is_link:
                    after.add(number)
            elif self._likes[number].fullmatch(found.name):
                after.add(number + 1)
        return frozenset(after)

    def subject_of(self, names: Sequence[str]) -> str | None:
        """Match names as far as they go; a label, like any wildcard, is as long as it can be.

        Tried from the left, every way once: what follows a part, a name and a label is the same however one got there.
        """
        failed: set[tuple[int, int, str | None]] = set()
        waiting: list[tuple[int, int, str | None]] = [(0, 0, None)]
        while waiting:
            state = waiting.pop()
            part, name, subject = state
            if state in failed:
                continue
            failed.add(state)
            if part == len(self.parts):
                if name == len(names) and subject is not None:
                    return subject
                continue
            if self.parts[part] == _ANY_FOLDERS:
                waiting.append((part + 1, name, subject))
                if name < len(names):
                    waiting.append((part, name + 1, subject))
            elif name < len(names):
                labels = _labels(self.parts[part], names[name], subject)
                waiting.extend((part + 1, name + 1, label) for label in reversed(labels))
        return None


def _leads_back(place: Path, found: _Found) -> bool:
    """Whether a name in a folder is a link to this folder, or to one that it is in."""
    return found.is_link and Path(os.path.realpath(place)).is_relative_to(os.path.realpath(place / found.name))


def _labels(part: str, name: str, subject: str | None) -> list[str | None]:
    """Return labels with which a name matches a part, the likeliest first; ``subject`` alone where it is known."""
    if _SUBJECT not in part:
        return [subject] if _expression(part).fullmatch(name) else []
    if subject is not None:
        return [subject] if _expression(part, subject).fullmatch(name) else []
    before, _, after = part.partition(_SUBJECT)
    start = _expression(before)
    found: dict[str | None, None] = {}
    # What stands before it takes as much as it can, and then the label does.
    for begin in range(len(name) - 1, -1, -1):
        if not start.fullmatch(name, 0, begin):
            continue
        for end in range(len(name), begin, -1):
            label = name[begin:end]
            if _SUBJECT in after and label not in name[end:]:
                continue
            if _expression(after, label if _SUBJECT in after else "").fullmatch(name, end):
                found.setdefault(label)
    return list(found)


@lru_cache(maxsize=1024)
def _expression(part: str, subject: str = "") -> re.Pattern[str]:
    """Return one part as a regular expression that never goes back: each ``*`` ends at the first chance.

    That is enough: if a name matches at all, it does with every piece between two ``*`` where it first occurs.
    """
    pieces = [_piece(piece, subject) for piece in part.split("*")]
    if len(pieces) == 1:
        return re.compile(pieces[0], re.DOTALL)
    first, *middle, last = pieces
    found = "".join(f"(?>.*?{piece})" for piece in middle)
    return re.compile(f"{first}{found}.*{last}", re.DOTALL)


def _piece(text: str, subject: str) -> str:
    return re.escape(subject).join(
        "".join("." if character == "?" else re.escape(character) for character in literal)
        for literal in text.split(_SUBJECT)
    )


def _bad(text: str) -> InputError:
    shown = text if len(text) <= 80 else f"{text[:79]}…"
    return InputError(
        "bad_pattern",
        f"The pattern '{shown}' does not say where below the folder the files of each subject are.",
        f"Write for example {_SUBJECT}/pet.nii.gz; no more than {_LONGEST} characters and {_DEEPEST} folders.",
    )
