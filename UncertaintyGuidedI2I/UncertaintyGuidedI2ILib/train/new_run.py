"""A run's new folder, and the copies of the scene's volumes that belong to it as its other data do."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Within a run's folder.
PAIRS = "pairs"
# In the runs' home until a run takes them; a folder that was left by a crash is removed after a day.
PAIRS_DRAFT = ".pairs-"
ABANDONED_AFTER_S = 24 * 3600
# Without the one, there is no run to go on with; without the other, what a refused one has reached is nothing.
CONFIG = "config.json"
DATA = "data.json"


class PairDrafts:
    """Folders for the scene's volumes that no run has taken yet."""

    def __init__(self) -> None:
        self._folders: list[Path] = []

    def newFolder(self) -> Path:
        """Return a private folder in the runs' home, so that a run can take it without copying.

        Raises:
            OutputError: ``no_home`` or ``not_writable``.
        """
        from upgan.errors import OutputError
        from upgan.training.record.runs import runs_home

        home = runs_home()
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(home)
            folder = Path(tempfile.mkdtemp(prefix=PAIRS_DRAFT, dir=home))
        except OSError as error:
            raise OutputError(
                "not_writable",
                f"No pairs can be kept in {home}: {error.strerror}.",
                "Set the environment variable UPGAN_RUNS to a folder of yours.",
            ) from error
        self._folders.append(folder)
        return folder

    def holding(self, path: Path) -> Path | None:
        """Return the folder that a path lies in, if any does."""
        return next((folder for folder in self._folders if path.is_relative_to(folder)), None)

    def move(self, source: Path, target: Path) -> None:
        """Rename a folder that is one of these, or becomes one: however large the volumes, this takes no time.

        Raises:
            OSError: The folder could not be renamed and is where it was.
        """
        os.rename(source, target)
        if source in self._folders:
            self._folders.remove(source)
        else:
            self._folders.append(target)

    def remove(self) -> None:
        """Remove all that no run has taken."""
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
        self._folders.clear()


class NewRun:
    """A run until it has reached something: before that, it is taken back where it is refused.

    Args:
        name: The name of the model that is to come out.
        drafts: The folders that the run's pairs may come from.

    Attributes:
        folder: The run's own folder.

    Raises:
        UpganError: What ``upgan.training.record.runs.new_run_folder`` raises.
    """

    def __init__(self, name: str, drafts: PairDrafts) -> None:
        from upgan.training.record.runs import new_run_folder

        self.folder = new_run_folder(name)
        self._drafts = drafts
        self._draft: Path | None = None

    def withPairs(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take the scene's volumes, where a configuration's data are such, and return it with their new place.

        Raises:
            OutputError: ``not_writable``.
        """
        from upgan.errors import OutputError

        path = Path(config.get("data", {}).get("path", ""))
        draft = self._drafts.holding(path)
        if draft is None:
            return config
        try:
            self._drafts.move(draft, self.folder / PAIRS)
        except OSError as error:
            raise OutputError(
                "not_writable", f"The pairs cannot be moved to {self.folder}: {error.strerror}.", "Choose them again."
            ) from error
        self._draft = draft
        place = self.folder / PAIRS / path.relative_to(draft)
        return {**config, "data": {**config["data"], "path": str(place)}}

    def hasReached(self, isRefused: bool) -> bool:
        """Return whether there is anything to keep.

        Args:
            isRefused: Whether the engine refused to go on, rather than being ended.
        """
        return (self.folder / (DATA if isRefused else CONFIG)).exists()

    def takeBack(self) -> None:
        """Remove the run; its pairs go back to where they were."""
        if self._draft is not None:
            # Where they cannot go back they go with the run: the scene still has the volumes.
            with contextlib.suppress(OSError):
                self._drafts.move(self.folder / PAIRS, self._draft)
        shutil.rmtree(self.folder, ignore_errors=True)


def _sweep(home: Path) -> None:
    """Remove copies of volumes that a crashed application has left, but none that another may be using now."""
    for draft in home.glob(f"{PAIRS_DRAFT}*"):
        # Another application may be sweeping, too.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime > ABANDONED_AFTER_S:
                shutil.rmtree(draft, ignore_errors=True)
