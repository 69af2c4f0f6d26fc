"""How sure it is where an image lies in the patient, and what says so."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from upgan.images.unreadable import shown

if TYPE_CHECKING:
    from upgan.images.nifti_forms import NiftiForms

Certainty = Literal["certain", "guessed", "ambiguous"]

# Two places that differ by less than this share of a voxel are one: no reader's choice between them is seen.
SAME_PLACE_VOXELS = 0.1

# By how many mm rounding moves what is written as text or goes through Slicer.
SAME_MM = 1e-3

# Remarks that this project writes and reads in headers of text: how sure an image's place is, where it is not certain,
# and the place that this was said of, as the 12 numbers of the affine to RAS, row by row.
PLACE_KEY = "UncertaintyGuidedI2I.Place"
PLACE_AT_KEY = "UncertaintyGuidedI2I.PlaceAt"

# In characters: file names, which are quoted there, are at most 255 bytes long.
_LONGEST_REMARK = 1000

_MARKED: dict[Certainty, str] = {
    "guessed": "whose file did not say where its voxels lie",
    "ambiguous": "whose file named two places for its voxels",
}


@dataclass(frozen=True, eq=False)
class Placement:
    """What an image's file says of where it lies.

    Attributes:
        certainty: ``guessed`` where the file says nothing, or not all of it; ``ambiguous`` where it names two places.
        sentence: What the user is told: what the file lacks or contradicts and which place was taken; or, of a certain
            place, that Slicer shows the file elsewhere. Empty where there is nothing to say.
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
        other: 4x4, from (i, j, k) to mm.
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


def corners_of(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return where the corner voxels of a grid [K, J, I] lie, [8, 3], mm."""
    corners = np.array(list(itertools.product(*((0, count - 1) for count in shape[::-1]))))
    return corners @ affine[:3, :3].T + affine[:3, 3]


def have_same_corners(ones: np.ndarray, others: np.ndarray) -> bool:
    """Tell whether two grids have the same corners [8, 3], in any order: Slicer turns left-handed axes round."""
    distances = np.linalg.norm(ones[:, None] - others[None], axis=2)
    return bool(distances.min(axis=1).max() < SAME_MM)


def mark_of(placement: Placement) -> bytes:
    """Return what is written into the few bytes of text that a NIfTI header has, where a place is not certain."""
    return b"" if placement.is_certain else f"{PLACE_KEY}={placement.certainty}".encode()


def marked(text: bytes, name: str) -> Placement:
    """Return what ``mark_of`` said in the text of the header of a file, which other programs may have added to.

    There is no room for the place that was guessed: tools that correct it are to drop the text too, as Slicer does.
    """
    for certainty, sentence in _MARKED.items():
        mark = Placement(certainty, f"'{name}' was made of an image {sentence}; its place is no surer.")
        if mark_of(mark) in text:
            return mark
    return CERTAIN


def remarks_of(placement: Placement, ijk_to_ras: np.ndarray) -> dict[str, str]:
    """Return the remarks, each of one line, with which a header of text says that its place is not certain."""
    if placement.is_certain:
        return {}
    return {
        PLACE_KEY: f"{placement.certainty}: {' '.join(placement.sentence.split())}",
        PLACE_AT_KEY: " ".join(f"{number:.9g}" for number in ijk_to_ras[:3].ravel()),
    }


def remarked(remarks: Mapping[str, str], ijk_to_ras: np.ndarray, shape: tuple[int, ...]) -> Placement:
    """Return what ``remarks_of`` said of a place, as long as the image still lies there.

    Slicer keeps the remarks of the NRRD files that it loads and writes them again, also after the user has put the
    image where it belongs.

    Args:
        remarks: The file's remarks, by key.
        ijk_to_ras: The 4x4 affine that the file states, mm.
        shape: Number of voxels (K, J, I).

    Returns:
        A certain place where there is no remark, or one of another place.
    """
    certainty, _, sentence = remarks.get(PLACE_KEY, "").partition(": ")
    if certainty not in ("guessed", "ambiguous"):
        return CERTAIN
    try:
        rows = np.array([float(word) for word in remarks[PLACE_AT_KEY].split()]).reshape(3, 4)
    except (KeyError, ValueError):
        rows = ijk_to_ras[:3]  # Without a place that can be read, the doubt stands.
    if not have_same_corners(corners_of(rows, shape), corners_of(ijk_to_ras, shape)):
        return CERTAIN
    return Placement(certainty, shown(sentence, _LONGEST_REMARK))  # type: ignore[arg-type]
