"""Which slices a step sees, and what augmentation makes of them."""

import pickle
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch.utils.data import DataLoader

from Engine.memory_cache import MemoryCache
from upgan.errors import InputError
from upgan.images.outline import Window
from upgan.simulation.kspace import keep_central_lines
from upgan.training.settings.config import AugmentationConfig, TrainingConfig
from upgan.training.slices.augmentation import (
    Change,
    change_intensity,
    draw_change,
    draw_surroundings,
    move,
    move_about,
    surround,
)
from upgan.training.slices.batches import Batches

STILL = Change(flip=False, rotation_degrees=0.0, scale=1.0, intensity=1.0)


def config_of(batch=4, seed=0, augmentation=None, data=None, **schedule) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "name": "test",
            "seed": seed,
            "data": {"path": "pairs.json", **(data or {})},
            "schedule": {"batch": batch, **schedule},
            "augmentation": augmentation or {},
        }
    )


def numbered_cache(counts, shape=(6, 8), canvas=(16, 16)) -> MemoryCache:
    """Slices that hold their own number: 100 times the subject plus the slice; the target half of it."""
    cache = MemoryCache(canvas)
    for number, count in enumerate(counts, start=1):
        a = np.full((count, *shape), 100.0 * number) + np.arange(count)[:, None, None]
        cache.add(f"s{number}", a, a / 2, np.ones_like(a))
    return cache


def structured_cache(seed=0, count=5, shape=(29, 32), canvas=(32, 32), spacing_mm=(1.0, 1.0)) -> MemoryCache:
    rng = np.random.default_rng(seed)
    cache = MemoryCache(canvas, spacing_mm)
    for subject in ("s1", "s2"):
        b = ndimage.gaussian_filter(rng.random((count, *shape)), (0, 2, 2)) + 0.1
        cache.add(subject, b**2, b, b > b.mean())
    return cache


def drawn(batches: Batches, steps: int) -> list[tuple[str, int]]:
    return [tuple(name) for step in range(steps) for name in batches[step].names]


ALL_CHANGES = {"flip": 0.5, "rotation_degrees": 20, "scale": 0.2, "intensity": 0.3}


@given(
    counts=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    batch=st.integers(1, 9),
    seed=st.integers(0, 5),
    stage=st.integers(0, 4),
)
@settings(max_examples=40, deadline=None)
def test_every_slice_is_drawn_once_in_every_pass_without_a_gap(counts, batch, seed, stage):
    total = sum(counts)
    batches = Batches(numbered_cache(counts), [f"s{n + 1}" for n in range(len(counts))], config_of(batch, seed), stage)
    names = drawn(batches, -(-3 * total // batch))
    everything = {(f"s{n}", index) for n, count in enumerate(counts, start=1) for index in range(count)}
    for number in range(3):
        assert set(names[number * total : (number + 1) * total]) == everything


def test_a_batch_holds_the_slices_that_it_names():
    batch = Batches(numbered_cache([3, 4]), ["s1", "s2"], config_of(batch=7), stage=1)[0]
    for n, (subject, index) in enumerate(batch.names):
        value = 100 * int(subject[1:]) + index
        assert batch.a[n].max() == value
        assert batch.b[n].max() == value / 2


def test_only_the_named_subjects_are_drawn():
    batches = Batches(numbered_cache([3, 4, 2]), ["s3", "s1"], config_of(batch=5), stage=1)
    assert Counter(subject for subject, _ in drawn(batches, 1)) == {"s1": 3, "s3": 2}


def test_the_order_differs_between_passes_stages_and_seeds():
    cache = numbered_cache([40])
    orders = [
        tuple(drawn(Batches(cache, ["s1"], config_of(batch=40, seed=seed), stage), passes)[-40:])
        for seed, stage, passes in ((0, 1, 1), (0, 1, 2), (0, 2, 1), (1, 1, 1))
    ]
    assert len(set(orders)) == 4


def test_steps_are_the_same_in_whatever_order_they_are_asked_for():
    cache, config = structured_cache(), config_of(augmentation=ALL_CHANGES)
    forwards = [Batches(cache, ["s1", "s2"], config, 1)[step] for step in range(5)]
    batches = Batches(cache, ["s1", "s2"], config, 1)
    for step in (4, 1, 3, 0, 2):
        assert_equal(batches[step], forwards[step])


def test_an_epoch_is_one_pass_over_all_whole_batches():
    assert Batches(numbered_cache([10, 9]), ["s1", "s2"], config_of(batch=4), 1).epoch_steps == 4


def test_fewer_slices_than_a_batch_fill_it_by_repetition():
    batches = Batches(numbered_cache([3]), ["s1"], config_of(batch=8), 1)
    assert batches.epoch_steps == 1
    assert sorted(Counter(drawn(batches, 1)).values()) == [2, 3, 3]


def test_configured_epoch_steps_count_instead_and_change_no_batch():
    cache = numbered_cache([10])
    short, plain = (Batches(cache, ["s1"], config_of(batch=4, epoch_steps=steps), 1) for steps in (1, None))
    assert short.epoch_steps == 1
    assert drawn(short, 6) == drawn(plain, 6)


@pytest.mark.parametrize("degradation", ["none", "central_lines", "motion", "any_motion"])
def test_the_parts_of_two_processes_make_up_the_batch_of_one(degradation):
    if degradation == "motion":
        pytest.importorskip("torchio")
    data = {"degradation": degradation, "task": "mri_motion"}
    cache, config = structured_cache(), config_of(batch=6, augmentation=ALL_CHANGES, data=data)
    whole = Batches(cache, ["s1", "s2"], config, 2)[3]
    parts = [Batches(cache, ["s1", "s2"], config, 2, rank, world=2)[3] for rank in range(2)]
    assert whole.names == parts[0].names + parts[1].names
    for name in ("a", "b", "body"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_a_batch_that_cannot_be_shared_equally_is_refused():
    with pytest.raises(InputError) as refusal:
        Batches(numbered_cache([4]), ["s1"], config_of(batch=8), 1, rank=0, world=3)
    assert refusal.value.code == "batch_not_divisible"


@pytest.mark.parametrize(
    ("shape", "corner"), [((6, 8), (5, 4)), ((5, 16), (5, 0)), ((16, 15), (0, 0)), ((7, 13), (4, 1))]
)
def test_slices_lie_centred_on_the_canvas_as_the_engine_pads_them(shape, corner):
    batch = Batches(numbered_cache([2], shape), ["s1"], config_of(batch=1), 1)[0]
    assert batch.a.shape == (1, 1, 16, 16)
    expected = np.zeros((16, 16))
    expected[corner[0] : corner[0] + shape[0], corner[1] : corner[1] + shape[1]] = 1
    for part in (batch.a, batch.b, batch.body):
        np.testing.assert_array_equal(part[0, 0] != 0, expected != 0)


def test_subjects_of_different_size_share_a_batch():
    cache = numbered_cache([2], (6, 8))
    cache.add("large", *(np.ones((2, 15, 16)) for _ in range(3)))
    batch = Batches(cache, ["s1", "large"], config_of(batch=4), 1)[0]
    sizes = {name.subject: int(batch.body[n].sum()) for n, name in enumerate(batch.names)}
    assert sizes == {"s1": 48, "large": 240}


def test_batches_are_contiguous_float32_in_network_units():
    cache = structured_cache()
    batch = Batches(cache, ["s1", "s2"], config_of(), 1)[0]
    for part, cached in ((batch.a, "a"), (batch.b, "b"), (batch.body, "body")):
        assert part.dtype == torch.float32
        assert part.is_contiguous()
        for n, (subject, index) in enumerate(batch.names):
            np.testing.assert_array_equal(part[n, 0, 1:30], getattr(cache.slices[subject], cached)[index])


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_processes_prepare_the_same_batches(workers):
    batches = Batches(structured_cache(), ["s1", "s2"], config_of(augmentation=ALL_CHANGES), 1)
    loader = DataLoader(batches, batch_size=None, sampler=range(2, 6), num_workers=workers)
    for step, loaded in enumerate(loader, start=2):
        assert_equal(loaded, batches[step])


def test_batches_can_be_sent_to_a_process():
    batches = Batches(structured_cache(), ["s1", "s2"], config_of(), 1)
    assert_equal(pickle.loads(pickle.dumps(batches))[3], batches[3])


def test_no_other_slice_is_read_from_the_disk():
    class Slices(list):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    read: list[int] = []
    cache = numbered_cache([50])
    cache.slices["s1"] = SimpleNamespace(
        a=Slices(cache.slices["s1"].a), b=cache.slices["s1"].b, body=cache.slices["s1"].body
    )
    batch = Batches(cache, ["s1"], config_of(batch=3), 1)[0]
    assert read == [index for _, index in batch.names]


def assert_equal(one, other):
    assert [tuple(name) for name in one.names] == [tuple(name) for name in other.names]
    for ours, theirs in zip(one[:3], other[:3], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("restores", [True, False])
def test_a_brighter_input_has_a_brighter_target_where_both_are_in_one_unit(restores):
    plain, brighter = (
        Batches(
            structured_cache(), ["s1", "s2"], config_of(augmentation={"intensity": intensity}), 1, restores=restores
        )[0]
        for intensity in (0.0, 0.3)
    )
    factors = (brighter.a / plain.a).nanmean((1, 2, 3))
    assert 0.05 < float((factors - 1).abs().max()) <= 0.3
    expected = factors if restores else torch.ones_like(factors)
    torch.testing.assert_close(brighter.b, plain.b * expected[:, None, None, None])


def test_a_degraded_input_is_made_from_the_target_in_its_own_field_of_view():
    cache = structured_cache()
    config = config_of(data={"degradation": "central_lines", "task": "mri_undersampled"})
    batch = Batches(cache, ["s1", "s2"], config, 1)[0]
    for n, (subject, index) in enumerate(batch.names):
        expected = keep_central_lines(cache.slices[subject].b[index : index + 1].astype(np.float32))[0]
        np.testing.assert_allclose(batch.a[n, 0, 1:30], expected, atol=1e-6)
    assert not batch.a[:, :, :1].any()
    assert not batch.a[:, :, 30:].any()


def test_the_degraded_input_shows_the_augmented_target():
    cache = structured_cache()
    data = {"degradation": "central_lines", "task": "mri_undersampled"}
    batch = Batches(cache, ["s1", "s2"], config_of(data=data, augmentation={**ALL_CHANGES, "intensity": 0}), 1)[0]
    np.testing.assert_allclose(batch.a[:, :, 1:30], keep_central_lines(batch.b[:, :, 1:30].numpy()), atol=1e-6)


def test_the_degraded_input_and_the_target_end_at_the_same_edge():
    cache = structured_cache(shape=(20, 20))
    data = {"degradation": "central_lines", "task": "mri_undersampled"}
    batch = Batches(cache, ["s1", "s2"], config_of(batch=8, data=data, augmentation={"rotation_degrees": 40}), 1)[0]
    outside = torch.ones(32, 32, dtype=torch.bool)
    outside[6:26, 6:26] = False
    for part in (batch.a, batch.b, batch.body):
        assert not part[:, :, outside].any()


def test_what_is_padded_or_moved_away_was_not_imaged():
    cache = numbered_cache([2], (6, 8))
    batch = Batches(cache, ["s1"], config_of(batch=1), 1)[0]
    assert torch.equal(batch.imaged, batch.body)  # which is all of these slices
    config = config_of(batch=2, augmentation={"rotation_degrees": 40})
    turned = Batches(structured_cache(shape=(32, 32)), ["s1", "s2"], config, 1)[0]
    assert set(turned.imaged.unique().tolist()) == {0.0, 1.0}
    assert not turned.b[turned.imaged == 0].mean() > 0.1 * turned.b.mean()


@pytest.mark.parametrize("degradation", ["motion", "any_motion"])
def test_motion_is_another_one_each_time_a_slice_is_drawn(degradation):
    if degradation == "motion":
        pytest.importorskip("torchio")
    config = config_of(batch=1, data={"degradation": degradation, "task": "mri_motion"})
    cache = structured_cache(count=1)
    batches = Batches(cache, ["s1"], config, 1)
    first, second = batches[0], batches[1]
    assert torch.equal(first.b, second.b)
    assert (first.a - second.a).abs().max() > 0.01


# Augmentation


def test_nothing_asked_for_leaves_every_slice_exactly_as_it_was():
    change = draw_change(AugmentationConfig(), np.random.default_rng(0))
    assert change == STILL
    slices = torch.rand(2, 1, 9, 12)
    assert torch.equal(move(slices, [change, change], (1, 2)), slices)
    assert torch.equal(change_intensity(slices, [change, change]), slices)


def test_a_flip_exchanges_left_and_right_exactly_and_of_its_slice_only():
    slices = torch.rand(2, 1, 9, 12)
    moved = move(slices, [STILL, STILL._replace(flip=True)], (1, 1))
    assert torch.equal(moved[0], slices[0])
    np.testing.assert_array_equal(moved[1, 0], np.fliplr(slices[1, 0]))


@given(window=st.builds(Window, st.integers(-4, 5), st.integers(-4, 5), st.integers(20, 30), st.integers(20, 30)))
@settings(max_examples=30, deadline=None)
def test_what_is_moved_about_a_window_and_cut_is_what_is_cut_and_moved(window):
    """But where something comes in from beside the window, or where what is in it had left."""
    rows, columns = np.mgrid[:27, :28]
    middle = (window.top + window.rows / 2, window.left + window.columns / 2)
    slices = np.exp(-((rows - middle[0]) ** 2 + (columns + 1 - middle[1]) ** 2) / 4)[None].astype(np.float32)
    for change in (STILL._replace(flip=True), Change(True, 25.0, 1.15, 1.0), Change(False, -12.0, 0.9, 1.0)):
        moved = move_about(window, torch.from_numpy(slices)[None], change, (1, 1.5))
        assert moved.shape == (1, 1, 27, 28)
        expected = move(torch.from_numpy(window.cut(slices))[None], [change], (1, 1.5))
        np.testing.assert_allclose(window.cut(moved[0].numpy()), expected[0], atol=2e-3)


def test_drawn_changes_stay_within_their_limits_and_reach_them():
    config = AugmentationConfig(flip=0.3, rotation_degrees=10, scale=0.2, intensity=0.1)
    rng = np.random.default_rng(0)
    flips, angles, scales, intensities = np.array([draw_change(config, rng) for _ in range(2000)]).T
    assert flips.mean() == pytest.approx(0.3, abs=0.04)
    for values, centre, limit in ((angles, 0, 10), (scales, 1, 0.2), (intensities, 1, 0.1)):
        assert abs(values - centre).max() <= limit
        assert abs(values - centre).max() == pytest.approx(limit, rel=0.01)
        assert values.mean() == pytest.approx(centre, abs=0.05 * limit)


def test_one_change_does_not_depend_on_which_others_are_asked_for():
    alone, together = (
        draw_change(config, np.random.default_rng(3))
        for config in (AugmentationConfig(scale=0.2), AugmentationConfig(scale=0.2, flip=1, rotation_degrees=5))
    )
    assert alone.scale == together.scale


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0), (2.0, 1.0), (0.7, 1.9)])
def test_turning_and_scaling_are_what_scipy_makes_of_them_in_millimetres(spacing_mm, flip):
    degrees, scale = 17.0, 1.15
    image = ndimage.gaussian_filter(np.random.default_rng(1).random((40, 48)), 2).astype(np.float32)
    moved = move(torch.from_numpy(image)[None, None], [Change(flip, degrees, scale, 1)], spacing_mm)[0, 0].numpy()
    # Where a point comes from, in mm (row, column): turned back, anticlockwise on the screen, and shrunk.
    angle = np.radians(degrees)
    back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    matrix = np.diag(1 / np.array(spacing_mm)) @ back @ np.diag(spacing_mm)
    centre = (np.array(image.shape) - 1) / 2
    before = image[:, ::-1] if flip else image
    expected = ndimage.affine_transform(before, matrix, centre - matrix @ centre, order=1, mode="grid-constant")
    np.testing.assert_allclose(moved[1:-1, 1:-1], expected[1:-1, 1:-1], atol=2e-4)


def test_a_quarter_turn_is_clockwise_on_the_screen():
    image = torch.rand(1, 1, 16, 16)
    moved = move(image, [STILL._replace(rotation_degrees=90.0)], (1, 1))
    np.testing.assert_allclose(moved[0, 0], np.rot90(image[0, 0], -1), atol=1e-5)


@pytest.mark.parametrize("degrees", [0.0, 30.0])
def test_the_area_grows_with_the_square_of_the_scale_and_the_centre_stays(degrees):
    y, x = np.mgrid[:64, :64] - 31.5
    square = torch.from_numpy((np.maximum(abs(x), abs(y)) < 12).astype(np.float32))[None, None]
    moved = move(square, [STILL._replace(rotation_degrees=degrees, scale=1.25)], (1, 1))[0, 0].numpy()
    assert moved.sum() / square.sum() == pytest.approx(1.25**2, rel=0.01)
    # A square's second moment about any axis through its centre is side²/12.
    assert (moved * x**2).sum() / moved.sum() == pytest.approx((24 * 1.25) ** 2 / 12, rel=0.02)
    assert (moved * x).sum() == pytest.approx(0, abs=0.1)


def test_input_target_and_body_stay_aligned_and_the_body_stays_zero_or_one():
    cache = MemoryCache((48, 48), (1.0, 1.5))
    y, x = np.mgrid[:48, :48]
    body = ((x - 30) ** 2 + (y - 20) ** 2 < 100)[None].repeat(6, 0)
    cache.add("s1", body * 2.0, body * 1.0, body)
    batch = Batches(cache, ["s1"], config_of(batch=6, augmentation={**ALL_CHANGES, "intensity": 0}), 1)[0]
    assert set(batch.body.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(batch.a, 2 * batch.b)
    assert ((batch.b > 0.5) != (batch.body > 0.5)).float().mean() < 2e-3
    assert batch.body.sum(dim=(1, 2, 3)).std() > 10
    assert (batch.body[:, 0, 20, 30].sum()) < 6  # some were moved away


def test_the_intensity_of_the_input_changes_and_that_of_the_target_does_not():
    cache = structured_cache()
    plain, changed = (
        Batches(cache, ["s1", "s2"], config_of(augmentation={"intensity": limit}), 1)[0] for limit in (0, 0.3)
    )
    factors = changed.a[:, 0, 5, 5] / plain.a[:, 0, 5, 5]
    torch.testing.assert_close(changed.a, plain.a * factors[:, None, None, None])
    assert factors.std() > 0.01
    assert torch.equal(changed.b, plain.b)
    assert torch.equal(changed.body, plain.body)


# Surroundings


def test_what_surrounds_the_object_is_drawn_and_the_object_is_never_cut():
    """A frame of air of 4 pixels around an object: it lies anywhere within, and some of the air is gone."""
    shape, margin = (20, 18), 4
    cache = MemoryCache((32, 32), margin_mm=float(margin))
    a = np.full((1, *shape), 0.25)
    a[:, margin:-margin, margin:-margin] = 1.0
    cache.add("p1", a, 2 * a, np.ones_like(a))
    batches = Batches(cache, ["p1"], config_of(batch=64, augmentation={"surroundings": 1.0}), stage=1)
    batch = batches[0]
    places, seen = set(), set()
    for a, b, body, imaged in zip(*(part[:, 0].numpy() for part in batch[:4]), strict=True):
        rows, columns = (np.flatnonzero((a == 1).any(axis=axis)) for axis in (1, 0))
        assert (rows.size, columns.size) == (12, 10)
        assert (a[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 1).all()
        places.add((rows[0] - 10, columns[0] - 11))
        seen.add(tuple(int((a > 0).any(axis=axis).sum()) for axis in (1, 0)))
        np.testing.assert_array_equal(b, 2 * a)
        np.testing.assert_array_equal(body, a > 0)
        assert (imaged == 1).all()
    for place in zip(*places, strict=True):
        assert (min(place), max(place)) == (-margin, margin)
    assert min(seen)[0] < 16 < max(seen)[0] <= 20


@pytest.mark.parametrize("augmentation", [{}, {"rotation_degrees": 20.0, "scale": 0.2, "surroundings": 1.0}])
def test_around_a_margin_the_network_is_told_that_there_is_air_but_not_beyond_the_field_of_view(augmentation):
    """The upper 5 rows of the frame lie beyond the field of view: nobody knows what is there, wherever they get to."""
    cache = MemoryCache((32, 32), margin_mm=4.0)
    a = np.ones((1, 20, 18))
    a[:, :5] = 0
    cache.add("p1", a, 2 * a, a > 0)
    cache.subjects["p1"] = replace(cache.subjects["p1"], imaged=(slice(5, 20), slice(0, 18)))
    batches = Batches(cache, ["p1"], config_of(batch=16, augmentation=augmentation), stage=1)
    imaged, body = (part[:, 0].numpy() for part in (batches[0].imaged, batches[0].body))
    assert not (imaged == 0)[body == 1].any()
    unknown = (imaged == 0).sum(axis=(1, 2))
    if augmentation:
        assert (unknown > 0).all()
        assert (unknown < 5 * 18 * 1.5).all()
    else:
        assert (unknown == 5 * 18).all()
        assert (imaged[:, 6:11, 7:25] == 0).all()


@pytest.mark.parametrize(("share", "margin_mm"), [(0.0, 8.0), (1.0, None), (1.0, 0.5)])
def test_without_a_margin_or_a_share_of_it_slices_stay_where_they_are(share, margin_mm):
    still, moved = (structured_cache(canvas=(48, 48)) for _ in range(2))
    moved.margin_mm = margin_mm
    asked, nothing = ({"surroundings": share, "flip": 0.5}, {"flip": 0.5})
    found, expected = (
        Batches(cache, ["s1"], config_of(augmentation=changes), stage=1)[3]
        for cache, changes in ((moved, asked), (still, nothing))
    )
    assert_equal(found, expected)


@given(st.tuples(st.integers(0, 5), st.integers(0, 5)), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_slices_are_cut_and_moved_as_numpy_pads_and_rolls(margin, seed):
    rng = np.random.default_rng(seed)
    drawn = [draw_surroundings(margin, rng) for _ in range(3)]
    slices = rng.uniform(1, 2, (3, 2, 14, 16))
    frames = [(slice(1, 14), slice(0, 13))] * 3
    found = surround(torch.from_numpy(slices), frames, drawn).numpy()
    for ours, before, (down, right, (above, below, left, after)) in zip(found, slices, drawn, strict=True):
        kept = np.zeros_like(before)
        inside = (slice(None), slice(1 + above, 14 - below), slice(left, 13 - after))
        kept[inside] = before[inside]
        wide = np.roll(np.pad(kept, [(0, 0), (9, 9), (9, 9)]), (down, right), axis=(1, 2))
        np.testing.assert_array_equal(ours, wide[:, 9:-9, 9:-9])
