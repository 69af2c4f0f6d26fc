"""Feeds damaged files to everything that reads what comes from outside, and counts what must not happen.

    python Testing/Fuzz/fuzz.py --seconds 900 --seed 1
    python Testing/Fuzz/fuzz.py --only "reader/NRRD" --seed 1 --input 4711    one input again

Each target runs in a process of its own. The same seed gives the same inputs, whatever happens to be how many. What is
not read or refused is kept, with its files, in the folder of findings; the exit code is then 1. Linux only.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from Fuzz.campaign import Figures, Limits, run_target, table
from Fuzz.targets import find, targets


def main() -> int:
    """Run what the command line asks for; 0 where nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=900, help="in all, shared alike by the targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="targets whose name contains this")
    parser.add_argument("--input", type=int, help="only the input of this number")
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--hang", type=float, default=Limits.hang_s, help="seconds after which an input counts as hung")
    parser.add_argument("--memory", type=int, default=Limits.memory >> 20, help="MB that an input may take")
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz"))
    arguments = parser.parse_args()
    chosen = targets(arguments.only) or [find(arguments.only)]
    limits = Limits(arguments.hang, arguments.memory << 20)
    rows: list[Figures] = []
    for target in chosen:
        rows.append(
            run_target(
                target,
                arguments.seed,
                seconds=arguments.seconds / len(chosen),
                inputs=float("inf") if arguments.input is None else 1,
                first=arguments.first if arguments.input is None else arguments.input,
                limits=limits,
                findings=arguments.findings,
            )
        )
        row = rows[-1]
        print(f"{row.name}: {row.inputs} inputs in {row.seconds:.0f} s; {row.read} read; {dict(row.refused)}")
        for line in row.findings:
            print(f"  {line}")
        sys.stdout.flush()
    arguments.findings.mkdir(parents=True, exist_ok=True)
    (arguments.findings / "table.md").write_text(table(rows), encoding="utf-8")
    print(f"\n{table(rows)}")
    return int(any(row.faults for row in rows))


if __name__ == "__main__":
    sys.exit(main())
