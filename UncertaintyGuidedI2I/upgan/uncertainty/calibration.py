"""What was measured on validation patients to correct a model's uncertainty, as its bundle carries it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from upgan.schema import Label

# Factors of α, and figures of whatever kind, lie within these. The authors' wiring with β at its smallest, 0.1, asks
# for 1e-12: σ is 5e12 times α there.
FACTORS = (1e-15, 1e9)


_Factor = Annotated[float, Field(ge=FACTORS[0], le=FACTORS[1])]


_Level = Annotated[float, Field(ge=0, le=1)]


_Count = Annotated[int, Field(ge=1, le=10**12)]


class Calibration(BaseModel):
    """What was measured on validation patients to correct a model's uncertainty.

    Attributes:
        measured_on: The part of the data whose errors were looked at.
        patients: The number of patients in it.
        voxels: The number of voxels drawn at random from each patient's body, to which the scale was fitted.
        scale: Factor s of each phase's α, within ``FACTORS``.
        conformal: For the last phase, from a share of a patient's voxels to the nominal level u of the network's own
            central intervals that holds it; None where there were too few patients to say.
        note: What the table claims and what it does not, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    measured_on: Label = "validation"
    patients: _Count
    voxels: _Count
    scale: tuple[_Factor, ...] = Field(min_length=1, max_length=16)
    conformal: dict[_Level, _Level | None]
    note: str
