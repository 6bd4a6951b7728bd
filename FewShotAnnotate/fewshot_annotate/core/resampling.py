"""Resampling of labels: each label is interpolated linearly, and each voxel gets the most probable one."""

from __future__ import annotations

import numpy as np
import scipy

from .volume import Geometry, LabelMap

# Slightly below one half, so that a voxel midway between label and background gets the label despite rounding.
_MIN_PROBABILITY = 0.5 - 1e-4


def resample(label_map: LabelMap, grid: Geometry) -> LabelMap:
    """Resample a label map onto another grid.

    Each label's mask is interpolated linearly as a probability. A voxel gets the most probable label, the lowest
    value among equals, or background where no label reaches one half. Outside the source grid is background.
    """
    array = label_map.array
    matrix, start = index_map(grid, label_map.geometry)
    back, back_start = index_map(label_map.geometry, grid)
    result = np.zeros(grid.shape, dtype=array.dtype)
    best = np.full(grid.shape, _MIN_PROBABILITY, dtype=np.float32)
    for value, box in enumerate(scipy.ndimage.find_objects(array), start=1):
        if box is None:
            continue
        first = np.array([axis_range.start for axis_range in box])
        mask = np.asarray(array[box] == value).astype(np.float32)
        target = _target_box(first, mask.shape, back, back_start, grid.shape)
        shape = tuple(axis_range.stop - axis_range.start for axis_range in target)
        if 0 in shape:
            continue
        offset = matrix @ [axis_range.start for axis_range in target] + start - first
        probability = scipy.ndimage.affine_transform(
            mask, matrix, offset, shape, order=1, mode="grid-constant", prefilter=False
        )
        likelier = probability > best[target]
        result[target][likelier] = value
        best[target][likelier] = probability[likelier]
    return LabelMap(result, grid, label_map.segments)


def count_outside(label_map: LabelMap, grid: Geometry) -> int:
    """Number of labelled voxels whose centre lies outside `grid`."""
    matrix, start = index_map(label_map.geometry, grid)
    count = 0
    for k, label_slice in enumerate(label_map.array):
        j, i = np.nonzero(label_slice)
        index = np.stack([np.full(len(j), k), j, i]).T @ matrix.T + start
        count += int(((index < -0.5) | (index > np.array(grid.shape) - 0.5)).any(axis=1).sum())
    return count


def index_map(source: Geometry, target: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Matrix [3, 3] and offset [3] that map array indices [k, j, i] of one grid to those of another."""
    first, second = (geometry.index_to_world for geometry in (source, target))
    matrix = np.linalg.solve(second, first)
    start = np.linalg.solve(second, np.subtract(source.origin, target.origin))
    return matrix[::-1, ::-1], start[::-1]


def _target_box(
    first: np.ndarray, size: tuple[int, ...], matrix: np.ndarray, start: np.ndarray, shape: tuple[int, ...]
) -> tuple[slice, ...]:
    """Bounding box on a grid of a box of another grid, padded by one voxel."""
    ends = np.array([first - 1, first + size])
    corners = np.array([[ends[a, 0], ends[b, 1], ends[c, 2]] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    target_corners = corners @ matrix.T + start
    low = np.clip(np.floor(target_corners.min(axis=0)).astype(int), 0, shape)
    high = np.clip(np.ceil(target_corners.max(axis=0)).astype(int) + 1, 0, shape)
    return tuple(slice(int(a), int(max(a, b))) for a, b in zip(low, high, strict=True))
