"""What the engine does around the networks: geometry, batches, memory, precision, provenance."""

import itertools
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from scipy.spatial.transform import Rotation

from Engine.conftest import IDENTITY_TASK, write_tiny
from Engine.made_images import blob
from upgan.errors import Cancelled, DeviceError, InputError, ResultError
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.inference.engine import InferenceEngine, SlicesDone
from upgan.inference.translation import is_sound
from upgan.networks.cascade import Cascade, CascadeArchitecture
from upgan.tasks import MRI_MOTION, PET_TO_CT, OutputScale
from upgan.uncertainty.distribution import GeneralizedNormal

PLANES = ("axial", "coronal", "sagittal")
ORIENTATIONS = [
    "".join(letters) for axes in itertools.permutations(["RL", "AP", "SI"]) for letters in itertools.product(*axes)
]


def translate(bundle, volume, **options):
    return InferenceEngine(bundle, device="cpu", precision="float32").translate(volume, **options)


def stored_as(volume: Volume, axcodes: str) -> Volume:
    """The same image in the same place with another axis order and direction, made by nibabel."""
    image = nibabel.Nifti1Image(volume.voxels.T, volume.ijk_to_ras)
    change = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(volume.ijk_to_ras), nibabel.orientations.axcodes2ornt(axcodes)
    )
    turned = image.as_reoriented(change)
    return Volume(np.ascontiguousarray(np.asarray(turned.dataobj).T), turned.affine)


@st.composite
def affines(draw):
    """Oblique, flipped, permuted, anisotropic and sheared grids."""
    spacing = [draw(st.floats(0.5, 6)) for _ in range(3)]
    turn = Rotation.from_euler("xyz", [draw(st.floats(-40, 40)) for _ in range(3)], degrees=True).as_matrix()
    order = draw(st.permutations(range(3)))
    signs = [draw(st.sampled_from([-1.0, 1.0])) for _ in range(3)]
    shear = np.eye(3)
    shear[1, 2] = draw(st.floats(-0.4, 0.4))  # a gantry tilt of up to 22 degrees
    affine = np.eye(4)
    affine[:3, :3] = turn @ shear @ (np.eye(3)[list(order)] * signs) @ np.diag(spacing)
    affine[:3, 3] = [draw(st.floats(-200, 200)) for _ in range(3)]
    return affine


def ramp(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A linear function of the place in the patient: any half-pixel shift or flip changes it."""
    k, j, i = np.indices(shape)
    ras = affine[:3, :3] @ np.stack([i, j, k]).reshape(3, -1)
    values = np.array([0.31, 0.17, 0.53]) @ ras
    return (values - values.min() + 10).reshape(shape).astype(np.float32)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    affine=affines(),
    shape=st.tuples(*[st.integers(10, 20)] * 3),
    plane=st.sampled_from(PLANES),
    spacing=st.tuples(st.floats(0.7, 4), st.floats(0.7, 4)),
)
def test_an_identity_returns_a_linear_image_on_exactly_the_input_grid(identity_bundle, affine, shape, plane, spacing):
    volume = Volume(ramp(affine, shape), affine)
    translation = translate(identity_bundle(spacing), volume, plane=plane)
    np.testing.assert_array_equal(translation.ijk_to_ras, affine)
    assert translation.last.image.shape == shape
    # Pixels whose neighbourhood leaves the image are extrapolated. All others are exact for a linear function but for
    # the smoothing, whose few sampled weights need not lie evenly; half a pixel's shift would be three times as much.
    inner = tuple(slice(rim, max(size - rim, rim)) for size, rim in zip(shape, rims(affine, spacing), strict=True))
    scale = np.ptp(volume.voxels)
    np.testing.assert_allclose(translation.last.image[inner], volume.voxels[inner], atol=5e-3 * scale)


def rims(affine, spacing):
    """Voxels along K, J, I that the smoothing kernel may reach over the edge; nothing across slices."""
    voxel = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    coarse = max(spacing) * 1.6
    return [int(np.ceil(2 * coarse / step)) + 1 for step in voxel]


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("axcodes", ORIENTATIONS)
def test_the_network_sees_the_same_slices_however_the_file_was_stored(identity_bundle, axcodes, plane):
    rng = np.random.default_rng(1)
    volume = Volume(rng.random((6, 7, 9), dtype=np.float32), np.diag([-2.0, -2.0, 2.0, 1.0]))
    bundle = identity_bundle((2.0, 2.0))
    expected = translate(bundle, volume, plane=plane)
    first = torch.cat(bundle.network.seen)
    bundle.network.seen.clear()
    turned = stored_as(volume, axcodes)
    found = translate(bundle, turned, plane=plane)
    torch.testing.assert_close(torch.cat(bundle.network.seen), first)
    back = stored_as(Volume(found.last.image, found.ijk_to_ras), "LPS")
    np.testing.assert_allclose(back.voxels, expected.last.image)


def test_axial_slices_are_shown_to_the_network_face_up_patient_right_on_the_left(identity_bundle):
    voxels = np.zeros((4, 16, 16), dtype=np.float32)  # RAS storage: I to the right, J to the front
    voxels[:, 14, 1] = 1  # front (high J), left (low I)
    bundle = identity_bundle()
    translate(bundle, Volume(voxels, np.eye(4)))
    row, column = np.argwhere(bundle.network.seen[0][0, 0].numpy())[0]
    assert row < 8
    assert column > 8


@pytest.mark.parametrize(
    "name", ["adi_26y_trio3T", "uih_A_umr770_slab", "decubitus_51y_prisma3T_5mm", "allineate_T1_head_2mm"]
)
def test_an_identity_returns_a_real_head_within_interpolation_error(shared_data, identity_bundle, name):
    volume = read_volume(shared_data / "t1" / f"{name}.nii.gz")
    fine = float(volume.spacing.min()) / 2
    translation = translate(identity_bundle((fine, fine)), volume)
    np.testing.assert_array_equal(translation.ijk_to_ras, volume.ijk_to_ras)
    # Interpolation there and back only averages neighbours: nothing may leave what lies around it.
    kept = np.maximum(volume.voxels, 0)
    low, high = ndimage.minimum_filter(kept, 3), ndimage.maximum_filter(kept, 3)
    assert (translation.last.image >= low - 1e-3 * high.max()).all()
    assert (translation.last.image <= high + 1e-3 * high.max()).all()
    assert np.corrcoef(translation.last.image.ravel(), kept.ravel())[0, 1] > 0.98


def test_a_real_head_at_the_model_spacing_comes_back_untouched(shared_data, identity_bundle):
    volume = read_volume(shared_data / "t1" / "allineate_T1_head_2mm.nii.gz")
    spacing = float(volume.spacing[0])
    translation = translate(identity_bundle((spacing, spacing)), volume)
    np.testing.assert_allclose(translation.last.image, np.maximum(volume.voxels, 0), rtol=1e-5)


@pytest.mark.parametrize("margin_mm", [None, 8.0])
def test_what_corrects_nothing_returns_the_input_with_its_detail_on_any_grid(tmp_path, margin_mm):
    """On pixels a third of the network's, in a plane across the stored slices, mirror image and all."""
    rng = np.random.default_rng(2)
    voxels = np.zeros((24, 30, 33), dtype=np.float32)
    voxels[4:20, 5:25, 6:28] = 100 + 300 * rng.random((16, 20, 22))
    untrained = Cascade(CascadeArchitecture(phases=2, width=2, margin_mm=margin_mm, from_input=True)).eval()
    section = {"task": MRI_MOTION.model_dump(), "spacing_mm": (3.0, 3.0)}
    bundle = write_tiny(tmp_path / "corrects-nothing", untrained, **section)
    volume = Volume(voxels, np.diag([-1.0, -1.0, 1.0, 1.0]))
    found = translate(bundle, volume, plane="coronal", phases="all", epistemic=True)
    for maps in found.phases.values():
        np.testing.assert_allclose(maps.image, voxels, atol=1e-3)
    np.testing.assert_allclose(found.epistemic, 0, atol=1e-3)


def test_a_gantry_tilt_survives(shared_data, identity_bundle):
    volume = read_volume(shared_data / "ct" / "qa_ct_ge_head.nii.gz")
    shifted = Volume(volume.voxels + 1500, volume.ijk_to_ras)  # the identity task keeps positive values only
    spacing = float(volume.spacing[0])
    translation = translate(identity_bundle((spacing, spacing)), shifted)
    np.testing.assert_array_equal(translation.ijk_to_ras, volume.ijk_to_ras)
    np.testing.assert_allclose(translation.last.image, np.maximum(shifted.voxels, 0), rtol=1e-4, atol=0.05)


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_batch_size_changes_nothing(tiny_bundle, batch):
    volume = Volume(blob(), np.diag([2.0, 2.0, 2.0, 1.0]))
    expected = InferenceEngine(tiny_bundle, "cpu", "float32", batch=4).translate(volume)
    found = InferenceEngine(tiny_bundle, "cpu", "float32", batch=batch).translate(volume)
    for ours, theirs in zip(found.outputs(), expected.outputs(), strict=True):
        np.testing.assert_allclose(ours.voxels, theirs.voxels, rtol=1e-4, atol=1e-2)


def test_when_memory_runs_out_the_batch_is_halved_and_no_slice_is_lost(identity_bundle):
    volume = Volume(blob(), np.eye(4))
    bundle = identity_bundle(largest_batch=2)
    engine = InferenceEngine(bundle, "cpu", "float32", batch=9)
    np.testing.assert_allclose(engine.translate(volume).last.image, volume.voxels, rtol=1e-5)
    assert {len(a) for a in bundle.network.seen} == {2}


def test_when_one_slice_does_not_fit_the_error_says_so(identity_bundle):
    with pytest.raises(DeviceError) as refusal:
        translate(identity_bundle(largest_batch=0), Volume(blob(), np.eye(4)))
    assert refusal.value.code == "out_of_memory"
    assert "CPU" in refusal.value.remedy


@pytest.mark.parametrize(
    "text",
    ["CUDA error: out of memory", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "DefaultCPUAllocator: not enough memory"],
)
def test_every_way_of_saying_that_memory_ran_out_is_understood(identity_bundle, monkeypatch, text):
    bundle = identity_bundle()
    monkeypatch.setattr(bundle.network, "phases", lambda a: (_ for _ in ()).throw(RuntimeError(text)))
    with pytest.raises(DeviceError) as refusal:
        translate(bundle, Volume(blob(), np.eye(4)))
    assert refusal.value.code == "out_of_memory"


def test_another_failure_of_the_network_is_not_taken_for_a_lack_of_memory(identity_bundle, monkeypatch):
    bundle = identity_bundle()
    monkeypatch.setattr(bundle.network, "phases", lambda a: (_ for _ in ()).throw(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        translate(bundle, Volume(blob(), np.eye(4)))


def test_bfloat16_stays_close_to_float32(tiny_bundle):
    volume = Volume(blob(), np.diag([2.0, 2.0, 2.0, 1.0]))
    exact, coarse = (
        InferenceEngine(tiny_bundle, "cpu", precision).translate(volume) for precision in ("float32", "bfloat16")
    )
    difference = np.abs(coarse.last.image - exact.last.image).max()
    # Eight bits of mantissa through some thirty layers.
    assert 0 < difference < 0.1 * np.ptp(exact.last.image)
    assert coarse.last.alpha.dtype == np.float32


def test_every_phase_computes_in_the_precision_asked_for(tiny_bundle):
    engine = InferenceEngine(tiny_bundle, "cpu", "bfloat16")
    bodies, heads = [], []
    for generator in engine.network.generators:
        generator.body.register_forward_hook(lambda *call: bodies.append(call[-1].dtype))
        generator.scale_head.register_forward_hook(lambda *call: heads.append(call[-1].dtype))
    engine.translate(Volume(blob(), np.eye(4)))
    assert len(bodies) >= 2
    assert set(bodies) == {torch.bfloat16}
    assert set(heads) == {torch.float32}


def test_outputs_are_those_of_the_cascade_in_hounsfield_units(tiny_bundle):
    volume = Volume(blob((3, 32, 32)), np.diag([-2.0, -2.0, 2.0, 1.0]))
    translation = translate(tiny_bundle, volume, phases="all")
    reference = PET_TO_CT.measure(volume.voxels).reference
    a = torch.from_numpy(np.sqrt(volume.voxels / reference))[:, None]
    with torch.inference_mode():
        expected = tiny_bundle.load_cascade()(a)
    assert sorted(translation.phases) == [1, 2]
    for phase, prediction in enumerate(expected, start=1):
        maps = translation.phases[phase]
        np.testing.assert_allclose(maps.image, 1000 * prediction.loc[:, 0].numpy() - 1000, atol=0.05)
        np.testing.assert_allclose(maps.alpha, 1000 * prediction.scale[:, 0].numpy(), atol=0.05)
        np.testing.assert_allclose(maps.beta, prediction.concentration[:, 0].numpy(), atol=1e-4)


def test_sigma_is_the_standard_deviation_of_the_distribution_of_alpha_and_beta(tiny_bundle):
    maps = translate(tiny_bundle, Volume(blob(), np.eye(4))).last
    np.testing.assert_allclose(maps.sigma, stats.gennorm(maps.beta, 0, maps.alpha).std(), rtol=1e-4)


def test_all_phases_are_named_the_last_one_without_a_number(tiny_bundle):
    translation = translate(tiny_bundle, Volume(blob(), np.eye(4)), phases="all")
    names = [output.name for output in translation.outputs()]
    assert names == [
        *("pseudo_ct", "alpha", "beta", "sigma"),
        *("pseudo_ct_phase_1", "alpha_phase_1", "beta_phase_1", "sigma_phase_1"),
    ]
    assert {output.unit for output in translation.outputs(["image", "alpha", "sigma"])} == {"HU"}


def test_only_the_last_phase_is_kept_unless_all_are_asked_for(tiny_bundle):
    translation = translate(tiny_bundle, Volume(blob(), np.eye(4)))
    assert sorted(translation.phases) == [2]
    assert [output.name for output in translation.outputs(["sigma"])] == ["sigma"]


def test_progress_rises_to_one_and_names_phase_and_slice(tiny_bundle):
    reports: list[SlicesDone] = []
    volume = Volume(blob(), np.eye(4))
    InferenceEngine(tiny_bundle, "cpu", "float32", batch=4).translate(volume, progress=reports.append)
    fractions = [report.fraction for report in reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert reports[-1][:4] == (2, 2, 10, 10)
    assert [report.phase for report in reports] == [1, 2] * 3
    assert reports[-1].remaining_s == 0
    assert reports[0].remaining_s > 0


def test_a_progress_callback_can_cancel(tiny_bundle):
    def stop(_: SlicesDone) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        translate(tiny_bundle, Volume(blob(), np.eye(4)), progress=stop)


def test_the_provenance_names_model_weights_task_and_settings_and_is_json(tiny_bundle):
    translation = translate(tiny_bundle, Volume(blob(), np.eye(4)), plane="coronal", source="scan.nii")
    provenance = json.loads(json.dumps(translation.provenance))
    assert provenance["bundle"] == "tiny"
    assert provenance["bundle_version"] == "1.2.3"
    assert provenance["bundle_sha256"] == tiny_bundle.sha256
    assert len(tiny_bundle.sha256) == 64
    assert provenance["task"] == "pet_to_ct"
    assert provenance["plane"] == "coronal"
    assert provenance["precision"] == "float32"
    assert provenance["source"] == "scan.nii"
    assert provenance["warnings"] == []


def test_nan_and_infinity_are_counted_and_refused_or_replaced(identity_bundle):
    voxels = blob()
    voxels[0, 0, :3] = np.nan
    voxels[0, 1, 0] = np.inf
    volume = Volume(voxels, np.eye(4))
    with pytest.raises(InputError, match="3 NaN and 1 infinite") as refusal:
        translate(identity_bundle(), volume)
    assert refusal.value.code == "not_finite"
    translation = translate(identity_bundle(), volume, replace_nonfinite=7.0)
    np.testing.assert_allclose(translation.last.image[0, 0, :3], 7, rtol=1e-5)
    assert translation.provenance["replaced_nonfinite"] == 7.0
    assert np.isnan(volume.voxels[0, 0, 0])


# One voxel of one map, and what a network may have made of it.
UNSOUND = {
    "an image of NaN": (0, np.nan),
    "an infinite image": (0, -np.inf),
    "a scale of NaN": (1, np.nan),
    "an infinite scale": (1, np.inf),
    "a scale of zero": (1, 0.0),
    "a shape of NaN": (2, np.nan),
    "a shape of zero": (2, 0.0),
    "an infinite shape": (2, np.inf),
    "a shape whose sigma float32 cannot hold": (2, 0.03),
    "a scale whose HU float32 cannot hold": (1, 3e38),
}


@pytest.mark.parametrize("kind", UNSOUND)
@pytest.mark.parametrize("phases", ["last", "all"])
def test_a_result_that_is_no_number_somewhere_is_none(identity_bundle, monkeypatch, kind, phases):
    which, value = UNSOUND[kind]
    bundle = identity_bundle(phases=2, task=IDENTITY_TASK.model_copy(update={"output": OutputScale(factor=1000.0)}))
    honest = bundle.network.phases

    def spoiled(a):
        for prediction in honest(a):
            maps = [prediction.loc.clone(), prediction.scale.clone(), prediction.concentration.clone()]
            maps[which][-1, 0, a.shape[2] // 2, a.shape[3] // 2] = value  # not among the padding
            yield GeneralizedNormal(*maps, validate_args=False)

    volume = Volume(blob(), np.eye(4))
    assert np.isfinite(translate(bundle, volume, phases=phases).last.sigma).all()
    monkeypatch.setattr(bundle.network, "phases", spoiled)
    with pytest.raises(ResultError) as refusal:
        translate(bundle, volume, phases=phases)
    assert refusal.value.code == "not_finite_output"
    assert "float32" not in refusal.value.remedy  # which it was


def test_in_half_precision_the_remedy_is_the_whole_one(identity_bundle, monkeypatch):
    bundle = identity_bundle()
    monkeypatch.setattr(
        bundle.network, "phases", lambda a: iter([GeneralizedNormal(a / 0, a + 1, a + 1, validate_args=False)])
    )
    with pytest.raises(ResultError, match="phase 1") as refusal:
        InferenceEngine(bundle, "cpu", "bfloat16").translate(Volume(blob(), np.eye(4)))
    assert "float32" in refusal.value.remedy


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    image=st.lists(st.floats(width=32), min_size=3, max_size=3),
    alpha=st.lists(st.floats(0, width=32), min_size=3, max_size=3),
    beta=st.lists(st.floats(0, 4, width=32), min_size=3, max_size=3),
)
def test_what_is_sound_is_what_each_voxel_says(image, alpha, beta):
    image, alpha, beta = (np.array(values, dtype=np.float32) for values in (image, alpha, beta))
    positive = (alpha > 0).all() and (beta > 0).all()
    finite = np.isfinite([image, alpha, beta]).all()
    sigma = GeneralizedNormal(
        torch.zeros(3), torch.from_numpy(alpha), torch.from_numpy(beta), validate_args=False
    ).stddev
    assert is_sound(image, alpha, beta) == bool(positive and finite and sigma.isfinite().all())


def test_a_large_image_whose_sum_alone_overflows_is_sound():
    image = np.full((2, 2), 3e38, dtype=np.float32)
    assert is_sound(image, np.ones_like(image), np.ones_like(image))


def test_display_hints_of_a_relative_task_follow_any_unit_of_the_input(identity_bundle):
    for unit in (1e-30, 1e30):
        volume = Volume(blob() * np.float32(unit), np.eye(4))
        translation = translate(identity_bundle(), volume)
        assert translation.display.window == pytest.approx(translation.reference)


def test_a_model_of_minute_pixels_is_refused_before_anything_is_allocated(identity_bundle, monkeypatch):
    bundle = identity_bundle((0.02, 0.02))
    monkeypatch.setattr(np, "empty", lambda *_, **__: pytest.fail("allocated"))
    with pytest.raises(InputError) as refusal:
        translate(bundle, Volume(blob((4, 64, 64)), np.eye(4)))
    assert refusal.value.code == "absurd_matrix"
    assert bundle.network.seen == []


@pytest.mark.parametrize(
    ("voxels", "spacing", "code"),
    [
        (np.full((4, 8, 8), 3.0), 1.0, "constant_image"),
        (-blob((4, 8, 8)) - 1, 1.0, "no_signal"),
        (blob((4, 80, 80)), 40.0, "absurd_field_of_view"),
    ],
)
def test_images_that_cannot_be_translated_are_refused(identity_bundle, voxels, spacing, code):
    with pytest.raises(InputError) as refusal:
        translate(identity_bundle(), Volume(voxels, np.diag([spacing, spacing, spacing, 1])))
    assert refusal.value.code == code


def test_a_modality_the_model_was_not_made_for_is_told_in_the_provenance(tiny_bundle):
    volume = Volume(blob(), np.eye(4), modality="MR")
    (warning,) = translate(tiny_bundle, volume).provenance["warnings"]
    assert "MR" in warning
    assert "PT" in warning


def test_an_absent_cuda_device_is_refused(tiny_bundle):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(DeviceError) as refusal:
        InferenceEngine(tiny_bundle, device="cuda")
    assert refusal.value.code == "no_cuda"


@pytest.mark.parametrize("name", ["gpu", "cuda:x", ""])
def test_a_device_nobody_knows_is_refused(tiny_bundle, name):
    with pytest.raises(DeviceError):
        InferenceEngine(tiny_bundle, device=name)


def test_cuda_gives_what_the_cpu_gives(tiny_bundle):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    volume = Volume(blob(), np.diag([2.0, 2.0, 2.0, 1.0]))
    cpu, cuda = (InferenceEngine(tiny_bundle, device, "float32").translate(volume) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(cuda.last.image, cpu.last.image, rtol=1e-3, atol=0.5)


# What lies around


def seeing_the_object(bundle, margin_mm=6.0):
    """The same model, made to look at the object and a margin."""
    architecture = bundle.metadata.upgan.architecture.model_copy(update={"margin_mm": margin_mm})
    section = bundle.metadata.upgan.model_copy(update={"architecture": architecture})
    return replace(bundle, metadata=bundle.metadata.model_copy(update={"upgan": section}))


def noisy_head(rng, shape=(3, 50, 44)) -> Volume:
    _, j, i = np.indices(shape)
    inside = ((j - 26) / 18) ** 2 + ((i - 20) / 14) ** 2 <= 1
    voxels = np.where(inside, rng.uniform(60, 100, shape), rng.uniform(0, 5, shape)).astype(np.float32)
    return Volume(voxels, np.diag([-2.0, -2.0, 3.0, 1.0]))


@pytest.mark.parametrize("sides", [(0, 0, 40, 8), (33, 7, 0, 0), (64, 64, 64, 64)])
@pytest.mark.parametrize("noise", [0.0, 5.0])
def test_air_around_the_object_and_its_place_in_it_change_no_number(tiny_bundle, rng, sides, noise):
    head, bundle = noisy_head(rng), seeing_the_object(tiny_bundle)
    above, below, left, right = sides
    shape = (3, 50 + above + below, 44 + left + right)
    here = (slice(None), slice(above, above + 50), slice(left, left + 44))
    wide = rng.uniform(0, noise + 1e-6, shape).astype(np.float32)
    wide[here] = head.voxels
    one, other = (translate(bundle, volume).last for volume in (head, Volume(wide, head.ijk_to_ras)))
    # The margin, which shows the air that there is, too.
    seen = (slice(None), slice(8 - 3, 45 + 3), slice(6 - 3, 35 + 3))
    for name in ("image", "alpha", "beta"):
        ours, theirs = getattr(one, name)[seen], getattr(other, name)[here][seen]
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-3)
    # What networks that see all make of it is another matter.
    sees_all = seeing_the_object(tiny_bundle, None)
    all_of_it = (translate(sees_all, volume).last.image for volume in (head, Volume(wide, head.ijk_to_ras)))
    ours, theirs = next(all_of_it)[seen], next(all_of_it)[here][seen]
    assert np.sqrt(np.square(ours - theirs).mean()) > 1


def test_outside_of_what_networks_see_an_image_goes_on_evenly(tiny_bundle, rng):
    wide = Volume(np.pad(noisy_head(rng).voxels, [(0, 0), (50, 50), (50, 50)]), np.diag([-2.0, -2.0, 3.0, 1.0]))
    last = translate(seeing_the_object(tiny_bundle), wide).last
    for maps in (last.image, last.alpha, last.beta, last.sigma):
        for part in maps:
            corner = part[:20, :20]
            assert np.ptp(corner) == 0
            assert part.min() <= corner[0, 0] <= part.max()


def test_an_object_at_the_edge_is_seen_as_if_air_went_on(tiny_bundle, rng):
    head, bundle = noisy_head(rng), seeing_the_object(tiny_bundle)
    head.voxels[head.voxels < 60] = 0
    tight = Volume(np.ascontiguousarray(head.voxels[:, 8:45, 6:35]), head.ijk_to_ras)
    one, other = (translate(bundle, volume).last.image for volume in (head, tight))
    np.testing.assert_allclose(other, one[:, 8:45, 6:35], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("place", [np.s_[:, 20:21, 10:30], np.s_[:, 15:30, 10:30]], ids=["a line", "a block"])
def test_an_object_without_contrast_in_its_box_is_measured_with_its_air(tiny_bundle, place):
    voxels = np.zeros((3, 50, 44), np.float32)
    voxels[place] = 5
    last = translate(seeing_the_object(tiny_bundle), Volume(voxels, np.diag([2.0, 2.0, 2.0, 1.0]))).last
    assert np.isfinite(last.image).all()


def test_an_image_without_an_object_is_seen_whole(tiny_bundle):
    even = Volume(np.indices((3, 20, 24)).sum(axis=0).astype(np.float32) - 40.0, np.diag([-2.0, -2.0, 3.0, 1.0]))
    ours = translate(seeing_the_object(tiny_bundle, 100.0), even).last.image
    assert ours.shape == even.voxels.shape
    assert np.isfinite(ours).all()
