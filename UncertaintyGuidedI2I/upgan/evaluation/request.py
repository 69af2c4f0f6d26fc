"""What the comparison is asked for; apart from it, because whoever asks need not wait for torch."""

from __future__ import annotations

from upgan.schema import Affine, Arguments, FilePath


class CheckArguments(Arguments):
    """What to compare with what.

    Attributes:
        image: .npy file, real numbers [K, J, I].
        alpha: .npy file of the scale α on the image's grid; None where the result has no distribution.
        beta: .npy file of the shape β on the image's grid; None where the result has no distribution.
        ijk_to_ras: 4x4, from the image's indices to common coordinates, mm.
        unit: "HU", or another for which mask and range are taken from the reference.
        reference: .npy file, real numbers, on a grid of its own.
        reference_ijk_to_ras: 4x4, from that grid's indices to the same coordinates, mm.
        output: An existing folder, which receives ``error.npy``: image minus reference, [K, J, I].
        image_placement_note: Why it is not certain where the image lies; empty where it is.
        reference_placement_note: Why it is not certain where the reference lies; empty where it is.
        trust_guessed_places: Whether to resample the reference although a place is not certain.
    """

    image: FilePath
    alpha: FilePath | None = None
    beta: FilePath | None = None
    ijk_to_ras: Affine
    unit: str
    reference: FilePath
    reference_ijk_to_ras: Affine
    output: FilePath
    image_placement_note: str = ""
    reference_placement_note: str = ""
    trust_guessed_places: bool = False
