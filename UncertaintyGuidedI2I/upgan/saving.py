"""Results on disk: all of them under their final names, or none."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from upgan.errors import OutputError
from upgan.translation import Translation
from upgan.volume import Volume, write_volume
from upgan.writing import FULL


class OutputFolder:
    """Collects files in a private folder beside their destination and moves them there at the end.

    Entering it already shows whether the destination can be written, before any time is spent on the network.

    Args:
        folder: Destination; made if absent, and removed again if the work fails.

    Raises:
        OutputError: ``not_writable`` or ``disk_full``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: list[Path] = []
        self._draft = folder

    def __enter__(self) -> Self:
        try:
            missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
            for path in reversed(missing):
                path.mkdir()
                self._made.insert(0, path)
            self._draft = Path(tempfile.mkdtemp(prefix=".upgan-", dir=self.folder))
        except OSError as error:
            self._remove_made()
            raise _explained(error, str(self.folder)) from error
        return self

    def path(self, name: str) -> Path:
        """Where to write a file so that it appears in the destination at the end."""
        return self._draft / name

    def add_volume(self, name: str, volume: Volume) -> None:
        """Write a volume under a file name; the suffix chooses the format."""
        write_volume(volume, self.path(name))

    def add_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file.

        Raises:
            OutputError: ``disk_full`` or ``not_writable``.
        """
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"
        try:
            # A file name's undecodable bytes are lone surrogates in Python; this writes them as JSON's escapes.
            self.path(name).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise _explained(error, name) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        complete = False
        try:
            if kind is None:
                self._move()
                complete = True
        finally:
            shutil.rmtree(self._draft, ignore_errors=True)
            if not complete:
                self._remove_made()

    def _move(self) -> None:
        names = sorted(path.name for path in self._draft.iterdir())
        for name in names:  # Before the first is moved, so that results of two runs are not mixed.
            if (self.folder / name).is_dir():
                raise OutputError(
                    "not_writable", f"{self.folder / name} is a folder.", "Remove it or choose another output folder."
                )
        for name in names:
            try:
                self.path(name).replace(self.folder / name)
            except OSError as error:
                raise _explained(error, name) from error

    def _remove_made(self) -> None:
        for path in self._made:
            if not any(path.iterdir()):
                path.rmdir()


def _explained(error: OSError, name: str) -> OutputError:
    if error.errno in FULL:
        return OutputError(
            "disk_full", f"The disk is full: '{name}' was not written.", "Free some space or choose another disk."
        )
    return OutputError(
        "not_writable",
        f"'{name}' cannot be written: {error.strerror}.",
        "Choose another folder or change its permissions.",
    )


def save_translation(translation: Translation, folder: OutputFolder, suffix: str) -> list[str]:
    """Write every map of a translation and its provenance, which names them; return the file names.

    Args:
        translation: What the engine made.
        folder: An entered output folder.
        suffix: ``nrrd`` or ``nii.gz``.
    """
    names = []
    for output in translation.outputs():
        names.append(f"{output.name}.{suffix}")
        folder.add_volume(names[-1], translation.volume(output))
    folder.add_json("provenance.json", {**translation.provenance, "files": names})
    return [*names, "provenance.json"]
