"""What a model's metadata.json must say, and within which limits; needs no torch, so that a viewer can ask it.

Every number is finite and lies where those of real models do: nothing here can make a result infinite, a matrix
endless or a file's name another's.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from upgan.bundles.domain import Domain
from upgan.bundles.layout import AGAIN, NAME, WEIGHTS
from upgan.bundles.strangers import check_names
from upgan.errors import BundleError
from upgan.images.orientation import Plane
from upgan.images.volume import SPACING_LIMITS_MM
from upgan.networks.architecture import Architecture, kind_of
from upgan.networks.cost import Cost
from upgan.schema import Label
from upgan.tasks import Task
from upgan.uncertainty.calibration import Calibration

_LARGEST_FIGURE = 1e12

LONGEST_VERSION = 64

_Spacing = Annotated[float, Field(ge=SPACING_LIMITS_MM[0], le=SPACING_LIMITS_MM[1])]


def _measurable(figures: dict[str, Any]) -> dict[str, Any]:
    """Refuse numbers that nobody measured, at any depth; what they mean is for people to read."""
    pending: list[Any] = [figures]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list | tuple):
            pending.extend(value)
        elif isinstance(value, int | float) and not abs(value) <= _LARGEST_FIGURE:
            raise ValueError(f"holds a number beyond ±{_LARGEST_FIGURE:g}, or none")
    return figures


class ModelSection(BaseModel):
    """The section ``upgan`` of metadata.json: what the engine needs to know.

    Attributes:
        architecture: The networks.
        task: The translation, whole: a bundle may bring a task of its own.
        plane: The plane of the slices on which the networks were trained.
        spacing_mm: Pixel size (rows, columns) it was trained on; within the limits of images' spacing.
        domain: What its training inputs were like; unknown in imported and older bundles.
        calibration: How its uncertainty is corrected; not at all in imported and older bundles.
        cost: What the networks cost, as it was counted; not in older bundles.
        sha256: Checksums of the weight files, by path within the bundle.
        figures: What was measured, on what; shown on the card.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    architecture: Architecture
    task: Task
    plane: Plane = "axial"
    spacing_mm: tuple[_Spacing, _Spacing]
    domain: Domain | None = None
    calibration: Calibration | None = None
    cost: Cost | None = None
    sha256: dict[str, str]
    figures: Annotated[dict[str, Any], AfterValidator(_measurable)] = {}

    @model_validator(mode="after")
    def _is_calibrated_in_every_phase(self) -> ModelSection:
        if self.calibration is not None and len(self.calibration.scale) != self.architecture.phases:
            raise ValueError(
                f"calibration.scale has {len(self.calibration.scale)} factors for {self.architecture.phases} phases"
            )
        return self


class BundleMetadata(BaseModel):
    """metadata.json: MONAI's fields are kept as they are, and are never evaluated; ours are validated."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(pattern=rf"^{NAME}$")
    version: Annotated[Label, Field(max_length=LONGEST_VERSION)]
    description: str
    upgan: ModelSection


def checked_metadata(content: dict[str, Any]) -> BundleMetadata:
    """Validate what ``library.read_metadata`` has read.

    Raises:
        BundleError: ``unknown_architecture``, ``metadata_invalid``, ``bundle_unsafe`` for a name that some system
            cannot store, or ``checksum_missing``.
    """
    kind_of(content["upgan"].get("architecture"))
    try:
        metadata = BundleMetadata.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:200]
        raise BundleError(
            "metadata_invalid", f"The model's metadata is wrong at {where}: {first['msg']}.", AGAIN
        ) from error
    check_names([metadata.name])
    if WEIGHTS.as_posix() not in metadata.upgan.sha256:
        raise BundleError("checksum_missing", f"The metadata has no checksum of {WEIGHTS.as_posix()}.", AGAIN)
    return metadata
