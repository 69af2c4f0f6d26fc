"""Figures and preview of networks under training."""

import json
import os

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio

from Engine.memory_cache import MemoryCache
from upgan.errors import InputError, OutputError
from upgan.tasks import MRI_MOTION, PET_TO_CT, Intensities
from upgan.training.loop.validation import preview, validate
from upgan.training.slices.references import Reference
from upgan.uncertainty.distribution import GeneralizedNormal

CPU = torch.device("cpu")


def cache_of(subjects, shape=(21, 30), reference=1.0, spacing_mm=(2.0, 1.0)) -> MemoryCache:
    """Subjects by name and number of slices; input and target differ by noise of a known scale."""
    rng = np.random.default_rng(0)
    cache = MemoryCache((32, 32), spacing_mm)
    for subject, count in subjects.items():
        a = rng.uniform(0.2, 1.2, (count, *shape))
        body = np.zeros(a.shape, dtype=bool)
        body[:, 3:-3, 4:-4] = True
        b = a + 0.1 * rng.standard_normal(a.shape)
        cache.add(subject, a, np.where(body, b, 9.0), body, reference)
        measured_in(cache, subject)
    return cache


def measured_in(cache, subject, task=PET_TO_CT) -> None:
    """Let a subject's reference be its slices themselves: at the networks' pixel size, in the body as given."""
    slices, own = cache.slices[subject], cache.subjects[subject].reference
    target = Intensities(task, own).denormalise(slices.b.astype(np.float32))
    span = (-1024.0, 3000.0) if task.unit == "HU" else (float(target.min()), float(np.percentile(target, 99.9)))
    cache.references[subject] = Reference(target, slices.body.astype(bool), span)


def predicting(scale=0.1 * 2**0.5, concentration=2.0, offsets=(0.0,)):
    """Networks whose phases answer with the input plus an offset."""

    def predict(a):
        assert a.dtype == torch.float32
        assert not torch.is_grad_enabled()
        return [
            GeneralizedNormal(a + offset, torch.full_like(a, scale), torch.full_like(a, concentration))
            for offset in offsets
        ]

    return predict


def inside(cache, subject):
    """Input, target inside the body, float64, network units."""
    slices = cache.slices[subject]
    return (part[slices.body > 0].astype(float) for part in (slices.a, slices.b))


def test_figures_are_those_worked_out_by_hand_in_hounsfield_units():
    cache = cache_of({"s1": 5})
    (figures,) = validate(predicting(), cache, ["s1"], PET_TO_CT, CPU).values()
    a, b = inside(cache, "s1")
    image, target = 1000 * a - 1000, 1000 * b - 1000
    assert figures["mae"] == pytest.approx(abs(image - target).mean(), rel=1e-5)
    clipped = (np.clip(part, -1024, 3000) for part in (target, image))
    assert figures["psnr"] == pytest.approx(peak_signal_noise_ratio(*clipped, data_range=4024), abs=1e-3)
    for level, name in ((0.5, "coverage_50%"), (0.9, "coverage_90%")):
        half_width = stats.norm(scale=0.1).ppf((1 + level) / 2)
        assert figures[name] == pytest.approx((abs(a - b) <= half_width).mean(), abs=1e-3)
        assert figures[name] == pytest.approx(level, abs=0.02)
    assert 0 < figures["ssim_3d"] < 1
    json.dumps(figures)


def test_nothing_outside_the_body_counts_in_error_and_coverage():
    cache = cache_of({"s1": 4})
    before = validate(predicting(), cache, ["s1"], PET_TO_CT, CPU)[1]
    slices = cache.slices["s1"]
    slices.b[slices.body == 0] = 0.0
    measured_in(cache, "s1")
    after = validate(predicting(), cache, ["s1"], PET_TO_CT, CPU)[1]
    for name in ("mae", "psnr", "ssim_3d", "coverage_50%", "coverage_90%"):
        assert after[name] == before[name]


def test_a_perfect_image_has_an_ssim_of_one():
    cache = cache_of({"s1": 4})
    cache.slices["s1"].b[:] = cache.slices["s1"].a
    measured_in(cache, "s1")
    (figures,) = validate(predicting(), cache, ["s1"], PET_TO_CT, CPU).values()
    assert figures["ssim_3d"] == pytest.approx(1)
    assert figures["mae"] == pytest.approx(0, abs=1e-3)
    assert figures["coverage_50%"] == 1


def test_an_error_that_is_the_same_everywhere_leaves_figures_that_json_knows():
    cache = cache_of({"s1": 4})
    cache.slices["s1"].b[:] = cache.slices["s1"].a
    measured_in(cache, "s1")
    for offset, mae in ((0.0, 0), (0.25, 250)):
        (figures,) = validate(predicting(offsets=(offset,)), cache, ["s1"], PET_TO_CT, CPU).values()
        assert figures["mae"] == pytest.approx(mae, abs=0.01)
        json.dumps(figures, allow_nan=False)


def test_each_phase_has_its_own_figures_and_the_first_is_number_one():
    figures = validate(predicting(offsets=(0.5, 0.0)), cache_of({"s1": 4}), ["s1"], PET_TO_CT, CPU)
    assert list(figures) == [1, 2]
    assert figures[1]["mae"] > 400 > 100 > figures[2]["mae"]


def test_figures_are_means_over_subjects_and_not_over_voxels():
    cache = cache_of({"short": 2, "long": 20})
    cache.slices["short"].b[:] += 0.5
    measured_in(cache, "short")
    alone = [validate(predicting(), cache, [name], PET_TO_CT, CPU)[1] for name in ("short", "long")]
    both = validate(predicting(), cache, ["short", "long"], PET_TO_CT, CPU)[1]
    assert both == {name: pytest.approx((alone[0][name] + alone[1][name]) / 2) for name in both}


def test_arbitrary_units_are_the_subjects_own_and_its_own_range_is_that_of_the_psnr():
    cache = cache_of({"s1": 4}, reference=500.0)
    measured_in(cache, "s1", MRI_MOTION)
    (figures,) = validate(predicting(), cache, ["s1"], MRI_MOTION, CPU).values()
    a, b = inside(cache, "s1")
    assert figures["mae"] == pytest.approx(500 * abs(a - b).mean(), rel=1e-5)
    everywhere = 500 * cache.slices["s1"].b.astype(float)
    low, high = everywhere.min(), np.percentile(everywhere, 99.9)
    error = (np.clip(500 * a, low, high) - np.clip(500 * b, low, high)) ** 2
    assert figures["psnr"] == pytest.approx(10 * np.log10((high - low) ** 2 / error.mean()), abs=1e-3)


@pytest.mark.parametrize("shape", [(21, 30), (16, 32), (17, 16)])
def test_more_slices_than_a_batch_and_any_size_come_back_in_their_places(shape):
    cache = cache_of({"s1": 35}, shape)
    seen = []

    def predict(a):
        seen.append(a.shape)
        return predicting()(a)

    a, b = inside(cache, "s1")
    (figures,) = validate(predict, cache, ["s1"], PET_TO_CT, CPU).values()
    assert figures["mae"] == pytest.approx(1000 * abs(a - b).mean(), rel=1e-5)
    assert [size[0] for size in seen] == [16, 16, 3]
    assert all(size[2] % 16 == size[3] % 16 == 0 for size in seen)
    assert seen[0][2] - shape[0] < 16
    assert seen[0][3] - shape[1] < 16


def test_slices_are_padded_as_the_engine_pads_them(identity_bundle):
    from upgan.images.volume import Volume
    from upgan.inference.engine import InferenceEngine

    cache = cache_of({"s1": 3}, spacing_mm=(1.0, 1.0))
    bundle = identity_bundle(
        task=PET_TO_CT.model_copy(update={"input": PET_TO_CT.input.model_copy(update={"power": 1})})
    )
    a = cache.slices["s1"].a.astype(np.float32)
    InferenceEngine(bundle, "cpu").translate(Volume(a, np.diag([-1.0, -1.0, 3.0, 1.0])))
    seen = []

    def predict(a):
        seen.append(a)
        return predicting()(a)

    validate(predict, cache, ["s1"], PET_TO_CT, CPU)
    engines = torch.cat(bundle.network.seen)
    assert torch.equal(torch.cat(seen) != 0, engines != 0)
    ratio = torch.cat(seen)[engines != 0] / engines[engines != 0]
    torch.testing.assert_close(ratio, ratio[0].expand_as(ratio))


def test_coverage_of_a_large_subject_is_counted_on_a_sample_that_tells_the_same():
    cache = cache_of({"s1": 120}, (60, 62))
    (figures,) = validate(predicting(), cache, ["s1"], PET_TO_CT, CPU).values()
    a, b = inside(cache, "s1")
    assert a.size > 300_000
    everywhere = (abs(a - b) <= stats.norm(scale=0.1).ppf(0.75)).mean()
    assert figures["coverage_50%"] == pytest.approx(everywhere, abs=0.005)


def test_a_subject_without_body_is_named():
    cache = cache_of({"s1": 2})
    cache.references["s1"].mask[:] = 0
    with pytest.raises(InputError, match="s1") as refusal:
        validate(predicting(), cache, ["s1"], PET_TO_CT, CPU)
    assert refusal.value.code == "no_body"


# Preview


def write_preview(cache, folder, task=PET_TO_CT, **of_networks):
    preview(predicting(**of_networks), cache, "s1", task, CPU, folder, stage=2, epoch=7)
    arrays = {name: np.load(folder / "preview" / f"{name}.npy") for name in ("input", "target", "image", "sigma")}
    return arrays, json.loads((folder / "preview" / "preview.json").read_text(encoding="utf-8"))


def test_a_preview_shows_the_last_phase_in_output_units_and_says_what_it_is(tmp_path):
    cache = cache_of({"s1": 3})
    arrays, about = write_preview(cache, tmp_path, scale=0.2, concentration=1.0, offsets=(0.5, 0.25))
    slices = cache.slices["s1"]
    a, b = slices.a.astype(np.float32), slices.b.astype(np.float32)
    np.testing.assert_array_equal(arrays["input"], a)
    np.testing.assert_allclose(arrays["target"], 1000 * b - 1000, atol=1e-2)
    np.testing.assert_allclose(arrays["image"], 1000 * (a + 0.25) - 1000, atol=1e-2)
    np.testing.assert_allclose(arrays["sigma"], stats.laplace(scale=200).std(), rtol=1e-4)
    assert all(array.dtype == np.float32 for array in arrays.values())
    np.testing.assert_array_equal(about.pop("ijk_to_ras"), cache.subjects["s1"].ijk_to_ras)
    display = {"window": 2000, "level": 300, "sigma_threshold": 100, "sigma_max": 500, "alpha_max": 500}
    assert about == {"subject": "s1", "stage": 2, "epoch": 7, "phase": 2, "unit": "HU", "display": display}


def test_the_display_of_a_relative_task_is_in_the_subjects_own_unit(tmp_path):
    arrays, about = write_preview(cache_of({"s1": 3}, reference=500.0), tmp_path, MRI_MOTION, scale=0.2)
    assert about["display"]["window"] == 500
    np.testing.assert_allclose(arrays["sigma"], stats.gennorm(2, scale=100).std(), rtol=1e-4)


def test_a_new_preview_takes_the_place_of_the_old_one_and_leaves_nothing_else(tmp_path):
    cache = cache_of({"s1": 3})
    write_preview(cache, tmp_path)
    arrays, _ = write_preview(cache, tmp_path, offsets=(0.25,))
    np.testing.assert_allclose(arrays["image"] - 1000 * arrays["input"], -750, atol=1e-2)
    names = sorted(path.name for path in (tmp_path / "preview").iterdir())
    assert names == ["image.npy", "input.npy", "preview.json", "sigma.npy", "target.npy"]
    assert (tmp_path / "preview").stat().st_mode & 0o077 == 0 or os.name == "nt"


def test_a_preview_that_cannot_be_written_keeps_the_old_files_and_says_so(tmp_path, monkeypatch):
    cache = cache_of({"s1": 3})
    write_preview(cache, tmp_path)
    before = (tmp_path / "preview" / "input.npy").read_bytes()

    def full(file, array):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        preview(predicting(), cache, "s1", PET_TO_CT, CPU, tmp_path, 2, 8)
    assert (tmp_path / "preview" / "input.npy").read_bytes() == before
    assert not list((tmp_path / "preview").glob("*.tmp"))
