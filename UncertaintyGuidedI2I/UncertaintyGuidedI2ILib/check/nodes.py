"""What a comparison with a reference puts into the scene: tables, charts and the error map."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import vtk

from UncertaintyGuidedI2ILib.check.curves import Curve, Line, curvesOf, figureRows, roundUp
from UncertaintyGuidedI2ILib.scene import nodes as mrml
from UncertaintyGuidedI2ILib.scene.colors import colorNode
from UncertaintyGuidedI2ILib.scene.results import PHASE, TRANSLATION, UNIT, resultOf

# What part of a check a node is: "figures", "error", "coverage chart", "coverage curve" and so on.
PART = mrml.attributeName("check")
CHECKED = "UncertaintyGuidedI2I.Checked"
REFERENCE = "UncertaintyGuidedI2I.Reference"

# Differences of more than this are gross whatever the tissue, HU.
ERROR_WINDOW_HU = 300.0
# Arbitrary intensities: the window holds almost all errors.
ERROR_WINDOW_RMSE = 3.0


@dataclass(frozen=True)
class Check:
    """A comparison in the scene.

    Attributes:
        figures: Table of figure, value and unit, mask and data range among them.
        error: Image minus reference on the image's grid.
        charts: The charts by curve: "coverage", "reliability", "sparsification"; none without a predicted distribution.
        curves: Tables of the charts' numbers, by the same names.
    """

    figures: slicer.vtkMRMLTableNode
    error: slicer.vtkMRMLScalarVolumeNode
    charts: Mapping[str, slicer.vtkMRMLPlotChartNode]
    curves: Mapping[str, slicer.vtkMRMLTableNode]


def addCheck(
    image: slicer.vtkMRMLScalarVolumeNode,
    phase: int,
    reference: slicer.vtkMRMLScalarVolumeNode,
    result: Mapping[str, Any],
    errorImage: vtk.vtkImageData,
) -> Check:
    """Add a comparison beside the image; an earlier one of the same phase and reference makes way for it.

    If any of it fails, nothing stays and the earlier one is kept.

    Args:
        image: The translated image.
        phase: The phase that was compared.
        reference: The volume that the image was compared with.
        result: The answer of ``upgan.evaluation.check.run_check``.
        errorImage: Image minus reference; the node keeps this very object.
    """
    scene = image.GetScene()
    earlier = _parts(image, phase, reference)
    name = f"{image.GetName()} phase {phase} vs {reference.GetName()}"
    parts: dict[str, slicer.vtkMRMLNode] = {}
    with mrml.allOrNothing(scene):
        unit = image.GetAttribute(UNIT) or ""
        made = resultOf(image)
        columns = _figureColumns(result, unit, made.reference if made else None)
        parts["figures"] = _addTable(scene, f"{name} check", *columns)
        parts["error"] = _addError(image, phase, name, errorImage, _errorWindow(result, unit))
        for key, curve in curvesOf(result, unit).items():
            table = _addTable(scene, f"{name} {key} data", curve.columns, vtk.vtkDoubleArray)
            parts[f"{key} curve"] = table
            parts |= {f"{key} line {i}": _addSeries(table, line) for i, line in enumerate(curve.lines)}
            lines = [node for part, node in parts.items() if part.startswith(f"{key} line")]
            parts[f"{key} chart"] = _addChart(scene, f"{name} {key}", curve, lines)
        for part, node in parts.items():
            node.SetAttribute(PART, part)
            node.SetAttribute(TRANSLATION, image.GetAttribute(TRANSLATION))
            node.SetAttribute(PHASE, str(phase))
            node.SetNodeReferenceID(CHECKED, image.GetID())
            node.SetNodeReferenceID(REFERENCE, reference.GetID())
            if "line" not in part:
                mrml.placeBeside(image, node)
    for part, node in earlier.items():
        _replace(scene, node, parts.get(part))
    return _check(parts)


def checkOf(
    image: slicer.vtkMRMLScalarVolumeNode, phase: int, reference: slicer.vtkMRMLScalarVolumeNode
) -> Check | None:
    """Return the comparison of a phase of an image with a reference that is in the scene, if there is one."""
    parts = _parts(image, phase, reference)
    return _check(parts) if "figures" in parts and "error" in parts else None


def exportCheck(check: Check, folder: Path) -> list[Path]:
    """Write the table of figures and the curves' numbers as .csv files into a folder, each whole or not at all.

    Returns:
        The paths of the written files.

    Raises:
        OutputError: ``disk_full`` or ``not_writable``.
    """
    from upgan.files import atomically, explained

    written = []
    for table in (check.figures, *check.curves.values()):
        path = folder / (re.sub(r'[\\/:*?"<>|]', "_", table.GetName()) + ".csv")
        with explained(str(path)), atomically(path) as temporary:
            _writeCSV(table, temporary)
        written.append(path)
    return written


def _writeCSV(table: slicer.vtkMRMLTableNode, path: Path) -> None:
    # Not by a storage node: it adds a file of column types and does not escape quotation marks. The byte-order mark
    # tells Excel that names with umlauts are UTF-8.
    columns = range(table.GetNumberOfColumns())
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([table.GetColumnName(column) for column in columns])
        for row in range(table.GetNumberOfRows()):
            writer.writerow([table.GetCellText(row, column) for column in columns])


def _figureColumns(result: Mapping[str, Any], unit: str, reference: float | None) -> tuple[dict[str, list[str]], type]:
    # Slicer writes a quotation mark inside a cell as it is, and then cannot read the table any more.
    rows = [[cell.replace('"', "'") for cell in row] for row in figureRows(result, unit, reference)]
    return {name: [row[i] for row in rows] for i, name in enumerate(("figure", "value", "unit"))}, vtk.vtkStringArray


def _errorWindow(result: Mapping[str, Any], unit: str) -> float:
    if unit == "HU":
        return ERROR_WINDOW_HU
    rmse = next(figure["value"] for figure in result["figures"] if figure["key"] == "rmse")
    return roundUp(ERROR_WINDOW_RMSE * rmse)


def _addError(
    image: slicer.vtkMRMLScalarVolumeNode, phase: int, name: str, errorImage: vtk.vtkImageData, window: float
) -> slicer.vtkMRMLScalarVolumeNode:
    unit = image.GetAttribute(UNIT) or ""
    output = mrml.OutputName("error", "error", phase, unit)
    node = mrml.addOutput(image, output, errorImage, "", mrml.provenanceOf(image))
    node.SetName(f"{name} error ({unit})" if unit else f"{name} error")
    # The input of the translation, not the image it became.
    node.SetNodeReferenceID(mrml.INPUT_REFERENCE, image.GetNodeReferenceID(mrml.INPUT_REFERENCE))
    # Not by CreateDefaultDisplayNodes, which goes through all voxels to guess a window.
    display = slicer.vtkMRMLScalarVolumeDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(-window, window)
    image.GetScene().AddNode(display)
    display.SetAndObserveColorNodeID(colorNode(image.GetScene(), "Difference").GetID())
    node.SetAndObserveDisplayNodeID(display.GetID())
    return node


def _addTable(
    scene: slicer.vtkMRMLScene, name: str, columns: Mapping[str, Sequence[Any]], kind: type
) -> slicer.vtkMRMLTableNode:
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    with slicer.util.NodeModify(node):
        for title, values in columns.items():
            column = kind()
            column.SetName(title)
            for value in values:
                column.InsertNextValue(value)
            node.AddColumn(column)
        node.SetUseColumnTitleAsColumnHeader(True)
    return node


def _addSeries(table: slicer.vtkMRMLTableNode, line: Line) -> slicer.vtkMRMLPlotSeriesNode:
    # The legend shows the node's name.
    node = table.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode", line.name)
    with slicer.util.NodeModify(node):
        node.SetAndObserveTableNodeID(table.GetID())
        node.SetXColumnName(line.x)
        node.SetYColumnName(line.y)
        node.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        node.SetColor(*line.color)
        node.SetLineWidth(2)
        dashed = slicer.vtkMRMLPlotSeriesNode.LineStyleDash
        node.SetLineStyle(dashed if line.dashed else slicer.vtkMRMLPlotSeriesNode.LineStyleSolid)
        markers = not line.dashed and table.GetNumberOfRows() <= 30
        circle = slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle
        node.SetMarkerStyle(circle if markers else slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    return node


def _addChart(
    scene: slicer.vtkMRMLScene, name: str, curve: Curve, lines: Sequence[slicer.vtkMRMLPlotSeriesNode]
) -> slicer.vtkMRMLPlotChartNode:
    node = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
    with slicer.util.NodeModify(node):
        for line in lines:
            node.AddAndObservePlotSeriesNodeID(line.GetID())
        node.SetTitle(curve.title)
        node.SetXAxisTitle(curve.xTitle)
        node.SetYAxisTitle(curve.yTitle)
        node.SetXAxisRangeAuto(False)
        node.SetXAxisRange(0.0, curve.xMaximum)
        node.SetYAxisRangeAuto(False)
        node.SetYAxisRange(0.0, curve.yMaximum)
        node.SetTitleFontSize(16)
        node.SetAxisTitleFontSize(14)
        node.SetAxisLabelFontSize(12)
        node.SetLegendFontSize(12)
        # It covers the upper right corner, where the curves of the charts that compare with a diagonal end.
        node.SetLegendVisibility(len(lines) > 2)
        node.SetGridVisibility(True)
    return node


def _replace(scene: slicer.vtkMRMLScene, old: slicer.vtkMRMLNode, new: slicer.vtkMRMLNode | None) -> None:
    """Remove a node; views and other nodes that showed it show its successor."""
    if new is not None:
        for i in range(scene.GetNumberOfNodes()):
            scene.GetNthNode(i).UpdateReferenceID(old.GetID(), new.GetID())
    storage = old.GetStorageNode() if old.IsA("vtkMRMLStorableNode") else None
    # A display node goes with its volume, the storage node of a saved scene does not.
    for node in (storage, old):
        if node is not None:
            mrml.remove(node, scene)


def _parts(image: slicer.vtkMRMLNode, phase: int, reference: slicer.vtkMRMLNode) -> dict[str, slicer.vtkMRMLNode]:
    """Return the nodes of a comparison in the scene by what part of it they are."""
    scene = image.GetScene()
    found = {}
    for i in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(i)
        if (
            node.GetAttribute(PART)
            and node.GetAttribute(PHASE) == str(phase)
            and node.GetNodeReferenceID(CHECKED) == image.GetID()
            and node.GetNodeReferenceID(REFERENCE) == reference.GetID()
        ):
            found[node.GetAttribute(PART)] = node
    return found


def _check(parts: Mapping[str, slicer.vtkMRMLNode]) -> Check:
    charts, curves = (
        {part.removesuffix(suffix): node for part, node in parts.items() if part.endswith(suffix)}
        for suffix in (" chart", " curve")
    )
    return Check(parts["figures"], parts["error"], charts, curves)
