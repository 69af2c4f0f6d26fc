"""The results of translations in a scene, found by what their nodes say of themselves, never by name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import slicer

from UncertaintyGuidedI2ILib.scene.nodes import INPUT_REFERENCE, attributeName, provenanceOf
from UncertaintyGuidedI2ILib.text import shownUnit

# What a translation puts into the scene of each phase; whatever is derived from it later carries other quantities.
QUANTITIES = ("image", "alpha", "beta", "sigma")
# What it adds, of the last phase alone, where it is asked for.
EPISTEMIC = "epistemic"

# Called so since the first scenes that were saved.
TRANSLATION = attributeName("run")
QUANTITY = attributeName("quantity")
PHASE = attributeName("phase")
UNIT = attributeName("unit")
IMAGE_NAME = attributeName("image_name")


@dataclass(frozen=True)
class Result:
    """What is in the scene of one translation.

    Attributes:
        translationID: The same for all nodes of the translation, and for no others.
        nodes: The volumes of the phase that is shown, by quantity ("image", "alpha", "beta", "sigma"), and the map of
            the last phase that is "epistemic", as far as they exist.
    """

    translationID: str
    nodes: dict[str, slicer.vtkMRMLScalarVolumeNode]

    @property
    def inputNode(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The translated volume, where it is still in the scene."""
        inputs = (node.GetNodeReference(INPUT_REFERENCE) for node in self.nodes.values())
        return next((node for node in inputs if node is not None), None)

    @property
    def unit(self) -> str:
        """Unit of image, alpha, sigma and the epistemic map: "HU", or nothing for the input's arbitrary intensities."""
        return next((node.GetAttribute(UNIT) or "" for quantity, node in self.nodes.items() if quantity != "beta"), "")

    @property
    def shownUnit(self) -> str:
        """The unit as people read it: "HU", or "a.u." for the input's arbitrary intensities."""
        return shownUnit(self.unit)

    @property
    def reference(self) -> float | None:
        """The input's reference intensity v_ref, of which sigma is a fraction; None where the unit is not the input's.

        It is what the networks took as 1: a percentile of the input's foreground. None also where the result, of an
        earlier version or from elsewhere, does not say it.
        """
        if self.unit:
            return None
        provenance = provenanceOf(next(iter(self.nodes.values())))
        # One model's, or the mean of the members of several that were taken as one.
        members = provenance.get("members")
        makers = members if isinstance(members, list) and members else [provenance]
        stated: list[Any] = [each.get("input_reference") for each in makers if isinstance(each, dict)]
        # What stands in a scene's file may be anything.
        found = [float(each) for each in stated if type(each) in (int, float) and math.isfinite(each) and each > 0]
        return sum(found) / len(found) if found else None

    @property
    def imageName(self) -> str:
        """What people call the translated image: "pseudo-CT", "restored MR"."""
        names = (node.GetAttribute(IMAGE_NAME) for node in self.nodes.values())
        return next(filter(None, names), "pseudo-CT" if self.unit == "HU" else "image")

    @property
    def phase(self) -> int:
        """The phase that the nodes show, the first being 1."""
        ofPhases = [node for quantity, node in self.nodes.items() if quantity in QUANTITIES]
        return max(phaseOf(node) for node in ofPhases or self.nodes.values())

    @property
    def epistemicNode(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The epistemic map, where there is one and it is of the phase that is shown."""
        node = self.nodes.get(EPISTEMIC)
        return node if node is not None and phaseOf(node) == self.phase else None

    @property
    def scene(self) -> slicer.vtkMRMLScene:
        """The scene that the nodes live in."""
        return next(iter(self.nodes.values())).GetScene()


def resultOf(node: slicer.vtkMRMLNode | None) -> Result | None:
    """Return the result that a node belongs to; any node of the translation will do, also one derived from it.

    Returns:
        None for a node that no translation made, and where nothing of the translation is left.
    """
    if node is None or node.GetScene() is None:
        return None
    translationID = node.GetAttribute(TRANSLATION)
    return _result(translationID, node) if translationID else None


def results(scene: slicer.vtkMRMLScene) -> list[Result]:
    """Return all results, the newest last."""
    known = dict.fromkeys(node.GetAttribute(TRANSLATION) for node in _volumes(scene) if node.GetAttribute(TRANSLATION))
    first = {translationID: next(nodesOfTranslation(scene, translationID)) for translationID in known}
    found = (_result(translationID, node) for translationID, node in first.items())
    return [result for result in found if result is not None]


def nodesOfTranslation(scene: slicer.vtkMRMLScene, translationID: str) -> Iterator[slicer.vtkMRMLScalarVolumeNode]:
    """Yield the volumes of a translation, derived ones included, in the order in which they came into the scene."""
    return (node for node in _volumes(scene) if node.GetAttribute(TRANSLATION) == translationID)


def phaseOf(node: slicer.vtkMRMLNode) -> int:
    """Return the phase that a node says it comes from, the first being 1; 0 where it says nothing."""
    text = node.GetAttribute(PHASE) or ""
    return int(text) if text.isdigit() else 0


def _result(translationID: str, node: slicer.vtkMRMLNode) -> Result | None:
    nodes: dict[str, slicer.vtkMRMLScalarVolumeNode] = {}
    ranks: dict[str, tuple[bool, bool, int]] = {}
    for candidate in nodesOfTranslation(node.GetScene(), translationID):
        quantity = candidate.GetAttribute(QUANTITY)
        if quantity not in (*QUANTITIES, EPISTEMIC):
            continue
        # The same scene may have been loaded twice: then the node's own siblings share its input. A script may have
        # left every phase in the scene: then the last one is the result.
        sameInput = candidate.GetNodeReferenceID(INPUT_REFERENCE) == node.GetNodeReferenceID(INPUT_REFERENCE)
        rank = (candidate is node, sameInput, phaseOf(candidate))
        if quantity not in ranks or rank > ranks[quantity]:
            nodes[quantity], ranks[quantity] = candidate, rank
    return (
        Result(translationID, {quantity: nodes[quantity] for quantity in (*QUANTITIES, EPISTEMIC) if quantity in nodes})
        if nodes
        else None
    )


def _volumes(scene: slicer.vtkMRMLScene) -> Iterator[slicer.vtkMRMLScalarVolumeNode]:
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        yield scene.GetNthNodeByClass(i, "vtkMRMLScalarVolumeNode")
