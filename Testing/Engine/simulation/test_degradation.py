"""Degradations that make the inputs of the MRI tasks."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from upgan.errors import InputError
from upgan.images.orientation import Reorientation
from upgan.images.volume import Volume
from upgan.simulation.degradation import NAMES, Degradation, degrade_slices, degrade_volume
from upgan.simulation.kspace import MASKS, keep_central_lines, mask, undersample
from upgan.simulation.motion import MOTIONS, move_slices

KINDS = ("central_lines", "motion", *MOTIONS)


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    if request.param == "motion":
        pytest.importorskip("torchio")
    return request.param


def smooth(shape, seed=0, sigma=2.0) -> np.ndarray:
    """A positive image that fades towards its edges."""
    image = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), (0, sigma, sigma)[-len(shape) :])
    windows = [np.hanning(size) for size in shape[-2:]]
    return ((image - image.min() + 0.1) * np.outer(*windows)).astype(np.float32)


# Central lines


@pytest.mark.parametrize(("rows", "columns"), [(12, 9), (13, 8), (25, 6), (26, 5)])
def test_kept_lines_are_those_of_a_discrete_fourier_transform_written_out(rows, columns):
    image = np.random.default_rng(0).random((rows, columns))
    y, x = np.arange(rows), np.arange(columns)
    kept = round(0.08 * rows)
    expected = np.zeros((rows, columns), dtype=complex)
    for v in range(-(kept // 2), -(kept // 2) + kept):
        for u in range(columns):
            wave = np.exp(2j * np.pi * (v * y[:, None] / rows + u * x / columns))
            expected += (image * wave.conj()).sum() * wave / (rows * columns)
    np.testing.assert_allclose(keep_central_lines(image[None])[0], abs(expected), atol=1e-6)


@pytest.mark.parametrize(("rows", "kept"), [(256, 20), (240, 19), (150, 12), (13, 1), (5, 1)])
def test_eight_per_cent_of_the_lines_are_kept_around_the_mean_frequency(rows, kept):
    passed = []
    for line in range(-(rows // 2), (rows + 1) // 2):
        wave = np.exp(2j * np.pi * line * np.arange(rows) / rows)[:, None] * np.ones(4)
        # Magnitudes of the real and imaginary waves vanish together where the line does not pass.
        through = [keep_central_lines(part[None]).max() > 1e-6 for part in (wave.real, wave.imag)]
        if any(through):
            passed.append(line)
    # A real wave has both signs, so that the odd line of an even number shows on either side.
    assert passed == list(range(-(kept // 2), kept // 2 + 1))


def test_of_an_even_number_of_lines_one_has_no_counterpart():
    rows = 25  # two lines: -1 and 0
    wave = np.cos(2 * np.pi * np.arange(rows) / rows)[None, :, None]
    # A cosine is half a rising and half a falling wave: one alone has the same magnitude everywhere.
    np.testing.assert_allclose(keep_central_lines(wave), 0.5, atol=1e-6)


def test_the_energy_left_is_that_of_the_kept_lines():
    image = np.random.default_rng(0).random((1, 50, 40)).astype(np.float32) - 0.3
    energy = abs(np.fft.fftshift(np.fft.fft2(image[0]), axes=0)) ** 2
    share = energy[25 - 2 : 25 + 2].sum() / energy.sum()
    assert (keep_central_lines(image) ** 2).sum() / (image**2).sum() == pytest.approx(share, rel=1e-5)
    assert share < 0.95


def test_the_mean_of_every_column_is_kept_where_one_line_is():
    image = smooth((2, 12, 7))
    np.testing.assert_allclose(keep_central_lines(image), image.mean(axis=1, keepdims=True).repeat(12, 1), rtol=1e-5)


def test_rows_are_blurred_and_columns_are_not():
    image = np.zeros((1, 64, 64), dtype=np.float32)
    image[0, 32, 32] = 1
    spread = keep_central_lines(image)[0]
    assert not np.delete(spread, 32, axis=1).max() > 1e-6
    assert (spread[:, 32] > 0.02).sum() > 10


# Motion


def test_motion_mixes_lines_of_the_positions_between_which_the_patient_moved():
    pytest.importorskip("torchio")
    image, spacing = smooth((48, 56), sigma=3.0), (1.5, 0.8)
    made = degrade_slices(image[None], "motion", np.random.default_rng(5), spacing)[0]

    rng = np.random.default_rng(5)
    angles, shifts = np.radians(rng.uniform(-10, 10, 3)), rng.uniform(-2, 2, (3, 2))
    times = (np.array([1, 2, 3]) + rng.uniform(-0.3, 0.3, 3)) / 4
    centre = (np.array(image.shape) - 1) / 2
    positions = [image]
    for angle, (along_columns, along_rows) in zip(angles, shifts, strict=True):
        # ITK counts towards the left where the affine counts towards the right; rows point up in both.
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = np.diag(1 / np.array(spacing)) @ turn @ np.diag(spacing)
        offset = centre - matrix @ centre + np.array([along_rows, -along_columns]) / spacing
        positions.append(ndimage.affine_transform(image, matrix, offset, order=1, cval=float(image.min())))
    at_rest = int(np.argmax(times > 0.5))
    positions[0], positions[at_rest] = positions[at_rest], positions[0]
    spectrum = np.zeros(image.shape, dtype=complex)
    ends = [0, *(len(image) * times).astype(int), len(image)]
    for moved, first, last in zip(positions, ends[:-1], ends[1:], strict=True):
        spectrum[first:last] = np.fft.fftshift(np.fft.fft2(moved))[first:last]
    expected = abs(np.fft.ifft2(np.fft.ifftshift(spectrum)).real)
    np.testing.assert_allclose(made, expected, atol=2e-3 * image.max())
    assert abs(made - image).max() > 0.03 * image.max()


def test_motion_blurs_edges_and_does_not_merely_move_the_image():
    pytest.importorskip("torchio")
    image = np.zeros((1, 64, 64), dtype=np.float32)
    image[0, 16:48, 20:44] = 1
    made = degrade_slices(image, "motion", np.random.default_rng(0), (1.0, 1.0))[0]
    outside = ~ndimage.binary_dilation(image[0], iterations=8)
    assert made[outside].max() > 0.02  # ghosts


def test_motion_leaves_the_global_random_numbers_alone():
    pytest.importorskip("torchio")
    states = [torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()]  # noqa: NPY002
    degrade_slices(smooth((2, 20, 20)), "motion", np.random.default_rng(0), (1.0, 1.0))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert random.getstate() == states[2]


def test_motion_follows_its_seed_whatever_the_global_one_is():
    pytest.importorskip("torchio")
    image, made = smooth((1, 24, 24)), []
    for seed, other in ((0, 1), (0, 2), (1, 1)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(other)
            made.append(degrade_slices(image, "motion", np.random.default_rng(seed), (1.0, 1.0)))
    np.testing.assert_array_equal(made[0], made[1])
    assert abs(made[0] - made[2]).max() > 0.01


def test_every_slice_moves_in_its_own_way():
    pytest.importorskip("torchio")
    image = smooth((1, 24, 24)).repeat(2, 0)
    first, second = degrade_slices(image, "motion", np.random.default_rng(0), (1.0, 1.0))
    assert abs(first - second).max() > 0.01


# Both


def test_degraded_slices_are_float32_magnitudes_of_the_same_shape(kind):
    image = smooth((3, 24, 20)).astype(np.float16)
    made = degrade_slices(image, kind, np.random.default_rng(0), (1.0, 1.0))
    assert made.dtype == np.float32
    assert made.shape == image.shape
    assert made.min() >= 0


@given(factor=st.floats(1e-3, 1e4))
@settings(max_examples=10, deadline=None)
def test_degradation_does_not_depend_on_the_intensity_unit(factor):
    pytest.importorskip("torchio")
    image = smooth((1, 24, 20))
    for kind in KINDS:
        one, other = (
            degrade_slices(np.float32(scale) * image, kind, np.random.default_rng(0), (1.0, 1.0))
            for scale in (1, factor)
        )
        np.testing.assert_allclose(other, np.float32(factor) * one, rtol=1e-3, atol=1e-5 * factor)


# The choice


@pytest.mark.parametrize("name", ["central_lines", "motion"])
def test_a_name_is_its_kind_along_the_rows_and_draws_nothing_else(name):
    if name == "motion":
        pytest.importorskip("torchio")
    image = smooth((2, 24, 20))
    by_name, by_kind = (
        degrade_slices(image, choice, np.random.default_rng(4), (1.0, 1.0))
        for choice in (name, Degradation(kinds=(name,)))
    )
    np.testing.assert_array_equal(by_name, by_kind)
    if name == "central_lines":  # To the bit what models were trained on.
        np.testing.assert_array_equal(by_name, keep_central_lines(image))


@pytest.mark.parametrize("kind", ["central_lines", "motion"])
def test_columns_are_the_rows_of_the_transposed_slices(kind):
    if kind == "motion":
        pytest.importorskip("torchio")
    image = smooth((2, 24, 20))
    along_columns = degrade_slices(
        image, Degradation(kinds=(kind,), axis="columns"), np.random.default_rng(0), (1.0, 2.0)
    )
    along_rows = degrade_slices(image.swapaxes(1, 2), kind, np.random.default_rng(0), (2.0, 1.0))
    np.testing.assert_allclose(along_columns, along_rows.swapaxes(1, 2), atol=1e-5)


def test_all_slices_of_a_volume_have_one_mask_and_a_noise_of_their_own():
    image = smooth((1, 32, 28)).repeat(2, 0)
    choice = Degradation(kinds=MASKS, axis="either", snr=20.0)
    first, second = degrade_slices(image, choice, np.random.default_rng(1), (1.0, 1.0))
    assert not np.array_equal(first, second)
    first, second = degrade_slices(image, "undersampling", np.random.default_rng(1), (1.0, 1.0))
    np.testing.assert_array_equal(first, second)


def test_slices_one_by_one_are_undersampled_by_every_mask_along_both_axes():
    image, rng = smooth((1, 32, 28)), np.random.default_rng(0)
    made = {degrade_slices(image, "undersampling", rng, (1.0, 1.0)).tobytes() for _ in range(200)}
    for kind in ("central_lines", "central_block"):  # Nothing of these is drawn.
        for axis in ("rows", "columns"):
            kept = mask(kind, (32, 28), axis, rng)
            expected = undersample(image, kept, None, rng).image
            assert any(np.allclose(np.frombuffer(each, np.float32), expected.ravel(), atol=1e-6) for each in made), (
                kind,
                axis,
            )


def test_a_motion_of_ours_is_drawn_with_its_axis_and_severity_for_all_slices_at_once():
    image, spacing = smooth((2, 28, 24)), (1.0, 1.5)
    choice = Degradation(kinds=MOTIONS, axis="either", severity=(2.0, 6.0))
    for seed in range(4):
        rng = np.random.default_rng(seed)
        kind, axis = MOTIONS[rng.integers(3)], ("rows", "columns")[rng.integers(2)]
        expected, _ = move_slices(image, kind, rng.uniform(2.0, 6.0), rng, spacing, axis)
        np.testing.assert_array_equal(degrade_slices(image, choice, np.random.default_rng(seed), spacing), expected)
    still = Degradation(kinds=MOTIONS, axis="either", severity=(0.0, 0.0))
    np.testing.assert_allclose(degrade_slices(image, still, np.random.default_rng(0), spacing), image, atol=1e-6)


def test_noise_alone_is_that_of_the_stated_snr_in_motion_too():
    pytest.importorskip("torchio")
    image = smooth((3, 40, 40))
    still, noisy = (
        degrade_slices(image, Degradation(kinds=("motion",), snr=snr), np.random.default_rng(3), (1.0, 1.0))
        for snr in (None, 10.0)
    )
    level = still[still > 0.1 * np.percentile(still, 99)].mean() / 10
    bright = still > 5 * level  # There, a magnitude's noise is that of the real part.
    assert (noisy - still)[bright].std() == pytest.approx(level, rel=0.1)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("none", "motion")])
def test_slices_of_a_single_line_are_refused(name):
    if name == "central_lines":
        name = Degradation(kinds=(name,), axis="columns")
    with pytest.raises(InputError) as refusal:
        degrade_slices(np.ones((3, 1, 1), np.float32), name, np.random.default_rng(0), (1.0, 1.0))
    assert refusal.value.code == "one_line"


def oblique_volume() -> Volume:
    """Sagittal-like slices, flipped and tilted, as IXI's are."""
    turn = np.deg2rad(10)
    directions = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]) @ np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = directions * (0.9, 1.1, 1.3)
    affine[:3, 3] = (-20, 30, 40)
    return Volume(smooth((10, 26, 30)) * 1000, affine, "MR")


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_volume_is_degraded_in_the_layout_of_the_plane_and_stays_on_its_grid(kind, plane):
    volume = oblique_volume()
    made = degrade_volume(volume, kind, plane, seed=3)
    assert made.voxels.shape == volume.voxels.shape
    assert made.voxels.dtype == np.float32
    np.testing.assert_array_equal(made.ijk_to_ras, volume.ijk_to_ras)
    assert made.modality == "MR"
    layout = Reorientation.of(volume.ijk_to_ras, plane)
    expected = degrade_slices(
        np.ascontiguousarray(layout.apply(volume.voxels)), kind, np.random.default_rng(3), layout.in_plane_spacing
    )
    np.testing.assert_allclose(layout.apply(made.voxels), expected, rtol=1e-5, atol=1e-3)


def test_a_volume_degraded_again_with_its_seed_is_the_same_and_with_another_is_not():
    pytest.importorskip("torchio")
    one, same, other = (degrade_volume(oblique_volume(), "motion", "axial", seed).voxels for seed in (7, 7, 8))
    np.testing.assert_array_equal(one, same)
    assert abs(one - other).max() > 1


def test_the_volume_handed_in_is_not_changed(kind):
    volume = oblique_volume()
    before = volume.voxels.copy()
    degrade_volume(volume, kind, "axial", seed=0)
    np.testing.assert_array_equal(volume.voxels, before)
