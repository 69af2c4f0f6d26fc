"""What is to be trained and compared: each plan is a size, and the variants that compete at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Steps of a stage are given as shares of the plan's steps, which one network of the plan's width takes. A step of a
# later phase also ran those before it forwards, which costs a third of a trained one each, when the small plan was
# begun; what they hand on is now computed once for each slice and its mirror image, a tenth of the full plan's steps.
ONE, HALVES, THIRDS, KEPT_HALVES = (1.0,), (0.5, 0.375), (1 / 3, 1 / 4, 1 / 5), (0.5, 0.4)


@dataclass(frozen=True)
class Variant:
    """One competitor.

    Attributes:
        shares: Steps of each phase's stage as a share of the plan's.
        joint: The same of the end-to-end stage.
        settings: What it changes, section by section, in the plan's configuration.
        width: Its width as a multiple of the plan's.
    """

    shares: tuple[float, ...] = ONE
    joint: float = 0.0
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    width: float = 1.0


@dataclass(frozen=True)
class Plan:
    """A size at which variants compete.

    Attributes:
        steps: Of one network of this width.
        width: Channels of the finest level.
        pixel_mm: Side of the pixels.
        seeds: Each variant is trained with all of them; the split stays the same.
        variants: The competitors by name.
        settings: What all of them share beside ``run.SHARED``.
        margin_mm: What networks see around the head; the whole slice where None.
        first: Names of those that are compared with every seed before the others begin; ``FIRST`` where None.
    """

    steps: int
    width: int
    pixel_mm: float
    seeds: tuple[int, ...]
    variants: dict[str, Variant]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    margin_mm: float | None = None
    first: tuple[str, ...] | None = None


def _two(hand_over: str, shares: tuple[float, ...] = HALVES, **settings: Any) -> Variant:
    schedule = {"begin_as_predecessor": settings.pop("begin_as_predecessor", False)}
    return Variant(shares, settings={"architecture": {"hand_over": hand_over, **settings}, "schedule": schedule})


BETA_NLL: dict[str, dict[str, Any]] = {"loss": {"form": "beta_nll"}}
DETACHED: dict[str, dict[str, Any]] = {"loss": {"form": "detached_mean"}}

SMALL_VARIANTS = {
    "one network": Variant(),
    # √2 as wide: the multiply-adds and the parameters of two phases; half the steps for the same time.
    "one network, twice the multiply-adds": Variant((0.5,), width=2**0.5),
    "image": _two("image"),
    "image+sigma": _two("image+sigma"),
    "product": _two("product"),
    "image, features": _two("image", features=True),
    "image, anew": _two("image", residual=False),
    "product, anew": _two("product", residual=False),
    "image, as predecessor": _two("image", begin_as_predecessor=True),
    "image, coarse first": Variant(
        (0.5, 0.46), settings={"architecture": {"hand_over": "image", "coarse_first": True}}
    ),
    "image, three phases": Variant(THIRDS, settings={"architecture": {"hand_over": "image"}}),
    "image, end to end at last": Variant((0.45, 0.3), joint=0.0875, settings={"architecture": {"hand_over": "image"}}),
    "one network, beta-NLL": Variant(settings=BETA_NLL),
    "one network, detached mean": Variant(settings=DETACHED),
}
# Added when the likelihood had turned out to matter more than what is handed on (one seed of each).
SMALL_VARIANTS |= {
    "one network, twice the multiply-adds, beta-NLL": Variant((0.5,), width=2**0.5, settings=BETA_NLL),
    **{
        f"{hand_over}, beta-NLL": Variant(HALVES, settings={"architecture": {"hand_over": hand_over}, **BETA_NLL})
        for hand_over in ("image", "image+sigma", "product")
    },
    "image, detached mean": Variant(HALVES, settings={"architecture": {"hand_over": "image"}, **DETACHED}),
}

# These are compared with every seed before the others begin, where a plan names none.
FIRST = (
    "one network",
    "image",
    "product",
    "image+sigma",
    "one network, twice the multiply-adds",
    "product, anew",
    "one network, beta-NLL",
    "image, beta-NLL",
    "product, beta-NLL",
    "image+sigma, beta-NLL",
    "one network, twice the multiply-adds, beta-NLL",
    "one network, detached mean",
)

PLANS = {
    "trial": Plan(40, 4, 8.0, (0,), {"one network": Variant(), "image": _two("image")}),
    "small": Plan(2500, 8, 4.0, (0, 1, 2), SMALL_VARIANTS),
    # Three times as long: what is nearer to its plateau?
    "long": Plan(
        7500,
        8,
        4.0,
        (0, 1, 2),
        {
            name: SMALL_VARIANTS[name]
            for name in ("one network, beta-NLL", "image, beta-NLL", "one network", "image", "product, beta-NLL")
        },
    ),
    "full": Plan(
        5000,
        16,
        2.0,
        (0, 1, 2),
        {
            "one network": Variant(),
            "one network, beta-NLL": Variant(settings=BETA_NLL),
            "image": _two("image", KEPT_HALVES),
            "image, beta-NLL": Variant(KEPT_HALVES, settings={"architecture": {"hand_over": "image"}, **BETA_NLL}),
            "one network, twice the multiply-adds, beta-NLL": Variant((0.48,), width=2**0.5, settings=BETA_NLL),
            "product": _two("product", KEPT_HALVES),
        },
        settings={"augmentation": {"surroundings": 1.0}},
        margin_mm=8.0,
        first=("one network, beta-NLL", "image, beta-NLL"),
    ),
}
