"""Maps derived from α and β, against scipy's generalised normal distribution, and that torch is not needed for them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from upgan.uncertainty import derived

BETAS = np.array([0.1, 0.3, 0.5, 0.684, 1.0, 1.7, 2.0, 3.3, 8.0, 40.0, 100.0])
SHAPE = (3, 11)


@pytest.fixture
def maps(rng):
    """Image, α and β of [3, 11], float32."""
    image = rng.normal(200, 400, SHAPE).astype(np.float32)
    alpha = rng.uniform(5, 400, SHAPE).astype(np.float32)
    return image, alpha, np.broadcast_to(BETAS, SHAPE).astype(np.float32)


def test_sigma_is_the_standard_deviation(maps):
    _, alpha, beta = maps
    sigma = derived.sigma(alpha, beta)
    assert sigma.dtype == np.float32
    assert sigma.shape == SHAPE
    np.testing.assert_allclose(sigma, stats.gennorm.std(beta.astype(float), scale=alpha), rtol=1e-6)


@pytest.mark.parametrize("level", [0.01, 0.5, 0.9, 0.99, 0.999])
def test_the_interval_holds_its_level(level, maps):
    _, alpha, beta = maps
    width = derived.interval_width(alpha, beta, level)
    low, high = stats.gennorm.interval(level, beta.astype(float), scale=alpha)
    assert width.dtype == np.float32
    np.testing.assert_allclose(width, high - low, rtol=5e-5)


@given(beta=st.floats(0.101, 99), level=st.floats(0.01, 0.99))
def test_interpolated_interval_factors_are_as_good_as_inverted_ones(beta, level):
    found = derived.interval_width(np.ones(1), np.array([beta]), level)
    np.testing.assert_allclose(found, 2 * stats.gennorm.ppf((1 + level) / 2, beta), rtol=5e-5)


@pytest.mark.parametrize("beta", [0.05, 0.09, 120.0, 1000.0])
def test_shapes_beyond_the_interpolated_ones_are_right_too(beta):
    found = derived.interval_width(np.array([2.0, 2.0]), np.array([beta, 1.0]), 0.8)
    np.testing.assert_allclose(found, 4 * stats.gennorm.ppf(0.9, [beta, 1.0]), rtol=5e-5)


@pytest.mark.parametrize("threshold", [-500.0, 0.0, 300.0, 1500.0])
def test_probabilities_are_those_of_the_distribution(threshold, maps):
    image, alpha, beta = maps
    truth = stats.gennorm(beta.astype(float), image.astype(float), alpha.astype(float))
    above = derived.probability_above(image, alpha, beta, threshold)
    below = derived.probability_below(image, alpha, beta, threshold)
    assert above.dtype == below.dtype == np.float32
    np.testing.assert_allclose(above, truth.sf(threshold), atol=1e-6)
    np.testing.assert_allclose(below, truth.cdf(threshold), atol=1e-6)


def test_far_tails_keep_their_relative_precision():
    image, alpha, beta = (np.float32(value) for value in (0, 100, 1.7))
    thresholds = np.array([500.0, 800.0, 1100.0])
    above = [derived.probability_above(image, alpha, beta, threshold) for threshold in thresholds]
    expected = stats.gennorm.sf(thresholds, float(beta), scale=100)
    assert expected[-1] < 1e-24
    np.testing.assert_allclose(above, expected, rtol=1e-5)
    below = [derived.probability_below(image, alpha, beta, -threshold) for threshold in thresholds]
    np.testing.assert_allclose(below, expected, rtol=1e-5)


def test_without_any_doubt_the_probability_is_zero_half_or_one():
    image = np.array([299, 300, 301], dtype=np.float32)
    zero, two = np.zeros(3, dtype=np.float32), np.full(3, 2, dtype=np.float32)
    np.testing.assert_array_equal(derived.probability_above(image, zero, two, 300), [0, 0.5, 1])
    np.testing.assert_array_equal(derived.interval_width(zero, two, 0.9), 0)
    np.testing.assert_array_equal(derived.sigma(zero, two), 0)


def test_a_volume_gives_the_same_slab_by_slab(rng):
    image, alpha = rng.uniform(1, 500, (2, 4, 5, 6)).astype(np.float32)
    beta = rng.uniform(0.3, 8, (4, 5, 6)).astype(np.float32)
    whole = derived.probability_above(image, alpha, beta, 100)
    slabs = [derived.probability_above(*slab, 100) for slab in zip(image, alpha, beta, strict=True)]
    np.testing.assert_array_equal(whole, slabs)


def test_the_maps_need_no_torch():
    module = Path(derived.__file__).parents[2]
    code = "import sys; sys.modules['torch'] = None; import upgan.uncertainty.derived, upgan.images.patient"
    subprocess.run([sys.executable, "-c", code], cwd=module, check=True)
