"""The phases of a cascade as sequences that one browser scrubs through together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import slicer
import vtk

from UncertaintyGuidedI2ILib.scene import nodes as mrml
from UncertaintyGuidedI2ILib.scene.results import EPISTEMIC, QUANTITY, TRANSLATION, Result, phaseOf

Nodes = Mapping[str, slicer.vtkMRMLScalarVolumeNode]


def collectPhases(nodes: Mapping[int, Nodes]) -> slicer.vtkMRMLSequenceBrowserNode:
    """Put every quantity's phases into a sequence; the last phase's nodes stay in the scene and show any phase.

    The earlier phases' nodes leave the scene: their voxels live on in the sequences, without a copy. What the last
    phase alone has stays as it is.

    Args:
        nodes: A translation's volumes by phase (the first being 1) and quantity, all in one scene.

    Returns:
        The browser of all the sequences, with the last phase selected.
    """
    last = nodes[max(nodes)]
    first = next(iter(last.values()))
    inputNode = first.GetNodeReference(mrml.INPUT_REFERENCE)
    scene = first.GetScene()
    name = f"{inputNode.GetName() if inputNode else first.GetName()} phases"
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", scene.GenerateUniqueName(name))
    browser.SetAttribute(TRANSLATION, first.GetAttribute(TRANSLATION))
    # In one go: a sequence that a browser has without proxy node is given a new one by Slicer at once.
    with slicer.util.NodeModify(browser):
        for quantity, node in last.items():
            if not all(quantity in outputs for outputs in nodes.values()):
                continue
            sequence = _sequence(quantity, {phase: nodes[phase][quantity] for phase in sorted(nodes)})
            browser.AddSynchronizedSequenceNodeID(sequence.GetID())
            browser.AddProxyNode(node, sequence, False)
            browser.SetOverwriteProxyName(sequence, False)
            # Slicer shares the voxels of the chosen phase only where changes are kept; else it copies them at each
            # step, which takes 80 ms a volume of eight million voxels.
            browser.SetSaveChanges(sequence, True)
        browser.SetSelectedItemNumber(len(nodes) - 1)
        browser.SetIndexDisplayFormat("%.0f")
        browser.SetPlaybackRateFps(1.0)
        browser.SetPlaybackActive(False)
    for phase, outputs in nodes.items():
        if phase != max(nodes):
            for node in outputs.values():
                mrml.remove(node, scene)
    return browser


def browserOf(result: Result) -> slicer.vtkMRMLSequenceBrowserNode | None:
    """Return the browser of a result's phases, where every phase was kept."""
    scene = result.scene
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(i, "vtkMRMLSequenceBrowserNode")
        proxies = (browser.GetProxyNode(sequence) for sequence in _sequences(browser))
        if browser.GetAttribute(TRANSLATION) == result.translationID and any(
            node in result.nodes.values() for node in proxies
        ):
            return browser
    return None


def phaseNodes(result: Result) -> dict[int, dict[str, slicer.vtkMRMLScalarVolumeNode]]:
    """Return every phase's volumes by phase and quantity.

    They are the sequences' own data nodes (without transform and display), or the result's nodes where there is only
    one phase.
    """
    browser = browserOf(result)
    found: dict[int, dict[str, slicer.vtkMRMLScalarVolumeNode]] = {}
    for sequence in _sequences(browser) if browser else ():
        for i in range(sequence.GetNumberOfDataNodes()):
            phase = int(sequence.GetNthIndexValue(i))
            found.setdefault(phase, {})[sequence.GetAttribute(QUANTITY)] = sequence.GetNthDataNode(i)
    found = found or {result.phase: {name: node for name, node in result.nodes.items() if name != EPISTEMIC}}
    epistemic = result.nodes.get(EPISTEMIC)
    if epistemic is not None and phaseOf(epistemic) in found:
        found[phaseOf(epistemic)][EPISTEMIC] = epistemic
    return dict(sorted(found.items()))


def selectPhase(result: Result, phase: int) -> None:
    """Let the result's nodes show another phase; nothing happens where it was not kept."""
    browser = browserOf(result)
    if browser is None or browser.GetMasterSequenceNode() is None:
        return
    item = browser.GetMasterSequenceNode().GetItemNumberFromIndexValue(str(phase))
    if item >= 0:
        browser.SetSelectedItemNumber(item)


def _sequence(quantity: str, phases: Mapping[int, slicer.vtkMRMLScalarVolumeNode]) -> slicer.vtkMRMLSequenceNode:
    last = phases[max(phases)]
    scene = last.GetScene()
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", scene.GenerateUniqueName(f"{last.GetName()} phases"))
    sequence.SetIndexName("phase")
    sequence.SetIndexUnit("")
    sequence.SetAttribute(TRANSLATION, last.GetAttribute(TRANSLATION))
    sequence.SetAttribute(QUANTITY, quantity)
    # Adding a node copies its voxels, updating one need not: add an empty one first.
    empty = slicer.vtkMRMLScalarVolumeNode()
    for phase, node in phases.items():
        sequence.SetDataNodeAtValue(empty, str(phase))
        sequence.UpdateDataNodeAtValue(node, str(phase), True)
    _keepVisible(last, phases.values())
    return sequence


def _keepVisible(shown: slicer.vtkMRMLScalarVolumeNode, phases: Iterable[slicer.vtkMRMLScalarVolumeNode]) -> None:
    """Widen the upper threshold: voxels of another phase that are brighter than all of this one must not vanish."""
    displays = [node.GetDisplayNode() for node in phases]
    if all(display is not None and display.GetApplyThreshold() for display in displays):
        highest = max(display.GetUpperThreshold() for display in displays)
        shown.GetDisplayNode().SetThreshold(shown.GetDisplayNode().GetLowerThreshold(), highest)


def _sequences(browser: slicer.vtkMRMLSequenceBrowserNode) -> list[slicer.vtkMRMLSequenceNode]:
    collection = vtk.vtkCollection()
    browser.GetSynchronizedSequenceNodes(collection, True)
    return [collection.GetItemAsObject(i) for i in range(collection.GetNumberOfItems())]
