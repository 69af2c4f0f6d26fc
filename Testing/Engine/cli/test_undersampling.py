"""`upgan simulate undersampling` and what `upgan translate --measured` makes of it, from end to end."""

import json

import numpy as np
import pytest

from Engine.conftest import seasoned_cascade, write_tiny
from Engine.made_images import blob
from upgan.cli.simulation import Masks
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.images.writing import write_volume
from upgan.inference.measurement import read_measurement
from upgan.simulation.kspace import MASKS, root_sum_of_squares, to_image, to_kspace
from upgan.tasks import MRI_UNDERSAMPLED


@pytest.fixture
def simulate(run, tmp_path):
    def command(image, *options):
        return run("simulate", "undersampling", image, "--output", tmp_path / "made", *options)

    return command


def test_a_head_is_undersampled_and_restored_with_what_was_measured(simulate, run, tmp_path):
    volume = Volume(blob((6, 24, 21)), np.diag([-2.0, -2.0, 3.0, 1.0]))
    write_volume(volume, tmp_path / "t1.nrrd")
    assert simulate(tmp_path / "t1.nrrd", "--kind", "regular_4x", "--seed", "2").code == 0
    made = tmp_path / "made"
    assert sorted(path.name for path in made.iterdir()) == ["measured.npz", "provenance.json", "undersampled.nrrd"]
    image, measurement = read_volume(made / "undersampled.nrrd"), read_measurement(made / "measured.npz")
    np.testing.assert_array_equal(image.ijk_to_ras, volume.ijk_to_ras)
    np.testing.assert_allclose(image.voxels, measurement.zero_filled(), rtol=1e-6)
    bundle = write_tiny(tmp_path / "restorer", seasoned_cascade(), task=MRI_UNDERSAMPLED.model_dump())
    options = ("--model", bundle.folder, "--output", tmp_path / "out", "--measured", made / "measured.npz")
    outcome = run("translate", made / "undersampled.nrrd", *options)
    assert outcome.code == 0
    spectrum = to_kspace(read_volume(tmp_path / "out" / "restored_mr.nrrd").voxels.astype(float))
    difference = abs(spectrum - measurement.lines[0])[..., measurement.mask].max()
    assert difference < 1e-5 * abs(measurement.lines).max()
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["data_consistency"]["measured_share"] == pytest.approx(0.25)


@pytest.mark.parametrize("shape", [(3, 25, 18), (1, 24, 21)])
def test_measured_k_space_gives_a_reference_and_a_zero_filled_image(simulate, tmp_path, shape):
    parts = np.random.default_rng(0).normal(size=(2, *shape))
    kspace = (parts[0] + 1j * parts[1]).astype(np.complex64)
    np.save(tmp_path / "ksp.npy", kspace)
    outcome = simulate(tmp_path / "ksp.npy", "--axis", "columns", "--spacing", "0.8", "1.5")
    assert outcome.code == 0
    reference, zero_filled = (read_volume(tmp_path / "made" / f"{name}.nrrd") for name in ("reference", "undersampled"))
    np.testing.assert_allclose(reference.voxels[0], root_sum_of_squares(to_image(kspace)), rtol=1e-5)
    assert zero_filled.voxels.shape == (2, *shape[1:])
    assert zero_filled.spacing[:2] == pytest.approx([1.5, 0.8])
    measurement = read_measurement(tmp_path / "made" / "measured.npz")
    assert measurement.mask[0].sum() == round(0.08 * shape[2])
    np.testing.assert_array_equal(measurement.lines[:, 0], np.where(measurement.mask, kspace, 0))
    assert not zero_filled.placement.is_certain


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (np.ones((4, 8, 8)), "not_kspace"),  # A magnitude given as complex.
        (np.ones((8, 8), complex), "not_kspace"),
        (np.zeros((2, 8, 8), complex), "not_kspace"),
        (np.ones((2, 1, 8), complex), "one_line"),
        (None, "not_mr"),
    ],
)
def test_other_input_is_refused_with_nothing_left(simulate, tmp_path, content, code):
    path = tmp_path / ("x.npy" if content is not None else "ct.nrrd")
    if content is None:
        write_volume(Volume(blob((6, 24, 21)) * 15 - 1000, np.diag([-2.0, -2.0, 3.0, 1.0])), path)
    else:
        np.save(path, content)
    outcome = simulate(path)
    assert outcome.code == 2
    assert f"({code})" in outcome.err
    assert not (tmp_path / "made").exists()


def test_the_command_line_offers_all_masks():
    assert tuple(Masks) == MASKS
