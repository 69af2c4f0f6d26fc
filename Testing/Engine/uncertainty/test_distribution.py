"""GeneralizedNormal against scipy.stats.gennorm."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from upgan.uncertainty.distribution import GeneralizedNormal

BETAS = [0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0]
shapes = st.floats(0.3, 8.0)
scales = st.floats(1e-3, 1e3)
locations = st.floats(-1e3, 1e3)


def ours(beta: float, loc: float = 0.0, alpha: float = 1.0) -> GeneralizedNormal:
    return GeneralizedNormal(*(torch.tensor(value, dtype=torch.float64) for value in (loc, alpha, beta)))


def grid(alpha: float, loc: float) -> np.ndarray:
    return loc + alpha * np.concatenate([-np.logspace(1, -6, 60), [0.0], np.logspace(-6, 1, 60)])


@given(beta=shapes, loc=locations, alpha=scales)
def test_log_density_is_that_of_scipy(beta, loc, alpha):
    x = grid(alpha, loc)
    expected = stats.gennorm(beta, loc, alpha).logpdf(x)
    np.testing.assert_allclose(ours(beta, loc, alpha).log_prob(torch.from_numpy(x)), expected, rtol=1e-6, atol=1e-8)


@given(beta=shapes, loc=locations, alpha=scales)
def test_cumulative_probability_is_that_of_scipy(beta, loc, alpha):
    x = grid(alpha, loc)
    expected = stats.gennorm(beta, loc, alpha).cdf(x)
    np.testing.assert_allclose(ours(beta, loc, alpha).cdf(torch.from_numpy(x)), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("beta", BETAS)
def test_the_lower_tail_keeps_its_relative_precision(beta):
    far = torch.tensor([-2.0, -3.0, -4.0], dtype=torch.float64)
    expected = stats.gennorm(beta).cdf(far.numpy())
    np.testing.assert_allclose(ours(beta).cdf(far), expected, rtol=1e-8)


@pytest.mark.parametrize("beta", BETAS)
def test_quantiles_are_those_of_scipy_far_into_the_tails(beta):
    p = np.array([1e-12, 1e-6, 0.01, 0.3, 0.5, 0.7, 0.99, 1 - 1e-6])
    expected = stats.gennorm(beta, 3.0, 2.0).ppf(p)
    np.testing.assert_allclose(ours(beta, 3.0, 2.0).icdf(torch.from_numpy(p)), expected, rtol=1e-7, atol=1e-9)


@given(beta=shapes, p=st.floats(1e-6, 1 - 1e-6))
def test_quantile_and_cumulative_probability_undo_each_other(beta, p):
    distribution = ours(beta, 10.0, 5.0)
    assert float(distribution.cdf(distribution.icdf(torch.tensor(p, dtype=torch.float64)))) == pytest.approx(
        p, rel=1e-6
    )


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("beta", BETAS)
def test_a_central_interval_is_that_of_scipy(beta, level):
    expected = stats.gennorm(beta, -1.0, 0.5).interval(level)
    np.testing.assert_allclose([float(x) for x in ours(beta, -1.0, 0.5).central_interval(level)], expected, rtol=1e-7)


@given(beta=shapes, alpha=scales)
def test_entropy_and_standard_deviation_are_those_of_scipy(beta, alpha):
    reference = stats.gennorm(beta, 0, alpha)
    assert float(ours(beta, 0, alpha).entropy()) == pytest.approx(float(reference.entropy()), rel=1e-7, abs=1e-9)
    assert float(ours(beta, 0, alpha).stddev) == pytest.approx(float(reference.std()), rel=1e-7)
    assert float(ours(beta, 0, alpha).variance) == pytest.approx(float(reference.var()), rel=1e-7)


@pytest.mark.parametrize("beta", BETAS)
def test_samples_follow_the_distribution(beta):
    torch.manual_seed(0)
    samples = ours(beta, 4.0, 2.0).sample((20_000,))
    assert stats.kstest(samples.numpy(), stats.gennorm(beta, 4.0, 2.0).cdf).pvalue > 1e-3
    mean, variance, _, excess = (float(moment) for moment in stats.gennorm(beta, 4.0, 2.0).stats("mvsk"))
    # Five standard errors of each moment.
    assert float(samples.mean()) == pytest.approx(mean, abs=5 * (variance / len(samples)) ** 0.5)
    assert float(samples.var()) == pytest.approx(variance, rel=5 * ((excess + 2) / len(samples)) ** 0.5)


def test_float32_standard_deviation_neither_overflows_nor_loses_digits_at_the_smallest_shape():
    distribution = GeneralizedNormal(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(0.3))
    assert float(distribution.stddev) == pytest.approx(stats.gennorm(0.3).std(), rel=1e-4)


def test_a_laplace_and_a_gaussian_are_special_cases():
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    laplace = torch.distributions.Laplace(torch.tensor(0.5).double(), torch.tensor(2.0).double())
    normal = torch.distributions.Normal(torch.tensor(0.5).double(), torch.tensor(2.0).double())
    torch.testing.assert_close(ours(1.0, 0.5, 2.0).log_prob(x), laplace.log_prob(x))
    torch.testing.assert_close(ours(2.0, 0.5, 2.0 * 2**0.5).log_prob(x), normal.log_prob(x))


def test_parameters_outside_their_range_are_refused():
    with pytest.raises(ValueError, match="scale"):
        GeneralizedNormal(torch.tensor(0.0), torch.tensor(-1.0), torch.tensor(2.0))
    with pytest.raises(ValueError, match="concentration"):
        GeneralizedNormal(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(0.0))


def test_samples_carry_gradients_to_location_and_scale():
    loc, scale = torch.tensor(1.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    torch.manual_seed(1)
    sample = GeneralizedNormal(loc, scale, torch.tensor(1.5)).rsample((1000,))
    sample.sum().backward()
    assert float(loc.grad) == 1000
    # d(loc + scale·e)/dscale = e = (sample − loc)/scale
    assert float(scale.grad) == pytest.approx(float(((sample - loc) / scale).sum().detach()), rel=1e-4)
