"""Masks of k-space against their definitions, noise against the stated SNR, and several coils as one image."""

import numpy as np
import pytest
from scipy import ndimage

from upgan.errors import InputError
from upgan.simulation.kspace import MASKS, mask, root_sum_of_squares, to_image, to_kspace, undersample

SHAPES = [(256, 200), (255, 181), (33, 47)]


@pytest.fixture(params=MASKS)
def kind(request):
    return request.param


def lines_of(kept: np.ndarray, axis: str) -> np.ndarray:
    """Which lines a mask keeps; all of a line or nothing of it."""
    lines = kept if axis == "rows" else kept.T
    assert (lines == lines[:, :1]).all()
    return lines[:, 0]


@pytest.mark.parametrize("axis", ["rows", "columns"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fold", [4, 8])
@pytest.mark.parametrize("way", ["regular", "random"])
def test_a_fourth_or_an_eighth_of_the_lines_is_kept_the_middle_without_a_gap(way, fold, shape, axis):
    count = shape[0] if axis == "rows" else shape[1]
    lines = lines_of(mask(f"{way}_{fold}x", shape, axis, np.random.default_rng(0)), axis)
    assert lines.sum() == round(count / fold)
    central = round({4: 0.08, 8: 0.04}[fold] * count)
    first = count // 2 - central // 2
    assert lines[first : first + central].all()
    if way == "regular":
        outer = np.delete(lines, slice(first, first + central))
        distances = np.diff(np.flatnonzero(outer))
        assert distances.max() - distances.min() <= 1


def test_random_lines_are_denser_near_the_centre_everywhere_possible_and_seeded():
    drawn = np.array([mask("random_4x", (128, 8), "rows", np.random.default_rng(seed))[:, 0] for seed in range(300)])
    share = drawn.mean(axis=0)
    assert share[64 + 8 : 64 + 20].mean() > 4 * share[-12:].mean() > 0
    assert share[44:56].mean() == pytest.approx(share[73:85].mean(), abs=0.05)  # Both sides alike.
    np.testing.assert_array_equal(drawn[7], mask("random_4x", (128, 8), "rows", np.random.default_rng(7))[:, 0])


@pytest.mark.parametrize(("count", "half"), [(256, 7), (200, 6), (100, 3), (20, 1)])
def test_the_published_lines_are_the_scripts(count, half):
    """14 central ones and 7 on each side of 256."""
    lines = lines_of(mask("published_lines", (count, 10), "rows", np.random.default_rng(0)), "rows")
    middle = count // 2
    assert lines[middle - half : middle + half].all()
    assert lines[: middle - half].sum() == half
    assert lines[middle + half :].sum() == half


def test_the_central_block_holds_as_much_as_the_central_lines_of_the_paper():
    kept = mask("central_block", (256, 200), "rows", np.random.default_rng(0))
    assert [kept.any(axis=axis).sum() for axis in (1, 0)] == [round(0.283 * 256), round(0.283 * 200)]
    assert kept.mean() == pytest.approx(0.08, abs=0.001)
    assert mask("central_lines", (256, 200), "rows", np.random.default_rng(0)).sum() == 20 * 200


@pytest.mark.parametrize("axis", ["rows", "columns"])
@pytest.mark.parametrize("shape", [(2, 2), (3, 2), (5, 7), (34, 50)])
def test_frequency_zero_is_measured_and_the_energy_is_that_of_the_kept_lines(kind, shape, axis):
    image = np.random.default_rng(0).random(shape)
    kept = mask(kind, shape, axis, np.random.default_rng(1))
    assert kept[shape[0] // 2, shape[1] // 2]
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    energy = (abs(spectrum[kept]) ** 2).sum() / image.size
    measured = undersample(image, kept, None, np.random.default_rng(0))
    assert (measured.image.astype(float) ** 2).sum() == pytest.approx(energy, rel=1e-5)
    assert not measured.lines[~kept].any()


@pytest.mark.parametrize("shape", [(24, 20), (23, 21)])
def test_a_full_mask_changes_nothing(shape):
    image = np.random.default_rng(0).random(shape)
    measured = undersample(image, np.ones(shape, dtype=bool), None, np.random.default_rng(0))
    np.testing.assert_allclose(measured.image, image, atol=1e-6)
    np.testing.assert_allclose(to_image(measured.lines), image, atol=1e-12)


def test_the_phase_of_an_object_in_the_middle_is_smooth():
    """The image's centre is the origin: else neighbouring samples of k-space would have opposite signs."""
    image = np.zeros((32, 31))
    image[14:19, 13:18] = 1  # symmetric about pixel (16, 15)
    lines = to_kspace(image)
    np.testing.assert_allclose(lines.imag, 0, atol=1e-12)
    assert lines[16, 15].real == lines.real.max() > 0
    assert lines[16, 16].real > 0


@pytest.mark.parametrize("snr", [5.0, 50.0])
def test_noise_has_the_stated_snr_in_both_parts_and_is_seeded(snr):
    image = np.zeros((3, 64, 60))
    image[:, 10:50, 10:50] = ndimage.gaussian_filter(np.random.default_rng(0).random((3, 40, 40)), 2) + 2
    full = np.ones((64, 60), dtype=bool)
    noisy = to_image(undersample(image, full, snr, np.random.default_rng(1)).lines) - image
    expected = image[image > 0].mean() / snr
    assert noisy.real.std() == pytest.approx(expected, rel=0.03)
    assert noisy.imag.std() == pytest.approx(expected, rel=0.03)
    assert abs(noisy.mean()) < expected / 20
    again = undersample(image, full, snr, np.random.default_rng(1)).lines
    np.testing.assert_array_equal(to_image(again) - image, noisy)


def test_an_empty_slice_has_no_signal_and_so_no_noise():
    measured = undersample(np.zeros((8, 8)), np.ones((8, 8), dtype=bool), 10.0, np.random.default_rng(0))
    assert not measured.lines.any()


def test_a_mask_that_keeps_nothing_is_refused():
    with pytest.raises(InputError) as refusal:
        undersample(np.ones((8, 8)), np.zeros((8, 8), dtype=bool), None, np.random.default_rng(0))
    assert refusal.value.code == "nothing_measured"


def test_coils_whose_sensitivities_squared_make_one_join_to_the_object():
    rng = np.random.default_rng(0)
    magnitude, phase = rng.random((20, 22)), rng.random((4, 20, 22))
    sensitivity = rng.random((4, 20, 22)) + 0.1
    sensitivity /= np.sqrt((sensitivity**2).sum(axis=0))
    coils = magnitude * sensitivity * np.exp(2j * np.pi * phase)
    np.testing.assert_allclose(root_sum_of_squares(coils), magnitude, rtol=1e-5)


def test_measured_coils_show_a_head(shared_data):
    kspace = np.load(shared_data / "kspace" / "cartesian_8coil_ksp.npy")
    image = root_sum_of_squares(to_image(kspace))
    assert image.shape == (230, 180)
    middle, rim = image[80:150, 60:120], np.concatenate([image[:12].ravel(), image[-12:].ravel()])
    assert middle.mean() > 5 * rim.mean()
