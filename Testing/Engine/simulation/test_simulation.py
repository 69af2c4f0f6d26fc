"""The simulator of NAC-PET / CT heads against independent truth: skimage, hand calculation and plain physics."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.ndimage import binary_fill_holes, label
from skimage.data import shepp_logan_phantom
from skimage.transform import iradon, radon, resize

from upgan.errors import InputError, OutputError
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.progress import Progress
from upgan.simulation.dataset import simulate_pet_ct_pairs, subject_seed
from upgan.simulation.pet import (
    CARNEY_2006,
    Scanner,
    add_counting_noise,
    attenuated_sinogram,
    hu_to_mu,
    scatter_sinogram,
    simulate_nac_pet,
)
from upgan.simulation.phantom import Head, simulate_head
from upgan.simulation.projector import Projector

SIDE = 101
SAMPLES = Path(__file__).parents[3] / "UncertaintyGuidedI2I" / "Resources" / "SampleData"
QUIET = Scanner(counts=1e12, scatter_fraction=0.0, filter_mm=0.0)


@lru_cache(maxsize=8)
def head(seed: int) -> Head:
    return simulate_head(seed)


def disc(radius_pixels: float, side: int = SIDE) -> np.ndarray:
    """A disc whose edge pixels are covered as much as an 8-fold finer grid says."""
    fine = (np.arange(8 * side) + 0.5) / 8.0 - side / 2.0
    inside = (np.hypot(fine[:, None], fine[None, :]) < radius_pixels).astype(np.float32)
    return inside.reshape(side, 8, side, 8).mean(axis=(1, 3))


def shepp_logan(side: int = SIDE) -> np.ndarray:
    small = resize(shepp_logan_phantom(), (side - 12, side - 12), anti_aliasing=True)
    return np.pad(small, 6).astype(np.float32)


def relative_error(value: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(value - truth) / np.linalg.norm(truth))


def cylinder(radius_pixels: float, pixel_mm: float = 2.0, slices: int = 4) -> Head:
    """Water with uniform uptake."""
    section = disc(radius_pixels)
    uptake = np.repeat(section[None], slices, axis=0)
    affine = np.diag([-pixel_mm, -pixel_mm, 3.0, 1.0])
    return Head(Volume(1000.0 * (uptake - 1.0), affine), Volume(uptake, affine), seed=0)


# The projector


def test_the_projection_of_a_disc_is_the_length_of_its_chords():
    radius, pixel_cm = 35.0, 0.2
    projector = Projector(SIDE, SIDE, 60, pixel_cm)
    sinogram = projector.forward(disc(radius)[None])[0]
    offset = np.arange(projector.bins) - (projector.bins - 1) / 2.0
    chord = 2.0 * pixel_cm * np.sqrt(np.maximum(radius**2 - offset**2, 0.0))
    truth = np.broadcast_to(chord, sinogram.shape)
    assert relative_error(sinogram, truth) < 0.02
    # Away from the rim, where a ray one pixel wide sees more than one chord.
    inner = np.abs(offset) < radius - 2.0
    assert relative_error(sinogram[:, inner], truth[:, inner]) < 0.003


def test_every_view_holds_the_whole_image():
    image = np.random.default_rng(3).random((2, 56, 40), dtype=np.float32)
    projector = Projector(56, 40, 36, 0.25)
    mass = projector.forward(image).sum(axis=-1) * projector.pixel_cm
    expected = image.sum(axis=(1, 2)) * projector.pixel_cm**2
    np.testing.assert_allclose(mass, np.broadcast_to(expected[:, None], mass.shape), rtol=0.02)


def test_projections_of_the_shepp_logan_head_agree_with_skimage():
    image = shepp_logan()
    projector = Projector(SIDE, SIDE, 45, 1.0)
    ours = projector.forward(image[None])[0]
    theirs = radon(image, theta=np.arange(45) * 4.0, circle=False).T
    # skimage pads to a side of its own and turns the other way: its view at θ is ours at 180° - θ seen from behind.
    margin, their_margin = ((sinogram.shape[1] - SIDE) // 2 for sinogram in (ours, theirs))
    ours, theirs = ours[:, margin : margin + SIDE], theirs[:, their_margin : their_margin + SIDE]
    assert relative_error(ours[:0:-1, ::-1], theirs[1:]) < 0.01


def test_a_reconstructed_head_resembles_the_head_as_closely_as_skimage_does():
    image = shepp_logan()
    views = 160
    projector = Projector(SIDE, SIDE, views, 0.2)
    ours = projector.filtered_back_projection(projector.forward(image[None]))[0]
    theta = np.arange(views) * 180.0 / views
    theirs = iradon(radon(image, theta, circle=True), theta, filter_name="hann", circle=True)
    inside = disc(45.0) == 1.0
    assert relative_error(ours[inside], image[inside]) < 1.02 * relative_error(theirs[inside], image[inside])
    assert relative_error(ours[inside], theirs[inside]) < 0.02


def test_a_reconstructed_disc_has_its_own_value_whatever_the_pixel_size():
    for pixel_cm in (0.1, 0.4):
        projector = Projector(SIDE, SIDE, 120, pixel_cm)
        image = projector.filtered_back_projection(projector.forward(disc(35.0)[None]))[0]
        assert image[disc(25.0) == 1.0].mean() == pytest.approx(1.0, abs=0.01)
        assert abs(image[disc(42.0) == 0.0]).max() < 0.1


def test_slices_are_projected_independently_of_each_other():
    images = np.random.default_rng(0).random((3, 40, 32), dtype=np.float32)
    projector = Projector(40, 32, 24, 0.2)
    together = projector.filtered_back_projection(projector.forward(images))
    alone = projector.filtered_back_projection(projector.forward(images[1:2]))
    np.testing.assert_allclose(together[1], alone[0], atol=1e-5)


# Attenuation


@pytest.mark.parametrize("kilovoltage", CARNEY_2006)
def test_water_and_air_attenuate_alike_at_every_voltage(kilovoltage: int):
    assert hu_to_mu(0.0, kilovoltage) == pytest.approx(0.096, rel=1e-6)
    assert hu_to_mu(-1000.0, kilovoltage) == 0.0
    assert hu_to_mu(-1024.0, kilovoltage) == 0.0


@pytest.mark.parametrize(("kilovoltage", "expected"), [(80, 0.1354), (100, 0.143), (120, 0.1491), (140, 0.1536)])
def test_bone_of_1000_hu_attenuates_as_calculated_by_hand(kilovoltage: int, expected: float):
    assert hu_to_mu(1000.0, kilovoltage) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kilovoltage", CARNEY_2006)
def test_attenuation_has_no_jump_at_the_break_point(kilovoltage: int):
    break_point = CARNEY_2006[kilovoltage][2]
    below, above = hu_to_mu(np.array([break_point - 0.01, break_point + 0.01]), kilovoltage)
    # The published coefficients are rounded: they meet within 0.5 %.
    assert above == pytest.approx(below, rel=0.005)


def test_attenuation_rises_with_the_ct_number():
    assert (np.diff(hu_to_mu(np.arange(-1000.0, 3000.0, 10.0))) > 0.0).all()


def test_an_unknown_voltage_is_refused_with_a_remedy():
    with pytest.raises(InputError, match="125 kVp") as caught:
        hu_to_mu(0.0, 125)
    assert caught.value.code == "unknown_kilovoltage"
    assert "120" in caught.value.remedy


# The scanner


def test_the_centre_of_a_water_cylinder_is_cupped_as_its_chords_predict():
    radius_cm = 8.0
    phantom = cylinder(radius_cm / 0.2)
    image = simulate_nac_pet(phantom, QUIET).voxels[2]
    # Without correction p(s) = L exp(-μL) with chords L = 2 sqrt(R² - s²). The inverse Abel transform at the centre,
    # f(0) = -1/π ∫ p'(s)/s ds over 0 < s < R, becomes with s = R sin t the mean of (1 - μL) exp(-μL) over 0 < t < π/2.
    t = (np.arange(10_000) + 0.5) / 10_000 * np.pi / 2.0
    chord = 2.0 * radius_cm * np.cos(t)
    expected = ((1.0 - 0.096 * chord) * np.exp(-0.096 * chord)).mean()
    centre = image[48:53, 48:53].mean()
    assert centre == pytest.approx(expected, rel=0.03, abs=0.005)
    ring = (disc(38.0) == 1.0) & (disc(35.0) == 0.0)
    assert image[ring].mean() > 2.0 * centre


def test_without_matter_the_scanner_shows_the_uptake_itself():
    phantom = cylinder(40.0)
    vacuum = Head(Volume(np.full_like(phantom.ct.voxels, -1000.0), phantom.ct.ijk_to_ras), phantom.activity, 0)
    image = simulate_nac_pet(vacuum, QUIET).voxels[2]
    assert image[disc(30.0) == 1.0].mean() == pytest.approx(1.0, abs=0.01)


def test_pixel_size_counts_in_the_attenuation():
    small, large = (simulate_nac_pet(cylinder(40.0, mm), QUIET).voxels[2, 48:53, 48:53].mean() for mm in (1.0, 2.0))
    assert large < 0.7 * small


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.4])
def test_scatter_makes_up_the_fraction_asked_for(fraction: float):
    scanner = Scanner(scatter_fraction=fraction)
    projector = Projector(112, 96, scanner.angles, 0.2)
    trues = attenuated_sinogram(head(1), scanner, projector)
    scatter = scatter_sinogram(trues, scanner, (3.0, 2.0, 2.0))
    share = scatter.sum(dtype=np.float64) / (scatter + trues).sum(dtype=np.float64)
    assert share == pytest.approx(fraction, abs=1e-3)


def test_scatter_is_smoother_than_what_it_came_from():
    projector = Projector(SIDE, SIDE, 60, 0.2)
    trues = attenuated_sinogram(cylinder(30.0), Scanner(), projector)
    scatter = scatter_sinogram(trues, Scanner(), (3.0, 2.0, 2.0))
    steepness = [np.abs(np.diff(s, axis=-1)).max() / s.max() for s in (trues, scatter)]
    assert steepness[1] < 0.2 * steepness[0]


def test_counts_scatter_around_their_expectation_as_poisson_says():
    expected = np.full((4, 100, 500), 3.0, dtype=np.float32)
    counts_per_slice = 50_000 * 20.0
    noisy = add_counting_noise(expected, counts_per_slice, np.random.default_rng(1))
    counts = noisy * 20.0 / 3.0
    assert counts.mean() == pytest.approx(20.0, rel=0.005)
    assert counts.var() == pytest.approx(20.0, rel=0.02)
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-3)


def test_fewer_counts_mean_a_noisier_image():
    truth = simulate_nac_pet(head(1), Scanner(counts=1e12)).voxels
    errors = [relative_error(simulate_nac_pet(head(1), Scanner(counts=n)).voxels, truth) for n in (1e5, 1e6)]
    assert errors[0] / errors[1] == pytest.approx(np.sqrt(10.0), rel=0.25)


def test_the_pet_lies_on_the_grid_of_the_ct_and_is_never_negative():
    pet = simulate_nac_pet(head(1))
    assert pet.voxels.shape == head(1).ct.voxels.shape
    assert pet.voxels.dtype == np.float32
    np.testing.assert_array_equal(pet.ijk_to_ras, head(1).ct.ijk_to_ras)
    assert pet.voxels.min() >= 0.0
    assert np.isfinite(pet.voxels).all()


def test_the_same_noise_seed_gives_the_same_pet_and_another_one_does_not():
    first, again, other = (simulate_nac_pet(head(1), seed=seed).voxels for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert relative_error(other, first) > 0.01


def test_oblong_pixels_are_refused():
    oblong = np.diag([-2.0, -2.5, 3.0, 1.0])
    phantom = cylinder(20.0)
    with pytest.raises(InputError) as caught:
        simulate_nac_pet(Head(Volume(phantom.ct.voxels, oblong), Volume(phantom.activity.voxels, oblong), 0))
    assert caught.value.code == "pixels_not_square"


def width_mm(profile: np.ndarray, step_mm: float) -> float:
    """FWHM of a peak by a cubic spline through its samples."""
    fine = np.arange(0, len(profile) - 1, 0.01)
    height = CubicSpline(np.arange(len(profile)), profile)(fine)
    return float(np.count_nonzero(height >= height.max() / 2) * 0.01 * step_mm)


def point_widths_mm(scanner: Scanner, place: tuple[int, int], pixel_mm: float) -> tuple[float, float, float]:
    """Widths along K, J, I of a point source in air, through the whole chain."""
    shape, slice_mm = (25, 61, 61), 2.0
    uptake = np.zeros(shape, dtype=np.float32)
    j, i = place
    uptake[12, j, i] = 1.0
    affine = np.diag([-pixel_mm, -pixel_mm, slice_mm, 1.0])
    air = Head(Volume(np.full(shape, -1000.0), affine), Volume(uptake, affine), seed=0)
    pet = simulate_nac_pet(air, scanner).voxels
    return (
        width_mm(pet[:, j, i], slice_mm),
        width_mm(pet[12, :, i], pixel_mm),
        width_mm(pet[12, j], pixel_mm),
    )


PLACES = [(24, 35), (33, 41), (41, 22), (26, 27), (37, 30)]
POINT: dict[str, float] = {"counts": 1e12, "scatter_fraction": 0.0}


@pytest.mark.parametrize(("asked", "pixel_mm"), [(5.0, 2.0), (6.0, 2.0), (9.0, 2.0), (12.0, 1.5), (12.0, 4.0)])
def test_a_point_has_the_width_that_was_asked_for_in_the_finished_image(asked: float, pixel_mm: float):
    widths = np.array([point_widths_mm(Scanner(resolution_mm=asked, **POINT), place, pixel_mm) for place in PLACES])
    np.testing.assert_allclose(widths.mean(axis=0), asked, rtol=0.03)
    np.testing.assert_allclose(widths, asked, rtol=0.06)


def test_the_default_scanner_says_how_wide_it_makes_a_point():
    widths = np.array([point_widths_mm(Scanner(**POINT), place, 2.0) for place in PLACES]).mean(axis=0)
    across, within = Scanner().finished_width_mm(2.0)
    assert (round(across, 1), round(within, 1)) == (5.0, 6.7)
    np.testing.assert_allclose(widths, [across, within, within], rtol=0.02)


def test_the_default_image_is_the_one_whose_filter_has_5_mm():
    """The bundled model and its sample were made with it."""
    assert Scanner().filter_widths_mm(2.0) == (5.0, 5.0)
    sample = read_volume(SAMPLES / "sample_nacpet.nrrd").voxels
    patient = simulate_head(subject_seed(2021, 100))
    np.testing.assert_array_equal(read_volume(SAMPLES / "sample_ct.nrrd").voxels, np.rint(patient.ct.voxels))
    again = simulate_nac_pet(patient).voxels
    # Stored as whole numbers, 20 000 to a relative uptake of 1.
    np.testing.assert_allclose(sample, 20_000 * again, atol=1)


def test_a_resolution_finer_than_the_reconstruction_is_refused():
    with pytest.raises(InputError) as caught:
        simulate_nac_pet(cylinder(20.0), Scanner(resolution_mm=4.4))
    assert caught.value.code == "resolution_too_fine"
    assert Scanner(resolution_mm=4.5).filter_widths_mm(2.0) == (4.5, 0.0)


def test_the_scanner_of_an_earlier_manifest_is_read_as_what_it_was():
    earlier = {"angles": 120, "fwhm_mm": 8.0, "counts": 1e6, "scatter_fraction": 0.25, "scatter_fwhm_mm": 120.0}
    assert Scanner.model_validate(earlier) == Scanner(filter_mm=8.0)
    assert Scanner.model_validate(Scanner(resolution_mm=7.0).model_dump()) == Scanner(resolution_mm=7.0)


@pytest.mark.parametrize("wrong", [{"scatter_fraction": 1.0}, {"counts": 0.0}, {"angles": 2}, {"fwhm": 5.0}])
def test_an_impossible_scanner_is_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Scanner.model_validate(wrong)


# The heads

SEEDS = (1, 2, 3, 4)


def test_the_same_seed_gives_the_same_head():
    again = simulate_head(1)
    np.testing.assert_array_equal(again.ct.voxels, head(1).ct.voxels)
    np.testing.assert_array_equal(again.activity.voxels, head(1).activity.voxels)


def test_different_seeds_give_different_heads():
    silhouettes = [head(seed).ct.voxels > -500.0 for seed in SEEDS]
    for first in range(len(SEEDS)):
        for second in range(first):
            a, b = silhouettes[first], silhouettes[second]
            dice = 2.0 * (a & b).sum() / (a.sum() + b.sum())
            assert 0.7 < dice < 0.97


def test_heads_are_axial_scans_in_head_first_radiological_layout():
    affine = head(1).ct.ijk_to_ras
    np.testing.assert_allclose(np.diag(affine), [-2.0, -2.0, 3.0, 1.0])
    centre = affine @ [47.5, 55.5, 35.5, 1.0]
    np.testing.assert_allclose(centre[:3], 0.0, atol=1e-9)
    # The nose points to the front (low J), and the neck (low K) is narrower than the head.
    body = head(1).ct.voxels > -500.0
    first_row = np.array([np.flatnonzero(s.any(axis=1))[0] if s.any() else 999 for s in body])
    assert 8 <= first_row.argmin() <= 30
    assert body[2].sum() < 0.9 * body[45].sum()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_histogram_holds_air_soft_tissue_and_bone_as_heads_do(seed: int):
    ct = head(seed).ct.voxels
    body = np.stack([binary_fill_holes(s) for s in ct > -500.0])
    assert 0.25 < body.mean() < 0.5
    inside = ct[body]
    assert 0.01 < (inside < -500.0).mean() < 0.08
    assert 0.5 < ((inside > -150.0) & (inside < 150.0)).mean() < 0.85
    assert 0.12 < (inside > 250.0).mean() < 0.32
    assert 1800.0 < inside.max() <= 3071.0
    assert ct.min() >= -1024.0


@pytest.mark.parametrize("seed", SEEDS)
def test_sinuses_hold_air_inside_the_head(seed: int):
    ct = head(seed).ct.voxels
    # Behind the front of the face and above the mouth, cavities larger than one millilitre on both sides.
    air = (ct < -700.0) & np.stack([binary_fill_holes(s) for s in ct > -500.0])
    cavities, count = label(air[15:45])
    sizes = np.sort(np.bincount(cavities.ravel())[1:])[::-1] * 0.012
    assert count >= 3
    assert sizes[0] > 5.0
    assert (sizes > 1.0).sum() >= 2


@pytest.mark.parametrize("seed", SEEDS)
def test_the_top_of_the_head_is_inside_and_the_neck_runs_out(seed: int):
    body = head(seed).ct.voxels > -500.0
    assert not body[-1].any()
    assert body[-6].any() or body[-8].any()
    assert body[0].sum() > 1000


@pytest.mark.parametrize("seed", SEEDS)
def test_neighbouring_slices_belong_together(seed: int):
    ct = head(seed).ct.voxels
    beside, apart = ([np.corrcoef(ct[k].ravel(), ct[k + gap].ravel())[0, 1] for k in range(40)] for gap in (1, 20))
    assert min(beside) > 0.8
    assert np.mean(beside) > 0.92
    assert np.mean(apart) < 0.8


def test_ct_noise_in_air_and_in_the_brain_is_that_of_a_low_dose_scan():
    ct = head(1).ct.voxels
    assert ct[40:44, :6, :10].std() == pytest.approx(12.0, rel=0.35)
    assert 8.0 < ct[46:50, 50:62, 40:56].std() < 25.0


@pytest.mark.parametrize("seed", SEEDS)
def test_uptake_is_brain_like(seed: int):
    uptake, ct = head(seed).activity.voxels, head(seed).ct.voxels
    assert uptake.min() >= 0.0
    assert uptake[ct < -950.0].mean() < 0.02
    assert 0.05 < uptake[ct > 800.0].mean() < 0.25
    assert 0.85 < np.percentile(uptake[45:60][uptake[45:60] > 0.6], 50) < 1.15
    assert uptake.max() < 3.0


def test_a_coarse_grid_shows_the_same_patient_as_a_fine_one():
    coarse = simulate_head(2, (36, 56, 48), (6.0, 4.0, 4.0)).ct.voxels
    averaged = head(2).ct.voxels.reshape(36, 2, 56, 2, 48, 2).mean(axis=(1, 3, 5))
    stranger = head(3).ct.voxels.reshape(36, 2, 56, 2, 48, 2).mean(axis=(1, 3, 5))
    error, other = (np.abs(coarse - image).mean() for image in (averaged, stranger))
    assert error < 0.3 * other
    assert error < 60.0


def test_a_grid_of_one_slice_is_refused():
    with pytest.raises(InputError) as caught:
        simulate_head(0, (1, 64, 64))
    assert caught.value.code == "simulated_grid_too_small"


# The data set


def test_the_manifest_lists_every_file_and_says_that_they_are_simulated(tmp_path: Path):
    steps: list[tuple[str, float]] = []
    progress = Progress(lambda what, fraction, remaining_s: steps.append((what, fraction)))
    scanner = Scanner(counts=2e5)
    path = simulate_pet_ct_pairs(2, tmp_path / "set", 7, scanner, progress)
    manifest = json.loads(path.read_text(encoding="utf-8"))
    listed = {entry[kind] for entry in manifest["subjects"] for kind in ("nacpet", "ct")} | {"manifest.json"}
    assert listed == {file.name for file in path.parent.iterdir()}
    assert "simulated" in manifest["statement"].lower()
    assert Scanner.model_validate(manifest["scanner"]) == scanner
    assert manifest["resolution_mm"] == {"in_plane": 6.73, "across_slices": 5.0}
    assert steps == [("simulating head 1 of 2", 0.5), ("simulating head 2 of 2", 1.0)]
    again = simulate_head(manifest["subjects"][1]["seed"])
    ct = read_volume(path.parent / "sub-002_ct.nii.gz")
    np.testing.assert_array_equal(ct.voxels, np.rint(again.ct.voxels))
    np.testing.assert_allclose(ct.ijk_to_ras, again.ct.ijk_to_ras)
    pet = read_volume(path.parent / "sub-002_nacpet.nii.gz")
    np.testing.assert_array_equal(pet.voxels, simulate_nac_pet(again, scanner).voxels)


def test_a_subject_is_the_same_however_many_there_are(tmp_path: Path):
    one, two = (simulate_pet_ct_pairs(n, tmp_path / str(n), seed=3) for n in (1, 2))
    pair = [read_volume(path.parent / "sub-001_nacpet.nii.gz").voxels for path in (one, two)]
    np.testing.assert_array_equal(pair[0], pair[1])
    seeds = [subject_seed(3, index) for index in range(200)]
    assert len(set(seeds)) == 200
    assert subject_seed(4, 0) != seeds[0]


def test_a_set_without_subjects_and_a_folder_that_cannot_be_made_are_refused(tmp_path: Path):
    with pytest.raises(InputError):
        simulate_pet_ct_pairs(0, tmp_path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError) as caught:
        simulate_pet_ct_pairs(1, tmp_path / "file" / "set")
    assert caught.value.code == "folder_not_made"
