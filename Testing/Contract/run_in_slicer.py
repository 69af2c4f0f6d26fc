"""States the claims of this folder inside a real Slicer.

``Slicer --no-splash --python-script Testing/Contract/run_in_slicer.py`` prints a line for each claim, with the
traceback where it does not hold, and ends Slicer with 0 if all hold, else with 1. Neither pytest nor the extension need
be installed. The scene is closed: start a Slicer of its own.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
if str(FOLDER.parent) not in sys.path:
    sys.path.insert(0, str(FOLDER.parent))

from Contract.slicer_host import SlicerHost  # noqa: E402 - Slicer's Python does not know the folder before


def claims(folder: Path = FOLDER) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield each claim's name (file::function) and what states it: in a clean application, raising if it fails."""
    for path in sorted(folder.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"contract_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, claim in vars(module).items():
            if name.startswith("test_"):
                yield f"{path.stem}::{name}", partial(_state, claim)


def _state(claim: Callable[[SlicerHost], None]) -> None:
    with SlicerHost() as host:
        claim(host)


def run(folder: Path = FOLDER, say: Callable[[str], None] = print) -> int:
    """State all claims, say of each whether it holds, and return how many do not."""
    failed = 0
    for name, state in claims(folder):
        try:
            state()
        except Exception:  # noqa: BLE001 - whatever a claim raises, the others are stated
            failed += 1
            say(f"FAILS {name}\n{traceback.format_exc()}")
        else:
            say(f"holds {name}")
    return failed


def main(folder: Path = FOLDER) -> None:
    """State all claims and end Slicer."""
    import slicer

    status = 1
    try:
        status = int(run(folder) > 0)
    finally:
        slicer.util.exit(status)


if __name__ == "__main__":
    main()
