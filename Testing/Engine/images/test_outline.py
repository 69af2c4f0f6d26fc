"""Where the object is in an image's slices."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from Engine.made_images import quick
from upgan.images.outline import Window, midway, object_box
from upgan.images.reading import read_volume


def ellipse(rng, shape=(6, 40, 34), centre=(21, 15), radii=(12, 9)) -> np.ndarray:
    """A noisy head in noisy air."""
    _, j, i = np.indices(shape)
    inside = ((j - centre[0]) / radii[0]) ** 2 + ((i - centre[1]) / radii[1]) ** 2 <= 1
    return np.where(inside, rng.uniform(0.7, 1.0, shape), rng.uniform(0, 0.1, shape)).astype(np.float32)


BOX = Window(9, 6, 25, 19)


def test_the_box_is_that_of_the_object(rng):
    assert object_box(ellipse(rng)) == BOX


def test_a_speck_beside_the_object_and_a_bright_voxel_are_none_of_it(rng):
    image = ellipse(rng)
    image[:, 38, 2:5] = 1.0
    image[3, 1, 30] = 40.0
    assert object_box(image) == BOX


def test_two_legs_are_one_object(rng):
    legs = np.concatenate([ellipse(rng), ellipse(rng, centre=(22, 17), radii=(11, 8))], axis=2)
    assert object_box(legs) == Window(BOX.top, BOX.left, 25, 34 + 25 - BOX.left + 1)


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -5.0])
def test_what_is_no_number_or_negative_is_air(rng, nothing):
    image = ellipse(rng)
    image[:, :4] = nothing
    assert object_box(image) == BOX


@pytest.mark.parametrize("empty", [0.0, -1.0, np.nan])
def test_an_image_of_nothing_has_no_box(empty):
    assert object_box(np.full((3, 8, 8), empty, np.float32)) is None


@quick
@given(st.tuples(*[st.integers(0, 60)] * 4), st.floats(0, 0.1), st.integers(0, 2**31))
def test_air_around_moves_the_box_along_with_the_object(sides, noise, seed):
    rng = np.random.default_rng(seed)
    image = ellipse(rng)
    above, below, left, right = sides
    wide = rng.uniform(0, noise + 1e-9, (6, 40 + above + below, 34 + left + right)).astype(np.float32)
    wide[:, above : above + 40, left : left + 34] = image
    assert object_box(wide) == Window(BOX.top + above, BOX.left + left, BOX.rows, BOX.columns)


def test_air_around_the_sample_changes_nothing_of_its_box():
    """Its thresholds are looked for on every third voxel or so, and on others where there is more air."""
    samples = Path(__file__).parents[3] / "UncertaintyGuidedI2I" / "Resources" / "SampleData"
    voxels = read_volume(samples / "sample_nacpet.nrrd").reoriented("axial").voxels
    for slices in (voxels, voxels[12:56:8], voxels[16:56:4], voxels[::3]):
        plain = object_box(slices)
        for wider in (3, 16, 48, 112):
            box = object_box(np.pad(slices, [(0, 0), (wider, wider), (wider, wider)]))
            assert box == plain._replace(top=plain.top + wider, left=plain.left + wider)


def test_the_box_of_real_heads_is_where_people_would_draw_it(shared_data):
    """Drawn by hand on the mean of all axial slices, to some 5 mm."""
    for name, drawn in {"brainchop_t1_crop": (16, 46, 224, 165), "mne_ecog_T1": (32, 49, 188, 160)}.items():
        volume = read_volume(shared_data / "t1" / f"{name}.nii.gz").reoriented("axial")
        assert np.abs(np.subtract(object_box(volume.voxels), drawn)).max() <= 5, name


@quick
@given(st.tuples(*[st.integers(-9, 12)] * 2, *[st.integers(1, 15)] * 2))
def test_a_window_cuts_what_lies_in_it_and_zeros_beyond(place):
    window = Window(*place)
    slices = np.arange(1, 2 * 7 * 8 + 1).reshape(2, 7, 8)
    wide = np.pad(slices, [(0, 0), (20, 30), (20, 30)])
    top, left, rows, columns = window
    expected = wide[:, 20 + top : 20 + top + rows, 20 + left : 20 + left + columns]
    np.testing.assert_array_equal(window.cut(slices), expected)


def test_a_margin_is_as_wide_as_asked_for_or_a_little_wider():
    assert Window(5, 6, 10, 12).grown(8.0, (2.0, 3.0)) == Window(1, 3, 18, 18)
    assert Window(5, 6, 10, 12).grown(0.0, (2.0, 3.0)) == Window(5, 6, 10, 12)


def test_the_threshold_is_midway_between_object_and_air(rng):
    sample = np.concatenate([rng.normal(1, 0.05, 500), rng.normal(0.2, 0.05, 4000)])
    assert midway(sample) == pytest.approx(0.6, abs=0.01)
