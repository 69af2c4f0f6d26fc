"""Voxels on their way to the worker and back: the same ones, slab by slab."""

import os

import numpy as np
import pytest

from Scene.conftest import SLICER_IS_ABSENT

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)
vtk = pytest.importorskip("vtk", reason=SLICER_IS_ABSENT)


def finish(steps):
    """Run a generator to its end; return its result and how many steps it took."""
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, count
        count += 1


@pytest.mark.parametrize(
    "scalars", [vtk.VTK_SHORT, vtk.VTK_UNSIGNED_CHAR, vtk.VTK_FLOAT, vtk.VTK_DOUBLE, vtk.VTK_UNSIGNED_INT]
)
def test_the_worker_gets_the_voxels_as_they_are_stored(add_volume, tmp_path, scalars):
    from UncertaintyGuidedI2ILib.scene.voxels import writeVoxels

    pet = add_volume(scalars=scalars)
    finish(writeVoxels(pet, tmp_path / "input.npy"))
    written = np.load(tmp_path / "input.npy", allow_pickle=False)
    np.testing.assert_array_equal(written, np.arange(120).reshape(4, 5, 6))
    assert written.dtype == slicer.util.arrayFromVolume(pet).dtype


def test_a_large_volume_is_written_in_many_steps(add_volume, tmp_path, monkeypatch):
    from UncertaintyGuidedI2ILib.scene import voxels as transfer

    monkeypatch.setattr(transfer, "SLAB_VOXELS", 60)
    pet = add_volume()
    _, steps = finish(transfer.writeVoxels(pet, tmp_path / "input.npy"))
    assert steps == 2
    np.testing.assert_array_equal(np.load(tmp_path / "input.npy"), slicer.util.arrayFromVolume(pet))


def test_what_comes_back_has_the_extent_of_the_input_even_where_it_does_not_begin_at_zero(tmp_path):
    from UncertaintyGuidedI2ILib.scene.voxels import readImage

    like = vtk.vtkImageData()
    like.SetExtent(3, 8, -1, 3, 10, 13)
    voxels = np.random.default_rng(1).normal(size=(4, 5, 6)).astype(np.float32)
    np.save(tmp_path / "sigma.npy", voxels)
    image, _ = finish(readImage(tmp_path / "sigma.npy", like))
    assert image.GetExtent() == like.GetExtent()
    for i, j, k in ((0, 0, 0), (5, 4, 3), (2, 1, 3)):
        assert image.GetScalarComponentAsFloat(3 + i, -1 + j, 10 + k, 0) == voxels[k, j, i]


def test_results_that_did_not_come_back_are_told(add_volume, tmp_path):
    from UncertaintyGuidedI2ILib.scene.voxels import readImage
    from upgan.errors import InputError

    (tmp_path / "sigma.npy").write_bytes(b"\x93NUMPY half a file")
    for name in ("sigma.npy", "never written.npy"):
        with pytest.raises(InputError) as refusal:
            finish(readImage(tmp_path / name, vtk.vtkImageData()))
        assert refusal.value.code == "transfer_failed"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, which Linux has")
def test_a_full_disk_is_told_with_a_remedy(add_volume):
    from pathlib import Path

    from UncertaintyGuidedI2ILib.scene.voxels import writeVoxels
    from upgan.errors import OutputError

    with pytest.raises(OutputError) as refusal:
        finish(writeVoxels(add_volume(), Path("/dev/full")))
    assert "space" in refusal.value.sentence + refusal.value.remedy


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


FOREIGN = {
    "nothing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "no array": lambda path: path.write_bytes(b"This is a letter." * 100),
    "a part": cut,
    "an endless header": lambda path: path.write_bytes(b"\x93NUMPY\x02\x00" + b"\xff" * 200),
    "another size": lambda path: np.save(path, np.zeros((5, 4, 6), np.float32)),
    "too flat": lambda path: np.save(path, np.zeros((20, 6), np.float32)),
    "a claim": lambda path: claim(path, "(4, 5, 60000000000)"),
    "negative": lambda path: claim(path, "(4, -5, -6)"),
    "objects": lambda path: np.save(path, np.full((4, 5, 6), None), allow_pickle=True),
    "text": lambda path: np.save(path, np.full((4, 5, 6), "text")),
    "an archive": lambda path: np.savez(path.open("wb"), np.zeros((4, 5, 6))),
}


def claim(path, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(480))


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_that_is_no_image_of_the_input_does_not_come_back(tmp_path, kind):
    from UncertaintyGuidedI2ILib.scene.voxels import readImage
    from upgan.errors import InputError

    like = vtk.vtkImageData()
    like.SetDimensions(6, 5, 4)
    np.save(tmp_path / "sigma.npy", np.zeros((4, 5, 6), np.float32))
    FOREIGN[kind](tmp_path / "sigma.npy")
    with pytest.raises(InputError) as refusal:
        finish(readImage(tmp_path / "sigma.npy", like))
    assert refusal.value.code == "transfer_failed"


def test_a_file_elsewhere_than_in_the_jobs_folder_is_not_taken(tmp_path):
    """It would be shown as a result, and removed."""
    from UncertaintyGuidedI2ILib.scene.voxels import fileIn
    from upgan.errors import InputError

    assert fileIn(tmp_path, str(tmp_path / "sigma.npy")) == tmp_path / "sigma.npy"
    for said in (
        "/etc/passwd",
        str(tmp_path.parent / "x"),
        str(tmp_path / ".." / "x"),
        str(tmp_path / ".."),
        "x",
        7,
        None,
    ):
        with pytest.raises(InputError) as refusal:
            fileIn(tmp_path, said)
        assert refusal.value.code == "transfer_failed"
