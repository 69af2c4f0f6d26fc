"""Warnings before a run: what a model was trained on, and which images are not like it."""

import itertools
import json
import math
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.spatial.transform import Rotation

from Engine.command_line import LPS, save_nifti
from Engine.made_images import LAYOUTS, ORTHOGONAL, affine_of, blob
from upgan.bundles.bundle import Bundle
from upgan.bundles.domain import Domain, appearance_of, misfits
from upgan.bundles.library import find_bundle
from upgan.errors import InputError
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.inference.engine import InferenceEngine
from upgan.tasks import MRI_MOTION, PET_TO_CT

SAMPLES = Path(__file__).resolve().parents[3] / "UncertaintyGuidedI2I" / "Resources" / "SampleData"
AXIAL = np.diag([-1.0, -1.0, 1.0])


def head(
    size: float = 1.0, spacing: tuple[float, float, float] = (2, 2, 3), field: float = 220, seed: int = 0
) -> Volume:
    """An ellipsoid 150 × 190 × 180 mm large with folds 12 mm wide, brighter parts and noise, in air; layout LPS."""
    counts = [round(field / step) for step in spacing]
    axes = [step * (np.arange(count) - (count - 1) / 2) / size for count, step in zip(counts, spacing, strict=True)]
    k, j, i = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    inside = (k / 90) ** 2 + (j / 95) ** 2 + (i / 75) ** 2 < 1
    folds = 500 + 150 * np.sin(i / 4) * np.sin(j / 4 + k / 20) + 300 * (((i - 20) ** 2 + (j - 20) ** 2) < 30**2)
    rng = np.random.default_rng(seed)
    return Volume(np.where(inside, folds, 0) + 20 * rng.random(inside.shape), affine_of(AXIAL, spacing))


def with_grid(
    volume: Volume, directions: np.ndarray = AXIAL, spacing: tuple[float, float, float] = (2, 2, 3)
) -> Volume:
    return Volume(volume.voxels, affine_of(directions, spacing))


DOMAIN = Domain.measure([head(size, seed=seed) for seed, size in enumerate((0.97, 1.0, 1.03))], "axial")


def warnings_of(volume: Volume) -> list[str]:
    return misfits(MRI_MOTION, DOMAIN, volume)


# --- What is measured -------------------------------------------------------------------------------------------------


def test_the_grid_is_measured_in_millimetres():
    assert DOMAIN.volumes == 3
    assert DOMAIN.pixel_mm == (2, 2)
    assert DOMAIN.gap_mm == (3, 3)
    assert DOMAIN.field_mm == (220, 220)
    assert DOMAIN.tilt_deg == (0, 0)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 2, 3), (0.7, 0.9, 5), (4.8, 1, 1)])
def test_the_diameter_is_that_of_the_circle_with_the_area_of_the_largest_outline(spacing):
    found = appearance_of(head(spacing=spacing), "axial")
    assert found.diameter_mm == pytest.approx(math.sqrt(150 * 190), rel=0.015)


def test_holes_and_specks_do_not_change_the_outline():
    volume = head()
    _, j, i = volume.voxels.shape
    voxels = volume.voxels.copy()
    voxels[:, j // 2 - 12 : j // 2 + 12, i // 2 - 12 : i // 2 + 12] = 0  # as large as a sinus
    voxels[:, :6, :6] = 2000  # a marker in the corner
    found = appearance_of(Volume(voxels, volume.ijk_to_ras), "axial")
    assert found.diameter_mm == pytest.approx(appearance_of(volume, "axial").diameter_mm, rel=0.01)


def test_brightness_and_highlights_are_quantiles_inside_the_outline():
    # By hand: of the object 80 % is 100, 20 % is 400; the mean above zero is 160, so that all of it is foreground.
    voxels = np.zeros((4, 60, 60))
    voxels[:, 5:55, 5:55] = 100
    voxels[:, 5:15, 5:55] = 400
    found = appearance_of(with_grid(Volume(voxels, np.eye(4))), "axial")
    assert found.brightness == pytest.approx(0.25)
    assert found.highlights == pytest.approx(4)


def test_contrast_is_the_median_relative_difference_over_8_mm():
    # Squares of 8 mm in two intensities: every point 8 mm away, along rows or columns, has the other intensity.
    j, i = np.indices((64, 64)) // 4
    voxels = np.broadcast_to(np.where((i + j) % 2, 300.0, 200.0), (4, 64, 64))
    found = appearance_of(with_grid(Volume(voxels, np.eye(4))), "axial")
    assert found.contrast == pytest.approx(100 / 250)


def test_intensities_have_no_unit():
    volume = head()
    scaled = Volume((volume.voxels * 7.3e-3).astype(np.float32), volume.ijk_to_ras)
    np.testing.assert_allclose(appearance_of(scaled, "axial"), appearance_of(volume, "axial"), rtol=1e-4)


def test_nothing_is_measured_where_nothing_is_above_zero():
    for voxels in (np.zeros((3, 4, 5)), -blob() - 1, np.full((3, 4, 5), np.nan)):
        assert appearance_of(with_grid(Volume(voxels, np.eye(4))), "axial") is None
        with pytest.raises(InputError) as refusal:
            Domain.measure([with_grid(Volume(voxels, np.eye(4)))], "axial")
        assert refusal.value.code == "nothing_measured"


def test_a_domain_survives_json_and_refuses_what_makes_no_sense():
    assert Domain.model_validate_json(DOMAIN.model_dump_json()) == DOMAIN
    content = DOMAIN.model_dump()
    for change in ({"gap_mm": (3, 2)}, {"gap_mm": (-1, 2)}, {"gap_mm": (1, math.nan)}, {"volumes": 0}, {"colour": 1}):
        with pytest.raises(ValidationError):
            Domain.model_validate(content | change)


# --- What warns -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.95, 1.0, 1.05])
def test_another_head_gives_no_warning(size):
    assert warnings_of(head(size, seed=9)) == []


def test_a_slab_of_a_head_gives_no_warning():
    volume = head()
    assert warnings_of(Volume(volume.voxels[35:40], volume.ijk_to_ras)) == []


def test_a_small_hot_lesion_gives_no_warning():
    volume = head()
    k, j, i = np.indices(volume.voxels.shape)
    lesion = ((k - 30) * 3) ** 2 + ((j - 40) * 2) ** 2 + ((i - 60) * 2) ** 2 < 10**2
    assert warnings_of(Volume(np.where(lesion, 10_000, volume.voxels), volume.ijk_to_ras)) == []


def test_noise_in_a_wide_field_of_air_is_not_the_object():
    wide = head(field=420)
    assert appearance_of(wide, "axial").diameter_mm == pytest.approx(math.sqrt(150 * 190), rel=0.015)
    assert warnings_of(wide) == []


def test_a_sphere_of_60_mm_warns_and_says_what_was_found_and_what_the_model_knows():
    k, j, i = np.indices((73, 110, 110))
    sphere = ((k - 36) * 3) ** 2 + ((j - 55) * 2) ** 2 + ((i - 55) * 2) ** 2 < 30**2
    found = warnings_of(with_grid(Volume(np.where(sphere, 900.0, 0), np.eye(4))))
    low, high = DOMAIN.diameter_mm
    assert (
        f"The object in the image measures 60 mm across; the model was trained on {low:.0f} to {high:.0f} mm." in found
    )
    assert any("unusually uniform" in sentence for sentence in found)


def test_a_body_warns_of_its_size():
    (sentence,) = (s for s in warnings_of(head(1.6, field=360)) if "across" in s)
    assert "measures 27" in sentence  # 1.6 · √(150 · 190)


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (
            head(spacing=(4.5, 4.5, 3)),
            "pixels of the axial slices measure 4.5 × 4.5 mm; the model was trained on 2.0 mm.",
        ),
        (head(spacing=(8, 1, 3)), "pixels of the axial slices measure 8.0 × 1.0 mm"),
        (head(spacing=(2, 2, 12)), "slices lie 12.0 mm apart; the model was trained on 3.0 mm."),
        (
            head(field=500),
            "field of view of the axial slices is 500 × 500 mm; the model was trained on sides of 220 mm.",
        ),
    ],
)
def test_an_odd_grid_warns_of_what_is_odd_and_of_nothing_else(volume, words):
    (sentence,) = warnings_of(volume)
    assert words in sentence


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 2, 4), (3, 3, 6)])
def test_finer_and_slightly_coarser_grids_give_no_warning(spacing):
    assert warnings_of(head(spacing=spacing)) == []


def test_a_head_cut_by_the_field_of_view_warns():
    volume = head()
    found = warnings_of(Volume(volume.voxels[:, :, 30:80], volume.ijk_to_ras))
    assert any("field of view of the axial slices is 100 × 220 mm" in sentence for sentence in found)


@pytest.mark.parametrize(("degrees", "warned"), [(0, False), (20, False), (40, True)])
def test_slices_far_from_the_plane_warn_with_their_angle(degrees, warned):
    tilted = with_grid(head(), Rotation.from_euler("x", degrees, degrees=True).as_matrix() @ AXIAL)
    assert [sentence for sentence in warnings_of(tilted) if f"tilted by {degrees}°" in sentence] == (
        [f"The slices are tilted by {degrees}° out of the axial plane; the model was trained on 0°."] if warned else []
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: np.where(v > 700, 3 * v, v), "brightest twentieth"),
        (lambda v: v**3, "median intensity is"),
        (lambda v: np.where(v > 100, 500 + 0.02 * v, v), "unusually uniform"),
    ],
)
def test_an_odd_histogram_warns(change, words):
    volume = head()
    assert any(words in sentence for sentence in warnings_of(Volume(change(volume.voxels), volume.ijk_to_ras)))


def test_slices_in_another_plane_than_the_models_warn():
    assert misfits(MRI_MOTION, DOMAIN, head(), "axial") == []
    (sentence,) = misfits(MRI_MOTION, DOMAIN, head(), "coronal")
    assert sentence == "Slices are to be coronal, but the model was trained on axial ones."


def test_what_the_task_says_is_said_too_and_alone_where_no_domain_is_known():
    volume = Volume(head(spacing=(2, 2, 12)).voxels, affine_of(AXIAL, (2, 2, 12)), "CT")
    assert misfits(MRI_MOTION, None, volume) == MRI_MOTION.misfits(volume)
    (modality, gap) = warnings_of(volume)
    assert "marked as CT" in modality
    assert "12.0 mm apart" in gap


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    stored=st.sampled_from(list(itertools.product("LR", "AP", "IS"))),
    order=st.permutations(range(3)),
    volume=st.sampled_from([head(), head(0.5), head(spacing=(8, 1, 3)), head(field=500, spacing=(4, 4, 12))]),
)
def test_the_same_head_warns_of_the_same_however_it_is_stored(stored, order, volume):
    flips = tuple(axis for axis, letter in zip((2, 1, 0), stored, strict=True) if letter in "RAI")
    voxels = np.flip(volume.voxels, flips).transpose(order)
    signs = [-1 if letter in "RAI" else 1 for letter in stored]
    columns = [2 - axis for axis in order][::-1]  # arrays are [K, J, I], affines (i, j, k)
    affine = affine_of((AXIAL * signs)[:, columns], tuple(volume.spacing[columns]))
    assert warnings_of(Volume(voxels, affine)) == warnings_of(volume)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.tuples(*[st.integers(2, 6)] * 3),
    directions=st.sampled_from(ORTHOGONAL),
    value=st.sampled_from([0.0, 5.0, -3.0, np.nan, np.inf, 1e300]),
    odd=st.sampled_from([0.0, 1.0, -1.0, np.nan, -np.inf]),
    plane=st.sampled_from(list(LAYOUTS)),
)
def test_no_volume_however_odd_or_small_is_too_much(shape, directions, value, odd, plane):
    voxels = np.full(shape, value)
    voxels[0, 0, 0] = odd
    volume = Volume(voxels, affine_of(directions))
    assert all(sentence.endswith(".") for sentence in misfits(PET_TO_CT, DOMAIN, volume, plane))


@pytest.mark.parametrize("directions", [AXIAL, np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]])], ids=["LPS", "PIR"])
def test_a_large_volume_takes_less_than_50_ms_and_no_copy(directions):
    pattern = np.random.default_rng(1).integers(0, 1000, (512, 512)).astype(np.int16)  # many parts: the hardest case
    voxels = np.empty((300, 512, 512), np.int16)
    voxels[:] = pattern
    volume = Volume(voxels, affine_of(directions, (0.5, 0.5, 0.5)))
    seconds = []
    for _ in range(5):
        started = time.process_time()  # of this process: other programs may use the machine meanwhile
        warnings_of(volume)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.05
    tracemalloc.start()
    warnings_of(volume)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < voxels.nbytes / 5


# --- In a bundle and in the engine ------------------------------------------------------------------------------------


@pytest.fixture
def demanding_bundle(tiny_bundle) -> Bundle:
    """The tiny bundle with the domain above written into its metadata."""
    path = tiny_bundle.folder / "configs" / "metadata.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["upgan"]["domain"] = DOMAIN.model_dump(mode="json")
    path.write_text(json.dumps(content), encoding="utf-8")
    return Bundle.open(tiny_bundle.folder)


def test_a_bundle_without_a_domain_opens_and_warns_of_no_size(tiny_bundle):
    assert tiny_bundle.metadata.upgan.domain is None
    assert InferenceEngine(tiny_bundle, "cpu").warnings(Volume(blob(), LPS)) == []


def test_the_warnings_go_into_the_provenance_with_those_of_the_task(demanding_bundle):
    volume = Volume(blob(), LPS, "MR")
    provenance = InferenceEngine(demanding_bundle, "cpu").translate(volume, plane="coronal").provenance
    assert provenance["warnings"] == misfits(PET_TO_CT, DOMAIN, volume, "coronal")
    for words in ("marked as MR", "Slices are to be coronal", "mm across", "field of view"):
        assert any(words in sentence for sentence in provenance["warnings"])


def test_the_command_line_prints_every_warning(translate, demanding_bundle, tmp_path):
    outcome = translate(save_nifti(tmp_path / "pet.nii"))
    assert outcome.code == 0
    expected = misfits(PET_TO_CT, DOMAIN, read_volume(tmp_path / "pet.nii"))
    assert len(expected) > 2
    for sentence in expected:
        assert f"Warning: {sentence}" in outcome.err


def test_the_bundled_model_states_its_domain_on_its_card():
    bundle = find_bundle("pet-ct-phantom")
    section = bundle.metadata.upgan
    assert section.domain.volumes == section.figures["training"]["subjects"]["train"]
    card = (bundle.folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert section.domain.describe() in " ".join(card.split())


# --- Real images ------------------------------------------------------------------------------------------------------

BUNDLED = find_bundle("pet-ct-phantom").metadata.upgan
T1 = ["adi_26y_trio3T", "allineate_T1_head_2mm", "allineate_T1w2mm", "brainchop_t1_crop"]
T1 += ["decubitus_51y_prisma3T_5mm", "qa_asl_35y_prisma3T", "studyforrest_sub02_slab", "uih_A_umr770_slab"]
OTHERS = ["fruit_t1_ge_slab", "phantom_bottle_t1_2mm"]


@pytest.fixture(scope="module")
def real(shared_data) -> dict[str, Volume]:
    """The T1 heads, the fruit and the bottle by name."""
    folders = {"t1": T1, "ood": OTHERS}
    return {
        name: read_volume(shared_data / folder / f"{name}.nii.gz")
        for folder, names in folders.items()
        for name in names
    }


def test_the_sample_fits_the_bundled_model():
    assert misfits(BUNDLED.task, BUNDLED.domain, read_volume(SAMPLES / "sample_nacpet.nrrd")) == []


@pytest.mark.parametrize("name", ["pet/brainweb06_osem_slab.nii.gz", "templates/spm_OldNorm_PET_2mm.nii"])
def test_other_pet_of_heads_fits_the_bundled_model(name, shared_data):
    assert misfits(BUNDLED.task, BUNDLED.domain, read_volume(shared_data / name)) == []


@pytest.mark.parametrize("name", T1)
def test_a_t1_head_of_unknown_modality_gives_no_warning_with_the_bundled_model(name, real):
    assert misfits(BUNDLED.task, BUNDLED.domain, real[name]) == []


def test_a_head_marked_as_mr_warns_of_its_modality_alone_with_the_bundled_model(real):
    volume = real["adi_26y_trio3T"]
    (sentence,) = misfits(BUNDLED.task, BUNDLED.domain, Volume(volume.voxels, volume.ijk_to_ras, "MR"))
    assert "marked as MR" in sentence


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fruit_t1_ge_slab", ("51 mm across", "26 × 270 mm")),
        ("phantom_bottle_t1_2mm", ("149 mm across", "unusually uniform")),
    ],
)
def test_the_fruit_and_the_bottle_warn_with_the_bundled_model(name, words, real):
    found = misfits(BUNDLED.task, BUNDLED.domain, real[name])
    for part in words:
        assert any(part in sentence for sentence in found)


@pytest.mark.parametrize("name", T1)
def test_a_t1_head_gives_no_warning_where_the_other_heads_were_trained_on_but_fruit_and_bottle_do(name, real):
    domain = Domain.measure([real[other] for other in T1 if other != name], "axial")
    assert misfits(MRI_MOTION, domain, real[name]) == []
    for other in OTHERS:
        assert len(misfits(MRI_MOTION, domain, real[other])) >= 2
