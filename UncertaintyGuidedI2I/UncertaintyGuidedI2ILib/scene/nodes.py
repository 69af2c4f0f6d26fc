"""Between the MRML scene and the engine: volume nodes in, volume nodes out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import slicer
import vtk

if TYPE_CHECKING:
    from upgan.images.volume import Volume

ATTRIBUTE_PREFIX = "UncertaintyGuidedI2I."
INPUT_REFERENCE = "UncertaintyGuidedI2I.Input"

# What an output node says of itself beside the provenance that all outputs of a translation share.
NODE_KEYS = {"quantity", "unit", "phase", "image_name", "place", "place_at"}
# Names and identifiers stay text even where they look like JSON: a digest of digits only, a volume called "12".
TEXT_KEYS = {
    "engine",
    "run",
    "engine_version",
    "bundle",
    "bundle_version",
    "bundle_sha256",
    "task",
    "plane",
    "precision",
    "device",
    "source",
    "input_sha256",
    "placement",
    "placement_note",
    "created",
}

# Coded entries (value, scheme, meaning) as Slicer's own DICOM reader sets them for CT.
HOUNSFIELD_UNIT = ("[hnsf'U]", "UCUM", "Hounsfield unit")
NO_UNIT = ("1", "UCUM", "no units")
CODED_UNITS = {"HU": HOUNSFIELD_UNIT, "1": NO_UNIT}
ATTENUATION_COEFFICIENT = ("112031", "DCM", "Attenuation Coefficient")

# Labels, vectors, tensors and diffusion series are volume nodes too, but none is an image with one grey value a voxel.
REFUSED_CLASSES = {
    "vtkMRMLLabelMapVolumeNode": "a label map",
    "vtkMRMLVectorVolumeNode": "a colour or vector image",
    "vtkMRMLTensorVolumeNode": "a tensor image",
    "vtkMRMLDiffusionImageVolumeNode": "a diffusion image",
    "vtkMRMLMultiVolumeNode": "a four-dimensional image",
}


class OutputName(NamedTuple):
    """Which output of a translation a volume is.

    Attributes:
        name: The output's name: ``pseudo_ct``, ``sigma``; ``sigma_phase_1`` for earlier phases.
        quantity: "image", "alpha", "beta", "sigma" or "epistemic".
        phase: The phase that it comes from, the first being 1.
        unit: The unit of its values: HU, 1 for beta, empty for arbitrary intensities.
    """

    name: str
    quantity: str
    phase: int
    unit: str


def volumeFromNode(node: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """Copy a scalar volume node into the engine's form, in the node's own coordinates (parent transforms left out).

    Returns:
        Voxels float32 [K, J, I], IJK to RAS in mm, and the DICOM modality where the scene knows it.

    Raises:
        InputError: ``no_input``, ``not_in_scene``, ``not_a_scalar_volume``, ``empty_volume``, and what
            ``upgan.images.volume.Volume`` refuses.
    """
    from upgan.images.volume import Volume

    refuseOtherThanScalarVolume(node)
    # A copy, so that nothing the engine does can reach VTK's memory.
    voxels = np.array(slicer.util.arrayFromVolume(node), dtype=np.float32, order="C")
    return Volume(voxels, ijkToRAS(node), modality(node))


def refuseOtherThanScalarVolume(node: slicer.vtkMRMLNode | None) -> None:
    """Refuse what is no image with one grey value a voxel.

    Raises:
        InputError: ``no_input``, ``not_in_scene``, ``not_a_scalar_volume`` or ``empty_volume``.
    """
    from upgan.errors import InputError

    if node is None:
        raise InputError("no_input", "No input volume is selected.", "Choose the volume to translate.")
    if node.GetScene() is None:
        raise InputError("not_in_scene", "The input volume is not in a scene.", "Add it to the scene first.")
    remedy = "Choose a three-dimensional grey-value volume."
    kind = next((kind for name, kind in REFUSED_CLASSES.items() if node.IsA(name)), "")
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        kind = kind or f"no volume but a {node.GetNodeTagName()}"
    image = None if kind else node.GetImageData()
    if image is not None and image.GetNumberOfScalarComponents() > 1:
        kind = "an image with several values in each voxel"
    if kind:
        raise InputError("not_a_scalar_volume", f"The input is {kind}.", remedy)
    if image is None or image.GetPointData().GetScalars() is None or 0 in image.GetDimensions():
        raise InputError("empty_volume", "The input volume holds no voxels.", "Load the image again.")


def modality(node: slicer.vtkMRMLScalarVolumeNode) -> str | None:
    """Return the DICOM modality from the subject hierarchy, else from the node's attribute."""
    key = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMAttributePrefix() + "Modality"
    item, hierarchy = _subjectHierarchyItem(node)
    found = hierarchy.GetItemAttribute(item, key) if item else ""
    return found or node.GetAttribute(key) or None


def ijkToRAS(node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Return the affine from IJK to RAS, 4x4, mm, in the node's own coordinates (parent transforms left out)."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


class Stamp(NamedTuple):
    """What changes when somebody edits, moves or replaces a volume.

    Attributes:
        voxels: Modification time of the voxels, which no two states of any volumes share.
        dimensions: Number of voxels along I, J and K.
        place: The affine from IJK to RAS, mm.
    """

    voxels: int
    dimensions: tuple[int, int, int]
    place: tuple[float, ...]

    @classmethod
    def of(cls, node: slicer.vtkMRMLScalarVolumeNode) -> Stamp:
        """Return the present stamp of a volume that holds voxels."""
        image = node.GetImageData()
        scalars = image.GetPointData().GetScalars() if image is not None else None
        if scalars is None:
            return cls(0, (0, 0, 0), ())
        return cls(scalars.GetMTime(), image.GetDimensions(), tuple(ijkToRAS(node).ravel()))


def sourceName(node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Return what names the input in the provenance: its DICOM series UID, else the node's name."""
    item, hierarchy = _subjectHierarchyItem(node)
    uid = hierarchy.GetItemUID(item, "DICOM") if item else ""
    return uid or node.GetName()


def isInScene(node: slicer.vtkMRMLNode, scene: slicer.vtkMRMLScene) -> bool:
    """Return whether this very node still lives in the scene; its ID may meanwhile belong to another one."""
    return bool(node.GetID()) and scene.GetNodeByID(node.GetID()) is node


def addOutput(
    inputNode: slicer.vtkMRMLScalarVolumeNode,
    output: OutputName,
    image: vtk.vtkImageData,
    imageName: str,
    provenance: Mapping[str, Any],
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add an output to the input's scene: on its grid, under its transform and beside it in the subject hierarchy.

    Args:
        inputNode: The translated volume.
        output: Which output of the translation it is.
        image: The output's voxels; the node keeps this very object.
        imageName: What people call the translated image, e.g. "pseudo-CT".
        provenance: What made the output; it is stored on the node as attributes ``UncertaintyGuidedI2I.<Key>``.
    """
    from upgan.images.placement import Placement, remarks_of

    scene = inputNode.GetScene()
    name = scene.GenerateUniqueName(outputNodeName(inputNode.GetName(), output, imageName))
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(name)
    # Before it enters the scene: selectors look at a new node's attributes only then.
    own = {"quantity": output.quantity, "phase": output.phase, "unit": output.unit, "image_name": imageName}
    for key, value in {**provenance, **own}.items():
        node.SetAttribute(attributeName(key), value if isinstance(value, str) else json.dumps(value))
    doubt = Placement(provenance.get("placement", "certain"), provenance.get("placement_note", ""))
    for attribute, remark in remarks_of(doubt, ijkToRAS(inputNode)).items():
        node.SetAttribute(attribute, remark)
    scene.AddNode(node)
    with slicer.util.NodeModify(node):
        node.SetAndObserveImageData(image)
        # Copies origin, spacing and directions as they are: no rounding, and shear survives.
        node.CopyOrientation(inputNode)
        node.SetAndObserveTransformNodeID(inputNode.GetTransformNodeID())
        _setUnits(node, output)
        node.SetNodeReferenceID(INPUT_REFERENCE, inputNode.GetID())
    placeBeside(inputNode, node)
    return node


def outputNodeName(inputName: str, output: OutputName, imageName: str) -> str:
    """Return a readable node name, ASCII so that it survives as a file name: "PET sigma (HU)", "PET beta phase 1"."""
    name = f"{inputName} {imageName if output.quantity == 'image' else output.quantity}"
    if output.name.endswith(f"_phase_{output.phase}"):
        name += f" phase {output.phase}"
    if output.quantity in ("alpha", "sigma", "epistemic") and output.unit:
        name += f" ({output.unit})"
    return name


def attributeName(key: str) -> str:
    """Return the node attribute of a provenance key: ``bundle_sha256`` is ``UncertaintyGuidedI2I.BundleSha256``."""
    return ATTRIBUTE_PREFIX + "".join(word.capitalize() for word in key.split("_"))


def provenanceOf(node: slicer.vtkMRMLNode) -> dict[str, Any]:
    """Return the provenance of the translation that made an output node, as it was given to ``addOutput``."""
    names = {_provenanceKey(name): name for name in node.GetAttributeNames() if name.startswith(ATTRIBUTE_PREFIX)}
    return {key: _provenanceValue(key, node.GetAttribute(name)) for key, name in names.items() if key not in NODE_KEYS}


def _provenanceKey(attribute: str) -> str:
    """Undo ``attributeName``: ``UncertaintyGuidedI2I.BundleSha256`` is ``bundle_sha256``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", attribute.removeprefix(ATTRIBUTE_PREFIX)).lower()


def _provenanceValue(key: str, text: str) -> Any:
    if key in TEXT_KEYS:
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


@contextmanager
def allOrNothing(scene: slicer.vtkMRMLScene) -> Iterator[list[slicer.vtkMRMLNode]]:
    """Remove every node that the block added if the block fails.

    The block must not process events: what the user adds meanwhile would be taken for its own.

    Yields:
        After the block: the nodes that it added, the newest first, for ``remove``.
    """
    before = {node.GetID() for node in _nodes(scene)}
    added: list[slicer.vtkMRMLNode] = []
    finished = False
    try:
        yield added
        finished = True
    finally:
        added += [node for node in reversed(_nodes(scene)) if node.GetID() not in before]
        if not finished:
            for node in added:
                remove(node, scene)


def _setUnits(node: slicer.vtkMRMLScalarVolumeNode, output: OutputName) -> None:
    if output.unit in CODED_UNITS:
        node.SetVoxelValueUnits(_codedEntry(CODED_UNITS[output.unit]))
    if output.quantity == "image" and output.unit == "HU":
        node.SetVoxelValueQuantity(_codedEntry(ATTENUATION_COEFFICIENT))


def _codedEntry(code: tuple[str, str, str]) -> slicer.vtkCodedEntry:
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(*code)
    return entry


def _subjectHierarchyItem(node: slicer.vtkMRMLNode) -> tuple[int, slicer.vtkMRMLSubjectHierarchyNode]:
    """Return the node's item, 0 where it has none, and the hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    return hierarchy.GetItemByDataNode(node), hierarchy


def placeBeside(inputNode: slicer.vtkMRMLNode, node: slicer.vtkMRMLNode) -> None:
    """Put the node where its input is, so that patient and study are shared."""
    inputItem, hierarchy = _subjectHierarchyItem(inputNode)
    parent = hierarchy.GetItemParent(inputItem) if inputItem else hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        # Outside the Slicer application nodes get no item by themselves.
        hierarchy.CreateItem(parent, node)


def _nodes(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLNode]:
    return [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]


def remove(node: slicer.vtkMRMLNode, scene: slicer.vtkMRMLScene) -> None:
    """Remove a node together with its subject-hierarchy item."""
    if not isInScene(node, scene):
        return
    item, hierarchy = _subjectHierarchyItem(node)
    scene.RemoveNode(node)
    # The application removes the item by itself; the bare scene does not.
    if item and isInScene(hierarchy, scene) and hierarchy.GetItemByDataNode(node) == item:
        hierarchy.RemoveItem(item, False)


def ijkToWorld(node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Return the affine from IJK to world RAS, 4x4, mm: parent transforms are counted in.

    Raises:
        InputError: ``nonlinear_transform``.
    """
    from upgan.errors import InputError

    parent = node.GetParentTransformNode()
    if parent is None:
        return ijkToRAS(node)
    if not parent.IsTransformToWorldLinear():
        raise InputError(
            "nonlinear_transform",
            f"The volume {node.GetName()} is warped by the non-linear transform {parent.GetName()}.",
            "Harden the transform on the volume (Transforms module), then try again.",
        )
    toWorld = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(toWorld)
    return slicer.util.arrayFromVTKMatrix(toWorld) @ ijkToRAS(node)
