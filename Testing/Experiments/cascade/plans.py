"""What is to be trained and compared: each plan is a size, and the variants that compete at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Steps of a stage are given as shares of the plan's steps, which one network of the plan's width takes: a step of a
# later phase also runs those before it forwards, which costs a third of a trained one each.
ONE, HALVES, THIRDS = (1.0,), (0.5, 0.375), (1 / 3, 1 / 4, 1 / 5)


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
    """

    steps: int
    width: int
    pixel_mm: float
    seeds: tuple[int, ...]
    variants: dict[str, Variant]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)


def _two(hand_over: str, **settings: Any) -> Variant:
    schedule = {"begin_as_predecessor": settings.pop("begin_as_predecessor", False)}
    return Variant(HALVES, settings={"architecture": {"hand_over": hand_over, **settings}, "schedule": schedule})


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
    "one network, beta-NLL": Variant(settings={"loss": {"form": "beta_nll"}}),
    "one network, detached mean": Variant(settings={"loss": {"form": "detached_mean"}}),
}

# These are compared with every seed before the others begin.
FIRST = (
    "one network",
    "image",
    "product",
    "image+sigma",
    "one network, twice the multiply-adds",
    "product, anew",
)

PLANS = {
    "trial": Plan(40, 4, 8.0, (0,), {"one network": Variant(), "image": _two("image")}),
    "small": Plan(2500, 8, 4.0, (0, 1, 2), SMALL_VARIANTS),
}
