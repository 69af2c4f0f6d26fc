"""Measured lines put back: exactly those on the acquired pixels, in each phase, and nothing else changed."""

import json
import zipfile

import numpy as np
import pytest

from Engine.conftest import seasoned_cascade, write_tiny
from upgan.errors import DeviceError, InputError
from upgan.images.orientation import Reorientation
from upgan.images.volume import Volume
from upgan.inference.consistency import Consistency
from upgan.inference.engine import InferenceEngine
from upgan.inference.ensemble import Ensemble
from upgan.inference.measurement import Measurement, read_measurement
from upgan.inference.undersampling import Sampling, coil_image, measure_coils, measure_volume, undersampled
from upgan.simulation.kspace import MASKS, root_sum_of_squares, to_image, to_kspace
from upgan.tasks import MRI_UNDERSAMPLED

AFFINE = np.array([[0, 0, 2.5, -20], [-1.8, 0, 0, 30], [0, -2.2, 0, 40], [0, 0, 0, 1.0]])  # axes P, I, R


def head(shape=(7, 22, 27)) -> Volume:
    k, j, i = np.indices(shape)
    middle = [(size - 1) / 2 for size in shape]
    inside = sum(((x - c) / (0.4 * s)) ** 2 for x, c, s in zip((k, j, i), middle, shape, strict=True)) < 1
    texture = np.random.default_rng(0).random(shape)
    return Volume((inside * (400 + 300 * texture)).astype(np.float32), AFFINE, "MR")


@pytest.fixture
def restorer(tmp_path):
    """An untrained model of two phases with pixels of its own."""
    (tmp_path / "models").mkdir(exist_ok=True)
    return write_tiny(tmp_path / "models" / "restorer", seasoned_cascade(), task=MRI_UNDERSAMPLED.model_dump())


def slices_of(volume: Volume, plane: str) -> np.ndarray:
    return Reorientation.of(volume.ijk_to_ras, plane).apply(volume.voxels)


@pytest.mark.parametrize(
    ("kind", "axis", "plane", "from_input"),
    [
        ("random_4x", "rows", "axial", False),
        ("central_lines", "columns", "coronal", True),
        ("central_block", "rows", "sagittal", True),
    ],
)
def test_the_measured_lines_of_every_phase_are_the_measured_ones(tmp_path, kind, axis, plane, from_input):
    volume = head()
    restorer = write_tiny(
        tmp_path / "restorer", seasoned_cascade(from_input=from_input), task=MRI_UNDERSAMPLED.model_dump()
    )
    measurement = measure_volume(volume, Sampling(kind, axis, plane, seed=3))
    given = undersampled(volume, measurement)
    engine = InferenceEngine(restorer, "cpu", "float32")
    made = engine.translate(given, plane=plane, phases="all", measured=measurement)
    without = engine.translate(given, plane=plane, phases="all")
    for phase, maps in made.phases.items():
        spectrum = to_kspace(slices_of(Volume(maps.image, AFFINE), plane).astype(float))
        lines = measurement.lines[0]
        difference = abs(spectrum - lines)[..., measurement.mask].max()
        assert difference < 1e-5 * abs(lines).max()
        assert (
            abs(to_kspace(slices_of(Volume(without.phases[phase].image, AFFINE), plane)) - lines)[
                ..., measurement.mask
            ].max()
            > 0.01 * abs(lines).max()
        )
    # σ of the first phase is the network's; the second has seen another image.
    np.testing.assert_array_equal(made.phases[1].alpha, without.phases[1].alpha)
    assert not np.array_equal(made.phases[2].alpha, without.phases[2].alpha)
    said = json.loads(json.dumps(made.provenance["data_consistency"]))
    assert said["sigma"] == "unchanged"
    assert said["measured_share"] == pytest.approx(measurement.mask.mean())
    assert said["phases"]["2"]["deviation"] < 1e-6 < said["phases"]["2"]["deviation_of_the_network"]
    assert "data_consistency" not in without.provenance


def test_a_real_image_gets_no_further_from_the_truth_by_any_mask():
    truth, rng = slices_of(head(), "axial").astype(float), np.random.default_rng(0)
    made_up = truth + 100 * rng.normal(size=truth.shape)
    for kind in MASKS:
        measurement = measure_volume(head(), Sampling(kind, "columns"))
        consistency = Consistency(measurement, measurement.zero_filled(), "axial")
        found = consistency.applied(1, 0, made_up)
        before, after = (((image - truth) ** 2).sum(axis=(1, 2)) for image in (made_up, found))
        assert (after < before).all()


def test_all_of_k_space_leaves_nothing_to_the_network():
    volume = head()
    measurement = measure_volume(volume, Sampling("central_lines"))
    whole = Measurement(
        to_kspace(slices_of(volume, "axial"))[None], np.ones_like(measurement.mask), "axial", is_real=True
    )
    consistency = Consistency(whole, whole.zero_filled(), "axial")
    slices = slices_of(volume, "axial")
    np.testing.assert_allclose(consistency.applied(1, 0, np.zeros(slices.shape)), slices, atol=1e-3)


def coils(shape=(30, 33)) -> np.ndarray:
    """K-space of three coils that see a square, each with a phase of its own."""
    rows, columns = np.indices(shape) / 30
    image = np.zeros(shape)
    image[8:22, 9:25] = 100 + 50 * np.random.default_rng(0).random((14, 16))
    seen = [np.exp(-((rows - y) ** 2) - (columns - x) ** 2 + 1j * (y * rows + x)) for y, x in ((0, 0), (1, 0), (0, 1))]
    return to_kspace(image * np.array(seen))


def test_each_coil_has_its_measured_lines_and_the_magnitude_is_said_to_have_none():
    kspace = coils()
    measurement = measure_coils(kspace, Sampling("random_4x"))
    reference = root_sum_of_squares(to_image(kspace))[None].repeat(2, 0)
    consistency = Consistency(measurement, measurement.zero_filled(), "axial")
    # Two thirds of what the network made of it is true.
    made_up = 0.67 * reference + 0.33 * reference[:, ::-1]
    found = consistency.applied(1, 0, made_up)
    assert ((found - reference) ** 2).sum() < ((made_up - reference) ** 2).sum()
    said = consistency.to_json()
    assert (said["is_real"], said["coils"]) == (False, 3)
    assert 0 < said["phases"]["1"]["deviation"] < said["phases"]["1"]["deviation_of_the_network"]


def test_a_full_k_space_of_coils_is_the_reference():
    kspace = coils()
    whole = Measurement(kspace[:, None], np.ones(kspace.shape[1:], dtype=bool), "axial", is_real=False)
    reference = root_sum_of_squares(to_image(kspace))[None]
    np.testing.assert_allclose(Consistency(whole, reference, "axial").applied(1, 0, 0 * reference + 1), reference, 1e-5)


def test_lines_in_another_unit_are_scaled_to_the_images():
    volume = head()
    measurement = measure_volume(volume, Sampling("random_4x"))
    slices = measurement.zero_filled()
    assert Consistency(measurement, slices, "axial").scale == 1
    assert Consistency(measurement, np.round(slices / 4), "axial").scale == pytest.approx(0.25, rel=1e-3)


def test_what_does_not_belong_together_is_refused(restorer, tiny_bundle):
    volume = head()
    measurement = measure_volume(volume, Sampling("random_4x"))
    given = undersampled(volume, measurement)
    for bundle, image, plane, code in (
        (restorer, volume, None, "other_measurement"),  # The clean image.
        (restorer, Volume(given.voxels[:, :, :-1], AFFINE, "MR"), None, "other_measurement"),
        (restorer, given, "coronal", "other_plane"),
        (tiny_bundle, given, None, "not_a_restoration"),
    ):
        with pytest.raises(InputError) as refusal:
            InferenceEngine(bundle, "cpu").translate(image, plane=plane, measured=measurement)
        assert refusal.value.code == code


def test_the_mean_of_several_models_has_the_measured_lines_too(restorer, tmp_path):
    other = write_tiny(tmp_path / "models" / "other", seasoned_cascade(deepest=2), task=MRI_UNDERSAMPLED.model_dump())
    volume = head()
    measurement = measure_volume(volume, Sampling("regular_4x"))
    made = Ensemble([restorer, other], "cpu", "float32").translate(
        undersampled(volume, measurement), measured=measurement
    )
    spectrum = to_kspace(slices_of(Volume(made.last.image, AFFINE), "axial").astype(float))
    difference = abs(spectrum - measurement.lines[0])[..., measurement.mask].max()
    assert difference < 1e-5 * abs(measurement.lines).max()
    assert all("data_consistency" in member for member in made.provenance["members"])


def test_the_mirror_image_is_held_to_the_same_lines(restorer):
    volume = head()
    measurement = measure_volume(volume, Sampling("random_4x"))
    whole = Measurement(
        to_kspace(slices_of(volume, "axial"))[None], np.ones_like(measurement.mask), "axial", is_real=True
    )
    made = InferenceEngine(restorer, "cpu", "float32").translate(volume, epistemic=True, measured=whole)
    assert made.epistemic.max() < 1e-3 * volume.voxels.max()  # Nothing is left to disagree about.


# The file


def test_what_is_written_is_read(tmp_path):
    measurement = measure_volume(head(), Sampling("random_8x", "columns", "coronal", 30.0))
    measurement.save(tmp_path / "measured.npz")
    again = read_measurement(tmp_path / "measured.npz")
    np.testing.assert_array_equal(again.lines, measurement.lines)
    np.testing.assert_array_equal(again.mask, measurement.mask)
    assert (again.plane, again.is_real) == ("coronal", True)


GOOD = {
    "lines": np.ones((1, 2, 4, 5), np.complex64),
    "mask": np.ones((4, 5), bool),
    "plane": np.array("axial"),
    "is_real": np.array(True),
}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"mask": np.zeros((4, 5), bool)}, "nothing_measured"),
        ({"mask": np.ones((5, 4), bool)}, "not_a_measurement"),
        ({"lines": np.ones((1, 2, 4, 5), np.float32)}, "not_a_measurement"),  # A magnitude.
        ({"lines": np.ones((4, 5), np.complex64)}, "not_a_measurement"),
        ({"lines": np.ones((2, 2, 4, 5), np.complex64)}, "not_a_measurement"),  # Two coils of a real image.
        ({"lines": np.full((1, 2, 4, 5), np.nan, np.complex64)}, "not_finite"),
        ({"plane": np.array("oblique")}, "not_a_measurement"),
        ({"plane": np.array({"a": 1}, dtype=object)}, "not_a_measurement"),
        ({"mask": None}, "not_a_measurement"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path, change, code):
    path = tmp_path / "m.npz"
    np.savez(path, **{name: value for name, value in {**GOOD, **change}.items() if value is not None})
    with pytest.raises(InputError) as refusal:
        read_measurement(path)
    assert refusal.value.code == code


@pytest.mark.parametrize(("content", "code"), [(None, "file_not_found"), (b"PK\x03\x04", "not_a_measurement")])
def test_files_that_are_none_are_refused(tmp_path, content, code):
    if content:
        (tmp_path / "m.npz").write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read_measurement(tmp_path / "m.npz")
    assert refusal.value.code == code


def test_an_array_larger_than_the_memory_is_refused_before_it_is_unpacked(tmp_path):
    header = {"descr": "<c8", "fortran_order": False, "shape": (1, 10**6, 4000, 5000)}
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as bomb, bomb.open("lines.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, header)
    with pytest.raises(DeviceError) as refusal:
        read_measurement(tmp_path / "m.npz")
    assert refusal.value.code == "out_of_memory"


def test_raw_data_lie_as_a_radiologist_sees_their_plane():
    for plane in ("axial", "coronal", "sagittal"):
        volume = coil_image(np.zeros((2, 4, 5), np.float32), plane, (2.0, 1.5))
        layout = Reorientation.of(volume.ijk_to_ras, plane)
        assert layout.sources == (0, 1, 2)
        assert not any(layout.flips)
        assert layout.in_plane_spacing == (2.0, 1.5)
        assert not volume.placement.is_certain
