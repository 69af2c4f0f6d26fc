"""Where pairs are, how they become slices, and how many patients go where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from upgan.images.orientation import Plane
from upgan.schema import Section
from upgan.simulation.degradation import Choice
from upgan.tasks import TASKS

# Of patients: beyond it nothing ends.
_MOST = 10**9

Layout = Literal["manifest", "csv", "pattern", "bids", "ixi"]


# No scanner has smaller pixels, and no image larger ones; in between, sizes and times stay numbers to reckon with.
_Millimetres = Annotated[float, Field(ge=1e-3, le=1e3)]


PixelSize = tuple[_Millimetres, _Millimetres]
"""Rows and columns in mm."""


class DataConfig(Section):
    """Where the pairs are and how they become slices."""

    path: Path
    """File or folder that ``layout`` reads; relative to the configuration file."""
    layout: Layout = "manifest"
    """manifest (of `upgan simulate`), csv (columns subject, input, target, and split if wanted), pattern, bids, ixi."""
    input: str = ""
    """pattern: of the input files below ``path``, e.g. "{subject}/pet.nii.gz"; bids: suffix, e.g. "pet"."""
    target: str = ""
    """pattern: of the target files below ``path``; bids: suffix, e.g. "ct"."""
    task: str = "pet_to_ct"
    """pet_to_ct, mr_to_ct, mri_undersampled or mri_motion; a base model brings its own."""
    degradation: Choice = "none"
    """Makes the inputs from the targets, or "none", which reads them. Masks of k-space: central_lines, central_block,
    published_lines, regular_4x, regular_8x, random_4x, random_8x, or undersampling, which is all of these along either
    axis. Motions: sudden_motion, drifting_motion, periodic_motion, or any_motion, which is these three along either
    axis; or motion, the published one. Instead of a name, a section [data.degradation] may say kinds, axis, snr and
    severity."""
    plane: Plane = "axial"
    """Plane of the slices; a base model brings its own."""
    spacing_mm: PixelSize | None = None
    """Pixel size (rows, columns) to train on; the base model's, or else the training inputs' median."""
    register_pairs: bool = False
    """Align each target rigidly to its input before anything else."""
    trust_guessed_places: bool = False
    """Resample and register also images whose files say no place, or two, where they were taken to lie."""
    skip_bad: bool = False
    """Leave out subjects whose images cannot be used instead of refusing to start."""
    statement: str = ""
    """Where the data come from, for the model's card; a manifest brings its own sentence."""

    @model_validator(mode="after")
    def _is_complete(self) -> DataConfig:
        if self.task not in TASKS:
            raise ValueError(f"there is no task '{self.task}', but {', '.join(TASKS)}")
        if self.layout in ("pattern", "bids"):
            needed = ["target"] if self.degradation != "none" else ["input", "target"]
            for name in needed:
                if not getattr(self, name):
                    raise ValueError(f"the layout '{self.layout}' needs '{name}'")
        if self.degradation != "none" and not TASKS[self.task].output.relative:
            raise ValueError(f"a degradation makes no inputs for the task '{self.task}'")
        if self.layout == "ixi" and self.degradation == "none":
            raise ValueError("IXI holds clean images only: choose a degradation")
        return self


class SplitConfig(Section):
    """How many subjects go where; by subject, never by slice. The paper has 29/5/15 for PET→CT."""

    train: int | None = Field(None, ge=1, le=_MOST)
    """Subjects to train on; all that are left where not given."""
    validation: int | None = Field(None, ge=1, le=_MOST)
    """Subjects to watch; a tenth where not given."""
    test: int | None = Field(None, ge=1, le=_MOST)
    """Subjects held out for the model's card; three tenths where not given."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the shuffling before the split."""
