"""Whether a process is gone, and made-up workers that misbehave."""

import os
import sys
import time
from pathlib import Path
from typing import Any

READY = '{"event": "ready", "protocol": 1, "engine_version": "0", "pid": %d}'


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def children_of(pid: int) -> set[int]:
    """Return all processes that descend from one."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and is_alive(int(entry.name)):
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found: set[int] = {pid}
    before: set[int] = set()
    while found != before:
        before = found
        found = found | {child for child, parent in parents.items() if parent in found}
    return found - {pid, os.getpid()}


def pause(host: Any, seconds: float) -> None:
    """Let the application go on for a while."""
    end = time.monotonic() + seconds
    host.wait_until(lambda: time.monotonic() > end, seconds + 5)


def made_up_worker(folder: Path, body: str, before: str = "", pid: str = "os.getpid()") -> list[str]:
    """Write a worker that does what ``before`` says, is ready and then does what ``body`` says; return its command."""
    script = folder / "made up worker.py"
    lines = ["import json, os, signal, subprocess, sys, time", "def say(text):", "    os.write(1, text)"]
    lines += [before, f"say(({READY!r} % {pid}).encode() + b'\\n')", body]
    script.write_text("\n".join(lines), encoding="utf-8")
    return [sys.executable, str(script)]
