"""What makes a clean MR image worse: the inputs of the two MRI tasks, made from their targets."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import AfterValidator, Discriminator, Field, Tag

from upgan.images.orientation import Plane, Reorientation
from upgan.images.volume import Volume
from upgan.schema import Section
from upgan.simulation.kspace import MASKS, Axis, MaskKind, keep_central_lines, mask, undersample
from upgan.simulation.motion import (
    LARGEST_SEVERITY,
    MOTIONS,
    MotionKind,
    move_during_acquisition,
    move_slices,
)

Kind = Literal[MaskKind, MotionKind, "motion"]
"""One way of making an image worse: a mask of ``kspace``, or a motion of ``motion``; ``motion`` itself is TorchIO's."""

Name = Literal["none", "undersampling", MaskKind, "any_motion", MotionKind, "motion"]
"""What a user may say in one word: nothing, a kind, or several kinds."""

NAMES: tuple[Name, ...] = get_args(Name)
"""All of them, in the order of a menu."""


def _not_none(kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
    if not kinds:
        raise ValueError("names no kind of degradation")
    return kinds


def _ascending(severity: tuple[float, float]) -> tuple[float, float]:
    if severity[0] > severity[1]:
        raise ValueError("is a least and a greatest severity, in this order")
    return severity


_Severity = Annotated[float, Field(ge=0, le=LARGEST_SEVERITY)]


class Degradation(Section):
    """Of which kinds a degradation is, and how strong."""

    kinds: Annotated[tuple[Kind, ...], AfterValidator(_not_none)]
    """One or several; of these one is drawn for every slice in training, and once for a whole volume otherwise."""
    axis: Literal["rows", "columns", "either"] = "rows"
    """Phase-encoding lines: rows, columns, or one of them, drawn as the kind is."""
    snr: float | None = Field(None, gt=0, le=1e6)
    """Mean of the object over the standard deviation of the noise, complex in k-space; none where not given."""
    severity: Annotated[tuple[_Severity, _Severity], AfterValidator(_ascending)] = (1.0, 5.0)
    """How far the patient moves in the three ways of ours, mm and degrees: drawn from within, as the kind is."""


# Of those names that stand for more than their own kind along the rows. A scanner's axis is the operator's choice.
_SEVERAL = {
    "undersampling": Degradation(kinds=MASKS, axis="either"),
    "any_motion": Degradation(kinds=MOTIONS, axis="either"),
}

_NAME, _TABLE = "(name)", "(table)"
FORMS = (_NAME, _TABLE)
"""What pydantic calls the two forms of a choice where it says which value is wrong."""


def _form(value: Any) -> str:
    return _TABLE if isinstance(value, dict | Degradation) else _NAME


Choice = Annotated[Annotated[Name, Tag(_NAME)] | Annotated[Degradation, Tag(_TABLE)], Discriminator(_form)]
"""A degradation as a configuration has it: a name stays one."""


def degradation_of(choice: Name | Degradation) -> Degradation | None:
    """Return what a choice stands for; None for ``none``."""
    if isinstance(choice, Degradation):
        return choice
    if choice == "none":
        return None
    return _SEVERAL[choice] if choice in _SEVERAL else Degradation.model_validate({"kinds": (choice,)})


def degrade_slices(
    slices: np.ndarray, choice: Name | Degradation, rng: np.random.Generator, spacing_mm: tuple[float, float]
) -> np.ndarray:
    """Degrade slices of one acquisition: all by the same kind, axis and mask, each with motion and noise of its own.

    Args:
        slices: Real intensities [N, H, W], any scale: whatever they are multiplied by, the result is too.
        choice: A name or more; ``none`` hands them through.
        rng: What random is drawn from; nothing else is. Where there is no choice nothing is drawn.
        spacing_mm: Distance of rows and of columns.

    Returns:
        Magnitudes, [N, H, W] float32.

    Raises:
        InputError: ``one_line`` where the slices have a single phase-encoding line.
    """
    degradation = degradation_of(choice)
    if degradation is None:
        return slices
    kind = degradation.kinds[rng.integers(len(degradation.kinds)) if len(degradation.kinds) > 1 else 0]
    axis: Axis = _drawn_axis(rng) if degradation.axis == "either" else degradation.axis
    if kind == "central_lines" and axis == "rows" and degradation.snr is None:
        return keep_central_lines(slices)
    if kind in MASKS:
        measured = mask(kind, slices.shape[-2:], axis, rng)
    else:
        if kind == "motion":
            slices = np.stack([_moved(image, axis, rng, spacing_mm) for image in slices])
        elif kind in MOTIONS:
            slices, _ = move_slices(slices, kind, rng.uniform(*degradation.severity), rng, spacing_mm, axis)
        if degradation.snr is None:
            return slices
        measured = np.ones(slices.shape[-2:], dtype=bool)
    # In single precision, as k-space is stored.
    return undersample(np.asarray(slices, dtype=np.float32), measured, degradation.snr, rng).image


def _drawn_axis(rng: np.random.Generator) -> Axis:
    return "columns" if rng.integers(2) else "rows"


def _moved(image: np.ndarray, axis: Axis, rng: np.random.Generator, spacing_mm: tuple[float, float]) -> np.ndarray:
    if axis == "rows":
        return move_during_acquisition(image, rng, spacing_mm)
    return move_during_acquisition(image.T, rng, spacing_mm[::-1]).T


def degrade_volume(volume: Volume, choice: Name | Degradation, plane: Plane, seed: int) -> Volume:
    """Degrade a volume slice by slice in a plane; the result lies on the volume's own grid.

    Args:
        volume: A clean image, any orientation.
        choice: A name or more, but not ``none``.
        plane: The plane of the slices, whose rows and columns are those that a radiologist views.
        seed: The same seed gives the same image.

    Raises:
        InputError: ``one_line`` where the slices have a single phase-encoding line.
    """
    layout = Reorientation.of(volume.ijk_to_ras, plane)
    made = degrade_slices(layout.apply(volume.voxels), choice, np.random.default_rng(seed), layout.in_plane_spacing)
    return replace(volume, voxels=np.ascontiguousarray(layout.undo(made)))
