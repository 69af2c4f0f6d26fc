"""Error, PSNR and SSIM of an image against scikit-image, MONAI and arithmetic."""

from unittest import mock

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from Engine.synthrad import synthrad_2023
from upgan.evaluation.metrics import Metrics
from upgan.evaluation.ssim import WINDOW_2D, WINDOW_3D, similarity


@pytest.fixture
def compared(rng):
    """A CT, a worse one that leaves the range of intensities, and a mask, [K, J, I]."""
    reference = rng.uniform(-1000, 2900, (3, 20, 18)).astype(np.float32)
    image = reference + rng.normal(0, 300, reference.shape).astype(np.float32)
    image[1, 4:8, 4:8] = 5000  # metal: far over the range
    image[1, 12:15, 4:8] = -3000
    mask = np.zeros(reference.shape, dtype=bool)
    mask[:2, 3:17, 2:15] = True  # nothing in the last slice
    return image, reference, mask


def test_the_absolute_error_counts_what_lies_in_the_mask_and_clips_nothing(compared):
    image, reference, mask = compared
    by_hand = sum(abs(float(a) - float(b)) for a, b in zip(image[mask], reference[mask], strict=True)) / mask.sum()
    assert Metrics(image, reference, mask).mae == pytest.approx(by_hand, rel=1e-6)
    image[2] = 1e6  # outside the mask
    assert Metrics(image, reference, mask).mae == pytest.approx(by_hand, rel=1e-6)


def test_psnr_is_that_of_scikit_image_on_clipped_intensities_of_the_mask(compared):
    image, reference, mask = compared
    clipped, truth = (np.clip(array[mask].astype(float), -1024, 3000) for array in (image, reference))
    expected = peak_signal_noise_ratio(truth, clipped, data_range=4024)
    assert Metrics(image, reference, mask).psnr == pytest.approx(expected, rel=1e-6)


@pytest.fixture
def masked(rng):
    """A CT with structure and a worse copy; a mask that reaches into the volume's rim on one side, [K, J, I]."""
    shape = (15, 40, 34)
    reference = 900 * ndimage.gaussian_filter(rng.normal(0, 1, shape), 1.5) * 5
    image = reference + rng.normal(0, 200, shape) + 60
    image[7, 20:24, 20:24] = 5000
    mask = np.zeros(shape, dtype=bool)
    mask[1:13, 1:30, 6:30] = True
    return image.astype(np.float32), reference.astype(np.float32), mask & (ndimage.gaussian_filter(image, 3) > -300)


@pytest.mark.parametrize("slab", [1, 10**9])
def test_ssim_is_the_one_of_synthrad_2023_in_whatever_slabs(masked, slab):
    image, reference, mask = masked
    expected = synthrad_2023(image, reference, mask)
    assert 0.3 < expected < 0.95
    with mock.patch("upgan.evaluation.ssim._SLAB_VOXELS", slab):
        assert Metrics(image, reference, mask).ssim_3d == pytest.approx(expected, abs=1e-9)
        image[~mask], reference[~mask] = np.nan, 3e4  # what lies outside the mask does not matter
        assert Metrics(image, reference, mask).ssim_3d == pytest.approx(expected, abs=1e-9)


def test_ssim_is_monais_but_for_the_sample_covariance(masked):
    from monai.metrics.regression import compute_ssim_and_cs

    image, reference, mask = masked
    pair = (
        torch.from_numpy(np.where(mask, np.clip(array, -1024, 3000), -1024) + 1024).double()[None, None]
        for array in (image, reference)
    )
    # MONAI divides by n where the sample covariance divides by n - 1: c2, scaled likewise, takes the place of that.
    n = 7**3
    found, _ = compute_ssim_and_cs(
        *pair, 3, (7, 7, 7), (1.0, 1.0, 1.0), 4024, "uniform", k1=0.01, k2=0.03 * np.sqrt((n - 1) / n)
    )
    inner = found[0, 0].numpy()[mask[3:-3, 3:-3, 3:-3]]
    assert Metrics(image, reference, mask).ssim_3d == pytest.approx(inner.mean(), abs=1e-6)


@pytest.mark.parametrize("window", [WINDOW_3D, WINDOW_2D])
def test_ssim_of_one_voxel_is_the_formula_of_wang_on_its_window(masked, window):
    """A volume as large as a window has one voxel whose window lies inside."""
    part = tuple(slice(5, 5 + size) for size in window)
    image, reference, mask = masked[0][part], masked[1][part], np.ones(window, dtype=bool)
    x, y = (np.clip(array.astype(float), -1024, 3000).ravel() + 1024 for array in (image, reference))
    (var_x, covariance), (_, var_y) = np.cov(x, y)
    c1, c2 = (0.01 * 4024) ** 2, (0.03 * 4024) ** 2
    luminance = (2 * x.mean() * y.mean() + c1) / (x.mean() ** 2 + y.mean() ** 2 + c1)
    expected = luminance * (2 * covariance + c2) / (var_x + var_y + c2)
    assert similarity(image, reference, mask, window=window) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_slices_is_scikit_images_slice_by_slice(masked):
    image, reference, mask = masked
    pair = [np.where(mask, np.clip(array.astype(float), -1024, 3000), -1024) + 1024 for array in (image, reference)]
    maps = [structural_similarity(*planes, data_range=4024, full=True)[1] for planes in zip(*pair, strict=True)]
    inner = np.stack(maps)[:, 3:-3, 3:-3][mask[:, 3:-3, 3:-3]]
    assert similarity(image, reference, mask, window=WINDOW_2D) == pytest.approx(inner.mean(), abs=1e-9)


def test_ssim_does_not_depend_on_where_an_arbitrary_unit_has_its_zero(masked):
    image, reference, mask = masked
    expected = similarity(image, reference, mask, (-500.0, 900.0))
    moved = similarity(3 * image + 2000, 3 * reference + 2000, mask, (3 * -500.0 + 2000, 3 * 900.0 + 2000))
    assert moved == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 20, 20), (20, 5, 20), (3, 4, 5), (7, 7, 7)])
def test_a_volume_thinner_than_the_window_or_a_mask_in_its_rim_still_has_an_ssim(rng, shape):
    reference = rng.normal(0, 300, shape)
    image = reference + rng.normal(0, 100, shape)
    for mask in (np.ones(shape, dtype=bool), np.indices(shape).sum(axis=0) < 2):
        found = similarity(image, reference, mask)
        assert 0 < found < 1
        assert similarity(reference, reference, mask) == pytest.approx(1)
    # Of two equal planes the windows are those of each alone.
    if shape[0] == 2:
        twice = [np.repeat(array[:1], 2, axis=0) for array in (image, reference)]
        flat = similarity(*twice, np.ones(shape, dtype=bool), window=WINDOW_2D)
        assert similarity(*twice, np.ones(shape, dtype=bool)) == pytest.approx(flat, abs=2e-3)


def test_identical_images_have_no_error(compared):
    _, reference, mask = compared
    error = Metrics(reference, reference, mask)
    assert error.mae == 0
    assert error.ssim_3d == pytest.approx(1)
    assert error.psnr > 150
    assert np.isfinite(error.psnr)
