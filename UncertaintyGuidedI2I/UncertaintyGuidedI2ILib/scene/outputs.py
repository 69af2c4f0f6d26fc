"""What a translation adds to the scene: all of its outputs, shown as they should be, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import slicer
import vtk

from UncertaintyGuidedI2ILib.scene import display
from UncertaintyGuidedI2ILib.scene import nodes as scene
from UncertaintyGuidedI2ILib.scene.nodes import OutputName


class Output(NamedTuple):
    """One volume of a translation on its way into the scene.

    Attributes:
        what: Which of the translation's outputs it is.
        image: The output's voxels on the input's grid.
        maximum: The largest voxel value.
    """

    what: OutputName
    image: vtk.vtkImageData
    maximum: float


def addOutputs(
    inputNode: slicer.vtkMRMLScalarVolumeNode,
    outputs: Iterable[Output],
    imageName: str,
    hints: display.DisplayHints,
    provenance: Mapping[str, Any],
) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
    """Add a translation's outputs beside its input; if any of it fails, nothing stays.

    Args:
        inputNode: The translated volume.
        outputs: The outputs, which may be made one by one as they are asked for.
        imageName: What people call the translated image, e.g. "pseudo-CT".
        hints: The task's ranges, by which the outputs are shown.
        provenance: What made the outputs; its key ``run`` holds the translation's identifier.

    Returns:
        New volume nodes by output name.
    """
    nodes = {}
    with scene.allOrNothing(inputNode.GetScene()):
        for output in outputs:
            node = scene.addOutput(inputNode, output.what, output.image, imageName, provenance)
            display.setUpDisplay(node, output.what.quantity, hints, output.maximum)
            nodes[output.what.name] = node
    return nodes
