# ruff: noqa: N999 - the room has the name of its folder
"""Opens the extension's module in a window: ``python -m Host [path/to/Module.py]``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from Host.host import start

EXTENSION = Path(__file__).parents[2] / "UncertaintyGuidedI2I" / "UncertaintyGuidedI2I.py"


def main(module: Path) -> int:
    """Open a module's panel beside slice views until the window is closed; return Qt's exit code."""
    host = start(offscreen=os.environ.get("QT_QPA_PLATFORM") == "offscreen")
    from Host.menus import add_menus
    from Host.overlay import Overlay

    Overlay.draws_legends = True
    add_menus(host.main_window)
    host.open_module(module)
    code = host.qt_application.exec()
    host.quit()
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else EXTENSION))
