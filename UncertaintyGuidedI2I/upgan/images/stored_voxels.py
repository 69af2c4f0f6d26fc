"""Voxels as they lie in a file, plain or packed, unpacked block by block into float32."""

from __future__ import annotations

import bz2
import io
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np

from upgan.images.placement import Placement
from upgan.images.unreadable import bad_header, truncated

Packing = Literal["raw", "deflate", "bzip2", "text", "hex"]

GZIP_MAGIC = b"\x1f\x8b"

# How many bytes of voxels a byte of the file can hold at best: a smaller file cannot hold what its header promises.
# A number of text takes a digit and a blank. bzip2 knows no bound that would help.
_BEST: dict[Packing, float] = {"raw": 1, "deflate": 1032, "bzip2": math.inf, "hex": 0.5}

# What is packed more tightly than this and not small holds nothing but one value, made to fill somebody's memory.
_BEST_OF_LARGE = 256
_LARGE = 1 << 28

# Bytes of something else before the voxels, where it must be unpacked to find out where they begin.
_LONGEST_PACKED_OFFSET = 1 << 26

# Of text in hexadecimal digits, between which there may be blanks.
_CHARACTERS_A_BYTE = 4

# Of voxels that are unpacked and converted at a time.
_BLOCK = 1 << 20

# Of a file that is inflated at a time.
_READ = 1 << 18

# Of text, in characters.
_LONGEST_NUMBER = 1 << 12


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """What a file says of its one image, before any voxel is read.

    Attributes:
        path: The image's file, for messages.
        data: The file that holds the voxels; often the same.
        packing: How they are packed; ``deflate`` stands for gzip and zlib.
        packed_offset: Where in the data file the packed part begins, bytes.
        offset: Where in the unpacked part the voxels begin, bytes.
        dtype: The type of the stored numbers, with their byte order.
        shape: Number of voxels (K, J, I).
        ijk_to_ras: 4x4, from (i, j, k) to RAS in mm.
        placement: How sure that place is.
        slope: The factor by which each stored number is multiplied.
        intercept: The number that is then added.
    """

    path: Path
    data: Path
    packing: Packing
    packed_offset: int
    offset: int
    dtype: np.dtype
    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray
    placement: Placement
    slope: float = 1.0
    intercept: float = 0.0

    def voxels(self) -> np.ndarray:
        """Read the voxels: float32, C-contiguous [K, J, I], rescaled; what becomes infinite or NaN is left so.

        Raises:
            InputError: ``truncated_file``, or ``bad_header`` for voxels that begin absurdly late.
            MemoryError: They do not fit.
            OSError: The file cannot be read.
        """
        count = math.prod(self.shape)
        # What promises too much would otherwise cost the memory before the file's end is found.
        room = max(self.data.stat().st_size - self.packed_offset, 0)
        needed = 2 * count - 1 if self.packing == "text" else (self.offset + count * self.dtype.itemsize)
        if self.packing in ("deflate", "bzip2") and self.offset > _LONGEST_PACKED_OFFSET:
            raise bad_header(self.path, f"its voxels begin at byte {self.offset} of what is packed")
        if needed > room * _BEST.get(self.packing, 1) or needed > max(room * _BEST_OF_LARGE, _LARGE):
            raise truncated(self.path)
        voxels = room_for(self.shape)
        try:
            with self.data.open("rb") as file:
                file.seek(self.packed_offset)
                with np.errstate(over="ignore", invalid="ignore"):
                    self._fill(voxels.reshape(-1), _unpacked(file, self.packing, needed))
        except (EOFError, zlib.error, ValueError) as error:
            raise truncated(self.path) from error
        except OSError as error:
            if error.errno is None:  # bzip2's word for bytes that are wrong
                raise truncated(self.path) from error
            raise
        return voxels

    def _fill(self, voxels: np.ndarray, stream: IO[bytes]) -> None:
        if self.packing == "text":
            self._fill_from_text(voxels, stream)
            return
        _skip(stream, self.offset)
        buffer = memoryview(bytearray(_BLOCK * self.dtype.itemsize))
        for first in range(0, voxels.size, _BLOCK):
            target = voxels[first : first + _BLOCK]
            part = buffer[: target.size * self.dtype.itemsize]
            _read_into(stream, part)
            self._convert(target, np.frombuffer(part, self.dtype))
        # Only behind the last voxel does a packed file have the check sum that vouches for them.
        stream.read(1)

    def _fill_from_text(self, voxels: np.ndarray, stream: IO[bytes]) -> None:
        filled, begun = 0, b""
        while filled < voxels.size:
            block = stream.read(_READ)
            if not block and not begun:
                raise EOFError
            text = begun + block
            words = text.split()
            # The last number may go on in the next block.
            begun = words.pop() if block and words and not text[-1:].isspace() else b""
            if len(begun) > _LONGEST_NUMBER:
                raise ValueError
            numbers = np.array(words[: voxels.size - filled], np.float64)
            self._convert(voxels[filled : filled + numbers.size], numbers)
            filled += numbers.size

    def _convert(self, target: np.ndarray, stored: np.ndarray) -> None:
        if (self.slope, self.intercept) == (1.0, 0.0):
            target[...] = stored
        else:
            target[...] = stored.astype(np.float64) * self.slope + self.intercept


def _read_into(stream: IO[bytes], part: memoryview) -> None:
    while part:
        count = stream.readinto(part)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        part = part[count:]


def _skip(stream: IO[bytes], count: int) -> None:
    if not stream.seekable():
        block = memoryview(bytearray(_BLOCK))
        while count:
            part = block[:count]
            _read_into(stream, part)
            count -= len(part)
        return
    stream.seek(count, io.SEEK_CUR)


def room_for(shape: tuple[int, int, int]) -> np.ndarray:
    """Return an array for voxels, float32 [K, J, I], whose content is arbitrary.

    Raises:
        MemoryError: It is larger than the memory of this computer. Linux would promise it all the same, and end the
            process when it is filled.
    """
    pages = {"SC_PAGE_SIZE", "SC_PHYS_PAGES"}
    if pages <= set(getattr(os, "sysconf_names", {})):  # not on Windows
        physical = math.prod(os.sysconf(name) for name in pages)
        if 0 < physical < math.prod(shape) * np.dtype(np.float32).itemsize:
            raise MemoryError
    try:
        return np.empty(shape, np.float32)
    except ValueError as error:  # numpy's word for more than an address can reach
        raise MemoryError from error


def _unpacked(file: IO[bytes], packing: Packing, needed: int) -> IO[bytes]:
    if packing == "deflate":
        return open_deflated(file)
    if packing == "bzip2":
        return bz2.open(file)
    if packing == "hex":
        digits = b"".join(file.read(_CHARACTERS_A_BYTE * needed).split())[: 2 * needed]
        return io.BytesIO(bytes.fromhex(digits.decode("ascii")))
    return file


def open_deflated(file: IO[bytes]) -> IO[bytes]:
    """Return the unpacked bytes of a gzip or zlib stream; what lies behind its end is left alone."""
    return io.BufferedReader(_Inflated(file), _READ)


class _Inflated(io.RawIOBase):
    """Unpacks gzip and zlib alike. Python's own gzip reader takes what follows the last member for damage."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            if self._inflate.eof:
                self._pending = self._inflate.unused_data or self._pending
                if len(self._pending) < len(GZIP_MAGIC):
                    self._pending += self._file.read(_READ)
                if not self._pending.startswith(GZIP_MAGIC):
                    return 0
                # Tools that pack in parallel write several members.
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
            packed = self._pending or self._file.read(_READ)
            unpacked = self._inflate.decompress(packed, len(buffer))
            self._pending = self._inflate.unconsumed_tail
            if unpacked:
                buffer[: len(unpacked)] = unpacked
                return len(unpacked)
            if not packed and not self._inflate.eof:
                raise EOFError
