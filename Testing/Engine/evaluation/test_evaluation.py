"""Figures of merit against scikit-image, scipy and arithmetic; the body against the anatomy that was simulated."""

import json
from functools import lru_cache
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn

from Engine.conftest import IdentityBundle
from Engine.heads import SHAPE, SPACING_MM, read_pairs
from Engine.synthrad import synthrad_2023
from upgan.errors import Cancelled, InputError
from upgan.evaluation.metrics import Metrics
from upgan.evaluation.paired import compare_paired, conclusion
from upgan.evaluation.report import evaluate
from upgan.evaluation.ssim import WINDOW_2D, WINDOW_3D, similarity
from upgan.images.patient import body_mask, body_mask_stepwise, foreground_mask, foreground_mask_stepwise
from upgan.images.reading import read_volume
from upgan.images.scope import foreground_scope
from upgan.images.volume import Volume
from upgan.inference.engine import InferenceEngine
from upgan.networks.cascade import Cascade
from upgan.pairs.preparation import Pair
from upgan.progress import Progress
from upgan.simulation.phantom import simulate_head
from upgan.stepwise.components import component_stepwise
from upgan.stepwise.percentile import percentile_stepwise
from upgan.stepwise.steps import finish
from upgan.tasks import PET_TO_CT
from upgan.uncertainty.calibration import Calibration
from upgan.uncertainty.coverage import LEVELS, coverage
from upgan.uncertainty.distribution import GeneralizedNormal

# Of the simulated heads as they are by default.
CT_MM = (3.0, 2.0, 2.0)


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


@pytest.fixture
def engine(tiny_bundle) -> InferenceEngine:
    """The tiny model with weights whose answer follows the image: as initialised, but for heads that say something."""
    torch.manual_seed(4)
    cascade = Cascade(tiny_bundle.metadata.upgan.architecture).eval()
    for generator in cascade.generators:
        for head in (generator.image_head, generator.scale_head, generator.concentration_head):
            nn.init.normal_(head.weight, 0.3)
    return InferenceEngine(IdentityBundle(tiny_bundle.folder, tiny_bundle.metadata, cascade), "cpu", "float32")


def by_hand(engine, folder, name):
    """Every figure of one subject and both phases, from its translation, with numpy and scipy alone."""
    truth = read_volume(folder / f"{name}_ct.nii.gz").voxels
    translation = engine.translate(read_volume(folder / f"{name}_nacpet.nii.gz"), phases="all")
    mask = body_mask(truth, SPACING_MM)
    figures = {}
    for phase, maps in translation.phases.items():
        true, error = truth[mask], np.abs(maps.image - truth)[mask].astype(float)
        alpha, beta, sigma = (array[mask].astype(float) for array in (maps.alpha, maps.beta, maps.sigma))
        ranks = [stats.rankdata(values) for values in (error, sigma)]
        figures[str(phase)] = {
            **{name: getattr(Metrics(maps.image, truth, mask), name) for name in ("mae", "psnr", "ssim_3d")},
            "ssim_2d": similarity(maps.image, truth, mask, window=WINDOW_2D),
            "mae_air": error[true <= -300].mean(),
            "mae_soft": error[(true > -300) & (true <= 200)].mean(),
            "mae_bone": error[true > 200].mean(),
            "rmse": np.sqrt((error**2).mean()),
            "sigma_rms": np.sqrt((sigma**2).mean()),
            "spearman_error_sigma": np.corrcoef(*ranks)[0, 1],
        }
        for level in LEVELS:
            half_width = stats.gennorm.ppf((1 + level) / 2, beta, scale=alpha)
            figures[str(phase)][f"coverage_{level:.0%}"] = (error <= half_width).mean()
    return figures


def test_evaluate_gives_mean_and_standard_deviation_over_subjects_of_every_phase(engine, tmp_path, write_pairs):
    write_pairs(tmp_path, [1, 2])
    found = evaluate(engine, read_pairs(tmp_path, "sub-001", "sub-002"), 2)
    assert found["subjects"] == 2
    assert found["data_range"] == [-1024, 3000]
    assert found["unit"] == "HU"
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found["phases"]) == ["1", "2"]
    first, second = (by_hand(engine, tmp_path, name) for name in ("sub-001", "sub-002"))
    for phase, figures in found["phases"].items():
        assert set(figures) == set(first[phase])
        for name, (mean, spread) in figures.items():
            one, other = first[phase][name], second[phase][name]
            assert mean == pytest.approx((one + other) / 2, abs=1e-3, rel=1e-5), name
            assert spread == pytest.approx(abs(one - other) / np.sqrt(2), abs=1e-3, rel=1e-3), name
            rows = found["rows"][phase]
            assert [rows[subject][name] for subject in ("sub-001", "sub-002")] == pytest.approx([one, other], rel=1e-4)


def test_the_progress_counts_pairs_and_can_end_the_work(engine, tmp_path, write_pairs):
    write_pairs(tmp_path, [1, 2])
    done = []
    progress = Progress(lambda what, fraction, remaining_s: done.append((fraction, what)))
    evaluate(engine, read_pairs(tmp_path, "sub-001", "sub-002"), 2, progress)
    assert done == sorted(done)
    assert {(0.5, "patient 1 of 2"), (1.0, "patient 2 of 2")} <= set(done)
    assert done[-1] == (1.0, "patient 2 of 2")

    def stop(*told) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        evaluate(engine, read_pairs(tmp_path, "sub-001"), 1, Progress(stop))


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_the_figures_do_not_depend_on_how_the_files_store_the_patient(engine, tmp_path, plane, write_pairs):
    write_pairs(tmp_path, [3])
    expected, found = (
        evaluate(engine, read_pairs(tmp_path, "sub-001", stored_as=stored), 1)["rows"]["2"]["sub-001"]
        for stored in (None, plane)
    )
    assert found == pytest.approx(expected, rel=1e-4)


def test_one_subject_has_no_spread(engine, tmp_path, write_pairs):
    write_pairs(tmp_path, [3])
    found = evaluate(engine, read_pairs(tmp_path, "sub-001"), 1)
    assert found["subjects"] == 1
    assert {spread for _, spread in found["phases"]["1"].values()} == {0.0}


def test_a_sigma_that_is_the_same_everywhere_and_a_tissue_that_is_nowhere_leave_valid_json(
    identity_bundle, tmp_path, write_pairs
):
    write_pairs(tmp_path, [3])
    (pair,) = read_pairs(tmp_path, "sub-001")
    boneless = pair._replace(target=Volume(np.minimum(pair.target.voxels, 100), pair.target.ijk_to_ras))
    bundle = identity_bundle((4.0, 4.0), task=PET_TO_CT)
    bundle.network.phases = lambda a: iter([GeneralizedNormal(a, torch.ones_like(a), torch.full_like(a, 2.0))])
    found = evaluate(InferenceEngine(bundle, "cpu", "float32"), [boneless], 1)
    figures = found["phases"]["1"]
    assert figures["spearman_error_sigma"] == [0, 0]
    assert "mae_bone" not in figures
    assert "mae_soft" in figures
    json.dumps(found, allow_nan=False)


def test_an_error_that_is_the_same_everywhere_leaves_valid_json(identity_bundle, tmp_path, write_pairs):
    write_pairs(tmp_path, [3])
    (pair,) = read_pairs(tmp_path, "sub-001")
    # Water all over in a body of fat, with a sigma that does vary.
    uniform = pair._replace(target=Volume(np.where(pair.target.voxels > -500, -100.0, -1000.0), pair.target.ijk_to_ras))
    bundle = identity_bundle((4.0, 4.0), task=PET_TO_CT)
    water = lambda a: GeneralizedNormal(torch.ones_like(a), 0.1 + a.abs(), torch.full_like(a, 2.0))  # noqa: E731
    bundle.network.phases = lambda a: iter([water(a)])
    with mock.patch("upgan.images.scope.body_mask", return_value=uniform.target.voxels > -500):
        found = evaluate(InferenceEngine(bundle, "cpu", "float32"), [uniform], 1)
    figures = found["rows"]["1"]["sub-001"]
    assert figures["mae"] == figures["rmse"] == 100
    assert figures["spearman_error_sigma"] == 0
    assert figures["ssim_3d"] < 1
    json.dumps(found, allow_nan=False)


def test_an_image_of_arbitrary_unit_is_compared_in_its_foreground_over_its_own_range(identity_bundle, rng):
    k, j, i = np.indices((6, 40, 36))
    head = ((j - 20) / 15) ** 2 + ((i - 18) / 13) ** 2 < 1
    target = np.where(head, 300 + 90 * np.sin(k + j / 4), 4).astype(np.float32)
    target[:, 18:22, 16:20] = 0  # a ventricle, dark and filled
    source = np.maximum(target + rng.normal(0, 25, target.shape), 0).astype(np.float32)
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    pair = Pair("sub-001", Volume(source, affine), Volume(target, affine), "")
    engine = InferenceEngine(identity_bundle(), "cpu", "float32")
    found = evaluate(engine, [pair], 1)
    scope = foreground_scope(target, np.ones(target.shape, dtype=bool))
    assert scope.mask[:, 18:22, 16:20].all()
    figures = found["rows"]["1"]["sub-001"]
    assert figures["mae"] == pytest.approx(np.abs(source - target)[scope.mask].mean(), rel=1e-5)
    low, high = scope.data_range
    clipped = (np.clip(array[scope.mask].astype(float), low, high) for array in (target, source))
    assert figures["psnr"] == pytest.approx(peak_signal_noise_ratio(*clipped, data_range=high - low), rel=1e-5)
    assert not [name for name in figures if name.startswith("mae_")]
    assert found["unit"] == ""
    assert "foreground" in found["mask"]
    assert "99.9th percentile" in found["data_range"]


def test_coverage_is_told_with_and_without_the_models_calibration(engine, tmp_path, write_pairs):
    write_pairs(tmp_path, [3])
    plain = evaluate(engine, read_pairs(tmp_path, "sub-001"), 1)["rows"]
    calibration = Calibration(patients=1, voxels=1, scale=(2.5, 0.3), conformal={}, note="")
    section = engine.bundle.metadata.upgan.model_copy(update={"calibration": calibration})
    metadata = engine.bundle.metadata.model_copy(update={"upgan": section})
    bundle = IdentityBundle(engine.bundle.folder, metadata, engine.bundle.network)
    calibrated = evaluate(InferenceEngine(bundle, "cpu", "float32"), read_pairs(tmp_path, "sub-001"), 1)["rows"]
    for phase, wider in (("1", True), ("2", False)):
        before, after = plain[phase]["sub-001"], calibrated[phase]["sub-001"]
        assert after["mae"] == before["mae"]
        for level in ("50%", "80%", "90%", "95%"):
            assert after[f"network_coverage_{level}"] == pytest.approx(before[f"coverage_{level}"], abs=1e-4)
            assert (after[f"coverage_{level}"] > before[f"coverage_{level}"]) == wider
        assert "network_coverage_50%" not in before


def test_a_reference_without_a_body_is_refused(engine, tmp_path, write_pairs):
    write_pairs(tmp_path, [3])
    (pair,) = read_pairs(tmp_path, "sub-001")
    grams = pair._replace(target=Volume(pair.target.voxels / 1000 - 1000, pair.target.ijk_to_ras))
    with pytest.raises(InputError, match="sub-001") as refusal:
        evaluate(engine, [grams], 1)
    assert refusal.value.code == "no_body"


def test_an_input_that_cannot_be_translated_is_named(engine, tmp_path, write_pairs):
    write_pairs(tmp_path, [3])
    (pair,) = read_pairs(tmp_path, "sub-001")
    empty = pair._replace(source=Volume(np.zeros(SHAPE), pair.source.ijk_to_ras))
    with pytest.raises(InputError, match="sub-001") as refusal:
        evaluate(engine, [empty], 1)
    assert refusal.value.code == "constant_image"


# Two models on the same patients


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_paired_difference_is_that_of_wilcoxons_test_counted_out(rng, higher_is_better, sign):
    theirs = rng.normal(100, 20, 8)
    ours = theirs + sign * np.array([1.5, 2.5, -0.5, 7, 3.25, 4, 9, 11])
    found = compare_paired("mae", ours, theirs, higher_is_better=higher_is_better)
    # Of the 2⁸ assignments of signs to the ranks 1 … 8 those with a rank sum at most that of the one odd sign, rank 1.
    sums = [sum(rank for rank in range(1, 9) if bits >> (rank - 1) & 1) for bits in range(2**8)]
    assert found.p == pytest.approx(2 * sum(value <= 1 for value in sums) / 2**8)
    assert found.verdict == ("better" if (sign > 0) == higher_is_better else "worse")
    assert found.difference == pytest.approx(sign * 3.625)
    assert sorted(abs(value) for value in (found.smallest, found.largest)) == pytest.approx([0.5, 11])
    assert (found.ours, found.theirs) == (np.median(ours), np.median(theirs))


def test_a_verdict_follows_the_ranks_that_were_tested_and_not_the_sign_of_the_median():
    """Slightly worse on a few patients more, far better on the others."""
    differences = np.concatenate([0.01 + 1e-4 * np.arange(21), -10.0 - np.arange(19)])
    found = compare_paired("mae", 100 + differences, np.full(40, 100.0), higher_is_better=False)
    assert found.p is not None
    assert found.p < 0.05
    assert found.difference > 0
    assert found.verdict == "better"


def test_five_patients_are_too_few_however_large_the_difference():
    found = compare_paired("mae", [1, 2, 3, 4, 5], [101, 112, 123, 134, 145], higher_is_better=False)
    assert found.p == pytest.approx(2 / 2**5)
    assert found.verdict == "too few"
    assert "5 test patients are too few" in conclusion(found, [], "base", "HU")
    assert "better than base cannot be said" in conclusion(found, [], "base", "HU")


def test_six_patients_of_one_sign_are_enough():
    found = compare_paired("mae", [1, 2, 3, 4, 5, 6], [101, 112, 123, 134, 145, 156], higher_is_better=False)
    assert found.p == pytest.approx(2 / 2**6)
    assert found.verdict == "better"
    assert conclusion(found, [], "base", "HU").startswith("This model is better than base")
    other = compare_paired("mae", [101, 112, 123, 134, 145, 156], [1, 2, 3, 4, 5, 6], higher_is_better=False)
    assert "not better than base but worse" in conclusion(other, [], "base", "HU")


@pytest.mark.parametrize("differences", [[0] * 8, [1, -1.5, 2, -2.5, 3, -3.5, 4, -4.5]])
def test_a_model_that_does_not_differ_is_said_not_to_be_better(differences):
    theirs = np.arange(8) * 10.0
    found = compare_paired("mae", theirs + differences, theirs, higher_is_better=False)
    assert found.verdict == "not different"
    assert found.p > 0.05
    assert conclusion(found, [], "base", "HU").startswith("This model is not better than base")
    json.dumps(found.to_json(), allow_nan=False)


def test_a_figure_that_disagrees_with_the_error_is_named():
    ours = np.arange(8) + 0.5
    mae = compare_paired("mae", ours, ours + 1, higher_is_better=False)
    ssim = compare_paired("ssim_3d", ours, ours + 1, higher_is_better=True)
    sentence = conclusion(mae, [ssim], "base", "HU")
    assert sentence.startswith("This model is better than base")
    assert sentence.endswith("Its SSIM (3-D) is worse.")


def test_one_patient_has_no_test():
    found = compare_paired("ssim_3d", [0.9], [0.8], higher_is_better=True)
    assert found.p is None
    assert found.verdict == "too few"
    assert "1 test patient is too few" in conclusion(found, [], "base", "HU")
