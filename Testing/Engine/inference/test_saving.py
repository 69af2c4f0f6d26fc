"""Results on disk are of one run: whatever ends it, whenever, nobody reads α of one patient beside σ of another."""

import contextlib
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from Engine.command_line import files_of
from upgan.errors import InputError, OutputError, UpganError
from upgan.inference.saving import PROVENANCE, OutputFolder, read_result

NAMES = ("beta.nrrd", "sigma.nrrd")
# The earlier run kept all phases; the new one does not, and writes something that the earlier one did not.
EARLIER, NEWER = (*NAMES, "sigma_phase_1.nrrd"), (*NAMES, "extra.nii.gz")
# What a run does to a disk, each of them once before the last moment that it may be killed at.
STEPS = ("replace", "rename", "unlink", "rmdir", "mkdir", "fsync", "chmod")


class Killed(BaseException):
    """As Ctrl-C in the middle of it."""


def write(folder: Path, names: tuple[str, ...], patient: str) -> None:
    with OutputFolder(folder) as result:
        for name in names:
            result.path(name).write_text(f"{name} of {patient}")
        result.add_json(PROVENANCE, {"engine": "upgan", "source": patient, "files": list(names)})


def whose(folder: Path) -> str | None:
    """Whose result a reader finds, or None where it is refused; a mixture fails here."""
    try:
        files = read_result(folder)
    except InputError:
        return None
    patient = json.loads((folder / PROVENANCE).read_text())["source"]
    assert {name: path.read_text() for name, path in files.items()} == {
        name: f"{name} of {patient}" for name in (EARLIER if patient == "Ada" else NEWER)
    }
    return patient


def without_drafts(folder: Path) -> dict[str, str]:
    return {name: hashed for name, hashed in files_of(folder).items() if not name.startswith(".upgan-")}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a result and something else."""
    folder = tmp_path / "out"
    write(folder, EARLIER, "Ada")
    (folder / "notes.nrrd").write_text("mine")
    return folder


@contextlib.contextmanager
def stopped(at: int, stop: Callable[[], None], for_good: bool = True) -> Iterator[list[int]]:
    """Count the steps that change a disk, and stop at one of them, or from it on."""
    real, count = {name: getattr(os, name) for name in STEPS}, [0]

    def patched(name):
        def step(*arguments, **options):
            count[0] += 1
            if count[0] == at or (for_good and count[0] > at):
                stop()
            return real[name](*arguments, **options)

        return step

    for name in STEPS:
        setattr(os, name, patched(name))
    try:
        yield count
    finally:
        for name in STEPS:
            setattr(os, name, real[name])


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Do something in a copy of this process that is killed before a step; False where it came to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException), stopped(step, lambda: os._exit(9)):
            work()
            code = 0
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the death of a copy of this process")
def test_after_a_death_at_any_moment_a_reader_finds_one_run_or_none_and_the_next_run_tidies_up(folder, monkeypatch):
    # A copy of a process that dies does not lose what the system has taken; that would only cost time here.
    monkeypatch.setattr(os, "fsync", lambda number: None)
    found, step = [], 0
    is_killed = True
    while is_killed:
        step += 1
        place = shutil.copytree(folder, folder.with_name(f"out {step}"))
        is_killed = killed_at(step, lambda: write(place, NEWER, "Bob"))  # noqa: B023
        found.append(whose(place))
        for path in place.glob(".upgan-*"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        # Whoever comes next finds what was there before, or what came: never part of it.
        with pytest.raises(Killed), OutputFolder(place):
            raise Killed
        assert whose(place) in ("Ada", "Bob")
        write(place, NEWER, "Bob")
        assert whose(place) == "Bob"
        assert without_drafts(place).keys() == {*NEWER, PROVENANCE, "notes.nrrd"}
        assert (place / "notes.nrrd").read_text() == "mine"
        # One that dies while it makes or removes its folder may leave that, without anything in it.
        assert not any(any(path.iterdir()) for path in place.glob(".upgan-*"))
    assert found[0] == "Ada"
    assert found[-1] == "Bob"
    # In between there is nothing to read, and never the earlier one again.
    assert found == sorted(found, key=["Ada", None, "Bob"].index)
    assert found.count(None) > len(NEWER) + len(EARLIER)


def test_after_a_failure_at_any_step_everything_is_as_it_was_or_everything_new(folder, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda number: None)
    before = files_of(folder)
    for failure in (Killed(), PermissionError(13, "Permission denied")):
        step, outcomes = 0, []
        while step == len(outcomes):
            step += 1

            def stop():
                outcomes.append(None)  # noqa: B023
                raise failure  # noqa: B023

            with stopped(step, stop, for_good=False), contextlib.suppress(Killed, OutputError):
                write(folder, NEWER, "Bob")
            if whose(folder) == "Bob":
                write(folder, EARLIER, "Ada")
            assert without_drafts(folder) == before
        assert step > 20
        write(folder, EARLIER, "Ada")
        assert not any(any(path.iterdir()) for path in folder.glob(".upgan-*"))


def test_a_result_that_cannot_be_put_back_at_once_comes_back_with_the_next_run(folder):
    """The disk is gone from the third file on, and there again later."""
    before = files_of(folder)

    def stop():
        raise OSError(5, "Input/output error")

    real, moved = os.replace, []

    def replace(source, target):
        moved.append(target)
        if len(moved) > 5:
            stop()
        real(source, target)

    os.replace = replace
    try:
        with pytest.raises((OutputError, OSError)):
            write(folder, NEWER, "Bob")
    finally:
        os.replace = real
    assert whose(folder) is None
    with pytest.raises(Killed), OutputFolder(folder):
        raise Killed
    assert files_of(folder) == before


def test_every_file_of_a_result_has_its_hash_in_the_provenance(folder):
    hashes = json.loads((folder / PROVENANCE).read_text())["sha256"]
    assert hashes == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in EARLIER}


def exchange(folder: Path) -> None:
    write(folder.with_name("other"), EARLIER, "Bob")
    (folder.with_name("other") / "sigma.nrrd").replace(folder / "sigma.nrrd")


def rewrite(folder: Path, **changes: object) -> None:
    path = folder / PROVENANCE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGES = {
    "another patient's sigma": (exchange, "mixed_result"),
    "a missing file": (lambda folder: (folder / "beta.nrrd").unlink(), "mixed_result"),
    "a cut file": (lambda folder: (folder / "beta.nrrd").write_bytes(b"beta"), "mixed_result"),
    "a folder in its place": (
        lambda folder: ((folder / "beta.nrrd").unlink(), (folder / "beta.nrrd").mkdir()),
        "mixed_result",
    ),
    "no provenance": (lambda folder: (folder / PROVENANCE).unlink(), "no_result"),
    "half a provenance": (lambda folder: os.truncate(folder / PROVENANCE, 40), "no_result"),
    "a deep provenance": (lambda folder: (folder / PROVENANCE).write_text("[" * 100_000), "no_result"),
    "a list": (lambda folder: (folder / PROVENANCE).write_text("[]"), "no_result"),
    "an earlier version's": (lambda folder: rewrite(folder, sha256=None), "no_result"),
    "numbers as hashes": (lambda folder: rewrite(folder, sha256={"beta.nrrd": 7}), "no_result"),
    "a way out": (lambda folder: rewrite(folder, sha256={"../beta.nrrd": "0" * 64}), "no_result"),
    "a way out on Windows": (lambda folder: rewrite(folder, sha256={"C:beta.nrrd": "0" * 64}), "no_result"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_half_a_result_or_two_halves_are_refused(folder, damage):
    make, code = DAMAGES[damage]
    make(folder)
    with pytest.raises(UpganError) as refusal:
        read_result(folder)
    assert refusal.value.code == code
    # And a new run is not in the least held up by it, unless a folder has the name of a file.
    if damage != "a folder in its place":
        write(folder, NEWER, "Bob")
        assert whose(folder) == "Bob"


def test_files_that_an_earlier_result_names_are_removed_only_if_they_are_still_its_own(folder):
    (folder / "sigma_phase_1.nrrd").write_text("edited since")
    precious = folder.parent / "precious.nrrd"
    precious.write_text("elsewhere")
    rewrite(folder, files=[*NAMES, "../precious.nrrd", "notes.txt"])
    write(folder, NEWER, "Bob")
    assert (folder / "sigma_phase_1.nrrd").read_text() == "edited since"
    assert precious.exists()
    assert whose(folder) == "Bob"


def test_a_result_of_a_version_without_hashes_is_replaced_whole_too(folder):
    rewrite(folder, sha256=None, files=[*EARLIER, "../out/notes.nrrd", "notes.txt", 7])
    (folder / "notes.txt").write_text("mine")
    write(folder, NEWER, "Bob")
    assert set(files_of(folder)) == {*NEWER, PROVENANCE, "notes.nrrd", "notes.txt"}


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("umask", [0, 0o077])
def test_results_are_their_users_alone_and_a_folder_that_was_there_keeps_its_mode(tmp_path, umask):
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    before = os.umask(umask)
    try:
        for folder in (shared, tmp_path / "new" / "out"):
            write(folder, NAMES, "Ada")
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes.pop(shared) == 0o755
    assert modes.pop(tmp_path / "new") == modes.pop(tmp_path / "new" / "out") == 0o700
    assert len(modes) == 2 * (len(NAMES) + 1)
    assert set(modes.values()) == {0o600}


def test_what_a_living_run_writes_is_not_swept_by_another(tmp_path):
    with OutputFolder(tmp_path / "out") as first:
        first.path("sigma.nrrd").write_text("sigma.nrrd of Ada")
        with pytest.raises(Killed), OutputFolder(tmp_path / "out"):
            raise Killed
        assert first.path("sigma.nrrd").exists()
    assert set(files_of(tmp_path / "out")) == {"sigma.nrrd", PROVENANCE}


def test_a_disk_with_too_little_room_is_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(OutputError) as refusal, OutputFolder(tmp_path / "out", needed=1 << 60):
        raise AssertionError("computed")
    assert refusal.value.code == "disk_full"
    assert list(tmp_path.iterdir()) == []
