"""What a CT's values are before they are learned or compared with."""

import numpy as np
import pytest

from upgan.images.hounsfield import hounsfield


@pytest.mark.parametrize(
    ("stored", "meant"),
    [(-3024, -1000), (-2000, -1000), (-1025, -1000), (-1024, -1024), (-1000, -1000), (3071, 3071), (30_000, 3071)],
)
def test_padding_is_air_and_metal_ends_where_twelve_bits_do(stored, meant):
    assert hounsfield(np.array([stored, 40], np.int16)).tolist() == [meant, 40]


def test_what_is_no_number_stays_none_and_a_good_ct_is_not_copied():
    kept = hounsfield(np.array([np.nan, np.inf, -np.inf, 4e6], np.float32))
    np.testing.assert_array_equal(kept, [np.nan, np.inf, -np.inf, 3071])
    voxels = np.array([-1000, 40], np.float32)
    assert hounsfield(voxels) is voxels
    voxels[0] = -3024
    hounsfield(voxels)
    assert voxels[0] == -3024
