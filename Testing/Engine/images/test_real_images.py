"""Real images, which are no part of the project: see the fixture ``shared_data``."""

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from nibabel.affines import apply_affine

from Engine.made_images import LAYOUTS, SUFFIXES, code_of, dicom_position_ras
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.images.writing import write_volume


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
        hounsfield[dataset.pixel_array == dataset.PixelPaddingValue] = -1000
        np.testing.assert_array_equal(volume.voxels[k], hounsfield)
        for row, column in ((0, 0), (0, 511), (300, 200)):
            np.testing.assert_allclose(
                apply_affine(volume.ijk_to_ras, (column, row, k)), dicom_position_ras(dataset, row, column), atol=1e-6
            )


def test_a_single_real_slice_is_refused_and_a_folder_of_two_series_too(shared_data: Path) -> None:
    for name in ("CT_small.dcm", "MR_small.dcm"):
        assert code_of(lambda: read_volume(shared_data / "dicom" / name)) == "single_slice"  # noqa: B023
    assert code_of(lambda: read_volume(shared_data / "dicom")) == "several_series"
