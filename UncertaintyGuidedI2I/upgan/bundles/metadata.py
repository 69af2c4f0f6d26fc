"""What a model's metadata.json must say, and within which limits; needs no torch, so that a viewer can ask it.

Every number is finite and lies where those of real models do: nothing here can make a result infinite, a matrix
endless or a file's name another's.

Models of every earlier version are read for ever. Of a newer one what this version does not know is said and ignored,
but not within the architecture, the task or the calibration: a result could be another without it. So a version that
changes what comes out of a model must say so there.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from pydantic_core import ErrorDetails

from upgan.bundles.domain import Domain
from upgan.bundles.layout import AGAIN, NAME, WEIGHTS
from upgan.bundles.strangers import check_names
from upgan.errors import BundleError
from upgan.foreign_text import escaped
from upgan.images.orientation import Plane
from upgan.images.volume import SPACING_LIMITS_MM
from upgan.networks.architecture import Architecture, kind_of
from upgan.networks.cost import Cost
from upgan.networks.features import feature_count
from upgan.schema import Label
from upgan.tasks import Task
from upgan.uncertainty.calibration import Calibration
from upgan.uncertainty.familiarity import Familiarity

# Of the section that is written. It goes up with every key that is added; sections without it are of the first.
FORMAT = 3

# Where an unknown key may change numbers.
_DECISIVE = ("architecture", "task", "calibration")

_MOST_NAMED = 5

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
        format: Which keys there are; see ``FORMAT``.
        architecture: The networks.
        task: The translation, whole: a bundle may bring a task of its own.
        plane: The plane of the slices on which the networks were trained.
        spacing_mm: Pixel size (rows, columns) it was trained on; within the limits of images' spacing.
        domain: What its training inputs were like; unknown in imported and older bundles.
        calibration: How its uncertainty is corrected; not at all in imported and older bundles.
        familiarity: By which features images are told from those trained on; not in imported and older bundles.
        cost: What the networks cost, as it was counted; not in older bundles.
        sha256: Checksums of the weight files, by path within the bundle.
        figures: What was measured, on what; shown on the card.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int = Field(1, ge=1, strict=True)
    architecture: Architecture
    task: Task
    plane: Plane = "axial"
    spacing_mm: tuple[_Spacing, _Spacing]
    domain: Domain | None = None
    calibration: Calibration | None = None
    familiarity: Familiarity | None = None
    cost: Cost | None = None
    sha256: dict[str, str]
    figures: Annotated[dict[str, Any], AfterValidator(_measurable)] = {}

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, content: Any) -> Any:
        """In format 1 an architecture that says nothing else was guided by σ."""
        if isinstance(content, dict) and content.get("format", 1) == 1:
            sizes = content.get("architecture")
            if isinstance(sizes, dict) and sizes.get("name", "up-gan") == "up-gan" and "hand_over" not in sizes:
                content = {**content, "architecture": {"attention": True, **sizes}}
        return content

    @model_validator(mode="after")
    def _is_calibrated_in_every_phase(self) -> ModelSection:
        if self.calibration is not None and self.calibration.tissues is not None and self.task.unit != "HU":
            raise ValueError("calibration.tissues are classes of HU, which the task's outputs are not in")
        if self.calibration is not None and len(self.calibration.scale) != self.architecture.phases:
            raise ValueError(
                f"calibration.scale has {len(self.calibration.scale)} factors for {self.architecture.phases} phases"
            )
        return self

    @model_validator(mode="after")
    def _corrects_what_can_be_corrected(self) -> ModelSection:
        if getattr(self.architecture, "from_input", False) and not self.task.is_restoration:
            raise ValueError("architecture.from_input: the task's outputs are not on its inputs' scale")
        return self

    @model_validator(mode="after")
    def _has_the_features_it_knows(self) -> ModelSection:
        features = feature_count(self.architecture)
        if self.familiarity is not None and len(self.familiarity.mean) != features:
            raise ValueError(f"familiarity.mean has {len(self.familiarity.mean)} numbers for {features} features")
        return self


class BundleMetadata(BaseModel):
    """metadata.json: MONAI's fields are kept as they are, and are never evaluated; ours are validated."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(pattern=rf"^{NAME}$")
    version: Annotated[Label, Field(max_length=LONGEST_VERSION)]
    description: str
    upgan: ModelSection

    _ignored: tuple[str, ...] = PrivateAttr(())

    @property
    def newer_note(self) -> str:
        """A sentence on what a newer version says of the model and this one does not know; else nothing."""
        if not self._ignored:
            return ""
        named = ", ".join(self._ignored[:_MOST_NAMED])
        more = f" and {len(self._ignored) - _MOST_NAMED} other places" if len(self._ignored) > _MOST_NAMED else ""
        return (
            f"The model was made by a newer version, and what it says at {named}{more} is not known to this one and "
            "ignored; images and uncertainty are the same without it. Update the extension."
        )


def checked_metadata(content: dict[str, Any]) -> BundleMetadata:
    """Validate what ``layout.read_metadata`` has read.

    Raises:
        BundleError: ``unknown_architecture``, ``bundle_newer`` where a newer version made it and results could be
            others than its, ``metadata_invalid``, ``bundle_unsafe`` for a name that some system cannot store, or
            ``checksum_missing``.
    """
    kind_of(content["upgan"].get("architecture"))
    metadata = _validated(content)
    check_names([metadata.name])
    if WEIGHTS.as_posix() not in metadata.upgan.sha256:
        raise BundleError("checksum_missing", f"The metadata has no checksum of {WEIGHTS.as_posix()}.", AGAIN)
    return metadata


def _validated(content: dict[str, Any]) -> BundleMetadata:
    try:
        return BundleMetadata.model_validate(content)
    except ValidationError as error:
        faults = error.errors()
        version = content["upgan"].get("format")
        if type(version) is not int or version <= FORMAT:
            where = _place(faults[0])
            raise BundleError(
                "metadata_invalid", f"The model's metadata is wrong at {where}: {faults[0]['msg']}.", AGAIN
            ) from error
        for fault in faults:
            if fault["type"] != "extra_forbidden" or fault["loc"][1] in _DECISIVE:
                raise _newer(_place(fault)) from error
    metadata = _validated(_without(content, faults))
    metadata._ignored = tuple(map(_place, faults))
    return metadata


def _without(content: dict[str, Any], faults: Sequence[ErrorDetails]) -> dict[str, Any]:
    """Return a copy that lacks what is not known."""
    content = copy.deepcopy(content)
    for fault in faults:
        *sections, key = fault["loc"]
        section: Any = content
        for name in sections:
            section = section[name]
        del section[key]
    return content


def _place(fault: ErrorDetails) -> str:
    """Name the key that is wrong, in at most 200 characters, none of them hidden."""
    return escaped(".".join(map(str, fault["loc"])))[:200]


def _newer(where: str) -> BundleError:
    return BundleError(
        "bundle_newer",
        f"The model was made by a newer version: what it says at {where} is not known to this one, and its results "
        "could be others without it.",
        "Update the extension.",
    )
