"""What several commands ask for in the same way."""

from __future__ import annotations

import math
from enum import StrEnum

import typer


class Planes(StrEnum):
    """Which way slices are cut."""

    axial = "axial"
    coronal = "coronal"
    sagittal = "sagittal"


def finite(value: float | None) -> float | None:
    """Refuse a number that is none, as an option's callback."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("it must be a finite number itself.")
    return value
