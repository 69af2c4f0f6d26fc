"""Voxels between the scene and the worker's files, slab by slab: a large volume must not stop the viewer."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

# Of one step: about a millisecond of copying.
SLAB_VOXELS = 500_000


def slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices along K that cover an array [K, J, I], each of at most ``SLAB_VOXELS`` voxels, or of one plane."""
    step = max(1, SLAB_VOXELS // (shape[1] * shape[2]))
    for first in range(0, shape[0], step):
        yield slice(first, min(first + step, shape[0]))


def writeVoxels(node: slicer.vtkMRMLScalarVolumeNode, path: Path) -> Generator[None, None, None]:
    """Write a volume's voxels as they are stored to a .npy file [K, J, I], a slab between two yields.

    Raises:
        OutputError: ``temp_not_writable``.
    """
    from upgan.files import explained

    voxels = slicer.util.arrayFromVolume(node)
    remedy = "Free some space there, or choose another temporary folder in the application's settings."
    # Written, not mapped into memory: on a full disk a mapping ends the application, a write raises.
    with explained(str(path.parent), remedy, "temp_not_writable"), open(path, "wb", opener=_private) as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(voxels))
        for slab in slabs(voxels.shape):
            file.write(np.ascontiguousarray(voxels[slab]).data)
            yield


def readImage(path: Path, like: vtk.vtkImageData) -> Generator[None, None, vtk.vtkImageData]:
    """Return the voxels of a .npy file [K, J, I] as a float image of the same extent as another, read slab by slab.

    Raises:
        InputError: ``transfer_failed``; also where the file is of another size or holds no real numbers.
    """
    try:
        voxels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, BadZipFile, SyntaxError) as error:
        raise notReceived() from error
    if not isinstance(voxels, np.ndarray):  # an archive of several, which is left open
        voxels.close()
        raise notReceived()
    if voxels.dtype.kind not in "biuf" or voxels.shape != like.GetDimensions()[::-1]:
        raise notReceived()
    image = emptyLike(like)
    target = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(voxels.shape)
    for slab in slabs(voxels.shape):
        target[slab] = voxels[slab]
        yield
    return image


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def fileIn(folder: Path, said: Any) -> Path:
    """Return the path of a file that the engine says it has written directly into a folder.

    Raises:
        InputError: ``transfer_failed`` where it says something else: what is read there is removed later.
    """
    if not isinstance(said, str) or Path(said).parent != folder or Path(said).name in ("", ".."):
        raise notReceived()
    return Path(said)


def notReceived() -> Exception:
    """Return an ``InputError`` that says that something is wrong with the engine's files."""
    from upgan.errors import InputError

    return InputError(
        "transfer_failed", "The results did not come back from the engine.", "Try again; check the disk's space."
    )


def emptyLike(image: vtk.vtkImageData) -> vtk.vtkImageData:
    """Return a float image of the same extent (its first index need not be zero) with voxels not yet set."""
    like = vtk.vtkImageData()
    like.SetExtent(image.GetExtent())
    like.AllocateScalars(vtk.VTK_FLOAT, 1)
    return like
