"""Models from strangers onto the disk: a zip or a folder is laid out in an empty folder, or refused.

A file is written because it bears the name of one of a model's, never because it is there; as many bytes of it as were
announced, and nothing outside that folder.
"""

from __future__ import annotations

import itertools
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

from upgan.bundles.layout import METADATA, PARTS, foreign
from upgan.bundles.strangers import LIMITS, Limits, check_names, is_litter, plain_files, unsafe
from upgan.errors import BundleError
from upgan.files import open_plain

_BLOCK = 1 << 20

# bzip2 and LZMA can grow a thousandfold within one read of Python's; these two are read in bounded steps.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # traditional, strong, and a masked directory

# What Python's zipfile says of archives that are cut off or were tampered with; OSError is a seek to where nothing can
# be, RuntimeError has NotImplementedError below it.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError, RuntimeError, OSError)


def unpack(archive: Path, folder: Path, limits: Limits = LIMITS) -> None:
    """Lay out the model in a zip, without the folder that may be around it.

    Args:
        archive: A zip file, whose members are stored or deflated, and not encrypted.
        folder: An existing, empty folder; on refusal it holds what came before the fault.
        limits: The largest number of members and the largest sum of their sizes.

    Raises:
        BundleError: ``bundle_unreadable``, ``zip_damaged``, ``zip_encrypted``, ``zip_method``, ``bundle_unsafe``,
            ``bundle_too_large``, ``holds_pickle`` or ``foreign_file``.
        OSError: The folder cannot be written.
    """
    try:
        file = open_plain(archive, follow=True)
    except OSError as error:
        raise _unreadable(archive.name, error) from error
    damaged = partial(_damaged, archive.name)
    with file:
        try:
            opened = zipfile.ZipFile(file)
        except _DAMAGE as error:
            raise damaged(error) from error
        members = _members(opened, limits)
        outermost = {name.partition("/")[0] for name in members}
        # A folder around a model may be called as one within it: then its metadata tell.
        is_around = len(outermost) == 1 and (
            f"{min(outermost)}/{METADATA.as_posix()}" in members
            or (all("/" in name for name in members) and outermost.isdisjoint(part.parts[0] for part in PARTS))
        )
        for name, info in members.items():
            place = name.partition("/")[2] if is_around else name
            _write(folder, place, _blocks(partial(opened.open, info), info.file_size, damaged))


def copy_folder(source: Path, folder: Path, limits: Limits = LIMITS) -> None:
    """Copy the model in a folder under the same rules: no links, no devices, nothing foreign, within limits.

    Args:
        source: An existing folder; it is only read.
        folder: An existing, empty folder.
        limits: The largest number of files and the largest sum of their sizes.

    Raises:
        BundleError: ``bundle_unreadable``, ``bundle_unsafe``, ``bundle_too_large``, ``holds_pickle`` or
            ``foreign_file``.
        OSError: The folder cannot be written.
    """
    try:
        sizes = plain_files(source, limits)
    except OSError as error:
        raise _unreadable(source.name, error) from error
    check_names(sizes)
    for name, size in sizes.items():
        _write(folder, name, _blocks(partial(open_plain, source / name), size, partial(_unreadable, name)))


def _members(archive: zipfile.ZipFile, limits: Limits) -> dict[str, zipfile.ZipInfo]:
    """Return the files of an archive by name, once all that is in it has passed."""
    infos = archive.infolist()
    limits.check(len(infos), sum(info.file_size for info in infos))
    for info in infos:
        if info.flag_bits & _ENCRYPTED:
            raise BundleError(
                "zip_encrypted", "The archive is protected by a password.", "Unpack it yourself and choose its folder."
            )
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise unsafe(info.filename, "is a link or a device, not a file")
        if info.compress_type not in _METHODS:
            raise BundleError(
                "zip_method",
                "The archive is packed in an unusual way.",
                "Unpack it yourself and choose its folder, or zip it with the usual method (deflate).",
            )
    check_names(info.orig_filename for info in infos)  # before Python made something else of it
    return {info.filename: info for info in infos if not info.is_dir() and not is_litter(info.filename)}


def _blocks(
    open_file: Callable[[], IO[bytes]], size: int, refusal: Callable[[Exception], BundleError]
) -> Iterator[bytes]:
    """Yield a file's bytes in blocks, as many as were announced; anything else is a refusal."""
    try:
        with open_file() as file:
            while block := file.read(_BLOCK):
                size -= len(block)
                if size < 0:
                    break
                yield block
        if size:
            raise ValueError("it has changed meanwhile")
    except _DAMAGE as error:
        raise refusal(error) from error


def _write(folder: Path, name: str, blocks: Iterator[bytes]) -> None:
    """Write a file, if one of that name and with such a beginning belongs to a model."""
    start = next(blocks, b"")
    if (problem := foreign(name, start)) is not None:
        raise problem
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.writelines(itertools.chain([start], blocks))


def _damaged(name: str, _: Exception) -> BundleError:
    return BundleError(
        "zip_damaged", f"'{name}' is no zip archive, or a damaged one.", "Get it again, or choose a model's folder."
    )


def _unreadable(name: str, error: Exception) -> BundleError:
    reason = getattr(error, "strerror", None) or error
    return BundleError(
        "bundle_unreadable", f"'{name}' cannot be read: {reason}.", "Change its permissions or get it again."
    )
