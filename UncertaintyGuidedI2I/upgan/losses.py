"""What the generators and discriminators are trained to (Eq. 1 and 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from upgan.distribution import GeneralizedNormal

_LARGEST_EXPONENT = 10.0


def generalized_gaussian_loss(
    prediction: GeneralizedNormal,
    target: Tensor,
    weight: Tensor | None = None,
    epsilon: float = 1e-3,
    total: Tensor | None = None,
) -> Tensor:
    """Eq. 1, L_αβ = mean[(|b̂−b|/α)^β − ln(β/α) + lnΓ(1/β)], in a form that trains.

    The power is taken as exp(β(ln√(r²+ε²) − lnα)), whose gradient is finite at r = 0 for β < 1, and goes on linearly
    above an exponent of 10, so that an outlier pulls without blowing up (a clamp would stop pulling).

    Args:
        prediction: Distribution of [N, 1, H, W].
        target: b, same shape.
        weight: Non-negative weights of the pixels; the mean is weighted by them.
        epsilon: Smoothing of |r| in network units (1e-3 is 1 HU in PET→CT).
        total: What the weighted sum is divided by; the weights' own sum where None.
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
