"""Voxels handed over as files: the same ones, and a full disk said as such."""

import os
from pathlib import Path

import numpy as np
import pytest

from upgan.errors import OutputError
from upgan.images.npy import save_voxels


@pytest.mark.parametrize("layout", ["C", "F", "flipped"])
def test_numpy_reads_what_was_written_whatever_the_memory_layout(tmp_path, rng, layout):
    voxels = rng.normal(size=(3, 4, 5)).astype(np.float32)
    voxels = {"C": voxels, "F": np.asfortranarray(voxels), "flipped": voxels[::-1, :, ::-1]}[layout]
    save_voxels(tmp_path / "sigma.npy", voxels)
    np.testing.assert_array_equal(np.load(tmp_path / "sigma.npy", allow_pickle=False), voxels)


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_voxels_on_their_way_are_their_users_alone(tmp_path):
    before = os.umask(0)
    try:
        save_voxels(tmp_path / "sigma.npy", np.zeros((2, 2, 2), dtype=np.float32))
    finally:
        os.umask(before)
    assert (tmp_path / "sigma.npy").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, which Linux has")
def test_a_full_disk_is_called_full(rng):
    with pytest.raises(OutputError) as refusal:
        save_voxels(Path("/dev/full"), rng.normal(size=(30, 40, 50)).astype(np.float32))
    assert refusal.value.code == "disk_full"


def test_a_folder_that_is_gone_is_told(tmp_path, rng):
    with pytest.raises(OutputError) as refusal:
        save_voxels(tmp_path / "gone" / "sigma.npy", np.zeros((2, 2, 2), dtype=np.float32))
    assert refusal.value.code == "not_writable"
