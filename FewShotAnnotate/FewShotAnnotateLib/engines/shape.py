"""Shape-based interpolation between two labelled slices, structure by structure.

The pixels of a structure on both slices are matched, laid over each other and blended by their signed distances, as
in Raya & Udupa, "Shape-based interpolation of multidimensional objects" (IEEE TMI 1990); matching and translation as
in morphological contour interpolation (Zukić et al., Insight Journal 2016). The area is interpolated as well, so that
a structure of a pixel's width does not vanish between two slices that show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

# Signed distances are bounded by this many pixels: further away, a label is certain or excluded.
MAX_DISTANCE = 12.0

# Pixels that share a corner are connected.
_CONNECTED = np.ones((3, 3), dtype=bool)

Box = tuple[slice, slice]


@dataclass(frozen=True)
class Structure:
    """A structure of a label on two labelled slices, of which one may not show it.

    Attributes
    ----------
    label : int
    before, after : bool ndarray, shape [h, w]
        Its pixels on each slice, in the part of the slices that holds both after `shift`, and a margin.
    origin : (int, int)
        Row and column of the first pixel of that part on the slice before.
    shift : (int, int)
        Rows and columns from its place on the slice before to that on the slice after.
    distances : (float32 ndarray, float32 ndarray), shape [h, w]
        Signed distance in pixels to the outline of each, positive inside.
    """

    label: int
    before: np.ndarray
    after: np.ndarray
    origin: tuple[int, int]
    shift: tuple[int, int]
    distances: tuple[np.ndarray, np.ndarray]

    @property
    def matched(self) -> bool:
        """Whether both slices show it."""
        return bool(self.before.any() and self.after.any())

    def area(self, share: float) -> float:
        """Pixels of it some way from the slice before to the slice after, 0..1."""
        return (1 - share) * np.count_nonzero(self.before) + share * np.count_nonzero(self.after)

    def drawn(self, shape: tuple[int, int]) -> Iterator[tuple[Box, np.ndarray]]:
        """Its pixels on the slice before and on the slice after, bool, each in a box of the slice."""
        for mask, side in ((self.before, 0), (self.after, 1)):
            origin = [start + side * moved for start, moved in zip(self.origin, self.shift, strict=True)]
            box, part = _clipped(origin, mask.shape, shape)
            yield box, mask[part]


@dataclass(frozen=True)
class _Component:
    """Pixels of a label on one slice, in their bounding box."""

    box: Box
    mask: np.ndarray

    def centroid(self) -> np.ndarray:
        rows, columns = np.nonzero(self.mask)
        return np.array([self.box[0].start + rows.mean(), self.box[1].start + columns.mean()])

    def draw(self, box: Box, shift: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
        """The pixels moved by `-shift`, in a box; what the border of a slice of `shape` cuts goes on beyond it."""
        lines, inside = [], []
        for part, own, moved, size in zip(box, self.box, shift, shape, strict=True):
            line = np.clip(np.arange(part.start, part.stop) + moved, 0, size - 1) - own.start
            inside.append((line >= 0) & (line < own.stop - own.start))
            lines.append(line[inside[-1]])
        result = np.zeros([part.stop - part.start for part in box], dtype=bool)
        result[np.ix_(*inside)] = self.mask[np.ix_(*lines)]
        return result


def structures(before: np.ndarray, after: np.ndarray, labels: Sequence[int], reach: float) -> list[Structure]:
    """Match the structures of each label on two slices.

    Pixels of both slices that are connected when one is laid over the other belong to one structure, also where it
    splits or merges. The connected components that are left are matched so that all are as near as possible.

    Parameters
    ----------
    before, after : integer ndarray, shape [h, w]
    labels : sequence of int
    reach : float
        Pixels between the centroids of components that are matched without being connected, at most.
    """
    found = []
    for label in labels:
        for one, other in _matches(before == label, after == label, reach):
            found.append(_structure(label, one, other, before.shape))
    return found


def _matches(
    before: np.ndarray, after: np.ndarray, reach: float
) -> list[tuple[_Component | None, _Component | None]]:
    numbers, _ = ndimage.label(before | after, _CONNECTED)
    matches: list[tuple[_Component | None, _Component | None]] = []
    lone: tuple[list[_Component], list[_Component]] = ([], [])
    for number, box in enumerate(ndimage.find_objects(numbers), start=1):
        own = numbers[box] == number
        parts = [_Component(box, mask[box] & own) for mask in (before, after)]
        if all(part.mask.any() for part in parts):
            matches.append((parts[0], parts[1]))
        else:
            lone[int(parts[1].mask.any())].append(parts[int(parts[1].mask.any())])
    pairs = _nearest(*lone, reach)
    matches += [(lone[0][one], lone[1][other]) for one, other in pairs]
    matches += [(part, None) for place, part in enumerate(lone[0]) if place not in {one for one, _ in pairs}]
    matches += [(None, part) for place, part in enumerate(lone[1]) if place not in {other for _, other in pairs}]
    return matches


def _nearest(before: Sequence[_Component], after: Sequence[_Component], reach: float) -> list[tuple[int, int]]:
    """Pairs of components, by their places in the sequences, with the least sum of squared distances."""
    if not before or not after:
        return []
    one, other = (np.array([part.centroid() for part in parts]) for parts in (before, after))
    squared = ((one[:, None] - other) ** 2).sum(axis=2)
    # A pair out of reach costs as much as no pair, so that it does not keep others from their nearest.
    pairs = zip(*linear_sum_assignment(np.minimum(squared, reach**2)), strict=True)
    return [(int(row), int(column)) for row, column in pairs if squared[row, column] < reach**2]


def _structure(label: int, before: _Component | None, after: _Component | None, shape: tuple[int, ...]) -> Structure:
    rows, columns = shape
    shift = _shift(before, after)
    boxes: list[Box] = [before.box] if before else []
    if after:
        boxes.append((_moved(after.box[0], -shift[0]), _moved(after.box[1], -shift[1])))
    box = (_around([one[0] for one in boxes]), _around([one[1] for one in boxes]))
    nothing = np.zeros([part.stop - part.start for part in box], dtype=bool)
    one = before.draw(box, (0, 0), (rows, columns)) if before else nothing
    other = after.draw(box, shift, (rows, columns)) if after else nothing
    return Structure(
        label, one, other, (box[0].start, box[1].start), shift, (signed_distance(one), signed_distance(other))
    )


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _around(parts: Sequence[slice]) -> slice:
    """All of the parts and a margin."""
    margin = int(MAX_DISTANCE)
    return slice(min(part.start for part in parts) - margin, max(part.stop for part in parts) + margin)


def _shift(before: _Component | None, after: _Component | None) -> tuple[int, int]:
    """Whole pixels from one centroid to the other, where that makes the two overlap more."""
    if before is None or after is None:
        return 0, 0
    rows, columns = (int(moved) for moved in np.rint(after.centroid() - before.centroid()))
    return (rows, columns) if _overlap(before, after, (rows, columns)) > _overlap(before, after, (0, 0)) else (0, 0)


def _overlap(before: _Component, after: _Component, shift: tuple[int, int]) -> int:
    """Pixels that two components share if one is moved by `-shift`."""
    pixels = np.argwhere(before.mask) + [part.start for part in before.box] + np.array(shift)
    pixels -= [part.start for part in after.box]
    inside = ((pixels >= 0) & (pixels < after.mask.shape)).all(axis=1)
    return int(after.mask[tuple(pixels[inside].T)].sum())


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Pixels to the outline of a bool `[h, w]`, float32, positive inside; what its border cuts goes on beyond it."""
    if mask.all() or not mask.any():
        return np.full(mask.shape, MAX_DISTANCE if mask.all() else -MAX_DISTANCE, dtype=np.float32)
    inside, outside = ndimage.distance_transform_edt(mask), ndimage.distance_transform_edt(~mask)
    distance: np.ndarray = np.where(mask, inside - 0.5, 0.5 - outside).astype(np.float32)
    return distance


def _clipped(origin: Sequence[int], size: Sequence[int], shape: Sequence[int]) -> tuple[Box, Box]:
    """Where a part that begins at `origin` lies on a slice, and which part of it does."""
    edges = [
        (max(0, start), max(0, min(start + length, whole)))
        for start, length, whole in zip(origin, size, shape, strict=True)
    ]
    rows, columns = (slice(first, max(first, last)) for first, last in edges)
    inner_rows, inner_columns = (
        slice(part.start - start, part.stop - start) for part, start in zip((rows, columns), origin, strict=True)
    )
    return (rows, columns), (inner_rows, inner_columns)


def interpolate(structure: Structure, share: float, shape: tuple[int, int]) -> tuple[Box, np.ndarray] | None:
    """A structure on a slice between the two.

    What only one of the two shows shrinks until midway.

    Parameters
    ----------
    structure : Structure
    share : float
        Way from the slice before to the slice after, 0..1.
    shape : (h, w)

    Returns
    -------
    (box, float32 ndarray) or None
        Signed distance to the outline in pixels, positive inside, within a box of the slice; outside of it it is
        `-MAX_DISTANCE`. None where nothing is left.
    """
    # The same rounding for both, so that they stay on top of each other.
    origin = [start + round(share * moved) for start, moved in zip(structure.origin, structure.shift, strict=True)]
    box, part = _clipped(origin, structure.before.shape, shape)
    areas = [int(np.count_nonzero(mask[part])) for mask in (structure.before, structure.after)]
    weights = np.array([1 - share, share])
    if not structure.matched:
        weights = np.clip(2 * weights - 1, 0, 1)
    area = round(float(weights @ areas))
    if structure.matched:
        area = max(area, 1)
    if not area or not any(areas):
        return None
    blend = np.zeros(structure.before[part].shape, dtype=np.float32)
    for shown, distance, weight in zip(areas, structure.distances, (1 - share, share), strict=True):
        if shown:
            near = distance[part]
            # Squares find what lies midway where the two do not overlap.
            blend += np.float32(weight) * near * np.abs(near)
    level = np.partition(blend, -area, axis=None)[-area]
    return box, np.clip(signed_distance(blend >= level), -MAX_DISTANCE, MAX_DISTANCE)
