"""Our own motion of MR images: against objects whose moved spectrum is known, and what patients' trajectories are."""

import numpy as np
import pytest

from upgan.errors import InputError
from upgan.simulation.motion import (
    LARGEST_SEVERITY,
    Trajectory,
    draw_trajectory,
    frequencies_in_order,
    move,
    move_slices,
)
from upgan.simulation.phantom import simulate_head

KINDS = ("sudden_motion", "drifting_motion", "periodic_motion")
ORDERS = ("sequential", "interleaved", "centre_out")
SPACING = (1.5, 1.1)


def blobs(shape, degrees=0.0, shift_mm=(0.0, 0.0)) -> np.ndarray:
    """Round blobs, moved on paper: turned counter-clockwise as seen about the middle pixel, then shifted."""
    rows, columns = ((np.arange(size) - size // 2) * spacing for size, spacing in zip(shape, SPACING, strict=True))
    image = np.zeros(shape)
    for right_and_up, width, height in ((5 + 4j, 3.0, 1.0), (-5 + 3j, 3.5, 0.7), (1 - 6j, 2.5, 0.5)):
        place = right_and_up * np.exp(1j * np.radians(degrees))
        down, right = -place.imag + shift_mm[0], place.real + shift_mm[1]
        image += height * np.exp(-((rows[:, None] - down) ** 2 + (columns - right) ** 2) / (2 * width**2))
    return image


def still(lines, degrees=0.0, shift_mm=(0.0, 0.0)) -> Trajectory:
    return Trajectory(np.linspace(0, 1, lines), np.full(lines, degrees), np.tile(np.array(shift_mm, float), (lines, 1)))


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    """Something like a slice of an MR image: soft tissue bright, bone and air dark."""
    hu = simulate_head(3, (8, 80, 72), (20.0, 2.8, 2.8)).ct.voxels[4]
    return np.where((hu > -200) & (hu < 200), 100 + hu, 0).clip(0).astype(np.float32)


@pytest.mark.parametrize("axis", ["rows", "columns"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(48, 45), (47, 50)])
def test_every_line_is_that_of_the_object_as_it_lies_when_the_line_is_measured(shape, axis, order):
    along = ("rows", "columns").index(axis)
    lines = shape[along]
    rng = np.random.default_rng(2)
    made = draw_trajectory("sudden_motion", 4.0, lines, rng, order)
    degrees, shift_mm = made.degrees + np.linspace(-3, 3, lines), made.shift_mm + np.linspace(2, -2, lines)[:, None]
    expected = np.zeros(shape, complex)
    for frequency, turn, shift in zip(frequencies_in_order(order, lines), degrees, shift_mm, strict=True):
        line = (frequency, slice(None))[:: 1 - 2 * along]
        expected[line] = np.fft.fft2(blobs(shape, turn, shift))[line]
    image = blobs(shape).astype(np.float32)
    moved = move(image, Trajectory(made.times, degrees, shift_mm), SPACING, axis, order)
    np.testing.assert_allclose(moved, abs(np.fft.ifft2(expected)), atol=5e-4)
    assert abs(moved - image).max() > 0.05


def test_lines_are_measured_in_the_order_that_is_named():
    assert frequencies_in_order("sequential", 6).tolist() == [-3, -2, -1, 0, 1, 2]
    assert frequencies_in_order("interleaved", 7).tolist() == [-3, -1, 1, 3, -2, 0, 2]
    assert frequencies_in_order("centre_out", 6).tolist() == [0, -1, 1, -2, 2, -3]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_without_motion_the_image_stays_what_it_is(head, kind, order):
    trajectory = draw_trajectory(kind, 0.0, head.shape[1], np.random.default_rng(0), order)
    np.testing.assert_allclose(move(head, trajectory, SPACING, "columns", order), head, atol=1e-6 * head.max())


def test_a_patient_who_lies_elsewhere_all_the_time_is_seen_there_sharp(head):
    shifted = move(head, still(len(head), shift_mm=(3 * SPACING[0], -5 * SPACING[1])), SPACING)
    np.testing.assert_allclose(shifted, np.roll(head, (3, -5), (0, 1)), atol=1e-6 * head.max())
    image = blobs((48, 45)).astype(np.float32)
    for degrees, shift_mm in ((0.0, (0.7, -1.3)), (8.0, (0.0, 0.0)), (-5.0, (1.0, 2.2))):
        there = move(image, still(48, degrees, shift_mm), SPACING)
        np.testing.assert_allclose(there, blobs(image.shape, degrees, shift_mm), atol=5e-4)


def test_ghosts_run_along_the_phase_encoding_direction():
    box = np.zeros((96, 96), np.float32)
    box[38:58, 38:58] = 1
    for axis, turned in (("rows", box), ("columns", box.T)):
        trajectory = draw_trajectory("periodic_motion", 4.0, 96, np.random.default_rng(4))
        ghosts = move(turned, trajectory, (1.0, 1.0), axis)
        ghosts = ghosts if axis == "rows" else ghosts.T
        up_and_down, aside = ghosts[:28, 38:58], ghosts[38:58, :28]
        assert (up_and_down**2).mean() > 10 * (aside**2).mean() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_motion_leaves_the_energy_and_worsens_the_image_the_more_the_severer_it_is(head, kind):
    severities, seeds = (0.5, 1, 2, 4, 8), range(5)
    errors = np.array(
        [
            [
                np.square(
                    move(head, draw_trajectory(kind, s, len(head), np.random.default_rng(seed)), (2.8, 2.8)) - head
                )
                for seed in seeds
            ]
            for s in severities
        ]
    ).mean(axis=(-2, -1))
    psnr = 20 * np.log10(head.max()) - 10 * np.log10(errors)
    assert (np.diff(psnr.mean(axis=1)) < -0.5).all()
    # Where a patient moves at once and late, few lines are spoilt, and they cannot be spoilt more than wholly.
    if kind != "sudden_motion":
        assert (np.diff(psnr, axis=0) < 0).all()
    moved = move(head, draw_trajectory(kind, 5.0, len(head), np.random.default_rng(1)), (2.8, 2.8))
    assert (moved**2).sum() == pytest.approx((head**2).sum(), rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trajectory_goes_as_far_as_its_severity_and_follows_its_seed(kind):
    for seed in range(10):
        drawn = draw_trajectory(kind, 3.0, 128, np.random.default_rng(seed))
        reached = abs(drawn.degrees).max(), np.hypot(*drawn.shift_mm.T).max()
        assert max(reached) == pytest.approx(3.0)
        assert min(reached) > 0
        same, twice, other = (
            draw_trajectory(kind, severity, 128, np.random.default_rng(number))
            for severity, number in ((3.0, seed), (6.0, seed), (3.0, seed + 100))
        )
        np.testing.assert_array_equal(same.shift_mm, drawn.shift_mm)
        np.testing.assert_allclose(twice.degrees, 2 * drawn.degrees)
        assert abs(other.shift_mm - drawn.shift_mm).max() > 0.05


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_patient_is_at_rest_on_average_while_the_middle_of_k_space_is_measured(kind, order):
    drawn = draw_trajectory(kind, 3.0, 128, np.random.default_rng(6), order)
    middle = abs(frequencies_in_order(order, 128)) <= 8
    np.testing.assert_allclose(drawn.degrees[middle].mean(), 0, atol=1e-9)
    np.testing.assert_allclose(drawn.shift_mm[middle].mean(axis=0), 0, atol=1e-9)


def test_the_three_kinds_move_as_they_are_called():
    for seed in range(10):
        sudden, drifting, periodic = (draw_trajectory(kind, 3.0, 512, np.random.default_rng(seed)) for kind in KINDS)
        jumps = np.flatnonzero(np.diff(sudden.degrees))
        assert 1 <= len(jumps) <= 4
        assert np.array_equal(jumps, np.flatnonzero(np.diff(sudden.shift_mm[:, 0])))
        for component in (drifting.degrees, *drifting.shift_mm.T):
            assert len(set(np.sign(np.diff(component)))) == 1
        rhythm = periodic.degrees
        turns = np.count_nonzero(np.diff(np.sign(np.diff(rhythm))))
        assert 2 * 4 - 2 <= turns <= 2 * 32 + 2
        assert abs(np.corrcoef(rhythm, periodic.shift_mm[:, 0])[0, 1]) == pytest.approx(1)


def test_every_slice_has_a_trajectory_of_its_own(head):
    moved, trajectories = move_slices(
        np.stack([head, head]), "drifting_motion", 4.0, np.random.default_rng(0), SPACING, "columns", "centre_out"
    )
    assert abs(moved[0] - moved[1]).max() > 0.01 * head.max()
    for image, trajectory in zip(moved, trajectories, strict=True):
        np.testing.assert_array_equal(image, move(head, trajectory, SPACING, "columns", "centre_out"))


@pytest.mark.parametrize("severity", [-1.0, LARGEST_SEVERITY + 0.1, float("nan"), float("inf")])
def test_a_severity_that_no_patient_has_is_refused(severity):
    with pytest.raises(InputError) as refused:
        draw_trajectory("sudden_motion", severity, 8, np.random.default_rng(0))
    assert refused.value.code == "severity_out_of_range"


@pytest.mark.parametrize(
    ("shape", "dtype", "axis", "code"),
    [
        ((1, 8), float, "rows", "one_line"),
        ((8, 1), float, "columns", "one_line"),
        ((8, 8), complex, "rows", "not_real_valued"),
    ],
)
def test_an_image_without_lines_or_of_complex_numbers_is_refused(shape, dtype, axis, code):
    with pytest.raises(InputError) as refused:
        move_slices(np.ones((2, *shape), dtype), "sudden_motion", 1.0, np.random.default_rng(0), SPACING, axis)
    assert refused.value.code == code
