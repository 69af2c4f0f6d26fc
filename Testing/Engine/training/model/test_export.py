"""From a run's folder to a model: what is calibrated on whom, what is measured, and what the card says of it."""

import functools
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch import nn

from Engine.heads import read_pairs
from Engine.tissues import of_tissues
from upgan.bundles.bundle import Bundle, problems, software_versions, write_bundle
from upgan.bundles.domain import Domain
from upgan.bundles.library import find_bundle
from upgan.errors import Cancelled, InputError, OutputError
from upgan.evaluation.report import evaluate
from upgan.images.reading import read_volume
from upgan.images.scope import scope_of
from upgan.images.volume import Volume
from upgan.images.writing import write_volume
from upgan.inference.engine import InferenceEngine
from upgan.networks.cascade import Cascade, CascadeArchitecture
from upgan.networks.published import PublishedArchitecture, PublishedCascade
from upgan.pairs.finding import PairFiles
from upgan.pairs.preparation import combined_sha256, image_sha256
from upgan.progress import Progress
from upgan.simulation.degradation import NAMES, Degradation
from upgan.tasks import MRI_UNDERSAMPLED, PET_TO_CT
from upgan.training.model import card as card_text
from upgan.training.model.export import export
from upgan.training.model.familiarity import limited
from upgan.training.record import checkpoint
from upgan.training.record.state import Best, RunState
from upgan.training.settings.config import LossConfig
from upgan.uncertainty.familiarity import Familiarity

SUBJECTS = [f"sub-{number:03}" for number in range(1, 10)]
SPLIT = {"train": SUBJECTS[:1], "validation": SUBJECTS[1:3], "test": SUBJECTS[3:]}
STATEMENT = "Simulated data: no patient was imaged."


@pytest.fixture(scope="module")
def heads(tmp_path_factory, write_pairs) -> Path:
    """A folder with nine small heads."""
    folder = tmp_path_factory.mktemp("heads")
    write_pairs(folder, range(21, 30))
    return folder


def network(phases=2, offset=0.0, seed=4) -> Cascade:
    """A cascade that follows the input and knows its mean error, off by so many network units (1 is 1000 HU)."""
    torch.manual_seed(seed)
    cascade = Cascade(CascadeArchitecture(phases=phases, width=4, deepest=2, hand_over="product")).eval()
    with torch.no_grad():
        for generator in cascade.generators:
            for head in (generator.image_head, generator.scale_head, generator.concentration_head):
                nn.init.normal_(head.weight, 0, 0.2)
        cascade.generators[0].image_head.bias.fill_(0.8 + offset)
    return cascade


@functools.cache
def checksum(heads, subject, degraded):
    """As the run wrote it down when it began."""
    files = PairFiles(subject, None if degraded else heads / f"{subject}_nacpet.nii.gz", heads / f"{subject}_ct.nii.gz")
    sides = {side: image_sha256(read_volume(path)) for side in ("input", "target") if (path := getattr(files, side))}
    return combined_sha256(sides)


def write_run(folder, heads, cascade, *, split=SPLIT, state=None, data=None, task=PET_TO_CT, name="best", **config):
    """A run's folder as a training leaves it, without its cache."""
    run = folder / "run"
    run.mkdir()
    architecture = cascade.architecture.model_dump(mode="json")
    schedule = {"epochs": [7] * cascade.architecture.phases, "joint_epochs": 3, **config.pop("schedule", {})}
    settings = {"name": "tiny", "architecture": architecture, "data": {"path": str(heads / "manifest.json")}}
    settings["data"] |= data or {}
    contents = {
        "config": {**settings, "schedule": schedule, **config},
        "split": split,
        "data": {
            "pairs": [
                {
                    "subject": subject,
                    "input": None if data else str(heads / f"{subject[:7]}_nacpet.nii.gz"),
                    "target": str(heads / f"{subject[:7]}_ct.nii.gz"),
                    "problems": [],
                    "sha256": checksum(heads, subject[:7], degraded=bool(data)),
                }
                for part in split.values()
                for subject in part
            ],
            "fingerprint": "f00d" * 16,
            "spacing_mm": [4.0, 4.0],
            "plane": "axial",
            "task": task.model_dump(mode="json"),
            "statement": STATEMENT,
            "base_sha256": find_bundle(config["base"]).sha256 if "base" in config else None,
        },
    }
    for stem, content in contents.items():
        (run / f"{stem}.json").write_text(json.dumps(content), encoding="utf-8")
    (run / "machine.txt").write_text("a calculator", encoding="utf-8")
    lines = [
        {"kind": "stage", "stage": 1, "stages": 3, "phases": [1], "epochs": 7, "steps": 70},
        {"kind": "validation", "stage": 1, "epoch": 7, "step": 70, "phases": {}, "best": False},
        {"kind": "stage", "stage": 3, "stages": 3, "phases": [1, 2], "epochs": 3, "steps": 30},
        {"kind": "validation", "stage": 3, "epoch": 2, "step": 20, "phases": {}, "best": True},
    ]
    (run / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    state = {"phases_trained": cascade.architecture.phases, **(state or {})}
    made = RunState(total_steps=123, seconds=5400.0, best=Best(3, 2, 100.0), **state)
    checkpoint.save(checkpoint.path_of(run, name), checkpoint.weights(cascade), made.to_json())
    return run


def write_base(folder, cascade, name="older") -> Bundle:
    metadata = {"name": name, "version": "0.9", "description": "", **software_versions()}
    section = {"task": PET_TO_CT.model_dump(mode="json"), "spacing_mm": (4.0, 4.0)}
    return write_bundle(folder / name, cascade, metadata, section, "", "")


def card_of(bundle: Bundle) -> str:
    return (bundle.folder / "docs" / "README.md").read_text(encoding="utf-8")


def in_one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def published(heads, tmp_path_factory):
    """A run, what was heard while it was published, and the model."""
    folder = tmp_path_factory.mktemp("published")
    cascade, heard = network(), []
    run = write_run(folder, heads, cascade)
    progress = Progress(lambda what, fraction, remaining_s: heard.append((what, fraction)))
    bundle = export(run, folder / "tiny", "for tests", "0.3.1", progress=progress)
    return SimpleNamespace(run=run, cascade=cascade, heard=heard, bundle=bundle)


def test_a_published_model_verifies_and_is_that_of_the_checkpoint_in_half_precision(published):
    bundle = Bundle.open(published.bundle.folder)
    assert problems(bundle.folder) == []
    assert (bundle.metadata.name, bundle.metadata.version) == ("tiny", "0.3.1")
    assert (bundle.folder / "LICENSE").read_text(encoding="utf-8") == "for tests"
    section = bundle.metadata.upgan
    assert (section.task, section.plane, section.spacing_mm) == (PET_TO_CT, "axial", (4.0, 4.0))
    for name, tensor in bundle.load_cascade().state_dict().items():
        expected = published.cascade.state_dict()[name]
        torch.testing.assert_close(tensor, expected.half().float() if expected.is_floating_point() else expected)


def test_each_phase_is_scaled_as_is_most_likely_on_the_validation_patients_and_on_no_other(published, heads, tmp_path):
    engine = InferenceEngine(write_base(tmp_path, published.cascade), "cpu")
    residuals: dict[int, list] = {1: [], 2: []}
    counts = []
    for pair in read_pairs(heads, *SPLIT["validation"]):
        mask = scope_of(pair.target, "HU").mask
        counts.append(mask.sum())
        for phase, maps in engine.translate(pair.source, phases="all").phases.items():
            error = pair.target.voxels - maps.image
            residuals[phase].append(np.stack([array[mask] for array in (error, maps.alpha, maps.beta)]).astype(float))
    calibration = published.bundle.metadata.upgan.calibration
    assert calibration.measured_on == "validation"
    assert calibration.patients == 2
    assert calibration.voxels == min(counts)  # the larger body is sampled, the other is there whole
    for phase, factor in enumerate(calibration.scale, start=1):

        def surprise(log_s, parts=residuals[phase]):
            # Every patient counts the same.
            return -sum(stats.gennorm.logpdf(r, b, 0, np.exp(log_s) * a).mean() for r, a, b in parts)

        best = np.exp(optimize.minimize_scalar(surprise, bounds=(-5, 5), method="bounded").x)
        assert factor == pytest.approx(best, rel=0.02)
        assert abs(np.log(best)) > 0.05  # there was something to correct
    assert set(calibration.conformal.values()) == {None}
    assert "too few" in calibration.note


def test_ninety_per_cent_intervals_hold_ninety_per_cent_of_what_the_image_shows_as_a_tissue(published, heads):
    engine = InferenceEngine(Bundle.open(published.bundle.folder))
    shares: dict[str, list[float]] = {}
    for pair in read_pairs(heads, *SPLIT["validation"]):
        mask = scope_of(pair.target, "HU").mask
        maps = engine.translate(pair.source).last
        image, alpha, beta = (array[mask].astype(float) for array in (maps.image, maps.alpha, maps.beta))
        for key, share in of_tissues(image, pair.target.voxels[mask], alpha, beta).items():
            shares.setdefault(key, []).append(share)
    calibration = published.bundle.metadata.upgan.calibration
    known = [each for each in calibration.tissues if each.patients == 2]
    assert known
    for each in calibration.tissues:
        assert each in known or each.scale == calibration.scale[-1]
    for each in known:
        # Of some thousand voxels of a head, most of which the factors were fitted to.
        assert np.mean(shares[f"coverage_90%_predicted_{each.tissue}"]) == pytest.approx(0.9, abs=0.01), each.tissue


def test_the_figures_are_those_of_the_calibrated_model_on_the_test_patients(published, heads):
    engine = InferenceEngine(Bundle.open(published.bundle.folder))
    measured = evaluate(engine, read_pairs(heads, *SPLIT["test"]), 6)
    assert measured.pop("rows")
    assert published.bundle.metadata.upgan.figures["test"] == measured


def test_the_domain_is_that_of_the_training_inputs_and_on_the_card(published, heads):
    inputs = [pair.source for pair in read_pairs(heads, *SPLIT["train"])]
    domain = published.bundle.metadata.upgan.domain
    assert domain == Domain.measure(inputs, "axial")
    assert domain.describe() in in_one_line(card_of(published.bundle))


def test_the_features_are_those_of_the_training_inputs_and_two_held_out_patients_set_no_limit(published, heads):
    engine = InferenceEngine(Bundle.open(published.bundle.folder), precision="auto")
    inputs = [pair.source for pair in read_pairs(heads, *SPLIT["train"])]
    found = published.bundle.metadata.upgan.familiarity
    assert found == Familiarity.measure(map(engine.slice_features, inputs))
    assert (found.volumes, len(found.mean), found.limits) == (1, 8, None)
    assert "cannot tell whether an image is unlike" in in_one_line(card_of(published.bundle))


def test_the_limits_are_set_on_the_validation_patients_through_the_engine(published, heads):
    engine = InferenceEngine(Bundle.open(published.bundle.folder))
    pairs = list(read_pairs(heads, *SUBJECTS[1:4]))
    limits = limited(engine, pairs, 3).limits
    scores = [engine.translate(pair.source, epistemic=True).provenance["familiarity"]["scores"] for pair in pairs]
    assert (limits.subjects, limits.measured_on) == (3, "validation")
    for name, limit in (("features", limits.features), ("flip", limits.flip)):
        logarithms = np.log([score[name] for score in scores])
        # A further one of three: t of two degrees, by scipy.
        expected = stats.t(2, logarithms.mean(), logarithms.std(ddof=1) * np.sqrt(4 / 3)).ppf(0.99)
        assert np.log(limit) == pytest.approx(expected, rel=1e-4)


def test_the_card_states_what_was_measured_and_how_the_model_was_made(published):
    card = card_of(published.bundle)
    metadata = published.bundle.metadata.upgan
    rows = {line.split(" | ")[0].strip("| "): line for line in card.splitlines() if line.startswith("|")}
    for phase in metadata.figures["test"]["phases"].values():
        assert f"{phase['mae'][0]:.1f} ± {phase['mae'][1]:.1f}" in rows["MAE (HU)"]
        assert f"{phase['ssim_3d'][0]:.3f} ± " in rows["SSIM (3-D)"]
        assert f"{phase['ssim_2d'][0]:.3f} ± " in rows["SSIM (2-D, slice by slice)"]
        assert f"{phase['coverage_90%'][0]:.1%} ± " in rows["coverage of 90 %"]
    last = metadata.figures["test"]["phases"]["2"]
    assert rows["90%"] == f"| 90% | {last['network_coverage_90%'][0]:.1%} | {last['coverage_90%'][0]:.1%} |"
    for key, title in (("predicted_soft", "90% shown as soft tissue"), ("bone", "90% truly bone")):
        shares = [last[f"{which}coverage_90%_{key}"][0] for which in ("network_", "")]
        assert rows[title] == f"| {title} | {shares[0]:.1%} | {shares[1]:.1%} |"
    text = in_one_line(card)
    for stated in (
        "# tiny 0.3.1",
        "Not for patients",
        STATEMENT,
        "1 subject to train on, 2 to watch, 6 held out",
        "f00d" * 16,
        "width 4",
        "σ guidance on (Eq. 3 and 4)",
        "Trained for 1.5 hours (123 steps of 8 slices) on a calculator",
        "stage 1 of 3 (phase 1) 7 of 7; stage 3 of 3 (phases 1 and 2 together) 2 of 3",
        "epoch 2 of stage 3",
        "where L is Eq. 1",
        "schedule.epochs = [7, 7]",
        "6 patients held out",
        " and ".join(f"{factor:.3f}" for factor in metadata.calibration.scale),
        "{:.3f}, {:.3f} and {:.3f} instead".format(*(each.scale for each in metadata.calibration.tissues)),
        in_one_line(metadata.calibration.note),
        "6 patients to test on: the figures are no more than an impression",
    ):
        assert stated in text, stated


def test_neither_card_nor_metadata_names_a_patient_or_a_place_on_the_disk(published, heads):
    files = [path for path in published.bundle.folder.rglob("*") if path.suffix in (".md", ".json")]
    assert len(files) == 2
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not [subject for subject in SUBJECTS if subject in text]
        assert str(heads) not in text
        assert str(published.run) not in text


def test_the_progress_rises_through_all_parts_to_one(published):
    fractions = [fraction for _, fraction in published.heard]
    assert fractions == sorted(fractions)
    assert fractions[0] > 0
    assert fractions[-1] == 1
    texts = [text for text, _ in published.heard]
    for part in ("calibrating on validation patient 2 of 2", "measuring on test patient 6 of 6"):
        assert part in texts


def test_publishing_can_be_cancelled_and_leaves_nothing(published, tmp_path):
    def stop(text: str, *told) -> None:
        if "measuring" in text:
            raise Cancelled

    with pytest.raises(Cancelled):
        export(published.run, tmp_path / "model", "", "1", progress=Progress(stop))
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_the_checkpoint_is_not_published(published, tmp_path):
    with pytest.raises(InputError, match="phase_1") as refusal:
        export(published.run, tmp_path / "model", "", "1", checkpoint="phase_1")
    assert refusal.value.code == "run_unfinished"
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_has_taken_no_step_is_not_published(heads, tmp_path):
    run = write_run(tmp_path, heads, network(), state={"phases_trained": 0})
    with pytest.raises(InputError) as refusal:
        export(run, tmp_path / "model", "", "1")
    assert refusal.value.code == "run_unfinished"


def test_images_that_are_not_those_of_the_run_are_not_measured_on(heads, tmp_path):
    run = write_run(tmp_path, heads, network(), split=FEW)
    content = json.loads((run / "data.json").read_text(encoding="utf-8"))
    content["pairs"][-1]["sha256"] = "of another image"
    (run / "data.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=content["pairs"][-1]["subject"]) as refusal:
        export(run, tmp_path / "model", "", "1")
    assert refusal.value.code == "images_changed"
    assert not (tmp_path / "model").exists()


def test_what_cannot_be_written_is_refused_before_any_work(published, tmp_path):
    with pytest.raises(OutputError) as refusal:
        export(published.run, tmp_path, "", "1", progress=Progress(pytest.fail))
    assert refusal.value.code == "exists"
    with pytest.raises(InputError) as named:
        export(published.run, tmp_path / "model", "", "1", name="../up", progress=Progress(pytest.fail))
    assert named.value.code == "bad_name"


def test_a_damaged_run_is_refused(published, heads, tmp_path):
    run = write_run(tmp_path, heads, network())
    (run / "data.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        export(run, tmp_path / "model", "", "1")
    assert refusal.value.code == "run_damaged"


FEW = {"train": SUBJECTS[:1], "validation": SUBJECTS[1:2], "test": SUBJECTS[2:3]}


def test_phases_that_were_not_trained_yet_are_left_out(heads, tmp_path):
    cascade = network(phases=3)
    run = write_run(tmp_path, heads, cascade, split=FEW, state={"phases_trained": 1}, name="last")
    bundle = export(run, tmp_path / "model", "", "1", checkpoint="last", name="first-phase")
    assert bundle.metadata.name == "first-phase"
    assert bundle.metadata.upgan.architecture.phases == 1
    assert len(bundle.metadata.upgan.calibration.scale) == 1
    a = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        (found,), (expected, *_) = bundle.load_cascade()(a), cascade(a)
    torch.testing.assert_close(found.loc, expected.loc, rtol=2e-2, atol=2e-2)
    card = in_one_line(card_of(bundle))
    assert "The training was planned with 3 phases" in card
    assert "± 0.0" not in card  # of one test patient there is no spread
    assert "checkpoint 'last'" in card


def test_the_statement_knows_whether_the_validation_patients_chose_the_weights(heads, tmp_path):
    from upgan.training.model.trained_run import TrainedRun

    run = write_run(tmp_path, heads, network(), split=FEW, name="last")
    checkpoint.path_of(run, "best").write_bytes(checkpoint.path_of(run, "last").read_bytes())
    assert TrainedRun.read(run, "best").chosen_by_validation
    assert not TrainedRun.read(run, "last").chosen_by_validation
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config["schedule"]["early_stopping"] = 3
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert TrainedRun.read(run, "last").chosen_by_validation


def test_a_better_model_than_its_base_is_said_to_be_better_patient_by_patient(heads, tmp_path):
    base = write_base(tmp_path, network(offset=-1.0))
    run = write_run(tmp_path, heads, network(), base=str(base.folder))
    bundle = export(run, tmp_path / "model", "", "1")
    ours, theirs = (
        evaluate(InferenceEngine(model), read_pairs(heads, *SPLIT["test"]), 6)["rows"]["2"] for model in (bundle, base)
    )
    differences = np.array([ours[subject]["mae"] - theirs[subject]["mae"] for subject in SPLIT["test"]])
    compared = bundle.metadata.upgan.figures["compared_with"]
    assert (compared["name"], compared["version"], compared["sha256"]) == ("older", "0.9", base.sha256)
    mae = compared["tests"][0]
    assert (differences < 0).all()
    assert mae["verdict"] == "better"
    assert mae["p"] == pytest.approx(2 / 2**6)
    assert mae["difference"] == pytest.approx(np.median(differences))
    assert (mae["smallest"], mae["largest"]) == pytest.approx((differences.min(), differences.max()))
    card = in_one_line(card_of(bundle))
    assert "**This model is better than older" in card
    assert f"{mae['difference']:+.2f} ({mae['smallest']:+.2f} to {mae['largest']:+.2f}) | 0.031" in card
    assert "It went on from older 0.9" in card
    assert [test["key"] for test in compared["tests"]] == ["mae", "psnr", "ssim_3d"]
    assert "| SSIM (3-D) |" in card
    assert str(tmp_path) not in card


def test_a_model_that_its_base_equals_is_said_not_to_be_better(heads, tmp_path):
    base = write_base(tmp_path, network())
    run = write_run(tmp_path, heads, network(), base=str(base.folder))
    card = in_one_line(card_of(export(run, tmp_path / "model", "", "1")))
    assert "**This model is not better than older" in card


def test_a_restoration_has_its_figures_in_the_inputs_unit(heads, tmp_path):
    for subject, pair in zip(SUBJECTS[:3], read_pairs(heads, *SUBJECTS[:3]), strict=True):
        write_volume(
            Volume(np.maximum(pair.target.voxels + 1000, 0), pair.target.ijk_to_ras), tmp_path / f"{subject}_ct.nii.gz"
        )
    data = {"task": "mri_undersampled", "degradation": "central_lines"}
    run = write_run(tmp_path, tmp_path, network(), split=FEW, data=data, task=MRI_UNDERSAMPLED)
    bundle = export(run, tmp_path / "model", "", "1")
    test = bundle.metadata.upgan.figures["test"]
    assert test["unit"] == ""
    card = in_one_line(card_of(bundle))
    assert "MAE (the input's unit)" in card
    assert "HU" not in card
    assert "the central 8 % of the phase-encoding lines were kept" in card
    assert "a range of its own for each subject" in card


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("random_4x", " The inputs were made from the targets: a random fourth of the phase-encoding lines was kept, "),
        (Degradation(kinds=("regular_8x", "motion"), axis="either", snr=20.0), "along the rows or the columns"),
        (Degradation(kinds=("regular_8x", "motion"), axis="either", snr=20.0), "an SNR of 20."),
        ("any_motion", "1 to 5 mm or degrees far"),
    ],
)
def test_the_card_says_how_inputs_were_made(choice, said):
    assert said in card_text.degradation_in_words(choice)
    assert card_text.degradation_in_words("none") == ""


def test_every_degradation_has_words():
    assert all(card_text.degradation_in_words(name) for name in NAMES if name != "none")


def test_from_nine_validation_patients_on_the_card_has_the_conformal_table(heads, tmp_path):
    nine = [f"{subject}a" for subject in SUBJECTS]  # patients of their own with the same images
    split = {"train": SUBJECTS[:1], "validation": nine, "test": SUBJECTS[1:2]}
    bundle = export(write_run(tmp_path, heads, network(), split=split), tmp_path / "model", "", "1")
    calibration = bundle.metadata.upgan.calibration
    # Of nine patients the largest: what each needs of the network's own intervals, before the scale.
    engine = InferenceEngine(write_base(tmp_path, network()), "cpu")
    needed = []
    for pair in read_pairs(heads, *SUBJECTS):
        mask = scope_of(pair.target, "HU").mask
        maps = engine.translate(pair.source).last
        z = np.abs(pair.target.voxels - maps.image)[mask].astype(float) / maps.alpha[mask]
        level = 2 * stats.gennorm.cdf(z, maps.beta[mask].astype(float)) - 1
        shown = maps.image[mask]
        parts = [level, level[shown <= -300], level[(shown > -300) & (shown <= 200)], level[shown > 200]]
        needed.append(
            [
                [np.sort(part)[int(np.ceil(share * part.size)) - 1] if part.size >= 100 else None for part in parts]
                for share in calibration.conformal
            ]
        )
    tables = [calibration.conformal, *(each.conformal for each in calibration.tissues)]
    for at, share in enumerate(calibration.conformal):
        for table, *asked in zip(tables, *(patient[at] for patient in needed), strict=True):
            assert table[share] == (None if None in asked else pytest.approx(max(asked), abs=1e-4))
    tables = [each for each in tables if each[0.9] is not None]
    assert len(tables) > 1
    card = card_of(bundle)
    for share in calibration.conformal:
        (printed,) = re.findall(rf"^\| {share:.0%} ((?:\| [0-9.]+ )+)\|$", card, re.MULTILINE)
        for level, shown in zip((each[share] for each in tables), printed.strip("| ").split(" | "), strict=True):
            assert level <= float(shown) < level + 1.01e-4
    assert "(α/s)·P⁻¹(1/β, u)^(1/β)" in in_one_line(card)
    others = [each.note for each in calibration.tissues if each.patients != calibration.patients]
    said = [calibration.note, *others]
    alike = len(calibration.tissues) - len(others)
    assert in_one_line(card).count("no certificate is claimed") == sum("no certificate" in note for note in said)
    assert in_one_line(card).count("The same is said of the voxels that the image shows as") == (alike > 0)


def test_several_sessions_of_a_patient_are_one_patient(heads, tmp_path):
    split = {
        "train": ["sub-001"],
        "validation": ["sub-002_ses-1", "sub-002_ses-2"],
        "test": ["sub-003_ses-1", "sub-003_ses-2", "sub-004"],
    }
    bundle = export(write_run(tmp_path, heads, network(), split=split), tmp_path / "model", "", "1")
    assert bundle.metadata.upgan.calibration.patients == 1
    assert bundle.metadata.upgan.figures["test"]["subjects"] == 2
    card = in_one_line(card_of(bundle))
    assert "1 subject to train on, 2 to watch, 3 held out" in card
    assert "these are 1, 1 and 2 patients" in card
    assert "2 patients held out, one scan each" in card


def test_a_model_with_the_authors_wiring_and_loss_says_so(heads, tmp_path):
    torch.manual_seed(2)
    cascade = PublishedCascade(PublishedArchitecture(chains=(2, 1), width=2)).eval()
    run = write_run(tmp_path, heads, cascade, split=FEW, loss={"form": "published_product"})
    bundle = export(run, tmp_path / "model", "", "1")
    assert bundle.metadata.upgan.architecture == cascade.architecture
    card = in_one_line(card_of(bundle))
    assert "the networks and wiring of the authors' code (2 and 1 U-Nets in the phases" in card
    assert "the published code's product in place of Eq. 1" in card


def test_a_model_of_another_loss_says_so_and_what_its_maker_remarks(heads, tmp_path):
    loss = {"form": "beta_nll", "l1": 2.2, "outside_body": 0.02, "adversarial": 0.0, "normalisation": "body"}
    run = write_run(tmp_path, heads, network(), split=FEW, loss=loss)
    card = in_one_line(card_of(export(run, tmp_path / "model", "", "1", remark="Another one\n  is better.")))
    assert "Loss: 1·L (weight 0.02 outside the body) + 2.2·L1, where L is Eq. 1 weighed by the predicted σ" in card
    assert "β tells the shape of the error where" in card
    assert "## Remark Another one is better. ## Uncertainty" in card


@pytest.mark.parametrize("form", get_args(LossConfig.model_fields["form"].annotation))
def test_each_loss_that_can_be_trained_with_has_its_words(form):
    words = {"generalized_gaussian": "Eq. 1", "beta_nll": "β-NLL", "detached_mean": "it does not train"}
    assert words.get(form, "in place of Eq. 1") in card_text._loss(LossConfig(form=form, l1=1.0))


def test_a_model_without_guidance_is_called_the_ablation(heads, tmp_path):
    cascade = Cascade(CascadeArchitecture(phases=2, width=4, deepest=2, hand_over="image")).eval()
    run = write_run(tmp_path, heads, cascade, split=FEW)
    assert "σ guidance off, which is the paper's ablation" in in_one_line(
        card_of(export(run, tmp_path / "model", "", "1"))
    )


def test_images_with_too_little_of_an_object_make_a_model_that_cannot_tell_and_says_so(heads, tmp_path, monkeypatch):
    monkeypatch.setattr("upgan.uncertainty.familiarity.FEWEST_PIXELS", 10**6)
    bundle = export(write_run(tmp_path, heads, network(), split=FEW), tmp_path / "model", "", "1")
    assert bundle.metadata.upgan.familiarity is None
    assert "cannot tell whether one is unlike" in in_one_line(card_of(bundle))
