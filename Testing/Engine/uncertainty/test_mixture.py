"""Several distributions taken as one, against samples and against scipy's own moments."""

import itertools

import numpy as np
import pytest
from scipy import stats

from upgan.uncertainty.mixture import SHAPES, Mixture, shape_of_kurtosis

# Voxels: alike, apart, far apart, of different width, lopsided, heavy-tailed; image, α, β of three predictions each.
IMAGE = np.array([[40, 40, 41], [0, 60, -50], [-1000, 0, 1500], [10, 10, 10], [0, 0, 300], [5, -5, 20]], dtype="f4").T
ALPHA = np.array([[30, 31, 29], [40, 20, 30], [10, 20, 30], [1, 50, 400], [20, 20, 90], [5, 1, 2]], dtype="f4").T
BETA = np.array([[2, 2, 2], [1, 2, 1.5], [2, 8, 1], [1, 1, 1], [2, 2, 0.9], [0.5, 0.6, 0.4]], dtype="f4").T


def mixed(*predictions):
    """The mixture of (image, α, β) of a few voxels each."""
    mixture = Mixture((1, 1, len(predictions[0][0])))
    for prediction in predictions:
        assert list(mixture.add(*(values[None, None] for values in prediction))) == [0]
    return [values[0, 0] for values in mixture.finish()]


def test_mean_and_variance_are_those_of_samples_of_the_mixture():
    image, alpha, beta, _ = mixed(*zip(IMAGE, ALPHA, BETA, strict=True))
    rng = np.random.default_rng(7)
    for voxel in range(5):  # the tails of the last one want more samples than there is time
        draws = np.concatenate(
            [
                stats.gennorm.rvs(b, m, a, size=60_000, random_state=rng)
                for m, a, b in zip(IMAGE[:, voxel], ALPHA[:, voxel], BETA[:, voxel], strict=True)
            ]
        )
        sigma = stats.gennorm.std(beta[voxel], scale=alpha[voxel])
        assert image[voxel] == pytest.approx(draws.mean(), abs=5 * draws.std() / len(draws) ** 0.5)
        assert sigma == pytest.approx(draws.std(), rel=0.02)


def test_mean_variance_and_kurtosis_are_those_that_scipy_gives_the_mixture():
    image, alpha, beta, _ = mixed(*zip(IMAGE, ALPHA, BETA, strict=True))
    # Moments about zero add up; those about the mean follow from them.
    about_zero = np.mean([[stats.gennorm.moment(n, BETA, IMAGE, ALPHA)] for n in range(5)], axis=2)[:, 0]
    _, mean, second, third, fourth = about_zero
    variance = second - mean**2
    central = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
    np.testing.assert_allclose(image, mean, rtol=1e-5)
    np.testing.assert_allclose(stats.gennorm.var(beta, scale=alpha), variance, rtol=1e-5)
    kurtosis = np.maximum(central / variance**2, stats.gennorm.stats(SHAPES[1], moments="k") + 3)
    assert (kurtosis > central / variance**2).any()  # two humps: flatter than any of the family
    np.testing.assert_allclose(stats.gennorm.stats(beta, moments="k") + 3, kurtosis, rtol=1e-5)


def test_predictions_that_are_alike_are_what_each_of_them_is():
    beta = np.geomspace(*SHAPES, 200, dtype=np.float32)
    alpha = np.geomspace(1e-3, 1e4, 200, dtype=np.float32)
    one = (np.linspace(-1000, 2000, 200, dtype=np.float32), alpha, beta)
    image, found_alpha, found_beta, spread = mixed(one, one, one)
    np.testing.assert_array_equal(image, one[0])
    assert not spread.any()
    sigma = stats.gennorm.std(beta.astype("f8"), scale=alpha.astype("f8"))
    found = stats.gennorm.std(found_beta.astype("f8"), scale=found_alpha.astype("f8"))
    np.testing.assert_allclose(found, sigma, rtol=1e-5)
    # Towards a uniform distribution the shape matters less and less.
    np.testing.assert_allclose(found_beta, beta, rtol=1e-4)
    np.testing.assert_allclose(found_beta[beta < 8], beta[beta < 8], rtol=3e-6)
    np.testing.assert_allclose(found_alpha[beta < 8], alpha[beta < 8], rtol=5e-5)


def test_the_spread_is_the_sample_standard_deviation_of_the_means():
    *_, spread = mixed(*zip(IMAGE, ALPHA, BETA, strict=True))
    np.testing.assert_allclose(spread, IMAGE.std(axis=0, ddof=1), rtol=1e-5)


def test_the_order_does_not_matter():
    every = [mixed(*order) for order in itertools.permutations(zip(IMAGE, ALPHA, BETA, strict=True))]
    for found in every[1:]:
        np.testing.assert_allclose(found, every[0], rtol=2e-5, atol=1e-4)


def test_shapes_and_scales_at_the_limits_stay_numbers():
    beta = np.array([0.1, 0.1, 400, 1e6], dtype=np.float32)  # the authors' wiring has no upper limit
    alpha = np.array([1e-30, 1e20, 1e-30, 1e20], dtype=np.float32)
    image = np.array([0, 1e30, 0, 1e30], dtype=np.float32)
    for found in mixed((image, alpha, beta), (-image, alpha, beta)):
        assert np.isfinite(found).all()
    _, found_alpha, found_beta, _ = mixed((image, alpha, beta), (image, alpha, beta))
    np.testing.assert_allclose(found_beta, [0.1, 0.1, 100, 100], rtol=1e-4)
    sigma = stats.gennorm.std(beta.astype("f8"), scale=alpha.astype("f8"))
    np.testing.assert_allclose(stats.gennorm.std(found_beta, scale=found_alpha.astype("f8")), sigma, rtol=1e-5)


def test_a_kurtosis_that_no_shape_has_gives_the_nearest():
    np.testing.assert_allclose(shape_of_kurtosis(np.array([1.0, 1.8, 1e12])), [100, 100, 0.1], rtol=1e-6)
    np.testing.assert_allclose(shape_of_kurtosis(np.array([3.0, 6.0])), [2, 1], rtol=1e-6)
