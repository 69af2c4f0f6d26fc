"""Sizes of the networks, as a bundle or a configuration states them; needs no torch, so that a viewer can ask it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from upgan.errors import BundleError

# β of a new generator: between Laplace and Gaussian.
STARTING_CONCENTRATION = 1.5

# β may range within these. At 0.1 σ is 5e12 times α, already beyond any sense; from 0.04 on float32 cannot hold it.
SMALLEST_CONCENTRATION, LARGEST_CONCENTRATION = 0.1, 100.0

# U-Nets of a whole model at most; the authors' largest has four.
MOST_UNETS = 16

# What a phase hands on to the next: its image b̂; b̂ and σ/σ̄ as two channels; or their product (Eq. 3).
HandOver = Literal["image", "image+sigma", "product"]

# Some mm more than the object, or the whole field of view.
Margin = Annotated[float, Field(ge=0, le=1000)] | None

_SIZES = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CascadeArchitecture(BaseModel):
    """What is needed to build the networks of a UP-GAN before its weights are loaded.

    Attributes:
        name: Kind of architecture.
        phases: M, the number of generators (3 in the paper).
        width: Channels of each U-Net's finest level (64 in the paper).
        deepest: Channels of the two deepest levels, as a multiple of the width.
        hand_over: What a later phase sees of the one before, beside the input a: ``image`` its b̂, ``image+sigma`` its
            b̂ and σ/σ̄ as two channels, ``product`` their product (Eq. 3; the paper's ablation is ``image``, which was
            best here, see Documentation/Evidence.md).
        features: Whether it also sees the last features of the one before, as many channels as the width.
        residual: Whether it corrects that b̂, instead of predicting the image anew as in the paper.
        from_input: Whether the first phase corrects the input a, instead of beginning with an empty image; for tasks
            alone whose output is on the input's scale, and for these by default where a training is described.
        coarse_first: Whether the first phase looks at every other row and column, averaged, for a quarter of the cost.
        sigma_mean: What σ̄ is a mean over: the ``object``, weighted by the input's square so that the air around counts
            nothing, or the whole ``slice`` (Eq. 3).
        align_corners: Whether maps are enlarged with their corners in place, which shifts them by up to half a pixel of
            each level towards the slice's edges; so in models of format 1 and in the published code.
        margin_mm: Of air around the object in the image that the networks see, and nothing beyond it; models of format
            1 name none and see the whole field of view.
        concentration_range: Limits of β, within 0.1 to 100.
        scale_floor: Smallest α in network units.
    """

    model_config = _SIZES

    name: Literal["up-gan"] = "up-gan"
    phases: int = Field(3, ge=1, le=MOST_UNETS)
    width: int = Field(64, ge=1, le=512)
    deepest: int = Field(8, ge=1, le=8)
    hand_over: HandOver = "image"
    features: bool = False
    residual: bool = True
    from_input: bool = False
    coarse_first: bool = False
    sigma_mean: Literal["object", "slice"] = "object"
    align_corners: bool = False
    margin_mm: Margin = 8.0
    concentration_range: tuple[float, float] = (0.3, 8.0)
    scale_floor: float = Field(0.01, ge=1e-6, le=10)

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, content: Any) -> Any:
        """Models of format 1 say ``attention``, and no more than that of how phases hang together."""
        if isinstance(content, dict) and "attention" in content:
            content = dict(content)
            is_guided = content.pop("attention")
            if not isinstance(is_guided, bool):
                raise ValueError("attention must be true or false")
            former = {
                "hand_over": "product" if is_guided else "image",
                "sigma_mean": "slice",
                "align_corners": True,
                "margin_mm": None,
            }
            content = former | content
        return content

    @field_validator("concentration_range")
    @classmethod
    def _holds_the_start(cls, value: tuple[float, float]) -> tuple[float, float]:
        low, high = value
        if not SMALLEST_CONCENTRATION <= low < STARTING_CONCENTRATION < high <= LARGEST_CONCENTRATION:
            raise ValueError(
                f"must lie within {SMALLEST_CONCENTRATION:g} to {LARGEST_CONCENTRATION:g} and hold "
                f"{STARTING_CONCENTRATION:g}, where training starts"
            )
        return value

    @property
    def unets(self) -> int:
        """Number of U-Nets in all phases."""
        return self.phases

    def first(self, phases: int) -> Self:
        """Return the architecture of the first phases alone."""
        return self.model_copy(update={"phases": phases})


class PublishedArchitecture(BaseModel):
    """Sizes of a published cascade.

    Attributes:
        name: Kind of architecture.
        chains: U-Nets in each phase's generator: (2, 1, 1) or (1, 1, 1).
        width: Channels of the finest level.
        deepest: Channels of the two deepest levels, as a multiple of the width.
        margin_mm: As ``CascadeArchitecture`` has it; the published code sees the whole field of view.
    """

    model_config = _SIZES

    deepest: ClassVar[int] = 8

    name: Literal["published-up-gan"] = "published-up-gan"
    chains: tuple[Annotated[int, Field(ge=1, le=8)], ...] = Field((2, 1, 1), min_length=1, max_length=MOST_UNETS)
    width: int = Field(64, ge=1, le=512)
    margin_mm: Margin = None

    @field_validator("chains")
    @classmethod
    def _is_not_endless(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if sum(value) > MOST_UNETS:
            raise ValueError(f"must not name more than {MOST_UNETS} U-Nets")
        return value

    @property
    def phases(self) -> int:
        """Number of generators."""
        return len(self.chains)

    @property
    def unets(self) -> int:
        """Number of U-Nets in all phases."""
        return sum(self.chains)

    def first(self, phases: int) -> Self:
        """Return the architecture of the first phases alone."""
        return self.model_copy(update={"chains": self.chains[:phases]})


# By the name that a bundle or a configuration has for it.
ARCHITECTURES: dict[str, type[CascadeArchitecture] | type[PublishedArchitecture]] = {
    "up-gan": CascadeArchitecture,
    "published-up-gan": PublishedArchitecture,
}


def kind_of(sizes: Any) -> type[CascadeArchitecture] | type[PublishedArchitecture]:
    """Return the kind of architecture that a bundle's sizes are of.

    Args:
        sizes: As JSON has them; whatever is wrong with them but the name is for the kind to say.

    Raises:
        BundleError: ``unknown_architecture``.
    """
    name = sizes.get("name") if isinstance(sizes, dict) else None
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise BundleError(
            "unknown_architecture",
            f"The model's architecture '{str(name)[:100]}' is not known to this version.",
            f"Update the extension; this version knows {', '.join(ARCHITECTURES)}.",
        )
    return ARCHITECTURES[name]


def _name_of(value: Any) -> str:
    """Name the kind of architecture; a configuration that says nothing means ours."""
    return str(value.get("name", "up-gan") if isinstance(value, dict) else getattr(value, "name", "up-gan"))


Architecture = Annotated[
    Annotated[CascadeArchitecture, Tag("up-gan")] | Annotated[PublishedArchitecture, Tag("published-up-gan")],
    Discriminator(_name_of),
]
