"""The scale against scipy's likelihood, the conformal table against what it promises, the engine that applies them."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import optimize, stats

from Engine.conftest import IdentityBundle, seasoned_cascade
from Engine.made_images import blob
from upgan.bundles.bundle import Bundle, problems, write_bundle
from upgan.bundles.metadata import ModelSection
from upgan.errors import InputError
from upgan.images.scope import foreground_scope
from upgan.images.volume import Volume
from upgan.inference.engine import InferenceEngine
from upgan.pairs.preparation import Pair
from upgan.tasks import PET_TO_CT
from upgan.training.model.calibrate import calibrate
from upgan.training.model.markdown import rounded_up
from upgan.uncertainty.calibration import Calibration
from upgan.uncertainty.coverage import LEVELS, central_probability
from upgan.uncertainty.distribution import GeneralizedNormal
from upgan.uncertainty.recalibration import conformal_table, levels_needed, scale_factor, statement, tissue_scales
from upgan.uncertainty.tissues import blended


def made_calibration(scale=(1.0, 2.0), **changes) -> dict:
    made = {
        "patients": 3,
        "voxels": 10,
        "scale": scale,
        "conformal": {0.5: 0.6, 0.9: None},
        "note": "for tests",
    }
    return {**made, **changes}


# The scale


def drawn(rng, factor=1.0, size=50_000, shapes=(0.4, 7.0)):
    """Residuals of which scipy says that the true scale is ``factor`` times the predicted: residual, α, β."""
    alpha, beta = rng.uniform(5, 300, size), rng.uniform(*shapes, size)
    return stats.gennorm.rvs(beta, 0, factor * alpha, random_state=rng), alpha, beta


@pytest.mark.parametrize("factor", [0.02, 0.7, 1.0, 1.8, 55.0])
def test_the_scale_is_the_factor_that_the_errors_were_drawn_with(rng, factor):
    # The logarithm's standard error is 1/√Σβ.
    residual, alpha, beta = drawn(rng, factor)
    four_standard_errors = 4 / np.sqrt(beta.sum())
    assert np.log(scale_factor(residual, alpha, beta)) == pytest.approx(np.log(factor), abs=four_standard_errors)


def test_the_scale_is_the_most_likely_one_whatever_the_errors_are(rng):
    residual, alpha, beta = rng.standard_t(3, 2000) * 40, rng.uniform(5, 300, 2000), rng.uniform(0.4, 7, 2000)

    def surprise(log_s):
        return -stats.gennorm.logpdf(residual, beta, 0, np.exp(log_s) * alpha).sum()

    found = optimize.minimize_scalar(surprise, bounds=(-6, 6), method="bounded", options={"xatol": 1e-9})
    assert scale_factor(residual, alpha, beta) == pytest.approx(np.exp(found.x), rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 200),
    st.floats(1e-6, 1e6),
    st.floats(0.1, 0.9),
    st.floats(1, 40),
)
def test_the_scale_solves_its_equation_and_moves_with_the_unit(seed, size, unit, lowest, widest):
    rng = np.random.default_rng(seed)
    residual, alpha, beta = map(np.atleast_1d, drawn(rng, 1.0, size, (lowest, lowest * widest)))
    residual[rng.random(size) < 0.2] = 0  # as in simulated data
    if not residual.any():
        residual[0] = 1
    s = scale_factor(residual, alpha, beta)
    assert (beta * (np.abs(residual) / (s * alpha)) ** beta).sum() == pytest.approx(size, rel=1e-5)
    assert scale_factor(unit * residual, alpha, beta) == pytest.approx(unit * s, rel=1e-5)
    assert scale_factor(unit * residual, unit * alpha, beta) == pytest.approx(s, rel=1e-5)


def test_images_that_equal_their_references_have_no_scale():
    with pytest.raises(InputError) as refusal:
        scale_factor(np.zeros(5), np.ones(5), np.ones(5))
    assert refusal.value.code == "no_error"


# The conformal table


def test_a_patient_asks_for_the_level_that_holds_at_least_the_share_of_his_voxels(rng):
    central = rng.random(997) ** 2
    for share, level in zip(LEVELS, levels_needed(central), strict=True):
        assert (central <= level).mean() >= share
        assert (central < level).mean() < share


@pytest.mark.parametrize("patients", [1, 8])
def test_too_few_patients_have_no_table_and_the_statement_refuses(patients):
    assert conformal_table(np.full((patients, len(LEVELS)), 0.9)) == dict.fromkeys(LEVELS)
    said = statement(patients, chosen=False)
    assert "too few" in said
    assert "at least 22" in said
    assert "None is claimed" in said


@pytest.mark.parametrize(("patients", "rank"), [(9, 9), (10, 10), (18, 18), (19, 18), (21, 20)])
def test_of_few_patients_the_table_has_the_order_statistic_of_split_conformal_prediction(rng, patients, rank):
    needed = rng.random((patients, 2))
    assert rank == int(np.ceil(np.round(0.9 * (patients + 1), 6)))
    assert list(conformal_table(needed, (0.5, 0.9)).values()) == list(np.sort(needed, axis=0)[rank - 1])


@pytest.mark.parametrize("patients", [22, 23, 37, 38, 60, 100])
def test_from_22_patients_on_the_table_has_the_lowest_order_statistic_with_ninety_per_cent_confidence(patients):
    ordered = np.arange(1, patients + 1)[:, None] / (patients + 1)
    rank = round(conformal_table(ordered, (0.9,))[0.9] * (patients + 1))
    # The share of the population below the k-th smallest of n is Beta(k, n + 1 - k).
    assert stats.beta(rank, patients + 1 - rank).sf(0.9) >= 0.9
    assert stats.beta(rank - 1, patients + 2 - rank).sf(0.9) < 0.9


@given(st.floats(0, 1), st.integers(1, 6))
def test_a_level_is_never_printed_lower_than_it_is(level, digits):
    printed = Fraction(rounded_up(level, digits))
    assert Fraction(level) <= printed < Fraction(level) + Fraction(1, 10**digits)


def test_with_21_patients_no_order_statistic_has_ninety_per_cent_confidence():
    assert stats.beta(21, 1).sf(0.9) < 0.9 <= stats.beta(22, 1).sf(0.9)
    assert "is not claimed" in statement(21, chosen=False)
    assert "90% confidence over the draw of the 22" in statement(22, chosen=False)
    assert "certificate" not in statement(22, chosen=False)


@pytest.mark.parametrize("patients", [9, 21, 22, 100])
def test_patients_who_chose_the_weights_certify_nothing(patients):
    assert "no certificate is claimed" in statement(patients, chosen=True)
    assert "Each level holds on its own" in statement(patients, chosen=True)


def patient(rng, voxels=400):
    """Scores of a patient's voxels whose network is as wrong as the patient is unusual."""
    alpha, beta, truth = 50.0, rng.uniform(0.8, 3), rng.lognormal(0.3, 0.5)
    residual = stats.gennorm.rvs(beta, 0, truth * alpha, size=voxels, random_state=rng)
    return central_probability(np.zeros(voxels), np.full(voxels, alpha), np.full(voxels, beta), residual)


@pytest.mark.parametrize("patients", [9, 15])
def test_the_table_is_enough_for_ninety_per_cent_of_further_patients_on_average(patients):
    rng = np.random.default_rng(8)
    enough = dict.fromkeys((0.5, 0.9), 0)
    repeats = 500
    for _ in range(repeats):
        table = conformal_table(
            np.array([levels_needed(patient(rng, 60), (0.5, 0.9)) for _ in range(patients)]), (0.5, 0.9)
        )
        further = patient(rng, 60)
        for share, level in table.items():
            enough[share] += (further <= level).mean() >= share
    for count in enough.values():
        assert count / repeats > 0.9 - 3 * np.sqrt(0.9 * 0.1 / repeats)


def test_the_half_width_of_the_table_holds_the_share_of_voxels_it_states(rng):
    residual, alpha, beta = drawn(rng, 1.4, 20_000)
    (level,) = levels_needed(central_probability(np.zeros_like(residual), alpha, beta, residual), (0.9,))
    half_width = stats.gennorm.ppf((1 + level) / 2, beta, 0, alpha)
    assert (np.abs(residual) <= half_width).mean() == pytest.approx(0.9, abs=1e-3)
    assert level > 0.95  # errors that are larger than predicted ask for a higher level


# In a bundle, and on the way out of the engine


@pytest.fixture
def scaled(tiny_bundle) -> Bundle:
    """The tiny model with its last phase's α doubled."""
    content = json.loads((tiny_bundle.folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    section = {key: content["upgan"][key] for key in ("task", "spacing_mm")}
    metadata = {key: value for key, value in content.items() if key not in ("schema", "upgan")}
    section["calibration"] = made_calibration((0.7, 2.0))
    return write_bundle(tiny_bundle.folder.with_name("scaled"), seasoned_cascade(), metadata, section, "", "")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_alpha_and_sigma_leave_the_engine_scaled_and_nothing_else_changes_a_bit(tiny_bundle, scaled, precision):
    volume = Volume(blob(), np.diag([3.0, 2.0, 4.0, 1.0]))  # resampled in the plane
    plain, other = (
        InferenceEngine(bundle, "cpu", precision).translate(volume, phases="all") for bundle in (tiny_bundle, scaled)
    )
    for phase, factor in ((1, 0.7), (2, 2.0)):
        before, after = plain.phases[phase], other.phases[phase]
        np.testing.assert_array_equal(after.image, before.image)
        np.testing.assert_array_equal(after.beta, before.beta)
        np.testing.assert_allclose(after.alpha, factor * before.alpha, rtol=1e-6)
        np.testing.assert_allclose(after.sigma, factor * before.sigma, rtol=1e-6)
    np.testing.assert_array_equal(other.last.alpha, 2 * plain.last.alpha)


def test_the_provenance_has_the_factor_of_the_last_phase(tiny_bundle, scaled):
    volume = Volume(blob(), np.eye(4))
    found = [InferenceEngine(bundle, "cpu").translate(volume).provenance for bundle in (tiny_bundle, scaled)]
    assert [provenance["calibration"] for provenance in found] == [None, 2.0]
    json.dumps(found)


def test_a_calibration_comes_back_from_the_disk_as_it_was(scaled):
    found = Bundle.open(scaled.folder).metadata.upgan.calibration
    assert found == Calibration.model_validate(made_calibration((0.7, 2.0)))
    assert found.conformal == {0.5: 0.6, 0.9: None}


@pytest.mark.parametrize("scale", [(1.0,), (1.0, 1.0, 1.0), (1.0, 0.0), (1.0, float("nan")), ()])
def test_a_scale_that_does_not_fit_the_phases_is_refused(scaled, scale):
    path = scaled.folder / "configs" / "metadata.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["upgan"]["calibration"]["scale"] = scale
    path.write_text(json.dumps(content), encoding="utf-8")
    assert [problem.code for problem in problems(scaled.folder)] == ["metadata_invalid"]


def test_an_unknown_entry_of_a_calibration_is_refused():
    with pytest.raises(ValidationError):
        Calibration.model_validate(made_calibration(extra=1))


# Tissue by tissue, in HU

TRUE = {"calibrated": (1.0, 1.0, 1.0), "off in each": (1.7, 0.6, 1.2)}


def shown_and_missed(rng, factors, size=90_000, law=None):
    """Image, residual (HU), α, β: spread as predicted but for the factor of the tissue that the image shows."""
    image = rng.choice([-900.0, 40.0, 900.0], size) + rng.normal(0, 150, size)
    alpha, beta = rng.uniform(20, 300, size), rng.uniform(0.6, 3, size)
    spread = alpha * np.interp(image, [-400, -200, 100, 300], np.repeat(factors, 2)[1:-1])
    residual = stats.gennorm.rvs(beta, 0, spread, random_state=rng) if law is None else spread * law(size)
    return image, residual, alpha, beta


def held(image, residual, alpha, beta, levels=(0.9,)):
    """Share of each tissue within the intervals of these levels, [3, levels], by scipy's distribution."""
    central = 1 - 2 * stats.gennorm.sf(np.abs(residual), beta, 0, alpha)
    classes = image <= -300, (image > -300) & (image <= 200), image > 200
    return np.array([[(central[each] <= level).mean() for level in levels] for each in classes])


@pytest.mark.parametrize("factors", TRUE.values(), ids=TRUE)
def test_a_source_that_is_wrong_in_a_tissue_is_found_and_made_true_at_every_level(rng, factors):
    image, residual, alpha, beta = shown_and_missed(rng, factors)
    found = tissue_scales(residual, alpha, beta, image, np.arange(image.size) % 5, 1.0)
    assert found == pytest.approx(factors, rel=0.03)
    image, residual, alpha, beta = shown_and_missed(rng, factors)  # others than those it was fitted to
    right = np.all(np.equal(factors, 1))
    assert (np.abs(held(image, residual, alpha, beta) - 0.9) < 0.01).all() == right
    repaired = held(image, residual, blended(found, image) * alpha, beta, LEVELS)
    np.testing.assert_allclose(repaired, [LEVELS] * 3, atol=0.01)


def test_of_errors_of_another_shape_than_predicted_the_ninety_per_cent_intervals_are_true(rng):
    def heavy(size):
        return rng.standard_t(2, size)

    image, residual, alpha, beta = shown_and_missed(rng, (0.5, 1.0, 2.0), law=heavy)
    found = tissue_scales(residual, alpha, beta, image, np.zeros(image.size, dtype=int), 1.0)
    image, residual, alpha, beta = shown_and_missed(rng, (0.5, 1.0, 2.0), law=heavy)
    np.testing.assert_allclose(held(image, residual, blended(found, image) * alpha, beta), 0.9, atol=0.01)


@pytest.mark.parametrize("share", [0.45, 0.3, 0.01])
def test_a_tissue_that_lies_between_two_alone_keeps_a_factor(rng, share):
    """Near a limit half of the factor is the neighbour's: no own one is small enough, and none is no answer."""
    image = np.repeat([-900.0, 40.0, 0.0], 20_000)
    image[40_000:] = rng.uniform(205, 240, 20_000)  # bone as a blurred image shows it
    alpha, beta = np.full(image.size, 50.0), np.full(image.size, 2.0)
    factors = np.where(image > 200, share, 1.0)
    residual = stats.gennorm.rvs(beta, 0, factors * alpha, random_state=rng)
    found = tissue_scales(residual, alpha, beta, image, np.zeros(image.size, dtype=int), 1.0)
    assert found[1] == pytest.approx(1, rel=0.03)
    assert 0.5 * share * 0.97 < found[2] < share
    assert held(image, residual, blended(found, image) * alpha, beta)[2] >= 0.895


def test_a_patient_with_little_of_a_tissue_counts_as_much_as_one_with_a_lot():
    # β = 2 and α = √2: the 90 % interval ends at 1.645. One patient has errors of 1, the other of 2 in one voxel of 5.
    few, many = np.ones(500), np.ones(20_000)
    few[::5] = many[::4] = 2.0
    many[:] = np.where(np.arange(many.size) % 100 == 0, 2.0, 1.0)
    residual, patient = np.concatenate([few, many]), np.repeat([0, 1], [500, 20_000])
    alpha, beta, image = np.full(residual.size, 2**0.5), np.full(residual.size, 2.0), np.full(residual.size, 900.0)
    # Of the first 80 % are small, of the second 99 %: 89.5 % on average, which is less than nine tenths.
    found = tissue_scales(residual, alpha, beta, image, patient, 7.0)
    assert found == pytest.approx([7.0, 7.0, 2 / stats.norm.ppf(0.95)], rel=1e-3)
    # By voxels it would be 98.5 %; a patient with 99 voxels is none.
    found = tissue_scales(residual[401:], alpha[401:], beta[401:], image[401:], patient[401:], 7.0)
    assert found[2] == pytest.approx(1 / stats.norm.ppf(0.95), rel=1e-3)


@given(
    st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3),
    st.one_of(st.floats(-3000, 4000), st.floats(-400, -200), st.floats(100, 300)),
    st.floats(0, 50),
)
def test_the_factor_has_no_edge_anywhere_and_is_that_of_the_tissue_away_from_the_others(scales, value, step):
    here, there = blended(scales, np.array([value, value + step]))
    steepest = max(abs(scales[1] - scales[0]), abs(scales[2] - scales[1])) / 200  # HU from one tissue to the next
    assert abs(there - here) <= steepest * step * (1 + 1e-9) + 1e-9 * max(scales)
    assert min(scales) * (1 - 1e-9) <= here <= max(scales) * (1 + 1e-9)
    for scale, low, high in zip(scales, (-np.inf, -200, 300), (-400, 100, np.inf), strict=True):
        if low <= value <= high:
            assert here == scale


def of_tissues(scales=(0.5, 2.0, 3.0), **changes) -> list[dict]:
    made = {"patients": 3, "conformal": {0.9: None}, "note": "for tests", **changes}
    return [{**made, "tissue": name, "scale": s} for name, s in zip(("air", "soft", "bone"), scales, strict=True)]


def test_each_voxels_alpha_leaves_the_engine_with_the_factor_of_the_tissue_that_it_shows(identity_bundle):
    calibration = Calibration.model_validate(made_calibration((9.0,), tissues=of_tissues()))
    volume = Volume(blob(), np.diag([3.0, 2.0, 4.0, 1.0]))
    found = []
    for carried in (None, calibration):
        bundle = identity_bundle((4.0, 4.0), task=PET_TO_CT)
        section = bundle.metadata.upgan.model_copy(update={"calibration": carried})
        bundle = IdentityBundle(bundle.folder, bundle.metadata.model_copy(update={"upgan": section}), bundle.network)
        # From air to bone, and α that differs from voxel to voxel.
        bundle.network.phases = lambda a: iter([GeneralizedNormal(1.5 * a, 0.1 + a, torch.full_like(a, 2.0))])
        found.append(InferenceEngine(bundle, "cpu", "float32").translate(volume))
    plain, other = (translation.last for translation in found)
    np.testing.assert_array_equal(other.image, plain.image)
    np.testing.assert_array_equal(other.beta, plain.beta)
    factor = np.interp(plain.image.astype(float), [-400, -200, 100, 300], [0.5, 2.0, 2.0, 3.0])
    assert {0.5, 2.0, 3.0} <= set(factor.ravel())
    np.testing.assert_allclose(other.alpha, factor * plain.alpha, rtol=1e-5)
    np.testing.assert_allclose(other.sigma, factor * plain.sigma, rtol=1e-5)
    said = json.loads(json.dumps(found[1].provenance))["calibration"]
    assert [(name, each["scale"]) for name, each in said.items()] == [("air", 0.5), ("soft", 2.0), ("bone", 3.0)]


def test_earlier_phases_have_one_factor():
    calibration = Calibration.model_validate(made_calibration((0.7, 9.0), tissues=of_tissues()))
    assert set(calibration.factor(1, np.array([-900.0, 40.0, 900.0]))) == {np.float32(0.7)}


@pytest.mark.parametrize("tissues", [of_tissues()[:2], of_tissues()[::-1], of_tissues((1.0, 0.0, 1.0)), []])
def test_tissues_that_are_not_each_there_once_with_a_factor_are_refused(tissues):
    with pytest.raises(ValidationError):
        Calibration.model_validate(made_calibration(tissues=tissues))


def test_tissues_of_an_image_that_is_not_in_hu_are_refused(identity_bundle):
    section = identity_bundle().metadata.upgan.model_dump()  # arbitrary intensities
    with pytest.raises(ValidationError, match="tissues"):
        ModelSection.model_validate({**section, "calibration": made_calibration((1.0,), tissues=of_tissues())})
    ModelSection.model_validate({**section, "calibration": made_calibration((1.0,))})


# Measured through the engine


def test_a_small_patient_counts_as_much_as_a_large_one(identity_bundle, rng):
    engine = InferenceEngine(identity_bundle(), "cpu", "float32")
    pairs, mean_squares = [], []
    for radius, noise in ((6, 300.0), (19, 20.0)):
        _, j, i = np.indices((8, 48, 48))
        target = np.where((j - 24) ** 2 + (i - 24) ** 2 < radius**2, 1000.0, 0.0)
        source = Volume(np.maximum(target + rng.normal(0, noise, target.shape), 1), np.diag([-1.0, -1.0, 2.0, 1.0]))
        pairs.append(Pair("sub-001", source, Volume(target, source.ijk_to_ras), ""))
        mask = foreground_scope(target, np.ones(target.shape, dtype=bool)).mask
        maps = engine.translate(source).last
        mean_squares.append(np.square((target - maps.image)[mask] / maps.alpha[mask]).mean())
    found = calibrate(engine, iter(pairs), 2, chosen=False)
    # The identity has β = 2, where Σ 2(r/(sα))² = N.
    assert mean_squares[0] > 50 * mean_squares[1]
    assert found.scale[0] ** 2 == pytest.approx(2 * np.mean(mean_squares), rel=0.02)
    assert found.patients == 2
