"""Intensity ranges: which intensities of a volume are scaled to 0..1, for engines and for pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Percentages of voxels below and above the range: extreme intensities would leave the others without contrast.
PERCENTILES = (0.5, 99.5)
# Fractions of the voxels of a volume that lie below the values of `intensity_quantiles`: extremes, range and median.
QUANTILES = (0.0, PERCENTILES[0] / 100, 0.5, PERCENTILES[1] / 100, 1.0)
# Number of voxels sampled to determine a range.
RANGE_SAMPLE_VOXELS = 500_000
# Ranges narrower than this, relative to their intensities, are scaled in float64: float32 has few values in them.
MIN_RELATIVE_WIDTH = 2.0**-12


@dataclass(frozen=True)
class IntensityRange:
    """Intensities that are scaled to 0 and 1.

    Attributes
    ----------
    low, high : float
        `low` is the smaller one.
    """

    low: float
    high: float

    @classmethod
    def of_volume(cls, array: np.ndarray) -> IntensityRange:
        """The range of a volume `[k, j, i]` of any real dtype, from its `PERCENTILES`."""
        low, high = (float(value) for value in np.percentile(subsample(array, RANGE_SAMPLE_VOXELS), PERCENTILES))
        if low == high:
            low, high = float(array.min()), float(array.max())
        return cls(low, high if low < high else _above(low))

    @classmethod
    def of_quantiles(cls, quantiles: Sequence[float]) -> IntensityRange:
        """The range of a volume of which only the `QUANTILES` are known."""
        least, low, _, high, most = quantiles
        if low == high:
            low, high = least, most
        return cls(float(low), float(high) if low < high else _above(float(low)))

    def normalise(self, image: np.ndarray, dtype: type[np.floating] = np.float32) -> np.ndarray:
        """Intensities from 0 to 1 as a new array of the same shape; those outside the range become 0 or 1."""
        calculated = dtype if self._is_exact(dtype) else np.float64
        result = image.astype(calculated)
        result -= calculated(self.low)
        result /= calculated(self.high - self.low)
        return np.clip(result, 0, 1, out=result).astype(dtype, copy=False)

    def _is_exact(self, dtype: type[np.floating]) -> bool:
        """Whether intensities of the range can be scaled in a dtype, with little loss."""
        width, limits = self.high - self.low, np.finfo(dtype)
        least = max(MIN_RELATIVE_WIDTH * max(abs(self.low), abs(self.high)), float(limits.tiny))
        return least <= width <= float(limits.max)


def _above(value: float) -> float:
    """The value plus 1, or the next larger one where that is the same number."""
    return max(value + 1, math.nextafter(value, math.inf))


def intensity_quantiles(array: np.ndarray, sample_voxels: int) -> tuple[float, ...]:
    """Intensities of a volume `[k, j, i]` at `QUANTILES`; the extremes of all voxels, the others of a sample."""
    inner = np.quantile(subsample(array, sample_voxels), QUANTILES[1:-1])
    return tuple(float(value) for value in (array.min(), *inner, array.max()))


def subsample(array: np.ndarray, voxels: int) -> np.ndarray:
    """View of every n-th voxel of a volume `[k, j, i]` along each axis, so that about `voxels` are left."""
    stride = max(1, round((array.size / voxels) ** (1 / 3)))
    return array[::stride, ::stride, ::stride]
