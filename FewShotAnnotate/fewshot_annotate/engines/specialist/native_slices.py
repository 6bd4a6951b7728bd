"""Slices of a prediction at the resolution of the volume, which are interpolated on demand."""

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
        Probabilities on the working grid.
    grid : WorkingGrid
    """

    probabilities: np.ndarray
    grid: WorkingGrid

    def read(self, axis: int, index: int) -> np.ndarray:
        """Linearly interpolated probabilities, float32 `[labels + 1, h, w]`, of a slice across an array axis."""
        grid = self.grid
        grid_axis, flipped = grid.grid_axis(axis)
        if flipped:
            index = grid.native[grid_axis] - 1 - index
        probabilities = self._interpolated(grid_axis, index)
        lengths = [grid.native[other] for other in range(3) if other != grid_axis]
        for slice_axis, length in enumerate(lengths, start=1):
            probabilities = resized(probabilities, slice_axis, length)
        restored = grid.restore(np.expand_dims(probabilities, 1 + grid_axis))
        return np.ascontiguousarray(np.take(restored, 0, axis=1 + axis))

    def _interpolated(self, grid_axis: int, index: int) -> np.ndarray:
        """Probabilities at a native index along one axis of the working grid, at the working size of the others."""
        old, new = self.grid.size[grid_axis], self.grid.native[grid_axis]
        position = min(max((index + 0.5) * old / new - 0.5, 0.0), old - 1.0)
        before = min(int(position), old - 1)
        weight = np.float32(position - before)
        low: np.ndarray = np.take(self.probabilities, before, axis=1 + grid_axis).astype(np.float32)
        if not weight:
            return low
        high: np.ndarray = np.take(self.probabilities, min(before + 1, old - 1), axis=1 + grid_axis).astype(
            np.float32
        )
        interpolated: np.ndarray = low + weight * (high - low)
        return interpolated
