"""Distances against scipy's Mahalanobis, limits against the t table and against draws, verdicts against both."""

import json

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial import distance

from upgan.bundles.metadata import ModelSection
from upgan.errors import InputError
from upgan.tasks import PET_TO_CT
from upgan.uncertainty.familiarity import (
    FEWEST_PIXELS,
    Familiarity,
    Limits,
    SliceFeatures,
    prediction_limit,
)

RNG = np.random.default_rng(8)
MIXING = RNG.normal(size=(4, 4))


def drawn(slices: int, shift: float = 0.0, pixels: float = 500.0) -> SliceFeatures:
    """Slices of correlated features of very different sizes, away from the training's by so much in each."""
    means = (RNG.normal(size=(slices, 4)) + shift) @ MIXING * [1, 10, 0.1, 1000]
    return SliceFeatures(means.astype(np.float32), np.full(slices, pixels))


TRAINING = [drawn(50) for _ in range(20)]
KNOWN = Familiarity.measure(TRAINING)
LIMITED = KNOWN.model_copy(update={"limits": Limits(subjects=5, features=1.3, flip=0.2)})


def test_distances_are_those_of_mahalanobis_over_the_root_of_the_number_of_features():
    training, further = np.concatenate([volume.means for volume in TRAINING]), drawn(30, shift=0.5).means
    inverse = np.linalg.inv(np.cov(training, rowvar=False) + 1e-3 * np.diag(training.var(axis=0, ddof=1)))
    expected = [distance.mahalanobis(one, training.mean(axis=0), inverse) / 2 for one in further]
    np.testing.assert_allclose(KNOWN.distances(further), expected, rtol=1e-3)
    assert np.sqrt(np.square(KNOWN.distances(training)).mean()) == pytest.approx(1, abs=5e-3)
    assert (KNOWN.distances(training) > KNOWN.distance_99).mean() == pytest.approx(0.01, abs=1e-3)
    assert (KNOWN.volumes, KNOWN.slices) == (20, 1000)


def test_a_volume_is_the_geometric_mean_of_its_slices_and_its_pixels_count():
    volume = drawn(3)
    pixels = np.array([100.0, 300.0, FEWEST_PIXELS - 1.0])  # too little of the object in the last
    one, two, _ = KNOWN.distances(volume.means)
    assert KNOWN.score(SliceFeatures(volume.means, pixels)) == pytest.approx((one * two**3) ** 0.25)
    assert KNOWN.score(SliceFeatures(volume.means, np.zeros(3))) is None


def test_a_limit_is_that_of_the_t_table():
    t = 3.747  # 99 %, one-sided, four degrees: any table
    expected = np.exp(2 + t * np.sqrt(2.5) * np.sqrt(1 + 1 / 5))
    assert prediction_limit(np.exp([0, 1, 2, 3, 4])) == pytest.approx(expected, rel=1e-3)
    assert prediction_limit([1.0, 1.0, 1.0]) == 1
    assert prediction_limit([1.0, 2.0]) is None


def test_one_of_a_hundred_further_subjects_is_beyond_the_limit():
    subjects = np.exp(0.2 * RNG.normal(size=(2000, 6)))
    beyond = np.mean([further > prediction_limit(held_out) for *held_out, further in subjects])
    assert beyond == pytest.approx(0.01, abs=0.007)  # three standard errors


@pytest.mark.parametrize(
    ("shift", "flip", "is_unlike"),
    [(0.0, None, False), (0.0, 0.19, False), (0.0, 0.21, True), (3.0, None, True), (3.0, 0.19, True)],
)
def test_a_verdict_is_that_of_any_score_beyond_its_limit(shift, flip, is_unlike):
    verdict = LIMITED.verdict(drawn(40, shift), flip)
    assert verdict.is_unlike is is_unlike
    told = json.loads(json.dumps(verdict.to_json()))
    assert told["limits"] == {"features": 1.3, "flip": 0.2}
    assert told["scores"]["flip"] == flip
    assert (told["scores"]["features"] > 1.3) is (shift > 0)
    assert ("100% of its slices" in told["sentence"]) is (shift > 0)


def test_without_limits_or_an_object_there_is_no_verdict():
    few = KNOWN.with_limits([1.0, 1.1], [])
    assert few.limits is None
    assert few.verdict(drawn(40, 3.0), 5.0).is_unlike is None
    assert LIMITED.verdict(drawn(40, 3.0, pixels=5.0)).is_unlike is None
    enough = KNOWN.with_limits([1.0, 1.1, 1.2], [])
    assert (enough.limits.subjects, enough.limits.flip) == (3, None)
    with pytest.raises(InputError, match="object"):
        Familiarity.measure([drawn(5, pixels=5.0)])


def test_few_slices_and_features_that_never_vary_make_distances_all_the_same():
    volume = drawn(3)
    volume.means[:, 2] = 7
    known = Familiarity.measure([volume])
    assert np.isfinite(known.distances(drawn(5).means)).all()


def test_slices_that_are_alike_but_for_rounding_have_a_covariance_with_an_inverse():
    one = drawn(1).means
    alike = np.concatenate([one * np.float32(1 + n * 1e-7) for n in range(40)])
    known = Familiarity.measure([SliceFeatures(alike, np.full(40, 500.0))])
    assert np.isfinite(known.distances(drawn(5).means)).all()


def test_a_bundle_has_it_in_a_few_kilobytes_and_reads_it_back():
    wide = Familiarity.measure([SliceFeatures(RNG.normal(size=(300, 32)), np.full(300, 500.0))])
    text = wide.model_dump_json()
    assert len(text) < 8000
    assert Familiarity.model_validate_json(text) == wide


@pytest.mark.parametrize(
    "change",
    [
        {"mean": KNOWN.mean[:3]},
        {"covariance": [*KNOWN.covariance[:3], (0.0, 0.0, 0.0, -1.0)]},
        {"covariance": [*KNOWN.covariance[:3], (0.0, 0.0, float("nan"), 1.0)]},
        {"distance_99": 0.0},
        {"limits": {"subjects": 5, "features": -1.0}},
    ],
    ids=str,
)
def test_what_is_no_covariance_or_no_limit_is_refused(change):
    with pytest.raises(ValidationError):
        Familiarity.model_validate(KNOWN.model_dump() | change)


def test_features_are_as_many_as_the_network_has():
    def section(width):
        sizes = {"name": "up-gan", "phases": 1, "width": width}
        content = {"task": PET_TO_CT, "spacing_mm": (2, 2), "sha256": {}, "familiarity": KNOWN.model_dump()}
        return ModelSection.model_validate({"format": 2, "architecture": sizes, **content})

    assert section(2).familiarity == KNOWN
    with pytest.raises(ValidationError, match="6 features"):
        section(3)
