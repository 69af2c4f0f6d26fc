"""Measurements that are simulated: of a magnitude image, or of the k-space of several coils that was measured whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from upgan.errors import InputError
from upgan.images.magnitude import mr_magnitude
from upgan.images.orientation import DIRECTIONS, LAYOUTS, Plane, Reorientation
from upgan.images.placement import Placement
from upgan.images.volume import Volume
from upgan.inference.measurement import Measurement
from upgan.simulation.kspace import (
    Axis,
    MaskKind,
    mask,
    measure,
    noise_level,
    root_sum_of_squares,
    to_image,
    to_kspace,
)

_NO_KSPACE = "Choose a .npy file of complex numbers [C, H, W]: coils, rows and columns of one slice's centred k-space."


class Sampling(NamedTuple):
    """How k-space is measured.

    Attributes:
        kind: The mask.
        axis: Whether phase-encoding lines are rows or columns.
        plane: The plane of the slices.
        snr: Of the image of a full k-space, as ``kspace.undersample`` defines it, over the whole volume; None for no
            noise beside that which is there.
        seed: Of what is random.
    """

    kind: MaskKind
    axis: Axis = "rows"
    plane: Plane = "axial"
    snr: float | None = None
    seed: int = 0


def measure_volume(volume: Volume, sampling: Sampling) -> Measurement:
    """Measure a part of the k-space of a magnitude image; all slices have the same mask, and noise of their own.

    Raises:
        InputError: ``not_mr`` for another modality, or where many voxels are negative; ``not_finite``; ``one_line``.
    """
    voxels = mr_magnitude(volume).voxels.astype(np.float32, copy=False)
    slices = Reorientation.of(volume.ijk_to_ras, sampling.plane).apply(voxels)
    rng = np.random.default_rng(sampling.seed)
    kept = mask(sampling.kind, (slices.shape[1], slices.shape[2]), sampling.axis, rng)
    noise = noise_level(slices, sampling.snr)
    lines = np.stack([measure(to_kspace(image), kept, noise, rng).lines.astype(np.complex64) for image in slices])
    return Measurement(lines[None], kept, sampling.plane, is_real=True)


def undersampled(volume: Volume, measurement: Measurement) -> Volume:
    """Return what is seen of a volume of which this was measured, on its own grid: the zero-filled magnitude."""
    layout = Reorientation.of(volume.ijk_to_ras, measurement.plane)
    return replace(volume, voxels=np.ascontiguousarray(layout.undo(measurement.zero_filled())), modality="MR")


def measure_coils(kspace: np.ndarray, sampling: Sampling) -> Measurement:
    """Keep a part of one slice's k-space of several coils, complex [C, H, W], centred.

    Two equal slices come out: an image has at least two.

    Raises:
        InputError: ``one_line``.
    """
    rng = np.random.default_rng(sampling.seed)
    kept = mask(sampling.kind, (kspace.shape[1], kspace.shape[2]), sampling.axis, rng)
    noise = noise_level(root_sum_of_squares(to_image(kspace)), sampling.snr)
    lines = measure(kspace, kept, noise, rng).lines.astype(np.complex64)
    return Measurement(np.stack([lines, lines], axis=1), kept, sampling.plane, is_real=False)


def coil_image(magnitude: np.ndarray, plane: Plane, spacing_mm: tuple[float, float]) -> Volume:
    """Place a magnitude [N, H, W] as slices of a plane, which raw data does not do; slices lie a row's distance apart.

    Args:
        magnitude: Slices.
        plane: Which rows and columns are to be: as a radiologist views this plane.
        spacing_mm: Of rows and columns.
    """
    affine = np.eye(4)
    steps = (spacing_mm[1], spacing_mm[0], spacing_mm[0])
    for axis, (letter, step) in enumerate(zip(LAYOUTS[plane], steps, strict=True)):
        ras, sign = DIRECTIONS[letter]
        affine[:3, axis] = 0
        affine[ras, axis] = sign * step
    sentence = (
        f"Raw data do not say where they lie: the image was taken to be {plane}, seen as a radiologist sees it, with "
        f"pixels of {spacing_mm[1]:g}×{spacing_mm[0]:g} mm."
    )
    return Volume(magnitude, affine, "MR", Placement("guessed", sentence))


def read_kspace(path: Path) -> np.ndarray:
    """Read the k-space of one slice, complex [C, H, W].

    Raises:
        InputError: ``file_not_found`` or ``not_kspace``.
    """
    try:
        kspace = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError("file_not_found", f"There is no file '{path.name}'.", "Check the path.") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError("not_kspace", f"'{path.name}' cannot be read as .npy.", _NO_KSPACE) from error
    if not isinstance(kspace, np.ndarray) or kspace.ndim != 3 or 0 in kspace.shape:
        raise InputError("not_kspace", f"'{path.name}' does not hold coils, rows and columns.", _NO_KSPACE)
    if kspace.dtype.kind != "c":
        raise InputError(
            "not_kspace",
            f"'{path.name}' holds real numbers, as a magnitude image does, and k-space is complex.",
            f"{_NO_KSPACE} An image is read as NIfTI, NRRD, MetaImage or DICOM.",
        )
    kspace = np.array(kspace)
    if not np.isfinite(kspace).all() or not kspace.any():
        raise InputError("not_kspace", f"'{path.name}' holds no signal, or values that are no numbers.", _NO_KSPACE)
    return kspace
