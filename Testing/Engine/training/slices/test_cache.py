"""Slices on disk: what the network is trained on is what the engine will show it, and a build can be interrupted."""

import errno
import json
import os
import stat
import tracemalloc
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from Engine.conftest import IdentityBundle
from Engine.made_images import affine_of, blob, save_slice
from upgan.errors import Cancelled, InputError, OutputError
from upgan.evaluation.report import evaluate
from upgan.images.reading import read_volume
from upgan.images.scope import foreground_scope, scope_of
from upgan.images.volume import Volume
from upgan.images.writing import write_volume
from upgan.inference.engine import InferenceEngine
from upgan.networks.in_plane import resize
from upgan.pairs.config import DataConfig
from upgan.pairs.finding import PairFiles, find_pairs
from upgan.pairs.preparation import prepare_pair
from upgan.progress import SILENT, Progress
from upgan.simulation.degradation import degrade_slices
from upgan.tasks import MRI_MOTION, MRI_UNDERSAMPLED, PET_TO_CT
from upgan.training.loop.validation import validate
from upgan.training.settings.config import AugmentationConfig, ScheduleConfig, TrainingConfig
from upgan.training.slices import cache as module
from upgan.training.slices.augmentation import draw_change
from upgan.training.slices.batches import Batches
from upgan.training.slices.cache import SliceCache, build_cache

DATA = DataConfig(path=Path("unused"), layout="csv")
SPACING_MM = (2.0, 2.0)


def write_pair(folder: Path, subject: str, shape=(10, 24, 20), affine=None, seed=0) -> PairFiles:
    """A warm lump of tissue in air: PET and CT on one grid."""
    rng = np.random.default_rng(seed)
    affine = affine_of(np.diag([-1, -1, 1]), (2, 2, 3)) if affine is None else affine
    lump = blob(shape)
    ct = np.where(lump > 20, 40 + rng.normal(0, 10, shape), -1000).astype(np.float32)
    pet = (lump * rng.uniform(50, 60, shape)).astype(np.float32)
    paths = [folder / f"{subject}_{side}.nii.gz" for side in ("pet", "ct")]
    for path, voxels in zip(paths, (pet, ct), strict=True):
        write_volume(Volume(voxels, affine), path)
    return PairFiles(subject, *paths)


@pytest.fixture
def pairs(tmp_path) -> list[PairFiles]:
    """Three subjects of different sizes."""
    shapes = {"a": (10, 24, 20), "b": (8, 40, 20), "c": (6, 24, 36)}
    return [write_pair(tmp_path, name, shape, seed=n) for n, (name, shape) in enumerate(shapes.items())]


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "run" / "cache"


def build(
    pairs, folder, data=DATA, task=PET_TO_CT, spacing_mm=SPACING_MM, progress=SILENT, margin_mm=None
) -> SliceCache:
    return build_cache(pairs, data, task, spacing_mm, folder, progress, margin_mm=margin_mm)


def seeing(bundle: IdentityBundle, margin_mm, **section) -> IdentityBundle:
    """Return the bundle as one that sees so much around the object, with other entries in its section."""
    architecture = bundle.metadata.upgan.architecture.model_copy(update={"margin_mm": margin_mm})
    changed = bundle.metadata.upgan.model_copy(update={"architecture": architecture, **section})
    return IdentityBundle(bundle.folder, bundle.metadata.model_copy(update={"upgan": changed}), bundle.network)


OBLIQUE = affine_of(np.array([[0.1, -0.98, 0.2], [-0.97, -0.05, 0.2], [0.2, 0.2, -0.96]]), (1.3, 2.1, 3.0), (7, -8, 9))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0), (2.6, 1.7), (1.0, 3.3)])
@pytest.mark.parametrize("margin_mm", [None, 4.0, 30.0])
def test_cached_inputs_are_what_the_engine_shows_the_network(
    identity_bundle, tmp_path, folder, spacing_mm, plane, margin_mm
):
    files = write_pair(tmp_path, "s", (12, 25, 21), OBLIQUE)
    bundle = seeing(identity_bundle(spacing_mm, PET_TO_CT), margin_mm)
    InferenceEngine(bundle, "cpu", "float32").translate(read_volume(files.input), plane=plane)
    seen = torch.cat(bundle.network.seen)[:, 0].numpy()
    data = DATA.model_copy(update={"plane": plane})
    cache = build([files], folder, data, spacing_mm=spacing_mm, margin_mm=margin_mm)
    rows, columns = cache.subjects["s"].shape
    top, left = ((size - count) // 2 for size, count in zip(seen.shape[1:], (rows, columns), strict=True))
    a = cache.load("s").a
    assert len(a) == len(seen) == cache.subjects["s"].count
    np.testing.assert_array_equal(a, seen[:, top : top + rows, left : left + columns].astype(np.float16))
    assert not seen[:, :top].any()
    assert not seen[:, top + rows :].any()
    assert cache.canvas == seen.shape[1:]


def test_targets_and_references_give_the_files_back(pairs, folder):
    cache = build(pairs, folder)
    for files in pairs:
        ct, pet = (read_volume(path).reoriented("axial") for path in (files.target, files.input))
        slices, subject = cache.load(files.subject), cache.subjects[files.subject]
        np.testing.assert_allclose(1000 * slices.b.astype(float) - 1000, ct.voxels, atol=0.6)
        restored = slices.a.astype(float) ** 2 * subject.reference
        np.testing.assert_allclose(restored, pet.voxels, rtol=3e-3, atol=1e-3 * pet.voxels.max())
        np.testing.assert_allclose(subject.ijk_to_ras, ct.ijk_to_ras, atol=1e-9)
        dilated = [ndimage.binary_dilation(body, np.ones((5, 5))) for body in scope_of(ct, "HU").mask]
        np.testing.assert_array_equal(slices.body, dilated)
        assert [part.dtype for part in slices] == [np.float16, np.float16, np.uint8, np.float16]
        assert not any(part.flags.writeable for part in slices)


@pytest.mark.parametrize(
    ("plane", "spacing_mm"), [("axial", (2.0, 2.0)), ("coronal", (3.1, 2.7)), ("sagittal", (2.6, 1.7))]
)
@pytest.mark.parametrize("margin_mm", [None, 6.0])
def test_the_journal_and_evaluate_measure_the_same_in_the_same_patients(
    identity_bundle, tmp_path, folder, plane, spacing_mm, margin_mm
):
    """Whatever the plane and the networks' pixels: one mask, one grid, one range."""
    files = write_pair(tmp_path, "s", (12, 25, 21), OBLIQUE)
    ct = read_volume(files.target)
    ct.voxels[ct.voxels > 0] += 300 * np.indices(ct.voxels.shape).sum(axis=0)[ct.voxels > 0] % 700
    write_volume(ct, files.target)
    bundle = seeing(identity_bundle(spacing_mm, PET_TO_CT), margin_mm, plane=plane)
    engine = InferenceEngine(bundle, "cpu", "float32")
    data = DATA.model_copy(update={"plane": plane})
    cache = build_cache([files], data, PET_TO_CT, spacing_mm, folder, margin_mm=margin_mm, measured=["s"])
    journal = validate(lambda a: list(bundle.network.phases(a)), cache, ["s"], PET_TO_CT, torch.device("cpu"))[1]
    report = evaluate(engine, [prepare_pair(files, data, PET_TO_CT)], 1)["rows"]["1"]["s"]
    assert report["mae"] > 100
    for name, value in journal.items():
        # Half a thousandth is what inputs lose in the cache.
        assert value == pytest.approx(report[name], rel=1e-3, abs=1e-3), name


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_affine_says_where_each_resized_pixel_lies(tmp_path, folder, plane):
    # An image that is a linear function of the place keeps it when it is resized, away from the edges.
    shape = (14, 30, 26)
    k, j, i = np.indices(shape)
    ras = np.tensordot(OBLIQUE[:3, :3], [i, j, k], 1) + OBLIQUE[:3, 3, None, None, None]
    files = write_pair(tmp_path, "s", shape, OBLIQUE)
    hounsfield = np.tensordot([3.0, -5.0, 4.0], ras, 1)
    write_volume(Volume(hounsfield.astype(np.float32), OBLIQUE), files.target)
    cache = build([files], folder, DATA.model_copy(update={"plane": plane}), spacing_mm=(2.9, 1.6))
    subject, b = cache.subjects["s"], cache.load("s").b
    n, h, w = np.indices(b.shape)
    place = np.tensordot(subject.ijk_to_ras[:3, :3], [w, h, n], 1) + subject.ijk_to_ras[:3, 3, None, None, None]
    inner = (slice(None), slice(4, -4), slice(4, -4))
    expected = np.tensordot([3.0, -5.0, 4.0], place, 1)[inner]
    np.testing.assert_allclose(1000 * b[inner].astype(float) - 1000, expected, atol=2.5)  # a pixel is 5 HU and more
    spacing = np.linalg.norm(subject.ijk_to_ras[:3, :2], axis=0)[::-1]
    np.testing.assert_allclose(spacing, cache.spacing_mm, rtol=0.1)


def test_a_cache_of_an_earlier_version_shows_whole_slices(identity_bundle, tmp_path, folder):
    """It does not say so, and its pixels are others than the image's."""
    files = write_pair(tmp_path, "s", (12, 25, 21))
    network = identity_bundle((4.0, 3.0), PET_TO_CT).network
    cache = build_cache([files], DATA, PET_TO_CT, (4.0, 3.0), folder, measured=["s"])
    index = json.loads((folder / "cache.json").read_text())
    for key in ("window", "imaged"):
        del index["subjects"]["s"][key]
    del index["margin_mm"]
    (folder / "cache.json").write_text(json.dumps(index))
    earlier = SliceCache.open(folder)
    assert earlier.subjects["s"].imaged == cache.subjects["s"].imaged
    assert earlier.margin_mm is None
    one, other = (
        validate(lambda a: list(network.phases(a)), each, ["s"], PET_TO_CT, torch.device("cpu"))[1]
        for each in (cache, earlier)
    )
    assert one == other


def test_the_canvas_holds_every_subject_and_can_be_halved_four_times(pairs, folder):
    cache = build(pairs, folder)
    assert {name: subject.shape for name, subject in cache.subjects.items()} == {
        "a": (24, 20),
        "b": (40, 20),
        "c": (24, 36),
    }
    assert cache.canvas == (48, 48)


def test_a_target_on_another_grid_is_put_on_that_of_the_input_with_air_where_it_ends(tmp_path, folder):
    files = write_pair(tmp_path, "s")
    ct = read_volume(files.target)
    write_volume(Volume(ct.voxels[:7], ct.ijk_to_ras), files.target)
    slices = build([files], folder).load("s")
    np.testing.assert_allclose(1000 * slices.b[:7].astype(float) - 1000, ct.voxels[:7], atol=0.6)
    assert (slices.b[7:] == 0).all()
    assert not slices.body[7:].any()


def test_a_degraded_volume_is_measured_and_normalised_itself(tmp_path, folder, monkeypatch):
    from upgan.pairs import preparation

    monkeypatch.setattr(preparation, "degraded", lambda target, *_: Volume(target.voxels * 0.5 + 3, target.ijk_to_ras))
    rng = np.random.default_rng(1)
    clean = Volume(blob((8, 24, 20)) + rng.uniform(0, 1, (8, 24, 20)), affine_of(np.diag([-1, -1, 1]), (2, 2, 3)))
    write_volume(clean, tmp_path / "t1.nii")
    data = DataConfig(path=tmp_path, layout="pattern", target="{subject}.nii", task="mri_motion", degradation="motion")
    cache = build(find_pairs(data), folder, data, MRI_UNDERSAMPLED)
    slices, subject = cache.load("t1"), cache.subjects["t1"]
    source = Volume((clean.voxels * 0.5 + 3).astype(np.float32), clean.ijk_to_ras)
    assert subject.reference == pytest.approx(MRI_UNDERSAMPLED.measure(source.voxels).reference, rel=1e-5)
    np.testing.assert_allclose(slices.a.astype(float) * subject.reference, source.voxels, rtol=2e-3)
    np.testing.assert_allclose(slices.b.astype(float) * subject.reference, clean.voxels, rtol=2e-3, atol=0.05)
    mask = foreground_scope(clean.voxels, np.ones(clean.voxels.shape, bool)).mask
    np.testing.assert_array_equal(slices.body, [ndimage.binary_dilation(part, np.ones((5, 5))) for part in mask])


def test_real_heads_are_degraded_and_cached_alike_every_time(shared_data, tmp_path):
    pytest.importorskip("upgan.simulation.degradation")
    source = read_volume(shared_data / "t1" / "allineate_T1_head_2mm.nii.gz")
    head = Volume(source.voxels[20:28], source.ijk_to_ras @ affine_of(np.eye(3), (1, 1, 1), (0, 0, 20)))
    write_volume(head, tmp_path / "IXI002-Guys-0828-T1.nii.gz")
    data = DataConfig(path=tmp_path, layout="ixi", task="mri_undersampled", degradation="central_lines")
    pairs = find_pairs(data)
    one, other = (build(pairs, tmp_path / name, data, MRI_UNDERSAMPLED) for name in ("one", "other"))
    assert one.fingerprint == other.fingerprint
    for mine, theirs in zip(one.load("IXI002"), other.load("IXI002"), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    slices = one.load("IXI002")
    inside = slices.body.astype(bool)
    assert np.corrcoef(slices.a[inside].astype(float), slices.b[inside].astype(float))[0, 1] > 0.7
    assert (ndimage.laplace(slices.a.astype(float))[inside] ** 2).mean() < (
        ndimage.laplace(slices.b.astype(float))[inside] ** 2
    ).mean() / 2


def test_a_spike_stays_finite_in_half_precision(tmp_path, folder):
    files = write_pair(tmp_path, "s")
    ct = read_volume(files.target)
    ct.voxels[5, 12, 10] = 3e8
    write_volume(ct, files.target)
    pet = read_volume(files.input)
    pet.voxels[5, 12, 10] = 3e30
    write_volume(pet, files.input)
    a, b, *_ = build([files], folder).load("s")
    assert np.isfinite(a).all()
    assert b.max() == pytest.approx(4.071, abs=2e-3)  # 3071 HU: no tissue has more


def around(shape, margin=1.0):
    """Outside a round field of view, boolean [K, J, I]."""
    _, j, i = np.indices(shape)
    middle, radius = (shape[1] - 1) / 2, shape[1] / 2 - margin
    return (j - middle) ** 2 + (i - middle) ** 2 > radius**2


@pytest.mark.parametrize("padding", [-3024, -2000, -32768])
def test_a_padded_ct_makes_the_slices_of_one_with_air_also_where_it_is_resampled(tmp_path, folder, padding):
    files = write_pair(tmp_path, "s", (6, 24, 24))
    lump = blob((9, 36, 36))
    ct = np.where(lump > 20, 40.0, -1000.0).astype(np.float32)
    ct[:, 17:19, 2:-2] = 300  # up to the edge of the field of view
    grid = affine_of(np.diag([-1, -1, 1]), (1.3, 1.3, 2.0))
    made = []
    for outside in (-1000, padding):
        ct[around(ct.shape)] = outside
        write_volume(Volume(ct, grid), files.target)
        made.append(build([files], folder / str(outside)).load("s").b.astype(np.float32))
    np.testing.assert_array_equal(made[1], made[0])
    assert made[1].min() >= 0  # air


def tilted(axes: str, degrees: float = 0.0) -> np.ndarray:
    """Directions whose columns I, J, K point along anatomical axes, e.g. "LPS", turned about x."""
    directions = {"R": (1, 0, 0), "A": (0, 1, 0), "S": (0, 0, 1), "L": (-1, 0, 0), "P": (0, -1, 0), "I": (0, 0, -1)}
    return Rotation.from_euler("x", degrees, degrees=True).as_matrix() @ np.array([directions[a] for a in axes]).T


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("axes", ["LPS", "RAS", "SRA", "AIL"])
def test_a_flip_exchanges_the_patients_left_and_right_whatever_plane_and_orientation(tmp_path, folder, plane, axes):
    shape = (12, 20, 16)
    spacing = (2.0, 2.0, 2.0)
    affine = affine_of(tilted(axes, 12.0), spacing, (0, 0, 0))
    files = write_pair(tmp_path, "s", shape, affine)
    # Values that tell where they are in the patient: they grow to the right and to the front.
    k, j, i = np.indices(shape)
    right, front, _ = np.tensordot(affine[:3, :3], [i, j, k], 1)
    write_volume(Volume((300 + 5 * right + 3 * front).astype(np.float32), affine), files.target)
    data = DATA.model_copy(update={"plane": plane})
    cache = build([files], folder, data)
    config = TrainingConfig(
        name="flips",
        data=data,
        augmentation=AugmentationConfig(flip=1.0),
        schedule=ScheduleConfig(batch=cache.subjects["s"].count),
    )
    batch = Batches(cache, ["s"], config, 1)[0]
    rows, columns = cache.subjects["s"].shape
    top, left = ((size - count) // 2 for size, count in zip(cache.canvas, (rows, columns), strict=True))
    for n, (_, index) in enumerate(batch.names):
        shown = batch.b[n, 0, top : top + rows, left : left + columns].numpy()
        stored = cache.load("s").b[index].astype(np.float32)
        assert np.array_equal(shown, stored) == (plane == "sagittal")
        if plane != "sagittal":
            (down, across), (was_down, was_across) = (
                [np.gradient(image, axis=axis).mean() for axis in (0, 1)] for image in (shown, stored)
            )
            assert (down, across) == pytest.approx((was_down, -was_across), abs=2e-5)
            assert abs(across) == pytest.approx(0.01, rel=0.02)  # 5 HU for each of 2 mm


def kept_lines(images: np.ndarray) -> np.ndarray:
    """Energy of each frequency along the rows of [N, H, W], cycles a field of view from 0, relative to the fifth."""
    energy = (abs(np.fft.rfft(images.astype(np.float64), axis=1)) ** 2).sum(axis=(0, 2))
    return energy / energy[5]


def test_training_validation_and_test_leave_the_same_lines_of_k_space(tmp_path, folder, rng):
    """Of 256 acquired rows 20 lines are left, ten on either side, whatever pixels the network works on."""
    rows, pixel = 256, 0.9
    voxels = 1000 + 200 * rng.standard_normal((4, rows, 24))
    voxels *= np.hanning(rows)[:, None]  # The patient ends within the image, and with it what is acquired.
    clean = Volume(voxels.astype(np.float32), affine_of(np.diag([-1, -1, 1]), (2, pixel, 2)))
    write_volume(clean, tmp_path / "t1.nii")
    data = DataConfig(
        path=tmp_path,
        layout="pattern",
        target="{subject}.nii",
        task="mri_undersampled",
        degradation="central_lines",
    )
    cache = build(find_pairs(data), folder, data, MRI_UNDERSAMPLED, spacing_mm=(1.2, 2.0))
    assert cache.subjects["t1"].shape == (192, 24)
    config = TrainingConfig(name="lines", data=data, schedule=ScheduleConfig(batch=4))
    batch = Batches(cache, ["t1"], config, 1)[0]
    order = np.argsort([index for _, index in batch.names])
    for_training = batch.a[:, 0, :192, 4:28].numpy()[order]
    for_validation = cache.load("t1").a.astype(np.float32)
    (files,) = find_pairs(data)
    for_test = prepare_pair(files, data, MRI_UNDERSAMPLED).source.voxels
    for images in (for_training, for_validation, for_test):
        lines = kept_lines(images)
        assert (lines[2:10] > 0.3).all()
        assert lines[13:40].max() < 0.05
    np.testing.assert_allclose(for_training, for_validation, atol=2e-3)


def test_the_motion_of_a_drawn_slice_is_that_of_acquired_pixels(tmp_path, folder):
    pytest.importorskip("torchio")
    # Each slice is of the order of 1 in network units: at the ends of a whole lump everything is nearly nothing.
    middle = np.repeat(blob((9, 40, 36))[4:5], 3, axis=0)
    write_volume(Volume(50 * middle, affine_of(np.diag([-1, -1, 1]), (2, 2, 2))), tmp_path / "t1.nii")
    data = DataConfig(path=tmp_path, layout="pattern", target="{subject}.nii", task="mri_motion", degradation="motion")
    cache = build(find_pairs(data), folder, data, MRI_UNDERSAMPLED, spacing_mm=(3.0, 3.0), margin_mm=8.0)
    batches = Batches(cache, ["t1"], TrainingConfig(name="x", data=data, schedule=ScheduleConfig(batch=1)), 1)
    batch, rng = batches[0], batches._rng(0)
    draw_change(AugmentationConfig(), rng)
    acquired = cache.load("t1").clean[batch.names[0].number][None].astype(np.float32)
    assert acquired.shape == (1, 40, 36)
    same_again = deepcopy(rng)
    moved = torch.from_numpy(degrade_slices(acquired, "motion", rng, (2.0, 2.0)))[None]
    (rows, columns), window = cache.subjects["t1"].shape, cache.subjects["t1"].acquired_window
    assert (window.rows, window.columns) < acquired.shape[1:]
    top, left = ((room - size) // 2 for room, size in zip(cache.canvas, (rows, columns), strict=True))
    found = batch.a[0, 0, top : top + rows, left : left + columns]
    seen = torch.from_numpy(window.cut(moved[0].numpy()))[None]
    torch.testing.assert_close(found, resize(seen, (rows, columns))[0, 0])
    # It is a motion that is seen, and none that pixels of the network's size would have had as well.
    at_rest = resize(torch.from_numpy(acquired)[None], (rows, columns))
    of_other_pixels = degrade_slices(at_rest[0].numpy(), "motion", same_again, (3.0, 3.0))
    artefact = (found - at_rest[0, 0]).abs().mean()
    assert artefact > 0.02 * at_rest.mean()
    assert (found - torch.from_numpy(of_other_pixels)[0]).abs().max() > 1e-3


def test_wherever_the_patient_lies_a_degraded_slice_and_its_target_are_moved_alike(tmp_path, folder):
    """Of a patient who lies aside and does not move, mirrored, turned and scaled: the input is the target."""
    lying_aside = np.zeros((5, 52, 54), np.float32)
    lying_aside[:, 8:26, 30:46] = np.hypot(*np.mgrid[-1:1:18j, -1:1:16j]) < 1
    lying_aside = ndimage.gaussian_filter(lying_aside, (0, 1, 1))
    write_volume(Volume(500 * lying_aside, affine_of(np.diag([-1, -1, 1]), (2, 2, 2))), tmp_path / "t1.nii")
    still = {"kinds": ["sudden_motion"], "severity": [0, 0]}
    data = DataConfig(path=tmp_path, layout="pattern", target="{subject}.nii", task="mri_motion", degradation=still)
    cache = build(find_pairs(data), folder, data, MRI_MOTION, spacing_mm=(3.0, 3.0), margin_mm=4.0)
    known = cache.subjects["t1"]
    window = known.acquired_window
    assert abs(2 * window.left + window.columns - 54) > 10  # of 54 columns

    def batch_of(**augmentation):
        schedule = ScheduleConfig(batch=4)
        config = TrainingConfig(name="x", data=data, schedule=schedule, augmentation=AugmentationConfig(**augmentation))
        return Batches(cache, ["t1"], config, 1, restores=True)[0]

    turned = batch_of(flip=0.5, rotation_degrees=20, scale=0.2, intensity=0.3, surroundings=1)
    # The object lies where its body is said to be.
    assert float((turned.b * turned.body).sum() / turned.b.sum()) > 0.98
    mirrored = batch_of(flip=1)
    top, left = ((room - size) // 2 for room, size in zip(cache.canvas, known.shape, strict=True))
    found = mirrored.b[:, 0, top : top + known.shape[0], left : left + known.shape[1]].numpy()
    cached = cache.load("t1").b[[name.number for name in mirrored.names]].astype(np.float32)
    np.testing.assert_allclose(found, cached[..., ::-1], atol=2e-3)
    for batch in (turned, mirrored):
        torch.testing.assert_close(batch.a, batch.b, atol=1e-6, rtol=0)


# On disk


def files_of(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.suffix == ".npy"}


def test_a_finished_cache_is_reused_and_opened_without_its_images(pairs, folder):
    cache = build(pairs, folder)
    before = files_of(folder)
    again = build(pairs, folder)
    assert files_of(folder) == before
    opened = SliceCache.open(folder)
    for other in (again, opened):
        assert other.fingerprint == cache.fingerprint
        assert other.canvas == cache.canvas
        assert other.spacing_mm == SPACING_MM
        assert list(other.subjects) == ["a", "b", "c"]
    np.testing.assert_array_equal(opened.load("b").a, cache.load("b").a)


def test_slices_are_mapped_not_read(pairs, folder):
    a = build(pairs, folder).load("a").a
    while a.base is not None and not isinstance(a, np.memmap):
        a = a.base
    assert isinstance(a, np.memmap)


def test_an_interrupted_build_goes_on_where_it_ended(pairs, folder):
    def stop_after_two(what, *told):
        if what.endswith("2 of 3"):
            raise Cancelled

    with pytest.raises(Cancelled):
        build(pairs, folder, progress=Progress(stop_after_two))
    with pytest.raises(InputError) as refusal:
        SliceCache.open(folder)
    assert refusal.value.code == "cache_unreadable"
    (folder / ".0123456789abcdef.npy").write_bytes(b"half a subject")
    before = files_of(folder)
    seen = []
    build(pairs, folder, progress=Progress(lambda what, fraction, remaining_s: seen.append((what, fraction))))
    after = files_of(folder)
    assert seen == [(f"preparing slices of patient {done} of 3", pytest.approx(done / 3)) for done in (1, 2, 3)]
    assert len(after) == 3
    assert {name: after[name] for name in before if name in after} == {
        name: time for name, time in before.items() if not name.startswith(".")
    }


def test_a_broken_link_beside_the_slices_of_a_series_does_not_end_the_preparation(tmp_path, folder):
    files = write_pair(tmp_path, "d", (4, 24, 20))
    series = tmp_path / "series"
    series.mkdir()
    for k, pixels in enumerate(read_volume(files.input).voxels):
        tags = {"Rows": 24, "Columns": 20, "PixelSpacing": [2, 2], "RescaleIntercept": 0, "Modality": "PT"}
        save_slice(
            series / f"{k}.dcm", np.array([-10, 20, 30 + 3 * k]), **tags, PixelData=pixels.astype("<i2").tobytes()
        )
    (series / "notes").symlink_to("/nowhere/notes")
    assert build([replace(files, input=series)], folder).subjects["d"].count == 4


def test_a_changed_input_is_prepared_anew_and_no_other(tmp_path, pairs, folder):
    old = build(pairs, folder)
    before, fingerprint, a = files_of(folder), old.fingerprint, old.load("b").a.copy()
    write_pair(tmp_path, "b", (8, 40, 20), seed=99)
    new = build(pairs, folder)
    changed = [name for name, time in files_of(folder).items() if before[name] != time]
    assert len(changed) == 1
    assert new.fingerprint != fingerprint
    assert not np.array_equal(new.load("b").a, a)
    assert new.subjects["a"].sha256 == old.subjects["a"].sha256 != new.subjects["b"].sha256


def test_slices_of_a_build_that_broke_off_are_not_taken_for_those_of_an_earlier_file(
    tmp_path, pairs, folder, monkeypatch
):
    before = [(path, path.read_bytes(), path.stat()) for path in (pairs[0].input, pairs[0].target)]
    a = build(pairs[:1], folder).load("a").a.copy()
    write_pair(tmp_path, "a", seed=99)

    def broken(path, content):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_json", broken)
    with pytest.raises(KeyboardInterrupt):
        build(pairs[:1], folder)
    monkeypatch.undo()
    for path, content, state in before:
        path.write_bytes(content)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    np.testing.assert_array_equal(build(pairs[:1], folder).load("a").a, a)


@pytest.mark.parametrize(
    ("spacing_mm", "data"), [((2.5, 2.0), {}), (SPACING_MM, {"plane": "coronal"})], ids=["spacing", "plane"]
)
def test_other_settings_make_other_slices(pairs, folder, spacing_mm, data):
    build(pairs, folder)
    settings = DATA.model_copy(update=data)
    renewed = build(pairs, folder, settings, spacing_mm=spacing_mm)
    fresh = build(pairs, folder.with_name("fresh"), settings, spacing_mm=spacing_mm)
    for name in "abc":
        np.testing.assert_array_equal(renewed.load(name).a, fresh.load(name).a)


def test_damaged_and_unwanted_slices_are_replaced_and_removed(pairs, folder):
    build(pairs, folder)
    (path, *_) = sorted(folder.glob("*.npy"))
    path.write_bytes(path.read_bytes()[:500])
    cache = build(pairs[:2], folder)
    assert list(cache.subjects) == ["a", "b"]
    assert len(files_of(folder)) == 2
    assert all(np.isfinite(cache.load(name).b).all() for name in "ab")
    (path, *_) = sorted(folder.glob("*.npy"))
    path.write_bytes(path.read_bytes()[:500])
    opened = SliceCache.open(folder)
    codes = set()
    for name in "ab":
        try:
            opened.load(name)
        except InputError as error:
            codes.add(error.code)
    assert codes == {"cache_unreadable"}


@pytest.mark.parametrize("damage", ["changed", "gone", "never summed"])
def test_what_is_compared_with_is_made_anew_where_it_is_not_as_it_was_written(pairs, folder, damage):
    def build_measured(known):
        return build_cache(pairs[:1], DATA, PET_TO_CT, SPACING_MM, folder, known=known, measured=["a"])

    cache = build_measured({})
    truth = cache.load_reference("a").target
    (path,), (entry,) = folder.glob("*.reference"), [path for path in folder.glob("*.json") if path.stem != "cache"]
    if damage == "changed":
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
    elif damage == "gone":
        path.unlink()
    else:
        content = json.loads(entry.read_text(encoding="utf-8"))
        del content["reference_sha256"]
        entry.write_text(json.dumps(content), encoding="utf-8")
        path.write_bytes(path.read_bytes()[:100])
    images = [side.rename(side.with_name("moved_" + side.name)) for side in (pairs[0].input, pairs[0].target)]
    with pytest.raises(InputError) as refusal:
        build_measured({"a": cache.subjects["a"].sha256})
    assert refusal.value.code == "file_not_found"
    for image in images:
        image.rename(image.with_name(image.name.removeprefix("moved_")))
    np.testing.assert_array_equal(build_measured({}).load_reference("a").target, truth)


def test_the_fingerprint_is_of_the_images_not_of_files_or_pixel_size(tmp_path, pairs, folder):
    fingerprint = build(pairs, folder).fingerprint
    write_volume(read_volume(pairs[0].input), tmp_path / "copy.nrrd")
    renamed = [replace(pairs[0], input=tmp_path / "copy.nrrd"), *pairs[1:]]
    assert build(renamed, folder, spacing_mm=(3, 3)).fingerprint == fingerprint
    assert build(pairs[:2], folder).fingerprint != fingerprint


@pytest.mark.skipif(os.name == "nt", reason="no POSIX permissions")
def test_only_its_owner_may_look_into_the_cache(pairs, folder):
    build(pairs, folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_no_label_is_in_a_file_name(tmp_path, folder):
    files = write_pair(tmp_path, "s")
    build([replace(files, subject="../Müller, Anna")], folder)
    assert not [path for path in folder.parent.rglob("*") if "ller" in path.name]
    assert "../Müller, Anna" in SliceCache.open(folder).subjects


def test_a_pair_that_cannot_be_prepared_is_named(pairs, folder):
    pairs[1].target.write_bytes(b"")
    with pytest.raises(InputError, match=r"^b: 'b_ct.nii.gz' is an empty file\.") as refusal:
        build(pairs, folder)
    assert refusal.value.code == "empty_file"


def test_a_full_disk_is_said_and_leaves_what_was_whole(pairs, folder, monkeypatch):
    build(pairs[:1], folder)
    written = module.write_records

    def until_full(path, count, size, parts):
        def some():
            yield next(parts)
            raise OSError(errno.ENOSPC, "No space left on device")

        written(path, count, size, some())

    monkeypatch.setattr(module, "write_records", until_full)
    with pytest.raises(OutputError) as refusal:
        build(pairs, folder)
    assert refusal.value.code == "disk_full"
    assert len(list(folder.iterdir())) == 2  # the slices of the first subject and what is said of them
    monkeypatch.undo()
    assert len(build(pairs, folder).subjects) == 3


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_may_not_be_written_is_said(pairs, tmp_path):
    (tmp_path / "run").mkdir(mode=0o500)
    with pytest.raises(OutputError) as refusal:
        build(pairs, tmp_path / "run" / "cache")
    assert refusal.value.code == "not_writable"


def test_memory_does_not_grow_with_the_number_of_subjects(tmp_path, folder):
    files = write_pair(tmp_path, "s0", (30, 96, 96))
    peaks = []
    for count in (1, 4):
        same = [replace(files, subject=f"s{n}") for n in range(count)]
        tracemalloc.start()
        build(same, folder / str(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    subject = 30 * 96 * 96 * 4
    assert peaks[1] - peaks[0] < subject / 2
    assert peaks[0] < 14 * subject


def test_the_index_is_json_that_says_what_each_subject_was_made_of(pairs, folder):
    build(pairs, folder)
    index = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
    origin = index["subjects"]["a"]["origin"]
    assert origin["files"]["input"]["bytes"] == pairs[0].input.stat().st_size
    assert origin["data"] == {"degradation": "none", "plane": "axial", "register_pairs": False}
