"""ContestedVoxels: voxels whose labels are uncertain after a run, for the overlay and for jumps of the views."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...core.slice_axis import SliceAxis

# Probabilities of a voxel's label below which it counts as contested, by level 1, 2 and 3.
LEVELS = (0.95, 0.8, 0.6)
_Voxel = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class ContestedVoxels:
    """Voxels whose labels are not certain, compressed because they are rarely shown.

    Attributes
    ----------
    axis : SliceAxis
    first : (int, int, int)
        First slice, row and column of the part of the grid that holds them.
    shape : (int, int, int)
    packed : bytes
    middles : mapping of int to (int, int)
        Slice -> row and column of its contested voxel that lies nearest to the middle of them all.
    """

    axis: SliceAxis = field(default_factory=lambda: SliceAxis(0))
    first: _Voxel = (0, 0, 0)
    shape: _Voxel = (0, 0, 0)
    packed: bytes = zlib.compress(b"")
    middles: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, axis: SliceAxis, slices: Sequence[int], confidence: Callable[[int], np.ndarray]) -> ContestedVoxels:
        """Contested voxels of a run, from its confidences. For a background thread.

        Parameters
        ----------
        axis : SliceAxis
        slices : sequence of int
            The filled slices.
        confidence : function
            `confidence(index)` gives the probability of each voxel's label on a slice, 0..1, float [h, w].
        """
        pieces, middles = [], {}
        for index in slices:
            probability = confidence(index)
            levels = np.add.reduce([(probability < bound).astype(np.uint8) for bound in LEVELS])
            rows, columns = np.nonzero(levels)
            if rows.size:
                middles[index] = _middle(rows, columns, 1.0 - probability[rows, columns])
                top, left = int(rows.min()), int(columns.min())
                pieces.append((index, top, left, levels[top : rows.max() + 1, left : columns.max() + 1].copy()))
        if not pieces:
            return cls(axis=axis)
        first = tuple(min(piece[axis] for piece in pieces) for axis in range(3))
        stop = (
            max(index for index, *_ in pieces) + 1,
            max(top + mask.shape[0] for _, top, _, mask in pieces),
            max(left + mask.shape[1] for _, _, left, mask in pieces),
        )
        values = np.zeros([b - a for a, b in zip(first, stop, strict=True)], dtype=np.uint8)
        for index, top, left, mask in pieces:
            target = values[index - first[0], top - first[1] :, left - first[2] :]
            target[: mask.shape[0], : mask.shape[1]] = mask
        return cls(
            axis=axis,
            first=(first[0], first[1], first[2]),
            shape=values.shape,
            packed=zlib.compress(values, 1),
            middles=middles,
        )

    def values(self, reviewed: Collection[int] = ()) -> np.ndarray:
        """Levels 0 to 3, uint8 [k, j, i], without those of slices that were reviewed. For a background thread."""
        slices = np.frombuffer(bytearray(zlib.decompress(self.packed)), dtype=np.uint8).reshape(self.shape)
        for index in reviewed:
            if 0 <= index - self.first[0] < len(slices):
                slices[index - self.first[0]] = 0
        return np.ascontiguousarray(self.axis.restore(slices))

    @property
    def first_voxel(self) -> _Voxel:
        """Voxel (k, j, i) of the grid where `values` begin."""
        voxel = list(self.first[1:])
        voxel.insert(self.axis.index, self.first[0])
        return voxel[0], voxel[1], voxel[2]


def _middle(rows: np.ndarray, columns: np.ndarray, weights: np.ndarray) -> tuple[int, int]:
    row, column = np.average(rows, weights=weights), np.average(columns, weights=weights)
    nearest = int(np.argmin((rows - row) ** 2 + (columns - column) ** 2))
    return int(rows[nearest]), int(columns[nearest])
