"""Two images of one patient brought together by a rigid motion, whatever their modalities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import SimpleITK
from scipy.spatial.transform import Rotation

from upgan.errors import InputError
from upgan.images.axes import RAS_FROM_LPS
from upgan.images.resampling import Grid, resample
from upgan.images.volume import Volume

# Finer voxels cost time and gain nothing: the optimum is found to a fraction of a voxel.
_GRID_MM = 2.0

# Coarse to fine.
_SHRINK = (4, 2, 1)
_SMOOTHING_MM = (6.0, 3.0, 0.0)

_BINS = 48
_ITERATIONS = 200
_SAMPLES = 50_000
_SEED = 1

# Padding, metal and vessels would stretch the histogram's bins over what hardly occurs.
_PERCENTILES = (1.0, 99.8)


class Registration(NamedTuple):
    """A rigid motion that was found, and what it gains.

    Attributes:
        motion: 4x4, RAS mm: brings the moving image's places to the fixed one's.
        shift_mm: How far the moving image's centre goes.
        rotation_deg: Angle of the rotation.
        before: Mattes mutual information (nats) of the images as they lay; 0 where they did not meet.
        after: Mattes mutual information (nats) once moved. Of the same two images the larger value is the better.
    """

    motion: np.ndarray
    shift_mm: float
    rotation_deg: float
    before: float
    after: float

    def apply(self, moving: Volume) -> Volume:
        """Return the moving image at its new place; no voxel is resampled."""
        return Volume(moving.voxels, self.motion @ moving.ijk_to_ras, moving.modality, moving.placement)


def register(fixed: Volume, moving: Volume) -> Registration:
    """Find the rigid motion with the largest mutual information (Mattes et al., IEEE TMI 2003, 22:120).

    It starts from the better of three places: as the images lie, centre on centre, and centre of mass on centre of
    mass. The same images give the same motion.

    Args:
        fixed: The image that stays, on any grid; all voxels finite.
        moving: The image that is moved, on any grid; all voxels finite.

    Raises:
        InputError: ``registration_failed`` where the images share too little to be compared.
    """
    images = [_upright(volume) for volume in (fixed, moving)]
    method = _method(*images)
    before = _information(method, images, SimpleITK.Euler3DTransform())
    starts = _starts(images)
    values = [_information(method, images, start) for start in starts]
    start = starts[int(np.argmax(values))]
    found = SimpleITK.Euler3DTransform(start)
    method.SetInitialTransform(found, inPlace=True)
    try:
        method.Execute(*(image for image, _ in images))
    except RuntimeError as error:
        raise InputError(
            "registration_failed",
            "Input and target share too little to be registered.",
            "Check that both show the same part of the same patient, or register them by hand.",
        ) from error
    after = _information(method, images, found)
    if after < max(values):  # A coarse level led astray.
        found, after = start, max(values)
    motion = _motion(found)
    centre = moving.ijk_to_ras @ [*((np.array(moving.voxels.shape[::-1]) - 1) / 2), 1]
    return Registration(
        motion,
        shift_mm=float(np.linalg.norm((motion @ centre - centre)[:3])),
        rotation_deg=float(np.degrees(Rotation.from_matrix(motion[:3, :3]).magnitude())),
        before=max(before, 0.0),
        after=after,
    )


_Image = tuple[SimpleITK.Image, SimpleITK.Image]


def _upright(volume: Volume) -> _Image:
    """Resample onto a grid along the patient's axes, which knows no shear; return image and mask of what is known."""
    corners = np.array(np.meshgrid(*[(0, count - 1) for count in volume.voxels.shape[::-1]])).reshape(3, -1)
    places = RAS_FROM_LPS[:3, :3] @ (volume.ijk_to_ras[:3, :3] @ corners + volume.ijk_to_ras[:3, 3:])
    low, high = places.min(axis=1), places.max(axis=1)
    counts = np.maximum(np.ceil((high - low) / _GRID_MM).astype(int) + 1, 4)
    lps = np.diag([_GRID_MM, _GRID_MM, _GRID_MM, 1.0])
    lps[:3, 3] = low
    shape = (int(counts[2]), int(counts[1]), int(counts[0]))
    low_value, high_value = np.percentile(volume.voxels[:: max(1, len(volume.voxels) // 64)], _PERCENTILES)
    found = resample(volume, Grid(shape, RAS_FROM_LPS @ lps), outside=float(low_value))
    arrays = np.clip(found.voxels, low_value, high_value), found.covered.astype(np.uint8)
    image, mask = (SimpleITK.GetImageFromArray(array) for array in arrays)
    for made in (image, mask):
        made.SetSpacing([_GRID_MM] * 3)
        made.SetOrigin(low.tolist())
    return image, mask


def _method(fixed: _Image, moving: _Image) -> SimpleITK.ImageRegistrationMethod:
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(fixed[1])
    method.SetMetricMovingMask(moving[1])
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetMetricSamplingStrategy(method.RANDOM)
    voxels = fixed[0].GetNumberOfPixels()
    method.SetMetricSamplingPercentagePerLevel([min(1.0, _SAMPLES * factor**3 / voxels) for factor in _SHRINK], _SEED)
    method.SetShrinkFactorsPerLevel(_SHRINK)
    method.SetSmoothingSigmasPerLevel(_SMOOTHING_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, _ITERATIONS, relaxationFactor=0.5)
    method.SetOptimizerScalesFromPhysicalShift()
    # Sums of several threads' parts would depend on which ends first.
    method.SetNumberOfWorkUnits(1)
    return method


def _starts(images: list[_Image]) -> list[SimpleITK.Euler3DTransform]:
    initializer = SimpleITK.CenteredTransformInitializerFilter
    (fixed, _), (moving, _) = images
    geometry, moments = (
        SimpleITK.Euler3DTransform(
            SimpleITK.CenteredTransformInitializer(fixed, moving, SimpleITK.Euler3DTransform(), mode).Downcast()
        )
        for mode in (initializer.GEOMETRY, initializer.MOMENTS)
    )
    as_they_lie = SimpleITK.Euler3DTransform()
    as_they_lie.SetCenter(geometry.GetCenter())
    return [as_they_lie, geometry, moments]


def _information(
    method: SimpleITK.ImageRegistrationMethod, images: list[_Image], transform: SimpleITK.Euler3DTransform
) -> float:
    """Return the mutual information (nats) of the images with a transform; minus infinity where they do not meet."""
    method.SetInitialTransform(transform, inPlace=False)
    try:
        return -float(method.MetricEvaluate(*(image for image, _ in images)))
    except RuntimeError:
        return -np.inf


def _motion(transform: SimpleITK.Euler3DTransform) -> np.ndarray:
    """Turn SimpleITK's transform, from fixed to moving in LPS, into the motion from moving to fixed in RAS."""
    rotation = np.reshape(transform.GetMatrix(), (3, 3))
    centre = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - rotation @ centre
    return RAS_FROM_LPS @ np.linalg.inv(matrix) @ RAS_FROM_LPS
