"""Where in the patient, and over which intensities, an image is compared with its reference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from upgan.errors import InputError
from upgan.images.hounsfield import HU_RANGE, looks_like_hounsfield
from upgan.images.orientation import Reorientation
from upgan.images.patient import BODY_TEXT, body_mask, foreground_mask
from upgan.images.volume import Volume

# Arbitrary intensities have no natural range; the brightest per mille are vessels and artefacts.
_BRIGHTEST_PERCENTILE = 99.9

# A voxel sample that is enough for percentiles of a whole volume.
_SAMPLE = 2_000_000


@dataclass(frozen=True, eq=False)
class Scope:
    """What a comparison counts; no figure means anything without it.

    Attributes:
        mask: Boolean [K, J, I].
        mask_text: How the mask was made.
        data_range: Intensities (low, high) over which PSNR and SSIM are computed.
        data_range_text: The range with its unit and where it comes from.
        notes: What the user should check.
    """

    mask: np.ndarray
    mask_text: str
    data_range: tuple[float, float]
    data_range_text: str
    notes: tuple[str, ...] = ()


def scope_of(reference: Volume, unit: str) -> Scope:
    """Where and over which intensities whatever is made of a patient is compared with a reference, on its grid.

    It is the one definition of all figures: of the validation during training, of ``report.evaluate``, of a model's
    card and of a check with a reference.

    Args:
        reference: The real image, in any orientation.
        unit: "HU" for a CT; else ``foreground_scope`` applies.

    Returns:
        The scope; its mask is [K, J, I] as the reference stores it.

    Raises:
        InputError: ``no_body`` or ``no_foreground``.
    """
    # Sinuses are filled in axial slices, where bone surrounds them, whatever slices the image is stored in.
    axial = Reorientation.of(reference.ijk_to_ras, "axial")
    voxels = axial.apply(reference.voxels)
    found = scope_in(voxels, np.ones(voxels.shape, dtype=bool), axial.spacing[::-1], unit)
    return replace(found, mask=axial.undo(found.mask))


def scope_in(reference: np.ndarray, covered: np.ndarray, spacing_mm: tuple[float, float, float], unit: str) -> Scope:
    """Do what ``scope_of`` does for axial slices [K, J, I], of which not all may be covered by the reference."""
    return ct_scope(reference, covered, spacing_mm) if unit == "HU" else foreground_scope(reference, covered)


def ct_scope(reference: np.ndarray, covered: np.ndarray, spacing_mm: tuple[float, float, float]) -> Scope:
    """Inside the body of a CT, over the range of SynthRAD 2023.

    Args:
        reference: HU, [K, J, I], axial slices.
        covered: Boolean [K, J, I]: where there is a reference.
        spacing_mm: Voxel size along K, J, I.

    Raises:
        InputError: ``no_body``.
    """
    mask = body_mask(reference, spacing_mm) & covered
    if not mask.any():
        raise InputError(
            "no_body",
            "The reference shows no body: nothing in it is above -500 HU.",
            "Choose the patient's CT, and check that its unit is HU.",
        )
    low, high = HU_RANGE
    return Scope(
        mask,
        f"body of the reference: {BODY_TEXT}",
        HU_RANGE,
        f"{low:g} to {high:g} HU (SynthRAD 2023)",
        _doubts_about_hu(reference, covered),
    )


def foreground_scope(reference: np.ndarray, covered: np.ndarray) -> Scope:
    """Inside the foreground of an image of arbitrary unit, over its own range.

    Args:
        reference: Intensities, [K, J, I], axial slices.
        covered: Boolean [K, J, I]: where there is a reference.

    Raises:
        InputError: ``no_foreground``.
    """
    from skimage.filters import threshold_otsu

    sample = _sample(reference, covered)
    low, high = float(sample.min()), float(np.percentile(sample, _BRIGHTEST_PERCENTILE))
    if not low < high:
        raise InputError("no_foreground", "The reference is the same everywhere.", "Choose another reference.")
    threshold = float(threshold_otsu(np.minimum(sample, high)))
    mask = foreground_mask(np.where(covered, reference, low), threshold) & covered
    if not mask.any():
        raise InputError("no_foreground", "The reference shows no foreground.", "Choose another reference.")
    return Scope(
        mask,
        f"foreground of the reference: largest part above {threshold:.4g} (Otsu), closed and filled",
        (low, high),
        f"{low:.4g} to {high:.4g} (the reference's minimum to its {_BRIGHTEST_PERCENTILE:g}th percentile)",
    )


def _doubts_about_hu(reference: np.ndarray, covered: np.ndarray) -> tuple[str, ...]:
    """Say what speaks against an image being a CT in HU; nothing where nothing does."""
    sample = _sample(reference, covered)
    if looks_like_hounsfield(sample):
        return ()
    low, high = np.percentile(sample, (1, 99))
    return (
        f"The reference does not look like a CT in HU: most of its values lie between {low:.4g} and {high:.4g}. "
        "Check its unit.",
    )


def _sample(reference: np.ndarray, covered: np.ndarray) -> np.ndarray:
    values = reference[covered]
    return values[:: max(1, values.size // _SAMPLE)]
