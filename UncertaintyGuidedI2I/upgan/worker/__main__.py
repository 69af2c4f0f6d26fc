"""``python -m upgan.worker``: without the command line's packages, which a viewer's Python need not have."""

from __future__ import annotations

import argparse
from pathlib import Path

from upgan.worker.protocol import GRACE_S
from upgan.worker.server import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="upgan worker", description=__doc__)
    parser.add_argument("--scratch", type=Path, required=True, help="removed at the end")
    parser.add_argument("--grace", type=float, default=GRACE_S, help="seconds that work gets to end in")
    arguments = parser.parse_args()
    main(arguments.scratch, arguments.grace)
