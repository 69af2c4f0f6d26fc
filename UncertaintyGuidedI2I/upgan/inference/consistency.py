"""Data consistency: what was measured of k-space takes the place of what a network made up for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from upgan.errors import InputError
from upgan.images.orientation import Plane
from upgan.inference.measurement import Measurement
from upgan.simulation.kspace import root_sum_of_squares, to_image, to_kspace

# Of an image's norm: how far it may be from the zero-filled image of what was measured, rounding of files included.
_LARGEST_DIFFERENCE = 0.05

# An intensity scale that differs by less from one is one.
_SAME_SCALE = 1e-5

# Rounds in which the coils' shares are estimated anew. One spoils a good image of a network with the coarse shares of
# the middle of k-space; many let any image find shares with which it has the measured lines as it is.
_ROUNDS = 3

_NOTES = {
    True: "The image is real: the opposite of each measured point of k-space is known, too. Measured points and their "
    "opposites are those of the measurement, in single precision; where both were measured and differ by noise, their "
    "mean.",
    False: "The phase of the image, and what each coil sees of it, are estimates from what was measured. Each coil's "
    "complex image has exactly the measured lines; the magnitude that is handed on joins them by the root of the sum "
    "of squares and has no phase, so that it alone has not.",
}


class Consistency:
    """Puts the measured lines back into the images of slices, on the pixels that were acquired.

    Of a real image without noise this is the orthogonal projection on all images that have the measured lines, the true
    one among them: the squared error over a slice cannot grow. α, β and σ are the network's own, of its image before
    the step, and stay as they are: what was measured has no error of the network's any more, and σ does not say how
    much that was, so that it is, on average over a slice, rather too large than too small.

    Args:
        measurement: What was measured.
        slices: The input's slices [N, H, W].
        plane: The plane that they were cut in.

    Raises:
        InputError: ``other_measurement`` where the input is not the zero-filled image of what was measured, up to a
            factor; ``other_plane`` where it was measured in another plane than it is translated in.
    """

    def __init__(self, measurement: Measurement, slices: np.ndarray, plane: Plane) -> None:
        self._measurement = measurement
        if measurement.plane != plane:
            raise InputError(
                "other_plane",
                f"The lines were measured in {measurement.plane} slices, and the image is translated in {plane} ones.",
                f"Choose the plane {measurement.plane}, or translate the image without the measured lines.",
            )
        self.scale = _scale(measurement, slices)
        # By phase, of each slice: squared distance of the measured points before and after.
        self._before: dict[int, np.ndarray] = {}
        self._after: dict[int, np.ndarray] = {}
        self._measured = float(self.scale**2 * np.square(np.abs(measurement.lines), dtype=np.float64).sum())
        if measurement.is_real:
            self._known = _symmetric(measurement.mask)
        else:
            self._window = _window(measurement.mask)

    def applied(self, phase: int | None, first: int, images: np.ndarray) -> np.ndarray:
        """Return images with the measured lines in them.

        Args:
            phase: Whose images they are, to be noted; None where they are not.
            first: The number of the first of the slices.
            images: [n, H, W] in the input's intensity unit.

        Returns:
            float32 [n, H, W].
        """
        lines = self.scale * self._measurement.lines[:, first : first + len(images)].astype(np.complex128)
        given = images.astype(np.float64)[None]
        if self._measurement.is_real:
            shares, known = np.ones((1, 1, 1, 1)), (lines + np.conj(_opposite(lines))) / np.maximum(self._known, 1)
            coils = to_image(np.where(self._known == 0, to_kspace(given), known))
            found = coils[0].real.astype(np.float32)
        else:
            shares, measured = _shares(to_image(lines * self._window)), self._measurement.mask
            for _ in range(_ROUNDS):
                coils = to_image(np.where(measured, lines, to_kspace(shares * given)))
                shares = _shares(coils)
            found = root_sum_of_squares(coils)
        if phase is not None:
            for noted, image in ((self._before, given), (self._after, found.astype(np.float64)[None])):
                distances = noted.setdefault(phase, np.zeros(self._measurement.lines.shape[1]))
                distances[first : first + len(images)] = self._distances(to_kspace(shares * image), lines)
        return found

    def _distances(self, spectrum: np.ndarray, lines: np.ndarray) -> np.ndarray:
        """Squared distance of the measured points of each slice, [n]."""
        squares: np.ndarray = np.square(np.abs(spectrum - lines)[..., self._measurement.mask]).sum(axis=(0, 2))
        return squares

    def to_json(self) -> dict[str, Any]:
        """Say for the provenance what was done."""
        norm = max(self._measured, np.finfo(np.float64).tiny)
        return {
            "measured_share": float(self._measurement.mask.mean()),
            "coils": self._measurement.lines.shape[0],
            "is_real": self._measurement.is_real,
            "scale": self.scale,
            "phases": {
                str(phase): {
                    "deviation_of_the_network": _share(self._before[phase], norm),
                    "deviation": _share(self._after[phase], norm),
                }
                for phase in sorted(self._before)
            },
            "sigma": "unchanged",
            "note": _NOTES[self._measurement.is_real],
        }


def _share(squares: np.ndarray, norm: float) -> float:
    return float(np.sqrt(squares.sum() / norm))


def _scale(measurement: Measurement, slices: np.ndarray) -> float:
    """Return by what the measured lines are multiplied to be in the image's unit."""
    zero_filled = measurement.zero_filled()
    is_alike = zero_filled.shape == slices.shape
    scale, difference = 1.0, np.inf
    if is_alike:
        products = [
            [float(np.sum(one, dtype=np.float64)) for one in (z * s, z * z, s * s)]
            for z, s in zip(zero_filled, slices.astype(np.float32), strict=True)
        ]
        both, measured, given = np.sum(products, axis=0)
        if both > 0:
            scale = 1.0 if abs(both / measured - 1) < _SAME_SCALE else float(both / measured)
            difference = np.sqrt(max(given - 2 * scale * both + scale**2 * measured, 0) / given)
    if not difference < _LARGEST_DIFFERENCE:
        raise InputError(
            "other_measurement",
            "The image is not what the measured lines show when the rest of k-space is taken as zero.",
            "Choose the image and the lines that were written together, on the grid on which they were measured.",
        )
    return scale


def _shares(coils: np.ndarray) -> np.ndarray:
    """Return each coil's share of the image with its phase, complex [C, n, H, W], squares summing to one."""
    together = np.sqrt(np.square(np.abs(coils)).sum(axis=0))
    shares: np.ndarray = coils / np.maximum(together, np.finfo(np.float64).tiny)
    return shares


def _opposite(spectrum: np.ndarray) -> np.ndarray:
    """Return what lies at -k, of each point k of centred spectra [..., H, W]."""
    rows, columns = ((2 * (size // 2) - np.arange(size)) % size for size in spectrum.shape[-2:])
    return spectrum[..., rows[:, None], columns]


def _symmetric(mask: np.ndarray) -> np.ndarray:
    """Return how many measured points tell of each point of a real image's k-space: of itself and its opposite."""
    return mask.astype(int) + _opposite(mask)


def _window(mask: np.ndarray) -> np.ndarray:
    """Return a Hann window over the middle of k-space that was measured without a gap, [H, W]; all, if there is none.

    What aliases, which regular lines do, must not become a coil's sensitivity.
    """
    rows, columns = (_middle_run(line) for line in (mask[:, mask.shape[1] // 2], mask[mask.shape[0] // 2]))
    window = np.outer(rows, columns)
    if not window.any() or not mask[window > 0].all():
        return mask.astype(np.float64)
    return window


def _middle_run(line: np.ndarray) -> np.ndarray:
    """Return a window over the unbroken run of measured places about the middle; ones where that is all of them."""
    middle = line.size // 2
    if line.all():
        return np.ones(line.size)
    ends = np.flatnonzero(~line)
    below, above = ends[ends <= middle].max(initial=-1), ends[ends >= middle].min(initial=line.size)
    reach = min(middle - below, above - middle)
    distance = np.abs(np.arange(line.size) - middle)
    return np.where(distance < reach, 0.5 + 0.5 * np.cos(np.pi * distance / max(reach, 1)), 0.0)
