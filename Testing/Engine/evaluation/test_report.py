"""What a model is worth on pairs: every metric of every phase by hand, its spread, and what is refused."""

import json
from unittest import mock

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio
from torch import nn

from Engine.conftest import IdentityBundle
from Engine.heads import SHAPE, SPACING_MM, read_pairs
from Engine.tissues import of_tissues
from upgan.errors import Cancelled, InputError
from upgan.evaluation.metrics import Metrics
from upgan.evaluation.report import evaluate
from upgan.evaluation.ssim import WINDOW_2D, similarity
from upgan.images.patient import body_mask
from upgan.images.reading import read_volume
from upgan.images.scope import foreground_scope
from upgan.images.volume import Volume
from upgan.inference.engine import InferenceEngine
from upgan.networks.cascade import Cascade
from upgan.pairs.preparation import Pair
from upgan.progress import Progress
from upgan.tasks import PET_TO_CT
from upgan.uncertainty.calibration import Calibration
from upgan.uncertainty.coverage import LEVELS
from upgan.uncertainty.distribution import GeneralizedNormal


@pytest.fixture
def engine(tiny_bundle) -> InferenceEngine:
    """The tiny model with weights whose answer follows the image: as initialised, but for heads that say something."""
    torch.manual_seed(4)
    cascade = Cascade(tiny_bundle.metadata.upgan.architecture).eval()
    for generator in cascade.generators:
        for head in (generator.image_head, generator.scale_head, generator.concentration_head):
            nn.init.normal_(head.weight, 0.3)
    return InferenceEngine(IdentityBundle(tiny_bundle.folder, tiny_bundle.metadata, cascade), "cpu", "float32")


def by_hand(engine, folder, name):
    """Every figure of one subject and both phases, from its translation, with numpy and scipy alone."""
    truth = read_volume(folder / f"{name}_ct.nii.gz").voxels
    translation = engine.translate(read_volume(folder / f"{name}_nacpet.nii.gz"), phases="all")
    mask = body_mask(truth, SPACING_MM)
    figures = {}
    for phase, maps in translation.phases.items():
        true, error = truth[mask], np.abs(maps.image - truth)[mask].astype(float)
        alpha, beta, sigma = (array[mask].astype(float) for array in (maps.alpha, maps.beta, maps.sigma))
        ranks = [stats.rankdata(values) for values in (error, sigma)]
        figures[str(phase)] = {
            **{name: getattr(Metrics(maps.image, truth, mask), name) for name in ("mae", "psnr", "ssim_3d")},
            "ssim_2d": similarity(maps.image, truth, mask, window=WINDOW_2D),
            "mae_air": error[true <= -300].mean(),
            "mae_soft": error[(true > -300) & (true <= 200)].mean(),
            "mae_bone": error[true > 200].mean(),
            "rmse": np.sqrt((error**2).mean()),
            "sigma_rms": np.sqrt((sigma**2).mean()),
            "spearman_error_sigma": np.corrcoef(*ranks)[0, 1],
        }
        for level in LEVELS:
            half_width = stats.gennorm.ppf((1 + level) / 2, beta, scale=alpha)
            figures[str(phase)][f"coverage_{level:.0%}"] = (error <= half_width).mean()
        figures[str(phase)] |= of_tissues(maps.image[mask], true.astype(float), alpha, beta)
    return figures


def test_evaluate_gives_mean_and_standard_deviation_over_subjects_of_every_phase(engine, tmp_path, write_pairs):
    write_pairs(tmp_path, [1, 2])
    found = evaluate(engine, read_pairs(tmp_path, "sub-001", "sub-002"), 2)
    assert found["subjects"] == 2
    assert found["data_range"] == [-1024, 3000]
    assert found["unit"] == "HU"
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found["phases"]) == ["1", "2"]
    first, second = (by_hand(engine, tmp_path, name) for name in ("sub-001", "sub-002"))
    for phase, figures in found["phases"].items():
        assert set(figures) == set(first[phase])
        for name, (mean, spread) in figures.items():
            one, other = first[phase][name], second[phase][name]
            assert mean == pytest.approx((one + other) / 2, abs=1e-3, rel=1e-5), name
            assert spread == pytest.approx(abs(one - other) / np.sqrt(2), abs=1e-3, rel=1e-3), name
            rows = found["rows"][phase]
            assert [rows[subject][name] for subject in ("sub-001", "sub-002")] == pytest.approx([one, other], rel=1e-4)


def test_the_progress_counts_pairs_and_can_end_the_work(engine, tmp_path, write_pairs):
    write_pairs(tmp_path, [1, 2])
    done = []
    progress = Progress(lambda what, fraction, remaining_s: done.append((fraction, what)))
    evaluate(engine, read_pairs(tmp_path, "sub-001", "sub-002"), 2, progress)
    assert done == sorted(done)
    assert {(0.5, "patient 1 of 2"), (1.0, "patient 2 of 2")} <= set(done)
    assert done[-1] == (1.0, "patient 2 of 2")

    def stop(*told) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        evaluate(engine, read_pairs(tmp_path, "sub-001"), 1, Progress(stop))


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_the_figures_do_not_depend_on_how_the_files_store_the_patient(engine, tmp_path, plane, write_pairs):
    write_pairs(tmp_path, [3])
    expected, found = (
        evaluate(engine, read_pairs(tmp_path, "sub-001", stored_as=stored), 1)["rows"]["2"]["sub-001"]
        for stored in (None, plane)
    )
    assert found == pytest.approx(expected, rel=1e-4)


def test_one_subject_has_no_spread(engine, tmp_path, write_pairs):
    write_pairs(tmp_path, [3])
    found = evaluate(engine, read_pairs(tmp_path, "sub-001"), 1)
    assert found["subjects"] == 1
    assert {spread for _, spread in found["phases"]["1"].values()} == {0.0}


def test_a_sigma_that_is_the_same_everywhere_and_a_tissue_that_is_nowhere_leave_valid_json(
    identity_bundle, tmp_path, write_pairs
):
    write_pairs(tmp_path, [3])
    (pair,) = read_pairs(tmp_path, "sub-001")
    boneless = pair._replace(target=Volume(np.minimum(pair.target.voxels, 100), pair.target.ijk_to_ras))
    bundle = identity_bundle((4.0, 4.0), task=PET_TO_CT)
    bundle.network.phases = lambda a: iter([GeneralizedNormal(a, torch.ones_like(a), torch.full_like(a, 2.0))])
    found = evaluate(InferenceEngine(bundle, "cpu", "float32"), [boneless], 1)
    figures = found["phases"]["1"]
    assert figures["spearman_error_sigma"] == [0, 0]
    assert "mae_bone" not in figures
    assert "mae_soft" in figures
    json.dumps(found, allow_nan=False)


def test_an_error_that_is_the_same_everywhere_leaves_valid_json(identity_bundle, tmp_path, write_pairs):
    write_pairs(tmp_path, [3])
    (pair,) = read_pairs(tmp_path, "sub-001")
    # Water all over in a body of fat, with a sigma that does vary.
    uniform = pair._replace(target=Volume(np.where(pair.target.voxels > -500, -100.0, -1000.0), pair.target.ijk_to_ras))
    bundle = identity_bundle((4.0, 4.0), task=PET_TO_CT)
    water = lambda a: GeneralizedNormal(torch.ones_like(a), 0.1 + a.abs(), torch.full_like(a, 2.0))  # noqa: E731
    bundle.network.phases = lambda a: iter([water(a)])
    with mock.patch("upgan.images.scope.body_mask", return_value=uniform.target.voxels > -500):
        found = evaluate(InferenceEngine(bundle, "cpu", "float32"), [uniform], 1)
    figures = found["rows"]["1"]["sub-001"]
    assert figures["mae"] == figures["rmse"] == 100
    assert figures["spearman_error_sigma"] == 0
    assert figures["ssim_3d"] < 1
    json.dumps(found, allow_nan=False)


def test_an_image_of_arbitrary_unit_is_compared_in_its_foreground_over_its_own_range(identity_bundle, rng):
    k, j, i = np.indices((6, 40, 36))
    head = ((j - 20) / 15) ** 2 + ((i - 18) / 13) ** 2 < 1
    target = np.where(head, 300 + 90 * np.sin(k + j / 4), 4).astype(np.float32)
    target[:, 18:22, 16:20] = 0  # a ventricle, dark and filled
    source = np.maximum(target + rng.normal(0, 25, target.shape), 0).astype(np.float32)
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    pair = Pair("sub-001", Volume(source, affine), Volume(target, affine), "")
    engine = InferenceEngine(identity_bundle(), "cpu", "float32")
    found = evaluate(engine, [pair], 1)
    scope = foreground_scope(target, np.ones(target.shape, dtype=bool))
    assert scope.mask[:, 18:22, 16:20].all()
    figures = found["rows"]["1"]["sub-001"]
    assert figures["mae"] == pytest.approx(np.abs(source - target)[scope.mask].mean(), rel=1e-5)
    low, high = scope.data_range
    clipped = (np.clip(array[scope.mask].astype(float), low, high) for array in (target, source))
    assert figures["psnr"] == pytest.approx(peak_signal_noise_ratio(*clipped, data_range=high - low), rel=1e-5)
    assert not [name for name in figures if name.startswith("mae_")]
    assert found["unit"] == ""
    assert "foreground" in found["mask"]
    assert "99.9th percentile" in found["data_range"]


def test_coverage_is_told_with_and_without_the_models_calibration(engine, tmp_path, write_pairs):
    write_pairs(tmp_path, [3])
    plain = evaluate(engine, read_pairs(tmp_path, "sub-001"), 1)["rows"]
    calibration = Calibration(patients=1, voxels=1, scale=(2.5, 0.3), conformal={}, note="")
    section = engine.bundle.metadata.upgan.model_copy(update={"calibration": calibration})
    metadata = engine.bundle.metadata.model_copy(update={"upgan": section})
    bundle = IdentityBundle(engine.bundle.folder, metadata, engine.bundle.network)
    calibrated = evaluate(InferenceEngine(bundle, "cpu", "float32"), read_pairs(tmp_path, "sub-001"), 1)["rows"]
    for phase, wider in (("1", True), ("2", False)):
        before, after = plain[phase]["sub-001"], calibrated[phase]["sub-001"]
        assert after["mae"] == before["mae"]
        for level in ("50%", "80%", "90%", "95%"):
            assert after[f"network_coverage_{level}"] == pytest.approx(before[f"coverage_{level}"], abs=1e-4)
            assert (after[f"coverage_{level}"] > before[f"coverage_{level}"]) == wider
        assert "network_coverage_50%" not in before


def test_a_reference_without_a_body_is_refused(engine, tmp_path, write_pairs):
    write_pairs(tmp_path, [3])
    (pair,) = read_pairs(tmp_path, "sub-001")
    grams = pair._replace(target=Volume(pair.target.voxels / 1000 - 1000, pair.target.ijk_to_ras))
    with pytest.raises(InputError, match="sub-001") as refusal:
        evaluate(engine, [grams], 1)
    assert refusal.value.code == "no_body"


def test_an_input_that_cannot_be_translated_is_named(engine, tmp_path, write_pairs):
    write_pairs(tmp_path, [3])
    (pair,) = read_pairs(tmp_path, "sub-001")
    empty = pair._replace(source=Volume(np.zeros(SHAPE), pair.source.ijk_to_ras))
    with pytest.raises(InputError, match="sub-001") as refusal:
        evaluate(engine, [empty], 1)
    assert refusal.value.code == "constant_image"
