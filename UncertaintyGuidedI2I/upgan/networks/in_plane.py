"""Slices at a network's pixel size: the same for training, for translation and, without torch, for its estimate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from upgan.errors import InputError
from upgan.images.outline import Window

if TYPE_CHECKING:
    from torch import Tensor

# Four max-pools halve the slice four times; padding to this keeps every level whole.
MULTIPLE = 16

# Larger than a whole patient: such a field of view comes from a wrong spacing and would exhaust any memory.
_LARGEST_FIELD_MM = 2500.0

# Of one slice: a whole body at 0.5 mm. The networks hold some hundred maps of that size at once.
_MOST_PIXELS = 2048 * 2048


def inner_size(
    shape: tuple[int, ...], spacing_mm: tuple[float, float], wanted_mm: tuple[float, float]
) -> tuple[int, int]:
    """Rows and columns that cover a slice's field of view at another pixel size.

    Args:
        shape: Rows and columns of the slice.
        spacing_mm: The slice's pixel size (rows, columns) in mm.
        wanted_mm: The other pixel size (rows, columns) in mm.

    Raises:
        InputError: ``absurd_field_of_view``, or ``absurd_matrix`` for more than four million pixels.
    """
    fields = [count * step for count, step in zip(shape, spacing_mm, strict=True)]
    if max(fields) > _LARGEST_FIELD_MM:
        raise InputError(
            "absurd_field_of_view",
            f"The slices measure {fields[1]:.0f}×{fields[0]:.0f} mm, more than a whole patient.",
            "Check the unit of the image's spacing: it must be millimetres.",
        )
    rows, columns = (max(round(field / step), 1) for field, step in zip(fields, wanted_mm, strict=True))
    if rows * columns > _MOST_PIXELS:
        raise InputError(
            "absurd_matrix",
            f"At the model's pixel size of {wanted_mm[1]:g}×{wanted_mm[0]:g} mm a slice of this image has "
            f"{columns}×{rows} pixels, more than any network takes.",
            "Choose a model of coarser pixels, or crop the image.",
        )
    return rows, columns


def canvas_size(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Smallest rows and columns that hold slices of all these sizes and that a network can halve four times."""
    rows, columns = (max(side) for side in zip(*sizes, strict=True))
    return _room(rows), _room(columns)


class InPlaneGrid(NamedTuple):
    """How slices get to a network's pixel size and back.

    Attributes:
        outside: Rows and columns of the image's slices.
        window: What the network sees of them, and of nothing beyond them.
        inside: Rows and columns of the window at the network's pixel size.
    """

    outside: tuple[int, int]
    window: Window
    inside: tuple[int, int]

    @classmethod
    def of(
        cls,
        shape: tuple[int, int],
        spacing_mm: tuple[float, float],
        wanted_mm: tuple[float, float],
        window: Window | None = None,
    ) -> InPlaneGrid:
        """Cover slices of a shape and pixel size (rows, columns), or a window in them, with pixels of another size.

        Raises:
            InputError: What ``inner_size`` raises.
        """
        window = window or Window.whole(shape)
        return cls(shape, window, inner_size((window.rows, window.columns), spacing_mm, wanted_mm))

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns that the network sees."""
        rows, columns = self.inside
        return _room(rows), _room(columns)

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """Pixels added left, right, above and below for the network."""
        rows, columns = (room - size for room, size in zip(self.padded, self.inside, strict=True))
        return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2

    def enter(self, slices: Tensor) -> Tensor:
        """[N, 1, J, I] → [N, 1, H, W] at the network's pixel size, padded with zeros."""
        return self.seat(self.resized(slices))

    def resized(self, slices: Tensor) -> Tensor:
        """[N, 1, J, I] → the window at the network's pixel size; zeros where it reaches beyond the slices."""
        from torch.nn import functional as F

        left, right, top, bottom = self._beyond
        # What is negative is cut off.
        return resize(F.pad(slices, (left, right, top, bottom)), self.inside)

    def seat(self, slices: Tensor) -> Tensor:
        """Pad what ``resized`` gave, so that a network can halve it: [N, 1, H, W]."""
        import torch
        from torch.nn import functional as F

        return F.pad(slices, self.padding).contiguous(memory_format=torch.channels_last)

    def mirrored(self, maps: Tensor) -> Tensor:
        """Exchange left and right of padded slices or maps [N, C, H, W] as if the image had been stored so."""
        left, _, top, _ = self.padding
        rows, columns = self.inside
        return self.seat(maps[:, :, top : top + rows, left : left + columns].flip(-1))

    def leave(self, maps: Tensor) -> Tensor:
        """[N, C, H, W] → [N, C, J, I], the inverse; what lies outside the window goes on as the median of its rim."""
        left, _, top, _ = self.padding
        rows, columns = self.inside
        seen = resize(maps[:, :, top : top + rows, left : left + columns], (self.window.rows, self.window.columns))
        if self.window == Window.whole(self.outside):
            return seen
        rim = [seen[..., 0, :], seen[..., -1, :], seen[..., :, 0], seen[..., :, -1]]
        around = rim[0].new_empty((*maps.shape[:2], *self.outside))
        around[:] = _joined(rim).median(dim=-1).values[..., None, None]
        here, there = self.window.overlap(self.outside)
        around[:, :, here[0], here[1]] = seen[:, :, there[0], there[1]]
        return around

    @property
    def _beyond(self) -> tuple[int, int, int, int]:
        """Pixels by which the window reaches beyond the slices left, right, above and below."""
        top, left, rows, columns = self.window
        return -left, left + columns - self.outside[1], -top, top + rows - self.outside[0]


def _joined(parts: list[Tensor]) -> Tensor:
    import torch

    return torch.cat(parts, dim=-1)


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear over the same field of view, smoothed where pixels are lost; nothing where the size stays.

    Args:
        maps: [N, C, H, W].
        size: The new H and W.
    """
    from torch.nn import functional as F

    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=True)


def _room(size: int) -> int:
    return size + -size % MULTIPLE
