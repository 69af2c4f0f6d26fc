"""A run whose files are damaged, or were edited while it was paused."""

import json

import pytest
from safetensors.torch import save_file

from Engine.training_runs import Onlooker, edited, flipped, tiny
from upgan.errors import Cancelled, InputError
from upgan.training.model.trained_run import TrainedRun
from upgan.training.record import checkpoint
from upgan.training.record.run_config import read_run_config, write_run_config
from upgan.training.record.runs import read_run
from upgan.training.run.finishing import finish
from upgan.training.run.trainer import resume, train


@pytest.fixture
def copied(paused_after):
    """A run that was paused in its second stage."""
    return paused_after(11)


def moved_from_test_to_train(split):
    split["train"].append(split["test"].pop())
    split["test"].append(split["train"].pop(0))


def without_memory(run):
    """Make a run's checkpoints what earlier versions wrote."""
    for path in [*(run / "checkpoints").iterdir()]:
        tensors, state = checkpoint.load(path)
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, path, metadata={"state": json.dumps(state)})


def makes_a_model_or_goes_on(run):
    """Whatever is made of a run: it goes on, or a model is read of it."""
    yield lambda: resume(run, Onlooker())
    yield lambda: TrainedRun.read(run, "best")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("config.json", lambda c: c["data"].update(plane="coronal"), ['data.plane "axial" → "coronal"']),
        ("config.json", lambda c: c.update(seed=8), ["seed 7 → 8"]),
        ("config.json", lambda c: c["split"].update(seed=3), ["split.seed 0 → 3"]),
        ("config.json", lambda c: c["schedule"].update(learning_rate=1.0), ["schedule.learning_rate 0.005 → 1.0"]),
        ("config.json", lambda c: c["schedule"].update(epochs=[9, 2]), ["schedule.epochs [3, 2] → [9, 2]"]),
        ("config.json", lambda c: c["architecture"].update(width=512), ["architecture.width 4 → 512"]),
        ("config.json", lambda c: c["discriminator"].update(width=8), ["discriminator.width 4 → 8"]),
        ("split.json", moved_from_test_to_train, ["test → train", "train → test"]),
        ("data.json", lambda c: c["pairs"][0].update(sha256="f" * 64), ["checksum of the images of sub-001"]),
        ("data.json", lambda c: c.update(spacing_mm=[1.0, 4.0]), ["spacing_mm", "→ [1.0, 4.0]"]),
        ("data.json", lambda c: c["task"]["output"].update(factor=500.0), ["task.output.factor 1000.0 → 500.0"]),
    ],
)
def test_what_was_edited_since_a_run_was_begun_is_named_and_not_gone_on_with(copied, name, change, said):
    cached = {path: path.read_bytes() for path in (copied / "cache").iterdir()}
    edited(copied / name, change)
    for way in makes_a_model_or_goes_on(copied):
        with pytest.raises(InputError) as refusal:
            way()
        assert refusal.value.code == "run_changed"
        assert all(each in refusal.value.sentence for each in said)
        assert name in refusal.value.remedy
    assert {path: path.read_bytes() for path in (copied / "cache").iterdir()} == cached


def test_what_may_change_while_a_run_is_paused_is_gone_on_with(copied):
    def change(config):
        config.update(name="another")
        config["compute"].update(device="auto", loaders=0)

    edited(copied / "config.json", change)
    onlooker = Onlooker(stop_after=1)
    with pytest.raises(Cancelled):
        resume(copied, onlooker)
    assert [event["code"] for event in onlooker.of("event")] == ["resumed", "paused"]


def test_lost_descriptions_are_made_again_only_where_they_come_out_the_same(copied):
    (copied / "data.json").unlink()
    edited(copied / "config.json", lambda config: config["split"].update(seed=3))
    with pytest.raises(InputError, match=r"split.seed 0 → 3") as refusal:
        resume(copied, Onlooker())
    assert refusal.value.code == "run_changed"
    assert not (copied / "data.json").exists()
    edited(copied / "config.json", lambda config: config["split"].update(seed=0))
    with pytest.raises(Cancelled):
        resume(copied, Onlooker(stop_after=1))


def test_a_checkpoint_remembers_patients_and_names_none(copied):
    begun = checkpoint.read_begun(checkpoint.path_of(copied, checkpoint.LAST))
    assert len(begun["patients"]) == 5
    assert all(b"sub-00" not in path.read_bytes() for path in (copied / "checkpoints").iterdir())


def test_a_run_of_an_earlier_version_goes_on_and_what_does_not_fit_its_weights_is_said(copied):
    without_memory(copied)
    for change in (
        lambda config: config["architecture"].update(width=8),
        lambda config: (config["architecture"].update(phases=1), config["schedule"].update(epochs=[3])),
        lambda config: config["architecture"].update(deepest=3),
    ):
        whole = (copied / "config.json").read_bytes()
        edited(copied / "config.json", change)
        for way in makes_a_model_or_goes_on(copied):
            with pytest.raises(InputError) as refusal:
                way()
            assert refusal.value.code in ("weights_mismatch", "checkpoint_damaged")
        (copied / "config.json").write_bytes(whole)
    edited(copied / "config.json", lambda config: config["discriminator"].update(width=8))
    with pytest.raises(InputError) as refusal:
        resume(copied, Onlooker())
    assert refusal.value.code == "weights_mismatch"
    (copied / "config.json").write_bytes(whole)
    edited(copied / "config.json", lambda config: config["data"].update(plane="coronal"))
    with pytest.raises(InputError, match='plane "axial" → "coronal"'):
        resume(copied, Onlooker())
    (copied / "config.json").write_bytes(whole)
    onlooker = Onlooker(stop_after=1)
    with pytest.raises(Cancelled):
        resume(copied, onlooker)
    assert [event["code"] for event in onlooker.of("event")] == ["resumed", "paused"]
    assert checkpoint.read_begun(checkpoint.path_of(copied, checkpoint.LAST))["config"]["seed"] == 7


ODD_JSON = {
    "empty": b"",
    "cut": b'{"pairs": [{"subj',
    "binary": bytes(range(256)),
    "list": b"[]",
    "number": b"5",
    "deep": b"[" * 50_000,
    "deep object": b'{"pairs":' * 9_000,
    "huge number": b'{"pairs": ' + b"9" * 5_000 + b"}",
    "no number": b'{"pairs": NaN}',
    "nothing in it": b"{}",
}


@pytest.mark.parametrize("name", ["data.json", "split.json", "finished.json", "config.json"])
@pytest.mark.parametrize("content", ODD_JSON.values(), ids=ODD_JSON)
def test_a_damaged_file_of_a_run_is_named_with_what_to_do(copied, name, content):
    (copied / name).write_bytes(content)
    ways = [*makes_a_model_or_goes_on(copied)]
    for way in ways[: 1 if name == "finished.json" else 2]:
        with pytest.raises(InputError) as refusal:
            way()
        assert refusal.value.code == "run_damaged"
        assert name in refusal.value.sentence
        assert name in refusal.value.remedy
    # A short look, in the viewer, does not know what belongs into the lists of patients.
    is_seen = name in ("config.json", "finished.json") or content not in (b"{}", b'{"pairs": NaN}')
    assert read_run(copied).state == ("damaged" if is_seen else "paused")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("data.json", lambda c: c["pairs"][0].update(subject=5)),
        ("data.json", lambda c: c["pairs"][0].update(input=5)),
        ("data.json", lambda c: c["pairs"].append(c["pairs"][0])),
        ("data.json", lambda c: c.pop("task")),
        ("data.json", lambda c: c["task"].update(output={"factor": 1e400})),
        ("data.json", lambda c: c.update(spacing_mm=[0, 1])),
        ("data.json", lambda c: c.update(spacing_mm=[1e-300, 1])),
        ("data.json", lambda c: c.update(notes=[5])),
        ("data.json", lambda c: c.update(statement=["x"])),
        ("data.json", lambda c: c.update(path=5)),
        ("split.json", lambda c: c.pop("test")),
        ("split.json", lambda c: c.update(more=[])),
        ("split.json", lambda c: c.update(train="abc")),
        ("split.json", lambda c: c.update(test=[])),
        ("split.json", lambda c: c["train"].append("nobody")),
        ("split.json", lambda c: c["train"].append(c["test"][0])),
        ("split.json", lambda c: c["train"].append({})),
    ],
)
def test_a_file_of_a_run_that_lacks_or_confuses_something_is_named(copied, name, change):
    edited(copied / name, change)
    for way in makes_a_model_or_goes_on(copied):
        with pytest.raises(InputError, match=name) as refusal:
            way()
        assert refusal.value.code == "run_damaged"


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"\x1b[2J", b"x" * 9_000])
def test_what_a_run_was_computed_on_is_asked_for_where_it_cannot_be_read(copied, content):
    (copied / "machine.txt").unlink()
    if content is not None:
        (copied / "machine.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"machine\.txt") as refusal:
        TrainedRun.read(copied, "best")
    assert refusal.value.code == "run_damaged"
    (copied / "machine.txt").write_text("a calculator\n", encoding="utf-8")  # as it says
    assert TrainedRun.read(copied, "best").machine == "a calculator"


@pytest.mark.parametrize("name", ["best", "phase_1"])
def test_no_model_is_made_of_a_checkpoint_with_a_flipped_bit_nor_of_a_file_elsewhere(copied, name):
    flipped(checkpoint.path_of(copied, name))
    with pytest.raises(InputError) as refusal:
        TrainedRun.read(copied, name)
    assert refusal.value.code == "checkpoint_unreadable"
    for other in ("../checkpoints/last", "x" * 5000, "a\0b", ".."):
        with pytest.raises(InputError) as refusal:
            TrainedRun.read(copied, other)
        assert refusal.value.code == "run_unfinished"


def test_a_run_whose_last_checkpoint_is_damaged_can_be_ended(copied):
    flipped(checkpoint.path_of(copied, checkpoint.LAST))
    (copied / "finished.json").write_bytes(b"{")
    finish(copied)
    finished = json.loads((copied / "finished.json").read_text(encoding="utf-8"))
    assert finished["stopped"]
    assert finished["best"]["mae"] > 0


def test_a_checkpoint_of_a_newer_version_is_not_taken_for_a_damaged_one(copied, monkeypatch):
    last = checkpoint.path_of(copied, checkpoint.LAST)
    tensors, state = checkpoint.load(last)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
        checkpoint.save(last, tensors, state)
    with pytest.raises(InputError) as refusal:
        resume(copied, Onlooker())
    assert refusal.value.code == "checkpoint_newer"


def test_slices_with_a_flipped_bit_are_made_anew_and_that_is_told(copied):
    slices = sorted((copied / "cache").glob("*.npy"))
    whole = [path.read_bytes() for path in slices]
    flipped(slices[0])
    entry = slices[1].with_suffix(".json")
    entry.write_bytes(entry.read_bytes().replace(b'"reference": ', b'"reference": 1', 1))
    slices[2].with_suffix(".json").write_bytes(b"{")
    onlooker = Onlooker(stop_after=1)
    with pytest.raises(Cancelled):
        resume(copied, onlooker)
    told = {event["sentence"].partition(":")[0] for event in onlooker.of("event") if event["code"] == "slices_damaged"}
    assert len(told) == 3
    assert [path.read_bytes() for path in slices] == whole
    assert b'"reference": 1' not in entry.read_bytes()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"pairs": [5], "spacing_mm": [1, 1]}'])
def test_what_a_run_knows_of_its_images_is_told_to_be_damaged(pairs, tmp_path, content):
    run = tmp_path / "run"
    run.mkdir()
    write_run_config(tiny(pairs), run)
    (run / "data.json").write_bytes(content)
    for begin in (lambda: resume(run, Onlooker()), lambda: train(tiny(pairs), run, Onlooker())):
        with pytest.raises(InputError) as refusal:
            begin()
        assert refusal.value.code == "run_damaged"
        assert "data.json" in refusal.value.remedy


@pytest.mark.parametrize("value", [5, None, []])
def test_a_section_that_is_no_object_is_a_damaged_run(pairs, tmp_path, value):
    content = {**tiny(pairs).model_dump(mode="json"), "architecture": value}
    (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        read_run_config(tmp_path)
    assert refusal.value.code == "run_damaged"
