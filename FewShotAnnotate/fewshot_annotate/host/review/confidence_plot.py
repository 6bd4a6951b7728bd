"""Plot of confidence along the axis, as chart, series and table nodes of Slicer, made from the review.

The nodes are not saved with the scene. A chart refers to its segmentation by a node reference and is removed with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
import vtk

from ..annotation.record import SliceStatus
from ..annotation.review_rows import ReviewRow
from ..i18n import tr as _
from ..mrml.node_types import Scene, SegmentationNode
from ..mrml.views import show_chart

PLOT_ATTRIBUTE = "FewShotAnnotate.ConfidencePlot"
_SEGMENTATION = "segmentation"
# Slicer's own sizes are too large for a plot in a quarter of the window.
_TITLE_POINTS, _AXIS_POINTS = 14, 12
_NO_POINT = float("nan")  # charts leave such points out
_Value = Callable[[ReviewRow], float]
_CLICKED = "dataSelected(vtkStringArray*,vtkCollection*)"


def find_plot(segmentation_node: SegmentationNode) -> Any:
    """The chart of a segmentation, None if there is none."""
    charts = _charts(segmentation_node.GetScene())
    return next((chart for chart in charts if chart.GetNodeReference(_SEGMENTATION) is segmentation_node), None)


def update_plot(segmentation_node: SegmentationNode, rows: Sequence[ReviewRow]) -> None:
    """Update a segmentation's chart, if it has one."""
    chart = find_plot(segmentation_node)
    if chart is not None:
        _fill(chart, rows)


def show_plot(segmentation_node: SegmentationNode, rows: Sequence[ReviewRow], application_logic: Any) -> Any:
    """Make or update the chart, and show it in a layout with a plot view, where the application has one.

    Returns
    -------
    vtkMRMLPlotChartNode
    """
    chart = find_plot(segmentation_node) or _add_chart(segmentation_node)
    _fill(chart, rows)
    show_chart(chart, application_logic)
    return chart


def slice_of_point(series_node: Any, number: int) -> int | None:
    """Slice of a point of one of these series, by the point's number; None for a series of another plot."""
    for chart in _charts(series_node.GetScene()):
        series = [chart.GetNthPlotSeriesNode(number) for number in range(chart.GetNumberOfPlotSeriesNodes())]
        if series_node in series and series_node.GetTableNode() is not None:
            column = series_node.GetTableNode().GetTable().GetColumnByName(_column(0))
            return int(column.GetValue(number)) if 0 <= number < column.GetNumberOfTuples() else None
    return None


def remove_orphaned_plots(scene: Scene) -> None:
    """Remove charts whose segmentation was removed."""
    for chart in _charts(scene):
        if chart.GetNodeReference(_SEGMENTATION) is None:
            table = chart.GetNthPlotSeriesNode(0).GetTableNode() if chart.GetNthPlotSeriesNode(0) else None
            series = [chart.GetNthPlotSeriesNode(number) for number in range(chart.GetNumberOfPlotSeriesNodes())]
            for node in (chart, *series, table):
                if node is not None:
                    scene.RemoveNode(node)


def _charts(scene: Scene) -> list[Any]:
    charts = [
        scene.GetNthNodeByClass(number, "vtkMRMLPlotChartNode")
        for number in range(scene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode"))
    ]
    return [chart for chart in charts if chart.GetAttribute(PLOT_ATTRIBUTE)]


def _add_chart(segmentation_node: SegmentationNode) -> Any:
    scene = segmentation_node.GetScene()
    table = _add(scene, "vtkMRMLTableNode", _("{name} confidence table").format(name=segmentation_node.GetName()))
    chart = _add(scene, "vtkMRMLPlotChartNode", _("{name} confidence").format(name=segmentation_node.GetName()))
    chart.SetAttribute(PLOT_ATTRIBUTE, "1")
    chart.SetNodeReferenceID(_SEGMENTATION, segmentation_node.GetID())
    chart.SetXAxisTitle(_("Slice. Dots: painted (yellow), accepted (green), flagged (pink)"))
    chart.SetYAxisTitle(_("Confidence (blue), difference (orange)"))
    chart.SetLegendVisibility(False)  # it would cover the top right corner, where most values are
    chart.SetTitleFontSize(_TITLE_POINTS)
    chart.SetAxisTitleFontSize(_AXIS_POINTS)
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.0, 1.05)
    for column, (title, colour, as_line, _value) in enumerate(_series(), start=1):
        series = _add(scene, "vtkMRMLPlotSeriesNode", title)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(_column(0))
        series.SetYColumnName(_column(column))
        series.SetPlotType(series.PlotTypeScatter)
        series.SetLineStyle(series.LineStyleSolid if as_line else series.LineStyleNone)
        series.SetMarkerStyle(series.MarkerStyleNone if as_line else series.MarkerStyleCircle)
        series.SetColor(*colour)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart


def _series() -> tuple[tuple[str, tuple[float, float, float], bool, _Value], ...]:
    """Title, colour, whether it is a line, and the value of a slice, for each series."""
    return (
        (_("Confidence"), (0.20, 0.45, 0.80), True, lambda row: _or_no_point(row.confidence)),
        (_("Disagreement"), (0.90, 0.50, 0.10), True, lambda row: _or_no_point(row.disagreement)),
        (_("Painted"), (0.80, 0.65, 0.05), False, lambda row: _height(row, row.manual)),
        (_("Accepted"), (0.15, 0.60, 0.35), False, lambda row: _height(row, _accepted(row))),
        (_("Flagged"), (0.85, 0.15, 0.45), False, lambda row: _height(row, row.status is SliceStatus.FLAGGED)),
    )


def _accepted(row: ReviewRow) -> bool:
    return row.status is SliceStatus.ACCEPTED and not row.manual


def _or_no_point(value: float | None) -> float:
    return _NO_POINT if value is None else value


def _height(row: ReviewRow, marked: bool) -> float:
    """Height of a mark: the confidence, 1 where there is none; no point for unmarked slices."""
    return (1.0 if row.confidence is None else row.confidence) if marked else _NO_POINT


def _fill(chart: Any, rows: Sequence[ReviewRow]) -> None:
    table_node = chart.GetNthPlotSeriesNode(0).GetTableNode()
    values: list[_Value] = [lambda row: float(row.index), *(value for *_rest, value in _series())]
    table = vtk.vtkTable()
    for column, value in enumerate(values):
        array = vtk.vtkDoubleArray()
        array.SetName(_column(column))
        for row in rows:
            array.InsertNextValue(value(row))
        table.AddColumn(array)
    table_node.SetAndObserveTable(table)
    chart.SetTitle(_("Confidence of each slice"))


def _column(number: int) -> str:
    """Name in the table; series find their columns by it, so it is not translated."""
    return ("Slice", "Confidence", "Disagreement", "Painted", "Accepted", "Flagged")[number]


def _add(scene: Scene, class_name: str, name: str) -> Any:
    node = scene.CreateNodeByClass(class_name)
    node.UnRegister(None)
    node.SetName(scene.GenerateUniqueName(name))
    node.SetSaveWithScene(False)
    return scene.AddNode(node)


class PlotClicks:
    """A click on a point goes to its slice, in the plot views of the application, where it has any.

    Parameters
    ----------
    go : function
        Called with the slice of the point that was clicked.
    """

    def __init__(self, go: Callable[[int], None]) -> None:
        self._go = go
        self._views: list[Any] = []

    def follow(self) -> None:
        """Follow the plot views of the present layout, in place of those of an earlier one."""
        layout = slicer.app.layoutManager()
        if layout is None:
            return
        self.close()
        for number in range(layout.plotViewCount):
            view = layout.plotWidget(number).plotView()
            view.connect(_CLICKED, self._on_points)
            self._views.append(view)

    def close(self) -> None:
        """Follow no view any more."""
        for view in self._views:
            view.disconnect(_CLICKED, self._on_points)
        self._views = []

    def _on_points(self, series_ids: Any, points: Any) -> None:
        for number in range(series_ids.GetNumberOfValues()):
            chosen = points.GetItemAsObject(number)
            series = slicer.mrmlScene.GetNodeByID(series_ids.GetValue(number))
            if series is not None and chosen is not None and chosen.GetNumberOfValues():
                index = slice_of_point(series, chosen.GetValue(0))
                if index is not None:
                    self._go(index)
                    return
