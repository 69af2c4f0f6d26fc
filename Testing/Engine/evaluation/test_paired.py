"""Two models on the same patients: Wilcoxon's test counted out, and what may be said after it."""

import json

import numpy as np
import pytest

from upgan.evaluation.paired import compare_paired, conclusion


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_paired_difference_is_that_of_wilcoxons_test_counted_out(rng, higher_is_better, sign):
    theirs = rng.normal(100, 20, 8)
    ours = theirs + sign * np.array([1.5, 2.5, -0.5, 7, 3.25, 4, 9, 11])
    found = compare_paired("mae", ours, theirs, higher_is_better=higher_is_better)
    # Of the 2⁸ assignments of signs to the ranks 1 … 8 those with a rank sum at most that of the one odd sign, rank 1.
    sums = [sum(rank for rank in range(1, 9) if bits >> (rank - 1) & 1) for bits in range(2**8)]
    assert found.p == pytest.approx(2 * sum(value <= 1 for value in sums) / 2**8)
    assert found.verdict == ("better" if (sign > 0) == higher_is_better else "worse")
    assert found.difference == pytest.approx(sign * 3.625)
    assert sorted(abs(value) for value in (found.smallest, found.largest)) == pytest.approx([0.5, 11])
    assert (found.ours, found.theirs) == (np.median(ours), np.median(theirs))


def test_a_verdict_follows_the_ranks_that_were_tested_and_not_the_sign_of_the_median():
    """Slightly worse on a few patients more, far better on the others."""
    differences = np.concatenate([0.01 + 1e-4 * np.arange(21), -10.0 - np.arange(19)])
    found = compare_paired("mae", 100 + differences, np.full(40, 100.0), higher_is_better=False)
    assert found.p is not None
    assert found.p < 0.05
    assert found.difference > 0
    assert found.verdict == "better"


def test_five_patients_are_too_few_however_large_the_difference():
    found = compare_paired("mae", [1, 2, 3, 4, 5], [101, 112, 123, 134, 145], higher_is_better=False)
    assert found.p == pytest.approx(2 / 2**5)
    assert found.verdict == "too few"
    assert "5 test patients are too few" in conclusion(found, [], "base", "HU")
    assert "better than base cannot be said" in conclusion(found, [], "base", "HU")


def test_six_patients_of_one_sign_are_enough():
    found = compare_paired("mae", [1, 2, 3, 4, 5, 6], [101, 112, 123, 134, 145, 156], higher_is_better=False)
    assert found.p == pytest.approx(2 / 2**6)
    assert found.verdict == "better"
    assert conclusion(found, [], "base", "HU").startswith("This model is better than base")
    other = compare_paired("mae", [101, 112, 123, 134, 145, 156], [1, 2, 3, 4, 5, 6], higher_is_better=False)
    assert "not better than base but worse" in conclusion(other, [], "base", "HU")


@pytest.mark.parametrize("differences", [[0] * 8, [1, -1.5, 2, -2.5, 3, -3.5, 4, -4.5]])
def test_a_model_that_does_not_differ_is_said_not_to_be_better(differences):
    theirs = np.arange(8) * 10.0
    found = compare_paired("mae", theirs + differences, theirs, higher_is_better=False)
    assert found.verdict == "not different"
    assert found.p > 0.05
    assert conclusion(found, [], "base", "HU").startswith("This model is not better than base")
    json.dumps(found.to_json(), allow_nan=False)


def test_a_figure_that_disagrees_with_the_error_is_named():
    ours = np.arange(8) + 0.5
    mae = compare_paired("mae", ours, ours + 1, higher_is_better=False)
    ssim = compare_paired("ssim_3d", ours, ours + 1, higher_is_better=True)
    sentence = conclusion(mae, [ssim], "base", "HU")
    assert sentence.startswith("This model is better than base")
    assert sentence.endswith("Its SSIM (3-D) is worse.")


def test_one_patient_has_no_test():
    found = compare_paired("ssim_3d", [0.9], [0.8], higher_is_better=True)
    assert found.p is None
    assert found.verdict == "too few"
    assert "1 test patient is too few" in conclusion(found, [], "base", "HU")
