"""Whether an image was like the training data, as its result says, and what is withheld where it was not."""

import math

import numpy as np
import pytest

from Scene.conftest import SHEARED, SLICER_IS_ABSENT

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)

from Scene.inspected import UNLIKE, add_input, add_result, random_phases  # noqa: E402
from UncertaintyGuidedI2ILib.inspection.overlays import Overlay  # noqa: E402
from UncertaintyGuidedI2ILib.inspection.readout import readingsAt  # noqa: E402
from UncertaintyGuidedI2ILib.inspection.statistics import statisticsOf  # noqa: E402
from UncertaintyGuidedI2ILib.scene.familiarity import Familiarity  # noqa: E402

LIKE = {**UNLIKE, "is_unlike": False}


@pytest.fixture
def add(mrml_scene, rng):
    """Add a result whose nodes say this of its input."""
    maps = random_phases(rng, 1)[1]
    return lambda stated: add_result(add_input(mrml_scene, SHEARED), maps, familiarity=stated)


def verdict(result):
    (found,) = {Familiarity.of(node) for node in result.nodes.values()}
    return found


def test_the_verdict_is_that_of_the_run(add):
    assert verdict(add(UNLIKE)) == (True, UNLIKE["sentence"])
    assert verdict(add(LIKE)) == (False, UNLIKE["sentence"])
    assert verdict(add({**UNLIKE, "is_unlike": None})) == (None, UNLIKE["sentence"])


@pytest.mark.parametrize("stated", [None, "no JSON", "[1]", "{}", '{"is_unlike": "yes", "sentence": 3}'])
def test_what_makes_no_sense_is_no_verdict(stated, add):
    assert verdict(add(stated)) == (None, "")


@pytest.mark.parametrize(("stated", "withheld"), [(UNLIKE, True), (LIKE, False), (None, False)])
def test_of_an_unlike_image_no_interval_of_a_level_is_shown(stated, withheld, add):
    result = add(stated)
    (reading,) = readingsAt(result, (SHEARED @ [4, 1, 2, 1])[:3].tolist(), Overlay("probability"))
    shape = slicer.util.arrayFromVolume(result.nodes["sigma"]).shape
    (row,) = statisticsOf(result, {"all": np.ones(shape, bool)}, 0.9)
    assert [math.isnan(value) for value in (reading.low, reading.high, row.width)] == [withheld] * 3
    assert Overlay("interval_width").isWithheldIn(result) is withheld
    # The model's own statement stays.
    assert all(math.isfinite(value) for value in (reading.sigma, reading.probability, row.mean))
    assert not Overlay("sigma").isWithheldIn(result)
