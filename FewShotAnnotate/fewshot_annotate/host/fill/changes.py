"""Changes: voxels to add to and remove from segments. Without Slicer, so that worker processes can read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...core.bounding_box import bounding_box
from ...core.slice_axis import SliceAxis

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Box:
    """Voxels of a segment: a mask, bool [k, j, i], of a box in the grid, and the first voxel (k, j, i) of the box."""

    first: tuple[int, int, int]
    mask: np.ndarray

    def slice_part(self, axis: SliceAxis, index: int) -> tuple[np.ndarray, Window] | None:
        """Mask of the box on a slice of the grid, and its rows and columns; None if it misses the slice."""
        first = list(self.first)
        box_index = index - first.pop(axis.index)
        slices = axis.slices(self.mask)
        if not 0 <= box_index < len(slices):
            return None
        rows, columns = slices.shape[1:]
        return slices[box_index], (slice(first[0], first[0] + rows), slice(first[1], first[1] + columns))


@dataclass(frozen=True)
class Changes:
    """Voxels to add to and remove from segments, by segment id.

    Attributes
    ----------
    add, remove : dict of str to Box
        Segment id -> voxels.
    withheld : bool
        Whether masks, locks or other segments kept a voxel from being changed.
    """

    add: dict[str, Box]
    remove: dict[str, Box]
    withheld: bool = False

    @property
    def segment_ids(self) -> set[str]:
        """Segments that gain or lose voxels."""
        return {*self.add, *self.remove}

    def applied(
        self, masks: Mapping[str, np.ndarray], axis: SliceAxis, index: int, shape: tuple[int, int]
    ) -> dict[str, np.ndarray]:
        """Masks, bool [h, w], of a slice after the changes."""
        result = {name: mask.copy() for name, mask in masks.items()}
        for boxes, value in ((self.remove, False), (self.add, True)):
            for name, box in boxes.items():
                placed = box.slice_part(axis, index)
                if placed is not None:
                    box_mask, window = placed
                    result.setdefault(name, np.zeros(shape, dtype=bool))[window][box_mask] = value
        return result


class MaskPieces:
    """Voxels of segments, collected slice by slice as small masks."""

    def __init__(self, axis: SliceAxis) -> None:
        self._axis = axis
        self._pieces: dict[str, list[tuple[int, int, int, np.ndarray]]] = {}

    def mark(self, name: str, index: int, window: Window, mask: np.ndarray) -> None:
        """Add the voxels of a segment in a window of a slice; `mask` is bool, of the size of the window."""
        if mask.any():
            rows, columns = mask_window([mask])
            first = (index, window[0].start + rows.start, window[1].start + columns.start)
            self._pieces.setdefault(name, []).append((*first, mask[rows, columns].copy()))

    def boxes(self) -> dict[str, Box]:
        """Segment id -> all its voxels."""
        return {name: self._box(pieces) for name, pieces in self._pieces.items()}

    def _box(self, pieces: Sequence[tuple[int, int, int, np.ndarray]]) -> Box:
        first = (
            min(index for index, *_ in pieces),
            min(row for _, row, _, _ in pieces),
            min(column for _, _, column, _ in pieces),
        )
        stop = (
            max(index for index, *_ in pieces) + 1,
            max(row + mask.shape[0] for _, row, _, mask in pieces),
            max(column + mask.shape[1] for _, _, column, mask in pieces),
        )
        union = np.zeros([b - a for a, b in zip(first, stop, strict=True)], dtype=bool)
        for index, row, column, mask in pieces:
            target = union[index - first[0], row - first[1] :, column - first[2] :]
            target[: mask.shape[0], : mask.shape[1]] = mask
        voxel = [first[1], first[2]]
        voxel.insert(self._axis.index, first[0])
        return Box((voxel[0], voxel[1], voxel[2]), np.ascontiguousarray(self._axis.restore(union)))


def mask_window(masks: Sequence[np.ndarray]) -> Window:
    """Bounding box of all masks, bool `[h, w]`, together; one of them holds a voxel."""
    union = masks[0] if len(masks) == 1 else np.logical_or.reduce(masks)
    box = bounding_box(union)
    assert box is not None
    rows, columns = box
    return rows, columns
