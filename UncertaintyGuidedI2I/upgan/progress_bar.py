"""The bar that a terminal shows while work goes on: share done, time spent, time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from upgan.inference import Progress as TranslationProgress


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
def counting_bar(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the block runs; give it what to call with (done, total)."""
    with _bar(console) as bar:
        task = bar.add_task(title, total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield update


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
