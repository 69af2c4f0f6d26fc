"""A medical image as the engine knows it: voxels and where they lie in the patient."""

from dataclasses import dataclass

import numpy as np

from upgan.errors import InputError
from upgan.images.orientation import Plane, Reorientation
from upgan.images.placement import CERTAIN, Placement

SPACING_LIMITS_MM = (0.01, 50.0)

# A grid whose unit axes span less than this volume is as good as flat; 30 degrees of gantry tilt still span 0.87.
FLATTEST_GRID = 1e-3


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

    Example:
        >>> import numpy as np
        >>> from upgan import Volume
        >>> volume = Volume(np.zeros((10, 20, 30), dtype=np.float32), np.diag([2.0, 2.0, 3.0, 1.0]))
        >>> volume.voxels.shape, volume.spacing.tolist()  # [K, J, I]; mm along I, J and K
        ((10, 20, 30), [2.0, 2.0, 3.0])
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
            plane: The plane of the slices; ``orientation.LAYOUTS`` has the direction of each axis.

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
