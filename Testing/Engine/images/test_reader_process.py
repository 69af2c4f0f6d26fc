"""What C code makes of a stranger's bytes happens in another process, whose end is a refusal and nothing worse."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from Engine.made_images import code_of
from upgan.errors import InputError
from upgan.images.dicom import reader_process
from upgan.images.dicom.reader_process import ReaderProcess, interpreter
from upgan.images.reading import read_image, read_volume

ANSWERS = "import os, sys, time; out = os.fdopen(1, 'wb', 0); out.write(os.getpid().to_bytes(8, 'little'))\n"
ASKED = "sys.stdin.buffer.readline()\n"
# Programs in the decoder's place, and what is wrong with each.
BAD = {
    "cannot start": "raise SystemExit(3)",
    "dies as by a fault": ANSWERS + ASKED + "os.kill(os.getpid(), 9)",
    "dies while it answers": ANSWERS + ASKED + "out.write(b'+' + bytes(100))",
    "never answers": ANSWERS + ASKED + "time.sleep(60)",
    "answers nonsense": ANSWERS + ASKED + "out.write(b'?' + bytes(1 << 16)); time.sleep(60)",
    "never says who it is": "import time; time.sleep(60)",
}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def compressed(tmp_path: Path) -> Path:
    """Return a folder with three slices, each compressed as JPEG 2000."""
    series = tmp_path / "series"
    series.mkdir()
    dataset = pydicom.dcmread(get_testdata_file("MR_small_jp2klossless.dcm", download=False))
    for number in range(3):
        dataset.SOPInstanceUID = f"1.2.3.{number}"
        dataset.ImagePositionPatient = [0, 0, 5 * number]
        dataset.save_as(series / f"{number}.dcm")
    return series


@pytest.mark.parametrize("fault", BAD)
def test_a_decoder_that_fails_is_one_refusal_that_names_the_file(
    fault: str, compressed: Path, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program.py"
    program.write_text(BAD[fault], encoding="utf-8")
    monkeypatch.setattr(reader_process, "PROGRAM", program)
    if fault.startswith("never"):
        monkeypatch.setattr(reader_process, "START_S", 0.1)
        monkeypatch.setattr(reader_process, "WALL_TIMES_CPU", 0.02)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"0\.dcm") as refusal:
        read_volume(compressed)
    assert refusal.value.code == "unreadable_image"
    assert time.monotonic() - began < 10
    assert not list(temporary.iterdir())


def test_one_process_reads_a_series_and_only_where_there_is_something_to_decode(
    compressed: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = pydicom.dcmread(get_testdata_file("MR_small.dcm", download=False))
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    voxels = read_volume(compressed).voxels
    np.testing.assert_array_equal(voxels, [plain.pixel_array.astype(np.float32)] * 3)
    assert len(started) == 1
    assert started[0].poll() is not None
    assert not list(temporary.iterdir())
    plain.save_as(compressed / "plain.dcm")
    read_image(compressed / "plain.dcm")
    assert len(started) == 1


def test_a_damaged_frame_costs_neither_the_process_nor_the_next_frame(compressed: Path, temporary: Path) -> None:
    content = (compressed / "0.dcm").read_bytes()
    shape, dtype = (64, 64), np.dtype("<i2")
    with ReaderProcess() as reader:
        first = reader.pixels(compressed, content, shape, dtype)
        # Another size than was asked for, and a frame that says it has 2³¹ columns.
        at = content.index(b"\xff\x4f\xff\x51") + 8
        huge = content[:at] + b"\x7f\xff\xff\xff" + content[at + 4 :]
        for wrong, size in ((content, (63, 64)), (huge, shape), (content[:-2000], shape)):
            with pytest.raises(ValueError, match="decoded"):
                reader.pixels(compressed, wrong, size, dtype)
        np.testing.assert_array_equal(reader.pixels(compressed, content, shape, dtype), first)
        assert not [path for path in temporary.rglob("*") if path.suffix == ".dcm"]


def test_a_frame_that_ends_gdcm_is_a_refusal_here(temporary: Path, tmp_path: Path) -> None:
    whole = Path(get_testdata_file("MR_small_jpeg_ls_lossless.dcm", download=False)).read_bytes()
    columns = whole.index(b"\xff\xd8\xff\xf7") + 9  # within the frame; GDCM 3.0 reads outside of its memory at 0
    (tmp_path / "none.dcm").write_bytes(whole[:columns] + b"\0\0" + whole[columns + 2 :])
    # What a later GDCM refuses itself is a damaged file.
    assert code_of(lambda: read_image(tmp_path / "none.dcm")) in ("unreadable_image", "truncated_file")
    assert not list(temporary.iterdir())


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux limits address space")
def test_the_process_limits_what_a_file_may_cost(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(reader_process.PROGRAM.parent)!r})\n"
        "import os, resource, numpy, reader_program\n"
        "reader_program._limit_work(64 << 20, 7)\n"
        "numpy.empty(16 << 20, 'u1')\n"
        "try: numpy.empty(128 << 20, 'u1')\n"
        "except MemoryError: print('refused')\n"
        "print(resource.getrlimit(resource.RLIMIT_CPU)[0] - int(sum(os.times()[:2])))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said == ["refused", "8"]


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes in another way")
def test_the_process_and_its_files_do_not_outlive_the_one_that_started_it(compressed: Path, temporary: Path) -> None:
    code = (
        "import os, sys, numpy; from pathlib import Path; from upgan.images.dicom.reader_process import ReaderProcess\n"
        "reader = ReaderProcess(); path = Path(sys.argv[1])\n"
        "reader.pixels(path, path.read_bytes(), (64, 64), numpy.dtype('<i2'))\n"
        "print(reader._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    environment = {
        **os.environ,
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(reader_process.PROGRAM.parents[2]),
    }
    ended = subprocess.run(
        [sys.executable, "-c", code, str(compressed / "0.dcm")], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    patience = time.monotonic() + 10
    while (_is_alive(int(ended.stdout)) or list(temporary.iterdir())) and time.monotonic() < patience:
        time.sleep(0.02)
    assert not list(temporary.iterdir())
    assert not _is_alive(int(ended.stdout))


def _is_alive(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
        return state != "Z"  # One that nobody waits for is gone.
    except OSError:
        return False


def test_a_viewer_is_never_started_in_the_place_of_its_python(
    compressed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert interpreter() == sys.executable
    monkeypatch.setenv("PATH", str(tmp_path))
    for viewer in ("/opt/Slicer/bin/SlicerApp-real", "", None):
        monkeypatch.setattr(sys, "executable", viewer)
        assert interpreter() is None
        assert code_of(lambda: read_volume(compressed)) == "unreadable_image"
    python = tmp_path / ("PythonSlicer.exe" if os.name == "nt" else "PythonSlicer")
    python.write_text("")
    python.chmod(0o700)
    assert interpreter() == str(python)
