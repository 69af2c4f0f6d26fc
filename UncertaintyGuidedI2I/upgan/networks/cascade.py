"""The chain of generators: each later phase is guided by the doubt of the one before (Eq. 3 and 4)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from upgan.networks.architecture import CascadeArchitecture as CascadeArchitecture
from upgan.networks.unet import Generator
from upgan.uncertainty.distribution import GeneralizedNormal


def attention(sigma: Tensor) -> Tensor:
    """σ of each slice [N, 1, H, W] divided by its mean over the slice, in float32.

    Eq. 3 divides by the sum over the K pixels, which makes f ~ 1e-5 and loses it in half precision; K·σ/Σσ is the
    same up to a factor that the first convolution absorbs.
    """
    sigma = sigma.float()
    return sigma / sigma.mean(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


class Cascade(nn.Module):
    """M generators; a later one sees a_m = concat(f_m, a) and corrects the image of its predecessor.

    The correction starts at zero, so that a new phase never starts worse than the one before it. The paper's
    generators predict the image anew; from f_m alone they must first recover what σ has hidden.
    """

    def __init__(self, architecture: CascadeArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.generators = nn.ModuleList(
            Generator(
                1 if phase == 0 else 2,
                architecture.width,
                architecture.deepest,
                architecture.concentration_range,
                architecture.scale_floor,
            )
            for phase in range(architecture.phases)
        )

    def phases(self, a: Tensor) -> Iterator[GeneralizedNormal]:
        """Yield each phase's distribution of [N, 1, H, W] as soon as it is known."""
        previous: GeneralizedNormal | None = None
        for generator in self.generators:
            if previous is None:
                previous = generator(a)
            else:
                f = previous.loc * attention(previous.stddev) if self.architecture.attention else previous.loc
                previous = generator(torch.cat([f.to(a.dtype), a], dim=1), previous.loc)
            yield previous

    def forward(self, a: Tensor, count: int | None = None) -> list[GeneralizedNormal]:
        """Normalised slices [N, 1, H, W] → one distribution per phase, of the first ``count`` phases."""
        return list(islice(self.phases(a), count))
