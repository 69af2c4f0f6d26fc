"""Slices at a network's pixel size: the same for training and for translation."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.nn import functional as F

from upgan.errors import InputError

# Four max-pools halve the slice four times; padding to this keeps every level whole.
MULTIPLE = 16

# Larger than a whole patient: such a field of view comes from a wrong spacing and would exhaust any memory.
_LARGEST_FIELD_MM = 2500.0


def inner_size(
    shape: tuple[int, ...], spacing_mm: tuple[float, float], wanted_mm: tuple[float, float]
) -> tuple[int, int]:
    """Rows and columns that cover a slice's field of view at another pixel size.

    Args:
        shape: Rows and columns of the slice.
        spacing_mm: Its pixel size (rows, columns).
        wanted_mm: The other pixel size.

    Raises:
        InputError: ``absurd_field_of_view``.
    """
    fields = [count * step for count, step in zip(shape, spacing_mm, strict=True)]
    if max(fields) > _LARGEST_FIELD_MM:
        raise InputError(
            "absurd_field_of_view",
            f"The slices measure {fields[1]:.0f}×{fields[0]:.0f} mm, more than a whole patient.",
            "Check the unit of the image's spacing: it must be millimetres.",
        )
    rows, columns = (max(round(field / step), 1) for field, step in zip(fields, wanted_mm, strict=True))
    return rows, columns


def canvas_size(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Smallest rows and columns that hold slices of all these sizes and that a network can halve four times."""
    rows, columns = (max(side) for side in zip(*sizes, strict=True))
    return rows + -rows % MULTIPLE, columns + -columns % MULTIPLE


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear over the same field of view, smoothed where pixels are lost; nothing where the size stays.

    Args:
        maps: [N, C, H, W].
        size: The new H and W.
    """
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=True)
