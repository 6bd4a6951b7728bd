"""Disagreement of filled slices with shapes interpolated from the labelled slices alone.

The interpolation in `engines/propagate/shape_interpolation.py` is not used here: it is a candidate of the fill, which
would be compared with itself. This one matches no structures, so it is simpler than any way to fill, and faster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from ..core.bounding_box import bounding_box
from ..core.gaps import support_indices_around

Masks = Mapping[str, np.ndarray]
# Margin in pixels around the cropped masks, so that distances outside of them are represented.
_MARGIN_PIXELS = 2


def disagreements(filled: Iterable[tuple[int, Masks]], labelled: Mapping[int, Masks]) -> dict[int, float]:
    """1 - Dice of slices against shapes interpolated between the labelled slices around them.

    The interpolation blends signed distances to the outlines (Raya and Udupa, IEEE TMI 9, 1990); a segment that is
    on only one of the two slices shrinks to nothing at the middle. Beyond the outermost labelled slices, shapes are
    constant. All segments are pooled.

    Parameters
    ----------
    filled : iterable of (index, mapping of segment id to bool ndarray [h, w])
        The filled slices; empty segments may be left out.
    labelled : mapping of int to mapping of segment id to bool ndarray [h, w]
        The labelled slices, at least one.

    Returns
    -------
    dict of int to float
        0..1 by slice index; 0 where slice and interpolated shapes are both empty.
    """
    labelled_indices, result = sorted(labelled), {}
    shapes: dict[str, _SegmentPair] = {}
    current: tuple[int, int] | None = None
    for index, masks in filled:
        before, after, fraction = _around(labelled_indices, index)
        if current != (before, after):
            current, shapes = (before, after), _shapes(labelled[before], labelled[after])
        result[index] = _disagreement(masks, shapes, fraction)
    return result


@dataclass(frozen=True)
class _SegmentPair:
    """Signed distances to a segment on two labelled slices, cropped to `box`; None where the segment is absent."""

    box: tuple[slice, slice]
    start: np.ndarray | None
    end: np.ndarray | None

    def at(self, fraction: float) -> np.ndarray:
        """Interpolated mask at a fraction of the way from the first to the second slice."""
        if self.start is not None and self.end is not None:
            return np.asarray((1 - fraction) * self.start + fraction * self.end > 0)
        reference, distance = (self.start, fraction) if self.start is not None else (self.end, 1 - fraction)
        assert reference is not None
        return np.asarray((1 - distance) * reference - distance * reference.max() > 0)


def _disagreement(masks: Masks, shapes: Mapping[str, _SegmentPair], fraction: float) -> float:
    overlap, total = 0, 0
    for name in {*masks, *shapes}:
        if name in masks:
            total += int(np.count_nonzero(masks[name]))
        if name in shapes:
            expected = shapes[name].at(fraction)
            total += int(np.count_nonzero(expected))
            if name in masks:
                overlap += 2 * int(np.count_nonzero(expected & masks[name][shapes[name].box]))
    return 1 - overlap / total if total else 0.0


def _around(labelled: Sequence[int], index: int) -> tuple[int, int, float]:
    """Labelled slices before and after a slice, and its relative position between them.

    Beyond the outermost labelled slice, both are that slice.
    """
    around = support_indices_around(index, labelled) if index not in labelled else (labelled.index(index),)
    before, after = labelled[around[0]], labelled[around[-1]]
    return before, after, (index - before) / (after - before) if after > before else 0.0


def _shapes(before: Masks, after: Masks) -> dict[str, _SegmentPair]:
    return {name: _segment_pair(before.get(name), after.get(name)) for name in {*before, *after}}


def _segment_pair(start: np.ndarray | None, end: np.ndarray | None) -> _SegmentPair:
    masks = [mask for mask in (start, end) if mask is not None]
    union = np.logical_or.reduce(masks)
    rows, columns = bounding_box(union, _MARGIN_PIXELS) or (slice(0, 0), slice(0, 0))
    box = (rows, columns)
    first, second = (_signed_distance(mask[box]) if mask is not None else None for mask in (start, end))
    return _SegmentPair(box, first, second)


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance in pixels to the outline, positive inside; masks are continued beyond the border of the image."""
    padded = np.pad(mask, 1, mode="edge")
    if padded.all():
        return np.full(mask.shape, float(max(mask.shape)))
    distance = scipy.ndimage.distance_transform_edt(padded) - scipy.ndimage.distance_transform_edt(~padded)
    return np.asarray(distance[1:-1, 1:-1] - np.where(mask, 0.5, -0.5))
