"""Files are written whole or not at all, whatever ends the work and wherever; and what a disk refuses is said."""

import errno
import json
import os
import stat
import time
from pathlib import Path

import pytest

from upgan import files
from upgan.errors import OutputError
from upgan.files import (
    DRAFT,
    atomically,
    draft,
    explained,
    refusal,
    remove_unfinished,
    sweep_drafts,
    write_json,
)


def raising(error):
    def ended(*arguments, **named):
        raise error

    return ended


def then(step, error):
    """What ends with an error once it is done."""

    def ended(*arguments, **named):
        step(*arguments, **named)
        raise error

    return ended


def write(path, text, ends=None, **options):
    with atomically(path, **options) as temporary:
        temporary.write_text(text)
        if ends:
            raise ends


@pytest.mark.parametrize("options", [{}, {"private": True, "suffix": ".nii.gz"}, {"durable": True}])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(143)])
def test_whatever_ends_a_write_and_wherever_the_old_file_stays_alone(tmp_path, monkeypatch, options, error):
    path = tmp_path / "figures.json"
    write(path, "old", **options)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(type(error)):
        write(path, "new", error, **options)
    steps = [(Path, "write_text"), (os, "replace")]
    steps[:0] = [(files, "private_file")] if "private" in options else []
    steps[1:1] = [(os, "fsync")] if "durable" in options else []
    for owner, step in steps:
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, then(getattr(owner, step), error))
            with pytest.raises(type(error)):
                write(path, "new", **options)
        assert path.read_text() == ("new" if step == "replace" else "old")
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a name is not brought to the disk by itself")
def test_what_is_to_survive_a_power_cut_is_on_the_disk_before_its_name_and_its_name_afterwards(tmp_path, monkeypatch):
    done, sync, replace = [], os.fsync, os.replace

    def note_sync(number):
        done.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
        sync(number)

    def note_replace(*paths):
        done.append("name")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_json(tmp_path / "split.json", {"train": ["a"]})
    assert json.loads((tmp_path / "split.json").read_text()) == {"train": ["a"]}
    assert done == ["file", "name", "folder"]
    monkeypatch.setattr(os, "fsync", raising(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OutputError):
        write_json(tmp_path / "split.json", {})
    assert json.loads((tmp_path / "split.json").read_text()) == {"train": ["a"]}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(143)])
def test_a_draft_is_its_users_alone_and_gone_at_the_end_but_for_what_was_moved(tmp_path, monkeypatch, error):
    home = tmp_path / "a" / "home"

    def work(folder):
        assert folder.parent == home
        assert folder.name.startswith(DRAFT)
        if os.name == "posix":
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for name in ("model", "half"):
            (folder / name).mkdir()
        (folder / "model").rename(home / "model")
        raise error

    with pytest.raises(type(error)), draft(home) as folder:
        work(folder)
    assert list(home.iterdir()) == [home / "model"]

    made = Path.mkdir

    def ends(path, *arguments, **named):
        made(path, *arguments, **named)
        if path.parent == home:
            raise error

    monkeypatch.setattr(Path, "mkdir", ends)
    with pytest.raises(type(error)), draft(home):
        pass
    assert list(home.iterdir()) == [home / "model"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EACCES, "not_writable"),
        (errno.EROFS, "not_writable"),
        (errno.ENOENT, "not_writable"),
        (errno.EFBIG, "not_writable"),
    ],
)
def test_a_full_disk_is_told_from_any_other_and_the_place_is_named(number, code):
    error = OSError(number, os.strerror(number))
    with pytest.raises(OutputError) as refused, explained("'sigma.nrrd'"):
        raise error
    assert refused.value.code == code
    assert "'sigma.nrrd'" in refused.value.sentence
    assert os.strerror(number) in refused.value.sentence
    assert ("space" in refused.value.remedy) == (code == "disk_full")
    assert refusal(error, "It", "Do that.", "other").code == "other"
    assert refusal(error, "It", "Do that.").remedy == "Do that."


def test_what_libraries_say_to_programmers_is_not_repeated():
    refused = refusal(RuntimeError("sitk::ERROR: SimpleITK.cxx:97"), "The picture")
    assert refused.code == "not_writable"
    assert "sitk" not in refused.sentence


def test_what_a_killed_process_has_left_goes_and_nothing_else(tmp_path):
    for name in (".0123.tmp", "kept.tmp", "last.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".folder.tmp").mkdir()  # what cannot be removed is no error
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"kept.tmp", "last.safetensors", ".folder.tmp"}


def test_drafts_of_the_day_before_are_swept_and_what_may_be_in_use_stays(tmp_path):
    two_days_ago = time.time() - 2 * 24 * 3600
    for name in (f"{DRAFT}old", f"{DRAFT}new", ".pairs-old", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x")
        if not name.endswith("new"):
            os.utime(tmp_path / name, (two_days_ago, two_days_ago))
    sweep_drafts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{DRAFT}new", ".pairs-old", "model"}
    sweep_drafts(tmp_path, ".pairs-")
    sweep_drafts(tmp_path / "absent")
    assert {path.name for path in tmp_path.iterdir()} == {f"{DRAFT}new", "model"}
