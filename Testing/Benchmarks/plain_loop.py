"""The other side of the benchmark: a cascade evaluated as the published scripts do it, slice after slice.

One slice at a time, float32, eval mode, batch normalisation as its own layer, memory laid out channel by channel, the
three-convolution branch of every block evaluated twice (the first result is thrown away, as in the published
``ResConv.forward``), and the maps moved to numpy after each slice. The weights are those of the engine.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from upgan.bundles.bundle import Bundle
from upgan.images.volume import Volume
from upgan.networks.unet import ResidualBlock


class Maps(NamedTuple):
    """Image and α in output units, and β, each [K, J, I]."""

    image: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray


class TwiceEvaluated(nn.Module):
    """A residual block as published."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.double_conv = block.deep
        self.double_conv1 = block.shallow

    def forward(self, x: Tensor) -> Tensor:
        x_in = self.double_conv1(x)
        self.double_conv(x)
        return self.double_conv(x) + x_in


class PlainLoop:
    """A model loaded as it is.

    Args:
        bundle: The model.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, bundle: Bundle, device: str) -> None:
        self.bundle = bundle
        self.device = torch.device(device)
        self.network = _as_published(bundle.load_cascade()).eval().to(self.device)

    def translate(self, volume: Volume) -> Maps:
        """Translate axial slices that have the model's pixel size and need no padding."""
        intensities = self.bundle.metadata.upgan.task.measure(volume.voxels)
        maps: list[list[np.ndarray]] = [[], [], []]
        with torch.no_grad():
            for voxels in volume.voxels:
                a = torch.from_numpy(intensities.normalise(voxels))[None, None].to(self.device)
                last = self.network(a)[-1]
                for kept, values in zip(maps, (last.loc, last.scale, last.concentration), strict=True):
                    kept.append(values[0, 0].cpu().numpy())
        image, alpha, beta = (np.stack(slices) for slices in maps)
        return Maps(intensities.denormalise(image), intensities.denormalise_scale(alpha), beta)


def _as_published(network: nn.Module) -> nn.Module:
    """Replace every residual block, in place."""
    for name, child in network.named_children():
        if isinstance(child, ResidualBlock):
            setattr(network, name, TwiceEvaluated(child))
        else:
            _as_published(child)
    return network
