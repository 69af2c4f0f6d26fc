"""Images made up by tests: grids, files, DICOM series, and where the libraries say that their voxels lie."""

import itertools
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from upgan.errors import UpganError
from upgan.images.orientation import Plane
from upgan.images.volume import Volume

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


def save_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    image = nibabel.Nifti1Image(voxels, None)
    image.set_sform(np.eye(4) if affine is None else affine, code=1)
    nibabel.save(image, path)
    return path


TILT = np.radians(18.5)
UPRIGHT = np.array([[1.0, 0, 0], [0, 1, 0]])
TILTED = np.array([[1.0, 0, 0], [0, np.cos(TILT), -np.sin(TILT)]])


def save_slice(path: Path, position: np.ndarray, **tags: object) -> FileDataset:
    """Write one CT slice of 5 x 6 pixels whose stored values grow from -200; tags replace or (None) remove others."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(str(tags.get("SOPClassUID", CTImageStorage)))
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


def blob(shape: tuple[int, int, int] = (10, 24, 20)) -> np.ndarray:
    """A smooth positive bump on a zero background, [K, J, I]."""
    axes = np.meshgrid(*(np.linspace(-1.5, 1.5, size) for size in shape), indexing="ij")
    return (100 * np.exp(-4 * sum(axis**2 for axis in axes))).astype(np.float32)
