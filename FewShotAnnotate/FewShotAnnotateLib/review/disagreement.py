"""Disagreement: how far a filled slice is from what a method that sees no image would put there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

Masks = Mapping[str, np.ndarray]
# Rows and columns around a mask, so that what is cut off is surely outside.
_MARGIN = 2


def disagreements(found: Iterable[tuple[int, Masks]], labelled: Mapping[int, Masks]) -> dict[int, float]:
    """1 - Dice between slices and the shapes interpolated from the labelled slices around them.

    The interpolation blends signed distances to the outlines (Raya and Udupa, IEEE TMI 9, 1990); a segment that one
    of the two slices does not show shrinks until midway. Beyond the outermost labelled slices, the shape stays the
    same. All segments count together.

    Parameters
    ----------
    found : iterable of (index, mapping of segment id to bool ndarray [h, w])
        The slices; segments without a voxel may be left out.
    labelled : mapping of int to mapping of segment id to bool ndarray [h, w]
        The labelled slices, not empty.

    Returns
    -------
    dict of int to float
        0..1; 0 where nothing is and nothing is expected.
    """
    bounds, result = sorted(labelled), {}
    shapes: dict[str, _Between] = {}
    known: tuple[int, int] | None = None
    for index, masks in found:
        before, after, share = _around(bounds, index)
        if known != (before, after):
            known, shapes = (before, after), _shapes(labelled[before], labelled[after])
        result[index] = _disagreement(masks, shapes, share)
    return result


@dataclass(frozen=True)
class _Between:
    """A segment on two labelled slices: signed distances inside of `box`, None where a slice does not show it."""

    box: tuple[slice, slice]
    start: np.ndarray | None
    end: np.ndarray | None

    def at(self, share: float) -> np.ndarray:
        """Where the segment is, `share` of the way from the first to the second slice."""
        if self.start is not None and self.end is not None:
            return np.asarray((1 - share) * self.start + share * self.end > 0)
        one, missing = (self.start, share) if self.start is not None else (self.end, 1 - share)
        assert one is not None
        return np.asarray((1 - missing) * one - missing * one.max() > 0)


def _disagreement(masks: Masks, shapes: Mapping[str, _Between], share: float) -> float:
    right, total = 0, 0
    for name in {*masks, *shapes}:
        if name in masks:
            total += int(np.count_nonzero(masks[name]))
        if name in shapes:
            expected = shapes[name].at(share)
            total += int(np.count_nonzero(expected))
            if name in masks:
                right += 2 * int(np.count_nonzero(expected & masks[name][shapes[name].box]))
    return 1 - right / total if total else 0.0


def _around(labelled: Sequence[int], index: int) -> tuple[int, int, float]:
    """Labelled slices before and after a slice, and its share of the way; the same twice beyond the outermost."""
    place = bisect_left(labelled, index)
    before, after = labelled[max(0, place - 1)], labelled[min(place, len(labelled) - 1)]
    return before, after, (index - before) / (after - before) if after > before else 0.0


def _shapes(before: Masks, after: Masks) -> dict[str, _Between]:
    return {name: _between(before.get(name), after.get(name)) for name in {*before, *after}}


def _between(start: np.ndarray | None, end: np.ndarray | None) -> _Between:
    shown = [mask for mask in (start, end) if mask is not None]
    union = np.logical_or.reduce(shown)
    box = (_span(union.any(axis=1)), _span(union.any(axis=0)))
    first, second = (_signed_distance(mask[box]) if mask is not None else None for mask in (start, end))
    return _Between(box, first, second)


def _span(line: np.ndarray) -> slice:
    at = np.flatnonzero(line)
    return slice(max(0, int(at[0]) - _MARGIN), int(at[-1]) + 1 + _MARGIN) if len(at) else slice(0, 0)


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance in pixels to the outline, positive inside; what the image's border cuts goes on beyond it."""
    padded = np.pad(mask, 1, mode="edge")
    if padded.all():
        return np.full(mask.shape, float(max(mask.shape)))
    distance = ndimage.distance_transform_edt(padded) - ndimage.distance_transform_edt(~padded)
    return np.asarray(distance[1:-1, 1:-1] - np.where(mask, 0.5, -0.5))
