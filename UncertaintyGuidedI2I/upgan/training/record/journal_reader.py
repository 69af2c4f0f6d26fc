"""A run's journal as others read it while it is written: what it has gained, and what it said last.

Nothing here depends on how long the journal is, for the paper's training writes tens of megabytes, nor fails whatever
is in it: a line that is not as a run writes it is left out. Without any package, so that a viewer may look in its own
process.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

JOURNAL = "journal.jsonl"

# By so many bytes before what comes next a journal is known to be the one that was read before.
_REMEMBERED = 512
_BLOCK = 64 << 10

# A run's own lines have a few hundred bytes, and some kilobytes where many slices are named. What is longer is damage.
_LONGEST_LINE = 256 << 10
# From the end of a journal, so much is looked through for what it said last: some hundreds of the paper's epochs.
_FAR_BACK = 8 << 20
# So many lines, and bytes of them, are tried: those of a run are right at the first.
_MOST_TRIED, _MOST_BYTES_TRIED = 200, 512 << 10

# A count that a float, and a viewer's table, takes.
_LARGEST = 1 << 53

Line = dict[str, Any]


class Gain(NamedTuple):
    """What a look at a journal has brought.

    Attributes:
        lines: New ones, in their order.
        is_anew: The journal is another than at the last look: forget what came before these lines.
        has_more: There is more to read at once.
    """

    lines: list[Line]
    is_anew: bool
    has_more: bool


class JournalReader:
    """Follows the journal of one run; each look reads what was appended since the last one, and no more.

    A line that is being written is left for the next look. A journal is cut back when its run goes on from a checkpoint
    and grows again, perhaps beyond where it was; its run may be replaced by another of that name. Both are noticed, and
    the journal is read from its start.

    Args:
        run: The run's folder; neither it nor the journal need be there yet.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / JOURNAL
        self._position = 0
        self._before = b""
        self._file: tuple[int, int] | None = None

    def read(self, most: int = -1) -> Gain:
        """Look again.

        Args:
            most: Bytes to read, but for the end of a line; by default all there are.
        """
        try:
            with _opened(self._path) as file:
                is_anew = not self._is_where_it_was(file)
                if is_anew:
                    file.seek(0)
                text = file.read(most)
                has_more = 0 <= most == len(text)
                if has_more:
                    text += file.readline(_LONGEST_LINE)
        except OSError:  # The run has not begun to write, or is gone.
            text, is_anew, has_more = b"", self._position > 0, False
        if is_anew:
            self._position, self._before = 0, b""
        end = text.rfind(b"\n") + 1
        # What has no end after so many bytes is no line that is being written: it is not to be read again and again.
        whole = text if len(text) - end >= _LONGEST_LINE else text[:end]
        self._position += len(whole)
        self._before = (self._before + whole[-_REMEMBERED:])[-_REMEMBERED:]
        return Gain([line for part in whole.split(b"\n") if (line := _line(part))], is_anew, has_more)

    def _is_where_it_was(self, file: BinaryIO) -> bool:
        """Whether an opened journal still begins with what was read of it; it is then left where that ends."""
        status = os.fstat(file.fileno())
        before, self._file = self._file, (status.st_dev, status.st_ino)
        if not self._position:
            return True
        if before != self._file or status.st_size < self._position:
            return False
        file.seek(self._position - len(self._before))
        return file.read(len(self._before)) == self._before


def read_journal(run: Path) -> list[Line]:
    """Read all lines of a run's journal; none where it has not begun to write."""
    return JournalReader(run).read().lines


def last_lines(run: Path, marks: Mapping[str, bytes], beside: Mapping[str, bytes]) -> dict[str, Line]:
    """Find the last lines of a journal that hold certain bytes, from its end backwards and no further than needed.

    Args:
        run: The run's folder.
        marks: The bytes to look for, by a name of each.
        beside: Bytes that are looked for on the way only, by a name of each.

    Returns:
        The lines by name; a name is missing where there is no such line in the last megabytes.
    """
    found: dict[str, Line] = {}
    wanted = {**marks, **beside}
    tried = _Tried()
    try:
        with _opened(run / JOURNAL) as file:
            for piece in _pieces_backwards(file):
                for name, mark in wanted.items():
                    line = None if name in found else _last_with(mark, piece, tried)
                    if line is not None:
                        found[name] = line
                if marks.keys() <= found.keys():
                    break
    except OSError:
        pass
    return found


class _Tried:
    """Counts lines that were tried, for nobody waits while thousands of wrong ones are."""

    def __init__(self) -> None:
        self._lines = self._bytes = 0

    def may(self, size: int) -> bool:
        self._lines += 1
        self._bytes += size
        return self._lines <= _MOST_TRIED and self._bytes <= _MOST_BYTES_TRIED


def _last_with(mark: bytes, piece: bytes, tried: _Tried) -> Line | None:
    """Find the last line of some that holds a mark and is one."""
    end = len(piece)
    while (at := piece.rfind(mark, 0, end)) >= 0:
        start, stop = piece.rfind(b"\n", 0, at) + 1, piece.find(b"\n", at)
        if not tried.may(stop - start):
            return None
        line = _line(piece[start:stop])
        if line is not None:
            return line
        end = start
    return None


def parsed(text: bytes) -> Line | None:
    """Return a JSON object, or None where the bytes are none: a power cut may leave anything."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def lines_of(text: bytes) -> Iterator[tuple[int, Line]]:
    """Yield the lines of a journal that are as a run writes them, each with the place in bytes where it begins."""
    at = 0
    for part in text.split(b"\n"):
        line = _line(part)
        if line is not None:
            yield at, line
        at += len(part) + 1


def _line(text: bytes) -> Line | None:
    """Return a line of a journal, or None where it is not as any version writes it: its readers rely on that."""
    if not text or len(text) > _LONGEST_LINE:
        return None
    line = parsed(text)
    if line is None:
        return None
    expected = _EXPECTED.get(line.get("kind", ""), {}) if isinstance(line.get("kind"), str) else None
    if expected is None or not all(name in line and is_right(line[name]) for name, is_right in expected.items()):
        return None
    return line if all(is_right(line[name]) for name, is_right in _WHERE_THERE.items() if name in line) else None


def is_count(value: Any) -> bool:
    """Whether a value of JSON is a whole number from 0 that a table takes."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST


def _is_number(value: Any) -> bool:
    """Whether a value of JSON is a number, NaN and infinities included: a loss may have been lost."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, float) or (is_whole and abs(value) < _LARGEST)


def is_finite(value: Any) -> bool:
    """Whether a value of JSON is a number from 0 to reckon with."""
    return _is_number(value) and math.isfinite(value) and 0 <= value < _LARGEST


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_count, value))


def _is_phases(value: Any) -> bool:
    """Whether these are figures by phase: {"1": {"mae": 101.5, …}, …}."""
    return isinstance(value, dict) and all(
        name.isdecimal()
        and len(name) < len(str(_LARGEST))
        and isinstance(figures, dict)
        and all(figure is None or _is_number(figure) for figure in figures.values())
        and _is_number(figures.get("mae"))
        for name, figures in value.items()
    )


# What each kind of line has in every version that wrote one.
_EXPECTED: dict[str, dict[str, Callable[[Any], bool]]] = {
    "stage": {"stage": is_count, "stages": is_count, "epochs": is_count, "phases": _is_list},
    "steps": {"step": is_count},
    "validation": {"stage": is_count, "epoch": is_count, "phases": _is_phases},
    "event": {"sentence": _is_text},
}

# What else is relied on where it is there.
_WHERE_THERE: dict[str, Callable[[Any], bool]] = {
    "stage": is_count,
    "stages": is_count,
    "epoch": is_count,
    "epochs": is_count,
    "step": is_count,
    "steps": is_count,
    "loss": lambda value: value is None or _is_number(value),
    "seconds": is_finite,
    "remaining_s": lambda value: value is None or is_finite(value),
}


def _opened(path: Path) -> BinaryIO:
    """Open a journal; what is no file, such as a pipe, is not waited for."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(0, "it is not a file")
    return path.open("rb")


def _pieces_backwards(file: BinaryIO) -> Iterator[bytes]:
    """Yield whole lines, some at a time, the last ones first; what follows the last line's end is left out.

    A stretch without an end of line that is longer than any line is passed over.
    """
    position = size = file.seek(0, os.SEEK_END)
    rest, is_end = b"", True
    while position > 0 and size - position < _FAR_BACK:
        start = max(0, position - _BLOCK)
        file.seek(start)
        text = file.read(position - start) + rest
        position = start
        if is_end:
            text = text[: text.rfind(b"\n") + 1]
            is_end = not text
        cut = text.find(b"\n") + 1 if start else 0
        rest, piece = text[:cut], text[cut:]
        if len(rest) > _LONGEST_LINE:
            rest, is_end = b"", True
        if piece:
            yield piece
