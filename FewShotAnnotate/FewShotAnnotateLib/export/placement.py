"""Putting a label map onto the grid of the images it belongs to: without loss where it can be, else by consent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ..core.volume import SAME_GRID_TOLERANCE, Geometry, LabelMap


class Fit(Enum):
    """How a grid lies in another one."""

    EXACT = "exact"  # the same voxels, perhaps in another order, cut out or padded
    BY_SLICE = "by slice"  # the upright view that readers give of a series with a tilted gantry
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class _Lattice:
    """Where voxel (k, j, i) of a grid lies in another one: at `offset + sign * index` of the axes in `axes` order.

    Attributes
    ----------
    axes : (int, int, int)
        For each axis of the other grid, the own axis that runs along it.
    signs, offset : (int, int, int)
        In the order of the other grid's axes.
    """

    axes: tuple[int, ...]
    signs: tuple[int, ...]
    offset: tuple[int, ...]


def fit(own: Geometry, grid: Geometry, tilted: bool = False) -> Fit:
    """How `own` lies in `grid`, whose third direction is slanted if it is `tilted`."""
    if _lattice(own, grid) is not None:
        return Fit.EXACT
    if tilted and own.shape == grid.shape:
        upright = np.array(grid.direction).reshape(3, 3)
        upright[:, 2] = np.cross(upright[:, 0], upright[:, 1])
        gap = own.spacing[2]
        slanted = grid.spacing[2]
        straight = slanted * abs(float(upright[:, 2] @ np.array(grid.direction).reshape(3, 3)[:, 2]))
        flat = Geometry(
            grid.shape, (*grid.spacing[:2], gap), grid.origin, tuple(float(value) for value in upright.reshape(-1))
        )
        near = min(abs(gap - slanted), abs(gap - straight)) < SAME_GRID_TOLERANCE * gap
        if near and flat.difference(own, SAME_GRID_TOLERANCE) is None:
            return Fit.BY_SLICE
    return Fit.ELSEWHERE


def place(label_map: LabelMap, grid: Geometry) -> tuple[LabelMap, int]:
    """The same voxels on `grid`, and how many labelled ones lie outside it. For `Fit.EXACT`."""
    placed = place_array(label_map.array, label_map.geometry, grid)
    lost = int(np.count_nonzero(label_map.array)) - int(np.count_nonzero(placed))
    return LabelMap(placed, grid, label_map.segments), lost


def place_array(array: np.ndarray, own: Geometry, grid: Geometry) -> np.ndarray:
    """Voxels [k, j, i] of the grid `own` as they lie on `grid`, 0 where there are none. For `Fit.EXACT`."""
    lattice = _lattice(own, grid)
    if lattice is None:
        raise ValueError("the grids share no lattice")
    turned = np.transpose(array, lattice.axes)
    turned = turned[tuple(slice(None, None, sign) for sign in lattice.signs)]
    theirs, ours = [], []
    for offset, sign, size, length in zip(lattice.offset, lattice.signs, turned.shape, grid.shape, strict=True):
        start = offset if sign > 0 else offset - size + 1
        low, high = max(0, start), max(0, start, min(length, start + size))
        ours.append(slice(low, high))
        theirs.append(slice(low - start, high - start))
    placed = np.zeros(grid.shape, dtype=array.dtype)
    placed[tuple(ours)] = turned[tuple(theirs)]
    return placed


def resample(label_map: LabelMap, grid: Geometry) -> LabelMap:
    """The label map on `grid`, each voxel with the label of the nearest one; 0 outside."""
    from scipy.ndimage import affine_transform

    flip = np.eye(4)[[2, 1, 0, 3]]
    matrix = flip @ np.linalg.inv(_index_to_lps(label_map.geometry)) @ _index_to_lps(grid) @ flip
    array = affine_transform(
        label_map.array, matrix[:3, :3], matrix[:3, 3], grid.shape, order=0, mode="grid-constant", prefilter=False
    )
    return LabelMap(array, grid, label_map.segments)


def on_grid(layers: Sequence[LabelMap], grid: Geometry) -> list[LabelMap]:
    """The same arrays said to lie on `grid`. For `Fit.BY_SLICE`."""
    return [LabelMap(layer.array, grid, layer.segments) for layer in layers]


def _lattice(own: Geometry, grid: Geometry) -> _Lattice | None:
    """How own voxels fall onto voxels of the grid, or None if they do not."""
    matrix = np.linalg.inv(_index_to_lps(grid)) @ _index_to_lps(own)
    nearest = np.rint(matrix)
    last = np.array(own.shape[::-1]) - 1
    corners = np.array([(*(last * (i, j, k)), 1) for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    if np.abs((matrix - nearest) @ corners.T).max() > SAME_GRID_TOLERANCE:
        return None
    turn = nearest[:3, :3]
    if (np.abs(turn).sum(axis=0) != 1).any() or (np.abs(turn).sum(axis=1) != 1).any():
        return None
    turn, offset = turn[::-1, ::-1], nearest[:3, 3][::-1]  # from (i, j, k) to (k, j, i)
    axes = tuple(int(axis) for axis in np.abs(turn).argmax(axis=1))
    signs = tuple(int(turn[number, axis]) for number, axis in enumerate(axes))
    return _Lattice(axes, signs, tuple(int(value) for value in offset))


def _index_to_lps(geometry: Geometry) -> np.ndarray:
    """4x4 matrix of voxel (i, j, k) to LPS in mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(geometry.direction).reshape(3, 3) * geometry.spacing
    matrix[:3, 3] = geometry.origin
    return matrix
