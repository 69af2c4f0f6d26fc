"""One α and one β fitted to many residuals, by Eq. 1 and by the published product form."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import stats

from upgan.training.loop.losses import generalized_gaussian_loss, published_product_loss
from upgan.uncertainty.distribution import GeneralizedNormal

RESIDUALS = {
    "gaussian": stats.norm(scale=0.3),
    "laplace": stats.laplace(scale=0.2),
    "uniform": stats.uniform(-0.5, 1.0),
    "student t, 3 degrees": stats.t(3, scale=0.2),
}

LARGEST_BETA = 20.0


def draw(name: str) -> torch.Tensor:
    """Draw 50 000 residuals, the same ones every time."""
    return torch.from_numpy(RESIDUALS[name].rvs(50_000, random_state=np.random.default_rng(0)))


def quantiles(law: Any) -> torch.Tensor:
    """Return 50 000 residuals that are spread as a law says, with no luck of the draw."""
    return torch.from_numpy(law.ppf((np.arange(50_000) + 0.5) / 50_000))


def fit_eq_1(residuals: torch.Tensor, epsilon: float = 1e-5) -> tuple[float, float]:
    """Return the (α, β) that minimise our Eq. 1, β at most ``LARGEST_BETA``: on bounded residuals it has no end."""

    def loss(alpha: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        prediction = GeneralizedNormal(torch.zeros(()), alpha, beta.clamp(max=LARGEST_BETA))
        return generalized_gaussian_loss(prediction, residuals, epsilon=epsilon)

    alpha, beta = _minimise(loss)
    return alpha, min(beta, LARGEST_BETA)


def fit_published(residuals: torch.Tensor) -> tuple[float, float]:
    """Return the (α, β) that minimise the published |r|·(1/α)·β."""
    return _minimise(lambda alpha, beta: published_product_loss(1 / alpha, beta, residuals))


def _minimise(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> tuple[float, float]:
    logarithms = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([logarithms], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(*logarithms.exp())
        value.backward()
        return value

    optimizer.step(closure)
    alpha, beta = logarithms.detach().exp().tolist()
    return alpha, beta
