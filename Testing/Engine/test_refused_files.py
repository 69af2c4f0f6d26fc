"""Files that are no usable image get one sentence, never a raw exception."""

import contextlib
import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from Engine.images import (
    SHAPE,
    affine_of,
    code_of,
    save_nifti,
)
from upgan.errors import InputError
from upgan.volume import Volume, read_volume, write_volume


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
