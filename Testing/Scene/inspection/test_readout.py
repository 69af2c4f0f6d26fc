"""What is read at a point of the world, phase by phase."""

import math

import numpy as np
import pytest
from scipy import stats

from Scene.conftest import SHEARED, SLICER_IS_ABSENT

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)

from Scene.inspected import (  # noqa: E402
    BY_TISSUE,
    add_input,
    add_result,
    add_run,
    enough_by_hand,
    random_phases,
    set_provenance,
)
from Scene.sequences import watch_sequences  # noqa: E402
from UncertaintyGuidedI2ILib.inspection.overlays import Overlay  # noqa: E402
from UncertaintyGuidedI2ILib.inspection.readout import readingsAt, voxelAt  # noqa: E402
from UncertaintyGuidedI2ILib.scene.phases import collectPhases, selectPhase  # noqa: E402
from UncertaintyGuidedI2ILib.scene.results import resultOf  # noqa: E402

OVERLAY = Overlay("probability", level=0.8, threshold=120)
# A voxel (i, j, k) that differs from its mirror images, and where it lies.
IJK = np.array([4, 1, 2])
RAS = (SHEARED @ [*IJK, 1])[:3]


@pytest.fixture
def pet(mrml_scene):
    return add_input(mrml_scene, SHEARED)


@pytest.fixture
def phases(rng):
    return random_phases(rng)


def test_every_phase_is_read_at_the_voxel(app, pet, phases):
    logic = watch_sequences(app)
    nodes = add_run(pet, phases)
    collectPhases(nodes)
    result = resultOf(nodes[3]["image"])
    selectPhase(result, 2)
    assert logic.GetMRMLScene() is app.scene
    readings = readingsAt(resultOf(nodes[3]["image"]), RAS, OVERLAY)
    assert [reading.phase for reading in readings] == [1, 2, 3]
    for reading in readings:
        maps = phases[reading.phase]
        image, alpha, beta, sigma = (float(maps[name][2, 1, 4]) for name in ("image", "alpha", "beta", "sigma"))
        truth = stats.gennorm(beta, image, alpha)
        found = (reading.image, reading.alpha, reading.beta, reading.sigma)
        np.testing.assert_allclose(found, (image, alpha, beta, sigma))
        np.testing.assert_allclose((reading.low, reading.high), truth.interval(0.8), rtol=1e-4, atol=0.05)
        np.testing.assert_allclose(reading.probability, truth.sf(120), atol=1e-5)


def test_the_epistemic_map_is_read_of_the_last_phase_alone(app, pet, phases, rng):
    logic = watch_sequences(app)
    epistemic = rng.uniform(0, 100, phases[3]["image"].shape).astype(np.float32)
    nodes = add_run(pet, {**phases, 3: {**phases[3], "epistemic": epistemic}})
    collectPhases(nodes)
    assert logic.GetMRMLScene() is app.scene
    readings = readingsAt(resultOf(nodes[3]["image"]), RAS, OVERLAY)
    assert [math.isnan(reading.epistemic) for reading in readings] == [True, True, False]
    assert readings[2].epistemic == pytest.approx(float(epistemic[2, 1, 4]))


@pytest.mark.parametrize("shown", [-900.0, -310.0, 40.0, 260.0, 900.0])
def test_the_interval_that_is_enough_is_that_of_the_tissue_which_the_voxel_shows(pet, phases, shown):
    phases[1]["image"][2, 1, 4] = shown
    result = add_result(pet, phases[1])
    assert math.isnan(readingsAt(result, RAS, OVERLAY)[0].enough)
    set_provenance(result, calibration=BY_TISSUE, phases=1)
    (reading,) = readingsAt(result, RAS, OVERLAY)
    values = [np.array([getattr(reading, name)]) for name in ("image", "alpha", "beta")]
    assert reading.enough == pytest.approx(enough_by_hand(values, "0.8")[0], rel=1e-4)


@pytest.mark.parametrize(
    "said",
    [
        {"phases": 2},
        {"familiarity": {"is_unlike": True}},
        {"calibration": 1.2},
        {"calibration": {**BY_TISSUE, "bone": {"scale": "thick"}}},
        {"calibration": {"air": BY_TISSUE["air"]}},
        {"calibration": {name: {**each, "conformal": {"0.8": None}} for name, each in BY_TISSUE.items()}},
    ],
    ids=["an earlier phase", "unlike", "one factor", "nonsense", "a tissue alone", "too few patients"],
)
def test_no_interval_is_said_to_be_enough_where_the_model_does_not_claim_it(pet, phases, said):
    result = add_result(pet, phases[1])
    set_provenance(result, **{"calibration": BY_TISSUE, "phases": 1, **said})
    (reading,) = readingsAt(result, RAS, OVERLAY)
    assert math.isnan(reading.enough)
    # Of an unlike image not even the model's own is shown.
    assert math.isnan(reading.low) == ("familiarity" in said)


def test_below_the_threshold_is_the_rest(pet, phases):
    result = add_result(pet, phases[1])
    (above,) = readingsAt(result, RAS, OVERLAY)
    (below,) = readingsAt(result, RAS, Overlay("probability", threshold=120, above=False))
    assert above.probability + below.probability == pytest.approx(1)


def test_parent_transforms_count(pet, phases, mrml_scene):
    result = add_result(pet, phases[1])
    transform = mrml_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    turn = np.array([[0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1.0]])
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turn))
    for node in result.nodes.values():
        node.SetAndObserveTransformNodeID(transform.GetID())
    (reading,) = readingsAt(result, (turn @ [*RAS, 1])[:3], OVERLAY)
    assert reading.image == pytest.approx(float(phases[1]["image"][2, 1, 4]))


def test_the_nearest_voxel_counts_and_the_volume_ends_half_a_voxel_outside(pet, phases):
    node = add_result(pet, phases[1]).nodes["image"]

    def at(i, j, k):
        return voxelAt(node, (SHEARED @ [i, j, k, 1])[:3])

    assert at(4.4, 1.4, 1.6) == (2, 1, 4)
    assert at(-0.4, 0, 0) == (0, 0, 0)
    assert at(5.4, 4.4, 3.4) == (3, 4, 5)
    for outside in ((-0.6, 0, 0), (5.6, 0, 0), (0, 4.6, 0), (0, 0, 3.6), (0, 0, -0.6)):
        assert at(*outside) is None
    assert readingsAt(resultOf(node), (1e6, 0, 0), OVERLAY) is None


def test_an_extent_that_does_not_start_at_zero_is_read_where_it_lies(pet, phases):
    node = add_result(pet, phases[1]).nodes["image"]
    node.GetImageData().SetExtent(2, 7, 1, 5, 3, 6)
    assert voxelAt(node, (SHEARED @ [2 + 4, 1 + 1, 3 + 2, 1])[:3].tolist()) == (2, 1, 4)


def test_maps_that_are_gone_are_no_numbers_and_sigma_follows_from_the_others(pet, phases, mrml_scene):
    result = add_result(pet, phases[1])
    mrml_scene.RemoveNode(result.nodes["sigma"])
    (reading,) = readingsAt(resultOf(result.nodes["image"]), RAS, OVERLAY)
    assert reading.sigma == pytest.approx(float(phases[1]["sigma"][2, 1, 4]), rel=1e-5)
    mrml_scene.RemoveNode(result.nodes["beta"])
    (reading,) = readingsAt(resultOf(result.nodes["image"]), RAS, OVERLAY)
    assert math.isfinite(reading.image)
    assert all(math.isnan(value) for value in (reading.beta, reading.sigma, reading.low, reading.probability))
