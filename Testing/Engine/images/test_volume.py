"""A volume and its place in the patient: geometry that is possible, and reorientation there and back."""

import itertools
from collections.abc import Iterator

import nibabel
import numpy as np
import pytest
from hypothesis import given
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation

from Engine.made_images import LAYOUTS, ORTHOGONAL, SHAPE, affine_of, affines, code_of, quick, volume_of, voxel_indices
from upgan.images.nonfinite import count_nonfinite
from upgan.images.orientation import Plane, Reorientation
from upgan.images.volume import Volume


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
