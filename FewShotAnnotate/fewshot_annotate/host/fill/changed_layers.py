"""Labelmaps of a segmentation as a commit leaves them, computed in a background thread before they are written.

Writing them only gives the segments other labelmaps, so it takes milliseconds however large they are.
Other changes, such as a new labelmap for segments that overlap afterwards, are left to Slicer's editor logic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import slicer
from vtk import vtkDataArray
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from ..mrml.grid import Layer, SegmentationGrid
from ..mrml.node_types import SegmentationNode, VtkSegmentation
from ..mrml.reading import BINARY_LABELMAP, CLOSED_SURFACE
from .changes import Box, Changes
from .saved_segmentation import announce_voxels


@dataclass(frozen=True)
class ChangedLayer:
    """One labelmap after the changes.

    Attributes
    ----------
    segment_ids : tuple of str
        Its segments.
    voxels : vtkDataArray
        Values of the smallest box that holds all labelled voxels, in the order of VTK.
    shift : (int, int, int)
        First voxel (k, j, i) of that box, counted from the first voxel of the labelmap before the changes.
    shape : (int, int, int)
        Size of that box, array order.
    """

    segment_ids: tuple[str, ...]
    voxels: Any = field(repr=False)
    shift: tuple[int, int, int]
    shape: tuple[int, int, int]

    def write(self, segmentation: VtkSegmentation) -> None:
        """Give the segments a labelmap with these voxels."""
        before = segmentation.GetSegment(self.segment_ids[0]).GetRepresentation(BINARY_LABELMAP)
        first = (start + shift for start, shift in zip(before.GetExtent()[::2], self.shift[::-1], strict=True))
        box = zip(first, self.shape[::-1], strict=True)
        after = slicer.vtkOrientedImageData()
        after.ShallowCopy(before)
        after.SetExtent([index for start, size in box for index in (start, start + size - 1)])
        self.voxels.SetName(before.GetPointData().GetScalars().GetName())
        after.GetPointData().SetScalars(self.voxels)
        for segment_id in self.segment_ids:
            segmentation.GetSegment(segment_id).AddRepresentation(BINARY_LABELMAP, after)


def changed_layers(grid: SegmentationGrid, changes: Changes) -> list[ChangedLayer] | None:
    """The labelmaps of all segments that the changes concern. Touches no node.

    Returns
    -------
    list of ChangedLayer or None
        None if segments of a labelmap overlap afterwards or lose all their voxels together, or if a segment has no
        labelmap yet or voxels beyond the grid.
    """
    layers = [layer for layer in grid.layers if changes.segment_ids & {*layer.segments.values()}]
    if grid.is_cropped or changes.segment_ids - {name for layer in layers for name in layer.segments.values()}:
        return None
    changed: list[ChangedLayer] = []
    for layer in layers:
        after = _changed_layer(layer, changes)
        if after is None:
            return None
        changed.append(after)
    return changed


def can_be_written(node: SegmentationNode) -> bool:
    """Whether the segments have only labelmaps and closed surfaces; Slicer's editor logic converts any others."""
    names: list[str] = []
    node.GetSegmentation().GetContainedRepresentationNames(names)
    return {*names} <= {BINARY_LABELMAP, CLOSED_SURFACE}


def write_layers(node: SegmentationNode, layers: Sequence[ChangedLayer], changes: Changes) -> None:
    """Write labelmaps into the segmentation node they were computed from, with the events that Slicer sends."""
    segmentation, logic = node.GetSegmentation(), slicer.vtkSlicerSegmentationsModuleLogic
    for layer in layers:
        layer.write(segmentation)
    for segment_id in sorted(changes.segment_ids):
        segment = segmentation.GetSegment(segment_id)
        announce_voxels(segmentation, segment_id)
        if logic.GetSegmentStatus(segment) == logic.NotStarted:
            logic.SetSegmentStatus(segment, logic.InProgress)


def _changed_layer(layer: Layer, changes: Changes) -> ChangedLayer | None:
    """The labelmap after the changes; None if two of its segments overlap then, or no voxel is left."""
    boxes = {
        value: (changes.remove.get(name), changes.add.get(name)) for value, name in sorted(layer.segments.items())
    }
    reach = [(layer.offset, layer.array.shape)]
    reach += [(box.first, box.mask.shape) for _removed, box in boxes.values() if box is not None]
    start = np.min([first for first, _size in reach], axis=0)
    stop = np.max([np.add(first, size) for first, size in reach], axis=0)
    array = np.zeros(stop - start, dtype=layer.array.dtype)
    # Slice by slice: short steps let the thread of the application in between.
    for target, values in zip(_box_view(array, start, layer.offset, layer.array.shape), layer.array, strict=True):
        target[:] = values
    for value, (removed, _added) in boxes.items():
        if removed is not None:
            for target, mask in _slices(array, start, removed):
                target[mask & (target == value)] = 0
    for value, (_removed, added) in boxes.items():
        if added is not None:
            for target, mask in _slices(array, start, added):
                if (mask & (target != 0) & (target != value)).any():
                    return None
                np.copyto(target, value, where=mask)
    box = _labelled_box(array)
    if box is None:
        return None
    shape = tuple(bounds.stop - bounds.start for bounds in box)
    voxels = vtkDataArray.CreateDataArray(get_vtk_array_type(array.dtype))
    voxels.SetNumberOfValues(int(np.prod(shape)))
    for target, values in zip(vtk_to_numpy(voxels).reshape(shape), array[box], strict=True):
        target[:] = values
    k, j, i = (
        int(first + bounds.start - offset) for first, bounds, offset in zip(start, box, layer.offset, strict=True)
    )
    return ChangedLayer(tuple(layer.segments.values()), voxels, (k, j, i), (shape[0], shape[1], shape[2]))


def _box_view(array: np.ndarray, start: np.ndarray, first: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """View of a box of the grid in an array that begins at `start` in the grid."""
    return array[tuple(slice(low - begin, low - begin + n) for low, begin, n in zip(first, start, size, strict=True))]


def _slices(array: np.ndarray, start: np.ndarray, box: Box) -> zip[tuple[np.ndarray, np.ndarray]]:
    """Views [j, i] of the array and of a box's mask, for each slice k of the box."""
    return zip(_box_view(array, start, box.first, box.mask.shape), box.mask, strict=True)


def _labelled_box(array: np.ndarray) -> tuple[slice, slice, slice] | None:
    """Smallest box that holds all voxels other than 0; None if there is none.

    As `core.bounding_box`, but without a mask of the whole array.
    """
    columns, rows, slices = (np.zeros(size, dtype=bool) for size in array.shape[::-1])
    for index, values in enumerate(array):
        found = values != 0
        slices[index] = found.any()
        if slices[index]:
            rows |= found.any(axis=1)
            columns |= found.any(axis=0)
    if not slices.any():
        return None
    k, j, i = (np.flatnonzero(present)[[0, -1]] for present in (slices, rows, columns))
    return slice(int(k[0]), int(k[1]) + 1), slice(int(j[0]), int(j[1]) + 1), slice(int(i[0]), int(i[1]) + 1)
