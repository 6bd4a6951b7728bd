"""Painted slices, found from the voxels without Slicer."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...core.slice_axis import SliceAxis

if TYPE_CHECKING:
    from ..mrml.grid import SegmentationGrid

# Largest ratio of a sparsely painted segment's mean run length along the painted axis to the next shorter one.
_SPARSE_RATIO = 0.5


@dataclass(frozen=True)
class SegmentExtent:
    """Slices with voxels of a segment, along each axis.

    Attributes
    ----------
    slices : three tuples of int
        The slices with voxels along array axis 0, 1 and 2.
    mean_run : three floats
        Mean length in voxels of its unbroken runs along each axis.
    voxels : three tuples of int
        How many voxels each of these slices has.
    """

    slices: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    mean_run: tuple[float, float, float]
    voxels: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] = ((), (), ())

    @property
    def painted_axis(self) -> int | None:
        """The axis it was painted along slice by slice; None for a segment that is complete or empty."""
        if not self.slices[0]:
            return None
        shortest, second = sorted(self.mean_run)[:2]
        axis = self.mean_run.index(shortest)
        indices = self.slices[axis]
        gaps = indices[-1] - indices[0] + 1 > len(indices)
        return axis if (gaps or len(indices) <= 2) and shortest <= _SPARSE_RATIO * second else None


# Stands for the checksum of a slice that was changed by hand; no checksum is negative.
CHANGED_BY_HAND = -1


@dataclass(frozen=True)
class RemainingLabels:
    """Filled slices after the removal of a segment, without which their checksums cannot be computed any more.

    Attributes
    ----------
    segment_ids : tuple of str
        Segments that remain.
    checksums : mapping of int to int
        Slice -> checksum of these when the removal was found; slices changed by hand before are omitted.
    """

    segment_ids: tuple[str, ...]
    checksums: Mapping[int, int]

    def changed(self, present: Mapping[int, int]) -> dict[int, int]:
        """Slice -> `CHANGED_BY_HAND` where the present checksum is another one."""
        return {
            index: CHANGED_BY_HAND for index, checksum in present.items() if self.checksums.get(index) != checksum
        }


def segment_extents(grid: SegmentationGrid) -> dict[str, SegmentExtent]:
    """Extent of every segment with a labelmap, by segment id."""
    result = {}
    for layer in grid.layers:
        boxes = _boxes(layer.array)
        for value, segment_id in layer.segments.items():
            box = boxes.get(value)
            if box is None:
                result[segment_id] = SegmentExtent(((), (), ()), (0.0, 0.0, 0.0))
            else:
                starts = [start + axis_range.start for start, axis_range in zip(layer.offset, box, strict=True)]
                result[segment_id] = _extent(layer.array[box] == value, starts)
    return result


def painted_axis(extents: Mapping[str, SegmentExtent]) -> int | None:
    """The axis most painted segments were painted along, None if none is."""
    axes = [axis for extent in extents.values() if (axis := extent.painted_axis) is not None]
    return max(sorted(set(axes)), key=axes.count) if axes else None


def painted_slices(
    extents: Mapping[str, SegmentExtent], segment_ids: Sequence[str], axis: int
) -> dict[int, list[str]]:
    """Slices along `axis` with voxels of the segments: index -> ids of the segments on it, ascending."""
    names_by_slice: dict[int, list[str]] = {}
    for segment_id in segment_ids:
        for index in extents[segment_id].slices[axis] if segment_id in extents else ():
            names_by_slice.setdefault(index, []).append(segment_id)
    return dict(sorted(names_by_slice.items()))


def coverage(
    extents: Mapping[str, SegmentExtent], segment_ids: Sequence[str], axis: int
) -> dict[int, dict[str, int]]:
    """Voxels of the segments on each slice along `axis` that has any: index -> segment id -> voxels, ascending."""
    counts_by_slice: dict[int, dict[str, int]] = {}
    for segment_id in segment_ids:
        extent = extents.get(segment_id)
        if extent is not None:
            for index, voxels in zip(extent.slices[axis], extent.voxels[axis], strict=True):
                counts_by_slice.setdefault(index, {})[segment_id] = voxels
    return dict(sorted(counts_by_slice.items()))


def slice_digests(
    grid: SegmentationGrid, segment_ids: Sequence[str], axis: SliceAxis, slices: Sequence[int]
) -> dict[int, int]:
    """Checksum of the segments' voxels on each slice; a different one later shows that the slice was edited."""
    return {index: masks_digest(grid.segment_slices(segment_ids, axis, index), segment_ids) for index in slices}


def segment_digests(
    grid: SegmentationGrid, segment_ids: Sequence[str], axis: SliceAxis, slices: Sequence[int]
) -> dict[str, dict[int, int]]:
    """Checksum of each segment's voxels, by segment id and slice; slices without voxels are omitted."""
    checksums: dict[str, dict[int, int]] = {name: {} for name in segment_ids}
    for index in slices:
        for name, mask in grid.segment_slices(segment_ids, axis, index).items():
            checksums[name][index] = masks_digest({name: mask}, (name,))
    return checksums


def masks_digest(masks: Mapping[str, np.ndarray], segment_ids: Sequence[str]) -> int:
    """Checksum of the masks, bool `[h, w]`, of a slice; segments without a voxel do not count."""
    digest = 0
    for segment_id in segment_ids:
        if segment_id in masks and masks[segment_id].any():
            digest = zlib.crc32(np.packbits(masks[segment_id]).tobytes(), zlib.crc32(segment_id.encode(), digest))
    return digest


def _boxes(labels: np.ndarray) -> dict[int, tuple[slice, slice, slice]]:
    """Bounding box of every label value; computed slice by slice, because a long call would block other threads."""
    from scipy.ndimage import find_objects

    boxes: dict[int, tuple[slice, slice, slice]] = {}
    for k, label in enumerate(labels):
        if not label.any():
            continue
        for value, box in enumerate(find_objects(label), start=1):
            if box is not None:
                _, rows, columns = boxes.get(value, (None, *box))
                boxes[value] = (
                    slice(boxes[value][0].start if value in boxes else k, k + 1),
                    slice(min(rows.start, box[0].start), max(rows.stop, box[0].stop)),
                    slice(min(columns.start, box[1].start), max(columns.stop, box[1].stop)),
                )
    return boxes


def _extent(mask: np.ndarray, offset: Sequence[int]) -> SegmentExtent:
    """Extent of a mask that fills its box."""
    flat = np.count_nonzero(mask, axis=2)
    columns = np.count_nonzero(mask, axis=(0, 1))
    counts = (flat.sum(axis=1), flat.sum(axis=0), columns)
    indices = [np.flatnonzero(line) for line in counts]
    count = int(columns.sum())
    runs = []
    for axis in range(3):
        lines = np.moveaxis(mask, axis, 0)
        starts = np.count_nonzero(lines[0]) + np.count_nonzero(lines[1:] & ~lines[:-1])
        runs.append(float(count / starts))
    k, j, i = (tuple(int(index) + start for index in line) for line, start in zip(indices, offset, strict=True))
    voxels = [tuple(map(int, line[line > 0])) for line in counts]
    return SegmentExtent((k, j, i), (runs[0], runs[1], runs[2]), (voxels[0], voxels[1], voxels[2]))
