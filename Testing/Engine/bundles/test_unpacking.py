"""Archives and folders from strangers: what is refused, each attack by itself, and that nothing lands outside."""

import contextlib
import os
import stat
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upgan.bundles import unpacking
from upgan.bundles.strangers import Limits
from upgan.bundles.unpacking import copy_folder, unpack
from upgan.errors import BundleError


@pytest.fixture
def place(tmp_path) -> Path:
    """An empty folder with a neighbour, deep enough that ".." stays within the test's own."""
    folder = tmp_path / "a" / "b" / "here"
    folder.mkdir(parents=True)
    (tmp_path / "a" / "precious").write_text("kept")
    return folder


def zip_of(path: Path, members, method=zipfile.ZIP_DEFLATED) -> Path:
    """Write an archive of (name or ZipInfo, content) pairs, as a hostile program would: with any name, any number."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            info = name
            if isinstance(name, str):
                info = zipfile.ZipInfo("x")
                info.filename = name  # past the constructor, which would repair it
                info.compress_type = method
            archive.writestr(info, content)
    return path


def special(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    return info


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal_of(archive: Path, folder: Path) -> BundleError:
    """The refusal, which says what to do and leaves everything outside the folder as it was."""
    outside = folder.parents[1]
    before = {path for path in outside.rglob("*") if folder not in path.parents}
    with pytest.raises(BundleError) as refusal:
        unpack(archive, folder, Limits(files=20, bytes=10_000))
    assert {path for path in outside.rglob("*") if folder not in path.parents} == before
    assert (outside / "precious").read_text() == "kept"
    assert refusal.value.sentence.endswith(".")
    assert len(refusal.value.remedy) > 10
    return refusal.value


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("outer", ["Größe – σ/", "docs.v1/", ""])
def test_an_honest_archive_is_laid_out_as_it_is_without_the_folder_around_it(tmp_path, place, method, outer):
    members = {"LICENSE": b"free", "docs/README.md": b"# card\n" * 50, "docs/Größe – σ/脳.txt": b""}
    folders = [(outer, b"")] if outer else []
    archive = zip_of(
        tmp_path / "model ä.zip", [*folders, *((outer + name, text) for name, text in members.items())], method
    )
    unpack(archive, place)
    assert files_of(place) == members


def test_a_folder_around_a_model_may_be_called_as_one_within_it(tmp_path, place):
    members = {
        "configs/metadata.json": b"{}",
        "LICENSE": b"free",
        "models/model.safetensors": b"\x02" + bytes(7) + b"{}",
    }
    unpack(zip_of(tmp_path / "models.zip", [("models/" + name, text) for name, text in members.items()]), place)
    assert files_of(place) == members


FOREIGN = {
    "models/model.pth": ("holds_pickle", b"\x80\x04"),
    "run.py": ("holds_pickle", b"print()"),
    "models/extra.safetensors": ("foreign_file", b"harmless"),
    "docs/page.html": ("holds_pickle", b"<script>"),
    "docs/figure.png": ("foreign_file", b"no picture"),
    "README.md": ("foreign_file", b"# beside its place"),
    "license": ("foreign_file", b"by another spelling"),
    "m/LICENSE": ("foreign_file", b"another one, in a folder beside the model's"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("outer", ["m1/", ""])
def test_nothing_is_laid_out_that_is_no_file_of_a_model(tmp_path, place, name, outer):
    code, content = FOREIGN[name]
    archive = zip_of(tmp_path / "m.zip", [(f"{outer}docs/README.md", b"card"), (outer + name, content)])
    assert refusal_of(archive, place).code == code
    assert files_of(place) == {"docs/README.md": b"card"}
    (tmp_path / "source" / name).parent.mkdir(parents=True)
    (tmp_path / "source" / name).write_bytes(content)
    with pytest.raises(BundleError) as refusal:
        copy_folder(tmp_path / "source", place)
    assert refusal.value.code == code


def test_what_a_desktop_left_in_an_archive_is_left_out(tmp_path, place):
    litter = ["__MACOSX/m/._LICENSE", "m/.DS_Store", "m/Thumbs.db", "m/desktop.ini", "m/._LICENSE"]
    unpack(zip_of(tmp_path / "m.zip", [(name, b"x") for name in [*litter, "m/LICENSE"]]), place)
    assert files_of(place) == {"LICENSE": b"x"}


def test_permissions_of_an_archive_are_not_taken_over(tmp_path, place):
    unpack(zip_of(tmp_path / "m.zip", [(special("LICENSE", stat.S_IFREG | stat.S_ISUID), b"x")]), place)
    assert (place / "LICENSE").stat().st_mode & (stat.S_ISUID | 0o111) == 0


ESCAPES = {
    "an absolute path": "/tmp/upgan-escaped",
    "a path to the folder above": "../escaped",
    "a path that goes down before it goes up": "docs/../../escaped",
    "a backslash path to the folder above": "..\\escaped",
    "a backslash in a name": "docs\\README.md",
    "a Windows drive": "C:/escaped",
    "a Windows drive without a slash": "C:escaped",
    "a Windows share": "\\\\server\\share\\escaped",
    "a Windows share with slashes": "//server/share/escaped",
    "a hidden stream of a file": "LICENSE:stream",
    "a Windows device": "docs/nul",
    "a Windows device with a suffix": "COM1.txt",
    "a name that Windows cuts at its end": "LICENSE. ",
    "a name of one dot": "./LICENSE",
    "an empty part": "docs//README.md",
    "a NUL that hides the rest of a name": "LICENSE\0.py",
    "a line break": "LICENSE\n",
    "a name longer than disks take": "x" * 256,
    "folders deeper than any model's": "x/" * 2000 + "x",
    "a folder above, as a folder": "../escaped/",
}


@pytest.mark.parametrize("name", ESCAPES.values(), ids=ESCAPES)
def test_a_name_is_refused_that_is(tmp_path, place, name):
    archive = zip_of(tmp_path / "m.zip", [("LICENCE", b"harmless"), (name, b"evil")])
    refusal = refusal_of(archive, place)
    assert refusal.code == "bundle_unsafe"
    assert "leaves the model's folder" in refusal.sentence or ".." not in name.split("/")
    assert files_of(place) == {}  # names are looked at before anything is written


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_member_that_is_no_plain_file_is_refused(tmp_path, place, kind):
    archive = zip_of(tmp_path / "m.zip", [(special("docs", kind), b"../../..")])
    assert refusal_of(archive, place).code == "bundle_unsafe"
    assert list(place.iterdir()) == []


def test_a_link_and_a_file_behind_it_are_refused(tmp_path, place):
    archive = zip_of(tmp_path / "m.zip", [(special("docs", stat.S_IFLNK), b"../.."), ("docs/escaped", b"evil")])
    assert refusal_of(archive, place).code == "bundle_unsafe"
    assert list(place.iterdir()) == []


TWINS = {
    "a name that is there twice": ("LICENSE", "LICENSE"),
    "names that differ by case": ("docs/README.md", "docs/readme.MD"),
    "folders that differ by case": ("Docs/a.md", "docs/b.md"),
    "names that differ by how an accent is written": ("caf\u00e9.md", "cafe\u0301.md"),
    "a file that is also a folder": ("docs", "docs/README.md"),
    "a file that is also a folder, by case": ("DOCS", "docs/README.md"),
}


@pytest.mark.parametrize("names", TWINS.values(), ids=TWINS)
@pytest.mark.parametrize("turned", [False, True])
def test_names_that_some_disks_confuse_are_refused(tmp_path, place, names, turned):
    members = [(name, name.encode()) for name in (reversed(names) if turned else names)]
    assert refusal_of(zip_of(tmp_path / "m.zip", members), place).code == "bundle_unsafe"


def test_a_password_is_named_as_the_reason(tmp_path, place):
    archive = zip_of(tmp_path / "m.zip", [("LICENSE", b"secret")])
    content = bytearray(archive.read_bytes())
    content[6] |= 1  # flag of the local header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and of the directory
    archive.write_bytes(content)
    assert refusal_of(archive, place).code == "zip_encrypted"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_packing_that_cannot_be_unpacked_in_bounded_steps_is_refused(tmp_path, place, method):
    assert refusal_of(zip_of(tmp_path / "m.zip", [("LICENSE", b"x")], method), place).code == "zip_method"


def test_a_bomb_that_declares_its_size_is_refused_before_anything_is_written(tmp_path, place):
    archive = zip_of(tmp_path / "m.zip", [(f"docs/{n}.md", b"#" * 4_000) for n in range(3)])
    assert archive.stat().st_size < 1_000
    assert refusal_of(archive, place).code == "bundle_too_large"
    assert files_of(place) == {}


def test_a_bomb_that_lies_about_its_size_is_refused_and_writes_no_more_than_allowed(tmp_path, place):
    archive = zip_of(tmp_path / "m.zip", [("docs/bomb.md", b"#" * 50_000_000)])
    content = bytearray(archive.read_bytes())
    for start in (22, content.index(b"PK\x01\x02") + 24):  # uncompressed size: local header, directory
        content[start : start + 4] = (9_000).to_bytes(4, "little")
    archive.write_bytes(content)
    assert refusal_of(archive, place).code == "zip_damaged"
    assert sum(map(len, files_of(place).values())) <= 10_000


def test_a_bomb_whose_members_share_their_bytes_is_refused(tmp_path, place):
    # One packed file under many directory entries: small on the disk, large unpacked.
    archive = zip_of(tmp_path / "m.zip", [(f"docs/{n:02}.md", b"#" * 3_000) for n in range(15)])
    content = bytearray(archive.read_bytes())
    start = content.index(b"PK\x01\x02")
    while (start := content.find(b"PK\x01\x02", start)) >= 0:
        content[start + 42 : start + 46] = bytes(4)  # offset of the local header
        start += 4
    archive.write_bytes(content)
    assert refusal_of(archive, place).code in ("bundle_too_large", "zip_damaged")
    assert sum(map(len, files_of(place).values())) <= 10_000


def test_more_files_than_any_model_has_are_refused(tmp_path, place):
    archive = zip_of(tmp_path / "m.zip", [(f"{n}.md", b"") for n in range(21)])
    assert refusal_of(archive, place).code == "bundle_too_large"
    assert files_of(place) == {}


def test_as_many_files_and_bytes_as_are_allowed_pass(tmp_path, place):
    unpack(zip_of(tmp_path / "m.zip", [(f"docs/{n}.md", b"#" * 500) for n in range(20)]), place, Limits(20, 10_000))
    assert len(files_of(place)) == 20


@pytest.mark.parametrize("content", [b"", b"PK", b"This is a letter.\n" * 100])
def test_what_is_no_archive_is_refused(tmp_path, place, content):
    (tmp_path / "m.zip").write_bytes(content)
    assert refusal_of(tmp_path / "m.zip", place).code == "zip_damaged"


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_half_an_archive_is_refused(tmp_path, place, share):
    archive = zip_of(tmp_path / "m.zip", [("LICENSE", os.urandom(3_000))])
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    assert refusal_of(archive, place).code == "zip_damaged"


def test_a_wrong_checksum_is_refused(tmp_path, place):
    archive = zip_of(tmp_path / "m.zip", [("LICENSE", b"a licence")], zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(b"a licence", b"another 1"))
    assert refusal_of(archive, place).code == "zip_damaged"


PARTS = st.sampled_from(
    ["..", ".", "", "/", "\\", "C:", "a", "A", "docs", "é", "e\u0301", "nul", "x.md", " ", "\0", "~"]
)
NAMES = st.one_of(
    st.lists(PARTS, min_size=1, max_size=6).map("/".join),
    st.lists(PARTS, min_size=1, max_size=6).map("".join),
    st.text(max_size=12).filter(lambda text: text.isascii() or text.isprintable()),
).filter(bool)
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(names=st.lists(st.one_of(NAMES, NAMES.map("docs/{}.md".format)), min_size=1, max_size=4))
def test_no_name_escapes(tmp_path_factory, names):
    tmp_path = tmp_path_factory.mktemp("names")
    place = tmp_path / "a" / "b" / "c" / "here"
    place.mkdir(parents=True)
    names = ["LICENSE", *names]  # nor is there a folder around them
    archive = zip_of(tmp_path / "m.zip", [(name, b"evil") for name in names])
    try:
        unpack(archive, place, Limits(files=20, bytes=1_000))
    except BundleError:
        # Names are looked at before anything is written; whether a model has one, when it is its turn.
        assert set(files_of(place)) <= {name for name in names if name == "LICENSE" or name.startswith("docs/")}
    else:
        # What passes is there under exactly its own name.
        assert set(files_of(place)) == {name for name in names if not name.endswith("/")} - {".DS_Store"}
    outside = {path for path in tmp_path.rglob("*") if place not in path.parents}
    assert outside == {archive, place, *list(place.parents)[:3]}


@quick
@given(data=st.data())
def test_no_damage_to_an_archive_escapes_or_crashes(tmp_path_factory, data):
    tmp_path = tmp_path_factory.mktemp("damage")
    place = tmp_path / "a" / "here"
    place.mkdir(parents=True)
    archive = zip_of(tmp_path / "m.zip", [("docs/README.md", b"card " * 40), ("LICENSE", b"free")])
    content = bytearray(archive.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    archive.write_bytes(content)
    with contextlib.suppress(BundleError):
        unpack(archive, place, Limits(files=20, bytes=1_000))
    outside = {path for path in tmp_path.rglob("*") if place not in path.parents}
    assert outside == {archive, place, place.parent}
    assert sum(map(len, files_of(place).values())) <= 1_000


def source_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "Quelle ä"
    (folder / "docs").mkdir(parents=True)
    (folder / "LICENSE").write_bytes(b"free")
    (folder / "docs" / "README.md").write_bytes(b"card")
    return folder


def test_a_folder_is_copied_without_what_a_desktop_left(tmp_path, place):
    source = source_folder(tmp_path)
    (source / "docs" / ".DS_Store").write_bytes(b"x")
    copy_folder(source, place)
    assert files_of(place) == {"LICENSE": b"free", "docs/README.md": b"card"}


@pytest.mark.parametrize("target", ["/etc", "/etc/hostname", "docs", "nowhere"])
def test_a_link_in_a_folder_is_refused_and_not_followed(tmp_path, place, target):
    source = source_folder(tmp_path)
    (source / "models").symlink_to(target)
    with pytest.raises(BundleError) as refusal:
        copy_folder(source, place)
    assert refusal.value.code == "bundle_unsafe"
    assert files_of(place) == {}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_a_folder_is_refused_and_not_waited_for(tmp_path, place):
    source = source_folder(tmp_path)
    os.mkfifo(source / "models")
    with pytest.raises(BundleError) as refusal:
        copy_folder(source, place)
    assert refusal.value.code == "bundle_unsafe"


def test_a_folder_larger_than_allowed_is_refused_by_what_is_read(tmp_path, place):
    source = source_folder(tmp_path)
    with (source / "sparse.md").open("wb") as file:
        file.truncate(20_000_000)
    with pytest.raises(BundleError) as refusal:
        copy_folder(source, place, Limits(files=20, bytes=2_000_000))
    assert refusal.value.code == "bundle_too_large"
    assert sum(map(len, files_of(place).values())) <= 2_000_000


@pytest.mark.parametrize("announced", [1, 9])
def test_a_file_that_grows_or_shrinks_while_a_folder_is_copied_is_refused(tmp_path, place, monkeypatch, announced):
    monkeypatch.setattr(unpacking, "plain_files", lambda *_: {"LICENSE": announced})
    with pytest.raises(BundleError) as refusal:
        copy_folder(source_folder(tmp_path), place)
    assert refusal.value.code == "bundle_unreadable"
    assert sum(map(len, files_of(place).values())) <= announced


def test_a_folder_of_very_many_files_or_folders_is_not_walked_to_its_end(tmp_path, place):
    source = source_folder(tmp_path)
    for number in range(30):
        (source / f"empty {number}").mkdir()
    with pytest.raises(BundleError) as refusal:
        copy_folder(source, place, Limits(files=20, bytes=10_000))
    assert refusal.value.code == "bundle_too_large"
    assert files_of(place) == {}
