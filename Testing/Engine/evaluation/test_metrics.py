"""The metrics of one image against its reference: the same whoever asks, and those of plain numpy and scipy."""

import json

import numpy as np
import pytest
import torch
from scipy import stats

from Engine.memory_cache import MemoryCache
from Engine.synthrad import synthrad_2023
from Engine.tissues import of_tissues
from upgan.evaluation import report
from upgan.evaluation.comparison import compare
from upgan.evaluation.metrics import Metrics
from upgan.evaluation.on_pairs import Translated
from upgan.images.scope import Scope
from upgan.inference.translation import PhaseMaps
from upgan.tasks import PET_TO_CT
from upgan.training.loop.validation import validate
from upgan.training.slices.references import Reference
from upgan.uncertainty.coverage import LEVELS
from upgan.uncertainty.distribution import GeneralizedNormal

# Sides that the networks' padding leaves as they are.
SHAPE = (9, 32, 48)
RANGE = (-1024.0, 3000.0)


@pytest.fixture(params=["an error that varies", "an error that is the same everywhere"])
def pair(request, rng):
    """Image, α, β and reference [K, J, I] in HU, float32, and a mask."""
    reference = rng.choice([-900.0, -300.0, 30.0, 200.0, 900.0], SHAPE).astype(np.float32)
    error = rng.laplace(20, 60, SHAPE) if "varies" in request.param else np.full(SHAPE, 16.0)
    alpha = rng.uniform(20, 90, SHAPE).astype(np.float32)
    beta = rng.uniform(0.8, 2.5, SHAPE).astype(np.float32)
    mask = np.zeros(SHAPE, dtype=bool)
    mask[1:8, 5:25, 5:41] = True
    return (reference + error).astype(np.float32), alpha, beta, reference, mask


def by_hand(image, alpha, beta, reference, mask):
    """Every metric by its definition; coverage by quantiles instead of probabilities."""
    truth, a, b = (array[mask].astype(float) for array in (reference, alpha, beta))
    error = image[mask].astype(float) - truth
    sigma = stats.gennorm.std(b, scale=a)
    clipped = np.clip(image[mask].astype(float), *RANGE) - np.clip(truth, *RANGE)
    ranks = [stats.rankdata(values) for values in (np.abs(error), sigma)]
    found = {
        "mae": np.abs(error).mean(),
        "mae_air": np.abs(error[truth <= -300]).mean(),
        "mae_soft": np.abs(error[(truth > -300) & (truth <= 200)]).mean(),
        "mae_bone": np.abs(error[truth > 200]).mean(),
        "rmse": np.sqrt((error**2).mean()),
        "psnr": 10 * np.log10(4024**2 / (clipped**2).mean()),
        "ssim_3d": synthrad_2023(image, reference, mask),
        "sigma_rms": np.sqrt((sigma**2).mean()),
        "spearman_error_sigma": np.corrcoef(*ranks)[0, 1] if np.ptp(error) else 0.0,
    }
    for level in LEVELS:
        half_width = stats.gennorm.ppf((1 + level) / 2, b, scale=a)
        found[f"coverage_{level:.0%}"] = (np.abs(error) <= half_width).mean()
    return found | of_tissues(image[mask], truth, a, b)


def by_comparison(image, alpha, beta, reference, mask):
    scope = Scope(mask, "mask", RANGE, "range")
    content = compare(image, alpha, beta, reference, scope, "HU").to_json()
    json.dumps(content, allow_nan=False)
    shown = {figure["key"]: figure["value"] for figure in content["figures"]}
    return {key: value / 100 if key.startswith("coverage") else value for key, value in shown.items()}


def by_report(pair, bundle, monkeypatch):
    image, alpha, beta, reference, mask = pair
    translated = Translated("p", {1: PhaseMaps(image, alpha, beta)}, reference, Scope(mask, "mask", RANGE, "range"))
    monkeypatch.setattr(report, "translate_pairs", lambda *arguments: [translated])
    engine = type("Engine", (), {"bundle": bundle})
    found = report.evaluate(engine, [], 1)
    json.dumps(found, allow_nan=False)
    means = {name: mean for name, (mean, deviation) in found["phases"]["1"].items()}
    assert means == found["rows"]["1"]["p"]  # of one patient; nothing is rounded
    return means


def by_validation(image, alpha, beta, reference, mask):
    network = [torch.from_numpy(array)[:, None] for array in ((image + 1000) / 1000, alpha / 1000, beta)]
    cache = MemoryCache(SHAPE[1:])
    cache.add("p", np.ones(SHAPE), np.ones(SHAPE), mask)
    cache.references["p"] = Reference(reference, mask, RANGE)
    found = validate(lambda a: [GeneralizedNormal(*network)], cache, ["p"], PET_TO_CT, torch.device("cpu"))
    json.dumps(found, allow_nan=False)
    return found[1]


def test_comparison_report_and_journal_agree_on_what_numpy_and_scipy_say(pair, identity_bundle, monkeypatch):
    expected = by_hand(*pair)
    found = [by_comparison(*pair), by_report(pair, identity_bundle(task=PET_TO_CT), monkeypatch), by_validation(*pair)]
    assert set(found[0]) >= set(expected)
    assert set(found[1]) == {*expected, "ssim_2d"}
    assert set(found[2]) == {"mae", "psnr", "ssim_3d", "coverage_50%", "coverage_90%"}
    for metrics in found:
        for name in metrics.keys() & expected.keys():
            # The networks' units are single precision: the last digit of an error of 16 HU is 1e-4.
            assert metrics[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-4), name
    assert found[0]["ssim_2d"] == found[1]["ssim_2d"]


def test_what_is_not_asked_for_is_not_computed(monkeypatch):
    monkeypatch.setattr("upgan.evaluation.metrics.similarity", lambda *arguments: pytest.fail("nobody asked"))
    image = np.zeros((2, 8, 8), np.float32)
    assert Metrics(image, image + 3, image == 0).mae == 3


def test_coverage_may_be_counted_on_a_sample(rng):
    image, reference = np.zeros((40, 50, 50)), rng.normal(0, 10, (40, 50, 50))
    alpha, beta = np.full(image.shape, 10 * 2**0.5), np.full(image.shape, 2.0)
    metrics = Metrics(image, reference, image == 0, alpha=alpha, beta=beta)
    every, third = (metrics.coverage((0.9,), most)[0.9] for most in (None, 33_334))
    assert every == pytest.approx(0.9, abs=0.005)
    inside = np.abs(reference.ravel()[::3]) <= 10 * stats.norm.ppf(0.95)
    assert third == pytest.approx(inside.mean())
