"""A viewer's private folder: it is there as long as the viewer lives, and nobody else's is ever touched."""

import os
import stat
import subprocess
import sys
import threading
import time

import pytest

from Engine.command_line import environment_of
from upgan import scratch
from upgan.scratch import LOCK, PREFIX, Scratch, remove, sweep

HOLD = """
import sys, time
from pathlib import Path
from upgan.scratch import Scratch
made = Scratch(Path(sys.argv[1]))
(made.folder / "job").mkdir()
(made.folder / "job" / "input.npy").write_bytes(b"a patient")
print(made.folder, flush=True)
time.sleep(60)
"""


@pytest.fixture
def viewer(tmp_path):
    """A process that holds a folder with a file in it."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment_of()) as process:
        process.folder = tmp_path / process.stdout.readline().strip()
        yield process
        process.kill()


def abandoned(parent, name="upgan-left"):
    """A folder as a killed viewer leaves it."""
    folder = parent / name
    folder.mkdir(mode=0o700)
    (folder / LOCK).touch()
    (folder / "job").mkdir()
    (folder / "job" / "sigma.npy").write_bytes(b"a patient")
    return folder


def test_a_folder_is_its_users_alone_and_gone_when_it_is_removed(tmp_path):
    made = Scratch(tmp_path)
    assert made.folder.parent == tmp_path
    assert made.folder.name.startswith(PREFIX)
    if os.name == "posix":
        assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
    (made.folder / "job").mkdir()
    (made.folder / "job" / "input.npy").touch()
    made.remove()
    made.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("owner", "name"), [(os, "open"), (scratch, "_take")])
def test_a_signal_while_it_is_made_leaves_nothing(tmp_path, monkeypatch, owner, name):
    def end(*arguments):
        raise SystemExit(143)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, end)
        with pytest.raises(SystemExit):
            Scratch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_viewer_holds_is_left_and_goes_when_it_is_killed(viewer, tmp_path):
    ours = Scratch(tmp_path)
    sweep(tmp_path)
    assert (viewer.folder / "job" / "input.npy").exists()
    assert ours.folder.exists()
    viewer.kill()
    viewer.wait()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [ours.folder]
    ours.remove()


@pytest.mark.skipif(os.name != "posix", reason="links, owners and modes of POSIX")
def test_links_and_what_is_not_ours_are_left_alone(tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    outside.mkdir()
    precious = abandoned(outside, "precious")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (temporary / "upgan-link").symlink_to(precious)
    (temporary / "upgan-file").write_text("a file")
    (temporary / "upgan-without-lock").mkdir(mode=0o700)
    (temporary / "other-left").mkdir(mode=0o700)
    (temporary / "other-left" / LOCK).touch()
    abandoned(temporary, "upgan-readable").chmod(0o755)
    linked = temporary / "upgan-linked-lock"
    linked.mkdir(mode=0o700)
    (linked / LOCK).symlink_to(precious / LOCK)
    pipe = temporary / "upgan-pipe"
    pipe.mkdir(mode=0o700)
    os.mkfifo(pipe / LOCK)
    before = sorted(temporary.rglob("*"))
    sweep(temporary)
    assert sorted(temporary.rglob("*")) == before
    assert (precious / "job" / "sigma.npy").exists()

    foreign = abandoned(temporary)
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    sweep(temporary)
    assert (foreign / "job" / "sigma.npy").exists()
    monkeypatch.undo()
    # What is in it may link anywhere: the link goes and no more.
    (foreign / "link").symlink_to(precious)
    sweep(temporary)
    assert not foreign.exists()
    assert (precious / "job" / "sigma.npy").exists()


def test_a_temporary_folder_that_is_not_there_is_nothing_to_sweep(tmp_path):
    sweep(tmp_path / "none")


def test_a_folder_that_is_swept_while_it_is_made_is_made_again(tmp_path, monkeypatch):
    take, folders = scratch._take, []

    def sweep_first(file):
        monkeypatch.setattr(scratch, "_take", take)
        folders.extend(tmp_path.iterdir())
        sweep(tmp_path)
        return take(file)

    monkeypatch.setattr(scratch, "_take", sweep_first)
    made = Scratch(tmp_path)
    assert len(folders) == 1
    assert [made.folder] == list(tmp_path.iterdir()) != folders
    sweep(tmp_path)
    assert (made.folder / LOCK).exists()
    made.remove()


def test_where_the_disk_has_no_locks_nothing_is_taken_for_abandoned(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "_take", lambda file: None)
    made, left = Scratch(tmp_path), abandoned(tmp_path)
    sweep(tmp_path)
    assert made.folder.exists()
    assert left.exists()
    made.remove()


def test_what_is_being_written_meanwhile_does_not_stay_behind(tmp_path):
    """As work does that does not look up when its process is to end."""
    folder = abandoned(tmp_path)
    is_over = threading.Event()

    def write():
        number = 0
        while not is_over.is_set():
            number += 1
            try:
                (folder / "job" / f"{number}.npy").write_bytes(b"a patient")
            except OSError:
                time.sleep(0.001)

    thread = threading.Thread(target=write)
    thread.start()
    time.sleep(0.05)
    remove(folder)
    is_over.set()
    thread.join()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_moved_while_a_folder_is_removed_does_not_save_the_others(tmp_path, monkeypatch):
    folder = abandoned(tmp_path)
    for name in "abc":
        (folder / name).write_bytes(b"a patient")
    real = type(folder).iterdir
    monkeypatch.setattr(type(folder), "rename", lambda *_: (_ for _ in ()).throw(PermissionError()))
    monkeypatch.setattr(type(folder), "iterdir", lambda path: iter([*real(path), path / "moved meanwhile"]))
    remove(folder)
    assert not folder.exists()
