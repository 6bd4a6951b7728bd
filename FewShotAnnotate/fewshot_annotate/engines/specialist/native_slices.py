"""Slices of a prediction at the volume's own resolution, interpolated when they are needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .preparation import WorkingGrid, resized


@dataclass(frozen=True)
class NativeSlices:
    """A prediction on the working grid, read slice by slice on the grid of the volume.

    Attributes
    ----------
    probabilities : float ndarray, shape [labels + 1, d, h, w]
        On the working grid.
    grid : WorkingGrid
    """

    probabilities: np.ndarray
    grid: WorkingGrid

    def read(self, axis: int, index: int) -> np.ndarray:
        """Probabilities, float32 `[labels + 1, h, w]`, of a slice across an array axis.

        Probabilities are interpolated linearly, never labels.
        """
        grid = self.grid
        grid_axis, flipped = grid.place(axis)
        if flipped:
            index = grid.native[grid_axis] - 1 - index
        plane = self._between(grid_axis, index)
        lengths = [grid.native[other] for other in range(3) if other != grid_axis]
        for at, length in enumerate(lengths, start=1):
            plane = resized(plane, at, length)
        restored = grid.restore(np.expand_dims(plane, 1 + grid_axis))
        return np.ascontiguousarray(np.take(restored, 0, axis=1 + axis))

    def _between(self, grid_axis: int, index: int) -> np.ndarray:
        old, new = self.grid.size[grid_axis], self.grid.native[grid_axis]
        position = min(max((index + 0.5) * old / new - 0.5, 0.0), old - 1.0)
        before = min(int(position), old - 1)
        share = np.float32(position - before)
        low: np.ndarray = np.take(self.probabilities, before, axis=1 + grid_axis).astype(np.float32)
        if not share:
            return low
        high: np.ndarray = np.take(self.probabilities, min(before + 1, old - 1), axis=1 + grid_axis).astype(
            np.float32
        )
        blended: np.ndarray = low + share * (high - low)
        return blended
