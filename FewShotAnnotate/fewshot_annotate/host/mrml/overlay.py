"""Overlay: a read-only segmentation shown over the user's own; not saved with the scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ...core.volume import Geometry
from .node_types import SegmentationNode
from .reading import BINARY_LABELMAP, ijk_to_ras

_Voxel = tuple[int, int, int]


class Overlay:
    """A segmentation node under the transform of the user's segmentation; its segments may share an image.

    Parameters
    ----------
    segmentation_node
        The user's segmentation.
    name : str
    attribute : str
        Marks the node as an overlay of its kind.
    """

    def __init__(self, segmentation_node: SegmentationNode, name: str, attribute: str) -> None:
        self._scene = segmentation_node.GetScene()
        self._images: list[Any] = []
        node = slicer.vtkMRMLSegmentationNode()
        node.SetName(name)
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(True)
        node.SetAttribute(attribute, "1")
        self._scene.AddNode(node)
        self._node_id = node.GetID()
        node.SetAndObserveTransformNodeID(segmentation_node.GetTransformNodeID())
        node.GetSegmentation().SetSourceRepresentationName(BINARY_LABELMAP)

    @property
    def node(self) -> Any:
        """The overlay's node, None once it was removed."""
        return self._scene.GetNodeByID(self._node_id)

    def add_image(self, grid: Geometry, first: _Voxel, values: np.ndarray) -> Any:
        """An image for segments that shares the memory of an array, so that later changes of the array are shown.

        Parameters
        ----------
        grid : Geometry
        first : (int, int, int)
            Voxel (k, j, i) of the grid where the values begin.
        values : ndarray
            Label values, uint8 or uint16 [k, j, i], in C order.
        """
        image = slicer.vtkOrientedImageData()
        ends = [(start, start + size - 1) for start, size in zip(first[::-1], values.shape[::-1], strict=True)]
        image.SetExtent([number for pair in ends for number in pair])
        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy(ijk_to_ras(grid).reshape(-1))
        image.SetGeometryFromImageToWorldMatrix(matrix)
        scalars = numpy_to_vtk(values.reshape(-1), deep=False)
        scalars.SetName("ImageScalars")
        image.GetPointData().SetScalars(scalars)
        self._images.append(image)
        return image

    def add_segment(
        self, identifier: str, name: str, colour: tuple[float, float, float], image: Any, value: int
    ) -> None:
        """Show the voxels of an image that have a label value."""
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.SetColor(colour)
        segment.SetLabelValue(value)
        segment.AddRepresentation(BINARY_LABELMAP, image)
        self.node.GetSegmentation().AddSegment(segment, identifier)

    def display(self, opacity: float) -> None:
        """Let the slice views show the segments, once all are added."""
        node = self.node
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetOpacity2DFill(opacity)
        display.SetVisibility3D(False)

    def remove(self) -> None:
        """Remove the overlay from the scene."""
        for image in self._images:
            image.Initialize()  # else VTK erases the voxels of one segment after the other, which takes long
        self._images.clear()
        node = self.node
        if node is not None:
            display = node.GetDisplayNode()
            self._scene.RemoveNode(node)
            if display is not None:
                self._scene.RemoveNode(display)
