"""The preview of a training: the run's arrays as volumes, refreshed in place, whatever happens to them meanwhile."""

import json

import numpy as np
import pytest

from Scene.conftest import SLICER_IS_ABSENT

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)

from UncertaintyGuidedI2ILib.scene import voxels as transfer  # noqa: E402 - it imports slicer, which may be absent
from UncertaintyGuidedI2ILib.train.preview import TrainingPreview  # noqa: E402
from upgan.errors import InputError  # noqa: E402

IJK_TO_RAS: list[list[float]] = [[-2.0, 0, 0, 30], [0, 2.5, 0, -20], [0, 0, 4.0, 10], [0, 0, 0, 1]]
DISPLAY = {"window": 2000, "level": 300, "sigma_threshold": 100, "sigma_max": 500, "alpha_max": 500}
NAMES = {"input": "input", "target": "truth", "image": "prediction", "sigma": "sigma"}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "heads"
    write(folder, epoch=1)
    return folder


def write(run, epoch, subject="07", shape=(3, 4, 5)):
    """Write a preview as the training does; every array says which epoch it is of."""
    folder = run / "preview"
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(NAMES):
        voxels = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 1000 * index + 100 * epoch
        np.save(folder / f"{name}.npy", voxels)
    about = {"subject": subject, "ijk_to_ras": IJK_TO_RAS, "stage": 1, "epoch": epoch, "phase": 1, "unit": "HU"}
    (folder / "preview.json").write_text(json.dumps({**about, "display": DISPLAY}))


@pytest.fixture
def preview(mrml_scene):
    return TrainingPreview(mrml_scene)


def volumes(scene):
    found = {}
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        node = scene.GetNthNodeByClass(i, "vtkMRMLScalarVolumeNode")
        found[node.GetName()] = node
    return found


def load(preview, run):
    for _ in preview.load(run):
        pass


def test_the_four_images_lie_where_the_run_says_with_its_numbers(preview, run, mrml_scene):
    load(preview, run)
    nodes = volumes(mrml_scene)
    assert set(nodes) == {f"heads preview {name}" for name in NAMES.values()}
    for name, shown in NAMES.items():
        node = nodes[f"heads preview {shown}"]
        np.testing.assert_array_equal(
            slicer.util.arrayFromVolume(node), np.load(run / "preview" / f"{name}.npy"), strict=True
        )
        matrix = slicer.vtkMRMLScalarVolumeNode.GetIJKToRASMatrix
        found = slicer.util.vtkMatrixFromArray(np.eye(4))
        matrix(node, found)
        np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(found), IJK_TO_RAS)
    assert preview.about["subject"] == "07"


def test_grey_values_and_sigma_are_shown_as_the_task_wants_them(preview, run, mrml_scene):
    load(preview, run)
    displays = {name: node.GetDisplayNode() for name, node in volumes(mrml_scene).items()}
    for name in ("heads preview prediction", "heads preview truth"):
        assert (displays[name].GetWindow(), displays[name].GetLevel()) == (2000, 300)
    sigma = displays["heads preview sigma"]
    assert sigma.GetApplyThreshold()
    assert sigma.GetLowerThreshold() == 100
    assert sigma.GetUpperThreshold() > 1e6
    # Network units.
    assert displays["heads preview input"].GetWindow() == 1


def test_a_newer_epoch_is_filled_into_the_same_volumes(preview, run, mrml_scene):
    load(preview, run)
    before = volumes(mrml_scene)
    images = {name: node.GetImageData() for name, node in before.items()}
    assert not preview.isOutdated(run)
    write(run, epoch=2)
    assert preview.isOutdated(run)
    load(preview, run)
    after = volumes(mrml_scene)
    assert after == before
    assert {name: node.GetImageData() for name, node in after.items()} == images
    prediction = slicer.util.arrayFromVolume(after["heads preview prediction"])
    np.testing.assert_array_equal(prediction, np.load(run / "preview" / "image.npy"))
    assert preview.about["epoch"] == 2
    assert not preview.isOutdated(run)


def test_views_are_told_that_voxels_have_changed(preview, run, mrml_scene):
    load(preview, run)
    told = []
    for name, node in volumes(mrml_scene).items():
        node.AddObserver("ModifiedEvent", lambda *a, name=name: told.append(name))
    before = {name: scalars_of(node).GetMTime() for name, node in volumes(mrml_scene).items()}
    write(run, epoch=2)
    load(preview, run)
    # Input and truth are those of the same patient.
    expected = {"heads preview prediction", "heads preview sigma"}
    assert set(told) == expected
    after = {name: scalars_of(node).GetMTime() for name, node in volumes(mrml_scene).items()}
    assert {name for name in after if after[name] > before[name]} == expected


def scalars_of(node):
    return node.GetImageData().GetPointData().GetScalars()


def test_another_patient_of_another_size_takes_the_place_of_the_first(preview, run, mrml_scene):
    load(preview, run)
    write(run, epoch=2, subject="08", shape=(2, 6, 7))
    load(preview, run)
    for name, shown in NAMES.items():
        node = volumes(mrml_scene)[f"heads preview {shown}"]
        np.testing.assert_array_equal(
            slicer.util.arrayFromVolume(node), np.load(run / "preview" / f"{name}.npy"), strict=True
        )


def test_another_run_takes_the_place_of_the_first(preview, run, mrml_scene, tmp_path):
    load(preview, run)
    write(tmp_path / "others", epoch=1)
    load(preview, tmp_path / "others")
    assert set(volumes(mrml_scene)) == {f"others preview {name}" for name in NAMES.values()}


@pytest.mark.parametrize("victim", ["prediction", "sigma", "input"])
def test_a_volume_that_the_user_deleted_comes_back_only_when_it_is_asked_for(preview, run, mrml_scene, victim):
    load(preview, run)
    mrml_scene.RemoveNode(volumes(mrml_scene)[f"heads preview {victim}"])
    write(run, epoch=2)
    assert not preview.isShown
    assert not preview.isOutdated(run)
    load(preview, run)
    assert len(volumes(mrml_scene)) == 4
    assert preview.isShown


@pytest.mark.parametrize("steps", range(1, 9))
def test_volumes_may_vanish_at_any_moment_of_a_refresh(preview, run, mrml_scene, steps):
    load(preview, run)
    write(run, epoch=2)
    loading = preview.load(run)
    for _ in zip(range(steps), loading, strict=False):
        pass
    for node in volumes(mrml_scene).values():
        mrml_scene.RemoveNode(node)
    for _ in loading:
        pass
    load(preview, run)
    assert len(volumes(mrml_scene)) == 4


def test_the_legend_goes_with_the_volumes(preview, run, mrml_scene):
    load(preview, run)
    preview.show("image")
    assert mrml_scene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode") == 1
    preview.clear()
    assert mrml_scene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode") == 0


def test_a_closed_scene_is_no_error(preview, run, mrml_scene):
    load(preview, run)
    mrml_scene.Clear(0)
    assert not preview.isShown
    assert preview.about == {}
    preview.show("image")
    preview.clear()
    load(preview, run)
    assert preview.isShown


def test_a_preview_that_is_not_there_or_broken_is_refused_in_words(preview, run, mrml_scene, tmp_path):
    assert not preview.isAvailable(tmp_path / "none")
    with pytest.raises(InputError) as refused:
        load(preview, tmp_path / "none")
    assert refused.value.code == "no_preview"
    (run / "preview" / "sigma.npy").write_bytes(b"half of it")
    with pytest.raises(InputError) as refused:
        load(preview, run)
    assert refused.value.code == "preview_unreadable"


def test_no_step_reads_more_than_a_slab(preview, run, monkeypatch):
    monkeypatch.setattr(transfer, "SLAB_VOXELS", 20)
    # Four images: reading each, and its three planes.
    assert len(list(preview.load(run))) == 4 * (1 + 3)


def test_the_preview_is_not_saved_with_the_scene(preview, run, mrml_scene, tmp_path):
    load(preview, run)
    mrml_scene.SetURL(str(tmp_path / "scene.mrml"))
    assert mrml_scene.Commit()
    text = (tmp_path / "scene.mrml").read_text()
    assert "heads preview" not in text
    assert "ScalarVolumeDisplay" not in text


def test_it_is_shown_in_the_views_only_when_it_is_asked_for(preview, run, mrml_scene):
    composite = mrml_scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    load(preview, run)
    assert composite.GetBackgroundVolumeID() is None
    nodes = volumes(mrml_scene)
    preview.show("image")
    assert composite.GetBackgroundVolumeID() == nodes["heads preview prediction"].GetID()
    assert composite.GetForegroundVolumeID() == nodes["heads preview sigma"].GetID()
    preview.show("target")
    assert composite.GetBackgroundVolumeID() == nodes["heads preview truth"].GetID()
    assert composite.GetForegroundVolumeID() is None
