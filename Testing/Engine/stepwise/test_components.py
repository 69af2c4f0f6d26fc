"""Components against scipy, in whatever slabs they are found."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from upgan.stepwise.components import component_stepwise
from upgan.stepwise.steps import finish


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.tuples(*[st.integers(1, 9)] * 3), st.floats(0, 1), st.integers(1, 200))
def test_components_are_numbered_and_counted_as_scipy_does_in_whatever_slabs(seed, shape, share, step):
    mask = np.random.default_rng(seed).random(shape) < share
    with mock.patch("upgan.stepwise.steps.STEP_VOXELS", step):
        found = finish(component_stepwise(shape, lambda slab: mask[slab]))
    labels, count = ndimage.label(mask)
    np.testing.assert_array_equal(found.of(slice(None)), labels)
    np.testing.assert_array_equal(found.sizes, [0, *(np.count_nonzero(labels == i + 1) for i in range(count))])


@pytest.mark.parametrize("turns", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 1)])
def test_a_spiral_through_all_slabs_is_one_component(turns):
    # A wall with doors at alternating ends: every slab sees many pieces, which only the last border joins.
    mask = np.zeros((21, 21, 5), dtype=bool)
    mask[:, ::2] = True
    mask[0, 1::4] = mask[-1, 3::4] = True
    for axis, turn in enumerate(turns):
        mask = np.flip(mask, axis) if turn else mask
    with mock.patch("upgan.stepwise.steps.STEP_VOXELS", 1):
        found = finish(component_stepwise(mask.shape, lambda slab: mask[slab]))
    np.testing.assert_array_equal(found.sizes, [0, mask.sum()])
