"""Eq. 1 and what the published product form makes of it."""

import numpy as np
import pytest
import torch
from scipy import stats

from fitting import RESIDUALS, draw, fit_eq_1, fit_published
from upgan.distribution import GeneralizedNormal
from upgan.losses import (
    discriminator_loss,
    generalized_gaussian_loss,
    generator_adversarial_loss,
)


@pytest.mark.parametrize(("name", "beta"), [("gaussian", 2.0), ("laplace", 1.0)])
def test_eq_1_recovers_shape_and_spread(name, beta):
    alpha, found = fit_eq_1(draw(name))
    assert found == pytest.approx(beta, rel=0.05)
    assert stats.gennorm(found, 0, alpha).std() == pytest.approx(RESIDUALS[name].std(), rel=0.02)


def test_eq_1_finds_bounded_residuals_to_be_flat():
    alpha, beta = fit_eq_1(draw("uniform"))
    assert beta > 8
    assert alpha == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("name", RESIDUALS)
def test_the_published_product_form_finds_the_same_shape_whatever_the_residuals_are(name):
    alpha, beta = fit_published(draw(name))
    assert beta == pytest.approx(0.684, abs=0.01)
    if not name.startswith("student"):  # whose own deviation rests on its tail
        assert stats.gennorm(beta, 0, alpha).std() / RESIDUALS[name].std() > 1.5


def test_eq_1_is_the_negative_log_likelihood_but_for_ln_2():
    torch.manual_seed(0)
    target = torch.randn(1000, dtype=torch.float64)
    parameters = [torch.full((1000,), value, dtype=torch.float64) for value in (0.1, 0.7, 1.3)]
    loss = generalized_gaussian_loss(GeneralizedNormal(*parameters), target, epsilon=1e-9)
    expected = -stats.gennorm(1.3, 0.1, 0.7).logpdf(target.numpy()).mean() - np.log(2)
    assert float(loss) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("beta", [0.3, 0.7, 1.0, 4.0, 8.0])
@pytest.mark.parametrize("residual", [0.0, 1e-8, 1.0, 1e3])
def test_gradients_are_finite_at_a_perfect_pixel_and_at_an_outlier(beta, residual):
    parameters = [torch.tensor(value, requires_grad=True) for value in (0.0, 0.05, beta)]
    generalized_gaussian_loss(GeneralizedNormal(*parameters), torch.tensor(residual)).backward()
    for parameter in parameters:
        assert torch.isfinite(parameter.grad)
        assert abs(float(parameter.grad)) < 1e9


def test_an_outlier_beyond_the_linear_extension_still_pulls_the_image():
    loc = torch.tensor(0.0, requires_grad=True)
    prediction = GeneralizedNormal(loc, torch.tensor(0.05), torch.tensor(8.0))
    generalized_gaussian_loss(prediction, torch.tensor(5.0)).backward()
    assert float(loc.grad) < -1


def test_weights_choose_which_pixels_count():
    target = torch.tensor([0.0, 100.0])
    prediction = GeneralizedNormal(torch.zeros(2), torch.ones(2), torch.full((2,), 2.0))
    alone = generalized_gaussian_loss(
        GeneralizedNormal(torch.zeros(1), torch.ones(1), torch.full((1,), 2.0)), target[:1]
    )
    torch.testing.assert_close(generalized_gaussian_loss(prediction, target, torch.tensor([1.0, 0.0])), alone)


def test_the_adversarial_terms_are_least_squares():
    real, generated = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.5])
    assert float(generator_adversarial_loss(generated)) == pytest.approx((1 + 0.25) / 2)
    assert float(discriminator_loss(real, generated)) == pytest.approx(0.125 + 0.125)
