"""What a PET scanner would show of a simulated head when nothing corrects for attenuation and scatter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from upgan.errors import InputError
from upgan.images.volume import Volume
from upgan.simulation.phantom import Head
from upgan.simulation.projector import Projector

Image = NDArray[np.float32]

CARNEY_2006: dict[int, tuple[float, float, float]] = {
    80: (3.64e-5, 0.0626, 50.0),
    100: (4.43e-5, 0.0544, 52.0),
    110: (4.92e-5, 0.0488, 43.0),
    120: (5.10e-5, 0.0471, 47.0),
    130: (5.51e-5, 0.0424, 37.0),
    140: (5.64e-5, 0.0408, 30.0),
}
"""Slope (1/cm per HU), intercept (1/cm) and break point (HU) per tube voltage (kVp); Carney, Med Phys 2006, 33:976."""

WATER_SLOPE = 9.6e-5
"""Attenuation per HU below the break point, for every voltage (1/cm): water attenuates 0.096/cm at 511 keV."""

SIGMA_PER_FWHM = 1.0 / np.sqrt(8.0 * np.log(2.0))

RECONSTRUCTION_PIXELS = 2.25
"""Width in the plane (FWHM, pixels) that projection, Hann window and back-projection alone give a point.

With it, and a Gaussian filter added in quadrature, the width of the finished image is right within 2 % for filters from
0 to 12 mm, wherever the point lies (``Testing/Engine/simulation/test_simulation.py``).
"""


class Scanner(BaseModel):
    """A PET scanner and the CT beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    angles: int = Field(default=120, ge=8, le=1024, description="Views over 180 degrees.")
    resolution_mm: float | None = Field(
        default=None,
        gt=0.0,
        le=30.0,
        description="FWHM of a point in the finished image, in the plane and across slices; the filter follows from "
        "it. None: as filter_mm gives it, see finished_width_mm.",
    )
    filter_mm: float = Field(
        default=5.0,
        ge=0.0,
        le=30.0,
        description="FWHM of the Gaussian filter after the reconstruction, where that counts.",
    )
    counts: float = Field(default=1.0e6, gt=0.0, le=1e12, description="Mean coincidences per slice, scatter included.")
    scatter_fraction: float = Field(default=0.25, ge=0.0, lt=1.0, description="Scattered share of the coincidences.")
    scatter_fwhm_mm: float = Field(default=120.0, gt=0.0, le=1000.0, description="Width of the scatter kernel.")
    kilovoltage: int = Field(default=120, description="Tube voltage of the CT (kVp), as tabulated by Carney 2006.")

    @model_validator(mode="before")
    @classmethod
    def _read_earlier_name(cls, content: Any) -> Any:
        """Manifests of earlier versions call the filter's width ``fwhm_mm``, and took it for the finished image's."""
        if isinstance(content, dict) and "fwhm_mm" in content and "filter_mm" not in content:
            content = {**content, "filter_mm": content["fwhm_mm"]}
            del content["fwhm_mm"]
        return content

    def filter_widths_mm(self, pixel_mm: float) -> tuple[float, float]:
        """FWHM of the filter across slices and in the plane.

        Args:
            pixel_mm: Side of the square pixels.

        Raises:
            InputError: ``resolution_too_fine`` where the reconstruction alone is wider than ``resolution_mm``.
        """
        if self.resolution_mm is None:
            return self.filter_mm, self.filter_mm
        finest = RECONSTRUCTION_PIXELS * pixel_mm
        if self.resolution_mm < finest:
            raise InputError(
                "resolution_too_fine",
                f"On pixels of {pixel_mm:g} mm a finished image cannot have a resolution of {self.resolution_mm:g} mm: "
                f"the reconstruction alone has {finest:.2g} mm.",
                f"Ask for {math.ceil(10 * finest) / 10:g} mm or more, or use smaller pixels.",
            )
        return self.resolution_mm, math.sqrt(self.resolution_mm**2 - finest**2)

    def finished_width_mm(self, pixel_mm: float) -> tuple[float, float]:
        """FWHM of a point in the finished image, across slices and in the plane; by default 5.0 and 6.7 at 2 mm.

        Args:
            pixel_mm: Side of the square pixels.

        Raises:
            InputError: ``resolution_too_fine``.
        """
        across, within = self.filter_widths_mm(pixel_mm)
        return across, math.hypot(within, RECONSTRUCTION_PIXELS * pixel_mm)


def hu_to_mu(hu: NDArray[np.floating] | float, kilovoltage: int = 120) -> Image:
    """Convert CT numbers (HU) to linear attenuation at 511 keV (1/cm), as Carney et al. 2006 do.

    Raises:
        InputError: If the tube voltage is not in the table.
    """
    if kilovoltage not in CARNEY_2006:
        known = ", ".join(str(value) for value in CARNEY_2006)
        raise InputError(
            "unknown_kilovoltage",
            f"The conversion from HU to attenuation is not known for {kilovoltage} kVp.",
            f"Choose one of {known} kVp.",
        )
    slope, intercept, break_point = CARNEY_2006[kilovoltage]
    values = np.asarray(hu, dtype=np.float64)
    soft = WATER_SLOPE * (values + 1000.0)
    bone = slope * (values + 1000.0) + intercept
    return np.maximum(np.where(values < break_point, soft, bone), 0.0).astype(np.float32)


def simulate_nac_pet(head: Head, scanner: Scanner | None = None, seed: int | None = None) -> Volume:
    """Simulate the PET of a head without attenuation or scatter correction.

    Args:
        head: CT and uptake on one grid with square pixels.
        scanner: Default scanner if none is given.
        seed: The seed of the counting noise; the head's own seed if none is given.

    Returns:
        Relative uptake as seen, float32 [K,J,I], never negative, on the grid of the CT.

    Raises:
        InputError: If pixels are not square, the voltage is unknown, or ``resolution_too_fine``.
    """
    scanner = scanner or Scanner()
    spacing = _spacing_mm(head.ct)
    across, within = scanner.filter_widths_mm(spacing[2])
    projector = _projector(head.ct, scanner, spacing)
    rng = np.random.default_rng(np.random.SeedSequence([head.seed if seed is None else seed, 511]))
    trues = attenuated_sinogram(head, scanner, projector)
    scatter = scatter_sinogram(trues, scanner, spacing)
    counted = add_counting_noise(trues + scatter, scanner.counts, rng)
    image = projector.filtered_back_projection(counted)
    widths = (across, within, within)
    blurred = gaussian_filter(
        image, [width * SIGMA_PER_FWHM / step for width, step in zip(widths, spacing, strict=True)]
    )
    # Iterative reconstructions of the clinic know no negative uptake either.
    return Volume(np.maximum(blurred, 0.0).astype(np.float32), head.ct.ijk_to_ras)


def attenuated_sinogram(head: Head, scanner: Scanner, projector: Projector) -> Image:
    """Project the uptake and weaken every line of response by exp(-∫μ), [K,angles,bins]."""
    chords = projector.forward(hu_to_mu(head.ct.voxels, scanner.kilovoltage))
    sinogram: Image = projector.forward(head.activity.voxels) * np.exp(-chords)
    return sinogram


def scatter_sinogram(trues: Image, scanner: Scanner, spacing_mm: tuple[float, float, float]) -> Image:
    """Smear the unscattered coincidences broadly over bins, views and slices, scaled to the scatter fraction.

    A convolution model in the spirit of Bailey and Meikle (Phys Med Biol 1994, 39:411); no photon is traced.
    """
    if scanner.scatter_fraction == 0.0:
        return np.zeros_like(trues)
    sigma_mm = scanner.scatter_fwhm_mm * SIGMA_PER_FWHM
    smooth = gaussian_filter1d(trues, sigma_mm / spacing_mm[2], axis=-1, mode="constant", truncate=3.0)
    smooth = gaussian_filter1d(smooth, sigma_mm / spacing_mm[0], axis=0, mode="nearest", truncate=3.0)
    smooth = _smooth_over_views(smooth)
    ratio = scanner.scatter_fraction / (1.0 - scanner.scatter_fraction)
    total = float(smooth.sum())
    scaled: Image = smooth * np.float32(ratio * float(trues.sum()) / total if total > 0.0 else 0.0)
    return scaled


def _smooth_over_views(sinogram: Image) -> Image:
    # The view at 180 degrees is the first one seen from behind.
    views = sinogram.shape[1]
    margin = max(1, views // 6)
    behind = sinogram[:, :, ::-1]
    extended = np.concatenate([behind[:, -margin:], sinogram, behind[:, :margin]], axis=1)
    smooth: Image = gaussian_filter1d(extended, views / 18.0, axis=1, truncate=3.0)[:, margin:-margin]
    return smooth


def add_counting_noise(sinogram: Image, counts: float, rng: np.random.Generator) -> Image:
    """Replace expected coincidences by Poisson-distributed ones and keep the unit; `counts` is the mean per slice."""
    total = float(sinogram.sum(dtype=np.float64))
    if total <= 0.0:
        return sinogram
    per_unit = counts * len(sinogram) / total
    return (rng.poisson(sinogram * per_unit) / per_unit).astype(np.float32)


def _spacing_mm(volume: Volume) -> tuple[float, float, float]:
    """Voxel size along K, J, I."""
    i, j, k = (float(value) for value in volume.spacing)
    return k, j, i


def _projector(volume: Volume, scanner: Scanner, spacing_mm: tuple[float, float, float]) -> Projector:
    _, j, i = spacing_mm
    if abs(i - j) > 1e-3 * i:
        raise InputError(
            "pixels_not_square",
            f"The pixels of the slices measure {i:g} x {j:g} mm; the simulated scanner needs square ones.",
            "Resample the CT to square pixels.",
        )
    rows, columns = volume.voxels.shape[1:]
    return Projector(rows, columns, scanner.angles, i / 10.0)
