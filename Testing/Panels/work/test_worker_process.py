"""The lines that a worker's process writes, whatever pieces they come in, and whom its end may touch."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install '.[slicer]'")

MODULE = Path(__file__).parents[3] / "UncertaintyGuidedI2I"


class MadeUpQProcess:
    """Qt's process without a process: it says what it is told to."""

    def __init__(self) -> None:
        self.said = b""

    def readAllStandardOutput(self) -> Any:  # noqa: N802 - Qt's name
        said, self.said = self.said, b""
        return SimpleNamespace(data=lambda: said)

    readAllStandardError = readAllStandardOutput  # noqa: N815


@pytest.fixture
def heard():
    """What is heard of the process."""
    return SimpleNamespace(lines=[], garbage=[], log=[], ends=[])


@pytest.fixture
def process(host, heard):
    host.expose_library(MODULE, "UncertaintyGuidedI2I")
    from UncertaintyGuidedI2ILib.work.process import WorkerProcess

    process = WorkerProcess(None, 0.0, heard.lines.append, heard.garbage.append, heard.log.append, heard.ends.append)
    process._process = MadeUpQProcess()
    return process


def say(process, *pieces):
    for piece in pieces:
        process._process.said = piece
        process._onOutput()


def test_lines_are_put_together_and_empty_ones_are_nobodys(process, heard):
    say(process, b"on", b"e\n\n \r\ntwo\nth", b"", b"ree", b"\n")
    assert heard.lines == [b"one", b"two", b"three"]
    assert heard.garbage == []


def test_of_a_line_without_end_the_beginning_is_told_and_no_more_is_kept_than_the_longest_event_has(process, heard):
    from UncertaintyGuidedI2ILib.work.process import LONGEST_LINE

    piece = b"x" * (1 << 20)
    for _ in range(40):
        say(process, piece)
        assert len(process._partial) <= LONGEST_LINE + len(piece)
    assert [len(line) for line in heard.garbage] == [500, 500]
    assert heard.lines == []


def test_what_a_process_says_after_its_end_is_nobodys(process, heard):
    process._onLine = lambda line: process._lose("It was ended by what it said.")
    say(process, b"one\ntwo\n")
    assert heard.ends == ["It was ended by what it said."]
    assert not process.isRunning


@pytest.mark.parametrize("said", [-1, 0, 1, True, 2.0, "2", None, "its own", 1 << 40, [2]])
def test_the_pid_that_a_worker_says_is_never_a_group_or_the_viewer(process, said):
    process.beKnownAs(4242)
    assert process.pid == 4242
    process.beKnownAs(os.getpid() if said == "its own" else said)
    assert process.pid == 0
