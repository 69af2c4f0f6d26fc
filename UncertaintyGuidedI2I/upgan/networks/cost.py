"""What networks cost, so that a viewer without torch can tell: counted when a bundle is made, else a rough figure.

All layers are convolutions of slices whose sides are multiples of 16, so that arithmetic grows with the pixels alone.
"""

from __future__ import annotations

from functools import lru_cache

from pydantic import BaseModel, ConfigDict, Field

from upgan.networks.architecture import Architecture
from upgan.networks.in_plane import MULTIPLE

# For a U-Net of width w whose deepest levels are d times as wide, w²·(a + b·d²): fitted to counted networks, which they
# meet within 6 %, but for those of a few channels.
_MULTIPLY_ADDS = (210.0, 1.2)
_PARAMETERS = (1650.0, 100.0)


class Cost(BaseModel):
    """What all phases together cost, as a bundle states it.

    Attributes:
        multiply_adds_per_pixel: Multiply-adds of all convolutions, for each pixel of a padded slice.
        parameters: Number of weights and biases of all convolutions, into which the engine folds the batch norms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    multiply_adds_per_pixel: float = Field(gt=0, le=1e12)
    parameters: int = Field(ge=1, le=10**12)


@lru_cache(maxsize=8)
def counted_cost(architecture: Architecture) -> Cost:
    """Count what networks of an architecture cost, whatever their weights."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from upgan.networks.build import build

    with torch.device("meta"):
        network = build(architecture)
    network.to_empty(device="cpu").eval()
    # Half of it is still what a network takes without padding, where the first phase looks at half the resolution.
    side = 2 * MULTIPLE
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        network(torch.zeros(1, 1, side, side))
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    return Cost(
        # The counter counts a multiplication and an addition each.
        multiply_adds_per_pixel=counter.get_total_flops() / 2 / side**2,
        parameters=sum(weights.numel() for convolution in convolutions for weights in convolution.parameters()),
    )


def rough_cost(architecture: Architecture) -> Cost:
    """Estimate roughly what networks of an architecture cost, where nobody has counted it."""
    weights = architecture.unets * architecture.width**2

    def fitted(at_one: float, by_depth: float) -> int:
        return round(weights * (at_one + by_depth * architecture.deepest**2))

    return Cost(multiply_adds_per_pixel=fitted(*_MULTIPLY_ADDS), parameters=fitted(*_PARAMETERS))
