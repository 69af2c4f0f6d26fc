"""Images keep their values and their place in the patient: through files, reorientation and back."""

import contextlib
import errno
import gzip
import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nibabel.affines import apply_affine
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from scipy.spatial.transform import Rotation

from upgan import writing
from upgan.errors import InputError, OutputError, UpganError
from upgan.volume import Plane, Reorientation, Volume, count_nonfinite, read_volume, write_volume

SHAPE = (4, 5, 6)  # K, J, I
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
LAYOUTS: dict[Plane, tuple[str, str, str]] = {
    "axial": ("L", "P", "S"),
    "coronal": ("L", "I", "A"),
    "sagittal": ("P", "I", "R"),
}
ORTHOGONAL = [
    np.eye(3)[list(order)] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
# Hypothesis forbids function-scoped fixtures, though a folder that examples overwrite does no harm.
quick = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def affine_of(
    directions: np.ndarray, spacing: tuple[float, ...] = (1, 2, 3), origin: tuple = (10, -20, 30)
) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = origin
    return affine


def volume_of(affine: np.ndarray, shape: tuple[int, ...] = SHAPE) -> Volume:
    return Volume(np.arange(np.prod(shape), dtype=np.float32).reshape(shape), affine)


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(UpganError) as refusal:
        action()
    assert refusal.value.sentence.endswith(".")
    assert refusal.value.remedy.endswith(".")
    return refusal.value.code


def itk_position_ras(image: SimpleITK.Image, ijk: tuple[int, ...]) -> np.ndarray:
    return np.array(image.TransformIndexToPhysicalPoint(ijk)) * (-1, -1, 1)


@st.composite
def affines(draw: st.DrawFn, *, sheared: bool = True) -> np.ndarray:
    """Draw any grid a scanner or a program could make: oblique, flipped, permuted, anisotropic, tilted."""
    quaternion = draw(arrays(float, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.1))
    orthogonal = draw(st.sampled_from(ORTHOGONAL))
    spacing = draw(st.tuples(*[st.floats(0.2, 10)] * 3))
    origin = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    shear = np.eye(3)
    if sheared:
        shear[[0, 0, 1], [1, 2, 2]] = draw(st.tuples(*[st.floats(-0.6, 0.6)] * 3))
        shear /= np.linalg.norm(shear, axis=0)
    return affine_of(Rotation.from_quat(quaternion).as_matrix() @ orthogonal @ shear, spacing, origin)


voxel_indices = st.tuples(*[st.integers(0, n - 1) for n in reversed(SHAPE)])


# --- A volume ---------------------------------------------------------------------------------------------------------


def test_spacing_is_the_length_of_the_affines_columns_in_ijk_order() -> None:
    rotation = Rotation.from_euler("xyz", (20, -30, 40), degrees=True).as_matrix()
    np.testing.assert_allclose(volume_of(affine_of(rotation, (0.5, 2, 3))).spacing, (0.5, 2, 3))


@pytest.mark.parametrize(
    ("voxels", "code"),
    [
        (np.zeros((4, 5)), "not_a_volume"),
        (np.zeros((2, 3, 4, 5)), "not_a_volume"),
        (np.zeros(SHAPE, complex), "not_real_valued"),
        (np.zeros(SHAPE, bool), "not_real_valued"),
        (np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]), "not_real_valued"),
        (np.zeros((0, 5, 6)), "empty_volume"),
        (np.zeros((1, 5, 6)), "single_slice"),
        (np.zeros((5, 6, 1)), "single_slice"),
    ],
)
def test_voxels_that_are_no_volume_are_refused(voxels: np.ndarray, code: str) -> None:
    assert code_of(lambda: Volume(voxels, np.eye(4))) == code


@pytest.mark.parametrize(
    ("affine", "code"),
    [
        (np.eye(3), "invalid_affine"),
        (np.diag([1, 1, np.nan, 1]), "invalid_affine"),
        (np.diag([1, 1, 1, 2]), "invalid_affine"),
        (np.diag([1, 0, 1, 1]), "singular_affine"),
        (affine_of(np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1]])), "singular_affine"),
        (affine_of(np.array([[1, 1, 0], [0, 1e-5, 0], [0, 0, 1]])), "singular_affine"),
        (np.diag([1, 1, 0.009, 1]), "absurd_spacing"),
        (np.diag([1, 51, 1, 1]), "absurd_spacing"),
    ],
)
def test_impossible_geometry_is_refused(affine: np.ndarray, code: str) -> None:
    assert code_of(lambda: Volume(np.zeros(SHAPE), affine)) == code


def test_small_spacing_alone_does_not_make_a_grid_singular() -> None:
    Volume(np.zeros(SHAPE), np.diag([0.01, 0.01, 0.01, 1]))


def test_a_volumes_affine_is_its_own_and_cannot_be_changed() -> None:
    affine = np.eye(4)
    volume = volume_of(affine)
    affine[0, 0] = 7
    assert volume.ijk_to_ras[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        volume.ijk_to_ras[0, 0] = 7


def test_nan_and_infinity_are_counted_apart() -> None:
    voxels = np.zeros(SHAPE, np.float32)
    voxels[0, 0, :3] = np.nan
    voxels[1, 2, 3], voxels[3, 4, 5] = np.inf, -np.inf
    assert count_nonfinite(voxels) == (3, 2)
    assert count_nonfinite(np.zeros(SHAPE, np.int16)) == (0, 0)


# --- Reorientation ----------------------------------------------------------------------------------------------------


def tilted(directions: np.ndarray) -> Iterator[np.ndarray]:
    yield directions
    for axis, degrees in itertools.product("xyz", (-30, 30)):
        yield Rotation.from_euler(axis, degrees, degrees=True).as_matrix() @ directions


@pytest.mark.parametrize("plane", LAYOUTS)
@pytest.mark.parametrize("orthogonal", ORTHOGONAL, ids=lambda m: "".join(nibabel.aff2axcodes(affine_of(m))))
def test_every_orientation_reaches_the_planes_layout_and_comes_back_bit_by_bit(
    orthogonal: np.ndarray, plane: Plane
) -> None:
    for directions in tilted(orthogonal):
        volume = volume_of(affine_of(directions))
        new = volume.reoriented(plane)
        assert nibabel.aff2axcodes(new.ijk_to_ras) == LAYOUTS[plane]
        r = Reorientation.of(volume.ijk_to_ras, plane)
        np.testing.assert_array_equal(new.voxels, r.apply(volume.voxels))
        np.testing.assert_array_equal(r.undo(r.apply(volume.voxels)), volume.voxels)
        assert np.shares_memory(new.voxels, volume.voxels)
        np.testing.assert_allclose(r.spacing, new.spacing)


@pytest.mark.parametrize("plane", LAYOUTS)
@quick
@given(affine=affines(), ijk=voxel_indices)
def test_reorientation_moves_no_voxel_in_the_patient(affine: np.ndarray, ijk: tuple[int, ...], plane: Plane) -> None:
    volume = volume_of(affine)
    new = volume.reoriented(plane)
    k, j, i = np.argwhere(new.voxels == volume.voxels[ijk[::-1]])[0]
    np.testing.assert_allclose(
        apply_affine(new.ijk_to_ras, (i, j, k)), apply_affine(affine, ijk), atol=1e-9 * np.abs(affine).max()
    )


@pytest.mark.parametrize("plane", LAYOUTS)
@quick
@given(affine=affines())
def test_an_array_made_in_the_layout_returns_to_the_input_grid(affine: np.ndarray, plane: Plane) -> None:
    r = Reorientation.of(affine, plane)
    shape = r.apply(np.empty(SHAPE)).shape
    made = np.arange(np.prod(shape)).reshape(shape)
    back = r.undo(made)
    assert back.shape == SHAPE
    np.testing.assert_array_equal(r.apply(back), made)


def test_in_plane_spacing_is_that_of_rows_then_columns() -> None:
    # I runs to the feet at 2 mm, J to the back at 3 mm, K to the right at 5 mm.
    affine = affine_of(np.array([[0, 0, 1], [0, -1, 0], [-1, 0, 0]]), (2, 3, 5))
    spacings = {plane: Reorientation.of(affine, plane).in_plane_spacing for plane in LAYOUTS}
    assert spacings == {"axial": (3, 5), "coronal": (2, 5), "sagittal": (2, 3)}


@pytest.mark.parametrize("angles", list(itertools.product((-45, 0, 45), repeat=3)))
def test_at_45_degrees_each_axis_is_still_used_once(angles: tuple[int, ...]) -> None:
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    for shear in (0.0, 1.0):
        skewed = rotation @ np.array([[1, 0, 0], [0, 1, shear], [0, 0, 1]])
        volume = volume_of(affine_of(skewed / np.linalg.norm(skewed, axis=0)))
        for plane in LAYOUTS:
            assert sorted(Reorientation.of(volume.ijk_to_ras, plane).sources) == [0, 1, 2]
            assert sorted(volume.reoriented(plane).voxels.ravel()) == sorted(volume.voxels.ravel())


def test_a_tilted_gantry_keeps_its_shear_in_every_layout() -> None:
    tilt = np.radians(18.5)
    sheared = np.array([[-1, 0, 0], [0, -np.cos(tilt), 0], [0, -np.sin(tilt), 1]])
    volume = volume_of(affine_of(sheared, (0.5, 0.5, 4)))
    for plane, layout in LAYOUTS.items():
        new = volume.reoriented(plane)
        assert nibabel.aff2axcodes(new.ijk_to_ras) == layout
        unit = new.ijk_to_ras[:3, :3] / new.spacing
        cosines = sorted(np.abs((unit.T @ unit)[np.triu_indices(3, 1)]))
        np.testing.assert_allclose(cosines, (0, 0, np.sin(tilt)), atol=1e-12)


def test_the_modality_survives_reorientation() -> None:
    assert Volume(np.zeros(SHAPE), np.eye(4), "PT").reoriented("coronal").modality == "PT"


def test_an_unknown_plane_is_refused() -> None:
    assert code_of(lambda: Reorientation.of(np.eye(4), "oblique")) == "unknown_plane"  # type: ignore[arg-type]


# --- Round trips ------------------------------------------------------------------------------------------------------


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


# --- Values -----------------------------------------------------------------------------------------------------------


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


# --- Files that are refused -------------------------------------------------------------------------------------------


def save_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    image = nibabel.Nifti1Image(voxels, None)
    image.set_sform(np.eye(4) if affine is None else affine, code=1)
    nibabel.save(image, path)
    return path


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


# --- DICOM series -----------------------------------------------------------------------------------------------------

TILT = np.radians(18.5)
UPRIGHT = np.array([[1.0, 0, 0], [0, 1, 0]])
TILTED = np.array([[1.0, 0, 0], [0, np.cos(TILT), -np.sin(TILT)]])


def save_slice(path: Path, position: np.ndarray, **tags: object) -> FileDataset:
    """Write one CT slice of 5 x 6 pixels whose stored values grow from -200; tags replace or (None) remove others."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = str(tags.get("SOPClassUID", CTImageStorage))
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(path, {}, file_meta=meta, preamble=bytes(128))
    values: dict[str, object] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SeriesInstanceUID": "1.2.3.4",
        "StudyInstanceUID": "1.2.3",
        "Modality": "CT",
        "PatientName": "Secret^Person",
        "PatientID": "ID-4711",
        "Rows": 5,
        "Columns": 6,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "PixelSpacing": [2.0, 0.5],
        "ImageOrientationPatient": UPRIGHT.ravel().tolist(),
        "ImagePositionPatient": [float(x) for x in position],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "PixelData": np.arange(-200, -170, dtype="<i2").tobytes(),
    }
    for name, value in (values | tags).items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return dataset


def save_series(folder: Path, heights: list[float], **tags: object) -> Path:
    for number, height in enumerate(heights):
        save_slice(folder / f"{tags.get('SeriesInstanceUID', '')}{number:03}.dcm", np.array([7, -8, height]), **tags)
    return folder


def dicom_position_ras(dataset: FileDataset, row: int, column: int) -> np.ndarray:
    """Equation C.7.6.2.1-1 of the DICOM standard, then from LPS to RAS."""
    orientation = np.array(dataset.ImageOrientationPatient, float)
    rows, columns = map(float, dataset.PixelSpacing)
    position = np.array(dataset.ImagePositionPatient, float)
    return (position + orientation[:3] * columns * column + orientation[3:] * rows * row) * (-1, -1, 1)


@pytest.mark.parametrize("directions", [UPRIGHT, TILTED, np.array([[0.0, 1, 0], [0, 0, -1]])])
@pytest.mark.parametrize("step", [(2.0, 0, 3.0), (1.0, 0.2, -3.0), (-2.0, 0.5, 1.0)])
def test_every_pixel_of_a_series_lies_where_its_own_slice_says(
    directions: np.ndarray, step: tuple[float, ...], tmp_path: Path
) -> None:
    # File names in another order than positions; each slice has its own slope, as in PET.
    slices = [
        save_slice(
            tmp_path / name,
            np.array([7, -8, 90]) + n * np.array(step),
            ImageOrientationPatient=directions.ravel().tolist(),
            RescaleSlope=1 + n / 4,
            RescaleIntercept=n,
            Modality="PT",
        )
        for n, name in enumerate(["b", "d", "a", "c"])
    ]
    volume = read_volume(tmp_path)
    assert volume.modality == "PT"
    assert volume.voxels.dtype == np.float32
    places = {
        tuple(np.round(apply_affine(volume.ijk_to_ras, ijk), 4) + 0.0): float(volume.voxels[ijk[::-1]])
        for ijk in np.ndindex(6, 5, 4)
    }
    for n, dataset in enumerate(slices):
        truth = dataset.pixel_array * (1 + n / 4) + n
        for row, column in np.ndindex(5, 6):
            place = tuple(np.round(dicom_position_ras(dataset, row, column), 4) + 0.0)
            assert places[place] == truth[row, column]


def test_a_tilted_gantry_is_read_as_shear_and_kept_by_files(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    save_series(tmp_path / "series", [0, 4, 8], ImageOrientationPatient=TILTED.ravel().tolist())
    volume = read_volume(tmp_path / "series")
    unit = volume.ijk_to_ras[:3, :3] / volume.spacing
    assert np.degrees(np.arcsin(abs(unit[:, 1] @ unit[:, 2]))) == pytest.approx(18.5)
    for suffix in SUFFIXES:
        write_volume(volume, tmp_path / f"image{suffix}")
        np.testing.assert_allclose(read_volume(tmp_path / f"image{suffix}").ijk_to_ras, volume.ijk_to_ras, atol=1e-5)


@pytest.mark.parametrize(
    "heights",
    [
        [0, 1, 2, 4],
        [0, 4, 8.06, 12],
        # Gaps that are each within the tolerance and add up to half a millimetre.
        [*np.arange(0, 30) * 1.04, *(30 * 1.04 + np.arange(0, 30) * 0.96)],
    ],
)
def test_uneven_slices_are_refused(heights: list[float], tmp_path: Path) -> None:
    assert code_of(lambda: read_volume(save_series(tmp_path, heights))) == "uneven_slices"


@pytest.mark.parametrize("heights", [[0, 0.52, 1, 1.49], [0, 10.09, 20, 30], [0.001, 3.27, 6.54, 9.811]])
def test_rounded_slice_positions_are_accepted(heights: list[float], tmp_path: Path) -> None:
    assert read_volume(save_series(tmp_path, heights)).voxels.shape == (4, 5, 6)


def test_a_series_that_shifts_sideways_once_is_uneven(tmp_path: Path) -> None:
    for n, x in enumerate((0, 0, 1, 1)):
        save_slice(tmp_path / f"{n}.dcm", np.array([x, 0, 3 * n]))
    assert code_of(lambda: read_volume(tmp_path)) == "uneven_slices"


def test_a_dynamic_series_is_refused_with_its_number_of_frames(tmp_path: Path) -> None:
    save_series(tmp_path, [0, 3, 6, 0, 3, 6])
    with pytest.raises(InputError, match="2 values or frames") as refusal:
        read_volume(tmp_path)
    assert refusal.value.code == "not_three_dimensional"


def test_of_several_series_the_named_one_is_read_and_no_patient_is_named(tmp_path: Path) -> None:
    save_series(tmp_path, [0, 3, 6], SeriesInstanceUID="1.2.3.5", SeriesDescription="Schädel 3 mm")
    save_series(tmp_path, [0, 1, 2, 3], SeriesInstanceUID="1.2.3.6", Modality="MR", RescaleSlope=2)
    with pytest.raises(InputError) as refusal:
        read_volume(tmp_path)
    assert refusal.value.code == "several_series"
    for expected in ("1.2.3.5 (Sch", "3 mm, 3 files)", "1.2.3.6 (without description, 4 files)"):
        assert expected in refusal.value.sentence
    for private in ("Secret", "Person", "4711"):
        assert private not in str(refusal.value)
    chosen = read_volume(tmp_path, series="1.2.3.6")
    assert (chosen.voxels.shape, chosen.modality) == ((4, 5, 6), "MR")
    assert chosen.voxels[0, 0, 0] == -200 * 2 - 1024
    assert code_of(lambda: read_volume(tmp_path, series="1.2.3.7")) == "no_such_series"


@pytest.mark.parametrize(
    "odd",
    [
        {"Rows": 6, "Columns": 5},
        {"PixelSpacing": [2.0, 0.6]},
        {"ImageOrientationPatient": TILTED.ravel().tolist()},
        {"Modality": "PT"},
    ],
)
def test_slices_of_different_grids_are_refused(odd: dict[str, object], tmp_path: Path) -> None:
    save_series(tmp_path, [0, 3, 6])
    save_slice(tmp_path / "odd.dcm", np.array([7, -8, 9]), **odd)
    assert code_of(lambda: read_volume(tmp_path)) == "mixed_slices"


@pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_slices_without_a_place_are_refused(missing: str, tmp_path: Path) -> None:
    assert code_of(lambda: read_volume(save_series(tmp_path, [0, 3], **{missing: None}))) == "missing_geometry"


def test_a_slice_cut_short_is_not_left_out_in_silence(tmp_path: Path) -> None:
    save_series(tmp_path, [0, 3, 6, 9])
    whole = (tmp_path / "003.dcm").read_bytes()
    for length in (len(whole) - 10, 500):
        (tmp_path / "003.dcm").write_bytes(whole[:length])
        assert code_of(lambda: read_volume(tmp_path)) == "truncated_file"
        assert code_of(lambda: read_volume(tmp_path / "003.dcm")) == "truncated_file"


def test_other_files_beside_a_series_do_not_disturb_it(tmp_path: Path) -> None:
    save_series(tmp_path, [0, 3, 6])
    (tmp_path / "notes.txt").write_text("scanned on a Tuesday")
    (tmp_path / "subfolder").mkdir()
    save_slice(
        tmp_path / "structures.dcm",
        np.zeros(3),
        SOPClassUID=RTStructureSetStorage,
        Modality="RTSTRUCT",
        SeriesInstanceUID="1.2.3.9",
        PixelData=None,
        Rows=None,
        Columns=None,
    )
    assert read_volume(tmp_path).voxels.shape == (3, 5, 6)


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    assert code_of(lambda: read_volume(tmp_path)) == "no_dicom"
    save_nifti(tmp_path / "image.nii", np.zeros(SHAPE, np.float32))
    assert code_of(lambda: read_volume(tmp_path)) == "no_dicom"


def test_many_frames_in_one_dicom_file_are_refused(tmp_path: Path) -> None:
    pixels = np.zeros((3, 5, 6), "<i2").tobytes()
    save_slice(tmp_path / "image.dcm", np.zeros(3), NumberOfFrames=3, PixelData=pixels)
    assert code_of(lambda: read_volume(tmp_path / "image.dcm")) == "multi_frame"
    assert code_of(lambda: read_volume(tmp_path)) == "multi_frame"


# --- Writing ----------------------------------------------------------------------------------------------------------


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


# --- Real images ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("t1/adi_26y_trio3T.nii.gz", "PIR"),
        ("t1/qa_asl_35y_prisma3T.nii.gz", None),
        ("t1/allineate_T1w2mm.nii.gz", None),
        ("t1/studyforrest_sub02_slab.nii.gz", None),
        ("pet/brainweb06_osem_slab.nii.gz", None),
        ("ct/qa_ct_ge_head.nii.gz", "LPS"),
    ],
)
def test_a_real_image_reads_reorients_and_round_trips(
    name: str, axes: str | None, shared_data: Path, tmp_path: Path
) -> None:
    truth = nibabel.load(shared_data / name)
    volume = read_volume(shared_data / name)
    np.testing.assert_array_equal(volume.voxels, truth.get_fdata(dtype=np.float32).squeeze().T)
    np.testing.assert_array_equal(volume.ijk_to_ras, truth.affine)
    assert axes is None or "".join(nibabel.aff2axcodes(volume.ijk_to_ras)) == axes
    for plane, layout in LAYOUTS.items():
        new = volume.reoriented(plane)
        assert nibabel.aff2axcodes(new.ijk_to_ras) == layout
        assert np.shares_memory(new.voxels, volume.voxels)
    write_volume(new, tmp_path / "image.mha")
    back = read_volume(tmp_path / "image.mha")
    np.testing.assert_array_equal(back.voxels, new.voxels)
    np.testing.assert_allclose(back.ijk_to_ras, new.ijk_to_ras, atol=1e-9)


def test_the_head_scanned_with_a_tilted_gantry_keeps_its_tilt(shared_data: Path, tmp_path: Path) -> None:
    volume = read_volume(shared_data / "ct" / "qa_ct_ge_head.nii.gz").reoriented("axial")
    part = Volume(volume.voxels[:, ::8, ::8], volume.ijk_to_ras @ np.diag([8, 8, 1, 1]))
    for suffix in SUFFIXES:
        write_volume(part, tmp_path / f"image{suffix}", dtype=np.int16)
        back = read_volume(tmp_path / f"image{suffix}")
        unit = back.ijk_to_ras[:3, :3] / back.spacing
        assert np.degrees(np.arcsin(abs(unit[:, 1] @ unit[:, 2]))) == pytest.approx(18.5, abs=0.05)


def test_two_slices_of_a_real_series_are_a_volume(shared_data: Path) -> None:
    volume = read_volume(shared_data / "dicom" / "ct_ge")
    slices = [pydicom.dcmread(shared_data / "dicom" / "ct_ge" / f"{n}.dcm") for n in (11, 12)]
    slices.sort(key=lambda s: float(s.ImagePositionPatient[2]))
    assert volume.modality == "CT"
    for k, dataset in enumerate(slices):
        hounsfield = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        np.testing.assert_array_equal(volume.voxels[k], hounsfield)
        for row, column in ((0, 0), (0, 511), (300, 200)):
            np.testing.assert_allclose(
                apply_affine(volume.ijk_to_ras, (column, row, k)), dicom_position_ras(dataset, row, column), atol=1e-6
            )


def test_a_single_real_slice_is_refused_and_a_folder_of_two_series_too(shared_data: Path) -> None:
    for name in ("CT_small.dcm", "MR_small.dcm"):
        assert code_of(lambda: read_volume(shared_data / "dicom" / name)) == "single_slice"  # noqa: B023
    assert code_of(lambda: read_volume(shared_data / "dicom")) == "several_series"
