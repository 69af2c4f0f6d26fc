"""What an MR scanner would show of a simulated head in a T1-weighted sequence, another one for every patient."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from upgan.errors import InputError
from upgan.images.volume import Volume
from upgan.simulation.mr_signal import fat_offset_hz, inversion_prepared_gradient_echo, spoiled_gradient_echo
from upgan.simulation.noise import Shape, Spacing, correlated_noise, slow_noise
from upgan.simulation.phantom import Head, simulate_head
from upgan.simulation.relaxation import Relaxation, relaxations_of_a_patient
from upgan.simulation.tissue import Tissue

Image = NDArray[np.float32]
ComplexImage = NDArray[np.complex64]

BIAS_LIMIT = 2.5
"""No voxel is brighter or darker by more than this factor because of the coils."""

RANDOM_CONTRAST: dict[Tissue, tuple[float, float]] = {
    Tissue.AIR: (0.0, 0.0),
    Tissue.SKIN: (0.35, 1.8),
    Tissue.FAT: (0.35, 2.8),
    Tissue.MUSCLE: (0.35, 1.2),
    Tissue.COMPACT_BONE: (0.0, 0.12),
    Tissue.MARROW: (0.25, 2.2),
    Tissue.GREY: (0.45, 1.05),
    Tissue.WHITE: (1.0, 1.0),
    Tissue.CSF: (0.05, 0.5),
    Tissue.DURA: (0.3, 1.6),
    Tissue.BLOOD: (0.05, 2.2),
    Tissue.MUCOSA: (0.4, 1.6),
    Tissue.GLAND: (0.5, 1.8),
    Tissue.VITREOUS: (0.05, 0.5),
    Tissue.LENS: (0.3, 1.1),
    Tissue.CARTILAGE: (0.25, 1.1),
}
"""Limits within which a randomised contrast draws each tissue's intensity, as a fraction of white matter's."""

# Mottled more or less: standard deviation within a tissue, relative. Fat is lobed, marrow patchy, muscle striped.
_MOTTLE = {Tissue.FAT: 0.10, Tissue.MARROW: 0.22, Tissue.MUSCLE: 0.10, Tissue.GLAND: 0.12, Tissue.MUCOSA: 0.12}
_MOTTLE_ELSEWHERE = 0.035
_MOTTLING = np.array([_MOTTLE.get(tissue, _MOTTLE_ELSEWHERE) for tissue in Tissue])

_SIGMA_PER_FWHM = 1.0 / math.sqrt(8.0 * math.log(2.0))


class Acquisition(BaseModel):
    """One T1-weighted scan: sequence, coils, resolution and noise.

    Axes are those of the voxels, [K, J, I].
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    field_t: float = Field(default=3.0, ge=1.5, le=3.0, description="Field strength, T.")
    sequence: Literal["spoiled", "inversion_prepared", "randomised"] = Field(
        default="spoiled",
        description="Spoiled gradient echo; the same as a train after an inversion (MPRAGE); or intensities by chance.",
    )
    flip_degrees: float = Field(default=20.0, gt=0.0, le=180.0, description="Flip angle.")
    tr_ms: float = Field(default=20.0, gt=0.0, le=10_000.0, description="From pulse to pulse.")
    te_ms: float = Field(default=4.0, ge=0.0, le=100.0, description="Echo time.")
    ti_ms: float = Field(default=900.0, gt=0.0, le=10_000.0, description="Inversion to the middle of the train.")
    cycle_ms: float = Field(default=2000.0, gt=0.0, le=20_000.0, description="Inversion to inversion.")
    echoes: int = Field(default=160, ge=1, le=1000, description="Pulses in the train after an inversion.")
    intensities: dict[str, float] = Field(
        default_factory=dict, description="Randomised contrast: each tissue's intensity, white matter 1."
    )
    fat_left: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="Share of fat's signal that is there: less after water-selective pulses.",
    )
    flow: float = Field(default=1.0, ge=0.0, le=5.0, description="Flowing blood's signal over that of resting blood.")
    bandwidth_hz: float = Field(default=200.0, gt=0.0, le=10_000.0, description="Receiver bandwidth of one pixel.")
    readout_axis: Literal[0, 1, 2] = Field(default=1, description="Axis along which fat is shifted.")
    readout_sign: Literal[-1, 1] = Field(default=1, description="Direction of the shift along that axis.")
    pixel_mm: float = Field(default=1.0, gt=0.0, le=10.0, description="Acquired pixel, in the plane.")
    slice_mm: float = Field(default=1.0, gt=0.0, le=20.0, description="Acquired thickness (FWHM) of slices.")
    bias: float = Field(default=0.2, ge=0.0, le=1.0, description="Unevenness of the coils: sigma of its logarithm.")
    surface: float = Field(default=0.1, ge=-1.0, le=1.0, description="How much brighter (log) skin is than the centre.")
    neck: float = Field(default=0.3, ge=0.0, le=2.0, description="How much darker (log) the lowest slice is.")
    snr: float = Field(default=40.0, gt=0.0, description="White matter over the noise (sigma of the real part).")
    background_cut: bool = Field(default=False, description="Whether the scanner sets to zero what is only noise.")
    white_matter: float = Field(default=500.0, gt=0.0, le=5000.0, description="White matter's intensity, any unit.")

    @property
    def fat_shift_mm(self) -> float:
        """How far fat appears from where it is, along the readout axis (mm)."""
        return self.readout_sign * fat_offset_hz(self.field_t) / self.bandwidth_hz * self.pixel_mm


def simulate_mr_head(seed: int) -> Head:
    """Simulate a head with its tissues; its scalp is up to 3 mm thicker than that of the same seed for PET.

    On real T1 images of adults the scalp measures 5 to 9 mm in the slices below the vertex.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 9]))
    return simulate_head(seed, with_tissues=True, more_scalp_mm=float(rng.uniform(0.0, 3.0)))


def draw_acquisition(seed: int) -> Acquisition:
    """Draw one scan within what clinical T1-weighted sequences use; a third have a randomised contrast."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 64]))
    kind = str(rng.choice(["spoiled_3d", "spoiled_2d", "inversion_prepared", "randomised"], p=[0.2, 0.15, 0.3, 0.35]))
    field_t = 1.5 if rng.random() < 0.4 else 3.0
    drawn: dict[str, Any] = {
        "field_t": field_t,
        "sequence": "spoiled" if kind.startswith("spoiled") else kind,
        "flow": float(rng.choice([rng.uniform(0.0, 0.5), rng.uniform(0.8, 3.5)])),
        # Per tesla, so that fat's shift is about the same: half a pixel to three.
        "bandwidth_hz": field_t * float(np.exp(rng.uniform(math.log(65.0), math.log(250.0)))),
        "readout_axis": int(rng.integers(3)),
        "readout_sign": int(rng.choice([-1, 1])),
        "pixel_mm": float(rng.uniform(0.8, 1.3) if rng.random() < 0.7 else rng.uniform(1.3, 2.6)),
        "slice_mm": float(rng.uniform(0.8, 1.6) if kind != "spoiled_2d" else rng.uniform(3.0, 5.5)),
        "bias": float(rng.uniform(0.02, 0.22)),
        "surface": float(rng.uniform(-0.25, 0.45)),
        "neck": float(rng.uniform(0.0, 0.9)),
        "snr": float(np.exp(rng.uniform(math.log(30.0), math.log(200.0)))),
        "background_cut": bool(rng.random() < 0.6),
        "white_matter": float(np.exp(rng.uniform(math.log(80.0), math.log(1200.0)))),
    }
    if kind in ("spoiled_3d", "inversion_prepared") and rng.random() < 0.85:
        drawn["fat_left"] = float(rng.uniform(0.2, 0.75))
    if kind == "spoiled_3d":
        drawn |= _uniform(rng, flip_degrees=(12.0, 32.0), tr_ms=(8.0, 30.0), te_ms=(1.8, 6.0))
    elif kind == "spoiled_2d":
        drawn |= _uniform(rng, flip_degrees=(65.0, 90.0), tr_ms=(180.0, 600.0), te_ms=(2.2, 8.0))
    elif kind == "inversion_prepared":
        drawn |= _uniform(rng, flip_degrees=(7.0, 12.0), tr_ms=(6.5, 9.5), te_ms=(2.2, 4.6), ti_ms=(800.0, 1100.0))
        drawn |= _uniform(rng, cycle_ms=(1900.0, 2500.0)) | {"echoes": int(rng.integers(128, 177))}
    else:
        drawn["intensities"] = {
            tissue.name: float(np.exp(rng.uniform(math.log(low), math.log(high))))
            if low
            else float(high * rng.random())
            for tissue, (low, high) in RANDOM_CONTRAST.items()
        }
    return Acquisition(**drawn)


def _uniform(rng: np.random.Generator, **limits: tuple[float, float]) -> dict[str, float]:
    return {name: float(rng.uniform(low, high)) for name, (low, high) in limits.items()}


def simulate_t1(head: Head, acquisition: Acquisition | None = None) -> Volume:
    """Simulate a T1-weighted image of a head.

    Args:
        head: A head with its tissues.
        acquisition: The scan; drawn from the head's seed if none is given.

    Returns:
        Intensities in an arbitrary unit, float32 [K,J,I], never negative, on the grid of the CT.

    Raises:
        InputError: ``no_tissues`` where the head was simulated without.
    """
    if head.tissues is None:
        raise InputError(
            "no_tissues",
            "An MR image cannot be simulated of a head whose tissues were not kept.",
            "Simulate the head with its tissues.",
        )
    acquisition = acquisition or draw_acquisition(head.seed)
    i, j, k = (float(value) for value in head.ct.spacing)
    spacing_mm = (k, j, i)
    patient, body, coils, noise = (
        np.random.default_rng(part) for part in np.random.SeedSequence([head.seed, 42]).spawn(4)
    )
    water, fat = tissue_signals(acquisition, relaxations_of_a_patient(acquisition.field_t, patient))
    in_water, fat_real, fat_imaginary, mottled = _mixed(head.tissues, [water, fat.real, fat.imag, _MOTTLING])
    mottle = _mottle(mottled, body, spacing_mm)
    voxels = acquisition.fat_shift_mm / spacing_mm[acquisition.readout_axis]
    in_fat = shifted(mottle * (fat_real + 1j * fat_imaginary), voxels, acquisition)
    seen = mottle * in_water + in_fat
    seen *= coil_bias(acquisition, seen.shape, coils, spacing_mm)
    seen = at_resolution(seen.astype(np.complex64), acquisition, spacing_mm)
    white = abs(water[Tissue.WHITE])
    magnitude = add_rician_noise(seen, white / acquisition.snr, noise)
    if acquisition.background_cut:
        smooth = gaussian_filter(magnitude, 1.0)
        magnitude = np.where(smooth > 2.5 * white / acquisition.snr, magnitude, np.float32(0.0))
    scaled = magnitude * np.float32(acquisition.white_matter / white)
    return Volume(scaled.astype(np.float32), head.ct.ijk_to_ras)


def tissue_signals(
    acquisition: Acquisition, patient: dict[Tissue, Relaxation]
) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Give what the water and the fat of a voxel full of each tissue contribute, [tissue].

    Fat's phase at the echo time lets a voxel of both be darker than either, as in gradient echoes of real scanners.
    """
    phase = np.exp(-2j * np.pi * fat_offset_hz(acquisition.field_t) * acquisition.te_ms / 1000.0)
    if acquisition.sequence == "randomised":
        phase = 1.0 + 0.0j
    water, fat = np.zeros(len(Tissue)), np.zeros(len(Tissue), dtype=np.complex128)
    for tissue, properties in patient.items():
        # Water in fatty tissue relaxes about as fat there does, of what is known of the two together.
        signal = _signal(acquisition, tissue, properties)
        water[tissue] = signal * (1.0 - properties.fat)
        fat[tissue] = signal * properties.fat * acquisition.fat_left * phase
    return water, fat


def _signal(acquisition: Acquisition, tissue: Tissue, properties: Relaxation) -> float:
    a, p = acquisition, properties
    if a.sequence == "randomised":
        return a.intensities[tissue.name]
    if a.sequence == "spoiled":
        signal = spoiled_gradient_echo(p.density, p.t1_ms, p.t2_star_ms, a.flip_degrees, a.tr_ms, a.te_ms)
    else:
        signal = inversion_prepared_gradient_echo(
            p.density, p.t1_ms, p.t2_star_ms, a.flip_degrees, a.tr_ms, a.te_ms, a.ti_ms, a.cycle_ms, a.echoes
        )
    return signal * (a.flow if tissue is Tissue.BLOOD else 1.0)


def _mixed(tissues: Image, values: list[NDArray[np.float64]]) -> Image:
    """Average lists of one value a tissue over the tissues of each voxel, [list,K,J,I]."""
    mixed: Image = np.tensordot(np.stack(values).astype(np.float32), tissues, axes=1)
    return mixed


def _mottle(amount: Image, rng: np.random.Generator, spacing_mm: Spacing) -> Image:
    shape = amount.shape
    grain = 0.8 * correlated_noise(rng, shape, 1.5, spacing_mm) + 0.6 * slow_noise(rng, shape, (8, 10, 9))
    mottle: Image = np.clip(1.0 + grain * amount, 0.3, 2.0)
    return mottle


def shifted(image: ComplexImage, voxels: float, acquisition: Acquisition) -> ComplexImage:
    """Shift an image along the readout axis by a number of voxels, whole or not; the borders repeat."""
    axis = acquisition.readout_axis
    whole = math.floor(voxels)
    count = image.shape[axis]
    places = np.arange(count) - whole
    near, far = (np.take(image, np.clip(index, 0, count - 1), axis=axis) for index in (places, places - 1))
    rest = np.float32(voxels - whole)
    moved: ComplexImage = (1 - rest) * near + rest * far
    return moved


def coil_bias(acquisition: Acquisition, shape: Shape, rng: np.random.Generator, spacing_mm: Spacing) -> Image:
    """Give the factor by which coils brighten each voxel [K,J,I], smooth, within ``BIAS_LIMIT`` and its inverse."""
    field = acquisition.bias * slow_noise(rng, shape, (3, 3, 3))
    k, j, i = (
        (np.arange(count, dtype=np.float32) - (count - 1) / 2.0) * step
        for count, step in zip(shape, spacing_mm, strict=True)
    )
    # An array of coils lies about the head; skin is some 90 mm from its axis.
    off_axis = (j[:, None] / 100.0) ** 2 + (i / 80.0) ** 2
    field = field + acquisition.surface * (np.minimum(off_axis, 1.5) - 0.5)
    below = np.clip(-k / (-float(k[0]) or 1.0), 0.0, 1.0)
    field -= acquisition.neck * (below**2)[:, None, None]
    limit = math.log(BIAS_LIMIT)
    bias: Image = np.exp(limit * np.tanh(field / limit)).astype(np.float32)
    return bias


def at_resolution(image: ComplexImage, acquisition: Acquisition, spacing_mm: Spacing) -> ComplexImage:
    """Blur to what was acquired: k-space ends in the plane, with a soft end; slices have a Gaussian profile.

    What is finer than the voxels of the grid is left as it is.
    """
    for axis in (1, 2):
        kept = spacing_mm[axis] / acquisition.pixel_mm
        if kept < 1.0:
            frequency = np.abs(np.fft.fftfreq(image.shape[axis])) / 0.5
            window = np.clip((kept * 1.1 - frequency) / (kept * 0.2), 0.0, 1.0).astype(np.float32)
            window = window.reshape([-1 if other == axis else 1 for other in range(3)])
            image = np.fft.ifft(window * np.fft.fft(image, axis=axis), axis=axis).astype(np.complex64)
    if acquisition.slice_mm > spacing_mm[0]:
        width = math.sqrt(acquisition.slice_mm**2 - spacing_mm[0] ** 2) * _SIGMA_PER_FWHM / spacing_mm[0]
        parts = (gaussian_filter1d(part, width, axis=0, mode="nearest") for part in (image.real, image.imag))
        real, imaginary = parts
        image = (real + 1j * imaginary).astype(np.complex64)
    return image


def add_rician_noise(image: ComplexImage, sigma: float, rng: np.random.Generator) -> Image:
    """Add Gaussian noise of `sigma` to real and imaginary part and give the magnitude."""
    real, imaginary = (rng.standard_normal(image.shape, dtype=np.float32) * np.float32(sigma) for _ in range(2))
    magnitude: Image = np.hypot(image.real + real, image.imag + imaginary)
    return magnitude
