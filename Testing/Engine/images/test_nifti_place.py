"""Where a NIfTI file says that its voxels lie, how sure that is, and that a result says the same."""

import gzip
import itertools
import struct
from dataclasses import replace
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import assume, given
from hypothesis import strategies as st
from nibabel.affines import apply_affine

from Engine.made_images import affine_of, affines, code_of, itk_position_ras, quick, save_nifti, volume_of
from upgan.errors import InputError
from upgan.images.formats.headers import read_header
from upgan.images.placement import Placement
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.images.writing import write_volume


def read_placement(path: Path) -> Placement:
    header = read_header(path)
    assert header is not None
    return header.placement


CORNERS = list(itertools.product((0, 5), (0, 4), (0, 3)))
TILT = np.array([[1, 0.1, 0], [0, 1, 0], [0, 0, 1]])


def save_forms(
    path: Path, qform: np.ndarray, sform: np.ndarray, codes: tuple[int, int], unit: str = "mm", **fields: object
) -> Path:
    """Write a NIfTI file with these forms, and fields of the header as they are given."""
    image = nibabel.Nifti1Image(volume_of(np.eye(4)).voxels.T.astype(np.int16), None)
    image.set_qform(qform, codes[0])
    image.set_sform(sform, codes[1])
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    header = image.header
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + path.read_bytes()[348:])
    return path


def assert_itk_puts_it_there(volume: Volume, path: Path, atol: float = 0.02) -> None:
    image = SimpleITK.ReadImage(path)
    for ijk in CORNERS:
        np.testing.assert_allclose(apply_affine(volume.ijk_to_ras, ijk), itk_position_ras(image, ijk), atol=atol)


def assert_same_place_everywhere(one: Path, other: Path) -> None:
    np.testing.assert_array_equal(nibabel.load(one).affine, nibabel.load(other).affine)
    images = [SimpleITK.ReadImage(path) for path in (one, other)]
    for ijk in CORNERS:
        assert images[0].TransformIndexToPhysicalPoint(ijk) == images[1].TransformIndexToPhysicalPoint(ijk)


@quick
@given(qform=affines(sheared=False), sform=affines(sheared=False), q=st.integers(1, 5), s=st.integers(0, 5))
def test_a_nifti_is_read_where_itk_puts_it_and_two_places_are_said(
    qform: np.ndarray, sform: np.ndarray, q: int, s: int, tmp_path: Path
) -> None:
    volume = read_volume(save_forms(tmp_path / "image.nii", qform, sform, (q, s)))
    apart = max(np.linalg.norm(apply_affine(qform, ijk) - apply_affine(sform, ijk)) for ijk in CORNERS)
    share = apart / np.linalg.norm(sform[:3, :3], axis=0).min() if s else 0
    assume(not 0.05 < share < 0.2)
    assert volume.placement.certainty == ("ambiguous" if share > 0.1 else "certain")
    assert bool(volume.placement.sentence) == (share > 0.1)
    assert_itk_puts_it_there(volume, tmp_path / "image.nii", atol=0.02 if share > 0.1 else 0.5)


@quick
@given(affine=affines(sheared=False), codes=st.tuples(*[st.integers(1, 5)] * 2))
def test_forms_that_agree_are_certain(affine: np.ndarray, codes: tuple[int, int], tmp_path: Path) -> None:
    volume = read_volume(save_forms(tmp_path / "image.nii", affine, affine, codes))
    assert (volume.placement.certainty, volume.placement.sentence) == ("certain", "")
    np.testing.assert_allclose(volume.ijk_to_ras, affine, rtol=1e-5, atol=1e-4)


HEAD = affine_of(np.diag([-1.0, 1, 1]), (8, 8, 9), (90, -100, -70))
TURNED = affine_of(np.array([[-1.0, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]), (8, 8, 9), (90, -100, -70))


@pytest.mark.parametrize(
    ("qform", "sform", "codes", "unit", "fields"),
    [
        (HEAD, HEAD, (0, 0), "mm", {}),
        (HEAD, TURNED, (1, 2), "mm", {}),
        (HEAD, TURNED, (1, 1), "mm", {}),
        (TURNED, HEAD, (3, 0), "mm", {}),
        (HEAD, TURNED, (0, 4), "mm", {}),
        (TURNED / [[1e3], [1e3], [1e3], [1]], HEAD / [[1e3], [1e3], [1e3], [1]], (1, 2), "meter", {}),
        (HEAD, HEAD, (1, 0), "mm", {"pixdim": (-1, 8, 8, 0, 0, 0, 0, 0)}),
        # As tools leave them that resample: a shear of rounding, and the tilted gantry's.
        *[(TURNED, affine_of(TURNED[:3, :3] / (8, 8, 9) @ shear, (8, 8, 9), (90, -100, -70)), (1, 1), "mm", {})
          for shear in (np.eye(3) + k * (TILT - np.eye(3)) for k in (0.003, 0.01, 0.1, 1))],
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_result_lies_on_its_input_whoever_reads_it(
    qform: np.ndarray, sform: np.ndarray, codes: tuple[int, int], unit: str, fields: dict, suffix: str, tmp_path: Path
) -> None:
    source = save_forms(tmp_path / "image.nii", qform, sform, codes, unit, **fields)
    volume = read_volume(source)
    result = Volume(-volume.voxels, volume.ijk_to_ras, placement=volume.placement)
    write_volume(result, tmp_path / f"result{suffix}")
    if unit == "mm":  # nibabel does not look at the unit
        assert_same_place_everywhere(source, tmp_path / f"result{suffix}")
    header = nibabel.load(tmp_path / f"result{suffix}").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == codes
    assert header.get_xyzt_units()[0] == "mm"
    back = read_volume(tmp_path / f"result{suffix}")
    np.testing.assert_allclose(back.ijk_to_ras, volume.ijk_to_ras, rtol=1e-6)
    np.testing.assert_array_equal(back.voxels, result.voxels)
    assert back.placement.certainty == volume.placement.certainty
    itk = [SimpleITK.ReadImage(path) for path in (source, tmp_path / f"result{suffix}")]
    np.testing.assert_allclose(itk_position_ras(itk[0], (5, 4, 3)), itk_position_ras(itk[1], (5, 4, 3)), rtol=1e-6)


def test_a_grid_that_is_not_the_files_any_more_is_written_as_itself(tmp_path: Path) -> None:
    volume = read_volume(save_forms(tmp_path / "image.nii", HEAD, TURNED, (1, 2))).reoriented("coronal")
    assert volume.placement.certainty == "ambiguous"
    write_volume(volume, tmp_path / "result.nii")
    np.testing.assert_allclose(nibabel.load(tmp_path / "result.nii").affine, volume.ijk_to_ras, atol=1e-4)


@pytest.mark.parametrize("shear", [3e-4, 1e-3, 5e-3])
def test_a_shear_of_rounding_leaves_a_nifti_that_itk_opens(shear: float, tmp_path: Path) -> None:
    sheared = affine_of(np.array([[1, shear, 0], [0, 1, 0], [0, 0, 1]]), (2, 2, 3))
    write_volume(volume_of(sheared), tmp_path / "image.nii")
    image = SimpleITK.ReadImage(tmp_path / "image.nii")
    np.testing.assert_allclose(itk_position_ras(image, (5, 4, 3)), apply_affine(sheared, (5, 4, 3)), atol=0.2)
    np.testing.assert_allclose(nibabel.load(tmp_path / "image.nii").affine, sheared, rtol=1e-6)


def test_a_file_without_a_place_is_taken_as_itk_takes_it(tmp_path: Path) -> None:
    volume = read_volume(save_forms(tmp_path / "image.nii", HEAD, HEAD, (0, 0)))
    np.testing.assert_array_equal(volume.ijk_to_ras, np.diag([-8.0, -8, 9, 1]))
    assert_itk_puts_it_there(volume, tmp_path / "image.nii")
    assert read_placement(tmp_path / "image.nii").certainty == "guessed"
    # The remark survives the format that has no codes.
    write_volume(volume, tmp_path / "image.nrrd")
    assert read_volume(tmp_path / "image.nrrd").placement.sentence == volume.placement.sentence
    assert read_volume(tmp_path / "image.nrrd").placement.certainty == "guessed"


@pytest.mark.parametrize("certainty", ["guessed", "ambiguous", "certain"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_a_result_is_as_sure_of_its_place_as_its_input_in_every_format(
    suffix: str, certainty: Literal["guessed", "ambiguous", "certain"], tmp_path: Path
) -> None:
    affine = affine_of(TURNED[:3, :3] / (8, 8, 9), (1.1, 0.9, 2.3), (-13.123456789, 1234.56789, 3))
    said = "" if certainty == "certain" else "'ä.nrrd' does not say\nin which space it lies."
    volume = replace(volume_of(affine), placement=Placement(certainty, said))
    for name in (f"first{suffix}", f"second{suffix}"):  # what was read is written again
        write_volume(volume, tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        whole = gzip.decompress(whole) if suffix == ".nii.gz" else whole
        assert (b"UncertaintyGuidedI2I" in whole) == (certainty != "certain")
        volume = read_volume(tmp_path / name)
        assert volume.placement.certainty == certainty
        assert bool(volume.placement.sentence) == (certainty != "certain")
    if suffix in (".mha", ".nrrd"):
        assert volume.placement.sentence == " ".join(said.split())
        image = SimpleITK.ReadImage(tmp_path / f"second{suffix}")
        image.SetOrigin([1, 2, 3])
        SimpleITK.WriteImage(image, str(tmp_path / f"moved{suffix}"))
        assert read_placement(tmp_path / f"moved{suffix}").is_certain
    else:
        nifti = nibabel.load(tmp_path / f"second{suffix}")
        nibabel.save(nibabel.Nifti2Image.from_image(nifti), tmp_path / "2.nii")
        assert read_placement(tmp_path / "2.nii").certainty == certainty


def test_codes_that_say_it_themselves_need_no_mark(tmp_path: Path) -> None:
    for codes in ((0, 0), (1, 2)):
        volume = read_volume(save_forms(tmp_path / "image.nii", HEAD, TURNED, codes))
        write_volume(volume, tmp_path / "result.nii")
        assert b"UncertaintyGuidedI2I" not in (tmp_path / "result.nii").read_bytes()
        assert not read_placement(tmp_path / "result.nii").is_certain
        # On another grid there are no such codes.
        write_volume(volume.reoriented("coronal"), tmp_path / "result.nii")
        assert read_placement(tmp_path / "result.nii").certainty == volume.placement.certainty


@pytest.mark.parametrize("size", [0.0, np.nan])
@pytest.mark.parametrize("codes", [(1, 0), (0, 0)])
def test_voxels_without_a_size_are_guessed(codes: tuple[int, int], size: float, tmp_path: Path) -> None:
    path = save_forms(tmp_path / "image.nii", HEAD, HEAD, codes, pixdim=(-1, 8, 8, size, 0, 0, 0, 0))
    volume = read_volume(path)
    assert volume.spacing.tolist() == [8, 8, 1]
    assert volume.placement.certainty == "guessed"
    assert_itk_puts_it_there(volume, path)


def test_an_sform_of_directions_only_has_the_size_of_pixdim(tmp_path: Path) -> None:
    directions = HEAD / (8, 8, 9, 1)
    for codes in ((1, 1), (0, 1)):
        path = save_forms(tmp_path / "image.nii", HEAD, directions, codes, pixdim=(-1, 8, 8, 9, 0, 0, 0, 0))
        volume = read_volume(path)
        np.testing.assert_allclose(volume.ijk_to_ras, HEAD)
        assert volume.placement.certainty == "ambiguous"
        assert_itk_puts_it_there(volume, path)


def test_a_negative_size_is_taken_as_itk_does_and_said(tmp_path: Path) -> None:
    path = save_forms(tmp_path / "image.nii", HEAD, HEAD, (1, 0), pixdim=(-1, -8, 8, 9, 0, 0, 0, 0))
    assert read_volume(path).placement.certainty == "ambiguous"
    assert_itk_puts_it_there(read_volume(path), path)


@pytest.mark.parametrize("offset", [0, 100, 351])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
def test_voxels_never_begin_within_a_single_files_header(name: str, kind: type, offset: int, tmp_path: Path) -> None:
    image = kind(volume_of(np.eye(4)).voxels.T, HEAD)
    nibabel.save(image, tmp_path / "image.nii")
    whole = bytearray((tmp_path / "image.nii").read_bytes())
    where = ("<f", 108) if kind is nibabel.Nifti1Image else ("<q", 168)
    struct.pack_into(where[0], whole, where[1], offset)
    (tmp_path / name).write_bytes(gzip.compress(whole) if name.endswith("gz") else whole)
    np.testing.assert_array_equal(read_volume(tmp_path / name).voxels, volume_of(np.eye(4)).voxels)


@pytest.mark.parametrize("data", ["image.img", "image.img.gz"])
def test_a_pairs_voxels_begin_where_it_says(data: str, tmp_path: Path) -> None:
    volume = volume_of(HEAD)
    nibabel.save(nibabel.Nifti1Pair(volume.voxels.T, HEAD), tmp_path / "image.hdr")
    assert nibabel.load(tmp_path / "image.hdr").header["vox_offset"] == 0
    if data.endswith("gz"):
        (tmp_path / data).write_bytes(gzip.compress((tmp_path / "image.img").read_bytes()))
        (tmp_path / "image.img").unlink()
    read = read_volume(tmp_path / "image.hdr")
    np.testing.assert_array_equal(read.voxels, volume.voxels)
    np.testing.assert_allclose(read.ijk_to_ras, HEAD)
    (tmp_path / data).unlink()
    assert code_of(lambda: read_volume(tmp_path / "image.hdr")) == "file_not_found"


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        *[("vox_offset", {"vox_offset": value}) for value in (np.nan, np.inf, -np.inf, -352, 352.5)],
        ("scl_inter", {"scl_slope": 2, "scl_inter": np.nan}),
        ("scl_slope", {"scl_slope": np.inf, "scl_inter": 0}),
        ("quatern_b", {"quatern_b": 0.8, "quatern_c": 0.7, "quatern_d": 0.6, "sform_code": 0}),
        ("quatern_b", {"quatern_b": np.nan, "sform_code": 0}),
        ("dim[2]", {"dim": (3, 6, -1, 5, 1, 1, 1, 1)}),
        ("dim[4]", {"dim": (4, 6, 5, 4, -1, 1, 1, 1)}),
        ("dim[0]", {"dim": (0, 6, 5, 4, 1, 1, 1, 1)}),
        ("datatype", {"datatype": 4711}),
        ("datatype", {"datatype": 1}),
    ],
)
def test_what_is_wrong_in_a_header_is_named(field: str, fields: dict, tmp_path: Path) -> None:
    path = save_forms(tmp_path / "image.nii", HEAD, HEAD, (1, 1), **fields)
    with pytest.raises(InputError) as refusal:
        read_volume(path)
    assert refusal.value.code == "bad_header"
    assert field in refusal.value.sentence


def test_a_quaternion_of_rounding_is_a_rotation(tmp_path: Path) -> None:
    path = save_forms(tmp_path / "image.nii", HEAD, HEAD, (1, 0), quatern_b=1.000002, quatern_c=0, quatern_d=0)
    assert_itk_puts_it_there(read_volume(path), path)


def test_an_absurd_nifti_2_is_refused_at_once(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "image.nii")
    whole = bytearray((tmp_path / "image.nii").read_bytes())
    for dims in ((3, 0, 5, 2**40), (3, -(2**62), 3, 1), (3, 2**40, 2**40, 2**40)):
        struct.pack_into("<4q", whole, 16, *dims)
        (tmp_path / "image.nii").write_bytes(whole)
        expected = "truncated_file" if min(dims) > 0 else "empty_volume" if min(dims) == 0 else "bad_header"
        assert code_of(lambda: read_volume(tmp_path / "image.nii")) == expected


def test_a_fourth_axis_of_nothing_is_none(tmp_path: Path) -> None:
    path = save_forms(tmp_path / "image.nii", HEAD, HEAD, (1, 1), dim=(4, 6, 5, 4, 0, 0, 0, 0))
    np.testing.assert_array_equal(read_volume(path).voxels, volume_of(np.eye(4)).voxels)


def test_whether_a_file_is_packed_is_seen_in_it_not_in_its_name(tmp_path: Path) -> None:
    voxels = volume_of(np.eye(4)).voxels
    plain = save_nifti(tmp_path / "image.nii", voxels.T).read_bytes()
    middle = len(plain) // 2
    (tmp_path / "plain.nii.gz").write_bytes(plain)
    (tmp_path / "packed.nii").write_bytes(gzip.compress(plain))
    (tmp_path / "members.nii.gz").write_bytes(gzip.compress(plain[:middle]) + gzip.compress(plain[middle:]))
    (tmp_path / "padded.nii.gz").write_bytes(gzip.compress(plain) + bytes(512))
    for name in ("plain.nii.gz", "packed.nii", "members.nii.gz", "padded.nii.gz"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).voxels, voxels)


def test_bytes_that_went_wrong_in_a_packed_file_are_found_by_its_check_sum(tmp_path: Path) -> None:
    # Stored without compression, so that nothing but the check sum knows; larger than any buffer.
    voxels = volume_of(np.eye(4), (40, 80, 80)).voxels
    packed = bytearray(gzip.compress(save_nifti(tmp_path / "image.nii", voxels.T).read_bytes(), 0))
    packed[len(packed) - 40] ^= 1
    (tmp_path / "image.nii.gz").write_bytes(packed)
    assert code_of(lambda: read_volume(tmp_path / "image.nii.gz")) == "truncated_file"


def test_forms_a_tenth_of_a_voxel_apart_are_two_places(tmp_path: Path) -> None:
    apart = HEAD + np.array([[0, 0, 0, 0.7], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert read_placement(save_forms(tmp_path / "near.nii", HEAD, apart, (1, 1))).is_certain
    apart[0, 3] += 0.2
    assert not read_placement(save_forms(tmp_path / "far.nii", HEAD, apart, (1, 1))).is_certain
