"""NRRD and MetaImage: headers of text, read strictly; SimpleITK says where their voxels lie wherever it is right."""

import bz2
import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from nibabel.affines import apply_affine

from Engine.made_images import SHAPE, affine_of, affines, code_of, itk_position_ras, quick
from upgan.errors import InputError
from upgan.images.placement import PLACE_KEY, Placement
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.images.writing import write_volume

VOXELS = np.arange(np.prod(SHAPE), dtype="<i2").reshape(SHAPE)
AFFINE = affine_of(np.diag([-1.0, 1, 1]), (8, 7, 9), (90, -100, -70))
IN_LPS = "space directions: (8,0,0) (0,-7,0) (0,0,9)\nspace origin: (-90,100,-70)\n"
OBLIQUE = "space directions: (8,0,1) (0,-7,2) (0,1,9)\nspace origin: (-90,100,-70)\n"
SPACES = ["left-posterior-superior", "LPS", "RAS", "right-anterior-superior", "Left-Anterior-Superior", "LAS"]


def save_nrrd(
    path: Path, lines: str, data: bytes = VOXELS.tobytes(), encoding: str = "raw", kind: str = "short"
) -> Path:
    header = f"NRRD0005\ntype: {kind}\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: {encoding}\n{lines}\n"
    path.write_bytes(header.encode() + data)
    return path


def save_mha(path: Path, data: bytes = VOXELS.tobytes(), **fields: str | None) -> Path:
    """Write a MetaImage; a field that is None is left out."""
    values = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "TransformMatrix": "0 1 0 0 0 1 1 0 0",
        "Offset": "1 2 3",
        "ElementSpacing": "8 7 9",
        "DimSize": "6 5 4",
        "ElementType": "MET_SHORT",
        "ElementDataFile": "LOCAL",
    } | fields
    last = values.pop("ElementDataFile")
    lines = [f"{name} = {value}\n" for name, value in values.items() if value is not None]
    path.write_bytes("".join([*lines, f"ElementDataFile = {last}\n"]).encode() + data)
    return path


def assert_read_as_itk_does(path: Path) -> None:
    image, volume = SimpleITK.ReadImage(path), read_volume(path)
    np.testing.assert_array_equal(volume.voxels, SimpleITK.GetArrayFromImage(image).reshape(volume.voxels.shape))
    for ijk in ((0, 0, 0), (5, 0, 0), (0, 4, 0), (0, 0, 3)):
        at = ijk + (0,) * (image.GetDimension() - 3)
        np.testing.assert_allclose(apply_affine(volume.ijk_to_ras, ijk), itk_position_ras(image, at)[:3], atol=1e-9)


# --- NRRD -------------------------------------------------------------------------------------------------------------


@quick
@given(affine=affines(), space=st.sampled_from(SPACES))
def test_every_space_is_read_where_itk_reads_it(affine: np.ndarray, space: str, tmp_path: Path) -> None:
    columns = " ".join("(" + ", ".join(map(repr, column.tolist())) + ")" for column in affine[:3, :3].T)
    origin = ",".join(map(repr, affine[:3, 3].tolist()))
    path = save_nrrd(
        tmp_path / "image.nrrd", f"space: {space}\nspace directions: {columns}\nspace origin: ( {origin} )\n"
    )
    assert_read_as_itk_does(path)
    assert read_volume(path).placement.is_certain


@pytest.mark.parametrize(
    ("unit", "length"),
    [("cm", 10), ("m", 1000), ("um", 1e-3), ("µm", 1e-3), ("microns", 1e-3), ("mm", 1), ("Millimetres", 1), ("", 1)],
)
def test_lengths_are_converted_from_their_unit(unit: str, length: float, tmp_path: Path) -> None:
    columns = " ".join(f"({','.join(map(repr, (AFFINE[:3, i] * (-1, -1, 1) / length).tolist()))})" for i in range(3))
    origin = ",".join(map(repr, (AFFINE[:3, 3] * (-1, -1, 1) / length).tolist()))
    lines = (
        f'space: LPS\nspace directions: {columns}\nspace origin: ({origin})\nspace units: "{unit}" "{unit}" "{unit}"\n'
    )
    volume = read_volume(save_nrrd(tmp_path / "image.nrrd", lines))
    np.testing.assert_allclose(volume.ijk_to_ras, AFFINE, rtol=1e-12)
    assert volume.placement.is_certain
    assert bool(volume.placement.sentence) == (length != 1)  # Slicer shows it elsewhere


def test_each_coordinate_of_space_may_have_its_own_unit(tmp_path: Path) -> None:
    lines = "space: RAS\nspace directions: (0,0,0.8) (7,0,0) (0,9000,0)\nspace origin: (90,1000,1)\n"
    lines += 'space units: "mm" "um" "cm"\n'
    volume = read_volume(save_nrrd(tmp_path / "image.nrrd", lines))
    np.testing.assert_allclose(volume.ijk_to_ras[:3], [[0, 7, 0, 90], [0, 0, 9, 1], [8, 0, 0, 10]])


def test_an_unknown_unit_is_refused_by_its_name(tmp_path: Path) -> None:
    path = save_nrrd(tmp_path / "image.nrrd", f'space: LPS\n{IN_LPS}space units: "mm" "mm" "furlong"\n')
    with pytest.raises(InputError, match="furlong") as refusal:
        read_volume(path)
    assert refusal.value.code == "bad_header"


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "spacings: 8 7 9\n",
        "spacings: 8 7 9\naxis mins: 1 2 3\n",
        "spacings: 8 7 9\naxis mins: 1 2 3\ncenterings: node node node\n",
        "axis mins: 1 2 3\naxis maxs: 49 37 39\n",
        "space: LPS\n",
        "space: LPS\nspace directions: none none none\n",
        "space: RAS\nspace directions: (8,0,1) (0,-7,2) (0,1,9)\n",
        "space: LPS\nspace directions: (8,0,1) (0,-7,2) (0,1,9)\nspace origin: (nan,nan,nan)\n",
        f"space dimension: 3\n{OBLIQUE}",
        f"space: scanner-xyz\n{OBLIQUE}",
        f"space: 3D-right-handed\n{OBLIQUE}",
    ],
)
def test_what_a_header_does_not_say_is_taken_as_itk_does_and_said(lines: str, tmp_path: Path) -> None:
    path = save_nrrd(tmp_path / "image.nrrd", lines)
    assert_read_as_itk_does(path)
    placement = read_volume(path).placement
    assert placement.certainty == "guessed"
    assert placement.sentence.endswith(".")


def test_spacings_without_a_space_have_units_too(tmp_path: Path) -> None:
    path = save_nrrd(tmp_path / "image.nrrd", 'spacings: 0.8 0.7 9\nunits: "cm" "cm" "mm"\n')
    assert read_volume(path).spacing.tolist() == [8, 7, 9]


def test_a_remark_is_no_field_and_capitals_do_not_matter(tmp_path: Path) -> None:
    lines = f"# space: RAS\nspace:=RAS\nSpace: LPS\n{IN_LPS.title()}KINDS: domain domain domain\n"
    volume = read_volume(save_nrrd(tmp_path / "image.nrrd", lines))
    np.testing.assert_array_equal(volume.ijk_to_ras, AFFINE)


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("kind", ["list", "time", "vector"])
def test_an_axis_of_one_value_that_is_none_in_space_is_dropped(kind: str, place: str, tmp_path: Path) -> None:
    path = save_nrrd(tmp_path / "image.nrrd", f"space: LPS\n{IN_LPS}")
    text = path.read_bytes()
    sizes, directions, kinds = b"6 5 4", b"(8,0,0) (0,-7,0) (0,0,9)", b"domain domain domain"
    extra = [(b"1", sizes), (b"none", directions), (kind.encode(), kinds)]
    new = [b" ".join(pair if place == "first" else pair[::-1]) for pair in extra]
    text = text.replace(sizes, new[0]).replace(directions, new[1]).replace(b"dimension: 3", b"dimension: 4")
    path.write_bytes(text.replace(b"encoding", b"kinds: " + new[2] + b"\nencoding"))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    np.testing.assert_array_equal(volume.ijk_to_ras, AFFINE)


@pytest.mark.parametrize(
    ("encoding", "data", "more"),
    [
        ("raw", VOXELS.tobytes(), ""),
        ("raw", b"12345" + VOXELS.tobytes(), "byte skip: 5\n"),
        ("raw", b"line\n\nline\n12345" + VOXELS.tobytes(), "line skip: 3\nbyte skip: 5\n"),
        ("raw", b"header of its own" + VOXELS.tobytes(), "byte skip: -1\n"),
        ("gzip", gzip.compress(VOXELS.tobytes()), ""),
        ("gz", gzip.compress(b"12345" + VOXELS.tobytes()), "byte skip: 5\n"),
        ("bzip2", bz2.compress(VOXELS.tobytes()), ""),
        ("bz2", bz2.compress(b"12345" + VOXELS.tobytes()), "byteskip: 5\n"),
        ("text", " ".join(map(str, VOXELS.ravel())).encode(), ""),
        ("hex", VOXELS.tobytes().hex().encode() + b"\n", ""),
    ],
)
@pytest.mark.parametrize("name", ["image.nrrd", "image.nhdr"])
def test_every_encoding_is_read(name: str, encoding: str, data: bytes, more: str, tmp_path: Path) -> None:
    lines = f"space: LPS\n{IN_LPS}{more}"
    if name.endswith("nhdr"):
        (tmp_path / "image.data").write_bytes(data)
        path = save_nrrd(tmp_path / name, f"{lines}data file: image.data\n", b"", encoding)
    else:
        path = save_nrrd(tmp_path / name, lines, data, encoding)
    np.testing.assert_array_equal(read_volume(path).voxels, VOXELS)
    if not encoding.startswith("bz") and not ("byte skip: 5" in more and encoding == "gz"):
        assert_read_as_itk_does(path)
    for length in (len(data) // 2, 1):
        (tmp_path / "image.data").write_bytes(data[:length])
        if not name.endswith("nhdr"):
            save_nrrd(path, lines, data[:length], encoding)
        assert code_of(lambda: read_volume(path)) == "truncated_file"


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("data file: gone.raw\n", "file_not_found"),
        ("data file: ../elsewhere.raw\n", "unsupported_format"),
        ("data file: /etc/passwd\n", "unsupported_format"),
        ("data file: LIST\na.raw\nb.raw\n", "unsupported_format"),
        ("data file: slice%03d.raw 1 4 1\n", "unsupported_format"),
        ("a" * 5000 + "\n", "bad_header"),
        ("kinds: domain domain\n", "bad_header"),
        ("space: LPS\nspace: LPS\n", "bad_header"),
        ("space directions: (8,0,0) (0,-7,0)\n", "bad_header"),
        ("space directions: (8,0,0) (0,-7,0) (0,0,nan)\n", "bad_header"),
        ("space directions: (8,0,0) (0,-7,0) (0,0,1e999)\n", "bad_header"),
        ("space directions: (8,0,0) (0,-7,0) (0,0,9) trailing\n", "bad_header"),
        ("byte skip: -2\n", "bad_header"),
        ("spacings: 1 2\n", "bad_header"),
    ],
)
def test_headers_that_say_what_cannot_be_are_refused(lines: str, code: str, tmp_path: Path) -> None:
    assert code_of(lambda: read_volume(save_nrrd(tmp_path / "image.nrrd", lines))) == code


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"sizes: 6 5 4", b"sizes: 6 5 4.7"),
        (b"sizes: 6 5 4", b"sizes: 6 5 -4"),
        (b"sizes: 6 5 4", b"sizes: 6 5"),
        (b"dimension: 3", b"dimension: -1"),
        (b"dimension: 3", b"dimension: " + b"3" * 5000),
        (b"sizes: 6 5 4", b"sizes: 6 5 " + b"4" * 5000),
        (b"type: short", b"type: block"),
        (b"endian: little\n", b""),
        (b"encoding: raw", b"encoding: zip"),
    ],
)
def test_a_nrrd_without_what_it_needs_is_refused(old: bytes, new: bytes, tmp_path: Path) -> None:
    path = save_nrrd(tmp_path / "image.nrrd", f"space: LPS\n{IN_LPS}")
    path.write_bytes(path.read_bytes().replace(old, new))
    assert code_of(lambda: read_volume(path)) == "bad_header"


# --- MetaImage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "certainty"),
    [
        ({}, "certain"),
        ({"Offset": None, "Position": "1 2 3"}, "certain"),
        ({"TransformMatrix": None, "Orientation": "0 1 0 0 0 1 1 0 0"}, "certain"),
        ({"ElementSpacing": None, "ElementSize": "8 7 9"}, "certain"),
        ({"ElementSpacing": "8 -7 9"}, "certain"),
        ({"BinaryDataByteOrderMSB": None, "ElementByteOrderMSB": "False"}, "certain"),
        ({"TransformMatrix": None}, "guessed"),
        ({"Offset": None}, "guessed"),
        ({"ElementSpacing": None}, "guessed"),
        ({"TransformMatrix": None, "Offset": None, "ElementSpacing": None}, "guessed"),
    ],
)
def test_a_metaimage_is_read_as_itk_does_and_what_it_lacks_is_said(
    fields: dict[str, str | None], certainty: str, tmp_path: Path
) -> None:
    path = save_mha(tmp_path / "image.mha", **fields)
    assert_read_as_itk_does(path)
    placement = read_volume(path).placement
    assert placement.certainty == certainty
    assert bool(placement.sentence) == (certainty == "guessed")


@pytest.mark.parametrize(("unit", "length"), [("cm", 10.0), ("um", 1e-3), ("mm", 1.0)])
def test_a_metaimages_unit_of_length_is_converted(unit: str, length: float, tmp_path: Path) -> None:
    spacing = " ".join(str(size / length) for size in (8, 7, 9))
    path = save_mha(tmp_path / "image.mha", ElementSpacing=spacing, Offset=f"{1 / length} 0 0", DistanceUnits=unit)
    np.testing.assert_allclose(read_volume(path).spacing, [8, 7, 9])
    np.testing.assert_allclose(read_volume(path).ijk_to_ras[:3, 3], [-1, 0, 0])


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        ({"BinaryDataByteOrderMSB": "True"}, VOXELS.astype(">i2").tobytes()),
        ({"CompressedData": "True"}, zlib.compress(VOXELS.tobytes())),
        ({"BinaryData": "False"}, b" ".join(str(value).encode() for value in VOXELS.ravel()) + b" "),
        ({"ElementType": "MET_LONG"}, VOXELS.astype("<i4").tobytes()),
        ({"ElementType": "MET_DOUBLE"}, VOXELS.astype("<f8").tobytes()),
        ({"HeaderSize": "-1"}, b"a header" + VOXELS.tobytes()),
        ({"HeaderSize": "7"}, b"1234567" + VOXELS.tobytes()),
    ],
)
def test_voxels_of_a_metaimage_are_read_as_they_are_stored(fields: dict[str, str], data: bytes, tmp_path: Path) -> None:
    (tmp_path / "image.raw").write_bytes(data)
    path = save_mha(tmp_path / "image.mhd", b"", ElementDataFile="image.raw", **fields)
    np.testing.assert_array_equal(read_volume(path).voxels, VOXELS)
    assert_read_as_itk_does(path)
    (tmp_path / "image.raw").write_bytes(data[: len(data) // 2])
    assert code_of(lambda: read_volume(path)) == "truncated_file"


def test_the_last_line_of_a_metaimage_need_not_end(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "image.raw").write_bytes(VOXELS.tobytes())
    path = save_mha(tmp_path / "image.mhd", b"", ElementDataFile="below/image.raw")
    whole = path.read_bytes()
    path.write_bytes(whole.rstrip(b"\n"))
    np.testing.assert_array_equal(read_volume(path).voxels, VOXELS)
    for name in (b"", b"\0", b"a" * 5000):
        path.write_bytes(whole.replace(b"below/image.raw\n", name))
        assert code_of(lambda: read_volume(path)) == "truncated_file"
    path.write_bytes(whole.replace(b"below/image.raw", b"a" * 5000))
    assert code_of(lambda: read_volume(path)) == "file_not_found"


def test_voxels_of_text_are_read_however_many_and_none_is_made_up(tmp_path: Path) -> None:
    voxels = np.arange(100 * 50 * 40).reshape(40, 50, 100)
    path = save_mha(tmp_path / "image.mha", b"", BinaryData="False", DimSize="100 50 40", ElementType="MET_INT")
    header = path.read_bytes()
    path.write_bytes(header + " ".join(map(str, voxels.ravel())).encode())
    np.testing.assert_array_equal(read_volume(path).voxels, voxels)
    for text in (b"7" + b" " * 2 * voxels.size, b"7" * 3 * voxels.size, b" ".join([b"7"] * voxels.size)[:-2] + b"   "):
        path.write_bytes(header + text)
        assert code_of(lambda: read_volume(path)) == "truncated_file"


def test_a_missing_data_file_is_named_and_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    path = save_mha(tmp_path / "image.mhd", b"", ElementDataFile="gone.raw")
    with pytest.raises(InputError, match=r"gone\.raw") as refusal:
        read_volume(path)
    assert refusal.value.code == "file_not_found"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"NDims": "-1"}, "bad_header"),
        ({"NDims": "3.5"}, "bad_header"),
        ({"DimSize": "6 5 0"}, "bad_header"),
        ({"DimSize": "6 5 1e9"}, "bad_header"),
        ({"DimSize": "600000 500000 400000"}, "truncated_file"),
        ({"DimSize": None}, "bad_header"),
        ({"ElementType": "MET_STRING"}, "bad_header"),
        ({"Offset": "1 2 nan"}, "bad_header"),
        ({"DistanceUnits": "furlong"}, "bad_header"),
        ({"ElementToIntensityFunctionSlope": "2"}, "bad_header"),
        ({"ElementDataFile": "../image.raw"}, "unsupported_format"),
        ({"ElementDataFile": "LIST"}, "unsupported_format"),
        ({"ElementDataFile": "image%d.raw 1 4 1"}, "unsupported_format"),
        ({"ElementNumberOfChannels": "7"}, "not_three_dimensional"),
        ({"NDims": "4", "DimSize": "6 5 2 2"}, "not_three_dimensional"),
    ],
)
def test_a_metaimage_that_says_what_cannot_be_is_refused(fields: dict, code: str, tmp_path: Path) -> None:
    assert code_of(lambda: read_volume(save_mha(tmp_path / "image.mha", **fields))) == code


@pytest.mark.parametrize("kind", ["nrrd", "mha"])
@pytest.mark.parametrize("seed", range(3))
def test_no_damage_to_a_header_of_text_lets_a_raw_exception_out(seed: int, kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path / f"image.{kind}"
    save = {"nrrd": lambda: save_nrrd(path, f"space: LPS\n{OBLIQUE}"), "mha": lambda: save_mha(path)}[kind]
    whole = save().read_bytes()
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            damaged[rng.integers(len(whole) - VOXELS.nbytes)] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_volume(path)
        except InputError:
            continue


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii"])
def test_a_remark_that_quotes_a_name_of_no_utf_8_can_be_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"image{suffix}"
    place = Placement("guessed", "'x\udcff.nii' does not say where its voxels lie.")
    write_volume(Volume(VOXELS.astype(np.float32), AFFINE, None, place), path)
    assert read_volume(path).placement.certainty == "guessed"


@pytest.mark.parametrize(
    "lines",
    [
        f"space: LPS\n{IN_LPS}byte skip: \x1b[2J\u202e",
        f"space: LPS\n{IN_LPS}data file: \x1b]0;x\x07{'y' * 5000}",
        f"space: \x1b[2J{'z' * 5000}\n{IN_LPS}",
        f"space: LPS\n{PLACE_KEY}:=guessed: \x1b[2J{'z' * 5000}\n{IN_LPS}",
        f"space: LPS\n{IN_LPS}space units: \x9b\u202e \x1b[2J mm",
    ],
)
def test_what_a_file_says_can_do_nothing_to_a_terminal(lines: str, tmp_path: Path) -> None:
    path = save_nrrd(tmp_path / "image.nrrd", lines + "\n")
    try:
        said = read_volume(path).placement.sentence
    except InputError as refusal:
        said = str(refusal)
    assert said
    assert said.isprintable()
    assert len(said) < 1500
