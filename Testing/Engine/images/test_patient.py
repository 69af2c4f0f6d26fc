"""The body and the foreground against the anatomy that was simulated, scipy, and real patients on their tables."""

from functools import lru_cache
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from upgan.images.patient import body_mask, body_mask_stepwise, foreground_mask, foreground_mask_stepwise
from upgan.images.reading import read_volume
from upgan.simulation.phantom import simulate_head
from upgan.stepwise.steps import finish

# Of the simulated heads as they are by default.
CT_MM = (3.0, 2.0, 2.0)


@lru_cache(maxsize=1)
def ct() -> np.ndarray:
    return simulate_head(5).ct.voxels


def enclosed_and_outside_air(voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Air that touches the edge of no slice, and air that touches one, by labelling each slice."""
    enclosed, outside = (np.zeros(voxels.shape, dtype=bool) for _ in range(2))
    for plane, inner, outer in zip(voxels <= -500, enclosed, outside, strict=True):
        labels, _ = ndimage.label(plane)
        rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        outer[...] = np.isin(labels, rim[rim > 0])
        inner[...] = plane & ~outer
    return enclosed, outside


def test_the_body_contains_all_tissue_and_the_air_of_sinuses_and_airways():
    mask = body_mask(ct(), CT_MM)
    tissue = ct() > -500
    assert (mask & tissue).sum() > 0.999 * tissue.sum()
    enclosed, _ = enclosed_and_outside_air(ct())
    assert enclosed.sum() * 2 * 2 * 3 / 1000 > 20  # millilitres: the head does have sinuses and airways
    assert mask[enclosed].all()


def test_the_body_ends_at_the_skin():
    mask = body_mask(ct(), CT_MM)
    _, outside = enclosed_and_outside_air(ct())
    # Only gaps as narrow as a nostril (7 pixels) are closed.
    away_from_skin = np.stack([ndimage.distance_transform_edt(plane) for plane in outside]) > 7
    assert away_from_skin.sum() > 0.3 * ct().size
    assert not mask[away_from_skin].any()
    assert (mask & outside).sum() < 0.02 * mask.sum()


def test_a_table_beside_the_head_is_no_body():
    alone = np.pad(ct(), ((0, 0), (0, 16), (0, 0)), constant_values=-1000)
    on_a_table = alone.copy()
    on_a_table[:, -6:, :] = 150
    np.testing.assert_array_equal(body_mask(on_a_table, CT_MM), body_mask(alone, CT_MM))


def test_a_scan_of_nothing_has_no_body():
    mask = body_mask(np.full((3, 8, 9), -1000.0), CT_MM)
    assert mask.shape == (3, 8, 9)
    assert mask.dtype == bool
    assert not mask.any()


# Headrests and tables that touch. Every third slice is enough: what touches does so in all of them.

SPARSE_MM = (9.0, 2.0, 2.0)


def head_in_room() -> tuple[np.ndarray, np.ndarray]:
    """The simulated head with room around it, and its body as it is without anything that touches."""
    ct_alone = np.pad(ct()[::3], ((0, 0), (0, 26), (20, 20)), constant_values=-1000)
    return ct_alone, foreground_mask(ct_alone, -500)


def plate(alone, thickness):
    """A flat table top under the occiput."""
    row = np.flatnonzero(alone.any(axis=(0, 2)))[-1] + 1
    found = np.zeros_like(alone)
    found[:, row : row + thickness] = True
    return found


def cradle(alone, thickness):
    """Half a cylinder, wider than the head, which it touches at the back."""
    columns, row = np.flatnonzero(alone.any(axis=(0, 1))), np.flatnonzero(alone.any(axis=(0, 2)))[-1] + 1
    j, i = np.indices(alone.shape[1:])
    radius = (columns[-1] - columns[0]) / 2 + 8
    distance = np.hypot(j - (row - radius), i - columns.mean())
    return np.broadcast_to((distance >= radius) & (distance < radius + thickness) & (j > row - radius), alone.shape)


def wedge(alone, thickness):
    """Two plates in a V that touch the head on both sides and hold air beneath it."""
    j, i = np.indices(alone.shape[1:])
    middle = np.flatnonzero(alone.any(axis=(0, 1))).mean()
    found = np.zeros_like(alone)
    for side in (1, -1):
        across = j * np.cos(0.6) + side * (i - middle) * np.sin(0.6)
        reach = across[alone.any(axis=0)].max()
        found |= (across > reach) & (across <= reach + thickness) & (side * (i - middle) >= -2)
    return found


def box(alone, thickness):
    """A plate with side walls at the temples."""
    columns, rows = np.flatnonzero(alone.any(axis=(0, 1))), np.flatnonzero(alone.any(axis=(0, 2)))
    found = plate(alone, thickness)
    high = slice(rows[len(rows) // 2], rows[-1] + 1 + thickness)
    found[:, high, columns[0] - thickness : columns[0]] = found[:, high, columns[-1] + 1 :][..., :thickness] = True
    return found


# Millimetres, HU, and the largest share of the body that may be wrong, what is left at the contact included.
@pytest.mark.parametrize("hu", [-400, 150])
@pytest.mark.parametrize(
    ("shape", "pixels", "most"),
    [(plate, 2, 0.002), (plate, 7, 0.005), (cradle, 3, 0.005), (cradle, 5, 0.006), (wedge, 4, 0.01), (box, 3, 0.01)],
)
def test_a_headrest_that_touches_the_head_is_no_body(shape, pixels, most, hu):
    voxels, alone = head_in_room()
    rest = shape(alone, pixels) & ~alone
    voxels[rest] = hu
    touched = foreground_mask(voxels, -500)
    assert (touched & ~alone).sum() > 0.05 * alone.sum()  # as it was: this is what touches
    found = body_mask(voxels, SPARSE_MM)
    assert (found ^ alone).sum() < most * alone.sum()


def test_a_head_that_nothing_touches_keeps_its_ears_and_its_nose():
    voxels, alone = head_in_room()
    np.testing.assert_array_equal(body_mask(voxels, SPARSE_MM), alone)
    np.testing.assert_array_equal(body_mask(ct(), CT_MM), foreground_mask(ct(), -500))


def test_the_body_without_its_headrest_is_the_same_in_whatever_steps_it_is_found():
    voxels, alone = head_in_room()
    voxels[cradle(alone, 4) & ~alone] = 100
    expected = body_mask(voxels, SPARSE_MM)
    with mock.patch("upgan.stepwise.steps.STEP_VOXELS", 1):
        np.testing.assert_array_equal(finish(body_mask_stepwise(voxels, SPARSE_MM)), expected)


def test_the_body_of_finer_pixels_is_the_same_but_for_its_outline():
    voxels, alone = head_in_room()
    voxels[plate(alone, 4) & ~alone] = 100
    coarse = body_mask(voxels, SPARSE_MM).repeat(4, axis=1).repeat(4, axis=2)
    fine = body_mask(voxels.repeat(4, axis=1).repeat(4, axis=2), (9.0, 0.5, 0.5))
    # The closing reaches as many pixels whatever their size.
    assert (fine ^ coarse).sum() < 0.015 * coarse.sum()


def test_the_wings_of_a_real_headrest_that_press_on_the_ears_are_no_body(shared_data):
    from skimage.measure import regionprops

    volume = read_volume(shared_data / "ct" / "qa_ct_ge_head.nii.gz").reoriented("axial")
    touched, found = (
        mask[8:17] for mask in (foreground_mask(volume.voxels, -500), body_mask(volume.voxels, volume.spacing[::-1]))
    )
    solidity = [[regionprops(plane.astype(np.uint8))[0].solidity for plane in mask] for mask in (touched, found)]
    # A head is nearly convex. With the wings, which are shells beside it, it is not.
    assert max(solidity[0]) < 0.97
    assert min(solidity[1]) > 0.98
    assert 0.02 < (touched & ~found).sum() / touched.sum() < 0.06
    assert not (found & ~touched).any()


def test_a_real_body_on_its_table_loses_nothing(shared_data):
    """Lungs behind a thin chest wall, arms and armpits are no gap above a headrest."""
    volume = read_volume(shared_data / "petct" / "ct_2x.nii.gz").reoriented("axial")
    part = volume.voxels[50::6]
    k, j, i = volume.spacing[::-1]
    np.testing.assert_array_equal(body_mask(part, (6 * k, j, i)), foreground_mask(part, -500))


def body_in_one_go(voxels: np.ndarray, threshold: float) -> np.ndarray:
    """The body by scipy's functions of whole volumes."""
    labels, _ = ndimage.label(voxels > threshold)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = labels == sizes.argmax()
    # As wide as the closing reaches twice: further than that, the edge of a slice cannot matter.
    wide = np.pad(body, ((0, 0), (6, 6), (6, 6)))
    closed = ndimage.binary_closing(wide, np.ones((1, 7, 7)))[:, 6:-6, 6:-6] | body
    return np.stack([ndimage.binary_fill_holes(plane) for plane in closed])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.tuples(*[st.integers(1, 24)] * 3), st.floats(0.3, 2.5), st.integers(1, 900))
def test_the_body_is_the_same_in_whatever_steps_it_is_found(seed, shape, smoothness, step):
    voxels = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, shape), smoothness)
    threshold = float(np.quantile(voxels, 0.5))
    with mock.patch("upgan.stepwise.steps.STEP_VOXELS", step):
        found = finish(foreground_mask_stepwise(voxels, threshold))
    if (voxels > threshold).any():
        np.testing.assert_array_equal(found, body_in_one_go(voxels, threshold))
    else:
        assert not found.any()


def test_the_body_is_found_with_a_pause_after_every_plane():
    for steps in (lambda ct: body_mask_stepwise(ct, (3.0, 0.5, 0.5)), lambda ct: foreground_mask_stepwise(ct, -500)):
        assert sum(1 for _ in steps(np.full((5, 512, 512), -1000.0))) >= 5
        # Of a body: also between closing and filling each plane.
        assert sum(1 for _ in steps(np.ones((5, 512, 512)))) >= 4 * 5
