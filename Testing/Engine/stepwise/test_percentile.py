"""Percentiles against numpy, in whatever steps they are found."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upgan.stepwise.percentile import percentile_stepwise
from upgan.stepwise.steps import finish

DISTRIBUTIONS = {
    "uniform": lambda rng, size: rng.random(size),
    "skew": lambda rng, size: rng.standard_cauchy(size) ** 3,
    "of few values": lambda rng, size: rng.integers(0, 4, size),
    "sorted": lambda rng, size: np.sort(rng.normal(0, 1, size))[::-1],
    "the same": lambda rng, size: np.full(size, 7.5),
}


@pytest.mark.parametrize("values", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3000), st.floats(0, 100), st.sampled_from([np.float32, np.float64]))
def test_a_percentile_in_steps_is_that_of_numpy(values, seed, size, percent, kind):
    drawn = values(np.random.default_rng(seed), size).astype(kind)
    with (
        mock.patch("upgan.stepwise.steps.STEP_VOXELS", 50),
        mock.patch("upgan.stepwise.percentile.STEP_VOXELS", 50),
        mock.patch("upgan.stepwise.percentile._SAMPLE", 20),
    ):
        found = finish(percentile_stepwise(drawn, percent))
    # Of float64: numpy's releases differ in how precisely they find the rank in float32.
    assert found == pytest.approx(np.percentile(drawn.astype(float), percent), rel=1e-6, abs=1e-12)


def test_the_percentile_of_values_one_of_which_is_no_number_is_none():
    assert np.isnan(finish(percentile_stepwise(np.array([1, np.nan, 3, 4]), 0)))
