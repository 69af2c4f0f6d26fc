"""What the generators and discriminators are trained to (Eq. 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from upgan.uncertainty.distribution import GeneralizedNormal

_LARGEST_EXPONENT = 10.0

EPSILON = 1e-3
"""Smoothing of |r| in network units: 1 HU in PET→CT."""

MEANINGFUL_SIGMA = 20.0
"""From this σ on, in units of ``EPSILON``, Eq. 1 finds the residuals' own β within 0.06 (Documentation/Method.md)."""


class PixelWeights(NamedTuple):
    """What each pixel counts in a step's loss.

    Attributes:
        likelihood: Each pixel's weight in Eq. 1, [N, 1, H, W].
        l1: Each pixel's weight in the L1 term, same shape.
        total: What both weighted sums are divided by.
    """

    likelihood: Tensor
    l1: Tensor
    total: Tensor


def pixel_weights(
    body: Tensor, imaged: Tensor, outside_body: float, summed: Callable[[Tensor], Tensor] = torch.sum
) -> PixelWeights:
    """Weigh pixels so that L1 means the same beside Eq. 1 however much air there is around the patient.

    A pixel of the body counts 1 in both terms, and both are divided by the same number: the sum of the weights of
    Eq. 1. Outside the body L1 is there to keep the air at air where Eq. 1 hardly looks; a pixel counts as one of the
    body there, too, but all the air together no more than the body. What a batch is padded with counts nowhere.

    Args:
        body: 1 inside the body, 0 outside, [N, 1, H, W].
        imaged: 1 where the slices are, 0 where they are padded to a common size, same shape.
        outside_body: Weight of a pixel outside the body in Eq. 1.
        summed: Sums a tensor; over several processes, to what each of them is to divide by.
    """
    inside, outside = body * imaged, (1 - body) * imaged
    pixels_inside, pixels_outside = summed(inside), summed(outside)
    air = (pixels_inside / pixels_outside.clamp_min(1)).clamp_max(1)
    return PixelWeights(
        inside + outside_body * outside, inside + air * outside, pixels_inside + outside_body * pixels_outside
    )


def weighted_l1(image: Tensor, target: Tensor, weight: Tensor, total: Tensor) -> Tensor:
    """Sum of |b̂ − b|, weighted pixel by pixel, over ``total``."""
    return ((image - target).abs() * weight).sum() / total.clamp_min(1e-12)


def generalized_gaussian_loss(
    prediction: GeneralizedNormal,
    target: Tensor,
    weight: Tensor | None = None,
    epsilon: float = EPSILON,
    total: Tensor | None = None,
    weighed_by_sigma: bool = False,
) -> Tensor:
    """Eq. 1, L_αβ = mean[(|b̂−b|/α)^β − ln(β/α) + lnΓ(1/β)], in a form that trains.

    The power is taken as exp(β(ln√(r²+ε²) − lnα)), whose gradient is finite at r = 0 for β < 1, and goes on linearly
    above an exponent of 10, so that an outlier pulls without blowing up (a clamp would stop pulling).

    Args:
        prediction: Distribution of [N, 1, H, W].
        target: b, same shape.
        weight: Non-negative weights of the pixels; the mean is weighted by them.
        epsilon: Smoothing of |r| in network units; it makes β read too high where σ is below about 20 times of it.
        total: What the weighted sum is divided by; the weights' own sum where None.
        weighed_by_sigma: Whether each pixel counts in proportion to its σ, through which no gradient goes, and which is
            1 on average: β-NLL of Seitzer et al. (ICLR 2022) with β = ½, so that what is hard is not abandoned.
    """
    residual = target - prediction.loc
    log_z = 0.5 * torch.log(residual.square() + epsilon**2) - prediction.scale.log()
    exponent = prediction.concentration * log_z
    capped = exponent.clamp(max=_LARGEST_EXPONENT)
    power = capped.exp() * (1 + exponent - capped)
    loss = (
        power
        - prediction.concentration.log()
        + prediction.scale.log()
        + torch.lgamma(prediction.concentration.reciprocal())
    )
    if weighed_by_sigma:
        sigma = prediction.stddev.detach()
        loss = loss * sigma / _mean(sigma, weight, None).clamp_min(1e-12)
    return _mean(loss, weight, total)


def published_product_loss(
    inverse_scale: Tensor,
    concentration: Tensor,
    residual: Tensor,
    weight: Tensor | None = None,
    total: Tensor | None = None,
) -> Tensor:
    """The loss of the published code: |r|·(1/α)·β in place of the power, clamped to [1e-6, 50].

    Kept to show what it does (β → 0.684 whatever the data) and to go on training published checkpoints.
    """
    product = (residual.abs() * inverse_scale * concentration).clamp(1e-6, 50)
    loss = product - inverse_scale.log() + torch.lgamma(concentration.reciprocal()) - concentration.log()
    return _mean(loss, weight, total)


def generator_adversarial_loss(scores_of_generated: Tensor) -> Tensor:
    """Least-squares term of Eq. 2: ‖D(b̂) − 1‖², averaged over the patches."""
    return (scores_of_generated - 1).square().mean()


def discriminator_loss(scores_of_real: Tensor, scores_of_generated: Tensor) -> Tensor:
    """Least-squares discriminator: ‖D(b) − 1‖² + ‖D(b̂)‖², averaged over the patches."""
    return (scores_of_real - 1).square().mean() + scores_of_generated.square().mean()


def _mean(loss: Tensor, weight: Tensor | None, total: Tensor | None) -> Tensor:
    if weight is None:
        return loss.mean()
    if total is None:
        total = weight.expand_as(loss).sum()
    return (loss * weight).sum() / total.clamp_min(1e-12)
