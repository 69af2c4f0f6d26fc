"""Asks where the images of a training are that are not where they were when it began."""

from __future__ import annotations

import json
from pathlib import Path

import qt
from slicer.i18n import tr as _


def isAboutMovedImages(error: Exception | None) -> bool:
    """Whether an error can be answered with the place where a training's images are now."""
    from upgan.errors import UpganError

    return isinstance(error, UpganError) and error.code == "images_not_found"


def askForImages(run: Path) -> Path | None:
    """Let the user choose what the run's images are read from now: the table that lists them, or their folder.

    Args:
        run: The run's folder, whose configuration says which of the two it is.

    Returns:
        The file or folder, or None where the user chose nothing.
    """
    pattern = _listedBy(run)
    if pattern:
        caption = _("The images of this training were moved: choose the file that lists them where they are now")
        filters = _("Lists of images ({files});;All files (*)").format(files=pattern)
        chosen = qt.QFileDialog.getOpenFileName(None, caption, "", filters)
    else:
        caption = _("The images of this training were moved: choose the folder that holds them now")
        chosen = qt.QFileDialog.getExistingDirectory(None, caption, "")
    return Path(chosen) if chosen else None


def _listedBy(run: Path) -> str:
    """Return which files list a run's images, e.g. "*.csv"; empty where a folder holds them."""
    try:
        data = json.loads((run / "config.json").read_text(encoding="utf-8"))["data"]
        layout, path = data.get("layout"), Path(data.get("path", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Anything may happen to files; the engine says what is wrong with them.
        return ""
    if layout == "csv":
        return "*.csv"
    return "*.json" if layout == "manifest" and path.suffix.lower() == ".json" else ""
