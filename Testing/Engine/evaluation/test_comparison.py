"""Figures, curves and the error map against scipy, scikit-image, arithmetic and uncertainties known to be true."""

import json

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.transform import Rotation
from skimage.metrics import structural_similarity

from Engine.made_images import affine_of, code_of
from Engine.synthrad import synthrad_2023
from Engine.tissues import of_tissues
from upgan.errors import Cancelled
from upgan.evaluation.check import run_check
from upgan.evaluation.comparison import compare
from upgan.evaluation.request import CheckArguments
from upgan.images.patient import body_mask
from upgan.images.scope import Scope, ct_scope, foreground_scope
from upgan.progress import SILENT, Progress
from upgan.uncertainty.reliability import reliability
from upgan.uncertainty.sparsification import sparsification

SHAPE, VOXEL_MM = (12, 30, 26), (6.0, 4.0, 4.0)
AXIAL = affine_of(np.diag([-1.0, -1, 1]), (4, 4, 6), (50, 60, -30))


def scope_of(mask):
    return Scope(mask, "everything", (-1024.0, 3000.0), "-1024 to 3000 HU")


@pytest.fixture
def calibrated(rng):
    """Predictions whose references scipy draws from exactly them: image, α, β, reference [K, J, I]."""
    shape = (20, 64, 64)
    image, alpha, beta = rng.normal(0, 500, shape), rng.uniform(5, 300, shape), rng.uniform(0.8, 4, shape)
    return image, alpha, beta, stats.gennorm.rvs(beta, image, alpha, random_state=rng)


@pytest.fixture
def head(rng):
    """A block of water with a bone in it, surrounded by air; a worse copy, α and β [K, J, I]."""
    reference = np.full(SHAPE, -1000.0, dtype=np.float32)
    reference[1:11, 4:26, 4:22] = 30
    reference[4:8, 12:18, 8:14] = 900
    image = reference + rng.laplace(0, 40, SHAPE).astype(np.float32)
    alpha = rng.uniform(20, 60, SHAPE).astype(np.float32)
    return image, alpha, np.full(SHAPE, 1.0, dtype=np.float32), reference


def figures_of(found):
    return {figure["key"]: figure["value"] for figure in found["figures"]}


def compared(calibrated, factor=1.0):
    image, alpha, beta, reference = calibrated
    scope = scope_of(np.ones(image.shape, dtype=bool))
    return compare(image, factor * alpha, beta, reference, scope, "HU")


def test_true_uncertainties_lie_on_both_diagonals(calibrated):
    found = compared(calibrated).uncertainty
    voxels = calibrated[0].size
    four_standard_errors = 4 * np.sqrt(found.nominal * (1 - found.nominal) / voxels)
    assert (np.abs(found.observed - found.nominal) <= four_standard_errors + 1e-12).all()
    assert found.nominal[0] == found.observed[0] == 0
    assert found.nominal[-1] == found.observed[-1] == 1
    np.testing.assert_allclose(found.reliability.observed, found.reliability.predicted, rtol=0.06)
    assert np.ptp(found.reliability.predicted) > 100
    assert found.reliability.voxels.sum() == voxels
    assert found.reliability.ence < 0.03


@pytest.mark.parametrize(("factor", "below"), [(0.5, True), (2.0, False)])
def test_overconfidence_lies_under_the_coverage_diagonal_and_over_that_of_reliability(calibrated, factor, below):
    found = compared(calibrated, factor).uncertainty
    _, alpha, beta, _ = calibrated
    for nominal, observed in list(zip(found.nominal, found.observed, strict=True))[2:-1:6]:
        half_width = stats.gennorm.ppf((1 + nominal) / 2, beta, scale=factor * alpha)
        assert observed == pytest.approx(1 - 2 * stats.gennorm.sf(half_width, beta, scale=alpha).mean(), abs=0.01)
        assert (observed < nominal) == below
    assert ((found.reliability.observed > found.reliability.predicted) == below).all()
    np.testing.assert_allclose(found.reliability.observed / found.reliability.predicted, 1 / factor, rtol=0.06)
    assert found.reliability.ence == pytest.approx(abs(1 - 1 / factor), rel=0.06)


def test_every_figure_is_that_of_plain_numpy_scipy_and_scikit_image(head):
    image, alpha, beta, reference = head
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2:10, 5:25, 5:21] = True
    found = figures_of(compare(image, alpha, beta, reference, scope_of(mask), "HU").to_json())
    error = (image.astype(float) - reference)[mask]
    truth = reference[mask]
    clipped = np.clip(image, -1024, 3000)
    masked = [np.where(mask, array.astype(float), -1024) + 1024 for array in (clipped, reference)]
    slices = [structural_similarity(*pair, data_range=4024, full=True)[1] for pair in zip(*masked, strict=True)]
    sigma = stats.gennorm.std(beta[mask].astype(float), scale=alpha[mask].astype(float))
    expected = {
        "mae": np.abs(error).mean(),
        "mae_soft": np.abs(error[truth == 30]).mean(),
        "mae_bone": np.abs(error[truth == 900]).mean(),
        "rmse": np.sqrt((error**2).mean()),
        "bias": error.mean(),
        "psnr": 10 * np.log10(4024**2 / ((clipped - reference)[mask].astype(float) ** 2).mean()),
        "ssim_3d": synthrad_2023(image, reference, mask),
        "ssim_2d": np.stack(slices)[:, 3:-3, 3:-3][mask[:, 3:-3, 3:-3]].mean(),
        "sigma_rms": np.sqrt((sigma**2).mean()),
        "spearman_error_sigma": stats.spearmanr(np.abs(error), sigma).statistic,
        "pearson_error_sigma": np.corrcoef(np.abs(error), sigma)[0, 1],
        "voxels": mask.sum(),
    }
    for level in (0.5, 0.8, 0.9, 0.95):
        half_width = stats.gennorm.ppf((1 + level) / 2, 1.0, scale=alpha[mask].astype(float))
        expected[f"coverage_{level:.0%}"] = 100 * (np.abs(error) <= half_width).mean()
    for key, value in of_tissues(image[mask], truth.astype(float), alpha[mask].astype(float), 1.0).items():
        expected[key] = 100 * value if key.startswith("coverage") else value
    # Twenty bins of equal size by rank, and removal one by one.
    order = np.argsort(sigma)
    bins = np.array_split(order, 20)
    observed = np.array([np.sqrt((error[part] ** 2).mean()) for part in bins])
    predicted = np.array([np.sqrt((sigma[part] ** 2).mean()) for part in bins])
    expected["ence"] = (np.abs(observed - predicted) / predicted).mean()
    expected["uce"] = np.abs(observed**2 - predicted**2).mean()
    magnitudes = np.abs(error)
    steps = np.arange(100) / 100
    by_sigma, oracle = (
        [magnitudes[rank[: round(error.size * (1 - step))]].mean() for step in steps]
        for rank in (order, np.argsort(magnitudes))
    )
    difference = (np.array(by_sigma) - oracle) / magnitudes.mean()
    expected["ause"] = ((difference[1:] + difference[:-1]) / 2).sum() / 100
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-3 if key in ("ence", "uce") else 1e-5, abs=1e-6), key


def test_the_error_map_is_image_minus_reference_everywhere(head):
    image, alpha, beta, reference = head
    error = compare(image, alpha, beta, reference, scope_of(reference > 0), "HU").error
    np.testing.assert_allclose(error, image - reference)
    assert error.dtype == np.float32


def test_without_a_distribution_there_are_the_figures_of_the_image_alone(head):
    image, _, _, reference = head
    found = compare(image, None, None, reference, scope_of(reference > 0), "HU").to_json()
    assert found["curves"] == {}
    assert {"mae", "psnr", "ssim_3d", "ssim_2d", "voxels"} <= set(figures_of(found))
    assert not any("coverage" in key or "sigma" in key for key in figures_of(found))


def test_arbitrary_intensities_have_neither_unit_nor_tissue_classes(head):
    image, alpha, beta, reference = head
    found = compare(image, alpha, beta, reference, scope_of(reference > 0), "").to_json()
    assert {figure["unit"] for figure in found["figures"]} == {"", "dB", "%"}
    assert not any(key.startswith("mae_") for key in figures_of(found))


def test_voxels_of_one_sigma_share_a_bin():
    sigma = np.repeat([1.0, 2.0, 5.0], [700, 200, 100])
    error = np.tile([3.0, -4.0], 500)
    found = reliability(error, sigma)
    np.testing.assert_allclose(found.predicted, [1, 2, 5])
    np.testing.assert_allclose(found.observed, np.sqrt(12.5))
    assert found.voxels.tolist() == [700, 200, 100]
    assert found.uce == pytest.approx(0.7 * 11.5 + 0.2 * 8.5 + 0.1 * 12.5)


def test_removing_by_a_sigma_that_knows_the_error_is_the_oracle(rng):
    error = rng.exponential(100, 5000)
    found = sparsification(error, error**2)
    np.testing.assert_allclose(found.by_sigma, found.oracle)
    assert found.ause == pytest.approx(0, abs=1e-12)
    assert (np.diff(found.oracle) < 0).all()


def test_removing_by_a_sigma_that_knows_nothing_changes_nothing(rng):
    error = np.sort(rng.exponential(100, 5000))
    np.testing.assert_allclose(sparsification(error, np.full(5000, 7.0)).by_sigma, error.mean())
    by_chance = sparsification(error, rng.normal(size=5000)).by_sigma
    np.testing.assert_allclose(by_chance[:80], error.mean(), rtol=0.15)


def test_what_remains_by_hand():
    error = np.array([8.0, 1, 3, 4])
    sigma = np.array([1.0, 2, 3, 4])
    found = sparsification(error, sigma)
    quarters = [0, 25, 50, 75]
    np.testing.assert_allclose(found.removed[quarters], [0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(found.by_sigma[quarters], [4, 4, 4.5, 8])
    np.testing.assert_allclose(found.oracle[quarters], [4, 8 / 3, 2, 1])


def test_a_sigma_that_is_the_same_everywhere_correlates_with_nothing(head):
    image, alpha, beta, reference = head
    scope = scope_of(reference > 0)
    found = figures_of(compare(image, np.full_like(alpha, 50), beta, reference, scope, "HU").to_json())
    assert found["spearman_error_sigma"] == found["pearson_error_sigma"] == 0


def test_a_perfect_image_leaves_figures_that_json_knows(head):
    _, alpha, beta, reference = head
    found = compare(reference, alpha, beta, reference, scope_of(reference > 0), "HU").to_json()
    json.dumps(found, allow_nan=False)
    assert figures_of(found)["mae"] == figures_of(found)["ause"] == 0
    # What is exactly right lies within every interval, however narrow.
    assert found["curves"]["coverage"]["observed"] == [1.0] * 21


def test_an_error_that_is_the_same_everywhere_leaves_figures_that_json_knows(head):
    _, alpha, beta, reference = head
    found = compare(reference + 16, alpha, beta, reference, scope_of(reference > 0), "HU").to_json()
    json.dumps(found, allow_nan=False)
    assert figures_of(found)["mae"] == figures_of(found)["bias"] == 16
    assert figures_of(found)["spearman_error_sigma"] == figures_of(found)["pearson_error_sigma"] == 0
    assert figures_of(found)["ssim_3d"] < 1


def test_the_scope_of_a_ct_is_the_body_where_there_is_a_reference(head):
    reference = head[3]
    covered = np.ones(SHAPE, dtype=bool)
    covered[:3] = False
    scope = ct_scope(reference, covered, VOXEL_MM)
    np.testing.assert_array_equal(scope.mask, body_mask(reference, VOXEL_MM) & covered)
    assert "-500 HU" in scope.mask_text
    assert scope.data_range_text == "-1024 to 3000 HU (SynthRAD 2023)"
    assert scope.notes == ()


def test_a_reference_in_another_unit_than_hu_leaves_a_note(head):
    everywhere = np.ones(SHAPE, dtype=bool)
    for wrong in (head[3] + 1024, np.maximum(head[3] / 10000 + 0.1, 0), head[3] * 100):
        (note,) = ct_scope(wrong, everywhere, VOXEL_MM).notes
        assert "does not look like a CT in HU" in note


def test_the_scope_of_arbitrary_intensities_is_their_foreground_and_range(rng):
    reference = rng.normal(10, 3, SHAPE).clip(0)
    inner = (slice(2, 10), slice(5, 25), slice(5, 21))
    reference[inner] = rng.normal(400, 30, reference[inner].shape)
    reference[5, 12, 12] = 90000  # one vessel must not set the range
    scope = foreground_scope(reference, np.ones(SHAPE, dtype=bool))
    expected = np.zeros(SHAPE, dtype=bool)
    expected[inner] = True
    np.testing.assert_array_equal(scope.mask, expected)
    assert scope.data_range == (0, pytest.approx(np.percentile(reference, 99.9)))
    assert scope.data_range[1] < 600
    assert "Otsu" in scope.mask_text
    assert "99.9th percentile" in scope.data_range_text


# The request, as the viewer makes it.


def request(folder, head, reference_grid=AXIAL, reference=None, **changes):
    image, alpha, beta, truth = head
    arguments: dict[str, object] = {
        "unit": "HU",
        "ijk_to_ras": AXIAL.tolist(),
        "reference_ijk_to_ras": reference_grid.tolist(),
    }
    arrays = {"image": image, "alpha": alpha, "beta": beta, "reference": truth if reference is None else reference}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        arguments[name] = str(folder / f"{name}.npy")
    return CheckArguments.model_validate({**arguments, "output": str(folder), **changes})


def check(*arguments, **changes):
    return run_check(request(*arguments, **changes), SILENT)


def test_a_reference_on_the_same_grid_is_compared_as_it_is(head, tmp_path):
    image, alpha, beta, reference = head
    stages = []
    found = run_check(
        request(tmp_path, head), Progress(lambda stage, fraction, remaining_s: stages.append((fraction, stage)))
    )
    scope = ct_scope(reference, np.ones(SHAPE, dtype=bool), VOXEL_MM)
    expected = figures_of(compare(image, alpha, beta, reference, scope, "HU").to_json())
    assert figures_of(found) == pytest.approx(expected, rel=1e-5)
    assert found["notes"] == []
    assert found["mask"] == scope.mask_text
    assert found["data_range"] == scope.data_range_text
    assert set(found["curves"]) == {"coverage", "reliability", "sparsification"}
    np.testing.assert_allclose(np.load(found["error"]), image - reference, atol=1e-3)
    json.dumps(found, allow_nan=False)
    fractions = [fraction for fraction, _ in stages]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    assert all(stage for _, stage in stages)


def test_padding_and_metal_of_the_reference_count_as_those_of_a_target_do(head, tmp_path):
    reference = head[3].copy()
    reference[5, 14:16, 10] = 3071
    plain = check(tmp_path, head, reference=reference)
    reference[:, :2] = -3024
    reference[5, 14:16, 10] = 30_000
    spoilt = check(tmp_path, head, reference=reference)
    assert figures_of(spoilt) == figures_of(plain)
    assert [note for note in spoilt["notes"] if note not in plain["notes"]] == [
        "2 voxels of the reference lie above 3071 HU, as metal does; they count as that."
    ]


def test_figures_do_not_depend_on_the_order_in_which_voxels_are_stored(head, tmp_path):
    image, alpha, beta, reference = head
    # The same image, stored as sagittal slices: i' runs along j, j' against k, k' along i.
    swap = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, -1, 0, SHAPE[0] - 1], [0, 0, 0, 1.0]])

    def sagittal(array):
        return np.ascontiguousarray(array.transpose(2, 0, 1)[:, ::-1, :])

    turned = (sagittal(image), sagittal(alpha), sagittal(beta), reference)
    found = check(tmp_path, turned, reference=reference, ijk_to_ras=(AXIAL @ swap).tolist())
    np.testing.assert_allclose(np.load(found["error"]), sagittal(image - reference), atol=1e-3)
    assert figures_of(found) == pytest.approx(figures_of(check(tmp_path, head)), rel=1e-5)


def test_an_oblique_reference_with_another_grid_is_brought_to_the_image(rng, tmp_path):
    def field(grid, shape):
        k, j, i = np.indices(shape)
        x, y, z = (grid[:3, :3] @ np.stack([i, j, k]).reshape(3, -1) + grid[:3, 3:]).reshape(3, *shape)
        return (np.where(x**2 + y**2 + (z - 5) ** 2 < 50**2, 30 + x + 0.5 * y - z, -1000)).astype(np.float32)

    oblique = affine_of(Rotation.from_euler("xyz", [10, -8, 25], degrees=True).as_matrix(), (3, 3.5, 5))
    oblique[:3, 3] = -oblique[:3, :3] @ np.array([24, 22, 13])
    truth = field(AXIAL, SHAPE)
    image = truth + 20
    found = check(
        tmp_path, (image, np.full(SHAPE, 30.0), np.full(SHAPE, 2.0), None), oblique, field(oblique, (26, 44, 48))
    )
    error = np.load(found["error"])
    k, j, i = np.indices(SHAPE)
    x, y, z = (AXIAL[:3, :3] @ np.stack([i, j, k]).reshape(3, -1) + AXIAL[:3, 3:]).reshape(3, *SHAPE)
    well_inside = x**2 + y**2 + (z - 5) ** 2 < 38**2
    assert well_inside.sum() > 500
    np.testing.assert_allclose(error[well_inside], 20, atol=0.01)
    assert any("resampled onto the result's grid" in note for note in found["notes"])


def test_what_the_reference_does_not_cover_is_not_compared(head, tmp_path):
    image, _, _, reference = head
    image[:5] += 500  # outside the reference: must not count
    found = check(tmp_path, head, AXIAL @ affine_of(np.eye(3), (1, 1, 1), (0, 0, 5)), reference[5:])
    mask = body_mask(reference, VOXEL_MM)
    mask[:5] = False
    figures = figures_of(found)
    assert figures["voxels"] == mask.sum()
    assert figures["mae"] == pytest.approx(np.abs(image - reference)[mask].mean(), rel=1e-5)
    error = np.load(found["error"])
    assert not error[:5].any()
    assert np.isfinite(error).all()
    assert any("covers 58.3% of the result's grid" in note for note in found["notes"])


def test_voxels_without_a_valid_result_are_left_out_and_told(head, tmp_path):
    image, alpha, _, reference = head
    image[5, 10, 10] = np.nan
    alpha[5, 10, 11] = 0
    found = check(tmp_path, head)
    assert figures_of(found)["voxels"] == body_mask(reference, VOXEL_MM).sum() - 2
    assert np.isfinite(np.load(found["error"])).all()
    assert any(note.startswith("2 voxels were left out") for note in found["notes"])
    json.dumps(found, allow_nan=False)


def test_an_image_without_its_distribution_is_compared_all_the_same(head, tmp_path):
    found = check(tmp_path, head, alpha=None, beta=None)
    assert found["curves"] == {}
    assert figures_of(found)["mae"] > 0


def test_an_mr_image_is_compared_inside_its_foreground(rng, tmp_path):
    reference = rng.uniform(0, 5, SHAPE)
    reference[2:10, 5:25, 5:21] = rng.uniform(200, 300, (8, 20, 16))
    maps = (reference + 10, np.full(SHAPE, 20.0), np.full(SHAPE, 2.0), reference)
    found = check(tmp_path, maps, unit="")
    assert figures_of(found)["voxels"] == 8 * 20 * 16
    assert figures_of(found)["mae"] == pytest.approx(10)
    assert "Otsu" in found["mask"]


def test_what_cannot_be_compared_is_refused(head, tmp_path):
    elsewhere = AXIAL.copy()
    elsewhere[2, 3] += 1000
    assert code_of(lambda: check(tmp_path, head, elsewhere)) == "no_overlap"
    assert code_of(lambda: check(tmp_path, head, reference=np.full(SHAPE, -1000.0))) == "no_body"
    assert code_of(lambda: check(tmp_path, head, reference=np.zeros(SHAPE), unit="")) == "no_foreground"
    assert code_of(lambda: check(tmp_path, (head[0], head[1][1:], *head[2:]))) == "unequal_maps"
    assert code_of(lambda: check(tmp_path, (head[0] * np.nan, *head[1:]))) == "nothing_to_compare"
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty.npy").touch()
    (tmp_path / "broken.npy").write_bytes(b"PK\x03\x04")
    np.save(tmp_path / "words.npy", np.full(SHAPE, "word"))
    with (tmp_path / "archive.npy").open("wb") as file:
        np.savez(file, head[1])
    for name in ("text.npy", "absent.npy", "empty.npy", "broken.npy", "words.npy", "archive.npy"):
        assert code_of(lambda name=name: check(tmp_path, head, alpha=str(tmp_path / name))) == "transfer_failed"
    assert code_of(lambda: check(tmp_path, head, output=str(tmp_path / "absent"))) == "not_writable"


@pytest.mark.parametrize("side", ["image", "reference"])
def test_a_reference_is_resampled_from_a_guess_only_when_told_to(side, head, tmp_path):
    note = {f"{side}_placement_note": "The file names no place."}
    assert check(tmp_path, head, **note)["notes"][0] == "The file names no place."  # the same grid
    moved = AXIAL @ affine_of(np.eye(3), (1, 1, 1), (1, 0, 0))
    assert code_of(lambda: check(tmp_path, head, moved, **note)) == "unsure_place"
    assert check(tmp_path, head, moved, trust_guessed_places=True, **note)["notes"][0] == "The file names no place."
    assert "place" not in check(tmp_path, head, moved)["notes"][0]


def test_the_comparison_can_be_cancelled_at_any_stage(head, tmp_path):
    arguments = request(tmp_path, head)
    seen = []
    run_check(arguments, Progress(lambda stage, *told: seen.append(stage)))
    (tmp_path / "error.npy").unlink()
    for stop in dict.fromkeys(seen[:-1]):

        def cancel(stage, *told, stop=stop):
            if stage == stop:
                raise Cancelled

        with pytest.raises(Cancelled):
            run_check(arguments, Progress(cancel))
    assert not (tmp_path / "error.npy").exists()
