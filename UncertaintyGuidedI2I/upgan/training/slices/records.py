"""Files of many slices, each a record with all that a batch needs of it: written whole, known by a checksum."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from upgan.files import atomically

LARGEST_HALF = float(np.finfo(np.float16).max)


def write_records(path: Path, count: int, record: np.dtype, parts: Iterable[np.ndarray]) -> str:
    """Write a file of so many records, which ``numpy.load`` maps, and return its SHA-256.

    Raises:
        OSError: The disk is full or cannot be written; then nothing is there.
    """
    header = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(record), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(header, described)
    checksum = hashlib.sha256(header.getvalue())
    # Through Python's own file: numpy's writing to a path does not say that the disk is full.
    with atomically(path) as temporary, temporary.open("wb") as file:
        file.write(header.getvalue())
        for records in parts:
            file.write(records.data)
            checksum.update(records.data)
    return checksum.hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        OSError: There is none, or it cannot be read.
    """
    if not path.is_file():  # A pipe would be waited for.
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
