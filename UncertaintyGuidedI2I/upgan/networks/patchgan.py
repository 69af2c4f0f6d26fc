"""The discriminator: a PatchGAN that judges overlapping patches (Isola et al., CVPR 2017)."""

from __future__ import annotations

from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """Strided 4×4 convolutions with channels doubling up to 8× the width, one score per patch.

    Args:
        inputs: Channels in: 1 (the image alone, as published) or 2 (conditioned on the input).
        width: Channels of the first layer (64 in the paper).
        layers: Strided layers; 3 see patches of 70×70 pixels, 4 (as published) of 142×142.
    """

    def __init__(self, inputs: int = 1, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        channels = [width * min(2**level, 8) for level in range(layers + 1)]
        modules: list[nn.Module] = [nn.Conv2d(inputs, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        for level in range(1, layers + 1):
            modules += [
                nn.Conv2d(
                    channels[level - 1], channels[level], 4, stride=2 if level < layers else 1, padding=1, bias=False
                ),
                nn.BatchNorm2d(channels[level]),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        modules.append(nn.Conv2d(channels[-1], 1, 4, padding=1))
        self.model = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → scores [N, 1, h, w], towards 1 for real patches."""
        return self.model(x)
