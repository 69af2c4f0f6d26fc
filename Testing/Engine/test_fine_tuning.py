"""A site's scanner differs from the one that the bundled model knows: five of its heads make the model better there."""

import pytest

from Engine.training_runs import train_beside, write_site
from upgan.training.config import TrainingConfig
from upgan.training.presets import preset
from upgan.training.publish import publish

BASE = "pet-ct-phantom"
HELD_OUT = 8


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Pairs of the site's scanner: five heads to train on, one to watch, eight held out."""
    folder = tmp_path_factory.mktemp("site")
    write_site(folder, 6 + HELD_OUT)
    return folder


@pytest.fixture(scope="module")
def model(site, tmp_path_factory):
    """The fine-tuned model: the preset with fewer epochs, for a test has no hours."""
    values = preset("fine-tune", BASE)
    values["schedule"] |= {"joint_epochs": 4, "joint_learning_rate": 5e-4, "weight_averaging": None}
    config = TrainingConfig.model_validate(
        {
            "name": "site",
            "data": {"path": str(site)},
            "split": {"train": 5, "validation": 1, "test": HELD_OUT},
            "compute": {"device": "cpu"},
            **values,
        }
    )
    folder = tmp_path_factory.mktemp("fine-tuning")
    train_beside(config, folder / "run")
    return publish(folder / "run", folder / "model", "for tests", "1")


def test_fine_tuning_on_five_heads_lowers_the_error_on_held_out_heads_of_that_scanner(model):
    comparison = model.metadata.upgan.figures["compared_with"]
    (mae,) = [test for test in comparison["tests"] if test["key"] == "mae"]
    assert comparison["name"] == BASE
    assert mae["patients"] == HELD_OUT
    assert mae["largest"] < 0  # on each of them
    assert mae["p"] < 0.01  # 2·2⁻⁸ where all eight agree
    assert mae["difference"] < -0.05 * mae["theirs"]


def test_its_card_says_so(model):
    card = " ".join((model.folder / "docs" / "README.md").read_text(encoding="utf-8").split())
    assert f"better than {BASE}" in card
    assert "Not for patients" in card
    assert "22" in card  # patients that a certificate of the intervals would need


def test_its_intervals_hold_what_they_promise_more_or_less(model):
    figures = model.metadata.upgan.figures["test"]["phases"]
    last = figures[max(figures)]
    assert last["coverage_90%"][0] == pytest.approx(0.9, abs=0.06)
