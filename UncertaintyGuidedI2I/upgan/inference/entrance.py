"""How an image comes to the networks, in training as in use: laid out in slices, measured, cut to what is seen."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from upgan.images.orientation import Plane, Reorientation
from upgan.images.outline import object_box
from upgan.images.volume import Volume
from upgan.networks.in_plane import InPlaneGrid
from upgan.tasks import Intensities, Task


class Entrance(NamedTuple):
    """An image on its way to the networks.

    Attributes:
        layout: From the volume to its slices.
        slices: The volume's own voxels, [N, J, I].
        intensities: How they become network units, and outputs become intensities.
        grid: From the slices to the network's pixels and back.
    """

    layout: Reorientation
    slices: np.ndarray
    intensities: Intensities
    grid: InPlaneGrid

    @classmethod
    def of(
        cls, volume: Volume, task: Task, plane: Plane, spacing_mm: tuple[float, float], margin_mm: float | None
    ) -> Self:
        """Look at a volume as networks will that were trained so.

        Args:
            volume: The input, finite.
            task: What it is translated by.
            plane: The plane of the slices.
            spacing_mm: The networks' pixel size (rows, columns).
            margin_mm: Of air around the object that they see; they see, and intensities are measured on, the whole
                field of view where None. With a margin neither more air nor another place in it changes anything.

        Raises:
            InputError: What ``Task.measure`` and ``InPlaneGrid.of`` refuse.
        """
        layout = Reorientation.of(volume.ijk_to_ras, plane)
        slices = layout.apply(volume.voxels)
        box = None if margin_mm is None else object_box(slices)
        window, measured = None, volume.voxels
        if box is not None and margin_mm is not None:
            window = box.grown(margin_mm, layout.in_plane_spacing)
            seen = box.cut(slices)
            # A block that fills its box has its contrast with the air alone.
            if seen.min() < seen.max():
                measured = seen
        rows, columns = slices.shape[1:]
        # Before intensities are measured: a grid that is refused needs no look at the voxels.
        grid = InPlaneGrid.of((rows, columns), layout.in_plane_spacing, spacing_mm, window)
        return cls(layout, slices, task.measure(measured), grid)
