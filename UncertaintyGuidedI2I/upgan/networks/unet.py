"""The generator's body: a U-Net of residual blocks, and the three-headed generator on top of it."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from upgan.networks.architecture import STARTING_CONCENTRATION, CascadeArchitecture
from upgan.uncertainty.distribution import GeneralizedNormal

# Rows and columns that can be halved four times.
_SMALLEST = 16


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class ResidualBlock(nn.Module):
    """Three convolutions beside one, summed: each branch is evaluated once.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        middle: Channels inside the three-convolution branch.
    """

    def __init__(self, inputs: int, outputs: int, middle: int) -> None:
        super().__init__()
        self.deep = nn.Sequential(
            *_convolution(inputs, middle), *_convolution(middle, middle), *_convolution(middle, outputs)
        )
        self.shallow = nn.Sequential(*_convolution(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, outputs, H, W]."""
        return self.deep(x) + self.shallow(x)


class ResidualUNet(nn.Module):
    """U-Net body of the paper's generators: width·(1, 2, 4, 8, 8) channels, bilinear decoder.

    Any image of at least 16×16 pixels passes: upsampled maps are padded to their skip connection.

    Args:
        inputs: Channels of the image that comes in.
        width: Channels of the finest level (64 in the paper); also the channels that come out.
        deepest: Channels of the two deepest levels as a multiple of the width (8 in the paper).
        align_corners: How the decoder enlarges its maps, see ``CascadeArchitecture``.
    """

    def __init__(self, inputs: int, width: int, deepest: int = 8, align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners
        down = [inputs, width, 2 * width, 4 * width, deepest * width, deepest * width]
        up = [2 * deepest * width, 8 * width, 4 * width, 2 * width]
        out = [4 * width, 2 * width, width, width]
        self.encoder = nn.ModuleList(ResidualBlock(i, o, o) for i, o in pairwise(down))
        self.decoder = nn.ModuleList(ResidualBlock(i, o, i // 2) for i, o in zip(up, out, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → features [N, width, H, W]."""
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        skips.pop()
        for block in self.decoder:
            skip = skips.pop()
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=self.align_corners)
            rows, columns = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
            if rows or columns:
                x = F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
            x = block(torch.cat([skip, x], dim=1))
        return x


class Generator(nn.Module):
    """A U-Net whose head splits in three: image b̂, scale α and shape β of the residual's distribution.

    The heads run in float32 whatever the body's precision: α and β pass through exponentials and gamma functions.

    Args:
        inputs: Channels in: 1 for the first phase, more (guidance, image) for later ones.
        architecture: Width and depth; the (β_lo, β_hi) that β is kept within, for the likelihood drives β → ∞ on
            bounded residuals; and the smallest α, in network units (0.01 is 10 HU in PET→CT).
        coarse: Whether the U-Net looks at the mean of each 2×2 pixels.
    """

    def __init__(self, inputs: int, architecture: CascadeArchitecture, coarse: bool = False) -> None:
        super().__init__()
        width = architecture.width
        self.coarse = coarse
        self.body = ResidualUNet(inputs, width, architecture.deepest, architecture.align_corners)
        self.image_head = nn.Conv2d(width, 1, 1)
        self.scale_head = nn.Conv2d(width, 1, 1)
        self.concentration_head = nn.Conv2d(width, 1, 1)
        self.concentration_range = architecture.concentration_range
        self.scale_floor = architecture.scale_floor
        self._start_at_a_plain_answer()

    def _start_at_a_plain_answer(self) -> None:
        """Zero image, α ≈ 0.1, β ≈ 1.5: a correction that begins as none, a likelihood that begins tame."""
        low, high = self.concentration_range
        biases = {
            self.image_head: 0.0,
            self.scale_head: math.log(math.expm1(0.1)),  # softplus of this is 0.1
            self.concentration_head: math.log(
                (STARTING_CONCENTRATION - low) / (high - STARTING_CONCENTRATION)
            ),  # as far up the sigmoid as the start lies
        }
        with torch.no_grad():
            for head, bias in biases.items():
                head.weight.zero_()
                head.bias.fill_(bias)  # type: ignore[union-attr]

    def forward(self, x: Tensor, previous: Tensor | None = None) -> tuple[GeneralizedNormal, Tensor]:
        """Predict a distribution, and give the features that it was read from.

        Args:
            x: [N, inputs, H, W].
            previous: An image [N, 1, H, W], of which b̂ is a correction; None where b̂ is predicted anew.

        Returns:
            The distribution of [N, 1, H, W], and features [N, width, H, W] in the body's precision.
        """
        features = self._coarse_features(x) if self.coarse else self.body(x)
        with torch.autocast(features.device.type, enabled=False):
            seen = features.float()
            image = self.image_head(seen)
            if previous is not None:
                image = previous.float() + image
            scale = self.scale_floor + F.softplus(self.scale_head(seen))
            low, high = self.concentration_range
            concentration = low + (high - low) * torch.sigmoid(self.concentration_head(seen))
        return GeneralizedNormal(image, scale, concentration, validate_args=False), features

    def _coarse_features(self, x: Tensor) -> Tensor:
        """Look at every 2×2 pixels as one; slices that are too small for that, or odd, are padded with zeros."""
        rows, columns = x.shape[-2:]
        padded = [max(side + side % 2, 2 * _SMALLEST) - side for side in (rows, columns)]
        means = F.avg_pool2d(F.pad(x, [0, padded[1], 0, padded[0]]), 2)
        features = F.interpolate(self.body(means), scale_factor=2, mode="bilinear", align_corners=False)
        return features[..., :rows, :columns]
