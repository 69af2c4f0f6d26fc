"""Another image on the result's grid, against scipy's interpolator, arithmetic and the physics of a voxel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from Engine.made_images import SHAPE, affine_of, affines, quick
from upgan.images.resampling import Grid, resample
from upgan.images.volume import Volume

TILTED = np.array([[0.5, 0, 0, -40], [0, 0.5 * np.cos(0.3), 0, 30], [0, -0.5 * np.sin(0.3), 4, 10], [0, 0, 0, 1.0]])


def indices_in(source: np.ndarray, grid: Grid) -> np.ndarray:
    """The source's (i, j, k) under each voxel of the grid, one homogeneous product a voxel: [K, J, I, 3]."""
    k, j, i = np.indices(grid.shape)
    ras = np.stack([i, j, k, np.ones_like(i)], axis=-1) @ grid.ijk_to_ras.T
    return (ras @ np.linalg.inv(source).T)[..., :3]


def by_hand(volume: Volume, grid: Grid, outside: float) -> tuple[np.ndarray, np.ndarray]:
    """Linear interpolation by scipy's interpolator for points; the outermost voxels reach half a voxel further."""
    place = indices_in(volume.ijk_to_ras, grid)[..., ::-1]
    last = np.array(volume.voxels.shape) - 1
    covered = ((place >= -0.5) & (place <= last + 0.5)).all(axis=-1)
    interpolate = RegularGridInterpolator([np.arange(n + 1) for n in last], volume.voxels.astype(float))
    return np.where(covered, interpolate(np.clip(place, 0, last)), outside), covered


@given(source=affines(), turn=affines(), seed=st.integers(0, 9))
@quick
def test_any_grid_gets_the_linear_interpolation_of_scipy(source, turn, seed):
    voxels = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
    volume = Volume(voxels, source)
    # Finer than the source, so that nothing is smoothed, around the source's centre, turned and sheared as it likes.
    fine = np.eye(4)
    fine[:3, :3] = source[:3, :3] @ turn[:3, :3] / np.linalg.norm(turn[:3, :3], 2) * 0.9
    centre = source[:3, :3] @ (np.array(SHAPE[::-1]) - 1) / 2 + source[:3, 3]
    fine[:3, 3] = centre - fine[:3, :3] @ np.array([3, 4, 2.5])
    grid = Grid((6, 9, 7), fine)
    found = resample(volume, grid, outside=-7)
    expected, covered = by_hand(volume, grid, -7)
    place = indices_in(source, grid)[..., ::-1]
    last = np.array(SHAPE) - 1
    on_the_rim = (np.abs(np.abs(place - last / 2) - (last + 1) / 2) < 1e-6).any(axis=-1)
    np.testing.assert_array_equal(found.covered[~on_the_rim], covered[~on_the_rim])
    np.testing.assert_allclose(found.voxels[~on_the_rim], expected[~on_the_rim], atol=1e-4)
    assert found.smoothing_mm == (0, 0, 0)


def test_the_same_grid_gives_the_same_voxels(rng):
    voxels = rng.normal(size=(5, 7, 6)).astype(np.float32)
    found = resample(Volume(voxels, TILTED), Grid((5, 7, 6), TILTED), outside=0)
    np.testing.assert_allclose(found.voxels, voxels, atol=1e-6)
    assert found.covered.all()


def test_a_flipped_and_permuted_grid_gives_the_same_voxels_in_its_order(rng):
    voxels = rng.normal(size=(5, 7, 6))
    # i' runs along k, j' against i, k' along j.
    swap = np.array([[0, -1, 0, 5], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    found = resample(Volume(voxels, TILTED), Grid((7, 6, 5), TILTED @ swap), outside=0)
    np.testing.assert_allclose(found.voxels, voxels.transpose(1, 2, 0)[:, ::-1, :], atol=1e-6)


def test_a_small_grid_in_a_large_image_sees_what_a_large_grid_sees_there(rng):
    volume = Volume(rng.normal(size=(30, 40, 36)).astype(np.float32), affine_of(np.eye(3), (1, 1, 1)))
    # Coarser, so that the margin of the smoothing counts as well.
    large = affine_of(np.eye(3), (2, 3, 2.5), (12, -17, 32.5))
    small = large @ np.array([[1, 0, 0, 4], [0, 1, 0, 3], [0, 0, 1, 5], [0, 0, 0, 1.0]])
    whole = resample(volume, Grid((10, 11, 16), large), outside=0)
    part = resample(volume, Grid((3, 4, 5), small), outside=0)
    np.testing.assert_allclose(part.voxels, whole.voxels[5:8, 3:7, 4:9], atol=1e-5)
    assert whole.smoothing_mm[0] > 0


def test_a_coarser_grid_sees_voxels_as_wide_as_its_own():
    # The second moment of an impulse's image adds up to the grid's voxel, seen as a Gaussian of that width at half
    # maximum, where the source's own voxel is counted in.
    voxels = np.zeros((41, 41, 41), dtype=np.float32)
    voxels[20, 20, 20] = 1
    spacing = np.array([1.0, 0.5, 2.0])
    coarse = affine_of(np.eye(3), (4, 3, 2), (0, 0, 0))
    source = affine_of(np.eye(3), tuple(spacing), tuple(-20 * spacing))
    # Shifted grids sample the same smoothed impulse densely along i.
    profile = []
    steps = np.arange(-8, 8.01, 0.25)
    for step in steps:
        shifted = coarse.copy()
        shifted[:3, 3] = (step, 0, 0)
        profile.append(resample(Volume(voxels, source), Grid((2, 2, 2), shifted), outside=0).voxels[0, 0, 0])
    variance = np.average(steps**2, weights=profile)
    own, wanted = (1 / 2.3548) ** 2, (4 / 2.3548) ** 2
    # Linear interpolation widens by a triangle of variance h²/6 on top.
    assert variance == pytest.approx(wanted - own + 1 / 6, rel=0.03)
    found = resample(Volume(voxels, source), Grid((2, 2, 2), coarse), outside=0)
    np.testing.assert_allclose(found.smoothing_mm, np.sqrt([16 - 1, 9 - 0.25, 0]) / np.sqrt(8 * np.log(2)), atol=1e-9)


def test_smoothing_is_measured_along_the_axes_of_the_image_however_the_grid_lies():
    # The grid's K runs along the image's I, so that its 4 mm count there; the shear widens it along the image's K.
    lying = np.array([[0, 0, 4, 0], [1, 0, 0, 0], [0.3, 1, 0, 0], [0, 0, 0, 1.0]])
    found = resample(Volume(np.zeros((9, 9, 9)), np.eye(4)), Grid((2, 2, 2), lying), outside=0)
    np.testing.assert_allclose(np.square(found.smoothing_mm) * 8 * np.log(2), [16 - 1, 0, 0.3**2], atol=1e-9)


def test_noise_that_the_grid_cannot_show_is_averaged_and_the_mean_kept(rng):
    fine = 40 + rng.normal(0, 100, (24, 96, 96)).astype(np.float32)
    grid = Grid((20, 22, 22), affine_of(np.eye(3), (4, 4, 1), (4, 4, 2)))
    found = resample(Volume(fine, affine_of(np.eye(3), (1, 1, 1), (0, 0, 0))), grid, outside=0)
    assert found.covered.all()
    assert found.voxels.std() < 30
    assert found.voxels.mean() == pytest.approx(40, abs=2)


def test_voxels_that_are_not_numbers_count_as_not_imaged(rng):
    voxels = rng.normal(size=(6, 8, 8))
    voxels[2, 3, 4] = np.nan
    voxels[5, 7, 7] = np.inf
    found = resample(Volume(voxels, np.eye(4)), Grid((6, 8, 8), np.eye(4)), outside=-3)
    assert np.argwhere(~found.covered).tolist() == [[2, 3, 4], [5, 7, 7]]
    assert found.voxels[2, 3, 4] == found.voxels[5, 7, 7] == -3
    half_way = np.eye(4)
    half_way[0, 3] = 0.5
    found = resample(Volume(voxels, np.eye(4)), Grid((6, 8, 8), half_way), outside=-3)
    assert not found.covered[2, 3, 3]
    assert not found.covered[2, 3, 4]
    assert found.covered[2, 3, 5]
    assert np.isfinite(found.voxels).all()


def test_smoothing_carries_nothing_of_a_hole_to_where_it_says_there_is_an_image():
    voxels = np.full((9, 40, 40), 50.0)
    voxels[:, :, :10] = np.nan
    grid = Grid((5, 12, 12), affine_of(np.eye(3), (3, 3, 1), (1, 1, 1)))
    found = resample(Volume(voxels, np.eye(4)), grid, outside=-1000)
    assert 0.3 < found.covered.mean() < 0.8
    np.testing.assert_allclose(found.voxels[found.covered], 50, atol=1e-3)


def test_an_image_elsewhere_covers_nothing():
    far = np.eye(4)
    far[2, 3] = 500
    found = resample(Volume(np.ones((4, 4, 4)), far), Grid((3, 3, 3), np.eye(4)), outside=-1000)
    assert not found.covered.any()
    assert (found.voxels == -1000).all()


def test_integers_are_interpolated_between(rng):
    voxels = rng.integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    half_way = np.eye(4)
    half_way[0, 3] = 0.5
    found = resample(Volume(voxels, np.eye(4)), Grid((4, 5, 5), half_way), outside=0)
    np.testing.assert_allclose(found.voxels, (voxels[..., :-1].astype(float) + voxels[..., 1:]) / 2)
