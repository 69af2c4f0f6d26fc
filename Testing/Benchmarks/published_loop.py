"""The other side of the training benchmark: a step as the published scripts take it.

Float32, memory laid out channel by channel, the three-convolution branch of every block evaluated twice (the first
result is thrown away, as in the published ``ResConv.forward``), discriminator scores pooled to one per image, L1 and
the product loss, and the losses read after each step, for which a GPU is waited for. The generator's weights are those
of the engine.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from Benchmarks.plain_loop import TwiceEvaluated
from upgan.networks.cascade import Cascade
from upgan.networks.patchgan import PatchDiscriminator
from upgan.networks.unet import ResidualBlock
from upgan.training.loop.losses import published_product_loss

# Of the published schedule's first 50 epochs: L1, product loss, adversarial, and Adam's rate.
L1, LIKELIHOOD, ADVERSARIAL = 1.0, 1e-4, 1e-3
RATE = 1e-5
DISCRIMINATOR_LAYERS = 4


class PublishedLoop:
    """One generator and its discriminator under training.

    Args:
        cascade: With a single phase; changed in place.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, cascade: Cascade, device: str) -> None:
        self.device = torch.device(device)
        for parent in list(cascade.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, ResidualBlock):
                    setattr(parent, name, TwiceEvaluated(child))
        self.generator = cascade.to(self.device)
        self.discriminator = PatchDiscriminator(layers=DISCRIMINATOR_LAYERS).to(self.device)
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), lr=RATE)
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=RATE)

    def step(self, a: Tensor, b: Tensor) -> tuple[float, float]:
        """Train the generator, then the discriminator; returns likelihood and L1 as they were before.

        Args:
            a: Input [N, 1, H, W], network units, in the host's memory.
            b: Target, likewise.
        """
        a, b = a.to(self.device), b.to(self.device)
        self.generator.train()
        prediction = self.generator(a)[-1]
        self.discriminator.eval()
        l1 = F.l1_loss(prediction.loc, b)
        likelihood = published_product_loss(prediction.scale.reciprocal(), prediction.concentration, prediction.loc - b)
        loss = L1 * l1 + LIKELIHOOD * likelihood + ADVERSARIAL * self._distance(prediction.loc, 1.0)
        self.generator_optimizer.zero_grad()
        loss.backward()
        self.generator_optimizer.step()

        self.discriminator.train()
        judged = 0.5 * (self._distance(b, 1.0) + self._distance(prediction.loc.detach(), 0.0))
        self.discriminator_optimizer.zero_grad()
        judged.backward()
        self.discriminator_optimizer.step()
        return likelihood.item(), l1.item()

    def _distance(self, image: Tensor, wanted: float) -> Tensor:
        scores = self.discriminator(image)
        pooled = F.avg_pool2d(scores, scores.shape[2:]).flatten(1)
        return F.mse_loss(pooled, torch.full_like(pooled, wanted))
