"""How intensities meet the network: what becomes 1, what comes back, and what a site may declare."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from Engine.made_images import blob
from upgan.errors import InputError
from upgan.images.hounsfield import looks_like_hounsfield
from upgan.images.volume import Volume
from upgan.tasks import MR_TO_CT, MRI_MOTION, MRI_UNDERSAMPLED, PET_TO_CT, TASKS, Display, InputScale, OutputScale, Task

quick = settings(max_examples=60, deadline=None, derandomize=True)
shapes = st.tuples(*[st.integers(2, 9)] * 3)


def intensities(low: float = 0.0, high: float = 1e5):
    """Volumes with contrast and something above zero, other than those of a CT in HU: such are refused."""

    def is_taken(voxels: np.ndarray) -> bool:
        return voxels.max() > 1e-3 and voxels.min() < voxels.max() and not looks_like_hounsfield(voxels)

    return arrays(np.float32, shapes, elements=st.floats(low, high, width=32)).filter(is_taken)


def volume_of(voxels: np.ndarray, modality: str | None = None) -> Volume:
    return Volume(voxels, np.eye(4), modality)


def task_with(percentile=99.0, power=1.0, factor=1.0, offset=0.0, relative=False) -> Task:
    return PET_TO_CT.model_copy(
        update={
            "input": InputScale(percentile=percentile, power=power),
            "output": OutputScale(factor=factor, offset=offset, relative=relative),
        }
    )


def head(size: int = 48) -> np.ndarray:
    """A ball of tissue with two bright spots and noise, in air with a little noise; [K, J, I]."""
    rng = np.random.default_rng(4)
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, size)] * 3, indexing="ij")
    tissue = (k**2 + j**2 + i**2 < 0.8) * 100.0
    tissue += 150.0 * (((k - 0.3) ** 2 + j**2 + i**2 < 0.02) | ((k + 0.3) ** 2 + j**2 + i**2 < 0.02))
    return (tissue * rng.normal(1, 0.05, tissue.shape) + np.abs(rng.normal(0, 1, tissue.shape))).astype(np.float32)


# --- Input intensities ------------------------------------------------------------------------------------------------


def test_the_reference_is_the_percentile_of_what_is_brighter_than_half_the_mean():
    # By hand: the mean of 1…100 is 50.5, the foreground 26…100, and its median 63.
    voxels = np.zeros((2, 10, 10), np.float32)
    voxels[1] = np.arange(1, 101).reshape(10, 10)
    assert task_with(percentile=50).measure(volume_of(voxels).voxels).reference == 63
    assert task_with(percentile=100).measure(volume_of(voxels).voxels).reference == 100


@quick
@given(intensities(low=-1e5), st.floats(1, 100))
def test_the_reference_is_a_positive_intensity_of_the_image(voxels, percentile):
    reference = task_with(percentile=percentile).measure(volume_of(voxels).voxels).reference
    assert 0 < reference <= voxels.max()


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_air_around_the_head_hardly_moves_the_reference(task):
    voxels = head()
    air = np.abs(np.random.default_rng(5).normal(0, 1, [2 * size for size in voxels.shape])).astype(np.float32)
    padded = air.copy()
    padded[tuple(slice(size // 2, size // 2 + size) for size in voxels.shape)] = voxels
    tight, wide = (task.measure(volume_of(v).voxels).reference for v in (voxels, padded))
    assert wide == pytest.approx(tight, rel=0.05)
    # What it protects from: the same percentile of all voxels.
    assert abs(np.percentile(padded, 90) / np.percentile(voxels, 90) - 1) > 0.05


def test_the_reference_of_a_large_volume_is_that_of_all_its_voxels():
    voxels = np.random.default_rng(6).gamma(2.0, 50.0, (160, 180, 170)).astype(np.float32)  # sampled every second voxel
    foreground = voxels[voxels > voxels.mean() / 2]
    found = PET_TO_CT.measure(volume_of(voxels).voxels).reference
    assert found == pytest.approx(np.percentile(foreground, 99), rel=0.01)


@quick
@given(intensities(), st.sampled_from([2.0**-10, 0.5, 2.0**10]), st.sampled_from([0.5, 1.0, 2.0]))
def test_the_unit_of_the_input_does_not_matter(voxels, factor, power):
    # Powers of two, so that no voxel crosses the foreground's threshold by rounding.
    scaled = voxels * np.float32(factor)
    task = task_with(power=power)
    expected = task.measure(volume_of(voxels).voxels).normalise(voxels)
    found = task.measure(volume_of(scaled).voxels).normalise(scaled)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_thousand_times_brighter_head_looks_the_same_to_the_network():
    voxels = head()
    for task in TASKS.values():
        expected = task.measure(volume_of(voxels).voxels).normalise(voxels)
        bright = voxels * np.float32(1000)
        np.testing.assert_allclose(task.measure(volume_of(bright).voxels).normalise(bright), expected, rtol=1e-5)


@pytest.mark.parametrize("factor", [1e-35, 1e35])
def test_intensities_near_the_limits_of_float32_calibrate_too(factor):
    voxels = head() * np.float32(factor)
    found = PET_TO_CT.measure(volume_of(voxels).voxels).normalise(voxels)
    np.testing.assert_allclose(found, PET_TO_CT.measure(volume_of(head()).voxels).normalise(head()), rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_the_type_of_the_voxels_does_not_matter(dtype):
    voxels = np.rint(blob())
    found = PET_TO_CT.measure(volume_of(voxels.astype(dtype)).voxels)
    assert found.reference == pytest.approx(PET_TO_CT.measure(volume_of(voxels).voxels).reference)
    normalised = found.normalise(voxels.astype(dtype))
    assert normalised.dtype == np.float32
    np.testing.assert_allclose(normalised, np.sqrt(voxels / found.reference), rtol=1e-5)


def test_pet_is_seen_through_a_square_root_and_mri_as_it_is():
    voxels = blob()
    for task, power in ((PET_TO_CT, 0.5), (MRI_MOTION, 1), (MRI_UNDERSAMPLED, 1)):
        mapping = task.measure(volume_of(voxels).voxels)
        found = mapping.normalise(np.array([0, 0.25, 1, 4], np.float32) * mapping.reference)
        np.testing.assert_allclose(found, np.array([0, 0.25, 1, 4]) ** power, rtol=1e-6)


@quick
@given(intensities(low=-1e5), st.floats(0.1, 4))
def test_normalised_intensities_are_finite_ordered_and_never_negative(voxels, power):
    found = task_with(power=power).measure(volume_of(voxels).voxels).normalise(voxels)
    assert np.isfinite(found).all()
    assert found.min() >= 0
    order = np.argsort(voxels, axis=None)
    assert (np.diff(found.ravel()[order]) >= 0).all()
    assert (found[voxels <= 0] == 0).all()


# --- Output intensities -----------------------------------------------------------------------------------------------


def test_network_zero_is_air_and_one_is_water():
    mapping = PET_TO_CT.measure(volume_of(blob()).voxels)
    np.testing.assert_array_equal(mapping.denormalise(np.array([0, 1, 2], np.float32)), [-1000, 0, 1000])
    np.testing.assert_array_equal(mapping.normalise_target(np.array([-1000, 0, 1000])), [0, 1, 2])


def test_an_offset_does_not_move_a_scale():
    mapping = PET_TO_CT.measure(volume_of(blob()).voxels)
    np.testing.assert_array_equal(mapping.denormalise_scale(np.array([0, 0.05], np.float32)), [0, np.float32(50)])


@quick
@given(
    arrays(np.float32, shapes, elements=st.floats(-3000, 3000, width=32)),
    st.floats(0.1, 5000),
    st.floats(-2000, 2000),
    st.booleans(),
)
def test_what_is_normalised_for_training_comes_back(target, factor, offset, relative):
    mapping = task_with(factor=factor, offset=offset, relative=relative).measure(volume_of(blob()).voxels)
    back = mapping.denormalise(mapping.normalise_target(target))
    assert back.dtype == np.float32
    # One rounding of the target and one of the offset.
    np.testing.assert_allclose(back, target, rtol=1e-6, atol=1e-6 * (3000 + abs(offset)))


@quick
@given(st.floats(1e-3, 1e6), st.sampled_from([MRI_MOTION, MRI_UNDERSAMPLED]))
def test_a_restored_image_is_in_the_unit_of_the_input(scale, task):
    voxels = blob() * np.float32(scale / 100)
    mapping = task.measure(volume_of(voxels).voxels)
    # A network that hands its input through gives the input back, and α and σ are in that unit too.
    np.testing.assert_allclose(mapping.denormalise(mapping.normalise(voxels)), voxels, rtol=1e-5)
    assert float(mapping.denormalise_scale(np.float32(0.1))) == pytest.approx(0.1 * mapping.reference, rel=1e-5)
    np.testing.assert_allclose(mapping.normalise_target(voxels), mapping.normalise(voxels), rtol=1e-5)


def test_the_output_of_a_ct_does_not_depend_on_the_brightness_of_the_pet():
    dim, bright = (PET_TO_CT.measure(volume_of(blob() * np.float32(scale)).voxels) for scale in (1, 1000))
    image = np.linspace(0, 3, 7, dtype=np.float32)
    np.testing.assert_array_equal(dim.denormalise(image), bright.denormalise(image))


# --- Images that do not fit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("voxels", "code", "words"),
    [
        (np.full((3, 4, 5), 2.5), "constant_image", "(2.5)"),
        (np.zeros((3, 4, 5)), "constant_image", "(0)"),
        (-blob((3, 4, 5)), "no_signal", "above zero"),
        (40 * blob((3, 4, 5)) - 1000, "input_is_ct", "looks like a CT in HU"),
    ],
)
@pytest.mark.parametrize("task", [PET_TO_CT, MR_TO_CT, MRI_UNDERSAMPLED, MRI_MOTION])
def test_images_without_contrast_or_signal_and_cts_are_refused(task, voxels, code, words):
    with pytest.raises(InputError) as refusal:
        task.measure(volume_of(voxels).voxels)
    assert refusal.value.code == code
    assert words in refusal.value.sentence
    assert refusal.value.remedy.endswith(".")


@pytest.mark.parametrize("modality", ["PT", None])
def test_an_image_that_fits_or_does_not_say_what_it_is_gives_no_warning(modality):
    assert PET_TO_CT.misfits(volume_of(blob(), modality)) == []


@pytest.mark.parametrize(("task", "modality"), [(PET_TO_CT, "MR"), (PET_TO_CT, "CT"), (MRI_MOTION, "PT")])
def test_another_modality_is_said_in_one_sentence(task, modality):
    (sentence,) = task.misfits(volume_of(blob(), modality))
    assert f"marked as {modality}" in sentence
    assert f"translates {task.input_modality} images." in sentence


def test_clearly_negative_voxels_are_said_with_their_share():
    voxels = blob((10, 10, 10)) + 1
    voxels[:3] = -1000  # a CT's air
    (sentence,) = PET_TO_CT.misfits(volume_of(voxels))
    assert sentence.startswith("30% of the voxels")
    assert sentence.endswith(".")
    assert len(PET_TO_CT.misfits(volume_of(voxels, "CT"))) == 2


def test_a_little_ringing_below_zero_is_no_misfit():
    voxels = blob((10, 10, 10)) + 1
    voxels[:3] -= 4  # a few percent of the brightest
    voxels[0, 0, :5] = -100  # and a few voxels
    assert PET_TO_CT.misfits(volume_of(voxels)) == []


# --- Tasks as data ----------------------------------------------------------------------------------------------------

OF_A_SITE = {
    "name": "flair_to_pet",
    "title": "FLAIR → amyloid PET",
    "input_modality": "MR",
    "output_modality": "PT",
    "image_key": "pseudo_pet",
    "image_name": "pseudo-PET",
    "unit": "SUVr",
    "input": {"percentile": 95.0, "power": 0.7},
    "output": {"factor": 2.5, "offset": 0.1, "relative": False},
    "display": {"window": 3, "level": 1.5, "sigma_threshold": 0.1, "sigma_max": 1, "alpha_max": 1},
}


def test_a_site_declares_a_task_in_json_and_it_works():
    task = Task.model_validate_json(json.dumps(OF_A_SITE))
    assert Task.model_validate_json(task.model_dump_json()) == task
    voxels = head()
    mapping = task.measure(volume_of(voxels).voxels)
    assert mapping.reference == pytest.approx(np.percentile(voxels[voxels > voxels.mean() / 2], 95), rel=1e-5)
    np.testing.assert_allclose(mapping.normalise(np.full(2, mapping.reference / 2, np.float32)), 0.5**0.7, rtol=1e-5)
    np.testing.assert_allclose(mapping.denormalise(np.array([0, 2], np.float32)), [0.1, 5.1], rtol=1e-6)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_built_in_tasks_survive_json_unchanged(task):
    assert Task.model_validate_json(task.model_dump_json()) == task
    assert TASKS[task.name] is task


@quick
@given(st.floats(1, 100), st.floats(0.1, 4), st.floats(1e-6, 1e9), st.floats(-1e9, 1e9))
def test_any_valid_scaling_survives_json_to_the_last_bit(percentile, power, factor, offset):
    task = task_with(percentile, power, factor, offset)
    assert Task.model_validate_json(task.model_dump_json()) == task


@pytest.mark.parametrize("section", [None, "input", "output", "display"])
def test_a_key_nobody_knows_is_refused_by_name(section):
    content = json.loads(json.dumps(OF_A_SITE))
    (content if section is None else content[section])["windw"] = 1
    with pytest.raises(ValidationError, match="windw"):
        Task.model_validate_json(json.dumps(content))


@pytest.mark.parametrize("key", ["name", "input_modality", "output", "display", "unit"])
def test_a_missing_key_is_refused_by_name(key):
    content = {name: value for name, value in OF_A_SITE.items() if name != key}
    with pytest.raises(ValidationError, match=key):
        Task.model_validate_json(json.dumps(content))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("name",), "FLAIR to PET"),
        (("name",), "../../etc"),
        (("image_key",), "pseudo/pet"),
        (("image_key",), ""),
        (("input_modality",), "US"),
        (("input", "percentile"), 0),
        (("input", "percentile"), 101),
        (("input", "power"), 0),
        (("output", "factor"), 0),
        (("output", "factor"), -1),
        (("display", "window"), 0),
        (("display", "sigma_max"), 0),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(where, value):
    content = json.loads(json.dumps(OF_A_SITE))
    section = content
    for key in where[:-1]:
        section = section[key]
    section[where[-1]] = value
    with pytest.raises(ValidationError, match=where[-1]):
        Task.model_validate_json(json.dumps(content))


def test_a_task_cannot_be_changed_once_it_is_made():
    with pytest.raises(ValidationError):
        PET_TO_CT.name = "other"
    with pytest.raises(ValidationError):
        PET_TO_CT.input.power = 1.0


def test_display_hints_fit_what_they_show():
    for task in TASKS.values():
        assert isinstance(task.display, Display)
        assert task.display.sigma_threshold < task.display.sigma_max


def test_a_thin_structure_between_the_sampled_voxels_is_not_taken_for_a_constant_image():
    voxels = np.zeros((160, 160, 160), dtype=np.float32)
    voxels[1, 1, :] = 5.0
    assert PET_TO_CT.measure(voxels).reference == pytest.approx(5.0)
