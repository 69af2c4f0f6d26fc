"""Volumes of the scene become pairs of files: where they lie in the world, without stopping the viewer."""

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from Panels.heartbeat import shortest_block_s

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install '.[slicer]'")
MODULE = Path(__file__).parents[3] / "UncertaintyGuidedI2I"

OBLIQUE = np.array([[0.8, -1.2, 0.0, -30.0], [0.6, 1.6, 0.0, -20.0], [0.0, 0.0, 3.0, -10.0], [0, 0, 0, 1]])
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture
def export(host, tmp_path):
    """Export pairs and return the table, or raise what went wrong."""
    host.expose_library(MODULE, "UncertaintyGuidedI2I")
    from UncertaintyGuidedI2ILib.train.export import exportPairs
    from UncertaintyGuidedI2ILib.work.cooperative import Cooperative

    def run(pairs, folder=tmp_path / "pairs"):
        tables, errors = [], []
        job = Cooperative(exportPairs(pairs, folder), tables.append, errors.append)
        host.wait_until(lambda: tables or errors, 30)
        assert job
        if errors:
            raise errors[0]
        return tables[0]

    return run


def rows(table):
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def affine_of(image):
    """IJK to RAS as SimpleITK tells it."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return LPS_FROM_RAS @ affine


def test_each_volume_is_written_where_it_lies_in_the_world(export, host, add_volume):
    move = np.array([[0.0, -1, 0, 5], [1, 0, 0, -7], [0, 0, 1, 11], [0, 0, 0, 1]])
    transform = host.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(move))
    voxels = np.arange(120, dtype=np.int16).reshape(4, 5, 6) - 60
    pet, ct = add_volume("PET", ijk_to_ras=OBLIQUE), add_volume("CT", voxels, OBLIQUE)
    ct.SetAndObserveTransformNodeID(transform.GetID())
    table = export([("patient, 1", pet, ct)])
    (row,) = rows(table)
    assert row["subject"] == "patient, 1"
    image = SimpleITK.ReadImage(str(table.parent / row["target"]))
    assert (SimpleITK.GetArrayFromImage(image) == voxels).all()
    assert image.GetPixelID() == SimpleITK.sitkInt16
    assert np.allclose(affine_of(image), move @ OBLIQUE)
    assert np.allclose(affine_of(SimpleITK.ReadImage(str(table.parent / row["input"]))), OBLIQUE)
    assert table.parent.stat().st_mode & 0o077 == 0


def test_the_engine_finds_the_pairs_also_after_the_folder_was_moved(export, add_volume, tmp_path):
    from upgan.pairs.config import DataConfig
    from upgan.pairs.finding import find_pairs

    table = export([("Müller", add_volume("PET"), add_volume("CT")), ("B", add_volume("PET 2"), add_volume("CT 2"))])
    table.parent.rename(tmp_path / "run")
    pairs = find_pairs(DataConfig(path=tmp_path / "run" / table.name, layout="csv"))
    assert [pair.subject for pair in pairs] == ["B", "Müller"]
    assert all(pair.input.is_file() and pair.target.is_file() for pair in pairs)


def test_where_a_degradation_makes_the_inputs_the_targets_alone_are_written(export, add_volume):
    (row,) = rows(export([("A", None, add_volume("T1"))]))
    assert row["input"] == ""
    assert row["target"]


def test_a_warped_volume_and_one_that_holds_nothing_are_refused(export, host, add_volume):
    from upgan.errors import InputError

    warp = host.scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    warped = add_volume("PET")
    warped.SetAndObserveTransformNodeID(warp.GetID())
    empty = host.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    for pairs, code in (
        ([("A", warped, add_volume("CT"))], "nonlinear_transform"),
        ([("A", add_volume("PET"), empty)], "empty_volume"),
        ([], "no_pairs"),
    ):
        with pytest.raises(InputError) as refusal:
            export(pairs)
        assert refusal.value.code == code


def test_a_volume_that_is_changed_meanwhile_is_refused(host, add_volume, tmp_path):
    host.expose_library(MODULE, "UncertaintyGuidedI2I")
    from UncertaintyGuidedI2ILib.train.export import exportPairs
    from upgan.errors import InputError

    ct = add_volume("CT")
    steps = exportPairs([("A", None, ct)], tmp_path)
    next(steps)
    slicer.util.arrayFromVolume(ct)[:] = 7
    slicer.util.arrayFromVolumeModified(ct)
    with pytest.raises(InputError) as refusal:
        list(steps)
    assert refusal.value.code == "input_changed"


def test_a_folder_that_cannot_be_written_is_told(export, add_volume, tmp_path):
    from upgan.errors import OutputError

    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as refusal:
        export([("A", None, add_volume("CT"))], tmp_path / "file" / "pairs")
    assert refusal.value.code == "not_writable"


def test_a_large_volume_does_not_stop_the_viewer(export, add_volume):
    noise = np.random.default_rng(0).normal(size=(75, 512, 512)) * 300
    ct = add_volume("CT", np.concatenate([noise, noise]).astype(np.int16))
    assert shortest_block_s(lambda: export([("A", None, ct)])) < 0.1
