"""Images keep their values and their place through files, and are written whole or not at all."""

import errno
import os
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from nibabel.affines import apply_affine

from Engine.made_images import (
    SHAPE,
    SUFFIXES,
    affine_of,
    affines,
    code_of,
    itk_position_ras,
    quick,
    volume_of,
    voxel_indices,
)
from upgan import files
from upgan.errors import OutputError
from upgan.images import writing
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.images.writing import write_volume
from upgan.pairs.thumbnails import write_thumbnail


@pytest.mark.parametrize("suffix", SUFFIXES)
@quick
@given(affine=affines(), ijk=voxel_indices)
def test_a_round_trip_keeps_every_value_and_its_place(
    affine: np.ndarray, ijk: tuple[int, ...], suffix: str, tmp_path: Path
) -> None:
    volume = volume_of(affine)
    write_volume(volume, tmp_path / f"image{suffix}")
    back = read_volume(tmp_path / f"image{suffix}")
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    np.testing.assert_allclose(apply_affine(back.ijk_to_ras, ijk), apply_affine(affine, ijk), atol=1e-3)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@quick
@given(affine=affines(), ijk=voxel_indices)
def test_nibabel_finds_each_written_voxel_where_it_was(
    affine: np.ndarray, ijk: tuple[int, ...], suffix: str, tmp_path: Path
) -> None:
    volume = volume_of(affine)
    write_volume(volume, tmp_path / f"image{suffix}")
    image = nibabel.load(tmp_path / f"image{suffix}")
    assert image.dataobj[ijk] == volume.voxels[ijk[::-1]]
    np.testing.assert_allclose(apply_affine(image.affine, ijk), apply_affine(affine, ijk), atol=1e-3)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@quick
@given(affine=affines(), ijk=voxel_indices)
def test_itk_finds_each_written_voxel_where_it_was(
    affine: np.ndarray, ijk: tuple[int, ...], suffix: str, tmp_path: Path
) -> None:
    volume = volume_of(affine)
    write_volume(volume, tmp_path / f"image{suffix}")
    image = SimpleITK.ReadImage(tmp_path / f"image{suffix}")
    assert image[ijk] == volume.voxels[ijk[::-1]]
    np.testing.assert_allclose(itk_position_ras(image, ijk), apply_affine(affine, ijk), atol=1e-9)


@quick
@given(affine=affines(sheared=False), ijk=voxel_indices)
def test_itk_and_nibabel_agree_on_a_written_nifti_without_shear(
    affine: np.ndarray, ijk: tuple[int, ...], tmp_path: Path
) -> None:
    write_volume(volume_of(affine), tmp_path / "image.nii")
    image = SimpleITK.ReadImage(tmp_path / "image.nii")
    np.testing.assert_allclose(itk_position_ras(image, ijk), apply_affine(affine, ijk), atol=1e-2)
    header = nibabel.load(tmp_path / "image.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(apply_affine(header.get_qform(), ijk), apply_affine(affine, ijk), atol=1e-2)


def test_a_sheared_nifti_declares_no_quaternion(tmp_path: Path) -> None:
    sheared = affine_of(np.array([[1, 0, 0], [0, 0.8, 0], [0, 0.6, 1]]))
    write_volume(volume_of(sheared), tmp_path / "image.nii")
    header = nibabel.load(tmp_path / "image.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)
    np.testing.assert_allclose(header.get_sform(), sheared, atol=1e-5)


@quick
@given(affine=affines(), ijk=voxel_indices, form=st.sampled_from(["sform", "qform"]))
def test_a_nifti_of_nibabels_is_read_where_nibabel_puts_it(
    affine: np.ndarray, ijk: tuple[int, ...], form: str, tmp_path: Path
) -> None:
    image = nibabel.Nifti1Image(volume_of(affine).voxels.T, None)
    getattr(image, f"set_{form}")(affine, code=1)
    nibabel.save(image, tmp_path / "image.nii")
    truth = nibabel.load(tmp_path / "image.nii").affine
    read = read_volume(tmp_path / "image.nii")
    np.testing.assert_allclose(apply_affine(read.ijk_to_ras, ijk), apply_affine(truth, ijk), atol=1e-9)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
@quick
@given(affine=affines(), ijk=voxel_indices)
def test_a_file_of_itks_is_read_where_itk_puts_it(
    affine: np.ndarray, ijk: tuple[int, ...], suffix: str, tmp_path: Path
) -> None:
    image = SimpleITK.GetImageFromArray(volume_of(affine).voxels.astype(np.int16))
    lps = np.diag([-1, -1, 1]) @ affine[:3, :3]
    spacing = np.linalg.norm(lps, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps / spacing).ravel().tolist())
    image.SetOrigin((affine[:3, 3] * (-1, -1, 1)).tolist())
    SimpleITK.WriteImage(image, tmp_path / f"image{suffix}")
    read = read_volume(tmp_path / f"image{suffix}")
    assert read.voxels[ijk[::-1]] == image[ijk]
    np.testing.assert_allclose(apply_affine(read.ijk_to_ras, ijk), itk_position_ras(image, ijk), atol=1e-9)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_every_voxel_type_is_read_as_contiguous_float32(dtype: str, suffix: str, tmp_path: Path) -> None:
    voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)
    if suffix.startswith(".nii"):
        nibabel.save(nibabel.Nifti1Image(voxels.T, np.eye(4)), tmp_path / f"image{suffix}")
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), tmp_path / f"image{suffix}")
    read = read_volume(tmp_path / f"image{suffix}").voxels
    assert read.dtype == np.float32
    assert read.dtype.isnative
    assert read.flags.c_contiguous
    np.testing.assert_array_equal(read, voxels)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_slope_and_intercept_of_a_nifti_in_either_byte_order_are_applied(
    kind: type, order: str, tmp_path: Path
) -> None:
    stored = np.arange(-60, 60, dtype=f"{order}i2").reshape(SHAPE)
    header = kind.header_class(endianness=order)
    header.set_data_dtype(stored.dtype)
    image = kind(stored.T, affine_of(np.eye(3)), header)
    # nibabel would choose its own scaling: write the stored numbers behind the header as it stands.
    image.header.set_slope_inter(0.5, -1024)
    image.header["vox_offset"] = image.header.single_vox_offset
    image.header["magic"] = image.header.single_magic
    with (tmp_path / "image.nii").open("wb") as file:
        image.header.write_to(file)
        file.write(bytes(int(image.header["vox_offset"]) - file.tell()))
        file.write(stored.tobytes())
    read = read_volume(tmp_path / "image.nii")
    np.testing.assert_array_equal(read.voxels, stored * 0.5 - 1024)
    np.testing.assert_allclose(read.ijk_to_ras, affine_of(np.eye(3)))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32"])
def test_integers_are_written_rounded_and_clipped(dtype: str, suffix: str, tmp_path: Path) -> None:
    limits = np.iinfo(dtype)
    voxels = np.zeros((2, 2, 5), np.float32)
    voxels[0, 0] = (1.4, 1.6, 1e12, -1e12, np.nan)
    voxels[1, 1] = (2.5, 3.5, np.inf, -np.inf, 7)
    write_volume(Volume(voxels, np.eye(4)), tmp_path / f"image{suffix}", dtype=dtype)
    if suffix.startswith(".nii"):
        image = nibabel.load(tmp_path / f"image{suffix}")
        assert image.get_data_dtype() == dtype
        assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
        written = np.asarray(image.dataobj).T
    else:
        written = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / f"image{suffix}"))
    assert written.dtype == dtype
    assert written[0, 0].tolist() == [1, 2, limits.max, limits.min, 0]
    assert written[1, 1].tolist() == [2, 4, limits.max, limits.min, 7]


def test_integers_are_clipped_into_a_narrower_type_too(tmp_path: Path) -> None:
    voxels = np.full((2, 2, 2), 3000, np.int16)
    write_volume(Volume(voxels, np.eye(4)), tmp_path / "image.nrrd", dtype=np.uint8)
    assert read_volume(tmp_path / "image.nrrd").voxels.max() == 255


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_float64_keeps_its_precision_when_asked_for(suffix: str, tmp_path: Path) -> None:
    volume = Volume(np.full(SHAPE, 1 / 3), np.eye(4))
    write_volume(volume, tmp_path / f"image{suffix}", dtype=np.float64)
    assert SimpleITK.ReadImage(tmp_path / f"image{suffix}")[1, 1, 1] == 1 / 3


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [">f4", ">i2"])
def test_foreign_byte_order_changes_no_value(dtype: str, suffix: str, tmp_path: Path) -> None:
    volume = Volume(np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype), np.eye(4))
    write_volume(volume, tmp_path / f"image{suffix}", dtype=dtype)
    np.testing.assert_array_equal(read_volume(tmp_path / f"image{suffix}").voxels, volume.voxels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nan_and_infinity_survive_a_round_trip(suffix: str, tmp_path: Path) -> None:
    voxels = np.zeros(SHAPE, np.float32)
    voxels[0, 0, :3] = (np.nan, np.inf, -np.inf)
    write_volume(Volume(voxels, np.eye(4)), tmp_path / f"image{suffix}")
    np.testing.assert_array_equal(read_volume(tmp_path / f"image{suffix}").voxels, voxels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_reoriented_view_is_written_as_well_as_its_original(suffix: str, tmp_path: Path) -> None:
    volume = volume_of(affine_of(np.eye(3))).reoriented("sagittal")
    write_volume(volume, tmp_path / f"image{suffix}")
    np.testing.assert_array_equal(read_volume(tmp_path / f"image{suffix}").voxels, volume.voxels)


@pytest.mark.parametrize("shape", [(*SHAPE, 1), (*SHAPE, 1, 1)])
@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_trailing_axes_of_one_are_dropped(shape: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    voxels = np.arange(np.prod(shape), dtype=np.float32).reshape(shape[::-1])
    if suffix == ".mha":
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels, isVector=False), tmp_path / "image.mha")
    else:
        nibabel.save(nibabel.Nifti1Image(voxels.T, np.eye(4)), tmp_path / "image.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / f"image{suffix}").voxels, voxels.reshape(shape[2::-1]))


@pytest.mark.parametrize(("unit", "millimetres"), [("meter", 1e3), ("mm", 1), ("micron", 1e-3), ("unknown", 1)])
def test_a_niftis_unit_of_length_is_respected_as_itk_does(unit: str, millimetres: float, tmp_path: Path) -> None:
    scale = np.diag([1 / millimetres] * 3 + [1])
    image = nibabel.Nifti1Image(np.zeros(SHAPE, np.float32), scale @ affine_of(np.eye(3)))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "image.nii")
    read = read_volume(tmp_path / "image.nii")
    np.testing.assert_allclose(read.ijk_to_ras, affine_of(np.eye(3)), rtol=1e-6)
    position = itk_position_ras(SimpleITK.ReadImage(tmp_path / "image.nii"), (1, 2, 3))
    np.testing.assert_allclose(apply_affine(read.ijk_to_ras, (1, 2, 3)), position, rtol=1e-5)


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """Return a folder in which this process may not write, even if it was started by root."""
    if sys.platform != "linux":
        pytest.skip("rights are given up and taken back in Linux' way")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.setresuid(65534, 65534, 0)
    yield folder
    if root:
        os.setresuid(0, 0, 0)
    folder.chmod(0o755)
    shutil.rmtree(folder)


ODD_NAME = os.fsdecode(b"image caf\xe9")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
def test_names_of_files_and_folders_need_not_be_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / ODD_NAME
    folder.mkdir()
    volume = volume_of(affine_of(np.eye(3)))
    for suffix in SUFFIXES:
        write_volume(volume, folder / f"{ODD_NAME}{suffix}")
        np.testing.assert_array_equal(read_volume(folder / f"{ODD_NAME}{suffix}").voxels, volume.voxels)
    write_thumbnail(np.eye(8, dtype=np.uint8), folder / f"{ODD_NAME}.png")
    assert len(list(folder.iterdir())) == len(SUFFIXES) + 1


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_locked_folder_is_called_not_writable(suffix: str, locked_folder: Path) -> None:
    assert code_of(lambda: write_volume(volume_of(np.eye(4)), locked_folder / f"image{suffix}")) == "not_writable"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ""])
def test_a_locked_file_is_called_not_readable(suffix: str, tmp_path: Path, locked_folder: Path) -> None:
    path = locked_folder.parent / f"{locked_folder.name}-file{suffix}"
    path.write_bytes(b"something")
    path.chmod(0)
    try:
        assert code_of(lambda: read_volume(path)) == "not_readable"
    finally:
        path.unlink()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_folder_or_a_folder_in_the_way_is_refused(suffix: str, tmp_path: Path) -> None:
    volume = volume_of(np.eye(4))
    (tmp_path / f"taken{suffix}").mkdir()
    (tmp_path / "file").touch()
    for name in (f"missing/image{suffix}", f"file/image{suffix}", f"taken{suffix}"):
        assert code_of(lambda: write_volume(volume, tmp_path / name)) == "not_writable"  # noqa: B023
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", f"taken{suffix}"]


@pytest.mark.parametrize("name", ["image", "image.dcm", "image.nhdr", "image.gz", "image.hdr"])
def test_only_formats_of_one_file_that_keep_the_geometry_are_written(name: str, tmp_path: Path) -> None:
    assert code_of(lambda: write_volume(volume_of(np.eye(4)), tmp_path / name)) == "unsupported_format"


@pytest.mark.parametrize("dtype", [bool, np.complex64, np.int64, np.float16])
def test_voxel_types_that_not_every_format_knows_are_refused(dtype: type, tmp_path: Path) -> None:
    assert code_of(lambda: write_volume(volume_of(np.eye(4)), tmp_path / "x.nii", dtype=dtype)) == "unsupported_dtype"


def test_a_suffix_in_capitals_is_a_suffix(tmp_path: Path) -> None:
    for name in ("A.NII.GZ", "A.NRRD"):
        write_volume(volume_of(np.eye(4)), tmp_path / name)
        assert read_volume(tmp_path / name).voxels.shape == SHAPE


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(
    suffix: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    resource = pytest.importorskip("resource", reason="no file size limits here")
    path = tmp_path / f"image{suffix}"
    old = volume_of(np.eye(4))
    write_volume(old, path)
    new = Volume(rng.normal(size=(40, 100, 100)), np.eye(4))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(OutputError):
            write_volume(new, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    np.testing.assert_array_equal(read_volume(path).voxels, old.voxels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_named_and_nothing_is_left_behind(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nibabel_fails(self: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    def itk_fails(image: object, path: str, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("sitk::ERROR: something about a file")

    monkeypatch.setattr(nibabel.Nifti1Image, "to_filename", nibabel_fails)
    monkeypatch.setattr(SimpleITK, "WriteImage", itk_fails)
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    assert code_of(lambda: write_volume(volume_of(np.eye(4)), tmp_path / f"image{suffix}")) == "disk_full"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_too_little_memory_while_writing_is_called_that(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(error: Exception) -> Callable[..., None]:
        def write(*_: object, **__: object) -> None:
            raise error

        return write

    itk = RuntimeError("sitk::ERROR: Exception thrown in SimpleITK: Failed to allocate memory for image.")
    for error in (MemoryError(), itk):
        monkeypatch.setattr(SimpleITK, "WriteImage", fails(error))
        monkeypatch.setattr(nibabel.Nifti1Image, "to_filename", fails(MemoryError()))
        assert code_of(lambda: write_volume(volume_of(np.eye(4)), tmp_path / f"image{suffix}")) == "out_of_memory"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_image_is_its_users_alone_from_its_first_byte_whatever_the_umask(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes, real = [], os.replace

    def replace(source: Path, target: Path) -> None:
        modes.append(stat.S_IMODE(source.stat().st_mode))
        real(source, target)

    made = files.private_file
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(files, "private_file", lambda path: (made(path), modes.append(path.stat().st_mode & 0o777)))
    before = os.umask(0)
    try:
        write_volume(volume_of(np.eye(4)), tmp_path / f"image{suffix}")
    finally:
        os.umask(before)
    assert modes == [0o600, 0o600]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interrupted_write_leaves_nothing_behind(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_volume(volume_of(np.eye(4)), tmp_path / f"image{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_the_same_volume_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        for name in ("a", "b"):
            write_volume(volume_of(np.eye(4)), tmp_path / f"{name}{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
