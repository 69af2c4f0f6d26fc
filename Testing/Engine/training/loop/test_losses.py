"""Eq. 1 and what the published product form makes of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch.nn import functional as F

from fitting import RESIDUALS, draw, fit_eq_1, fit_published, quantiles
from upgan.images.reading import read_volume
from upgan.images.scope import scope_of
from upgan.training.loop.losses import (
    EPSILON,
    MEANINGFUL_SIGMA,
    discriminator_loss,
    generalized_gaussian_loss,
    generator_adversarial_loss,
    pixel_weights,
    weighted_l1,
)
from upgan.training.settings.presets import preset
from upgan.uncertainty.distribution import GeneralizedNormal


@pytest.mark.parametrize(("name", "beta"), [("gaussian", 2.0), ("laplace", 1.0)])
def test_eq_1_recovers_shape_and_spread(name, beta):
    alpha, found = fit_eq_1(draw(name))
    assert found == pytest.approx(beta, rel=0.05)
    assert stats.gennorm(found, 0, alpha).std() == pytest.approx(RESIDUALS[name].std(), rel=0.02)


def test_eq_1_finds_bounded_residuals_to_be_flat():
    alpha, beta = fit_eq_1(draw("uniform"))
    assert beta > 8
    assert alpha == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(("law", "beta"), [(stats.laplace, 1.0), (stats.norm, 2.0)])
def test_beta_is_that_of_the_residuals_from_the_sigma_on_that_the_cards_name_and_too_high_below(law, beta):
    def found_at(sigma):
        of_that_sigma = law(scale=sigma / law.std())
        alpha, found = fit_eq_1(quantiles(of_that_sigma), EPSILON)
        assert stats.gennorm(found, 0, alpha).std() == pytest.approx(sigma, rel=0.05)
        return found

    assert found_at(MEANINGFUL_SIGMA * EPSILON) == pytest.approx(beta, abs=0.065)
    assert found_at(MEANINGFUL_SIGMA * EPSILON / 3) > beta + 0.15


def test_residuals_of_laplace_with_a_scale_of_5_hu_read_a_beta_of_1_23():
    _, beta = fit_eq_1(quantiles(stats.laplace(scale=5e-3)), EPSILON)
    assert beta == pytest.approx(1.23, abs=0.01)


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


def step_losses(prediction, target, body, imaged, outside_body):
    weights = pixel_weights(body, imaged, outside_body)
    likelihood = generalized_gaussian_loss(prediction, target, weights.likelihood, total=weights.total)
    return likelihood, weighted_l1(prediction.loc, target, weights.l1, weights.total)


def made_up(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    loc, scale, concentration, target = (torch.rand(shape, generator=generator) + 0.1 for _ in range(4))
    return loc.requires_grad_(), scale, concentration, target


@pytest.mark.parametrize("outside_body", [0.0, 0.02, 1.0])
def test_padding_a_batch_with_air_changes_neither_term_nor_its_gradient(outside_body):
    shape = (2, 1, 12, 10)
    loc, scale, concentration, target = made_up(shape)
    body = torch.zeros(shape)
    body[:, :, 3:9, 3:8] = 1
    found = []
    for margin in (0, 20):
        padded = [
            F.pad(part, [margin] * 4, value=value)
            for part, value in zip((loc, scale, concentration), (0.3, 1, 1), strict=True)
        ]
        b, mask, imaged = (F.pad(part, [margin] * 4) for part in (target, body, torch.ones(shape)))
        for term in step_losses(GeneralizedNormal(*padded), b, mask, imaged, outside_body):
            (gradient,) = torch.autograd.grad(term, loc, retain_graph=True)
            found.append((term.detach(), gradient))
    for (term, gradient), (padded_term, padded_gradient) in zip(found[:2], found[2:], strict=True):
        torch.testing.assert_close(padded_term, term)
        torch.testing.assert_close(padded_gradient, gradient)


@pytest.mark.parametrize("outside_body", [0.02, 1.0])
def test_a_pixel_of_the_body_has_the_same_l1_beside_its_likelihood_however_much_air_is_imaged(outside_body):
    ratios, shares = [], []
    for air in (6, 60):
        loc, scale, concentration, target = (part[:, :, : 8 + air] for part in made_up((1, 1, 80, 8)))
        body = torch.zeros_like(target)
        body[:, :, :8, :6] = 1
        terms = step_losses(
            GeneralizedNormal(loc, scale, concentration), target, body, torch.ones_like(body), outside_body
        )
        likelihood, l1 = (torch.autograd.grad(term, loc, retain_graph=True)[0][0, 0] for term in terms)
        ratios.append((l1 / likelihood)[:8, :6])
        shares.append(float(l1.abs().sum() / l1[:8, :6].abs().sum()))
    torch.testing.assert_close(*ratios)
    assert shares == pytest.approx([2, 2])  # all the air together weighs as much as the body


def test_a_batch_without_a_body_has_finite_gradients():
    loc, scale, concentration, target = made_up((1, 1, 4, 4))
    nothing = torch.zeros(1, 1, 4, 4)
    for outside_body in (0.0, 0.02):
        prediction = GeneralizedNormal(loc, scale, concentration)
        for term in step_losses(prediction, target, nothing, torch.ones_like(nothing), outside_body):
            assert torch.autograd.grad(term, loc, retain_graph=True)[0].isfinite().all()


def test_the_adversarial_terms_are_least_squares():
    real, generated = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.5])
    assert float(generator_adversarial_loss(generated)) == pytest.approx((1 + 0.25) / 2)
    assert float(discriminator_loss(real, generated)) == pytest.approx(0.125 + 0.125)


def test_the_presets_l1_pulls_a_body_pixel_as_their_former_one_that_was_averaged_over_the_slice():
    ct = read_volume(Path(__file__).parents[4] / "UncertaintyGuidedI2I/Resources/SampleData/sample_ct.nrrd")
    body = torch.from_numpy(ndimage.binary_dilation(scope_of(ct, "HU").mask, np.ones((1, 5, 5)))[:, None]).float()
    likelihood = body + 0.02 * (1 - body)
    former = (5 / body.numel()) / (1 / likelihood.sum())
    for loss in (preset("quick")["loss"], preset("fine-tune", base="pet-ct-phantom")["loss"]):
        weights = pixel_weights(body, torch.ones_like(body), loss["outside_body"])
        pixel = int(body.flatten().argmax())
        now = loss["l1"] * float(weights.l1.flatten()[pixel] / weights.likelihood.flatten()[pixel])
        assert now == pytest.approx(float(former), rel=0.1)
