"""Runs targets in processes that are watched, and counts what must not be: crashes, exceptions, hangs, memory."""

from __future__ import annotations

import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from Fuzz.target import Target, lay_out

TESTING = Path(__file__).resolve().parents[1]
START_S = 60.0


@dataclass(frozen=True)
class Limits:
    """What one input may take.

    Attributes:
        hang_s: Seconds.
        memory: Bytes beyond what the process has before the first input.
    """

    hang_s: float = 20.0
    memory: int = 256 << 20


@dataclass
class Figures:
    """What became of the inputs of one target.

    Attributes:
        name: Of the target.
        inputs: How many were tried.
        read: How many of them were taken for whole.
        refused: How many were refused, by code.
        faults: How many crashed the process, raised something else, did not end, took too much memory.
        memory: The largest memory of one input beyond the start, bytes.
        children: The largest memory of a process that the target started, bytes.
        seconds: In all.
        slowest_s: The longest that one took.
        findings: One line for each of the first of each kind.
    """

    name: str
    inputs: int = 0
    read: int = 0
    refused: collections.Counter[str] = field(default_factory=collections.Counter)
    faults: collections.Counter[str] = field(default_factory=collections.Counter)
    memory: int = 0
    children: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    findings: list[str] = field(default_factory=list)


class _Child:
    """The process of one target."""

    def __init__(self, target: Target, seed: int, folder: Path) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(TESTING), str(TESTING.parent / "UncertaintyGuidedI2I"), os.environ.get("PYTHONPATH", "")]
            ),
            "TMPDIR": str(folder),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            # Nothing of what it reads may reach the models of this computer's user.
            "UPGAN_MODELS": str(folder / "models"),
        }
        self._errors = (folder / "stderr").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "Fuzz.child", target.name, str(seed), str(folder / "input")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=folder,
            env=environment,
        )
        self.was_killed = False
        first = self.line(START_S)
        if first is None:
            raise RuntimeError(f"'{target.name}' does not start: {(folder / 'stderr').read_text(errors='replace')}")
        self.seeds, self.memory = first["ready"], first["memory"]

    def ask(self, index: int, seconds: float) -> dict[str, Any] | None:
        """Return what became of an input; None where the process is gone."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(b"%d\n" % index)
            self.process.stdin.flush()
        except OSError:
            return None
        return self.line(seconds)

    def line(self, seconds: float) -> dict[str, Any] | None:
        assert self.process.stdout is not None
        watch = threading.Timer(seconds, self._kill)
        watch.start()
        try:
            said = self.process.stdout.readline()
        finally:
            watch.cancel()
        return json.loads(said) if said.endswith(b"\n") else None

    def end(self) -> int:
        """End it and return how it ended."""
        for stream in (self.process.stdin, self.process.stdout, self._errors):
            try:
                assert stream is not None
                stream.close()
            except OSError:
                pass
        try:
            return self.process.wait(2)
        except subprocess.TimeoutExpired:
            self._kill()
            return self.process.wait()

    def _kill(self) -> None:
        self.was_killed = True
        self.process.kill()


def run_target(
    target: Target,
    seed: int,
    *,
    seconds: float = float("inf"),
    inputs: float = float("inf"),
    first: int = 0,
    limits: Limits = Limits(),
    findings: Path | None = None,
) -> Figures:
    """Try inputs of one target until the time is over, or so many have been tried.

    Args:
        target: What is fuzzed.
        seed: Of the campaign: the same gives the same inputs.
        seconds: For this target.
        inputs: At most so many.
        first: The number of the first input.
        limits: Of one input.
        findings: Where the files of inputs that are findings are kept.
    """
    figures, began = Figures(target.name), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    child: _Child | None = None
    index = first
    try:
        while index < first + inputs and time.monotonic() - began < seconds:
            child = child or _Child(target, seed, folder)
            start = time.monotonic()
            answer = child.ask(index, limits.hang_s)
            took = time.monotonic() - start
            if answer is None:
                was_killed, code = child.was_killed, child.end()
                child = None
                kind = "hang" if was_killed else "crash"
                why = f"no answer in {limits.hang_s:g} s" if was_killed else f"the process ended with {code}"
                answer = {
                    "outcome": kind,
                    "why": why,
                    "details": (folder / "stderr").read_text(errors="replace")[-4000:],
                }
            else:
                figures.slowest_s = max(figures.slowest_s, took)
                grown = answer["memory"] - child.memory
                figures.memory = max(figures.memory, grown)
                figures.children = max(figures.children, answer["children"])
                if answer["outcome"] in ("read", "refused") and grown > limits.memory:
                    answer = {"outcome": "memory", "why": f"{grown >> 20} MB"}
            _count(figures, target, seed, index, answer, findings)
            index += 1
    finally:
        if child is not None:
            child.end()
        shutil.rmtree(folder, ignore_errors=True)
    figures.seconds = time.monotonic() - began
    return figures


def _count(
    figures: Figures, target: Target, seed: int, index: int, answer: dict[str, Any], findings: Path | None
) -> None:
    figures.inputs += 1
    outcome, why = answer["outcome"], answer["why"]
    if outcome == "read":
        figures.read += 1
        return
    if outcome == "refused":
        figures.refused[why] += 1
        return
    figures.faults[outcome] += 1
    said = f"{outcome}: {why} (--only '{target.name}' --seed {seed} --input {index})"
    if len(figures.findings) < 20:
        figures.findings.append(said)
        if findings is not None:
            place = findings / f"{''.join(c if c.isalnum() else '-' for c in target.name)}-{seed}-{index}"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            lay_out(target.input(target.seeds(), seed, index), place)
            (place.with_name(place.name + ".txt")).write_text(f"{said}\n{answer.get('details', '')}", encoding="utf-8")


def table(rows: list[Figures]) -> str:
    """Return figures as a table of Markdown."""
    heads = ("target", "inputs", "read", "refused", "crashes", "other exceptions", "hangs", "too much memory")
    heads += ("largest memory", "of a reader process", "slowest")
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for row in rows:
        faults = [str(row.faults[kind]) for kind in ("crash", "exception", "hang", "memory")]
        counts = [row.name, f"{row.inputs}", f"{row.read}", f"{sum(row.refused.values())}", *faults]
        children = f"{row.children >> 20} MB" if row.children else "–"
        lines.append(f"| {' | '.join(counts)} | {row.memory >> 20} MB | {children} | {row.slowest_s:.1f} s |")
    sums = [sum(row.inputs for row in rows), sum(row.read for row in rows)]
    sums += [sum(sum(row.refused.values()) for row in rows)]
    sums += [sum(row.faults[kind] for row in rows) for kind in ("crash", "exception", "hang", "memory")]
    largest = max((row.memory for row in rows), default=0) >> 20
    children = max((row.children for row in rows), default=0) >> 20
    slowest = max((row.slowest_s for row in rows), default=0.0)
    lines.append(f"| all | {' | '.join(map(str, sums))} | {largest} MB | {children} MB | {slowest:.1f} s |")
    return "\n".join(lines) + "\n"
