"""The command line's part that makes models: ``upgan train``, ``upgan evaluate``, ``upgan bundle create``."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import time
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from upgan.cli.progress_bar import TrainingDisplay, progress_bar
from upgan.cli.terminal import echo, marked, warn
from upgan.cli.terminal import messages as _messages
from upgan.errors import Cancelled
from upgan.progress import Progress
from upgan.worker.protocol import ENDING_SIGNALS

if TYPE_CHECKING:
    from upgan.pairs.preparation import Pair

# As in upgan.cli.commands, commands import the engine themselves.

# Ctrl-C reaches each process of a group once from the terminal and once more from torchrun.
_SAME_PRESS_S = 1.0


class Presets(StrEnum):
    """Where a new configuration starts from."""

    quick = "quick"
    paper = "paper"
    fine_tune = "fine-tune"


def train(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.toml]", help="Describes the run; --init writes one.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the new run.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Instead of the file's: schedule.batch=4.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with the run in this folder.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="PLACE", help="Where the images of the run to go on with are now, if moved.")
    ] = None,
    init: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a commented configuration.")] = None,
    preset: Annotated[Presets | None, typer.Option(help="Of the configuration written; quick if not given.")] = None,
    base: Annotated[str | None, typer.Option(help="Model that the configuration written goes on from.")] = None,
) -> None:
    """Train a model: write a configuration, start a run with it, or go on with one.

    Ctrl-C ends the current step, writes a checkpoint and says how to go on; pressed again, it ends at once.
    """
    ways = [config, resume, init]
    if sum(way is not None for way in ways) != 1:
        raise typer.BadParameter("Give either a configuration, or --resume RUN, or --init FILE.")
    if config is None and (output or overrides):
        raise typer.BadParameter("--output and --set belong to a configuration.")
    if data is not None and resume is None:
        raise typer.BadParameter("--data belongs to --resume; in a configuration, set data.path.")
    if init is None and (preset or base):
        raise typer.BadParameter("--preset and --base belong to --init; in a configuration, set its keys.")
    if init is not None:
        from upgan.training.settings.template import write_template

        write_template(init, (preset or Presets.quick).value, base)
        echo(init)
        return
    if config is not None:
        if output is None:
            raise typer.BadParameter("Give the run's folder with --output.")
        from upgan.training.settings.config_file import read_config

        settings = read_config(config, overrides or ())
        _run(output, settings)
    elif resume is not None:
        _run(resume, None, data)


def evaluate(
    pairs: Annotated[Path, typer.Argument(help="manifest.json of a folder of pairs, or a .csv table of them.")],
    model: Annotated[str, typer.Option(help="An installed model's name, or a bundle's folder.")] = "pet-ct-phantom",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    first: Annotated[int, typer.Option(min=0, help="Subjects to leave out at the start of their sorted list.")] = 0,
    trust_guessed_places: Annotated[
        bool,
        typer.Option("--trust-guessed-places", help="Resample also images whose files say no place, or two."),
    ] = False,
) -> None:
    """Print error and coverage of each phase on pairs with a reference, as JSON."""
    from upgan.bundles.library import find_bundle
    from upgan.evaluation.report import evaluate as measure
    from upgan.inference.engine import InferenceEngine
    from upgan.pairs.config import DataConfig
    from upgan.pairs.finding import find_pairs
    from upgan.pairs.preparation import prepare_pair

    engine = InferenceEngine(find_bundle(model), device)
    section = engine.bundle.metadata.upgan
    data = DataConfig(
        path=pairs,
        layout="csv" if pairs.suffix.lower() == ".csv" else "manifest",
        plane=section.plane,
        trust_guessed_places=trust_guessed_places,
    )
    chosen = find_pairs(data)[first:]
    prepared = _told(prepare_pair(files, data, section.task) for files in chosen)
    with progress_bar(_messages, "evaluating") as progress:
        figures = measure(engine, prepared, len(chosen), progress.part(0.0, 1.0, "evaluating"))
    typer.echo(json.dumps(figures, indent=2))  # in which JSON escapes what is not ASCII


def _told(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Hand pairs on, and say what is to be said of each."""
    for pair in pairs:
        for note in pair.notes:
            warn(f"{pair.subject}: {note}")
        yield pair


def bundle_create(
    run: Annotated[Path, typer.Argument(help="Folder of a training.")],
    output: Annotated[Path, typer.Option(help="The bundle's folder.")],
    licence: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Text file with the model's licence.")],
    version: Annotated[str, typer.Option(help="Of the model.")] = "0.1.0",
    checkpoint: Annotated[str, typer.Option(help="best, last, phase_1, … or all_phases.")] = "best",
    name: Annotated[str | None, typer.Option(help="Of the model; the run's if not given.")] = None,
    remark: Annotated[str, typer.Option(help="For the card, beside what is measured.")] = "",
) -> None:
    """Make a bundle of a run; its card states what is measured on the run's held-out subjects."""
    from upgan.bundles.bundle import read_licence
    from upgan.training.model.export import export

    text = read_licence(licence)
    with progress_bar(_messages, "starting") as progress:
        bundle = export(run, output, text, version, checkpoint, name, progress, remark=remark)
    echo(bundle.folder)


def _run(folder: Path, config: Any, moved_to: Path | None = None) -> None:
    """Train in a folder, as configured or as it was begun, and say what comes next."""
    from upgan.training.run import trainer

    # Under torchrun and SLURM every process runs this; one speaks for all.
    console = _messages if _rank() == 0 else Console(quiet=True)
    with TrainingDisplay(console) as display, _signals() as signals:
        watch = _InterruptibleWatch(display, signals)
        is_paused = False
        try:
            if config is not None:
                trainer.train(config, folder, watch)
            else:
                trainer.resume(folder, watch, moved_to)
        except Cancelled:
            is_paused = True
    quoted = shlex.quote(str(folder))
    if is_paused:
        console.print(marked(f"Paused. Go on with: upgan train --resume {quoted}"), soft_wrap=True)
        raise typer.Exit(128 + (signals[0] if signals else signal.SIGINT))
    hint = f"Make a model of it with: upgan bundle create {quoted} --output MODEL --licence FILE"
    console.print(marked(hint), soft_wrap=True)
    if _rank() == 0:
        echo(folder)


class _InterruptibleWatch:
    """Shows a run and stops it in order once a signal has come."""

    def __init__(self, display: TrainingDisplay, signals: list[int]) -> None:
        self._display, self._signals = display, signals
        self.progress = Progress(self._hear)

    def _hear(self, what: str, fraction: float, remaining_s: float | None) -> None:
        self._display.hear(what, fraction, remaining_s)
        if self._signals:
            raise Cancelled

    def line(self, line: dict[str, Any]) -> None:
        self._display.line(line)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect Ctrl-C, SIGTERM and SIGHUP while the block runs; a second one ends the process at once."""
    received: list[int] = []
    first = 0.0

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if not received:
            first = now
        elif now - first > _SAME_PRESS_S:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        received.append(number)

    # What is ignored from the start, as nohup has it, stays ignored.
    numbers = [number for number in (signal.SIGINT, *ENDING_SIGNALS) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, take) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _rank() -> int:
    """Which of a group of processes this is, as torchrun and SLURM name them; 0 where it is alone."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")))
