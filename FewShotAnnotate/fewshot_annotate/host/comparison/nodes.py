"""Result of a comparison as nodes of the scene: a table of Dice by number of painted slices, and its plot."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from ...evaluation.report.plot import colour_of
from ...evaluation.summary import Summary
from ..i18n import tr as _
from ..messages import error_text
from ..mrml.node_types import Scene

# Marks our nodes and names their role; a later comparison is shown in the same nodes.
ROLE_ATTRIBUTE = "FewShotAnnotate.Comparison"
# Plot series find their columns by name, so it is not translated.
SIZES_COLUMN = "Painted slices"
_TABLE, _CHART, _SERIES = "table", "chart", "series"


def show_in_scene(scene: Scene, summary: Summary) -> Any:
    """Fill the table and the plot, those of an earlier comparison if they are still there; returns the chart node."""
    table = _find_or_add(scene, "vtkMRMLTableNode", _TABLE, _("Engine comparison"))
    _fill(table, summary)
    for node in _nodes_of_role(scene, "vtkMRMLPlotSeriesNode", _SERIES):
        scene.RemoveNode(node)
    chart = _find_or_add(scene, "vtkMRMLPlotChartNode", _CHART, _("Engine comparison chart"))
    chart.RemoveAllPlotSeriesNodeIDs()
    chart.SetTitle(_("Dice on hidden slices"))
    chart.SetXAxisTitle(_("Painted slices"))
    chart.SetYAxisTitle(_("Mean Dice"))
    for engine in summary.engines:
        chart.AddAndObservePlotSeriesNodeID(_series(scene, table, engine, summary).GetID())
    return chart


def _find_or_add(scene: Scene, class_name: str, role: str, name: str) -> Any:
    existing = _nodes_of_role(scene, class_name, role)
    if existing:
        return existing[0]
    node = scene.AddNewNodeByClass(class_name, name)
    node.SetAttribute(ROLE_ATTRIBUTE, role)
    return node


def _nodes_of_role(scene: Scene, class_name: str, role: str) -> list[Any]:
    nodes = scene.GetNodesByClass(class_name)
    listed = [nodes.GetItemAsObject(number) for number in range(nodes.GetNumberOfItems())]
    return [node for node in listed if node.GetAttribute(ROLE_ATTRIBUTE) == role]


def _fill(table: Any, summary: Summary) -> None:
    table.RemoveAllColumns()
    table.SetDescription(" ".join(map(error_text, summary.reasons)))
    sizes = vtk.vtkIntArray()
    sizes.SetName(SIZES_COLUMN)
    for size in summary.sizes:
        sizes.InsertNextValue(size)
    table.AddColumn(sizes)
    for engine in summary.engines:
        dice = vtk.vtkDoubleArray()
        dice.SetName(engine)
        for size in summary.sizes:
            dice.InsertNextValue(summary.at(engine, size).dice)
        table.AddColumn(dice)
    table.Modified()


def _series(scene: Scene, table: Any, engine: str, summary: Summary) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", engine)
    node.SetAttribute(ROLE_ATTRIBUTE, _SERIES)
    node.SetAndObserveTableNodeID(table.GetID())
    node.SetXColumnName(SIZES_COLUMN)
    node.SetYColumnName(engine)
    node.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    node.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleSolid)
    node.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
    colour = colour_of(engine, summary.engines).removeprefix("#")
    node.SetColor(*(int(colour[start : start + 2], 16) / 255 for start in (0, 2, 4)))
    return node
