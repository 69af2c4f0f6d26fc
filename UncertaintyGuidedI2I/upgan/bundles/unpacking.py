"""Files from strangers onto the disk: a zip or a folder is laid out inside an empty folder, or refused.

Whatever the names, sizes and kinds of the members, nothing is written outside that folder and nothing but plain files.
What passes can be laid out on every system that Slicer runs on.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from upgan.errors import BundleError
from upgan.files import open_plain

_BLOCK = 1 << 20
_LONGEST = 255  # bytes of a file name that common file systems take
_DEEPEST = 16  # folders within folders; a model has two

# Windows refuses these, cuts what follows a colon, drops dots and spaces at the end, and turns \ into /; macOS refuses
# what is no Unicode.
_FORBIDDEN = re.compile(r'[<>:"\\|?*\x00-\x1f\x7f\ud800-\udfff]|[. ]\Z')
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)

# Left in folders and archives by desktops; no part of what is in them.
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}
_LITTER_FOLDER = "__MACOSX"

# bzip2 and LZMA can grow a thousandfold within one read of Python's; these two are read in bounded steps.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # traditional, strong, and a masked directory

# What Python's zipfile says of archives that are cut off or were tampered with.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,  # and its NotImplementedError
    OSError,  # a seek to where nothing can be
)


class Limits(NamedTuple):
    """What is taken at most; the authors' largest models have ten files and 1 GB."""

    files: int = 1000
    bytes: int = 4 << 30


LIMITS = Limits()


def unpack(archive: Path, folder: Path, limits: Limits = LIMITS) -> None:
    """Lay out a zip's files in an empty folder; sizes count as they are read, whatever the archive declares.

    Args:
        archive: A zip, stored or deflated, not encrypted.
        folder: Exists and is empty; on refusal it holds what came before the fault.
        limits: Number of members and sum of their sizes.

    Raises:
        BundleError: ``bundle_unreadable``, ``zip_damaged``, ``zip_encrypted``, ``zip_method``, ``bundle_unsafe`` or
            ``bundle_too_large``.
        OSError: The folder cannot be written.
    """
    try:
        file = open_plain(archive, follow=True)
    except OSError as error:
        raise _unreadable(archive.name, error) from error
    with file:
        try:
            opened = zipfile.ZipFile(file)
        except _DAMAGE as error:
            raise _damaged(archive.name) from error
        with opened:
            members = _checked_members(opened, limits)
            layout = _Layout(folder, limits)
            for info in members:
                layout.write(info.filename, _member_blocks(opened, info, archive.name))


def copy_folder(source: Path, folder: Path, limits: Limits = LIMITS) -> None:
    """Copy a folder's files into an empty folder under the same rules: no links, no devices, within limits.

    Args:
        source: An existing folder; it is only read.
        folder: Exists and is empty.
        limits: Number of files and sum of their sizes.

    Raises:
        BundleError: ``bundle_unreadable``, ``bundle_unsafe`` or ``bundle_too_large``.
        OSError: The folder cannot be written.
    """
    try:
        names = plain_files(source, limits)
    except OSError as error:
        raise _unreadable(source.name, error) from error
    check_names(names)
    layout = _Layout(folder, limits)
    for name in names:
        layout.write(name, _file_blocks(source / name))


def plain_files(source: Path, limits: Limits = LIMITS) -> list[str]:
    """Relative paths of a folder's files, "/" between the parts, without what desktops leave; none is opened.

    Raises:
        BundleError: ``bundle_unsafe`` for a link, pipe, socket or device; ``bundle_too_large``.
        OSError: A folder cannot be read.
    """
    names: list[str] = []
    pending, seen, size = [source], 0, 0
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                seen += 1
                if seen > limits.files:
                    raise _too_many(limits)
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False) and not _is_junction(path):
                    pending.append(path)
                elif not entry.is_file(follow_symlinks=False):
                    raise _unsafe(entry.name, "is a link or a device, not a file")
                elif not _is_litter(entry.name):
                    names.append(path.relative_to(source).as_posix())
                    size += entry.stat(follow_symlinks=False).st_size
                    if size > limits.bytes:
                        raise _too_large(limits)
    return names


def _is_junction(folder: Path) -> bool:
    """Whether it is Windows' other kind of link, which Python tells from a folder since 3.12."""
    return hasattr(folder, "is_junction") and folder.is_junction()


def check_names(names: Iterable[str]) -> None:
    """Refuse relative paths, written with "/", that are not safe or not distinct on every system.

    Raises:
        BundleError: ``bundle_unsafe``, naming the path.
    """
    spelled: dict[str, str] = {}
    files: set[str] = set()
    for name in names:
        parts = name.split("/")
        for part in parts:
            if part in ("", ".", ".."):
                raise _unsafe(name, "leaves the model's folder or is no file name")
            if _FORBIDDEN.search(part) or _DEVICES.fullmatch(part) or len(part.encode()) > _LONGEST:
                raise _unsafe(name, "is no file name on every system")
        if len(parts) > _DEEPEST:
            raise _unsafe(name, "lies too deep in folders")
        folded = [_folded(part) for part in parts]
        if "/".join(folded) in files:
            raise _unsafe(name, "is there twice, or differs from another only by upper and lower case")
        files.add("/".join(folded))
        for depth in range(1, len(parts) + 1):
            path, key = "/".join(parts[:depth]), "/".join(folded[:depth])
            if spelled.setdefault(key, path) != path:
                raise _unsafe(name, "differs from another only by upper and lower case")
    for name in files:
        folders = (name[:end] for end, letter in enumerate(name) if letter == "/")
        if any(above in files for above in folders):
            raise _unsafe(name, "is both a file and in a folder of that name")


class _Layout:
    """Writes new files below a folder until the limit is reached."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self._written = 0

    def write(self, name: str, blocks: Iterable[bytes]) -> None:
        """Write one file under a checked name."""
        path = self._folder.joinpath(*name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for block in blocks:
                self._written += len(block)
                if self._written > self._limits.bytes:
                    raise _too_large(self._limits)
                file.write(block)


def _checked_members(archive: zipfile.ZipFile, limits: Limits) -> list[zipfile.ZipInfo]:
    """Files of the archive that are to be written, after all its members have passed."""
    infos = archive.infolist()
    if len(infos) > limits.files:
        raise _too_many(limits)
    for info in infos:
        if info.flag_bits & _ENCRYPTED:
            raise BundleError(
                "zip_encrypted", "The archive is protected by a password.", "Unpack it yourself and choose its folder."
            )
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unsafe(info.filename, "is a link or a device, not a file")
        # On Windows Python has changed the name already, and a NUL ends it everywhere.
        if "\\" in info.orig_filename or "\0" in info.orig_filename:
            raise _unsafe(info.orig_filename, "is no file name on every system")
        if info.compress_type not in _METHODS:
            raise BundleError(
                "zip_method",
                "The archive is packed in an unusual way.",
                "Unpack it yourself and choose its folder, or zip it with the usual method (deflate).",
            )
    check_names({info.filename.removesuffix("/"): None for info in infos if info.filename.endswith("/")})
    files = [info for info in infos if not info.filename.endswith("/")]
    check_names(info.filename for info in files)
    if sum(info.file_size for info in files) > limits.bytes:
        raise _too_large(limits)
    return [info for info in files if not _is_litter(info.filename)]


def _member_blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Iterator[bytes]:
    try:
        with archive.open(info) as stream:
            yield from _blocks(stream)
    except _DAMAGE as error:
        raise _damaged(name) from error


def _file_blocks(path: Path) -> Iterator[bytes]:
    try:
        with open_plain(path) as stream:
            yield from _blocks(stream)
    except OSError as error:
        raise _unreadable(path.name, error) from error


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(_BLOCK):
        yield block


def _is_litter(name: str) -> bool:
    parts = name.split("/")
    return parts[-1] in _LITTER or parts[-1].startswith("._") or _LITTER_FOLDER in parts


def _folded(part: str) -> str:
    """What a file system that ignores case and composition of letters makes of a name."""
    return unicodedata.normalize("NFC", part.casefold())


def _unsafe(name: str, reason: str) -> BundleError:
    shown = name.encode("utf-8", "replace").decode().replace("\0", "\\0")[:100]
    return BundleError(
        "bundle_unsafe", f"The model holds '{shown}', which {reason}.", "Ask its authors for plain files in a folder."
    )


def _too_many(limits: Limits) -> BundleError:
    return BundleError(
        "bundle_too_large",
        f"There are more than {limits.files} files, which no model has.",
        "Choose the model's own folder or archive.",
    )


def _too_large(limits: Limits) -> BundleError:
    return BundleError(
        "bundle_too_large",
        f"The model takes more than {limits.bytes / 2**30:.2g} GiB, which none does.",
        "Choose the model's own folder or archive.",
    )


def _damaged(name: str) -> BundleError:
    return BundleError(
        "zip_damaged", f"'{name}' is no zip archive, or a damaged one.", "Get it again, or choose a model's folder."
    )


def _unreadable(name: str, error: OSError) -> BundleError:
    return BundleError(
        "bundle_unreadable",
        f"'{name}' cannot be read: {error.strerror or error}.",
        "Change its permissions or get it again.",
    )
