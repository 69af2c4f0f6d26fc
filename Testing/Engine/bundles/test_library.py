"""The models at hand: what is listed, what an import lets in, and that a failed one leaves nothing."""

import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from Engine.bomb import Bomb
from Engine.command_line import assert_refused, environment_of, files_of, provenance_of, save_nifti
from upgan.bundles import library
from upgan.bundles.library import find_bundle, import_model, installed_models, models_home, remove_model
from upgan.errors import BundleError, OutputError

BUNDLED = "pet-ct-phantom"
SHIPPED = ["mr-ct-phantom", "mri-undersampled", BUNDLED]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """Keep every test away from the models of whoever runs it."""
    folder = tmp_path / "Modelle – σ" / "models"
    monkeypatch.setenv("UPGAN_MODELS", str(folder))
    return folder


def zip_of(folder: Path, archive: Path, inside: str = "") -> Path:
    """Zip a folder's files, below a folder of that name or none."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                writer.write(path, Path(inside, path.relative_to(folder)))
    return archive


def edit_metadata(folder: Path, change) -> None:
    path = folder / "configs" / "metadata.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def refusal_of(action, *arguments) -> BundleError | OutputError:
    with pytest.raises((BundleError, OutputError)) as refusal:
        action(*arguments)
    assert refusal.value.sentence.endswith(".")
    assert refusal.value.remedy.endswith(".")
    return refusal.value


def names() -> list[str]:
    return [model.name for model in installed_models()]


# Where models are


def test_the_home_is_in_the_users_home_folder_unless_told_otherwise(monkeypatch, tmp_path, home):
    assert models_home() == home
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "user")
    for unset in ("", None):
        monkeypatch.setenv("UPGAN_MODELS", unset) if unset is not None else monkeypatch.delenv("UPGAN_MODELS")
        assert models_home() == tmp_path / "user" / ".upgan" / "models"


def test_without_a_home_folder_the_bundled_models_are_there_still(monkeypatch, tiny_bundle):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("UPGAN_MODELS")
    monkeypatch.setattr(Path, "home", nowhere)
    assert BUNDLED in names()
    assert refusal_of(import_model, tiny_bundle.folder).code == "no_home"


def test_the_bundled_model_is_listed_without_any_user_home_and_none_is_made(home):
    (model,) = [model for model in installed_models() if model.name == BUNDLED]
    assert model.origin == "bundled"
    assert model.problem == ""
    assert model.metadata["upgan"]["task"]["title"] == "NAC-PET → pseudo-CT"
    assert not home.exists()


def test_listing_needs_no_torch_and_no_pydantic():
    program = (
        "import sys; from upgan.bundles.library import installed_models; print(len(installed_models()), "
        "[name for name in ('torch', 'pydantic', 'numpy', 'SimpleITK') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment_of(), capture_output=True, text=True)
    assert done.stdout == f"{len(installed_models())} []\n", done.stderr


def test_trained_models_are_listed_between_bundled_and_imported_ones(home, tiny_bundle):
    import_model(tiny_bundle.folder)
    shutil.copytree(tiny_bundle.folder, home / "trained" / "zürich")
    assert [(model.name, model.origin) for model in installed_models()] == [
        *((name, "bundled") for name in SHIPPED),
        ("zürich", "trained"),
        ("tiny", "imported"),
    ]


def test_what_is_hidden_or_no_folder_is_no_model(home):
    (home / "imported" / ".draft-x").mkdir(parents=True)
    (home / "imported" / "notes.txt").write_text("mine")
    assert names() == [*SHIPPED]


def nest(folder):
    (folder / "configs" / "metadata.json").write_text("[" * 100_000)


# What happens to an installed model, and a word of what is said of it.
DAMAGE = {
    "has no configs/metadata.json": lambda folder: shutil.rmtree(folder / "configs"),
    "is not JSON": lambda folder: (folder / "configs" / "metadata.json").write_text("{"),
    "metadata.json is not JSON": nest,
    "configs/metadata.json is not JSON": lambda folder: (folder / "configs" / "metadata.json").write_bytes(b"\xff"),
    "no section 'upgan'": lambda folder: edit_metadata(folder, lambda content: content.pop("upgan")),
    "no section": lambda folder: (folder / "configs" / "metadata.json").write_text("[]"),
    "has no models/model.safetensors": lambda folder: shutil.rmtree(folder / "models"),
    "has no LICENSE": lambda folder: (folder / "LICENSE").unlink(),
    "has no docs/README.md": lambda folder: (folder / "docs" / "README.md").unlink(),
}


@pytest.mark.parametrize("said", DAMAGE)
def test_a_broken_model_is_listed_with_its_problem_and_refused_and_can_be_removed(tiny_bundle, said):
    folder = import_model(tiny_bundle.folder).folder
    DAMAGE[said](folder)
    (model,) = [model for model in installed_models() if model.origin == "imported"]
    assert said in model.problem
    assert model.to_json()["problem"] == model.problem
    refusal_of(find_bundle, "tiny")
    remove_model("tiny")
    assert names() == [*SHIPPED]


def test_a_name_that_two_homes_have_means_the_first_and_the_other_keeps_a_name(home, tiny_bundle):
    shutil.copytree(tiny_bundle.folder, home / "imported" / BUNDLED)
    assert names() == [*SHIPPED, f"imported/{BUNDLED}"]
    assert find_bundle(BUNDLED).metadata.name == BUNDLED
    assert find_bundle(f"imported/{BUNDLED}").metadata.name == "tiny"
    remove_model(f"imported/{BUNDLED}")
    assert names() == [*SHIPPED]


# Importing


@pytest.mark.parametrize("inside", [None, "", "tiny-1.2.3", "Größe 1"])
def test_an_imported_model_is_the_same_files_and_is_found_by_name(home, tiny_bundle, tmp_path, inside):
    source = tiny_bundle.folder if inside is None else zip_of(tiny_bundle.folder, tmp_path / "モデル 1.zip", inside)
    model = import_model(source)
    assert model.to_json() == {
        "name": "tiny",
        "origin": "imported",
        "folder": str(home / "imported" / "tiny"),
        "problem": "",
    }
    assert json.loads(json.dumps(model.to_json())) == model.to_json()
    assert files_of(model.folder) == files_of(tiny_bundle.folder)
    assert model in installed_models()
    assert find_bundle("tiny").folder == model.folder
    assert [path.name for path in (home / "imported").iterdir()] == ["tiny"]


def test_an_imported_model_translates(run, tiny_bundle, tmp_path):
    assert run("bundle", "install", zip_of(tiny_bundle.folder, tmp_path / "tiny.zip")) == (0, "tiny\n", "")
    shutil.rmtree(tiny_bundle.folder)
    image = save_nifti(tmp_path / "pet.nii")
    done = run("translate", image, "--output", tmp_path / "out", "--model", "tiny", "--device", "cpu")
    assert done.code == 0
    assert provenance_of(tmp_path / "out")["bundle_sha256"] == tiny_bundle.sha256


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_others_may_read_an_imported_model_as_the_umask_allows(tiny_bundle):
    mask = os.umask(0o022)
    try:
        folder = import_model(tiny_bundle.folder).folder
    finally:
        os.umask(mask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "models" / "model.safetensors").stat().st_mode) == 0o644


def pickled(folder):
    (folder / "models" / "model.txt").write_bytes(pickle.dumps(Bomb(folder.parent / "exploded"), 4))


def half_weights(folder):
    path = folder / "models" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def other_architecture(folder):
    edit_metadata(folder, lambda content: content["upgan"]["architecture"].update(width=4))


UNFIT = {
    "holds_pickle": pickled,
    "holds_pickle ": lambda folder: (folder / "run.py").write_text("print()"),
    "checksum_mismatch": half_weights,
    "weights_mismatch": other_architecture,  # only loading shows it
    "metadata_missing": lambda folder: shutil.rmtree(folder / "configs"),
    "metadata_unreadable": nest,
    "bundle_incomplete": lambda folder: (folder / "LICENSE").unlink(),
    "metadata_invalid": lambda folder: edit_metadata(folder, lambda content: content.update(name="../escaped")),
    "bundle_unsafe": lambda folder: edit_metadata(folder, lambda content: content.update(name="nul")),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("code", UNFIT)
def test_an_unfit_model_is_refused_and_nothing_of_it_remains(tiny_bundle, home, tmp_path, code, zipped):
    UNFIT[code](tiny_bundle.folder)
    source = zip_of(tiny_bundle.folder, tmp_path / "m.zip", "m") if zipped else tiny_bundle.folder
    before = files_of(tiny_bundle.folder)
    assert refusal_of(import_model, source).code == code.strip()
    assert [path for path in home.rglob("*") if path.name != "imported"] == []
    assert files_of(tiny_bundle.folder) == before
    assert not (tiny_bundle.folder.parent / "exploded").exists()
    assert names() == [*SHIPPED]


def test_an_archive_that_would_write_elsewhere_leaves_nothing(home, tmp_path, tiny_bundle):
    archive = zip_of(tiny_bundle.folder, tmp_path / "m.zip", "m")
    with zipfile.ZipFile(archive, "a") as writer:
        writer.writestr("../../../escaped", "evil")
    assert refusal_of(import_model, archive).code == "bundle_unsafe"
    assert list((home / "imported").iterdir()) == []
    assert list(tmp_path.rglob("escaped")) == []


def test_a_folder_that_is_no_model_is_refused_before_it_is_copied(home, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.setattr(library, "copy_folder", lambda *_: pytest.fail("copied"))
    assert refusal_of(import_model, tmp_path / "photos").code == "metadata_missing"
    assert not home.exists()


def test_a_path_that_is_not_there_is_named(tmp_path):
    refusal = refusal_of(import_model, tmp_path / "nö.zip")
    assert refusal.code == "bundle_not_found"
    assert "nö.zip" in refusal.sentence


def test_a_model_that_is_installed_already_is_said_to_be_and_as_what(home, tiny_bundle, tmp_path):
    import_model(tiny_bundle.folder)
    before = files_of(home)
    for source in (tiny_bundle.folder, zip_of(tiny_bundle.folder, tmp_path / "m.zip"), home / "imported" / "tiny"):
        refusal = refusal_of(import_model, source)
        assert refusal.code == "already_installed"
        assert "'tiny' (imported)" in refusal.sentence
    bundled = next(model.folder for model in installed_models() if model.name == BUNDLED)
    assert "(bundled)" in refusal_of(import_model, bundled).sentence
    assert files_of(home) == before


def test_another_model_of_the_same_name_gets_a_number(home, tiny_bundle):
    import_model(tiny_bundle.folder)
    for version, name in (("2.0.0", "tiny-2"), ("3.0.0", "tiny-3")):
        edit_metadata(tiny_bundle.folder, lambda content, version=version: content.update(version=version))
        assert import_model(tiny_bundle.folder).name == name
        assert find_bundle(name).metadata.version == version
    assert find_bundle("tiny").metadata.version == "1.2.3"


@pytest.mark.parametrize("taken", ["bundled", "trained", "case", "file"])
def test_a_name_counts_as_taken_wherever_and_however_it_is_written(home, tiny_bundle, taken):
    if taken == "bundled":
        edit_metadata(tiny_bundle.folder, lambda content: content.update(name=BUNDLED))
    elif taken == "file":
        (home / "imported").mkdir(parents=True)
        (home / "imported" / "tiny").write_text("no folder")
    else:
        other = shutil.copytree(tiny_bundle.folder, home / ("trained" if taken == "trained" else "imported") / "tiny")
        edit_metadata(other, lambda content: content.update(version="0"))
    if taken == "case":
        edit_metadata(tiny_bundle.folder, lambda content: content.update(name="TINY"))
    expected = {"bundled": f"{BUNDLED}-2", "case": "TINY-2"}.get(taken, "tiny-2")
    assert import_model(tiny_bundle.folder).name == expected


def test_a_damaged_copy_does_not_keep_a_whole_one_out(tiny_bundle):
    installed = import_model(tiny_bundle.folder).folder
    half_weights(installed)  # which a listing cannot see
    assert import_model(tiny_bundle.folder).name == "tiny-2"
    find_bundle("tiny-2").load_cascade()


def test_imports_at_the_same_time_install_one_whole_copy_of_each_model(home, tiny_bundle, tmp_path):
    sources = [tiny_bundle.folder]
    for version in ("2", "3"):
        sources.append(shutil.copytree(tiny_bundle.folder, tmp_path / f"version {version}"))
        edit_metadata(sources[-1], lambda content, version=version: content.update(version=version))

    def attempt(source):
        try:
            return import_model(source).name
        except BundleError as error:
            return error.code

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(attempt, sources * 4))
    assert sorted(set(outcomes)) == ["already_installed", "tiny", "tiny-2", "tiny-3"]
    assert outcomes.count("already_installed") == 9
    assert sorted(path.name for path in (home / "imported").iterdir()) == ["tiny", "tiny-2", "tiny-3"]
    assert {find_bundle(name).metadata.version for name in ("tiny", "tiny-2", "tiny-3")} == {"1.2.3", "2", "3"}


def test_a_name_that_another_process_takes_at_the_last_moment_is_left_to_it(home, tiny_bundle, monkeypatch):
    rename, calls = Path.rename, []

    def raced(self, target):
        if not calls:
            other = shutil.copytree(tiny_bundle.folder, target)
            edit_metadata(other, lambda content: content.update(version="9"))
        calls.append(target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", raced)
    assert import_model(tiny_bundle.folder).name == "tiny-2"
    assert find_bundle("tiny").metadata.version == "9"


def test_an_interrupted_import_leaves_nothing(home, tiny_bundle, monkeypatch):
    from upgan.bundles.bundle import Bundle

    def interrupted(self):
        assert list(home.rglob("model.safetensors"))  # it was under way
        raise KeyboardInterrupt

    monkeypatch.setattr(Bundle, "load_cascade", interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_model(tiny_bundle.folder)
    assert list((home / "imported").iterdir()) == []


def test_what_a_killed_process_had_begun_is_swept_and_what_another_is_writing_is_not(home, tiny_bundle):
    for name, age_h in (("old", 25), ("new", 1)):
        draft = home / "imported" / f".draft-{name}"
        (draft / "model").mkdir(parents=True)
        os.utime(draft, (time.time() - age_h * 3600,) * 2)
    import_model(tiny_bundle.folder)
    assert sorted(path.name for path in (home / "imported").iterdir()) == [".draft-new", "tiny"]


def test_a_home_that_cannot_be_made_is_refused_with_the_way_out(tmp_path, tiny_bundle, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UPGAN_MODELS", str(tmp_path / "file" / "models"))
    refusal = refusal_of(import_model, tiny_bundle.folder)
    assert refusal.code == "not_writable"
    assert "UPGAN_MODELS" in refusal.remedy
    assert names() == [*SHIPPED]


@pytest.mark.parametrize("action", [import_model, remove_model])
def test_a_home_that_forbids_writing_is_refused_with_the_way_out(home, tiny_bundle, monkeypatch, action):
    installed = import_model(tiny_bundle.folder)
    edit_metadata(tiny_bundle.folder, lambda content: content.update(version="2"))

    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", forbidden)
    refusal = refusal_of(action, tiny_bundle.folder if action is import_model else "tiny")
    assert refusal.code == "not_writable"
    assert "Permission denied" in refusal.sentence
    assert "UPGAN_MODELS" in refusal.remedy
    assert installed in installed_models()


def test_a_home_that_may_only_be_read_is_refused_with_the_way_out(home, tiny_bundle):
    import_model(tiny_bundle.folder)
    edit_metadata(tiny_bundle.folder, lambda content: content.update(version="2"))
    (home / "imported").chmod(0o555)
    try:
        if os.access(home / "imported", os.W_OK):
            pytest.skip("the administrator may write everywhere")
        for action, argument in ((import_model, tiny_bundle.folder), (remove_model, "tiny")):
            refusal = refusal_of(action, argument)
            assert refusal.code == "not_writable"
            assert "UPGAN_MODELS" in refusal.remedy
        assert names() == [*SHIPPED, "tiny"]
    finally:
        (home / "imported").chmod(0o755)


def test_a_full_disk_is_named(home, tiny_bundle, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(library, "copy_folder", full)
    assert refusal_of(import_model, tiny_bundle.folder).code == "disk_full"
    assert list((home / "imported").iterdir()) == []


# Removing


@pytest.mark.parametrize("origin", ["imported", "trained"])
def test_a_users_model_is_removed_whole_and_nothing_else(home, tiny_bundle, origin):
    for name in ("tiny", "other"):
        shutil.copytree(tiny_bundle.folder, home / origin / name)
    other = files_of(home / origin / "other")
    removed = remove_model("tiny")
    assert (removed.name, removed.origin, removed.folder) == ("tiny", origin, home / origin / "tiny")
    assert [path.name for path in (home / origin).iterdir()] == ["other"]
    assert files_of(home / origin / "other") == other
    assert refusal_of(remove_model, "tiny").code == "bundle_not_found"


def test_a_bundled_model_is_not_removed(tiny_bundle, monkeypatch):
    # Not the real one, which this test's failing would cost.
    monkeypatch.setattr(library, "_bundled_home", lambda: tiny_bundle.folder.parent)
    before = files_of(tiny_bundle.folder)
    assert names() == ["tiny"]
    assert refusal_of(remove_model, "tiny").code == "model_is_bundled"
    assert files_of(tiny_bundle.folder) == before


def test_only_names_are_removed_never_paths(home, tiny_bundle):
    import_model(tiny_bundle.folder)
    paths = [
        tiny_bundle.folder,
        home / "imported" / "tiny",
        "imported/tiny",
        "../imported/tiny",
        ".",
        "..",
        "",
        "imported",
    ]
    for path in paths:
        assert refusal_of(remove_model, str(path)).code == "bundle_not_found"
    assert tiny_bundle.folder.is_dir()
    assert names() == [*SHIPPED, "tiny"]


def test_of_a_model_that_is_a_link_only_the_link_is_removed(home, tiny_bundle):
    (home / "imported").mkdir(parents=True)
    (home / "imported" / "linked").symlink_to(tiny_bundle.folder, target_is_directory=True)
    before = files_of(tiny_bundle.folder)
    remove_model("linked")
    assert names() == [*SHIPPED]
    assert files_of(tiny_bundle.folder) == before


# The command line


def test_the_command_line_lists_what_it_installs_and_removes(run, home, tiny_bundle):
    assert run("bundle", "install", tiny_bundle.folder).out == "tiny\n"
    *shipped, bundled, line = run("bundle", "list").out.splitlines()
    assert [each.partition("\t")[0] for each in shipped] == SHIPPED[:-1]
    assert bundled.startswith(f"{BUNDLED}\tbundled\t{find_bundle(BUNDLED).metadata.version}\t")
    assert line == f"tiny\timported\t1.2.3\t{home / 'imported' / 'tiny'}"
    assert f"model   tiny (imported): {home / 'imported' / 'tiny'}\n" in run("info").out
    (home / "imported" / "tiny" / "LICENSE").unlink()
    assert "has no LICENSE" in run("bundle", "list").out
    assert "has no LICENSE" in run("info").out
    assert run("bundle", "remove", "tiny") == (0, f"{home / 'imported' / 'tiny'}\n", "")
    assert len(run("bundle", "list").out.splitlines()) == len(SHIPPED)


HIDDEN = "\x1b[2J\x1b]0;owned\x07\nfake\tbundled\t1.0\t/x\r\u202eevil\u2066\x9b31m\ud800"


def test_what_strangers_wrote_reaches_the_terminal_escaped_and_on_its_own_line(run, home, tiny_bundle):
    folder = import_model(tiny_bundle.folder).folder
    edit_metadata(folder, lambda content: content.update(version=HIDDEN))
    other = shutil.copytree(folder, home / "trained" / "x\x1b[31m\n\u202ey")
    edit_metadata(other, lambda content: content["upgan"]["architecture"].update(name=HIDDEN))
    (shutil.copytree(folder, home / "trained" / "z") / "docs" / "a\x1b[31m\nb.txt").touch()
    listed = run("bundle", "list")
    assert len(listed.out.splitlines()) == len(SHIPPED) + 3
    said = [listed.out, run("info").out, run("bundle", "verify", folder).err, run("bundle", "verify", other).err]
    said += [run("bundle", "remove", HIDDEN).err, run("bundle", "verify", home / "trained" / "z").err]
    for text in said:
        assert not set(text) & set("\x1b\x07\r\x9b\u202e\u2066\ud800")
        assert "fake\tbundled" not in text
        assert "\nfake" not in text
    assert "\\x1b[2J" in listed.out
    assert "\\u202e" in listed.out


def test_only_one_module_writes_to_the_terminal():
    package = Path(library.__file__).parents[1]
    for path in package.rglob("*.py"):
        if path.name != "terminal.py":
            text = path.read_text(encoding="utf-8")
            assert "rich.markup" not in text, path.name
            # What is not text of strangers: JSON in ASCII.
            assert text.count("typer.echo(") == text.count("typer.echo(json.dumps("), path.name


def test_the_command_line_refuses_in_sentences(run, tmp_path, tiny_bundle):
    assert_refused(run("bundle", "install", tmp_path / "none.zip"), "bundle_not_found")
    assert_refused(run("bundle", "remove", "none"), "bundle_not_found")
    run("bundle", "install", tiny_bundle.folder)
    assert_refused(run("bundle", "install", tiny_bundle.folder), "already_installed")
    pickled(tiny_bundle.folder)
    assert_refused(run("bundle", "install", tiny_bundle.folder), "holds_pickle")


def test_a_published_checkpoint_and_a_finished_bundle_have_commands_that_say_which_is_which(run):
    assert "install" in run("bundle", "import", "--help").out
    assert "folder, or a zip" in run("bundle", "install", "--help").out


def test_the_bundled_models_weights_are_what_an_import_installs(home, tmp_path):
    bundled = find_bundle(BUNDLED)
    copy = shutil.copytree(bundled.folder, tmp_path / "copy")
    edit_metadata(copy, lambda content: content.update(version="0.1.1"))
    model = import_model(zip_of(copy, tmp_path / "copy.zip", "copy"))
    assert model.name == f"{BUNDLED}-2"
    state = find_bundle(model.name).load_cascade().state_dict()
    for name, tensor in bundled.load_cascade().state_dict().items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=0)
