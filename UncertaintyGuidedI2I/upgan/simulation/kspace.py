"""What a scanner measures of an image's k-space when it leaves lines out, and what is seen of that.

K-space is centred throughout, as numpy's ``fftshift`` leaves it: of N lines, frequency zero is number N // 2. So is the
image: its pixel (H // 2, W // 2) is the origin, as scanners and their libraries have it. The transform keeps energy
(it is orthonormal), so that Parseval's theorem holds without a factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from upgan.errors import InputError

MaskKind = Literal[
    "central_lines", "central_block", "published_lines", "regular_4x", "regular_8x", "random_4x", "random_8x"
]
MASKS: tuple[MaskKind, ...] = get_args(MaskKind)

Axis = Literal["rows", "columns"]
"""What phase-encoding lines are of a slice's k-space, as rows and columns of the slice count them."""

# Of the phase-encoding lines; 12.5-fold undersampling. A block of this share of each side holds as much.
KEPT_LINES = 0.08
KEPT_SIDE = 0.283

# Of the lines, in the middle, that are measured whatever else is: as in fastMRI (Zbontar et al. 2018).
_FULLY_SAMPLED = {4: 0.08, 8: 0.04}

# Of the distance from the centre: the density of random lines falls with it (Lustig et al. 2007).
_DENSITY_POWER = 2

# Of the 99th percentile of an image: what is brighter is the object.
_OBJECT = 0.1


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of one slice or several, in k-space.

    Attributes:
        lines: Complex [..., H, W], centred; zero where nothing was measured.
        mask: Where something was, boolean [H, W].
    """

    lines: np.ndarray
    mask: np.ndarray

    @property
    def image(self) -> np.ndarray:
        """Return the magnitude of the image that is left when the rest is taken as zero, float32 [..., H, W]."""
        return np.abs(to_image(self.lines)).astype(np.float32)


def mask(kind: MaskKind, shape: tuple[int, int], axis: Axis, rng: np.random.Generator) -> np.ndarray:
    """Return which part of k-space is measured, boolean [H, W], centred; frequency zero always is.

    Args:
        kind: Of the N lines along ``axis``,
            ``central_lines``: the central round(0.08·N), at least one;
            ``central_block``: the central 28.3 % of both sides, rounded (``axis`` makes no difference);
            ``published_lines``: as the authors' script has it, with d = ⌊⌊0.12·N⌋ / 4⌋, at least 1, the 2·d central
            lines and d at random on each side of them: 14 + 7 + 7 of 256;
            ``regular_4x``, ``regular_8x``: round(N / R) lines, of which 8 % (R = 4) or 4 % (R = 8) of N are the central
            ones and the others lie at equal distances, as far as whole numbers allow, from a random first one on;
            ``random_4x``, ``random_8x``: as many, the others at random, at most likely near the centre: the density
            falls as (1 − |k| / (N/2 + 1))².
        shape: Rows and columns (H, W); odd ones, too.
        axis: Whether the lines are k-space's rows or its columns.
        rng: What random lines are drawn from; the first three kinds but ``published_lines`` draw nothing.

    Raises:
        InputError: ``one_line`` where there is a single line to measure or leave out.
    """
    sides = {"rows": shape[0], "columns": shape[1]}
    if kind == "central_block":
        for side, size in sides.items():
            _refuse_one_line(side, size)
        rows, columns = (_central(size, max(1, round(KEPT_SIDE * size))) for size in shape)
        return np.outer(rows, columns)
    _refuse_one_line(axis, sides[axis])
    kept = _lines(kind, sides[axis], rng)
    return np.broadcast_to(kept[:, None] if axis == "rows" else kept, shape).copy()


def _refuse_one_line(axis: str, count: int) -> None:
    if count < 2:
        raise InputError(
            "one_line",
            f"The slices have a single phase-encoding line ({axis}): there is nothing to leave out.",
            "Choose another plane of the slices, or the other axis.",
        )


def _lines(kind: MaskKind, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return which of ``count`` lines are measured, boolean."""
    if kind == "central_lines":
        return _central(count, max(1, round(KEPT_LINES * count)))
    if kind == "published_lines":
        pairs = min(max(1, int(12 * count / 100) // 4), count // 2)
        kept, middle = np.zeros(count, dtype=bool), count // 2
        kept[middle - pairs : middle + pairs] = True
        for side in (np.arange(middle - pairs), np.arange(middle + pairs, count)):
            kept[rng.choice(side, min(pairs, side.size), replace=False)] = True
        return kept
    fold = 8 if kind.endswith("_8x") else 4
    kept = _central(count, max(1, round(_FULLY_SAMPLED[fold] * count)))
    outer = np.flatnonzero(~kept)
    wanted = max(0, round(count / fold) - int(kept.sum()))
    if wanted and kind.startswith("regular"):
        step = outer.size / wanted
        kept[outer[(step * (np.arange(wanted) + rng.random())).astype(int)]] = True
    elif wanted:
        density = (1 - np.abs(outer - count // 2) / (count / 2 + 1)) ** _DENSITY_POWER
        kept[rng.choice(outer, wanted, replace=False, p=density / density.sum())] = True
    return kept


def _central(count: int, kept: int) -> np.ndarray:
    """Return the ``kept`` central ones of ``count`` lines; of an even number, the one without counterpart is negative.

    The magnitude of a real image would be the same with the positive one.
    """
    first = count // 2 - kept // 2
    places = np.arange(count)
    return (places >= first) & (places < first + kept)


def undersample(image: np.ndarray, mask: np.ndarray, snr: float | None, rng: np.random.Generator) -> Measured:
    """Measure a part of the k-space of an image, or of several of one acquisition.

    Args:
        image: Real or complex [..., H, W].
        mask: What is measured, boolean [H, W], as ``mask`` gives it.
        snr: Mean magnitude of the object's pixels (those above a tenth of the 99th percentile) over the standard
            deviation of the real part, and of the imaginary part, of the noise in the image of a full k-space; None for
            no noise. It is the same noise in all of the images.
        rng: What the noise is drawn from.

    Raises:
        InputError: ``nothing_measured`` where the mask keeps nothing.
    """
    return measure(to_kspace(image), mask, noise_level(image, snr), rng)


def measure(kspace: np.ndarray, mask: np.ndarray, noise: float, rng: np.random.Generator) -> Measured:
    """Keep a part of a full k-space [..., H, W], with noise of this standard deviation of each part added.

    Raises:
        InputError: ``nothing_measured`` where the mask keeps nothing.
    """
    if not mask.any():
        raise InputError(
            "nothing_measured",
            "The mask keeps nothing of k-space, so that no image is left.",
            "Choose a mask that keeps the lines in the middle of k-space at least.",
        )
    if noise:
        real, imaginary = rng.standard_normal((2, *kspace.shape), dtype=kspace.real.dtype.type)
        kspace = kspace + kspace.real.dtype.type(noise) * (real + 1j * imaginary)
    return Measured(np.where(mask, kspace, 0), mask)


def noise_level(image: np.ndarray, snr: float | None) -> float:
    """Return the standard deviation of the noise that gives an image this SNR, as ``undersample`` defines it."""
    if snr is None:
        return 0.0
    magnitude = np.abs(image)
    is_object = magnitude > _OBJECT * np.percentile(magnitude, 99)
    return float(magnitude[is_object].mean(dtype=np.float64)) / snr if is_object.any() else 0.0


def root_sum_of_squares(coils: np.ndarray) -> np.ndarray:
    """Join the coils' images [C, ..., H, W], real or complex, to one magnitude [..., H, W], float32."""
    return np.sqrt((np.abs(coils) ** 2).sum(axis=0)).astype(np.float32)


def to_kspace(image: np.ndarray) -> np.ndarray:
    """Transform images [..., H, W] to k-space, both centred; orthonormal. float32 gives complex64."""
    plane = (-2, -1)
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, plane), norm="ortho"), plane)


def to_image(kspace: np.ndarray) -> np.ndarray:
    """Transform k-space [..., H, W] to complex images, the inverse of ``to_kspace``."""
    plane = (-2, -1)
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, plane), norm="ortho"), plane)


def keep_central_lines(slices: np.ndarray) -> np.ndarray:
    """Keep the central round(0.08·H) of the H rows of k-space, at least one, and fill up with zeros.

    What ``central_lines`` along the rows gives but for rounding, with half of the transforms: models were trained on
    these numbers. The mean is kept always.

    Args:
        slices: [N, H, W].

    Returns:
        Magnitudes, same shape, float32.
    """
    rows = slices.shape[-2]
    kept = max(1, round(KEPT_LINES * rows))
    lowest = -(kept // 2)
    # All frequencies along a line are kept, so that the transform along it would cancel out.
    spectrum = np.fft.fft(slices, axis=-2)
    line = np.fft.fftfreq(rows, 1 / rows).round()
    spectrum[..., (line < lowest) | (line >= lowest + kept), :] = 0
    return np.abs(np.fft.ifft(spectrum, axis=-2)).astype(np.float32)
