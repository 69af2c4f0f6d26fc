"""The models that ship: what their cards say they do, that they do it, and what must not matter to them."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage, stats
from skimage.filters import threshold_otsu

from upgan.bundles.library import find_bundle, installed_models
from upgan.images.hounsfield import TISSUES
from upgan.images.patient import body_mask
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.inference.engine import InferenceEngine

BUNDLED = "pet-ct-phantom"
SHIPPED = [BUNDLED, "mr-ct-phantom", "mri-undersampled"]
SAMPLES = Path(__file__).parents[3] / "UncertaintyGuidedI2I" / "Resources" / "SampleData"


def sample(name: str, step: int = 1) -> Volume:
    """Every so many of a sample's slices, as radiologists view them."""
    volume = read_volume(SAMPLES / f"sample_{name}.nrrd").reoriented("axial")
    return Volume(np.ascontiguousarray(volume.voxels[::step]), volume.ijk_to_ras @ np.diag([1.0, 1.0, step, 1.0]))


@pytest.mark.parametrize("name", SHIPPED)
def test_each_model_that_ships_is_found_by_name_small_and_whole(name):
    bundle = find_bundle(name)
    assert (name, "bundled", bundle.folder) in [(m.name, m.origin, m.folder) for m in installed_models()]
    assert sum(path.stat().st_size for path in bundle.folder.rglob("*") if path.is_file()) < 10e6
    assert bundle.metadata.upgan.architecture.phases == (2 if name == BUNDLED else 1)
    bundle.load_cascade()


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_of_a_model_that_ships_states_what_its_metadata_measured(name):
    bundle = find_bundle(name)
    card = (bundle.folder / "docs" / "README.md").read_text(encoding="utf-8")
    phases = bundle.metadata.upgan.figures["test"]["phases"]
    digits = ".1f" if bundle.metadata.upgan.task.unit == "HU" else ".4g"
    for figures in phases.values():
        assert f"{figures['mae'][0]:{digits}} ± {figures['mae'][1]:{digits}}" in card
        assert f"{figures['psnr'][0]:.2f} ± {figures['psnr'][1]:.2f}" in card
    assert "Not for patients" in card


def test_the_bundled_model_errs_least_in_its_last_phase_and_its_intervals_hold():
    section = find_bundle(BUNDLED).metadata.upgan
    phases = section.figures["test"]["phases"]
    errors = [phases[str(phase)]["mae"][0] for phase in range(1, section.architecture.phases + 1)]
    assert errors == sorted(errors, reverse=True)
    last = phases[str(section.architecture.phases)]
    for level in (50, 80, 90, 95):
        assert last[f"coverage_{level}%"][0] == pytest.approx(level / 100, abs=0.07)
    for tissue in TISSUES:
        assert last[f"coverage_90%_predicted_{tissue}"][0] == pytest.approx(0.9, abs=0.01)
    assert last["spearman_error_sigma"][0] > 0.5


@pytest.mark.parametrize("name", SHIPPED)
def test_the_90_percent_intervals_of_each_model_that_ships_hold_about_as_often(name):
    section = find_bundle(name).metadata.upgan
    last = section.figures["test"]["phases"][str(section.architecture.phases)]
    assert last["coverage_90%"][0] == pytest.approx(0.9, abs=0.06)
    assert last["spearman_error_sigma"][0] > 0.2


def test_the_pseudo_ct_of_a_t1_is_near_the_ct_and_has_no_bone_in_the_air_of_a_tight_field_of_view():
    t1, ct = sample("t1", 8), sample("t1_ct", 8)
    engine = InferenceEngine(find_bundle("mr-ct-phantom"), "cpu")
    found = engine.translate(t1).last.image
    body = body_mask(ct.voxels, (24.0, 2.0, 2.0))
    assert np.abs(found - ct.voxels)[body].mean() < 135
    rows, columns = (np.flatnonzero(body.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    tight = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    cut = engine.translate(Volume(np.ascontiguousarray(t1.voxels[tight]), t1.ijk_to_ras)).last.image
    around = ~ndimage.binary_dilation(body, iterations=3)[tight]
    assert (cut[around] > 300).mean() < 0.01


def test_a_real_head_that_no_model_was_trained_on_is_restored():
    """Nearer to the head as it was scanned, by its root mean square error; and where it errs most, σ is largest."""
    degraded, head = sample("undersampled", 6), sample("head", 6)
    inside = head.voxels > threshold_otsu(head.voxels)
    found = InferenceEngine(find_bundle("mri-undersampled"), "cpu").translate(degraded).last
    before, after = ((voxels - head.voxels)[inside] for voxels in (degraded.voxels, found.image))
    assert np.sqrt(np.square(after).mean()) < 0.8 * np.sqrt(np.square(before).mean())
    assert stats.spearmanr(np.abs(after), found.sigma[inside]).statistic > 0.2


@pytest.mark.parametrize("sides", [(48, 48, 48, 48), (0, 0, 0, 14), (64, 0, 7, 0), (-3, 0, -6, -2)])
def test_what_lies_around_a_head_changes_the_bundled_models_answer_by_less_than_2_hu(sides):
    """Rows and columns of air added above, below, left and right; cut off where negative."""
    engine = InferenceEngine(find_bundle(BUNDLED), "cpu")
    pet, ct = (read_volume(SAMPLES / f"sample_{name}.nrrd").reoriented("axial") for name in ("nacpet", "ct"))
    body = body_mask(ct.voxels, (3.0, 2.0, 2.0))[12:56:8]
    plain = pet.voxels[12:56:8]
    above, below, left, right = (max(side, 0) for side in sides)
    other = np.pad(plain, [(0, 0), (above, below), (left, right)])
    up, down, start, end = (max(-side, 0) for side in sides)
    other = np.ascontiguousarray(other[:, up : other.shape[1] - down, start : other.shape[2] - end])
    shown = (slice(None), slice(up, plain.shape[1] - down), slice(start, plain.shape[2] - end))
    assert body[shown].sum() == body.sum()  # air alone was cut off
    usual, changed = (engine.translate(Volume(each, pet.ijk_to_ras)).last.image for each in (plain, other))
    changed = changed[:, above : above + usual[shown].shape[1], left : left + usual[shown].shape[2]]
    difference = (changed - usual[shown])[body[shown]]
    assert np.sqrt(np.square(difference).mean()) < 2
