"""What frozen phases hand on of each slice, kept on disk and brought into the batches."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from Engine.memory_cache import MemoryCache
from upgan.errors import OutputError
from upgan.training.settings.config import TrainingConfig
from upgan.training.slices import handed_on
from upgan.training.slices.batches import Batches
from upgan.training.slices.handed_on import HandedOn

CHANNELS = 2


def compute(a: np.ndarray) -> np.ndarray:
    """Two maps that left and right are not alike in: the distance from the left, and the input beside each pixel."""
    return np.stack([a + np.arange(a.shape[2]), np.pad(a, ((0, 0), (0, 0), (1, 0)))[..., :-1]], axis=1)


@pytest.fixture
def cache(rng) -> MemoryCache:
    """More slices than are computed at a time, of two sizes, neither of which is the canvas."""
    cache = MemoryCache((32, 32))
    for subject, shape in (("s1", (20, 9, 13)), ("s2", (3, 24, 30))):
        a = rng.random(shape)
        cache.add(subject, a, a, np.ones_like(a))
    return cache


def test_a_mirrored_slice_is_given_what_is_handed_on_of_the_mirrored_patient_where_the_slice_lies(cache, tmp_path):
    content = {"name": "x", "data": {"path": "x"}, "augmentation": {"flip": 0.5}, "schedule": {"batch": 23}}
    batches = Batches(cache, ["s1", "s2"], TrainingConfig.model_validate(content), stage=1)
    batches.handed_on = HandedOn(cache, tmp_path / "kept", CHANNELS, are_mirrored=True)
    batches.handed_on.keep(["s1", "s2"], compute, "a checksum")
    batch = pickle.loads(pickle.dumps(batches))[0]  # as another process prepares it
    mirrored = 0
    for n, (subject, number) in enumerate(batch.names):
        frame = batch.imaged[n, 0] > 0
        seen = batch.a[n, 0][frame].reshape(cache.subjects[subject].shape)
        mirrored += int(not torch.equal(seen, torch.from_numpy(cache.slices[subject].a[number].astype(np.float32))))
        expected = compute(seen[None].numpy())[0]
        found = batch.handed_on[n][:, frame].reshape(expected.shape)
        # Half precision has eleven bits.
        np.testing.assert_allclose(found, expected, rtol=2**-11)
        assert not batch.handed_on[n][:, ~frame].any()
    assert 5 < mirrored < 18


def test_what_would_take_more_than_half_of_the_room_on_the_disk_is_not_begun(cache, tmp_path, monkeypatch):
    kept = HandedOn(cache, tmp_path / "kept", CHANNELS, are_mirrored=False)
    needed = 2 * CHANNELS * (20 * 9 * 13 + 3 * 24 * 30)
    for free in (2 * needed, 2 * needed - 1):
        monkeypatch.setattr(handed_on.shutil, "disk_usage", lambda folder, free=free: SimpleNamespace(free=free))
        if free == 2 * needed:
            kept.keep(["s1", "s2"], compute, "a checksum")
            # What is there takes no room any more.
            kept.keep(["s1", "s2"], pytest.fail, "a checksum")
            kept.remove()
            continue
        with pytest.raises(OutputError) as refusal:
            kept.keep(["s1", "s2"], pytest.fail, "a checksum")
        assert refusal.value.code == "too_large_to_keep"


def test_what_half_precision_cannot_hold_is_cut(cache, tmp_path):
    kept = HandedOn(cache, tmp_path / "kept", 1, are_mirrored=False)
    kept.keep(["s2"], lambda a: 1e6 * (a[:, None] - 0.5), "a checksum")
    assert kept.read("s2", 1, mirrored=False).abs().max() == 65504
