"""Voxels on their way from the worker to the viewer, as .npy files in the scratch folder."""

from __future__ import annotations

import os
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from upgan.files import explained


def load_voxels(path: Path, *, mapped: bool = False) -> np.ndarray:
    """Read the voxels of a .npy file, or map them into memory.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no .npy file of real numbers, or not all of one.
    """
    try:
        voxels = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (EOFError, BadZipFile) as error:
        raise ValueError("the file is empty or broken") from error
    if not isinstance(voxels, np.ndarray):  # an archive of several, which is left open
        voxels.close()
        raise ValueError("the file is an archive")
    if voxels.dtype.kind not in "biuf":
        raise ValueError(f"the file holds {voxels.dtype}")
    return voxels


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def save_voxels(path: Path, voxels: np.ndarray) -> None:
    """Write voxels [K, J, I] as .npy, readable by this user only.

    Raises:
        OutputError: ``disk_full`` or ``not_writable``.
    """
    voxels = np.ascontiguousarray(voxels)
    remedy = "Free some space there, or choose another temporary folder in the application's settings."
    # Through Python's own file: numpy's writing to a path does not say that the disk is full.
    with explained("The temporary folder", remedy), open(path, "wb", opener=_private) as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(voxels))
        file.write(voxels.data)
