"""A medical image as the engine knows it: voxels and where they lie in the patient."""

from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Literal, Self, cast

import numpy as np
from numpy.typing import DTypeLike

from upgan.errors import InputError
from upgan.images.placement import CERTAIN, Placement

Plane = Literal["axial", "coronal", "sagittal"]

SPACING_LIMITS_MM = (0.01, 50.0)

# A grid whose unit axes span less than this volume is as good as flat; 30 degrees of gantry tilt still span 0.87.
FLATTEST_GRID = 1e-3

# Where the I', J' and K' axes of each layout point. In a slice, rows and columns run as a radiologist views them:
# to the patient's left or back, and downwards. Slices count as Slicer's slice offset does: up, forwards, to the right.
LAYOUTS: dict[Plane, str] = {"axial": "LPS", "coronal": "LIA", "sagittal": "PIR"}

# Anatomical direction -> (RAS axis, sign).
DIRECTIONS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def _check_voxels(voxels: np.ndarray) -> None:
    if voxels.ndim != 3:
        raise InputError(
            "not_a_volume",
            f"The image has {voxels.ndim} dimensions instead of three.",
            "Choose a three-dimensional image.",
        )
    if voxels.dtype.kind not in "iuf":
        raise InputError(
            "not_real_valued",
            f"The image's voxels are of type {voxels.dtype}, not real numbers.",
            "Choose a grey-value image; export the magnitude of a complex one.",
        )
    size = " x ".join(str(n) for n in reversed(voxels.shape))
    if 0 in voxels.shape:
        raise InputError("empty_volume", f"The image has no voxels ({size}).", "Choose another image.")
    if 1 in voxels.shape:
        raise InputError(
            "single_slice",
            f"The image is a single slice ({size} voxels).",
            "Choose a volume with at least two slices; for DICOM, choose the folder of the series.",
        )


def _check_geometry(affine: np.ndarray) -> None:
    remedy = "Repair the image's geometry, for example by exporting it again from the original DICOM files."
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.array_equal(affine[3], (0, 0, 0, 1)):
        raise InputError("invalid_affine", "The image does not say validly where its voxels lie.", remedy)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not spacing.all() or abs(np.linalg.det(affine[:3, :3] / spacing)) < FLATTEST_GRID:
        raise InputError("singular_affine", "The image's axes do not span three dimensions.", remedy)
    low, high = SPACING_LIMITS_MM
    if spacing.min() < low or spacing.max() > high:
        size = " x ".join(f"{s:.4g}" for s in spacing)
        raise InputError(
            "absurd_spacing",
            f"The image's voxels measure {size} mm, outside {low:g} to {high:g} mm.",
            "Check the unit of the image's spacing: it must be millimetres.",
        )


@dataclass(frozen=True, eq=False)
class Volume:
    """A three-dimensional image and its place in the patient.

    Attributes:
        voxels: Real numbers, [K, J, I], at least two along each axis.
        ijk_to_ras: 4x4 float64, from voxel indices (i, j, k) to RAS in mm; read-only.
        modality: DICOM modality code ("PT", "MR", "CT") where the source says it.
        placement: How sure ``ijk_to_ras`` is.

    Raises:
        InputError: ``not_a_volume``, ``not_real_valued``, ``empty_volume``, ``single_slice``, ``invalid_affine``,
            ``singular_affine`` or ``absurd_spacing``.
    """

    voxels: np.ndarray
    ijk_to_ras: np.ndarray
    modality: str | None = None
    placement: Placement = CERTAIN

    def __post_init__(self) -> None:
        voxels = np.asarray(self.voxels)
        affine = np.array(self.ijk_to_ras, dtype=np.float64)
        _check_voxels(voxels)
        _check_geometry(affine)
        affine.setflags(write=False)
        object.__setattr__(self, "voxels", voxels)
        object.__setattr__(self, "ijk_to_ras", affine)

    @property
    def spacing(self) -> np.ndarray:
        """Return the distances between neighbouring voxels along I, J and K in mm."""
        return np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)

    def reoriented(self, plane: Plane) -> "Volume":
        """Return this image in the nearest layout of a plane, without resampling.

        Args:
            plane: See ``LAYOUTS`` for the direction of each axis.

        Returns:
            The same voxels (a view) with axes permuted and flipped, and the affine that goes with them.
        """
        reorientation = Reorientation.of(self.ijk_to_ras, plane)
        return Volume(
            reorientation.apply(self.voxels),
            self.ijk_to_ras @ reorientation.to_original_indices(self.voxels.shape),
            self.modality,
            self.placement,
        )


@dataclass(frozen=True)
class Reorientation:
    """The axis permutation and flips that bring a grid into the layout of a plane, and back.

    Attributes:
        sources: The original axis (0 for I, 1 for J, 2 for K) that becomes I', J' and K'.
        flips: Whether I', J' and K' run against their original axis.
        spacing: Voxel distances along I', J' and K' in mm.
    """

    sources: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, ijk_to_ras: np.ndarray, plane: Plane) -> Self:
        """Find the reorientation of a grid.

        Args:
            ijk_to_ras: 4x4, non-singular; may be oblique, flipped, permuted or sheared.
            plane: The plane of the wanted slices.

        Raises:
            InputError: ``unknown_plane``.
        """
        if plane not in LAYOUTS:
            raise InputError("unknown_plane", f"There is no plane '{plane}'.", f"Choose one of {', '.join(LAYOUTS)}.")
        spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
        cosines = ijk_to_ras[:3, :3] / spacing
        # Of all one-to-one matchings the one with the smallest angles, so that 45 degrees leaves no axis over.
        original = max(permutations(range(3)), key=lambda axes: float(np.abs(cosines[range(3), axes]).sum()))
        wanted = [DIRECTIONS[letter] for letter in LAYOUTS[plane]]
        sources = [original[ras] for ras, _ in wanted]
        flips = [bool(sign * cosines[ras, original[ras]] < 0) for ras, sign in wanted]
        return cls(
            cast(tuple[int, int, int], tuple(sources)),
            cast(tuple[bool, bool, bool], tuple(flips)),
            cast(tuple[float, float, float], tuple(float(spacing[s]) for s in sources)),
        )

    @property
    def in_plane_spacing(self) -> tuple[float, float]:
        """Return the pixel distances (J', I') of the reoriented slices in mm."""
        return self.spacing[1], self.spacing[0]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Return a view [K', J', I'] of an array [K, J, I]."""
        return np.flip(array.transpose(self._array_axes), self._flipped_axes)

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Return a view [K, J, I] of an array [K', J', I']; the exact inverse of ``apply``."""
        return np.flip(array, self._flipped_axes).transpose(np.argsort(self._array_axes))

    def to_original_indices(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the 4x4 matrix from new indices (i', j', k') to the original (i, j, k).

        Args:
            shape: The original array's (K, J, I), which a flip needs to find the far end.
        """
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for new, (old, flip) in enumerate(zip(self.sources, self.flips, strict=True)):
            matrix[old, new] = -1 if flip else 1
            matrix[old, 3] = shape[2 - old] - 1 if flip else 0
        return matrix

    @property
    def _array_axes(self) -> tuple[int, ...]:
        # Arrays are [K, J, I], so that axis I is array axis 2.
        return tuple(2 - source for source in reversed(self.sources))

    @property
    def _flipped_axes(self) -> tuple[int, ...]:
        return tuple(2 - new for new, flip in enumerate(self.flips) if flip)


def count_nonfinite(voxels: np.ndarray) -> tuple[int, int]:
    """Count NaN and infinite voxels, one slice at a time to spare memory.

    Args:
        voxels: Real numbers, [K, ...].

    Returns:
        The number of NaN and the number of infinite voxels.
    """
    if voxels.dtype.kind != "f":
        return 0, 0
    nan = sum(int(np.count_nonzero(np.isnan(part))) for part in voxels)
    infinite = sum(int(np.count_nonzero(np.isinf(part))) for part in voxels)
    return nan, infinite


def read_volume(path: str | Path, *, series: str | None = None) -> Volume:
    """Read an image file or a folder holding a DICOM series.

    Args:
        path: NIfTI, NRRD, MetaImage, DICOM or another format that ITK knows; or a folder of DICOM files.
        series: The Series Instance UID to read from a folder that holds several.

    Returns:
        The image with float32 voxels, C-contiguous [K, J, I]; rescale slopes and intercepts are applied, NaN kept.

    Raises:
        InputError: See ``upgan.reading.read_image`` and ``Volume``.
    """
    from upgan.reading import read_image  # brings pydicom, which a viewer that has the voxels need not wait for

    return Volume(*read_image(Path(path), series))


def write_volume(volume: Volume, path: str | Path, *, dtype: DTypeLike = np.float32) -> None:
    """Write an image whole or not at all.

    A NIfTI file repeats the qform, sform and codes of the one that the image, or the input it was made of, came from.

    Args:
        volume: The image.
        path: Where to, ending in .nii.gz, .nii, .nrrd or .mha; an existing file is replaced.
        dtype: Type in the file; for an integer type values are rounded and clipped to its range and NaN becomes 0.

    Raises:
        OutputError: See ``upgan.writing.write_image``.
    """
    from upgan.writing import write_image

    write_image(volume.voxels, volume.ijk_to_ras, Path(path), np.dtype(dtype), volume.placement)
