"""Labels on the upright slices that readers make of a series with a tilted gantry: the same, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.regrid import ROUNDED_HEADER
from ..core.volume import SAME_VOXEL_TOLERANCE, Geometry, LabelMap


def is_upright_view(geometry: Geometry, grid: Geometry) -> bool:
    """Whether `own` has the slices of `grid`, whose third direction is slanted, without the shift between them."""
    if geometry.shape != grid.shape:
        return False
    upright = grid.direction_matrix
    slanted = upright[:, 2].copy()
    upright[:, 2] = np.cross(upright[:, 0], upright[:, 1])
    gap = geometry.spacing[2]
    straight = grid.spacing[2] * abs(float(upright[:, 2] @ slanted))
    if min(abs(gap - grid.spacing[2]), abs(gap - straight)) > ROUNDED_HEADER * gap:
        return False
    direction = tuple(float(value) for value in upright.reshape(-1))
    flat = Geometry(grid.shape, (*grid.spacing[:2], gap), grid.origin, direction)
    return flat.difference(geometry, SAME_VOXEL_TOLERANCE) is None


def on_grid(layers: Sequence[LabelMap], grid: Geometry) -> list[LabelMap]:
    """The same arrays said to lie on `grid`."""
    return [LabelMap(layer.array, grid, layer.segments) for layer in layers]
