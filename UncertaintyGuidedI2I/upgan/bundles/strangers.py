"""Files from strangers: the names, kinds, number and sizes that are taken; what passes can lie on every system."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from upgan.errors import BundleError

# Windows refuses these, cuts what follows a colon, drops dots and spaces at the end, and turns \ into /; macOS refuses
# what is no Unicode. A model has folders two deep.
_REFUSED = r'<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff'
_DEVICE = r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\.|(?![^/]))"
_PART = rf"(?!{_DEVICE})[^{_REFUSED}]*[^{_REFUSED}. ]"
_PATH = re.compile(rf"{_PART}(/{_PART}){{0,15}}/?", re.IGNORECASE)
_LONGEST = 255  # bytes of a file name that common file systems take

# Left in folders and archives by desktops; no part of what is in them.
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}
_LITTER_FOLDER = "__MACOSX"


class Limits(NamedTuple):
    """The largest number of files and of bytes that are taken; the authors' largest models have ten files and 1 GB."""

    files: int = 1000
    bytes: int = 4 << 30

    def check(self, files: int, size: int) -> None:
        """Refuse a number of files, or of bytes in them, that is beyond the limits.

        Raises:
            BundleError: ``bundle_too_large``.
        """
        if files > self.files or size > self.bytes:
            raise BundleError(
                "bundle_too_large",
                f"There are more than {self.files} files or {self.bytes / 2**30:.2g} GiB, which no model has.",
                "Choose the model's own folder or archive.",
            )


LIMITS = Limits()


def plain_files(source: Path, limits: Limits = LIMITS) -> dict[str, int]:
    """Return the sizes of a folder's files in bytes by relative path, with "/" between the parts; no file is opened.

    What desktops leave in folders is passed over.

    Raises:
        BundleError: ``bundle_unsafe`` for a link, pipe, socket or device; ``bundle_too_large``.
        OSError: A folder cannot be read.
    """
    sizes: dict[str, int] = {}
    pending, seen, size = [source], 0, 0
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                seen += 1
                limits.check(seen, size)
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False) and not _is_junction(path):
                    pending.append(path)
                elif not entry.is_file(follow_symlinks=False):
                    raise unsafe(entry.name, "is a link or a device, not a file")
                elif not is_litter(entry.name):
                    sizes[path.relative_to(source).as_posix()] = entry.stat(follow_symlinks=False).st_size
                    size += entry.stat(follow_symlinks=False).st_size
    limits.check(seen, size)
    return sizes


def _is_junction(folder: Path) -> bool:
    """Whether a folder is a junction, Windows' other kind of link, which Python tells from a folder since 3.12."""
    return hasattr(folder, "is_junction") and folder.is_junction()


def is_litter(name: str) -> bool:
    """Whether a path is what desktops leave in folders and archives."""
    parts = name.split("/")
    return parts[-1] in _LITTER or parts[-1].startswith("._") or _LITTER_FOLDER in parts


def check_names(names: Iterable[str]) -> None:
    """Refuse relative paths that are not safe or not distinct on every system.

    Args:
        names: Relative paths with "/" between the parts; those of folders end in "/".

    Raises:
        BundleError: ``bundle_unsafe``, naming the path.
    """
    known: dict[str, tuple[str, bool]] = {}
    for name in names:
        parts = name.removesuffix("/").split("/")
        if not _PATH.fullmatch(name) or any(len(part.encode()) > _LONGEST for part in parts):
            raise unsafe(name, "leaves the model's folder, or is no file name on every system")
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            is_file = path == name
            # What a disk makes of it that ignores case and composition of letters.
            folded = unicodedata.normalize("NFC", path.casefold())
            if folded in known and (is_file or known[folded] != (path, is_file)):
                raise unsafe(name, "is there twice, or differs from another only as upper and lower case do")
            known[folded] = path, is_file


def unsafe(name: str, reason: str) -> BundleError:
    """Return the refusal of a file that is not taken, ``bundle_unsafe``."""
    shown = name.encode("utf-8", "replace").decode().replace("\0", "\\0")[:100]
    return BundleError(
        "bundle_unsafe", f"The model holds '{shown}', which {reason}.", "Ask its authors for plain files in a folder."
    )
