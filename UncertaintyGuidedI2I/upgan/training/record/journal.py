"""What a run tells of itself: lines of JSON in its folder, and the same figures for TensorBoard."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from upgan.files import explained
from upgan.training.record.journal_reader import JOURNAL

_FIGURES = ("loss", "likelihood", "l1", "adversarial", "discriminator", "rate")


class Journal:
    """Appends lines to a run's journal.

    Args:
        run: The run's folder.
        position: Length in bytes up to which the journal counts; what a killed process wrote after its last
            checkpoint is cut off, for it will be written again.
        step: Steps of the whole run up to there.
        on_line: Called with each line.
    """

    def __init__(self, run: Path, position: int, step: int, on_line: Callable[[dict[str, Any]], None]) -> None:
        from tensorboardX import SummaryWriter

        self._path = run / JOURNAL
        self._on_line = on_line
        self._path.touch()
        # What a power cut left may be shorter, or end within a line.
        kept = self._path.read_bytes()[:position]
        os.truncate(self._path, kept.rfind(b"\n") + 1)
        self._board: Any = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1 if position else None)

    def brought_to_the_disk(self) -> int:
        """Return the length of the journal in bytes, all of which a power cut will leave."""
        with self._path.open("ab") as file:
            os.fsync(file.fileno())
            return file.tell()

    def write(self, line: dict[str, Any], step: int) -> None:
        """Append a line and hand it on.

        Args:
            line: JSON-able, with ``kind``.
            step: Steps of the whole run so far, TensorBoard's x axis.

        Raises:
            OutputError: ``journal_not_written``.
        """
        remedy = "Free some space on that disk; the training then goes on from its last checkpoint."
        with explained(f"The training's journal in {self._path.parent}", remedy, "journal_not_written"):
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            self._draw(line, step)
        self._on_line(line)

    def close(self) -> None:
        """Bring everything to the disk."""
        self._board.close()

    def _draw(self, line: dict[str, Any], step: int) -> None:
        if line["kind"] == "steps":
            for name in _FIGURES:
                self._board.add_scalar(f"training/{name}", line[name], step)
        elif line["kind"] == "validation":
            for phase, figures in line["phases"].items():
                for name, value in figures.items():
                    self._board.add_scalar(f"validation/{name}/phase {phase}", value, step)
            self._board.flush()
