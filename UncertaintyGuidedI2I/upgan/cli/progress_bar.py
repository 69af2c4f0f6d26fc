"""The bar that a terminal shows while work goes on: share done, time spent, time left."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from upgan.cli.terminal import marked

if TYPE_CHECKING:
    from upgan.inference.engine import Progress as TranslationProgress


@contextmanager
def translation_bar(console: Console) -> Iterator[Callable[[TranslationProgress], None]]:
    """Show a bar while the block runs; give it what to call with the engine's progress."""
    with _bar(console) as bar:
        task = bar.add_task("translating", total=1.0)

        def update(progress: TranslationProgress) -> None:
            stage = f"phase {progress.phase} of {progress.phases}, slice {progress.slice} of {progress.slices}"
            bar.update(task, completed=progress.fraction, description=stage)

        yield update


@contextmanager
def counting_bar(console: Console, title: str) -> Iterator[Callable[[float, float], None]]:
    """Show a bar while the block runs; give it what to call with (done, total)."""
    with _bar(console) as bar:
        task = bar.add_task(title, total=None)

        def update(done: float, total: float) -> None:
            bar.update(task, completed=done, total=total)

        yield update


@contextmanager
def fraction_bar(console: Console) -> Iterator[Callable[[str, float], None]]:
    """Show a bar while the block runs; give it what to call with a text and the fraction done."""
    with _bar(console) as bar:
        task = bar.add_task("starting", total=1.0)

        def update(text: str, fraction: float) -> None:
            bar.update(task, completed=fraction, description=marked(text))

        yield update


class TrainingDisplay:
    """What is seen of a training: a bar with loss and time left in a terminal, and a line for each epoch anywhere.

    Args:
        console: Where to write. One that is no terminal, such as a file, gets the lines only.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.fields[loss]}"),
            # The trainer's own: it knows that later stages are slower.
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=1.0, loss="", left="")

    def __enter__(self) -> TrainingDisplay:
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def progress(self, text: str, fraction: float, remaining_s: float | None) -> None:
        """Move the bar."""
        left = "" if remaining_s is None else f"{datetime.timedelta(seconds=round(remaining_s))} left"
        self._bar.update(self._task, completed=fraction, description=marked(text), left=left)

    def line(self, line: dict[str, Any]) -> None:
        """Show a line of the run's journal: every one but those of single steps, whose loss is on the bar."""
        if line["kind"] == "steps":
            self._bar.update(self._task, loss=f"loss {line['loss']:.3f}")
        else:
            self._console.print(marked(_sentence(line)), soft_wrap=True)


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


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
