"""Arrays of zeros that take memory only where something else was written, for label maps of many layers."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

# Smaller arrays are not worth a mapping of their own.
_MIN_BYTES = 1 << 20


def sparse_zeros(shape: Sequence[int], dtype: DTypeLike) -> np.ndarray:
    """Array of zeros whose memory pages are taken when they are written.

    NumPy's own zeros ask for huge pages, of which a few written voxels each take one.
    """
    kind = np.dtype(dtype)
    size = kind.itemsize * math.prod(shape)
    if size < _MIN_BYTES or not hasattr(mmap, "MAP_PRIVATE"):
        return np.zeros(tuple(shape), kind)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, kind).reshape(tuple(shape))


def copy_nonzero(target: np.ndarray, values: np.ndarray) -> None:
    """Copy values `[k, j, i]` to an array of zeros of the same shape; rows of zeros are not written."""
    for target_slice, plane in zip(target, values, strict=True):
        rows = np.flatnonzero(plane.any(axis=1))
        if len(rows):
            target_slice[rows] = plane[rows]


def sparse_copy(array: np.ndarray, dtype: DTypeLike | None = None) -> np.ndarray:
    """Copy of an array `[k, j, i]` that takes memory only where it is not 0."""
    result = sparse_zeros(array.shape, dtype or array.dtype)
    copy_nonzero(result, array)
    return result
