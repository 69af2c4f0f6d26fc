"""Voxels between the scene and the worker's files, slab by slab: a large volume must not stop the viewer."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

# Of one step: about a millisecond of copying.
SLAB_VOXELS = 500_000


def slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices along K that cover an array [K, J, I] in steps of at most ``SLAB_VOXELS``, or of one plane."""
    step = max(1, SLAB_VOXELS // (shape[1] * shape[2]))
    for first in range(0, shape[0], step):
        yield slice(first, min(first + step, shape[0]))


def writeVoxels(node: slicer.vtkMRMLScalarVolumeNode, path: Path) -> Generator[None, None, None]:
    """Write a volume's voxels as they are stored to a .npy file [K, J, I], a slab at each step.

    Raises:
        OutputError: ``disk_full`` or ``temp_not_writable``.
    """
    from upgan.errors import OutputError

    voxels = slicer.util.arrayFromVolume(node)
    try:
        # Written, not mapped into memory: on a full disk a mapping ends the application, a write raises.
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(voxels))
            for slab in slabs(voxels.shape):
                file.write(np.ascontiguousarray(voxels[slab]).data)
                yield
    except OSError as error:
        raise OutputError(
            "temp_not_writable",
            f"The image cannot be handed to the engine through {path.parent}: {error.strerror}.",
            "Free some space there, or choose another temporary folder in the application's settings.",
        ) from error


def readImage(path: Path, like: vtk.vtkImageData) -> Generator[None, None, vtk.vtkImageData]:
    """Return the voxels of a .npy file [K, J, I] as a float image of the same extent as another, read slab by slab.

    Raises:
        InputError: ``transfer_failed``.
    """
    from upgan.errors import InputError

    try:
        voxels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(
            "transfer_failed", "The results did not come back from the engine.", "Try again; check the disk's space."
        ) from error
    image = emptyLike(like)
    target = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(voxels.shape)
    for slab in slabs(voxels.shape):
        target[slab] = voxels[slab]
        yield
    return image


def emptyLike(image: vtk.vtkImageData) -> vtk.vtkImageData:
    """Return a float image of the same extent (its first index need not be zero) with voxels not yet set."""
    like = vtk.vtkImageData()
    like.SetExtent(image.GetExtent())
    like.AllocateScalars(vtk.VTK_FLOAT, 1)
    return like
