"""Coverage of distributions that are true, too narrow and too wide."""

import numpy as np
import pytest
from scipy import stats

from upgan.uncertainty.coverage import LEVELS, coverage


@pytest.fixture
def drawn(rng):
    """Predictions of many shapes and references that scipy draws from exactly them: image, α, β, reference."""
    size = 100_000
    image, alpha, beta = rng.normal(0, 500, size), rng.uniform(5, 300, size), rng.uniform(0.4, 7, size)
    return image, alpha, beta, stats.gennorm.rvs(beta, image, alpha, random_state=rng)


def test_coverage_is_nominal_when_the_distributions_are_true(drawn):
    image, alpha, beta, reference = drawn
    for level, share in coverage(image, alpha, beta, reference).items():
        four_standard_errors = 4 * np.sqrt(level * (1 - level) / image.size)
        assert share == pytest.approx(level, abs=four_standard_errors)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_coverage_tells_overconfidence_from_underconfidence(drawn, factor):
    image, alpha, beta, reference = drawn
    found = coverage(image, factor * alpha, beta, reference)
    assert list(found) == list(LEVELS)
    for level, share in found.items():
        # What truly lies within the interval of a distribution of the wrong width.
        half_width = stats.gennorm.ppf((1 + level) / 2, beta, scale=factor * alpha)
        expected = 1 - 2 * stats.gennorm.sf(half_width, beta, scale=alpha).mean()
        assert share == pytest.approx(expected, abs=0.01)
        assert (share < level - 0.03) if factor < 1 else (share > level + 0.03)
