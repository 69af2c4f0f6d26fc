"""Results on disk: all files of one run under their final names, or none; and whoever reads them can tell.

``provenance.json`` names the files of a result with their SHA-256. It is the last to arrive and the first to go, so
that a folder whose ``provenance.json`` fits its files holds the result of one run, whatever has happened to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from upgan import scratch
from upgan.errors import InputError, OutputError
from upgan.files import explained, refusal, to_the_disk
from upgan.images.volume import Volume
from upgan.images.writing import SUFFIXES, write_volume
from upgan.inference.memory import refuse_full_disk
from upgan.inference.translation import Translation
from upgan.scratch import Scratch

PROVENANCE = "provenance.json"

# Of that file. It goes up where a reader of before would take what is written for something else.
_FORMAT = 1

# Of a draft: a private folder with what is new, and with what was there while that takes its place.
_PREFIX = ".upgan-"
_NEW, _OLD = "new", "old"
_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600
# More than any provenance has.
_LONGEST_PROVENANCE = 4 << 20


class OutputFolder:
    """Collects files in a private folder below their destination and has them appear there at the end, all or none.

    A result that is there is replaced whole: its files, those that the new one does not have among them, are set
    aside, and come back if anything fails. Other files stay as they are. What a run that was killed has left is put
    in order first: its private folder goes, and an earlier result that it was about to replace comes back.

    Entering it already shows whether the destination can be written, before any time is spent on the network. Files
    are readable by this user only, and so are folders that are made here.

    Args:
        folder: Destination; made if absent, and removed again if the work fails.
        needed: Bytes that will be written at most; where the disk has less, it is refused.

    Raises:
        OutputError: ``not_writable`` or ``disk_full``.

    Example:
        >>> from pathlib import Path
        >>> from upgan import OutputFolder, read_result, read_volume
        >>> with OutputFolder(Path("own")) as folder:
        ...     folder.add_volume("pet.nrrd", read_volume("pet.nii.gz"))
        ...     folder.add_json("provenance.json", {"made by": "a script of mine"})
        >>> list(read_result(Path("own")))
        ['pet.nrrd']
    """

    def __init__(self, folder: Path, needed: int = 0) -> None:
        self.folder = folder
        self._needed = needed
        self._made: list[Path] = []
        self._scratch: Scratch | None = None

    def __enter__(self) -> Self:
        try:
            self._begin()
        except OSError as error:
            self._clean_up()
            raise refusal(error, f"'{self.folder.name}'") from error
        except BaseException:
            self._clean_up()
            raise
        return self

    def _begin(self) -> None:
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(_PRIVATE_FOLDER)
            self._made.insert(0, path)
        if not missing:
            with _alone(self.folder):
                scratch.sweep(self.folder, _PREFIX, lambda draft: _undo(self.folder, draft))
        self._scratch = Scratch(self.folder, _PREFIX)
        for name in (_NEW, _OLD):
            (self._draft / name).mkdir(_PRIVATE_FOLDER)
        refuse_full_disk(self._draft, self._needed)

    @property
    def _draft(self) -> Path:
        assert self._scratch is not None, "the folder is not entered"
        return self._scratch.folder

    def path(self, name: str) -> Path:
        """Where to write a file so that it appears in the destination at the end."""
        return self._draft / _NEW / name

    def add_volume(self, name: str, volume: Volume) -> None:
        """Write a volume under a file name; the suffix chooses the format."""
        write_volume(volume, self.path(name))

    def add_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file; ``provenance.json`` gets the other files' hashes at the end.

        Raises:
            OutputError: ``disk_full`` or ``not_writable``.
        """
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"
        with explained(f"'{name}'"):
            # A file name's undecodable bytes are lone surrogates in Python; this writes them as JSON's escapes.
            self.path(name).write_text(text, encoding="utf-8", errors="backslashreplace")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        complete = False
        try:
            if kind is None:
                try:
                    self._appear()
                except OSError as failure:
                    name = Path(failure.filename).name if isinstance(failure.filename, str) else self.folder.name
                    raise refusal(failure, f"'{name}'") from failure
                complete = True
        finally:
            if complete:
                self._made.clear()
            self._clean_up()

    def _appear(self) -> None:
        self._seal()
        with _alone(self.folder):
            try:
                self._replace()
            except BaseException:
                try:
                    _undo(self.folder, self._draft)
                except BaseException:
                    # What was there is in the draft: the next run into this folder tries again.
                    assert self._scratch is not None
                    self._scratch.release()
                    self._scratch = None
                    raise
                raise

    def _seal(self) -> None:
        """Note every file's hash in the provenance, and have all of it on the disk, for this user only."""
        names = sorted(path.name for path in (self._draft / _NEW).iterdir() if path.name != PROVENANCE)
        for name in names:
            os.chmod(self.path(name), _PRIVATE_FILE)
            _sync(self.path(name))
        provenance = _provenance_in(self._draft / _NEW) or {}
        hashes = {name: _sha256(self.path(name)) for name in names}
        self.add_json(PROVENANCE, {"format": _FORMAT, **provenance, "sha256": hashes})
        os.chmod(self.path(PROVENANCE), _PRIVATE_FILE)
        _sync(self.path(PROVENANCE))

    def _replace(self) -> None:
        """Put what is new in the place of what was there; ``_undo`` does the opposite at any moment."""
        new = sorted(path.name for path in (self._draft / _NEW).iterdir() if path.name != PROVENANCE)
        for name in (*new, PROVENANCE):
            if (self.folder / name).is_dir():
                raise OutputError(
                    "not_writable",
                    f"'{name}' in '{self.folder.name}' is a folder.",
                    "Remove it or choose another output folder.",
                )
        there = {name for name in new if os.path.lexists(self.folder / name)}
        old = sorted(there | set(_files_of_earlier_run(self.folder, new)))
        if os.path.lexists(self.folder / PROVENANCE):
            os.replace(self.folder / PROVENANCE, self._draft / _OLD / PROVENANCE)
            # From here to the end nobody takes what is there for a result, not even after a power cut.
            _sync(self._draft / _OLD)
            _sync(self.folder)
        for name in old:
            os.replace(self.folder / name, self._draft / _OLD / name)
        for name in new:
            os.replace(self.path(name), self.folder / name)
        _sync(self.folder)
        os.replace(self.path(PROVENANCE), self.folder / PROVENANCE)
        _sync(self.folder)

    def _clean_up(self) -> None:
        if self._scratch is not None:
            self._scratch.remove()
        for path in self._made:
            with contextlib.suppress(OSError):  # Somebody may use it by now.
                path.rmdir()


def read_result(folder: Path) -> dict[str, Path]:
    """Return the files of a result, once it is certain that all of them are there and of one run.

    Args:
        folder: Where ``upgan translate`` has written.

    Returns:
        Paths by name, ``provenance.json`` not among them.

    Raises:
        InputError: ``no_result`` where there is none, or one of an earlier version, which has no hashes;
            ``mixed_result`` where a file is missing or is not the one that the run has written.

    Example:
        >>> from pathlib import Path
        >>> from upgan import read_result, read_volume
        >>> files = read_result(Path("result"))
        >>> sorted(files)
        ['alpha.nrrd', 'beta.nrrd', 'pseudo_ct.nrrd', 'sigma.nrrd']
        >>> sigma = read_volume(files["sigma.nrrd"])  # HU
    """
    provenance = _provenance_in(folder)
    hashes = _hashes(provenance)
    if hashes is None:
        raise InputError(
            "no_result",
            f"The folder '{folder.name}' holds no complete result.",
            f"Choose a folder with a {PROVENANCE}, or translate the image again.",
        )
    for name, expected in hashes.items():
        try:
            is_whole = _is_file(folder / name) and _sha256(folder / name) == expected
        except OSError:
            is_whole = False
        if not is_whole:
            raise InputError(
                "mixed_result",
                f"'{name}' in the folder '{folder.name}' is missing, damaged, or of another run than the rest.",
                "Do not use these files together; translate the image again.",
            )
    return {name: folder / name for name in hashes}


def save_translation(translation: Translation, folder: OutputFolder, suffix: str) -> list[str]:
    """Write every map of a translation and its provenance, which names them; return the file names.

    Args:
        translation: What the engine made.
        folder: An entered output folder.
        suffix: ``nrrd`` or ``nii.gz``.

    Example:
        >>> from pathlib import Path
        >>> from upgan import InferenceEngine, OutputFolder, find_bundle, read_volume, save_translation
        >>> engine = InferenceEngine(find_bundle("pet-ct-phantom"), device="cpu")
        >>> with OutputFolder(Path("result")) as folder:
        ...     save_translation(engine.translate(read_volume("pet.nii.gz")), folder, "nrrd")
        ['pseudo_ct.nrrd', 'alpha.nrrd', 'beta.nrrd', 'sigma.nrrd', 'provenance.json']
    """
    names = []
    for output in translation.outputs():
        names.append(f"{output.name}.{suffix}")
        folder.add_volume(names[-1], translation.volume(output))
    folder.add_json(PROVENANCE, {**translation.provenance, "files": names})
    return [*names, PROVENANCE]


def _undo(folder: Path, draft: Path) -> None:
    """Put a folder back into the state before a draft began to take its place; nothing where that is over or not begun.

    Raises:
        OSError: Something cannot be moved back; what is set aside stays.
    """
    # As long as the old one is there nothing was touched; once the new one is there everything is.
    if os.path.lexists(folder / PROVENANCE) or not (draft / _OLD).is_dir():
        return
    for name, expected in (_hashes(_provenance_in(draft / _NEW)) or {}).items():
        place = folder / name
        if not os.path.lexists(draft / _NEW / name) and _is_file(place) and _sha256(place) == expected:
            os.replace(place, draft / _NEW / name)
    old = sorted(path.name for path in (draft / _OLD).iterdir())
    for name in sorted(old, key=lambda name: name == PROVENANCE):
        if not os.path.lexists(folder / name):  # Somebody may have put another file there since.
            os.replace(draft / _OLD / name, folder / name)
    _sync(folder)


def _files_of_earlier_run(folder: Path, new: list[str]) -> list[str]:
    """Return the names of an earlier result's files that no new one replaces, as far as they are still as it left them.

    Earlier versions noted no hashes: there a name and a suffix of ours must do.
    """
    provenance = _provenance_in(folder)
    if provenance is None or provenance.get("engine") != "upgan":
        return []
    hashes = _hashes(provenance)
    if hashes is not None:
        others = {name: expected for name, expected in hashes.items() if name not in new}
        return [
            name for name, expected in others.items() if _is_file(folder / name) and _sha256(folder / name) == expected
        ]
    named = provenance.get("files")
    names = [name for name in named if _is_name(name)] if isinstance(named, list) else []
    return [name for name in names if name.endswith(SUFFIXES) and name not in new and _is_file(folder / name)]


def _provenance_in(folder: Path) -> dict[str, Any] | None:
    """Return what a folder's provenance says, or None where there is none that can be read; it may be anybody's."""
    path = folder / PROVENANCE
    try:
        if not _is_file(path) or path.stat().st_size > _LONGEST_PROVENANCE:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _hashes(provenance: dict[str, Any] | None) -> dict[str, str] | None:
    """Return the hashes by file name, or None where there are none, or names that are paths."""
    found = provenance.get("sha256") if provenance is not None else None
    if not isinstance(found, dict) or not all(
        isinstance(value, str) and _is_name(name) for name, value in found.items()
    ):
        return None
    return found


def _is_name(name: object) -> bool:
    """Whether something is the name of a file in the same folder, on any system."""
    return isinstance(name, str) and name not in ("", ".", "..", PROVENANCE) and not set(name) & set("/\\:\0")


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Have a file, or which files a folder holds, survive a power cut, where the system can do that."""
    with contextlib.suppress(OSError):
        to_the_disk(path)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep two runs from replacing the same result at once, where folders can be locked; hashes tell in any case."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with contextlib.ExitStack() as opened:
        with contextlib.suppress(OSError):  # Not every file system has locks, and not every folder may be opened.
            number = os.open(folder, os.O_RDONLY)
            opened.callback(os.close, number)
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
