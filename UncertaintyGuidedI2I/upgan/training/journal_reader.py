"""A run's journal as others read it while it is written: what it has gained, and what it said last.

Nothing here depends on how long the journal is, for the paper's training writes tens of megabytes. Without any
package, so that a viewer may look in its own process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

JOURNAL = "journal.jsonl"

# By so many bytes before what comes next a journal is known to be the one that was read before.
_REMEMBERED = 512
_BLOCK = 64 << 10

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
            with self._path.open("rb") as file:
                is_anew = not self._is_where_it_was(file)
                if is_anew:
                    file.seek(0)
                text = file.read(most)
                has_more = 0 <= most == len(text)
                if has_more:
                    text += file.readline()
        except OSError:  # The run has not begun to write, or is gone.
            text, is_anew, has_more = b"", self._position > 0, False
        if is_anew:
            self._position, self._before = 0, b""
        whole = text[: text.rfind(b"\n") + 1]
        self._position += len(whole)
        self._before = (self._before + whole[-_REMEMBERED:])[-_REMEMBERED:]
        return Gain([line for part in whole.splitlines() if (line := parsed(part))], is_anew, has_more)

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
        marks: By name, what to look for.
        beside: What to look for on the way only.

    Returns:
        The lines by name; a name is missing where there is no such line.
    """
    found: dict[str, Line] = {}
    wanted = {**marks, **beside}
    try:
        with (run / JOURNAL).open("rb") as file:
            for piece in _pieces_backwards(file):
                for name, mark in wanted.items():
                    at = -1 if name in found else piece.rfind(mark)
                    line = parsed(piece[piece.rfind(b"\n", 0, at) + 1 : piece.find(b"\n", at)]) if at >= 0 else None
                    if line is not None:
                        found[name] = line
                if marks.keys() <= found.keys():
                    break
    except OSError:
        pass
    return found


def parsed(text: bytes) -> Line | None:
    """Return a JSON object, or None where the bytes are none: a power cut may leave anything."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _pieces_backwards(file: BinaryIO) -> Iterator[bytes]:
    """Yield whole lines, some at a time, the last ones first; what follows the last line's end is left out."""
    position = file.seek(0, os.SEEK_END)
    rest, is_end = b"", True
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        text = file.read(position - start) + rest
        position = start
        if is_end:
            text = text[: text.rfind(b"\n") + 1]
            is_end = not text
        cut = text.find(b"\n") + 1 if start else 0
        rest, piece = text[:cut], text[cut:]
        if piece:
            yield piece
