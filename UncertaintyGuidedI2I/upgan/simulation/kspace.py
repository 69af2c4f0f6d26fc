"""What is left of an image when a scanner measures a part of its k-space only."""

from __future__ import annotations

import numpy as np

# Of the phase-encoding lines; 12.5-fold undersampling.
KEPT_LINES = 0.08


def keep_central_lines(slices: np.ndarray) -> np.ndarray:
    """Keep the central round(0.08·H) of the H phase-encoding lines of k-space, at least one, and fill up with zeros.

    The mean is kept always. Of an even number, the line without counterpart is a negative one; the magnitude of a real
    image would be the same with the positive one.

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
