"""A run's new folder, and the copies of the scene's volumes that belong to it as its other data do."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Within a run's folder.
PAIRS = "pairs"
# In the runs' home until a run takes them; a folder that was left by a crash is removed after a day.
PAIRS_DRAFT = ".pairs-"
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
            OutputError: ``no_home``, ``disk_full`` or ``not_writable``.
        """
        from upgan.files import explained, sweep_drafts
        from upgan.training.record.runs import runs_home

        home = runs_home()
        remedy = "Free some space, or set the environment variable UPGAN_RUNS to another folder of yours."
        with explained(f"The folder for pairs in {home}", remedy):
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            sweep_drafts(home, PAIRS_DRAFT)
            folder = Path(tempfile.mkdtemp(prefix=PAIRS_DRAFT, dir=home))
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
            OutputError: ``disk_full`` or ``not_writable``.
        """
        from upgan.files import explained

        path = Path(config.get("data", {}).get("path", ""))
        draft = self._drafts.holding(path)
        if draft is None:
            return config
        with explained(f"The pairs in {self.folder}", "Choose them again."):
            self._drafts.move(draft, self.folder / PAIRS)
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
