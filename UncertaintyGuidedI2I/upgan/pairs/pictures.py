"""A patient as the networks will see him: the input that a degradation makes, beside the target it was made from."""

from __future__ import annotations

from pathlib import Path

from upgan.pairs.config import DataConfig
from upgan.pairs.finding import PairFiles
from upgan.pairs.preparation import degraded, read_side
from upgan.pairs.thumbnails import grey_window, middle_slices, thumbnail, write_thumbnail

# Longest side, for whoever wants to see blur, folding and ghosts.
_PIXELS = 256


def write_degraded(files: PairFiles, data: DataConfig, folder: Path) -> dict[str, Path]:
    """Write the middle slice of a patient's target, and of the input made from it, both in one grey window, as PNG.

    Args:
        files: The patient's files, of which the target alone is read.
        data: The degradation and the plane of the slices.
        folder: An existing folder.

    Returns:
        The pictures by side: "input", "target".

    Raises:
        InputError: What ``read_side`` and ``degraded`` raise.
        OutputError: ``not_written``.
    """
    target = middle_slices(read_side(files, "target"), data.plane)
    window = grey_window(target, data.plane)
    paths = {}
    for side, volume in (("input", degraded(target, files.subject, data)), ("target", target)):
        paths[side] = folder / f"degraded_{side}.png"
        write_thumbnail(thumbnail(volume, data.plane, window, _PIXELS), paths[side])
    return paths
