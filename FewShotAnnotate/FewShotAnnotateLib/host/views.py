"""Slice views: which slice the user looks at, and how to go to another."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from ..core.axis import SliceAxis
from .scene import SegmentationGrid, ijk_to_ras


def current_slice(segmentation_node: Any, grid: SegmentationGrid, axis: SliceAxis) -> int | None:
    """Slice of the grid shown by the slice view that looks most nearly along `axis`; None if no view does."""
    scene = segmentation_node.GetScene()
    to_world = _to_world(segmentation_node, grid)
    column = 2 - axis.index
    direction = to_world[:3, column] / np.linalg.norm(to_world[:3, column])
    best, index = 0.7, None
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
        view = scene.GetNthNodeByClass(number, "vtkMRMLSliceNode")
        plane = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
        likeness = abs(float(plane[:3, 2] @ direction))
        if likeness > best:
            position = np.linalg.inv(to_world) @ plane[:, 3]
            best, index = likeness, round(float(position[column]))
    return index if index is not None and 0 <= index < axis.count(grid.geometry) else None


def jump_to_slice(segmentation_node: Any, grid: SegmentationGrid, axis: SliceAxis, index: int) -> None:
    """Show a slice of the grid in all slice views."""
    voxel = [(size - 1) / 2 for size in grid.geometry.shape[::-1]]
    voxel[2 - axis.index] = index
    point = _to_world(segmentation_node, grid) @ (*voxel, 1.0)
    slicer.vtkMRMLSliceNode.JumpAllSlices(segmentation_node.GetScene(), *(float(value) for value in point[:3]))


def _to_world(segmentation_node: Any, grid: SegmentationGrid) -> np.ndarray:
    """4x4 matrix of the grid's voxel (i, j, k) to world RAS in mm, the segmentation's linear transform applied."""
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(
        segmentation_node.GetParentTransformNode(), None, matrix
    )
    return np.asarray(slicer.util.arrayFromVTKMatrix(matrix) @ ijk_to_ras(grid.geometry))
