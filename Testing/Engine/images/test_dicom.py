"""DICOM series lie where their own slices say, or are refused."""

from pathlib import Path

import numpy as np
import pytest
from nibabel.affines import apply_affine
from pydicom.uid import RTStructureSetStorage

from Engine.made_images import (
    SHAPE,
    SUFFIXES,
    TILTED,
    UPRIGHT,
    code_of,
    dicom_position_ras,
    save_nifti,
    save_series,
    save_slice,
)
from upgan.errors import InputError
from upgan.images.reading import read_volume
from upgan.images.writing import write_volume


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
    for expected in ("1.2.3.5 (CT, 3 files)", "1.2.3.6 (MR, 4 files)"):
        assert expected in refusal.value.sentence
    # People write names into descriptions, too.
    for private in ("Secret", "Person", "4711", "Sch"):
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
