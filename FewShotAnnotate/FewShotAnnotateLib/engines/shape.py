"""Shape-based interpolation: signed distances to the outlines of two labelled slices, blended.

Raya & Udupa, "Shape-based interpolation of multidimensional objects" (IEEE TMI 1990).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# Distances beyond this many pixels all mean "surely"; they bound the work to the surroundings of a label.
FAR = 12.0

Box = tuple[slice, slice]


@dataclass(frozen=True)
class Outline:
    """Signed distance in pixels to the outline of one label, positive inside, `-FAR` outside of `box`."""

    box: Box
    distance: np.ndarray
    depth: float


def outlines(mask: np.ndarray) -> dict[int, Outline]:
    """Outline of each label on an integer mask `[h, w]`; background is no label."""
    found = {}
    margin = int(FAR)
    for label, box in enumerate(ndimage.find_objects(mask.astype(np.int32)), start=1):
        if box is None:
            continue
        rows, columns = (
            slice(max(0, part.start - margin), min(size, part.stop + margin))
            for part, size in zip(box, mask.shape, strict=True)
        )
        inside = np.pad(mask[rows, columns] == label, 1)
        # What the image's border cuts goes on beyond it.
        inside[0], inside[-1], inside[:, 0], inside[:, -1] = (
            (inside[1] if rows.start == 0 else False),
            (inside[-2] if rows.stop == mask.shape[0] else False),
            (inside[:, 1] if columns.start == 0 else False),
            (inside[:, -2] if columns.stop == mask.shape[1] else False),
        )
        depth = ndimage.distance_transform_edt(inside) if not inside.all() else np.full(inside.shape, FAR)
        signed = np.where(inside, depth - 0.5, 0.5 - ndimage.distance_transform_edt(~inside))
        distance = np.clip(signed[1:-1, 1:-1], -FAR, FAR).astype(np.float32)
        found[label] = Outline((rows, columns), distance, float(distance.max()))
    return found


def interpolate(
    before: dict[int, Outline],
    after: dict[int, Outline],
    share: float,
    labels: tuple[int, ...],
    shape: tuple[int, int],
) -> np.ndarray:
    """Probabilities of a slice between two others.

    A label that only one of the two shows shrinks until midway.

    Parameters
    ----------
    before, after : dict of label to Outline
        From `outlines`; the same dict twice copies that slice.
    share : float
        Way from `before` to `after`, 0..1.
    labels : tuple of int
    shape : (h, w)

    Returns
    -------
    float32 ndarray, shape [len(labels) + 1, h, w]
        Row 0 is background; they sum to 1.
    """
    result = np.zeros((len(labels) + 1, *shape), dtype=np.float32)
    nearest = np.full(shape, -FAR, dtype=np.float32)
    for row, label in enumerate(labels, start=1):
        parts = [(before.get(label), 1 - share), (after.get(label), share)]
        shown = [(part, weight) for part, weight in parts if part is not None]
        if not shown:
            continue
        missing = sum(weight for part, weight in parts if part is None)
        level = -missing * shown[0][0].depth - FAR * sum(weight for _, weight in shown)
        blend = np.full(shape, level, dtype=np.float32)
        for part, weight in shown:
            blend[part.box] += weight * (part.distance + FAR)
        result[row] = blend
        np.maximum(nearest, blend, out=nearest)
    # A sigmoid of the distance, and background as far outside as the nearest label is.
    absent = [row for row, label in enumerate(labels, start=1) if label not in before and label not in after]
    result[0] = -nearest
    np.negative(result, out=result)
    np.exp(result, out=result)
    result += 1
    np.reciprocal(result, out=result)
    result[absent] = 0
    result /= result.sum(axis=0)
    return result
