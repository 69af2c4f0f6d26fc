"""Nothing of a series is lost in silence, and nothing that lies beside it disturbs it."""

import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file, get_testdata_files
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, SegmentationStorage, generate_uid

from Engine.made_images import code_of, save_series, save_slice
from upgan.errors import InputError, UpganError
from upgan.images.dicom.series import lost_slices
from upgan.images.reading import read_image, read_volume

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 526336\n"
ANNEX = b"/annex/objects/MD5E-s526336--d41d8cd98f00b204e9800998ecf8427e.dcm\n"
HTML = b"<!DOCTYPE html><html><title>404 Not Found</title></html>"


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Return a folder with the slices 000.dcm to 005.dcm."""
    folder = tmp_path / "series"
    folder.mkdir()
    return save_series(folder, [0, 3, 6, 9, 12, 15])


def refused(folder: Path, count: int, *names: str) -> None:
    """Assert that so many slices are called unreadable, by name."""
    with pytest.raises(InputError, match=rf"^{count} slices? ") as refusal:
        read_volume(folder)
    assert refusal.value.code == "truncated_file"
    for name in names:
        assert f"'{name}'" in refusal.value.sentence


# --- Slices that are lost ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", bytes(2000), HTML, LFS, ANNEX, b"\x1f\x8b\x08" + bytes(300)])
def test_unreadable_slices_at_the_ends_are_counted_and_refused(content: bytes, series: Path) -> None:
    for name in ("000.dcm", "001.dcm", "004.dcm", "005.dcm"):
        (series / name).write_bytes(content)
    refused(series, 4, "000.dcm", "001.dcm", "004.dcm")


def test_a_cut_slice_is_missed_with_and_without_preamble(series: Path) -> None:
    for path in sorted(series.iterdir()):
        dataset = pydicom.dcmread(path)
        dataset.preamble, dataset.file_meta = None, pydicom.dataset.FileMetaDataset()
        pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True)
        assert path.read_bytes()[:2] == b"\x08\x00"
    assert read_volume(series).voxels.shape == (6, 5, 6)
    whole = (series / "005.dcm").read_bytes()
    for length in (len(whole) - 2, len(whole) // 2, 40, 4, 0):
        (series / "005.dcm").write_bytes(whole[:length])
        refused(series, 1, "005.dcm")


def test_where_nothing_of_a_series_can_be_read_the_folder_is_not_called_empty(series: Path) -> None:
    for path in series.iterdir():
        path.write_bytes(LFS)
    refused(series, 6, "000.dcm")


def test_damaged_slices_of_another_series_do_not_count(series: Path) -> None:
    save_series(series, [0, 3], SeriesInstanceUID="1.2.9")
    path = series / "1.2.9001.dcm"
    path.write_bytes(path.read_bytes()[:-10])
    assert read_volume(series, series="1.2.3.4").voxels.shape == (6, 5, 6)
    with pytest.raises(InputError, match=r"^1 slice") as refusal:
        read_volume(series, series="1.2.9")
    assert refusal.value.code == "truncated_file"


NUMBERED = ["IM-0001-0001.dcm", "IM-0001-0002.dcm", "IM-0001-0010.dcm"]
BARE = ["IM1", "IM2", "IM10"]
NUMBERS = ["1", "2", "10"]
UIDS = ["CT.1.2.840.113619.2.55.3.1.dcm", "CT.1.2.840.113619.2.55.3.22.dcm"]
BARE_UIDS = ["MR.1.3.12.2.1107.5.2.1", "MR.1.3.12.2.1107.5.2.33"]
SIEMENS = ["HEAD.MR.X.0003.0001.2010.03.10.11.22.33.4.1.IMA", "HEAD.MR.X.0003.0002.2010.03.10.11.22.33.4.2.IMA"]
HASHES = ["0a8f5b1e-2f6c-4d5e-9a51-5f0f0c1a2b3c.dcm", "ffde5b1e-2f6c-4d5e-9a51-5f0f0c1a2b3c.dcm"]
WORDS = ["vertex.dcm", "middle.dcm", "base.dcm"]
COPIES = ["slice (1).dcm", "slice (2).dcm"]


@pytest.mark.parametrize(
    ("names", "other", "lost"),
    [
        (NUMBERED, "IM-0001-0011.dcm", True),
        (NUMBERED, "IM-0001-0011.DCM", True),
        (NUMBERED, "IM-0001-0011.dcm.part", True),
        (NUMBERED, "IM-0001-0011.dcm.crdownload", True),
        (NUMBERED, "IM-0001-0010.dcm.part", False),  # The whole file is there.
        (NUMBERED, "IM-0001-0011.json", False),
        (NUMBERED, "IM-0001-0011.dcm.json", False),
        (NUMBERED, "IM-0001-0011.dcm:Zone.Identifier", False),
        (NUMBERED, "._IM-0001-0010.dcm", False),
        (NUMBERED, "dose.dcm", False),
        (NUMBERED, "Thumbs.db", False),
        (BARE, "IM11", True),
        (BARE, "README", False),
        (BARE, "DICOMDIR", False),
        (BARE, "LOCKFILE", False),
        (BARE, "desktop.ini", False),
        (BARE, "IM11.txt", False),
        (NUMBERS, "11", True),
        (NUMBERS, "11.txt", False),
        (NUMBERS, "VERSION", False),
        (UIDS, "CT.1.2.840.113619.2.55.3.333.7.dcm", True),
        (UIDS, "RS.1.2.840.113619.2.55.3.1.dcm", False),
        (BARE_UIDS, "MR.1.3.12.2.1107.5.2.4", True),
        (BARE_UIDS, "MR.1.3.12.2.1107.5.2.33.xml", False),
        (SIEMENS, "HEAD.MR.X.0003.0003.2010.03.10.11.22.34.5.3.IMA", True),
        (SIEMENS, "HEAD.SR.X.0003.0003.2010.03.10.11.22.34.5.3.IMA", False),
        (HASHES, "12345b1e-2f6c-4d5e-9a51-5f0f0c1a2b3c.dcm", True),
        (HASHES, "report.dcm", False),
        (WORDS, "neck.dcm", True),  # Names without numbers tell nothing but what they end with.
        (WORDS, "notes.txt", False),
        (WORDS, ".DS_Store", False),
        (COPIES, "slice (3).dcm", True),
        (COPIES, "overview.dcm", False),
    ],
)
def test_a_files_name_tells_whether_it_stands_for_a_slice(names: list[str], other: str, lost: bool) -> None:
    assert lost_slices(names, [Path("folder") / other]) == [Path("folder") / other] * lost


def test_links_pipes_sockets_and_folders_that_stand_for_a_slice_are_named(series: Path) -> None:
    path = series / "005.dcm"
    path.unlink()
    for make in special_entries():
        make(path)
        refused(series, 1, "005.dcm")
        path.rmdir() if path.is_dir() else path.unlink()
    path.symlink_to("/nowhere/005.dcm")
    with pytest.raises(InputError, match="a broken link"):
        read_volume(series)


def special_entries() -> list[Callable[[Path], object]]:
    """Return ways to make what is in a folder and is no file."""

    def listening(path: Path) -> None:
        # Names of sockets must be short, so that the folder is entered.
        back = Path.cwd()
        os.chdir(path.parent)
        try:
            with socket.socket(socket.AF_UNIX) as end:
                end.bind(path.name)
        finally:
            os.chdir(back)

    anywhere = [
        lambda path: path.symlink_to("/nowhere/x.dcm"),
        lambda path: path.symlink_to(path.name),  # In a circle.
        lambda path: path.mkdir(),
    ]
    return anywhere if sys.platform == "win32" else [*anywhere, os.mkfifo, listening]


def test_slices_that_may_not_be_read_are_named(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path.open

    def locked(path: Path, *args: object, **kwargs: object) -> object:
        if path.name in ("001.dcm", "notes.dcm"):
            raise PermissionError(13, "Permission denied")
        return whole(path, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", locked)
    shutil.copy(series / "000.dcm", series / "notes.dcm")
    refused(series, 1, "001.dcm")


# --- What may lie beside a series -------------------------------------------------------------------------------------


def test_a_real_folders_other_entries_disturb_nothing(series: Path) -> None:
    truth = read_volume(series)
    for name, content in {
        "Thumbs.db": b"\xd0\xcf\x11\xe0" + bytes(500),
        ".DS_Store": b"\0\0\0\1Bud1",
        "._000.dcm": b"\0\x05\x16\x07" + bytes(100),
        ".005.dcm.icloud": b"bplist00",
        "desktop.ini": b"",
        "README": b"",
        "notes.txt": b"scanned on a Tuesday",
        "000.json": b"{}",
        "000.dcm.json": b"{}",
        "000.png": b"\x89PNG",
        "report.pdf": b"%PDF-1.4",
        "manifest.xml": b"<xml/>",
        "000.dcm.part": b"",
        "series.zip": b"PK\3\4",
    }.items():
        (series / name).write_bytes(content)
    (series / "subfolder").mkdir()
    save_series(series / "subfolder", [100, 103])
    for number, make in enumerate(special_entries()):
        make(series / f"{'zyxwv'[number]}.dcm")
    (series / "link.dcm").symlink_to(series / "subfolder")
    shutil.move(series / "002.dcm", series.parent / "elsewhere")
    (series / "002.dcm").symlink_to(series.parent / "elsewhere")
    structures = save_slice(
        series / "rs.dcm",
        np.zeros(3),
        SOPClassUID=RTStructureSetStorage,
        Modality="RTSTRUCT",
        PixelData=None,
        Rows=None,
    )
    assert "PixelData" not in structures
    # Cut short, it is still no slice.
    content = (series / "rs.dcm").read_bytes()
    (series / "006.dcm").write_bytes(content[:-19])
    assert code_of(lambda: read_volume(series / "006.dcm")) == "truncated_file"
    save_slice(series / "007.dcm", np.zeros(3), SOPClassUID=SegmentationStorage, Modality="SEG", NumberOfFrames=3)
    volume = read_volume(series)
    np.testing.assert_array_equal(volume.voxels, truth.voxels)
    np.testing.assert_array_equal(volume.ijk_to_ras, truth.ijk_to_ras)


# Objects of other kinds, and images that cannot be read, among pydicom's own test files.
NEIGHBOURS = [
    "rtdose_1frame.dcm",
    "rtdose.dcm",
    "rtdose_rle.dcm",
    "rtplan.dcm",
    "rtplan_truncated.dcm",
    "rtstruct.dcm",
    "test-SR.dcm",
    "liver_1frame.dcm",
    "waveform_ecg.dcm",
    "DICOMDIR",
    "badVR.dcm",
]


# These say that they are CT, or nothing, and have no pixels and no series: lost slices, for all that one can tell.
NO_MORE_THAN_A_CT = ("UN_sequence.dcm", "meta_missing_tsyntax.dcm", "nested_priv_SQ.dcm")


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_a_good_series_is_read_beside_an_object_of_another_kind(name: str, series: Path) -> None:
    truth = read_volume(series).voxels
    shutil.copy(get_testdata_file(name, download=False), series / f"odd-{name}")
    np.testing.assert_array_equal(read_volume(series).voxels, truth)


def test_every_odd_file_is_read_or_refused_alone_and_beside_a_series(series: Path) -> None:
    truth = read_volume(series).voxels
    found = [Path(name) for name in get_testdata_files() if Path(name).is_file() and "TINY_ALPHA" not in name]
    assert len(found) > 100
    outcomes = set()
    for number, path in enumerate(found):
        try:
            outcomes.add(read_image(path)[2])
        except UpganError as refusal:
            outcomes.add(refusal.code)
        if path.name not in NO_MORE_THAN_A_CT:
            shutil.copyfile(path, series / f"odd-{number}.{path.name}")
    assert {"CT", "MR", "truncated_file", "multi_frame", "colour_image", "dicom_without_image"} < outcomes
    np.testing.assert_array_equal(read_volume(series, series="1.2.3.4").voxels, truth)


@pytest.mark.parametrize("name", ["rtplan.dcm", "rtstruct.dcm", "test-SR.dcm", "DICOMDIR"])
def test_dicom_without_an_image_is_called_that(name: str) -> None:
    path = Path(get_testdata_file(name, download=False))
    with pytest.raises(InputError) as refusal:
        read_volume(path)
    assert refusal.value.code == "dicom_without_image"
    assert "folder of the series" in refusal.value.remedy


# --- Slices that are there twice --------------------------------------------------------------------------------------


def test_of_slices_that_are_there_twice_one_is_read(series: Path) -> None:
    truth = read_volume(series)
    shutil.copy(series / "004.dcm", series / "copy_004.dcm")
    for other in ("one", "all"):
        if other == "all":
            for path in sorted(series.glob("0*.dcm")):
                dataset = pydicom.dcmread(path)  # The same image in other bytes.
                dataset.file_meta.TransferSyntaxUID, dataset.PatientName = ImplicitVRLittleEndian, "Another"
                pydicom.dcmwrite(path.with_name(f"copy_{path.name}"), dataset)
        volume = read_volume(series)
        np.testing.assert_array_equal(volume.voxels, truth.voxels)
        np.testing.assert_array_equal(volume.ijk_to_ras, truth.ijk_to_ras)


def test_copies_that_differ_are_refused_and_slices_with_uids_of_their_own_are_no_copies(series: Path) -> None:
    dataset = pydicom.dcmread(series / "004.dcm")
    dataset.PixelData = bytes(2) + dataset.PixelData[2:]
    dataset.save_as(series / "copy_004.dcm")
    with pytest.raises(InputError, match=r"'004\.dcm' and 'copy_004\.dcm'") as refusal:
        read_volume(series)
    assert refusal.value.code == "differing_copies"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.save_as(series / "copy_004.dcm")
    assert code_of(lambda: read_volume(series)) == "uneven_slices"


def test_slices_that_an_anonymiser_gave_one_uid_are_still_read(series: Path) -> None:
    truth = read_volume(series).voxels
    for path in series.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = "1.2.3"
        dataset.save_as(path)
    np.testing.assert_array_equal(read_volume(series).voxels, truth)
