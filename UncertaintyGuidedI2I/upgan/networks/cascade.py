"""The chain of generators: each later phase is guided by what the one before hands on (Eq. 3 and 4)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from upgan.networks.architecture import CascadeArchitecture as CascadeArchitecture
from upgan.networks.unet import Generator
from upgan.uncertainty.distribution import GeneralizedNormal


def attention(sigma: Tensor, weight: Tensor | None = None) -> Tensor:
    """σ of each slice [N, 1, H, W] divided by its weighted mean over the slice, in float32.

    Eq. 3 divides by the sum over the K pixels, which makes f ~ 1e-5 and loses it in half precision; K·σ/Σσ is the
    same up to a factor that the first convolution absorbs.

    Args:
        sigma: σ, [N, 1, H, W].
        weight: What each pixel counts in the mean, same shape, not negative; all the same where None.
    """
    tiny = torch.finfo(torch.float32).tiny
    sigma = sigma.float()
    weight = torch.ones_like(sigma) if weight is None else weight.float()
    mean = (sigma * weight).sum((-2, -1), keepdim=True) / weight.sum((-2, -1), keepdim=True).clamp_min(tiny)
    # A slice without any weight has nothing in it that a later phase could be guided to.
    return sigma / torch.where(mean > 0, mean, sigma.mean((-2, -1), keepdim=True)).clamp_min(tiny)


class Cascade(nn.Module):
    """M generators; a later one sees a_m = concat(f_m, a), and corrects the image of its predecessor.

    The correction starts at zero, so that a new phase never starts worse than the one before it, and the first, where
    it corrects the input (``from_input``), never worse than what it was given. The paper's
    generators predict the image anew (``residual`` false) from f_m = b̂·σ/σ̄ alone (``product``), from which they must
    first recover what σ has hidden.
    """

    def __init__(self, architecture: CascadeArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        # Their product is one channel of two.
        later = 1 + self.handed_on_channels - (architecture.hand_over == "product")
        self.generators = nn.ModuleList(
            Generator(later if phase else 1, architecture, architecture.coarse_first and phase == 0)
            for phase in range(architecture.phases)
        )

    @property
    def handed_on_channels(self) -> int:
        """C of what ``handed_on`` gives."""
        return sum(self._handed_on_sizes)

    @property
    def _handed_on_sizes(self) -> list[int]:
        """Channels of each of the ``_guides``."""
        relative = [1] if self.architecture.hand_over != "image" else []
        return [1, *relative, *([self.architecture.width] if self.architecture.features else [])]

    def phases(self, a: Tensor) -> Iterator[GeneralizedNormal]:
        """Yield each phase's distribution of [N, 1, H, W] as soon as it is known.

        What is written into its ``loc`` before the next one is asked for is what the next phase is given.
        """
        for prediction, _ in self.looked_into(a):
            yield prediction

    def looked_into(self, a: Tensor) -> Iterator[tuple[GeneralizedNormal, Tensor]]:
        """Yield each phase's distribution of [N, 1, H, W] and the features [N, width, H, W] it was read from."""
        previous, features = self.generators[0](a, a if self.architecture.from_input else None)
        yield previous, features
        for phase in range(1, len(self.generators)):
            previous, features = self._later(phase, self._guides(previous, features, a), a)
            yield previous, features

    def handed_on(self, a: Tensor, phase: int) -> Tensor:
        """Return all that a later phase, index from 1, is given of those before it, [N, C, H, W] float32.

        With it ``forward`` runs that phase alone, from inputs [N, 1, H, W]: b̂ first, then σ/σ̄ and the features where
        the architecture hands them on.
        """
        previous, features = next(islice(self.looked_into(a), phase - 1, None))
        return torch.cat([guide.float() for guide in self._guides(previous, features, a)], dim=1)

    def _guides(self, previous: GeneralizedNormal, features: Tensor, a: Tensor) -> list[Tensor]:
        """What is handed on to the next phase: b̂, then σ/σ̄ and the features where wanted."""
        guides = [previous.loc]
        if self.architecture.hand_over != "image":
            weight = a.float().clamp(0, 1).square() if self.architecture.sigma_mean == "object" else None
            guides.append(attention(previous.stddev, weight))
        if self.architecture.features:
            guides.append(features)
        return guides

    def _later(self, phase: int, guides: list[Tensor], a: Tensor) -> tuple[GeneralizedNormal, Tensor]:
        """Run a later phase on all that it sees, guidance first, the input last (Eq. 4)."""
        image, shown = guides[0], guides
        if self.architecture.hand_over == "product":
            shown = [image * guides[1], *guides[2:]]
        seen = torch.cat([*(guide.to(a.dtype) for guide in shown), a], dim=1)
        found: tuple[GeneralizedNormal, Tensor] = self.generators[phase](
            seen, image if self.architecture.residual else None
        )
        return found

    @torch.no_grad()
    def begin_as_predecessor(self, phase: int) -> None:
        """Give a later phase, index from 1, the weights of the one before, as far as they look at the same things.

        The first convolutions look at the input as the predecessor's do, and at the guidance not yet. A correction
        starts as none, α and β as the predecessor's.
        """
        before, after = self.generators[phase - 1], self.generators[phase]
        kept = after.state_dict()
        for name, values in before.state_dict().items():
            if name.startswith("image_head") and self.architecture.residual:
                values = torch.zeros_like(values)
            if values.shape != kept[name].shape:
                known = values[:, -1:] if phase == 1 else values
                values = torch.zeros_like(kept[name])
                values[:, -known.shape[1] :] = known
            kept[name] = values
        after.load_state_dict(kept)

    def forward(self, a: Tensor, count: int | None = None, handed_on: Tensor | None = None) -> list[GeneralizedNormal]:
        """Normalised slices [N, 1, H, W] → one distribution per phase, of the first ``count`` phases.

        Where it is known what phase ``count`` is given of those before it, see ``handed_on``, they are not run, and its
        distribution is the only one.
        """
        if handed_on is None:
            return list(islice(self.phases(a), count))
        last = (count or len(self.generators)) - 1
        return [self._later(last, list(handed_on.split(self._handed_on_sizes, dim=1)), a)[0]]
