"""Bounding box of a mask; those of all labels of an array are found by `scipy.ndimage.find_objects`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def bounding_box(mask: np.ndarray, margin: int | Sequence[int] = 0) -> tuple[slice, ...] | None:
    """Smallest box that holds all voxels of a mask, enlarged by a margin as far as the array extends.

    Parameters
    ----------
    mask : bool ndarray of any number of axes
    margin : int or sequence of int
        Voxels on either side, of all axes or of each one.

    Returns
    -------
    tuple of slice, or None if the mask is empty
    """
    margins = [margin] * mask.ndim if isinstance(margin, int) else margin
    box = []
    for axis, (size, padding) in enumerate(zip(mask.shape, margins, strict=True)):
        held = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not len(held):
            return None
        box.append(slice(max(0, int(held[0]) - padding), min(size, int(held[-1]) + 1 + padding)))
    return tuple(box)
