"""The simulated T1 against hand calculation, Bloch's equation pulse by pulse, and the statistics of noise."""

import json
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from upgan.errors import InputError
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.pairs.config import DataConfig
from upgan.pairs.finding import find_pairs
from upgan.simulation.dataset import simulate_mr_ct_pairs, subject_seed
from upgan.simulation.mr import (
    BIAS_LIMIT,
    RANDOM_CONTRAST,
    Acquisition,
    add_rician_noise,
    at_resolution,
    coil_bias,
    draw_acquisition,
    shifted,
    simulate_t1,
    tissue_signals,
)
from upgan.simulation.mr_signal import fat_offset_hz, inversion_prepared_gradient_echo, spoiled_gradient_echo
from upgan.simulation.phantom import Head, simulate_head
from upgan.simulation.relaxation import relaxation, relaxations_of_a_patient
from upgan.simulation.tissue import Tissue

SHAPE, SPACING_MM = (20, 56, 48), (10.8, 4.0, 4.0)
CLEAN = {"bias": 0.0, "surface": 0.0, "neck": 0.0, "snr": 1e6}
DRAWN = [draw_acquisition(seed) for seed in range(300)]


@lru_cache(maxsize=1)
def head() -> Head:
    return simulate_head(1, SHAPE, SPACING_MM, with_tissues=True)


def block(tissue: Tissue) -> Head:
    """A box full of one tissue, with 2 mm voxels."""
    tissues = np.zeros((len(Tissue), 8, 40, 40), dtype=np.float32)
    tissues[tissue] = 1.0
    empty = Volume(np.zeros(tissues.shape[1:], dtype=np.float32), np.diag([-2.0, -2.0, 2.0, 1.0]))
    return Head(empty, empty, 0, tissues)


# The signal


@pytest.mark.parametrize(
    ("density", "t1_ms", "t2_star_ms", "flip_degrees", "tr_ms", "te_ms", "by_hand"),
    [
        # sin 30 = 0.5, E1 = exp(-1/40) = 0.975310, cos 30·E1 = 0.844643, exp(-0.1) = 0.904837.
        (0.7, 800.0, 50.0, 30.0, 20.0, 5.0, 0.7 * 0.5 * 0.024690 / 0.155357 * 0.904837),
        # After 90 degrees nothing is left: 1 - exp(-0.5) = 0.393469.
        (1.0, 1000.0, 100.0, 90.0, 500.0, 0.0, 0.393469),
        # Compact bone has decayed by exp(-10).
        (0.2, 200.0, 0.4, 90.0, 200.0, 4.0, 0.2 * 0.632121 * 4.53999e-5),
        (0.0, 1000.0, 1.0, 30.0, 20.0, 5.0, 0.0),
    ],
)
def test_the_signal_of_a_spoiled_gradient_echo_is_that_of_the_hand(
    density, t1_ms, t2_star_ms, flip_degrees, tr_ms, te_ms, by_hand
):
    signal = spoiled_gradient_echo(density, t1_ms, t2_star_ms, flip_degrees, tr_ms, te_ms)
    assert signal == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize(("t1_ms", "tr_ms"), [(300.0, 10.0), (830.0, 20.0), (4300.0, 30.0)])
def test_the_signal_is_greatest_at_the_ernst_angle(t1_ms: float, tr_ms: float):
    angles = np.arange(0.5, 90.0, 0.1)
    signals = [spoiled_gradient_echo(1.0, t1_ms, 50.0, float(angle), tr_ms, 3.0) for angle in angles]
    ernst = math.degrees(math.acos(math.exp(-tr_ms / t1_ms)))
    assert angles[int(np.argmax(signals))] == pytest.approx(ernst, abs=0.1)


@pytest.mark.parametrize("t1_ms", [370.0, 830.0, 1330.0, 4300.0])
def test_the_signal_after_an_inversion_is_that_of_the_pulses_one_by_one(t1_ms: float):
    flip, tr, te, ti, cycle, echoes = 9.0, 8.0, 3.0, 900.0, 2100.0, 151
    m, seen = 1.0, 0.0

    def relax(m: float, time: float) -> float:
        return 1.0 + (m - 1.0) * math.exp(-time / t1_ms)

    for _ in range(40):
        m = relax(-m, ti - 75 * tr)
        for echo in range(echoes):
            seen = m * math.sin(math.radians(flip)) if echo == 75 else seen
            m = relax(m * math.cos(math.radians(flip)), tr)
        m = relax(m, cycle - ti - 76 * tr)
    signal = inversion_prepared_gradient_echo(0.8, t1_ms, 50.0, flip, tr, te, ti, cycle, echoes)
    assert signal == pytest.approx(0.8 * seen * math.exp(-te / 50.0), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("field_t", [1.5, 3.0])
@pytest.mark.parametrize("sequence", ["spoiled", "inversion_prepared"])
def test_tissues_come_in_the_order_of_a_t1_weighted_head(field_t: float, sequence: str):
    patient = {tissue: relaxation(tissue, field_t) for tissue in Tissue}
    # 4.6 ms at 1.5 T, 2.3 ms at 3 T: fat and water are in phase.
    own = {"flip_degrees": 25.0, "te_ms": 1000.0 / fat_offset_hz(field_t)}
    if sequence == "inversion_prepared":
        own |= {"flip_degrees": 9.0, "tr_ms": 8.0}
    water, fat = tissue_signals(Acquisition(field_t=field_t, sequence=sequence, **own), patient)
    signal = np.abs(water + fat)
    order = ("FAT", "WHITE", "GREY", "CSF", "COMPACT_BONE", "AIR")
    assert [Tissue[name] for name in order] == sorted((Tissue[name] for name in order), key=lambda t: -signal[t])
    assert signal[Tissue.COMPACT_BONE] < 0.01 * signal[Tissue.WHITE]
    assert signal[Tissue.CSF] < 0.6 * signal[Tissue.WHITE]
    assert signal[Tissue.CSF] < signal[Tissue.MUSCLE] < signal[Tissue.WHITE]
    assert fat_offset_hz(field_t) == pytest.approx({1.5: 223.5, 3.0: 447.1}[field_t], abs=0.1)


# The scan


def test_noise_is_rayleigh_in_air_and_gaussian_where_signal_is_strong():
    rng, sigma = np.random.default_rng(4), 2.0
    air = add_rician_noise(np.zeros((40, 60, 60), dtype=np.complex64), sigma, rng)
    assert air.mean() == pytest.approx(sigma * math.sqrt(math.pi / 2), rel=0.01)
    assert air.std() == pytest.approx(sigma * math.sqrt(2 - math.pi / 2), rel=0.01)
    # At a signal of 30 sigma the mean is sqrt(A² + sigma²) to first order.
    bright = add_rician_noise(np.full((40, 60, 60), 60.0j, dtype=np.complex64), sigma, rng)
    assert bright.std() == pytest.approx(sigma, rel=0.01)
    assert bright.mean() == pytest.approx(math.hypot(60.0, sigma), abs=0.02)


def test_the_scan_has_the_noise_that_was_asked_for():
    air = simulate_t1(block(Tissue.AIR), Acquisition(snr=25.0, white_matter=500.0)).voxels
    assert air.mean() == pytest.approx(500.0 / 25.0 * math.sqrt(math.pi / 2), rel=0.02)
    assert simulate_t1(block(Tissue.AIR), Acquisition(snr=25.0, background_cut=True)).voxels.mean() < 0.05


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("field_t", "bandwidth_hz", "pixels"), [(1.5, 223.53, 1.0), (3.0, 178.82, 2.5)])
def test_fat_is_shifted_along_the_readout_as_the_bandwidth_says(axis, field_t, bandwidth_hz, pixels):
    scan = Acquisition(field_t=field_t, bandwidth_hz=bandwidth_hz, pixel_mm=1.2, readout_axis=axis, readout_sign=-1)
    assert scan.fat_shift_mm == pytest.approx(-1.2 * pixels, rel=1e-3)
    image = np.zeros((17, 19, 21), dtype=np.complex64)
    image[8, 9, 10] = 1.0
    moved = np.abs(shifted(image, scan.fat_shift_mm / 2.0, scan))
    centre = [float((moved * places).sum() / moved.sum()) for places in np.indices(image.shape)]
    expected = [8.0, 9.0, 10.0]
    expected[axis] -= 0.6 * pixels
    np.testing.assert_allclose(centre, expected, atol=1e-3)


def test_fat_is_shifted_in_the_image_and_water_is_not():
    def column(tissue: Tissue, bandwidth_hz: float) -> np.ndarray:
        rod = block(Tissue.AIR)
        rod.tissues[:, :, 15:25] = 0.0
        rod.tissues[tissue, :, 15:25] = 1.0
        scan = Acquisition(te_ms=0.0, bandwidth_hz=bandwidth_hz, pixel_mm=2.0, readout_axis=1, **CLEAN)
        return simulate_t1(rod, scan).voxels.sum(axis=(0, 2))

    near, far = (column(Tissue.FAT, hz) for hz in (1e4, fat_offset_hz(3.0) / 4.0))
    assert far[27:29].mean() > 0.8 * near[17:23].mean()
    assert far[15:18].mean() < 0.2 * near[17:23].mean()
    np.testing.assert_allclose(column(Tissue.WHITE, 50.0), column(Tissue.WHITE, 1e4), rtol=1e-3, atol=0.1)


def test_coils_brighten_smoothly_and_within_limits():
    strongest = Acquisition(bias=1.0, surface=1.0, neck=2.0)
    for seed in range(3):
        bias = coil_bias(strongest, SHAPE, np.random.default_rng(seed), SPACING_MM)
        assert 1.0 / BIAS_LIMIT < bias.min() < bias.max() < BIAS_LIMIT
        assert bias.max() / bias.min() > 1.5
        steps = [np.abs(np.diff(np.log(bias), axis=axis)).max() / SPACING_MM[axis] for axis in range(3)]
        assert max(steps) < 0.15  # per mm, at settings far beyond those drawn
    even = coil_bias(Acquisition(**CLEAN), SHAPE, np.random.default_rng(0), SPACING_MM)
    np.testing.assert_array_equal(even, 1.0)


def test_a_coarse_scan_has_nothing_beyond_its_k_space_and_thick_slices():
    point = np.zeros((31, 64, 64), dtype=np.complex64)
    point[15, 32, 32] = 1.0
    fine = at_resolution(point, Acquisition(pixel_mm=1.0, slice_mm=2.0), (2.0, 2.0, 2.0))
    np.testing.assert_array_equal(fine, point)
    coarse = at_resolution(point, Acquisition(pixel_mm=4.0, slice_mm=6.0), (2.0, 2.0, 2.0))
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(coarse[15])))
    # A quarter of the sampling frequency is half the distance from the middle to the edge.
    assert spectrum[32, 51:].max() < 1e-4 * spectrum[32, 32]
    assert spectrum[32, 44] > 0.9 * spectrum[32, 32]
    profile = np.abs(coarse[:, 32, 32])
    assert (profile > profile.max() / 2).sum() * 2.0 == pytest.approx(math.sqrt(6.0**2 - 2.0**2), abs=2.0)
    assert coarse.sum() == pytest.approx(1.0, abs=1e-3)


# What is drawn


def test_scans_differ_within_what_the_clinic_uses():
    assert {scan.sequence for scan in DRAWN} == {"spoiled", "inversion_prepared", "randomised"}
    assert {scan.field_t for scan in DRAWN} == {1.5, 3.0}
    assert {scan.readout_axis for scan in DRAWN} == {0, 1, 2}
    assert 0.25 < np.mean([scan.sequence == "randomised" for scan in DRAWN]) < 0.45
    for scan in DRAWN:
        assert scan.ti_ms > scan.echoes // 2 * scan.tr_ms or scan.sequence != "inversion_prepared"
        assert 1.5 <= scan.te_ms <= 8.0
        assert 0.3 < abs(scan.fat_shift_mm) < 7.0
        assert scan.snr >= 30.0


def test_randomised_contrasts_stay_within_their_limits_and_change_the_order_of_tissues():
    random = [scan.intensities for scan in DRAWN if scan.sequence == "randomised"]
    for name, (low, high) in ((tissue.name, limits) for tissue, limits in RANDOM_CONTRAST.items()):
        values = np.array([scan[name] for scan in random])
        assert low <= values.min()
        assert values.max() <= high
        assert high == low or np.ptp(values) > 0.5 * (high - low)
    assert len({scan["FAT"] > scan["WHITE"] for scan in random}) == 2
    assert len({scan["MUSCLE"] > scan["GREY"] for scan in random}) == 2
    assert all(scan["COMPACT_BONE"] < scan["WHITE"] / 8 for scan in random)
    scan = next(scan for scan in DRAWN if scan.sequence == "randomised")
    patient = relaxations_of_a_patient(scan.field_t, np.random.default_rng(0))
    total = np.add(*tissue_signals(scan, patient))
    np.testing.assert_allclose(total, [scan.intensities[tissue.name] for tissue in Tissue], atol=1e-12)


# The heads


def test_tissues_fill_every_voxel_and_leave_ct_and_uptake_as_they_are():
    plain, full = simulate_head(1, SHAPE, SPACING_MM), head()
    assert plain.tissues is None
    np.testing.assert_array_equal(plain.ct.voxels, full.ct.voxels)
    np.testing.assert_array_equal(plain.activity.voxels, full.activity.voxels)
    np.testing.assert_allclose(full.tissues.sum(axis=0), 1.0, atol=1e-5)
    assert full.tissues.min() >= -1e-6


@pytest.mark.parametrize(
    ("tissue", "lowest", "highest"),
    [
        (Tissue.AIR, -1030.0, -950.0),
        (Tissue.FAT, -110.0, -60.0),
        (Tissue.MUSCLE, 20.0, 70.0),
        (Tissue.WHITE, 15.0, 45.0),
        (Tissue.CSF, -5.0, 45.0),
    ],
)
def test_where_one_tissue_fills_a_voxel_the_ct_is_that_of_the_tissue(tissue: Tissue, lowest: float, highest: float):
    pure = head().tissues[tissue] > 0.97
    assert pure.sum() > 5
    assert lowest < np.median(head().ct.voxels[pure]) < highest


def test_the_t1_of_a_head_shows_bone_and_air_dark_and_brain_brighter_than_fluid():
    t1 = simulate_t1(head(), Acquisition(flip_degrees=25.0, te_ms=2.24, slice_mm=1.0, white_matter=400.0, **CLEAN))
    np.testing.assert_array_equal(t1.ijk_to_ras, head().ct.ijk_to_ras)
    tissues = head().tissues
    means = {tissue: t1.voxels[tissues[tissue] > 0.9].mean() for tissue in (Tissue.WHITE, Tissue.CSF, Tissue.AIR)}
    assert means[Tissue.WHITE] == pytest.approx(400.0, rel=0.1)
    assert means[Tissue.CSF] < 200.0
    assert means[Tissue.AIR] < 25.0
    brain = t1.voxels[tissues[Tissue.GREY] + tissues[Tissue.WHITE] > 0.8].mean()
    assert t1.voxels[tissues[Tissue.COMPACT_BONE] > 0.97].mean() < 0.2 * brain
    assert t1.voxels[head().ct.voxels > 900.0].mean() < 0.5 * brain


def test_the_same_seed_gives_the_same_t1_and_another_scan_another_one():
    scan = draw_acquisition(1)
    assert scan == draw_acquisition(1) != draw_acquisition(2)
    first = simulate_t1(head()).voxels
    np.testing.assert_array_equal(first, simulate_t1(head(), scan).voxels)
    assert first.min() >= 0.0
    assert not np.array_equal(first, simulate_t1(head(), draw_acquisition(2)).voxels)


def test_a_head_without_tissues_is_refused():
    whole = head()
    with pytest.raises(InputError) as caught:
        simulate_t1(Head(whole.ct, whole.activity, 1))
    assert caught.value.code == "no_tissues"


def test_a_set_is_read_as_pairs_and_says_how_each_was_scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    monkeypatch.setattr("upgan.simulation.dataset.simulate_mr_head", lambda seed: asked.append(seed) or head())
    path = simulate_mr_ct_pairs(1, tmp_path, 7)
    manifest = json.loads(path.read_text(encoding="utf-8"))
    (subject,) = manifest["subjects"]
    assert asked == [subject["seed"]] == [subject_seed(7, 0)]
    scan = Acquisition.model_validate(subject["acquisition"])
    assert scan == draw_acquisition(subject["seed"])
    (pair,) = find_pairs(DataConfig(path=path))
    t1, ct = read_volume(pair.input), read_volume(pair.target)
    np.testing.assert_array_equal(ct.voxels, np.rint(head().ct.voxels))
    np.testing.assert_array_equal(t1.voxels, np.rint(simulate_t1(head(), scan).voxels))
    np.testing.assert_allclose(t1.ijk_to_ras, ct.ijk_to_ras)
    with pytest.raises(InputError):
        simulate_mr_ct_pairs(0, tmp_path)
