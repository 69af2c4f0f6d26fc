"""Which volumes of the scene are pairs to train on.

A pair is a note on its target (the patient's name, and a reference to the input), so that pairs are saved with the
scene, survive its import into another one, and go with their volumes.
"""

from __future__ import annotations

from typing import NamedTuple

import slicer

from UncertaintyGuidedI2ILib.scene.nodes import attributeName

INPUT = "UncertaintyGuidedI2I.TrainingInput"
SUBJECT = attributeName("training_subject")


class ScenePair(NamedTuple):
    """One patient.

    Attributes:
        subject: The patient's label.
        source: The input; None where the training makes it from the target, or where it was deleted.
        target: The image that the networks are to predict from the input.
    """

    subject: str
    source: slicer.vtkMRMLScalarVolumeNode | None
    target: slicer.vtkMRMLScalarVolumeNode


def scenePairs(scene: slicer.vtkMRMLScene) -> list[ScenePair]:
    """Return all pairs in the scene, by subject."""
    nodes = [
        scene.GetNthNodeByClass(i, "vtkMRMLScalarVolumeNode")
        for i in range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"))
    ]
    pairs = [
        ScenePair(node.GetAttribute(SUBJECT), node.GetNodeReference(INPUT), node)
        for node in nodes
        if node.GetAttribute(SUBJECT)
    ]
    return sorted(pairs, key=lambda pair: pair.subject)


def addPair(pair: ScenePair) -> None:
    """Note a pair; the target's earlier one makes way for it."""
    pair.target.SetNodeReferenceID(INPUT, pair.source.GetID() if pair.source is not None else None)
    pair.target.SetAttribute(SUBJECT, pair.subject)


def removePair(pair: ScenePair) -> None:
    """Forget a pair; its volumes stay."""
    pair.target.RemoveAttribute(SUBJECT)
    pair.target.SetNodeReferenceID(INPUT, None)
