"""The progress bar, which draws the window at once when its value is set, and what that costs."""

# Qt's own names.
# ruff: noqa: N802

from __future__ import annotations

import time
from typing import Any, ClassVar

from PySide6.QtWidgets import QProgressBar

from Host.pythonqt import cpp_class


@cpp_class
class ProgressBar(QProgressBar):
    """Qt's, which says how often it was drawn.

    Attributes:
        draw_s: What one drawing costs beside; with software OpenGL 0.05 to 0.07 s, for all views are drawn with it.
        draws: Of all progress bars, since the host was reset.
    """

    draw_s: ClassVar[float] = 0.0
    draws: ClassVar[int] = 0

    def paintEvent(self, event: Any) -> None:
        ProgressBar.draws += 1
        time.sleep(ProgressBar.draw_s)
        super().paintEvent(event)
