"""What was found of one pair of images, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from upgan.pairs.finding import PairFiles
from upgan.pairs.preparation import (
    combined_sha256,
)


class Problem(NamedTuple):
    """What is wrong, in one sentence without patient data; an error makes a pair, or the set, unusable."""

    code: str
    sentence: str
    remedy: str
    severity: Literal["error", "warning"]


@dataclass(frozen=True)
class CheckedPair:
    """A pair and what was found.

    Attributes:
        files: The subject with its files.
        problems: The errors and warnings, in the order in which they were found.
        slices: The number of slices that the network will see; 0 where unknown.
        shape: Rows and columns of the slices as stored; zeros where unknown.
        spacing_mm: Pixel size (rows, columns) of the slices in mm; zeros where unknown.
        figures: What the pair is compared with the others by: ``body_ml``, the patient's volume in the target;
            ``target_median``, HU in the patient (a wrong rescaling); ``reference``, the input intensity that becomes 1
            (a wrong unit); ``overlap``, Dice of the input's foreground and the target's patient, and ``similarity``,
            normalised mutual information (both: images that do not belong together). Of registered pairs also
            ``shift_mm``, ``rotation_deg`` and ``information_gain`` (nats).
        checksums: SHA-256 of the voxels of ``input`` and ``target``.
        thumbnails: Pictures of ``input`` and ``target``, where asked for.
    """

    files: PairFiles
    problems: tuple[Problem, ...] = ()
    slices: int = 0
    shape: tuple[int, int] = (0, 0)
    spacing_mm: tuple[float, float] = (0.0, 0.0)
    figures: dict[str, float] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    thumbnails: dict[str, Path] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether the pair can be trained on."""
        return not any(problem.severity == "error" for problem in self.problems)

    @property
    def sha256(self) -> str:
        """Checksum of the subject's images, the same as ``sha256`` of ``upgan.pairs.preparation.Pair``."""
        return combined_sha256(self.checksums)


# How a pair is warned about whose place is not certain.
UNSURE_PLACE = {"guessed": "guessed_place", "ambiguous": "two_places"}
