"""The generalised normal distribution, pixel by pixel: the network's answer and its doubt in one object."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from scipy import special
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all


class GeneralizedNormal(Distribution):
    """Generalised Gaussian with density β / (2αΓ(1/β)) · exp(−(|x − μ|/α)^β).

    The same as ``scipy.stats.gennorm(beta, loc, alpha)``: a Laplace at β = 1, a Gaussian of standard deviation
    α/√2 at β = 2, towards a uniform on ±α as β grows.

    Args:
        loc: μ, the translated image, any shape.
        scale: α > 0, in the image's unit.
        concentration: β > 0, the shape, without unit.
        validate_args: Whether parameters and values are checked, as in every torch distribution.

    Example:
        >>> import torch
        >>> from upgan import GeneralizedNormal
        >>> voxel = GeneralizedNormal(torch.tensor(40.0), torch.tensor(30.0), torch.tensor(2.0))  # HU, HU, no unit
        >>> round(voxel.stddev.item(), 1), [round(bound.item(), 1) for bound in voxel.central_interval(0.95)]
        (21.2, [-1.6, 81.6])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "concentration": constraints.positive,
    }
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, concentration: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> GeneralizedNormal:
        """Broadcast the parameters to a new batch shape."""
        shape = torch.Size(batch_shape)
        return type(self)(
            self.loc.expand(shape),
            self.scale.expand(shape),
            self.concentration.expand(shape),
            validate_args=False,
        )

    def detach(self) -> GeneralizedNormal:
        """Return the same distribution cut off from the graph, as a frozen phase hands it on."""
        return type(self)(self.loc.detach(), self.scale.detach(), self.concentration.detach(), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The translated image μ."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """The densest value, which is μ too."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """σ = α·√(Γ(3/β)/Γ(1/β)), Eq. 3 of the paper, through log-gammas so that small β cannot overflow."""
        inverse = self.concentration.reciprocal()
        return self.scale * torch.exp(0.5 * (torch.lgamma(3 * inverse) - torch.lgamma(inverse)))

    @property
    def variance(self) -> Tensor:
        """σ²."""
        return self.stddev.square()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at ``value``; the negative of Eq. 1's summand but for the constant ln 2."""
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc).abs() / self.scale
        return (
            self.concentration.log()
            - (2 * self.scale).log()
            - torch.lgamma(1 / self.concentration)
            - z.pow(self.concentration)
        )

    def entropy(self) -> Tensor:
        """Differential entropy 1/β + ln(2α) + lnΓ(1/β) − lnβ, in nats."""
        inverse = self.concentration.reciprocal()
        return inverse + (2 * self.scale).log() + torch.lgamma(inverse) - self.concentration.log()

    def cdf(self, value: Tensor) -> Tensor:
        """Probability below ``value``: ½·Q(1/β, z^β) left of μ, one minus that to the right.

        The tails are kept to full relative precision on the left. Differentiable in value, loc and scale; torch has
        no derivative of the incomplete gamma function in its first argument, so not in concentration.
        """
        if self._validate_args:
            self._validate_sample(value)
        deviation = (value - self.loc) / self.scale
        shape = self.concentration.reciprocal().detach()
        tail = 0.5 * torch.special.gammaincc(shape, deviation.abs().pow(self.concentration.detach()))
        return torch.where(deviation < 0, tail, 1 - tail)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile at probability ``value`` in [0, 1]; computed by scipy in float64, without gradients."""
        probability = torch.as_tensor(value, dtype=torch.float64).cpu().numpy()
        tail = 2 * (probability - (probability > 0.5) * (2 * probability - 1))  # twice the smaller tail
        sign = (probability > 0.5) * 2.0 - 1.0
        shape = self.concentration.detach().cpu().double().numpy()
        z = special.gammainccinv(1 / shape, tail) ** (1 / shape)
        return self.loc + self.scale * torch.as_tensor(sign * z).to(self.loc)

    def central_interval(self, level: float) -> tuple[Tensor, Tensor]:
        """Bounds of the interval around μ that holds ``level`` of the probability: μ ± α·P⁻¹(1/β, level)^(1/β)."""
        half_width = self.icdf(torch.tensor((1 + level) / 2, dtype=torch.float64)) - self.loc
        return self.loc - half_width, self.loc + half_width

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw with gradients in loc and scale: ±α·U·G^(1/β) with U uniform and G ~ Gamma(1 + 1/β, 1).

        That product is Gamma(1/β)^(1/β) by Johnk's boost, without its underflow at large β (1/β near 0).
        """
        shape = self._extended_shape(torch.Size(sample_shape))
        inverse = self.concentration.reciprocal().expand(shape)
        gamma = torch._standard_gamma(1 + inverse)
        uniform = 2 * torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device) - 1
        return self.loc + self.scale * uniform * gamma.pow(inverse)
