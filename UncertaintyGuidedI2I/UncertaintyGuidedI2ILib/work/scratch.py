"""The viewer's private folder for images on their way, and the folders of single pieces of work in it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import slicer

if TYPE_CHECKING:
    from upgan.errors import OutputError
    from upgan.scratch import Scratch


class PrivateFolder:
    """A folder of this process, readable by this user only, in the application's temporary folder.

    It is made when first needed, and anew where somebody has removed it. However the application ends, nothing of it
    stays behind: see ``upgan.scratch``.
    """

    def __init__(self) -> None:
        self._scratch: Scratch | None = None
        self._used: set[Path] = set()
        self._made = 0

    @property
    def isUsed(self) -> bool:
        """Whether a folder in this one is in use."""
        return bool(self._used)

    def path(self) -> Path:
        """Return the folder, which is there.

        Raises:
            OutputError: ``temp_not_writable``.
        """
        from upgan.scratch import Scratch

        if self._scratch is None or not self._scratch.folder.is_dir():
            self._removeAll()
            temporary = Path(slicer.app.temporaryPath)
            try:
                self._scratch = Scratch(temporary)
            except OSError as error:
                raise _notWritable(temporary, error) from error
        return self._scratch.folder

    def newFolder(self, name: str) -> Path:
        """Make a folder in this one, which is in use until ``removeFolder`` or ``remove``.

        Args:
            name: What the new folder's name begins with.

        Raises:
            OutputError: ``temp_not_writable``.
        """
        parent = self.path()
        self._made += 1
        folder = parent / f"{name}-{self._made}"
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise _notWritable(parent, error) from error
        self._used.add(folder)
        return folder

    def removeFolder(self, folder: Path) -> None:
        """Remove a folder of ``newFolder``; nothing where it is gone already."""
        shutil.rmtree(folder, ignore_errors=True)
        self._used.discard(folder)

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        self._used.clear()
        self._removeAll()

    def _removeAll(self) -> None:
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None


def _notWritable(folder: Path, error: OSError) -> OutputError:
    from upgan.errors import OutputError

    return OutputError(
        "temp_not_writable",
        f"The temporary folder {folder} cannot be written: {error.strerror}.",
        "Free some space there, change its permissions, or choose another one in the application's settings.",
    )
