"""What enters the engine from the scene, and where its outputs appear."""

import json

import numpy as np
import pytest

from Scene.conftest import SHEARED, SLICER_IS_ABSENT

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)
vtk = pytest.importorskip("vtk", reason=SLICER_IS_ABSENT)

ANGLE = np.deg2rad(25)
OBLIQUE = np.array(
    [
        [1.7 * np.cos(ANGLE), -1.1 * np.sin(ANGLE), 0, 12.5],
        [1.7 * np.sin(ANGLE), 1.1 * np.cos(ANGLE), 0, -7.25],
        [0, 0, 3.3, 101.0],
        [0, 0, 0, 1],
    ]
)
GRIDS = {
    "axis-parallel": np.diag([2.0, 2.0, 3.0, 1.0]),
    "left-handed": np.array([[-1.0, 0, 0, 90], [0, -1, 0, 126], [0, 0, -2, 72], [0, 0, 0, 1]]),
    "permuted": np.array([[0, 0, 1.2, -90], [-1, 0, 0, 126], [0, -1, 0, 72], [0, 0, 0, 1.0]]),
    "oblique": OBLIQUE,
    "sheared": SHEARED,
}


def ijk_to_ras(node):
    result = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(result)
    return slicer.util.arrayFromVTKMatrix(result)


def add_transform(scene, array):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registration")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(array))
    return transform


@pytest.mark.parametrize("grid", GRIDS)
def test_outputs_lie_exactly_on_the_input_grid(grid, add_volume, logic):
    pet = add_volume(ijk_to_ras=GRIDS[grid])
    for node in logic.translate(pet).values():
        assert node.GetImageData().GetDimensions() == (6, 5, 4)
        np.testing.assert_array_equal(ijk_to_ras(node), ijk_to_ras(pet))


def test_the_engine_sees_the_voxels_and_the_sheared_matrix_of_the_node(add_volume):
    from UncertaintyGuidedI2ILib.scene.nodes import volumeFromNode

    pet = add_volume()
    volume = volumeFromNode(pet)
    np.testing.assert_array_equal(volume.voxels, np.arange(120).reshape(4, 5, 6))
    assert volume.voxels.dtype == np.float32
    np.testing.assert_allclose(volume.ijk_to_ras, SHEARED, atol=1e-12)


def test_the_engine_gets_a_copy_and_cannot_change_the_input(add_volume):
    from UncertaintyGuidedI2ILib.scene.nodes import volumeFromNode

    pet = add_volume(scalars=vtk.VTK_FLOAT)
    volumeFromNode(pet).voxels[:] = -1
    assert slicer.util.arrayFromVolume(pet).min() == 0


def test_outputs_carry_the_voxels_that_the_engine_returned(add_volume, logic):
    nodes = logic.translate(add_volume())
    values = np.arange(120).reshape(4, 5, 6)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(nodes["pseudo_ct"]), values)
    np.testing.assert_allclose(slicer.util.arrayFromVolume(nodes["sigma"]), values, rtol=1e-6)
    assert (slicer.util.arrayFromVolume(nodes["beta"]) == 2).all()
    assert nodes["sigma"].GetImageData().GetScalarType() == vtk.VTK_FLOAT


def test_outputs_follow_the_parent_transform_of_the_input(add_volume, logic, mrml_scene):
    pet = add_volume()
    pet.SetAndObserveTransformNodeID(add_transform(mrml_scene, OBLIQUE).GetID())
    ct = logic.translate(pet)["pseudo_ct"]
    bounds = np.zeros((2, 6))
    pet.GetRASBounds(bounds[0])
    ct.GetRASBounds(bounds[1])
    np.testing.assert_array_equal(bounds[1], bounds[0])
    assert ct.GetTransformNodeID() == pet.GetTransformNodeID()


def test_outputs_keep_an_extent_that_does_not_start_at_zero(add_volume, logic):
    pet = add_volume()
    pet.GetImageData().SetExtent(2, 7, 1, 5, 3, 6)
    assert logic.translate(pet)["beta"].GetImageData().GetExtent() == (2, 7, 1, 5, 3, 6)


def test_names_are_readable_and_a_second_run_does_not_reuse_them(add_volume, logic):
    pet = add_volume("PET 1")
    names = [node.GetName() for node in logic.translate(pet).values()]
    assert names == ["PET 1 pseudo-CT", "PET 1 alpha (HU)", "PET 1 beta", "PET 1 sigma (HU)"]
    assert all(node.GetName() not in names for node in logic.translate(pet).values())


def test_image_alpha_and_sigma_are_in_hounsfield_units_and_beta_has_none(add_volume, logic):
    nodes = logic.translate(add_volume())
    units = {name: node.GetVoxelValueUnits().GetCodeValue() for name, node in nodes.items()}
    assert units == {"pseudo_ct": "[hnsf'U]", "alpha": "[hnsf'U]", "beta": "1", "sigma": "[hnsf'U]"}
    assert nodes["sigma"].GetAttribute("UncertaintyGuidedI2I.Unit") == "HU"
    assert nodes["pseudo_ct"].GetVoxelValueQuantity().GetCodeMeaning() == "Attenuation Coefficient"
    assert nodes["sigma"].GetVoxelValueQuantity() is None


def test_every_output_carries_its_provenance(add_volume, logic):
    pet = add_volume()
    for name, node in logic.translate(pet, model="my-model").items():
        assert node.GetAttribute("UncertaintyGuidedI2I.Bundle") == "my-model"
        assert node.GetAttribute("UncertaintyGuidedI2I.BundleSha256") == "c0ffee"
        assert node.GetAttribute("UncertaintyGuidedI2I.Source") == "PET"
        assert node.GetAttribute("UncertaintyGuidedI2I.Phase") == "3"
        assert node.GetAttribute("UncertaintyGuidedI2I.Quantity") == name.replace("pseudo_ct", "image")
        assert json.loads(node.GetAttribute("UncertaintyGuidedI2I.Warnings")) == ["beware: of ; and : and 100 %"]
        assert node.GetNodeReference("UncertaintyGuidedI2I.Input") is pet


def test_the_provenance_of_a_node_is_what_was_given_to_it(add_volume):
    from UncertaintyGuidedI2ILib.scene.nodes import OutputName, addOutput, provenanceOf
    from UncertaintyGuidedI2ILib.scene.voxels import emptyLike

    pet = add_volume()
    provenance = {
        "engine": "upgan",
        "run": "12345678901234567890123456789012",
        "engine_version": "1.0",
        "bundle": "true",
        "bundle_version": "2",
        "bundle_sha256": "12e5",
        "task": "pet-to-ct",
        "phases": 3,
        "plane": "axial",
        "precision": "float32",
        "device": "cpu",
        "input_reference": 1.5,
        "replaced_nonfinite": None,
        "created": "2026-01-01T00:00:00+00:00",
        "seconds": 0.125,
        "warnings": ["The head is cut off: 100 % \u2013 really."],
    }
    output = OutputName("sigma", "sigma", 3, "HU")
    for source in ("12", ""):
        provenance["source"] = source
        assert (
            provenanceOf(addOutput(pet, output, emptyLike(pet.GetImageData()), "pseudo-CT", provenance)) == provenance
        )


def test_outputs_appear_under_the_study_of_the_input(add_volume, logic, mrml_scene):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(mrml_scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Phantom")
    study = hierarchy.CreateStudyItem(patient, "PET study")
    pet = add_volume()
    hierarchy.CreateItem(study, pet)
    for node in logic.translate(pet).values():
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_modality_and_series_come_from_the_subject_hierarchy(add_volume, mrml_scene):
    from UncertaintyGuidedI2ILib.scene.nodes import sourceName, volumeFromNode

    pet = add_volume()
    assert volumeFromNode(pet).modality is None
    assert sourceName(pet) == "PET"
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(mrml_scene)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), pet)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "PT")
    hierarchy.SetItemUID(item, "DICOM", "1.2.3")
    assert volumeFromNode(pet).modality == "PT"
    assert sourceName(pet) == "1.2.3"


def test_modality_comes_from_the_node_where_the_subject_hierarchy_has_none(add_volume):
    from UncertaintyGuidedI2ILib.scene.nodes import volumeFromNode

    pet = add_volume()
    pet.SetAttribute("DICOM.Modality", "MR")
    assert volumeFromNode(pet).modality == "MR"


@pytest.mark.parametrize(
    "class_name", ["vtkMRMLLabelMapVolumeNode", "vtkMRMLVectorVolumeNode", "vtkMRMLModelNode", "vtkMRMLSequenceNode"]
)
def test_what_is_no_grey_value_volume_is_refused(class_name, mrml_scene, logic):
    from upgan.errors import InputError

    with pytest.raises(InputError) as refusal:
        logic.translate(mrml_scene.AddNewNodeByClass(class_name, "wrong"))
    assert refusal.value.code == "not_a_scalar_volume"


def test_an_image_with_several_values_in_each_voxel_is_refused(add_volume, logic):
    from upgan.errors import InputError

    node = add_volume()
    image = vtk.vtkImageData()
    image.SetDimensions(6, 5, 4)
    image.AllocateScalars(vtk.VTK_FLOAT, 7)
    node.SetAndObserveImageData(image)
    with pytest.raises(InputError, match="several values"):
        logic.translate(node)


def test_no_input_and_an_empty_volume_are_refused(mrml_scene, logic):
    from upgan.errors import InputError

    with pytest.raises(InputError, match="No input volume"):
        logic.translate(None)
    with pytest.raises(InputError, match="no voxels"):
        logic.translate(mrml_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))


def test_a_volume_outside_any_scene_is_refused(logic):
    from upgan.errors import InputError

    with pytest.raises(InputError, match="not in a scene"):
        logic.translate(slicer.vtkMRMLScalarVolumeNode())
