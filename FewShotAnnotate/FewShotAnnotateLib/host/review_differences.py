"""Differences: what the last run changed, shown over the user's segmentation. Not saved with the scene."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk

from ..core.axis import SliceAxis
from .decide import Changes
from .scene import BINARY_LABELMAP, SegmentationGrid, ijk_to_ras

DIFFERENCES_ATTRIBUTE = "FewShotAnnotate.Differences"
_Voxel = tuple[int, int, int]
_ADDED, _REMOVED = 1, 2
_COLOURS = {_ADDED: (0.0, 0.75, 0.95), _REMOVED: (0.95, 0.3, 0.1)}
_OPACITY = 0.7


@dataclass(frozen=True)
class Differences:
    """Voxels that a run added and removed, packed: they are seldom looked at.

    Attributes
    ----------
    first : (int, int, int)
        First voxel (k, j, i) of the part of the grid that holds them.
    shape : (int, int, int)
    packed : bytes
    """

    first: _Voxel
    shape: _Voxel
    packed: bytes

    @classmethod
    def of(cls, changes: Changes) -> Differences:
        """From what a run changed. For a background thread."""
        boxes = [*changes.add.values(), *changes.remove.values()]
        if not boxes:
            return cls((0, 0, 0), (0, 0, 0), zlib.compress(b""))
        first = np.min([box.first for box in boxes], axis=0)
        stop = np.max([np.add(box.first, box.mask.shape) for box in boxes], axis=0)
        values = np.zeros(stop - first, dtype=np.uint8)
        for found, value in ((changes.remove, _REMOVED), (changes.add, _ADDED)):  # a voxel may go from one to another
            for box in found.values():
                part = tuple(slice(a, a + n) for a, n in zip(box.first - first, box.mask.shape, strict=True))
                values[part][box.mask] = value
        k, j, i = (int(number) for number in first)
        return cls((k, j, i), values.shape, zlib.compress(values, 1))

    def values(self) -> np.ndarray:
        """1 where added, 2 where only removed, uint8 [k, j, i]. For a background thread."""
        return np.frombuffer(bytearray(zlib.decompress(self.packed)), dtype=np.uint8).reshape(self.shape)

    def counts(self, axis: SliceAxis) -> dict[int, int]:
        """Changed voxels of every slice with any. For a background thread."""
        start = self.first[axis.index]
        numbers = [int(np.count_nonzero(part)) for part in axis.slices(self.values())]
        return {start + number: count for number, count in enumerate(numbers) if count}


class DifferencesOverlay:
    """Shows differences over a segmentation."""

    def __init__(self) -> None:
        self._scene: Any = None
        self._node_id = ""
        self._image: Any = None

    @property
    def node(self) -> Any:
        """The overlay's node, None if nothing is shown."""
        return self._scene.GetNodeByID(self._node_id) if self._scene is not None else None

    def show(self, segmentation_node: Any, grid: SegmentationGrid, first: _Voxel, values: np.ndarray) -> None:
        """Show `Differences.values` that begin at voxel `first` (k, j, i) of the grid."""
        self.hide()
        self._scene = segmentation_node.GetScene()
        self._image = _labelmap(grid, first, values)
        node = slicer.vtkMRMLSegmentationNode()
        node.SetName(_("{name}: changed by the last run").format(name=segmentation_node.GetName()))
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(True)
        node.SetAttribute(DIFFERENCES_ATTRIBUTE, "1")
        self._scene.AddNode(node)
        self._node_id = node.GetID()
        node.SetAndObserveTransformNodeID(segmentation_node.GetTransformNodeID())
        segmentation = node.GetSegmentation()
        segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
        for value, name in ((_ADDED, _("Added")), (_REMOVED, _("Removed"))):
            segment = slicer.vtkSegment()
            segment.SetName(name)
            segment.SetColor(_COLOURS[value])
            segment.SetLabelValue(value)
            segment.AddRepresentation(BINARY_LABELMAP, self._image)
            segmentation.AddSegment(segment, f"Differences_{value}")
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetOpacity2DFill(_OPACITY)
        display.SetVisibility3D(False)

    def hide(self) -> None:
        """Take the overlay out of the scene."""
        node = self.node
        if node is not None:
            self._image.Initialize()  # else VTK erases each segment's voxels, one segment after the other
            display = node.GetDisplayNode()
            self._scene.RemoveNode(node)
            if display is not None:
                self._scene.RemoveNode(display)
        self._scene, self._node_id, self._image = None, "", None


def _labelmap(grid: SegmentationGrid, first: _Voxel, values: np.ndarray) -> Any:
    image = slicer.vtkOrientedImageData()
    ends = [(start, start + size - 1) for start, size in zip(first[::-1], values.shape[::-1], strict=True)]
    image.SetExtent([number for pair in ends for number in pair])
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(ijk_to_ras(grid.geometry).reshape(-1))
    image.SetGeometryFromImageToWorldMatrix(matrix)
    scalars = numpy_to_vtk(values.reshape(-1), deep=False)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image
