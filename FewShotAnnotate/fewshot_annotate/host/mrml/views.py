"""Slice views: the slice shown, and jumping to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk

from ...core.slice_axis import SliceAxis
from .grid import SegmentationGrid
from .node_types import SegmentationNode
from .reading import ijk_to_ras

# Cosine between the normals of a slice view and of the slices from which on the view shows one of them.
_MIN_COSINE = 0.7


def current_slice(segmentation_node: SegmentationNode, grid: SegmentationGrid, axis: SliceAxis) -> int | None:
    """Slice of the grid shown by the slice view whose normal is closest to `axis`; None if no view shows one."""
    scene, transform = segmentation_node.GetScene(), segmentation_node.GetParentTransformNode()
    if transform is not None and not transform.IsTransformToWorldLinear():
        return None  # no slice of the grid is a plane
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(transform, None, matrix)
    to_world = slicer.util.arrayFromVTKMatrix(matrix) @ ijk_to_ras(grid.geometry)
    first, last = (to_world @ (*_middle(grid, axis, index), 1.0) for index in (0, axis.count(grid.geometry) - 1))
    through = (last - first)[:3]  # vector through the centres of all slices
    best, index = _MIN_COSINE, None
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
        view = scene.GetNthNodeByClass(number, "vtkMRMLSliceNode")
        plane = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
        along = float(plane[:3, 2] @ through)
        if abs(along) > best * np.linalg.norm(through):
            steps = float(plane[:3, 2] @ (plane[:3, 3] - first[:3])) / along
            best = abs(along) / float(np.linalg.norm(through))
            index = round(steps * (axis.count(grid.geometry) - 1))
    return index if index is not None and 0 <= index < axis.count(grid.geometry) else None


def jump_to_slice(
    segmentation_node: SegmentationNode,
    grid: SegmentationGrid,
    axis: SliceAxis,
    index: int,
    pixel: tuple[int, int] | None = None,
) -> None:
    """Show a slice of the grid in all slice views; perpendicular views go to a pixel of it, by default its middle."""
    voxel = _middle(grid, axis, index)
    if pixel is not None:
        across = [number for number in (2, 1, 0) if number != 2 - axis.index]  # (i, j, k) of row and column
        for number, value in zip(across, pixel, strict=True):
            voxel[number] = value
    world = _world(segmentation_node, grid, voxel)
    slicer.vtkMRMLSliceNode.JumpAllSlices(segmentation_node.GetScene(), *world)


def slice_positions(segmentation_node: SegmentationNode, grid: SegmentationGrid, axis: SliceAxis) -> list[str]:
    """Position of each slice in mm along the patient axis nearest to its normal, as in the slice views.

    The letter is that of the side on which the slice lies: S or I, A or P, R or L.
    """
    count = axis.count(grid.geometry)
    ends = [_world(segmentation_node, grid, _middle(grid, axis, index)) for index in (0, max(count - 1, 1))]
    first, last = np.array(ends[0]), np.array(ends[1])
    patient_axis = int(np.argmax(np.abs(last - first)))
    offsets = np.linspace(first[patient_axis], last[patient_axis], count)
    return [f"{('RL', 'AP', 'SI')[patient_axis][int(offset < 0)]}: {offset:.1f}" for offset in offsets]


def _world(segmentation_node: SegmentationNode, grid: SegmentationGrid, voxel: Sequence[float]) -> list[float]:
    """Position of a voxel (i, j, k) in the world, RAS in mm."""
    point = ijk_to_ras(grid.geometry) @ (*voxel, 1.0)
    world = [0.0, 0.0, 0.0]
    segmentation_node.TransformPointToWorld([float(value) for value in point[:3]], world)
    return world


def show_chart(chart: Any, application_logic: Any) -> None:
    """Show a plot, in a layout with a plot view where the application has views."""
    layout = chart.GetScene().GetFirstNodeByClass("vtkMRMLLayoutNode")
    if layout is not None and layout.GetViewArrangement() not in _layouts_with_plot():
        layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView)
    selection = application_logic.GetSelectionNode()
    if selection is not None:
        selection.SetActivePlotChartID(chart.GetID())
        application_logic.PropagatePlotChartSelection()


def _middle(grid: SegmentationGrid, axis: SliceAxis, index: int) -> list[float]:
    """Middle (i, j, k) of a slice."""
    voxel = [(size - 1) / 2 for size in grid.geometry.shape[::-1]]
    voxel[2 - axis.index] = index
    return voxel


def _layouts_with_plot() -> tuple[int, ...]:
    layout = slicer.vtkMRMLLayoutNode
    return (
        layout.SlicerLayoutConventionalPlotView,
        layout.SlicerLayoutFourUpPlotView,
        layout.SlicerLayoutFourUpPlotTableView,
        layout.SlicerLayoutOneUpPlotView,
        layout.SlicerLayoutThreeOverThreePlotView,
    )
