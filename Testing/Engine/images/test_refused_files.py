"""Files that are no usable image get one sentence, never a raw exception."""

import bz2
import contextlib
import gzip
import os
import textwrap
import time
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from Engine.made_images import SHAPE, affine_of, code_of, save_nifti
from upgan.errors import InputError
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.images.writing import write_volume


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz", "image.nrrd", "image.mha", "image.dcm", "folder"])
def test_a_missing_file_is_said_to_be_missing(name: str, tmp_path: Path) -> None:
    assert code_of(lambda: read_volume(tmp_path / name)) == "file_not_found"


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz", "image.nrrd", "image.mha", "image.dcm", "image"])
def test_text_and_emptiness_are_no_images(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("This is a letter, not an image.\n" * 100)
    assert code_of(lambda: read_volume(path)) == "not_an_image"
    path.write_bytes(b"")
    assert code_of(lambda: read_volume(path)) == "empty_file"


def test_a_picture_without_a_place_in_the_patient_is_refused(tmp_path: Path) -> None:
    for suffix in (".png", ".tif", ".vtk"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((5, 6), np.uint8)), tmp_path / f"image{suffix}")
        assert code_of(lambda: read_volume(tmp_path / f"image{suffix}")) == "unsupported_format"  # noqa: B023


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", "-compressed.mha"])
def test_a_file_cut_anywhere_is_refused_or_still_whole(suffix: str, tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / f"image{suffix}"
    volume = Volume(rng.normal(size=(5, 20, 20)).astype(np.float32), affine_of(np.eye(3)))
    if "compressed" in suffix:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(volume.voxels), path, useCompression=True)
    else:
        write_volume(volume, path)
    whole = path.read_bytes()
    for length in np.linspace(1, len(whole) - 10, 40).astype(int):
        path.write_bytes(whole[:length])
        # Within the header of an uncompressed file nothing says yet what it was to become.
        assert code_of(lambda: read_volume(path)) in ("truncated_file", "not_an_image" if length < 600 else "")
    for length in range(len(whole) - 9, len(whole)):
        path.write_bytes(whole[:length])
        # The check sum at the very end of a compressed file holds no voxels.
        with contextlib.suppress(InputError):
            np.testing.assert_array_equal(read_volume(path).voxels, volume.voxels)


def test_a_header_that_promises_more_than_the_file_can_hold_costs_no_memory(tmp_path: Path) -> None:
    for suffix in (".nii", ".nii.gz"):
        header = nibabel.Nifti1Header()
        header.set_data_shape((30000, 30000, 30000))
        header.set_data_dtype(np.float64)
        header["magic"] = b"n+1"
        raw = header.binaryblock + bytes(1000)
        (tmp_path / f"image{suffix}").write_bytes(gzip.compress(raw) if suffix.endswith("gz") else raw)
        assert code_of(lambda: read_volume(tmp_path / f"image{suffix}")) == "truncated_file"  # noqa: B023


@pytest.mark.parametrize("seed", range(5))
def test_no_damage_to_a_nifti_header_lets_a_raw_exception_out(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    whole = save_nifti(tmp_path / "image.nii", np.zeros(SHAPE, np.int16)).read_bytes()
    monkeypatch.setattr(nibabel.imageglobals.logger, "disabled", True)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            damaged[rng.integers(352)] = rng.integers(256)
        (tmp_path / "image.nii").write_bytes(damaged)
        try:
            read_volume(tmp_path / "image.nii")
        except InputError:
            continue


def test_moving_images_are_refused_with_their_number_of_frames(tmp_path: Path) -> None:
    save_nifti(tmp_path / "image.nii.gz", np.zeros((*SHAPE, 7), np.float32))
    moving = SimpleITK.GetImageFromArray(np.zeros((7, *SHAPE), np.float32), isVector=False)
    SimpleITK.WriteImage(moving, tmp_path / "image.mha")
    vectors = SimpleITK.GetImageFromArray(np.zeros((*SHAPE, 7), np.float32), isVector=True)
    SimpleITK.WriteImage(vectors, tmp_path / "image.nrrd")
    for name in ("image.nii.gz", "image.mha", "image.nrrd"):
        with pytest.raises(InputError, match="7 values or frames") as refusal:
            read_volume(tmp_path / name)
        assert refusal.value.code == "not_three_dimensional"


def test_colour_images_are_refused(tmp_path: Path) -> None:
    rgb = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert code_of(lambda: read_volume(save_nifti(tmp_path / "image.nii", rgb))) == "colour_image"
    colour = SimpleITK.GetImageFromArray(np.zeros((*SHAPE, 3), np.uint8), isVector=True)
    SimpleITK.WriteImage(colour, tmp_path / "image.nrrd")
    assert code_of(lambda: read_volume(tmp_path / "image.nrrd")) == "colour_image"


def test_complex_images_are_refused(tmp_path: Path) -> None:
    voxels = np.zeros(SHAPE, np.complex64)
    assert code_of(lambda: read_volume(save_nifti(tmp_path / "image.nii", voxels))) == "not_real_valued"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), tmp_path / "image.nrrd")
    assert code_of(lambda: read_volume(tmp_path / "image.nrrd")) == "not_real_valued"


def test_flat_images_are_refused(tmp_path: Path) -> None:
    for shape in ((5, 6), (5, 6, 1), (1, 5, 6)):
        path = save_nifti(tmp_path / "image.nii", np.zeros(shape, np.float32))
        assert code_of(lambda: read_volume(path)) == "single_slice"  # noqa: B023
    for shape in ((5, 6), (1, 5, 6)):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros(shape)), tmp_path / "image.nrrd")
        assert code_of(lambda: read_volume(tmp_path / "image.nrrd")) == "single_slice"


def test_singular_and_invalid_affines_are_refused(tmp_path: Path) -> None:
    voxels = np.zeros(SHAPE, np.float32)
    flat = np.diag([1.0, 1, 0, 1])
    assert code_of(lambda: read_volume(save_nifti(tmp_path / "image.nii", voxels, flat))) == "singular_affine"
    damaged = bytearray(save_nifti(tmp_path / "image.nii", voxels).read_bytes())
    damaged[280:284] = np.float32(np.nan).tobytes()  # srow_x[0]
    (tmp_path / "image.nii").write_bytes(damaged)
    assert code_of(lambda: read_volume(tmp_path / "image.nii")) == "invalid_affine"
    huge = np.diag([1.0, 1, 1000, 1])
    assert code_of(lambda: read_volume(save_nifti(tmp_path / "image.nii", voxels, huge))) == "absurd_spacing"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), tmp_path / "image.mha")
    header = (tmp_path / "image.mha").read_bytes()
    (tmp_path / "image.mha").write_bytes(header.replace(b"1 0 0 0 1 0 0 0 1", b"1 0 0 1 0 0 0 0 1"))
    assert code_of(lambda: read_volume(tmp_path / "image.mha")) == "singular_affine"


def nrrd_of(encoding: str, data: bytes, more: str = "", sizes: str = "6 5 4") -> bytes:
    """Return a NRRD file of 16-bit numbers."""
    header = f"""NRRD0004
type: short
dimension: 3
space: LPS
sizes: {sizes}
space directions: (1,0,0) (0,1,0) (0,0,1)
space origin: (0,0,0)
endian: little
encoding: {encoding}
"""
    return f"{header}{more}{chr(10) * bool(more)}\n".encode() + data


NOTHING = bytes(1 << 25)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        # A thousand bytes that hold gigabytes of nothing, or are said to.
        (nrrd_of("bzip2", bz2.compress(NOTHING), sizes="2048 2048 4096"), "truncated_file"),
        (nrrd_of("gzip", gzip.compress(NOTHING), sizes="2048 2048 4096"), "truncated_file"),
        # Gigabytes to be unpacked, or lines to be passed, before the first voxel.
        (nrrd_of("gzip", gzip.compress(NOTHING) * 40, "byte skip: 1000000000"), "bad_header"),
        (nrrd_of("bzip2", bz2.compress(NOTHING), "byte skip: 100000000"), "bad_header"),
        (nrrd_of("raw", NOTHING, "line skip: 1000000000000"), "bad_header"),
        # Fields that take long to be understood.
        (nrrd_of("raw", bytes(240), "space units: " + '"' * 1_000_000), "bad_header"),
        (nrrd_of("raw", bytes(240), "axis mins: " + "(1," * 1_000_000), "bad_header"),
        (nrrd_of("hex", b"zz" * 120), "truncated_file"),
    ],
    ids=["bzip2", "gzip", "skip in gzip", "skip in bzip2", "lines", "quotes", "long field", "no digits"],
)
def test_what_would_take_much_memory_or_time_is_refused_by_its_header(
    content: bytes, code: str, tmp_path: Path
) -> None:
    path = tmp_path / "image.nrrd"
    path.write_bytes(content)
    began = time.process_time()
    tracemalloc.start()
    try:
        assert code_of(lambda: read_volume(path)) == code
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 1


def test_digits_beyond_the_last_voxel_are_left_alone(tmp_path: Path) -> None:
    voxels = np.arange(120, dtype="<i2").reshape(4, 5, 6)
    lines = "\n".join(textwrap.wrap(voxels.tobytes().hex(), 40))
    (tmp_path / "image.nrrd").write_bytes(nrrd_of("hex", lines.encode() + b"\n" + b"zz" * (8 << 20)))
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(read_volume(tmp_path / "image.nrrd").voxels, voxels)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_more_voxels_than_the_computer_has_memory_are_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_nifti(tmp_path / "image.nii", np.zeros((64, 64, 64), np.uint8))
    monkeypatch.setattr(os, "sysconf_names", {"SC_PAGE_SIZE": 0, "SC_PHYS_PAGES": 1}, raising=False)
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 256}
    monkeypatch.setattr(os, "sysconf", lambda name: pages[name], raising=False)
    assert read_volume(tmp_path / "image.nii").voxels.nbytes == 256 * 4096
    pages["SC_PHYS_PAGES"] = 255
    assert code_of(lambda: read_volume(tmp_path / "image.nii")) == "too_large"
