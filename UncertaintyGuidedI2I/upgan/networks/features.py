"""What a network sees in a slice before it decides: the features by which images are told from those trained on.

Tapped is the decoder level of the first U-Net that has a quarter of the resolution, twice the width in channels. Of the
levels tried it parted slices of another scanner and turned heads from held-out ones best (area under the curve 0.99 and
0.94); the last decoder's features, from which images are read, hardly do (0.65 and 0.72).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upgan.networks.architecture import Architecture
from upgan.uncertainty.familiarity import MOST_FEATURES

if TYPE_CHECKING:
    from torch import Tensor, nn

# Of the decoder's blocks, from the coarsest.
_LEVEL = 1


def feature_count(architecture: Architecture) -> int:
    """Return how many features networks of an architecture have; needs no torch."""
    return min(2 * architecture.width, MOST_FEATURES)


class FeatureTap:
    """Keeps the tapped level's output of a network, folded or not, when told to; costs a mean over pixels.

    Args:
        network: Any that has a ``ResidualUNet``.
    """

    def __init__(self, network: nn.Module) -> None:
        from upgan.networks.unet import ResidualUNet

        self._level: Tensor | None = None
        self._is_open = False
        body = next((module for module in network.modules() if isinstance(module, ResidualUNet)), None)
        if body is not None:
            body.decoder[_LEVEL].register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _seen: Any, made: Tensor) -> None:
        if self._is_open:
            self._level = made

    def open(self) -> None:
        """Keep what the network sees next, until it is taken."""
        self._is_open, self._level = True, None

    def take(self, a: Tensor, threshold: float) -> tuple[Tensor, Tensor] | None:
        """Return what the network saw in slices since ``open``; None where it has no such level.

        Args:
            a: The slices that it was given, [N, 1, H, W].
            threshold: Pixels above it are the object's.

        Returns:
            Means over the object's pixels, float32 [N, F], zero where there are none, and the number of these, [N].
        """
        import torch
        from torch.nn import functional as F

        level, self._level, self._is_open = self._level, None, False
        if level is None:
            return None
        # Half-precision sums of thousands of pixels would lose what is measured.
        with torch.autocast(a.device.type, enabled=False):
            is_object = (a > threshold).float()
            share = F.adaptive_avg_pool2d(is_object, (level.shape[-2], level.shape[-1]))
            weight = share.sum((-2, -1)).clamp_min(torch.finfo(torch.float32).tiny)
            means = (level.float() * share).sum((-2, -1)) / weight
            # A wide network's channels are many: neighbours' means keep the covariance small and well determined.
            means = F.adaptive_avg_pool1d(means[:, None], min(means.shape[1], MOST_FEATURES))[:, 0]
        return means, is_object.sum((-3, -2, -1))
