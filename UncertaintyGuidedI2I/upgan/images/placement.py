"""How sure it is where an image lies in the patient, and what says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from upgan.images.nifti_forms import NiftiForms

Certainty = Literal["certain", "guessed", "ambiguous"]

# Two places that differ by less than this share of a voxel are one: no reader's choice between them is seen.
SAME_PLACE_VOXELS = 0.1


@dataclass(frozen=True, eq=False)
class Placement:
    """What an image's file says of where it lies.

    Attributes:
        certainty: ``guessed`` where the file says nothing, or not all of it; ``ambiguous`` where it names two places.
        sentence: For the user: what the file lacks or contradicts and which place was taken; or, of a certain place,
            that Slicer shows the file elsewhere. Empty where there is nothing to say.
        nifti: How a NIfTI file wrote the place, so that a result in that format can repeat it; None for others.
        taken: The 4x4 affine that was made of that.
    """

    certainty: Certainty = "certain"
    sentence: str = ""
    nifti: NiftiForms | None = None
    taken: np.ndarray | None = None

    def forms_of(self, ijk_to_ras: np.ndarray) -> NiftiForms | None:
        """Return the forms of the file, as long as this still is the affine that was made of them."""
        return self.nifti if self.taken is not None and np.array_equal(self.taken, ijk_to_ras) else None

    @property
    def is_certain(self) -> bool:
        """Whether an image may be put onto another grid without asking."""
        return self.certainty == "certain"


CERTAIN = Placement()

# How a file without a place is shown by ITK, and so by Slicer; RAS.
WITHOUT_PLACE = np.diag([-1.0, -1.0, 1.0, 1.0])

TAKEN_AS_SLICER_DOES = (
    "It was taken as Slicer takes it: the first voxel at the origin, columns towards the patient's left, rows towards "
    "the back, slices upwards"
)
MAY_BE_WRONG = "left and right, front and back or top and bottom may be swapped"


def apart_mm(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """Return the largest distance in mm between where two affines put a grid's corner voxels.

    Args:
        one: 4x4, from (i, j, k) to mm.
        other: Likewise.
        shape: The grid's (K, J, I).
    """
    last = np.array(shape[::-1]) - 1
    corners = np.array([*np.array(np.meshgrid(*[(0, n) for n in last])).reshape(3, -1), np.ones(8)])
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.linalg.norm(((one - other) @ corners)[:3], axis=0).max())


def are_one_place(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Tell whether two affines put every voxel of a grid [K, J, I] within a tenth of a voxel of each other."""
    voxel = float(np.linalg.norm(one[:3, :3], axis=0).min())
    return apart_mm(one, other, shape) <= SAME_PLACE_VOXELS * voxel
