"""The bar that a terminal shows while work goes on: share done, time spent, time left."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from upgan.cli.terminal import marked
from upgan.progress import Progress

_PERCENTAGE = "{task.percentage:3.0f} %"
# Not rich's own: the trainer's knows that later stages are slower.
_LEFT = "{task.fields[left]}"


@contextmanager
def progress_bar(console: Console, title: str) -> Iterator[Progress]:
    """Show a bar while the block runs; give it the progress that moves the bar."""
    columns = (BarColumn(), TextColumn(_PERCENTAGE), TimeElapsedColumn(), TextColumn(_LEFT))
    with Bar(TextColumn("{task.description}"), *columns, console=console) as bar:
        task = bar.add_task(title, total=1.0, left="")

        def move(what: str, fraction: float, remaining_s: float | None) -> None:
            bar.update(task, completed=fraction, description=marked(what), left=_left(remaining_s))

        yield Progress(move).steadily()


class TrainingDisplay:
    """What is seen of a training: a bar with loss and time left in a terminal, and a line for each epoch anywhere.

    Args:
        console: Where to write. One that is no terminal, such as a file, gets the lines only.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn(_PERCENTAGE),
            TextColumn("{task.fields[loss]}"),
            TextColumn(_LEFT),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=1.0, loss="", left="")

    def __enter__(self) -> TrainingDisplay:
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def hear(self, what: str, fraction: float, remaining_s: float | None) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=fraction, description=marked(what), left=_left(remaining_s))

    def line(self, line: dict[str, Any]) -> None:
        """Show a line of the run's journal: every one but those of single steps, whose loss is on the bar."""
        if line["kind"] == "steps":
            self._bar.update(self._task, loss=f"loss {line['loss']:.3f}")
        else:
            self._console.print(marked(_sentence(line)), soft_wrap=True)


def _left(remaining_s: float | None) -> str:
    return "" if remaining_s is None else f"{datetime.timedelta(seconds=round(remaining_s))} left"


def _sentence(line: dict[str, Any]) -> str:
    if line["kind"] == "stage":
        phases = ", ".join(map(str, line["phases"]))
        trained = f"phase {phases}" if len(line["phases"]) == 1 else f"phases {phases} together"
        return f"stage {line['stage']} of {line['stages']}: {trained}, epochs {line['epochs']}, steps {line['steps']}"
    if line["kind"] == "validation":
        where = f"stage {line['stage']}, epoch {line['epoch']}" if line["stage"] else "before the training"
        last = max(line["phases"], key=int)
        figures = line["phases"][last]
        measured = (
            f"MAE {figures['mae']:.4g}, PSNR {figures['psnr']:.2f} dB, SSIM {figures['ssim_3d']:.3f}, "
            f"90 % intervals hold {figures['coverage_90%']:.1%}"
        )
        return f"{where}: phase {last} on the validation patients: {measured}{'; best so far' if line['best'] else ''}"
    return str(line["sentence"])
