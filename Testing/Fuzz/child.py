"""The process in which a target runs: it may crash, hang or take memory, and ``campaign`` sees that it does.

It is given the target's name, the campaign's seed and a folder. For each number on stdin it makes the input of that
number, runs the target on it, and answers with one line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import sys
import traceback
from pathlib import Path

# So that what is fuzzed takes the memory of the computer in no case; beyond what the libraries need.
ADDRESS_SPACE = 8 << 30


def main() -> None:
    """Answer until nobody asks any more."""
    name, seed, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from Fuzz.targets import find
    from upgan.errors import UpganError

    target = find(name)
    seeds = target.seeds()
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(json.dumps({"ready": len(seeds), "memory": _reset_peak()}), file=answers, flush=True)
    from Fuzz.target import lay_out

    for line in sys.stdin:
        files = target.input(seeds, seed, int(line))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        lay_out(files, folder)
        del files
        before = sorted(os.listdir(folder))
        _reset_peak()
        answer = {"outcome": "read", "why": ""}
        try:
            target.run(folder)
        except UpganError as refusal:
            answer = {"outcome": "refused", "why": refusal.code}
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            answer = {"outcome": "exception", "why": f"{type(error).__name__}: {str(error)[:200]}"}
            answer["details"] = traceback.format_exc()[-4000:]
        if not target.writes and sorted(os.listdir(folder)) != before:
            answer = {"outcome": "exception", "why": "it left something beside its input"}
        answer |= {"memory": _peak(), "children": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10}
        print(json.dumps(answer), file=answers, flush=True)


def _peak() -> int:
    """Return the largest memory in bytes since ``_reset_peak``."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))


def _reset_peak() -> int:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak()


if __name__ == "__main__":
    main()
