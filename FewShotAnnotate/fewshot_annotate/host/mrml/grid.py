"""Voxels of a segmentation and of a volume on the grid of the segmentation, without MRML.

A run works on the segmentation's own grid, so painted voxels are never resampled. The volume is
resampled onto it only where the two grids differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...core.slice_axis import SliceAxis
from ...core.volume import Geometry

# A volume is sampled at about this many voxels along each axis.
_SAMPLES_PER_AXIS = 24
# A slice is sampled at about this many pixels along each axis, to find whether it crosses a volume.
_SAMPLES_PER_SLICE_AXIS = 16


@dataclass(frozen=True)
class Layer:
    """One labelmap that segments share.

    Attributes
    ----------
    array : ndarray [k, j, i]
        View of the labelmap's voxels; it may cover a part of the grid only. Holding the view keeps the memory valid.
    offset : (int, int, int)
        Position of its first voxel in the grid, array order.
    segments : dict
        Label value -> segment id.
    """

    array: np.ndarray
    offset: tuple[int, int, int]
    segments: dict[int, str]

    def slice(self, axis: SliceAxis, index: int, shape: tuple[int, int]) -> np.ndarray:
        """Values [h, w] of a slice of the whole grid, 0 where the labelmap does not reach."""
        slices = axis.slices(self.array)
        first = list(self.offset)
        layer_index = index - first.pop(axis.index)
        full_slice = np.zeros(shape, dtype=self.array.dtype)
        if 0 <= layer_index < len(slices):
            stored = slices[layer_index]
            full_slice[first[0] : first[0] + stored.shape[0], first[1] : first[1] + stored.shape[1]] = stored
        return full_slice

    def clipped(self, shape: tuple[int, int, int]) -> Layer | None:
        """The part of the layer inside a grid of this size; None if there is none."""
        cut, offset = [], []
        for start, size, most in zip(self.offset, self.array.shape, shape, strict=True):
            first, stop = max(0, -start), min(size, most - start)
            if first >= stop:
                return None
            cut.append(slice(first, stop))
            offset.append(start + first)
        return Layer(self.array[tuple(cut)], (offset[0], offset[1], offset[2]), self.segments)

    def copied(self) -> Layer:
        """Copy, unchanged by later painting."""
        copy = np.zeros_like(self.array)
        for target, label_slice in zip(copy, self.array, strict=True):
            if label_slice.any():  # most slices are empty before a run, and their pages take no memory
                target[:] = label_slice
        return replace(self, array=copy)


@dataclass(frozen=True)
class SegmentationGrid:
    """A segmentation's voxels on its reference geometry.

    Attributes
    ----------
    geometry : Geometry
        In the segmentation node's own coordinates (its transform not applied), LPS.
    layers : tuple of Layer
    first : (int, int, int)
        Slicer's own number (i, j, k) of the grid's first voxel; a reference geometry need not begin at 0.
    is_cropped : bool
        Whether a labelmap extends beyond the grid; what lies there is in no layer.
    """

    geometry: Geometry
    layers: tuple[Layer, ...]
    first: tuple[int, int, int] = (0, 0, 0)
    is_cropped: bool = False

    def slice_shape(self, axis: SliceAxis) -> tuple[int, int]:
        """Rows and columns of a slice."""
        rows, columns = (size for number, size in enumerate(self.geometry.shape) if number != axis.index)
        return rows, columns

    def segment_slices(self, segment_ids: Collection[str], axis: SliceAxis, index: int) -> dict[str, np.ndarray]:
        """Voxels, bool [h, w], of those of the segments that have any on the slice."""
        shape = self.slice_shape(axis)
        segment_masks = {}
        for layer in self.layers:
            if not any(name in segment_ids for name in layer.segments.values()):
                continue
            label_slice = layer.slice(axis, index, shape)
            if label_slice.any():
                masks = {name: label_slice == value for value, name in layer.segments.items() if name in segment_ids}
                segment_masks.update({name: mask for name, mask in masks.items() if mask.any()})
        return segment_masks

    def union_slice(self, segment_ids: Collection[str], axis: SliceAxis, index: int) -> np.ndarray:
        """Voxels of any of the segments on a slice, bool [h, w]."""
        union = np.zeros(self.slice_shape(axis), dtype=bool)
        for mask in self.segment_slices(segment_ids, axis, index).values():
            union |= mask
        return union

    def segment_box(self, segment_id: str, first: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """Voxels of a segment in a part of the grid, bool [k, j, i] of that size."""
        mask = np.zeros(tuple(size), dtype=bool)
        for layer in self.layers:
            for value, name in layer.segments.items():
                if name == segment_id:
                    in_layer, in_box = _overlap(layer, first, size)
                    present = layer.array[in_layer] == value
                    if present.shape == mask.shape:
                        return np.asarray(present)
                    mask[in_box] = present
        return mask

    def snapshot(self, segment_ids: Collection[str]) -> SegmentationGrid:
        """Copy of `layers_of` the segments, unchanged by later painting.

        In the main thread only where few slices hold labels: else see `BackgroundTasks.start_copy`.
        """
        return replace(self, layers=tuple(layer.copied() for layer in self.layers_of(segment_ids)))

    def layers_of(self, segment_ids: Collection[str]) -> tuple[Layer, ...]:
        """The layers that hold any of the segments, listing these alone; views of the same voxels."""
        layers = []
        for layer in self.layers:
            segments = {value: name for value, name in layer.segments.items() if name in segment_ids}
            if segments:
                layers.append(replace(layer, segments=segments))
        return tuple(layers)


@dataclass(frozen=True)
class ImageSource:
    """A volume node's voxels, and their relation to the grid of the segmentation.

    Attributes
    ----------
    array : ndarray [k, j, i]
        View of the volume's voxels.
    grid_to_array : ndarray 4x4 or None
        Array index (k, j, i) in the grid -> array index in `array`; None if the grids are the same.
    """

    array: np.ndarray
    grid_to_array: np.ndarray | None

    def on_grid(self, shape: tuple[int, int, int]) -> np.ndarray:
        """Voxels `[k, j, i]` on the grid, trilinear where the grids differ, edge values outside; for a thread."""
        if self.grid_to_array is None:
            return self.array
        result = np.empty(shape, dtype=np.float32)
        for k in range(shape[0]):  # slice by slice, so that the GUI thread can run in between
            result[k] = self.slice(SliceAxis(0), k, shape)
        return result

    def slice(self, axis: SliceAxis, index: int, shape: tuple[int, int, int]) -> np.ndarray:
        """One slice [h, w] of `on_grid(shape)`."""
        if self.grid_to_array is None:
            return np.asarray(axis.slices(self.array)[index])
        from scipy.ndimage import affine_transform

        matrix = self.grid_to_array
        first = np.zeros(3)
        first[axis.index] = index
        size = [1 if number == axis.index else length for number, length in enumerate(shape)]
        start = matrix[:3, :3] @ first + matrix[:3, 3]
        resampled = affine_transform(
            self.array, matrix[:3, :3], start, tuple(size), np.float32, order=1, mode="nearest"
        )
        return np.asarray(axis.slices(resampled)[0])

    def slices_outside(self, axis: SliceAxis, shape: tuple[int, int, int]) -> list[int]:
        """Slices of a grid of this shape that the volume does not reach: all their voxels have values of its edge."""
        if self.grid_to_array is None:
            return []
        positions = [np.linspace(0, size - 1, min(size, _SAMPLES_PER_SLICE_AXIS)) for size in shape]
        positions[axis.index] = np.arange(shape[axis.index], dtype=float)
        index = np.stack(np.meshgrid(*positions, indexing="ij"), axis=-1) @ self.grid_to_array[:3, :3].T
        index += self.grid_to_array[:3, 3]
        inside = ((index >= -0.5) & (index <= np.array(self.array.shape) - 0.5)).all(axis=-1)
        reached = inside.any(axis=tuple(number for number in range(3) if number != axis.index))
        return [int(outside) for outside in np.flatnonzero(~reached)]

    @property
    def matrix(self) -> tuple[float, ...] | None:
        """`grid_to_array` row by row."""
        return None if self.grid_to_array is None else tuple(map(float, self.grid_to_array.reshape(-1)))

    def sample(self) -> str:
        """Checksum of some evenly spread voxels, by which a later change of the volume is found; well under 1 ms."""
        steps = tuple(slice(None, None, max(1, size // _SAMPLES_PER_AXIS)) for size in self.array.shape)
        return hashlib.blake2b(self.array[steps].tobytes(), digest_size=16).hexdigest()


def _overlap(layer: Layer, first: Sequence[int], size: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Common part of a layer and a box of the grid, as index of the layer and index of the box."""
    in_layer, in_box = [], []
    for offset, layer_size, start, box_size in zip(layer.offset, layer.array.shape, first, size, strict=True):
        low, high = max(offset, start), max(offset, start, min(offset + layer_size, start + box_size))
        in_layer.append(slice(low - offset, high - offset))
        in_box.append(slice(low - start, high - start))
    return tuple(in_layer), tuple(in_box)
