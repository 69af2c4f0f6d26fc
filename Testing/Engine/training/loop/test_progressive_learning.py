"""Three tiny phases on simulated heads: they learn, later ones add to earlier ones, and Eq. 1 finds β."""

import json

import numpy as np
import pytest

from Engine.training_runs import train_beside
from upgan.evaluation.report import evaluate
from upgan.images.scope import scope_of
from upgan.inference.engine import InferenceEngine
from upgan.pairs.finding import find_pairs
from upgan.pairs.preparation import prepare_pair
from upgan.tasks import PET_TO_CT
from upgan.training.model.export import export
from upgan.training.settings.config import TrainingConfig
from upgan.uncertainty.coverage import LEVELS

pytestmark = pytest.mark.nightly

TRAINED, HELD_OUT = 8, 6
CASCADE = "cascade"
FORMS = ("generalized_gaussian", "published_product")


@pytest.fixture(scope="module")
def heads(tmp_path_factory, write_pairs):
    folder = tmp_path_factory.mktemp("heads")
    write_pairs(folder, range(30, 31 + TRAINED + HELD_OUT))
    return folder


def config(heads, epochs=(3, 2, 1), joint_epochs=1, rate=3e-3, form=FORMS[0]):
    return TrainingConfig.model_validate(
        {
            "name": "tiny",
            "seed": 3,
            "architecture": {"phases": len(epochs), "width": 8, "deepest": 4},
            "data": {"path": str(heads)},
            "split": {"train": TRAINED, "validation": 1, "test": HELD_OUT},
            "augmentation": {"flip": 0.5},
            "loss": {"form": form, "l1": 2.2, "outside_body": 0.02},
            "discriminator": {"width": 8},
            "schedule": {
                "epoch_steps": 45,
                "epochs": epochs,
                "joint_epochs": joint_epochs,
                "learning_rate": rate,
                "warm_up": 10,
                "gradient_clip": 1.0,
            },
            "compute": {"device": "cpu"},
        }
    )


@pytest.fixture(scope="module")
def runs(heads, tmp_path_factory):
    """A cascade with Eq. 1, and one network with each loss, otherwise the same.

    Each phase's β begins at 1.5 and has to come down by the bias of its head, a step of the learning rate at a time: so
    the networks that are compared take all their steps at a rate at which β arrives, and none begins late in the run.
    """
    folder = tmp_path_factory.mktemp("runs")
    train_beside(config(heads), folder / CASCADE)
    for form in FORMS:
        train_beside(config(heads, [4], 0, 1e-2, form), folder / form)
    return folder


@pytest.fixture(scope="module")
def split(runs):
    return json.loads((runs / CASCADE / "split.json").read_text(encoding="utf-8"))


def model(runs, name, checkpoint, folder):
    return InferenceEngine(export(runs / name, folder / f"{name}-{checkpoint}", "x", "1", checkpoint), "cpu")


def beta_of(engine, pairs):
    """Median of the last phase's β inside the bodies."""
    maps = [engine.translate(pair.source).last.beta[scope_of(pair.target, "HU").mask] for pair in pairs]
    return np.median(np.concatenate(maps))


def pairs_of(heads, names):
    data = config(heads).data
    files = {pair.subject: pair for pair in find_pairs(data)}
    return [prepare_pair(files[name], data, PET_TO_CT) for name in names]


def errors(images, pairs):
    """Mean absolute error of each head inside its body, HU."""
    return np.array(
        [
            np.abs(image - pair.target.voxels)[scope_of(pair.target, "HU").mask].mean()
            for image, pair in zip(images, pairs, strict=True)
        ]
    )


def translated(engine, pairs):
    return [engine.translate(pair.source).last.image for pair in pairs]


def test_the_cascade_beats_the_mean_head_and_its_own_first_phase_on_heads_it_has_not_seen(runs, heads, split, tmp_path):
    held_out = pairs_of(heads, split["test"])
    cascade = errors(translated(model(runs, CASCADE, "all_phases", tmp_path), held_out), held_out)
    mean = np.mean([pair.target.voxels for pair in pairs_of(heads, split["train"])], axis=0)
    assert (cascade < 0.8 * errors([mean] * len(held_out), held_out)).all()
    first = model(runs, CASCADE, "phase_1", tmp_path)
    assert first.bundle.metadata.upgan.architecture.phases == 1
    assert (cascade < errors(translated(first, held_out), held_out)).all()


def test_equation_1_and_the_published_loss_differ_in_beta_and_in_what_their_intervals_hold(
    runs, heads, split, tmp_path
):
    held_out = pairs_of(heads, split["test"])
    betas, coverages = {}, {}
    for form in FORMS:
        engine = model(runs, form, "phase_1", tmp_path)
        figures = evaluate(engine, held_out, len(held_out))["phases"]["1"]
        coverages[form] = [figures[f"network_coverage_{level:.0%}"][0] for level in LEVELS]
        betas[form] = beta_of(engine, held_out)
    # Read before it has arrived, from 1.5; one network with Eq. 1 arrives near 0.9.
    assert beta_of(model(runs, CASCADE, "all_phases", tmp_path), held_out) > 0.9
    assert betas["published_product"] == pytest.approx(0.684, abs=0.08)  # its optimum whatever the data are
    assert betas["generalized_gaussian"] > betas["published_product"] + 0.1
    # So its σ comes out too large: its intervals hold more than they promise, and more than those of Eq. 1.
    for level, ours, published in zip(LEVELS, *coverages.values(), strict=True):
        assert published > level
        assert published > ours
