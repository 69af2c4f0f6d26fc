"""What was measured on validation patients to correct a model's uncertainty, as its bundle carries it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from upgan.images.hounsfield import TISSUES
from upgan.schema import Label
from upgan.uncertainty.tissues import blended

# Factors of α, and figures of whatever kind, lie within these. The authors' wiring with β at its smallest, 0.1, asks
# for 1e-12 or, for 90 % intervals that fit, 1e-16: σ is 5e12 times α there, and such an interval 1e12 times as wide.
FACTORS = (1e-20, 1e9)


_Factor = Annotated[float, Field(ge=FACTORS[0], le=FACTORS[1])]


_Level = Annotated[float, Field(ge=0, le=1)]


_Count = Annotated[int, Field(ge=1, le=10**12)]


class TissueCalibration(BaseModel):
    """What was measured in the voxels whose translated value is that of one tissue.

    Attributes:
        tissue: The class of ``upgan.images.hounsfield.TISSUES`` that b̂ is of; the truth is not known at inference.
        patients: The number of validation patients who have enough such voxels; where there was none, 0, and the
            factor is that of the whole body.
        scale: Factor of the last phase's α, within ``FACTORS``.
        conformal: As in ``Calibration``, of a patient's voxels of this class.
        note: What the table claims and what it does not, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    tissue: Literal["air", "soft", "bone"]
    patients: int = Field(ge=0, le=10**12)
    scale: _Factor
    conformal: dict[_Level, _Level | None]
    note: str


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
        tissues: In HU, what holds for the last phase tissue by tissue, in the order of
            ``upgan.images.hounsfield.TISSUES``; its factors take the place of the last phase's scale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    measured_on: Label = "validation"
    patients: _Count
    voxels: _Count
    scale: tuple[_Factor, ...] = Field(min_length=1, max_length=16)
    conformal: dict[_Level, _Level | None]
    note: str
    tissues: tuple[TissueCalibration, ...] | None = None

    @model_validator(mode="after")
    def _has_each_tissue_once(self) -> Calibration:
        if self.tissues is not None and [each.tissue for each in self.tissues] != list(TISSUES):
            raise ValueError(f"calibration.tissues must be {', '.join(TISSUES)}, in this order")
        return self

    @property
    def applied(self) -> float | dict[str, Any]:
        """What the last phase's α was multiplied with, as the provenance has it, JSON-able.

        The factor; or by tissue ``{"scale", "patients", "conformal"}``, from which a viewer makes intervals.
        """
        if self.tissues is None:
            return self.scale[-1]
        said = {"scale", "patients", "conformal"}
        return {each.tissue: each.model_dump(mode="json", include=said) for each in self.tissues}

    def factor(self, phase: int, image: np.ndarray) -> np.ndarray:
        """Return what the network's own α of a phase is multiplied with, float32 of the image's shape.

        Whoever has the engine's α and wants the network's, for which the conformal tables are, divides by this.

        Args:
            phase: The first being 1.
            image: b̂ of that phase in the task's unit (HU), any shape.
        """
        if self.tissues is None or phase < len(self.scale):
            return np.full(np.shape(image), self.scale[phase - 1], dtype=np.float32)
        return blended([each.scale for each in self.tissues], image).astype(np.float32)
