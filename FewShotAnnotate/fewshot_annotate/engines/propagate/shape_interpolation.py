"""Shape-based interpolation between two labelled slices, structure by structure.

The pixels of a structure on both slices are matched, superimposed and blended by their signed distances, as in Raya &
Udupa, "Shape-based interpolation of multidimensional objects" (IEEE TMI 1990); matching and translation as in
morphological contour interpolation (Zukić et al., Insight Journal 2016). The area is interpolated as well, so that a
structure one pixel wide does not vanish between two slices that show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from ..small_components import EIGHT_CONNECTED

# Signed distances are clipped to this many pixels. `ablation.py --parts propagate.shape_interpolation` compares this
# with 6 and 24.
MAX_DISTANCE_PIXELS = 12.0

Box = tuple[slice, slice]


@dataclass(frozen=True, kw_only=True)
class Structure:
    """A structure of a label on two labelled slices, or on only one of them.

    Attributes
    ----------
    label : int
    before, after : bool ndarray, shape [h, w]
        Its pixels on each slice, in a common crop that holds both after `shift`, with a margin.
    origin : (int, int)
        Row and column of the first pixel of the crop on the slice before.
    shift : (int, int)
        Displacement in rows and columns from the slice before to the slice after.
    distances : (float32 ndarray, float32 ndarray), shape [h, w]
        Signed distance in pixels to the outline of each, positive inside. For a slice that does not show the
        structure it is strongly negative; if the slice does not show its label at all, minus the largest distance
        inside the label on the other slice.
    """

    label: int
    before: np.ndarray
    after: np.ndarray
    origin: tuple[int, int]
    shift: tuple[int, int]
    distances: tuple[np.ndarray, np.ndarray]

    @property
    def matched(self) -> bool:
        """Whether both slices show the structure."""
        return bool(self.before.any() and self.after.any())

    def areas(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Pixels on the slice before and on the slice after, without those beyond the borders of the slices."""
        before, after = (int(np.count_nonzero(mask)) for _, mask in self.drawn(shape))
        return before, after

    def drawn(self, shape: tuple[int, int]) -> Iterator[tuple[Box, np.ndarray]]:
        """Yield its pixels on the slice before and on the slice after, bool, each with its box on the slice."""
        for mask, side in ((self.before, 0), (self.after, 1)):
            origin = [start + side * moved for start, moved in zip(self.origin, self.shift, strict=True)]
            box, inside = _clipped(origin, mask.shape, shape)
            yield box, mask[inside]


@dataclass(frozen=True)
class _Component:
    """Pixels of a label on one slice, in their bounding box."""

    box: Box
    mask: np.ndarray

    def centroid(self) -> np.ndarray:
        rows, columns = np.nonzero(self.mask)
        return np.array([self.box[0].start + rows.mean(), self.box[1].start + columns.mean()])

    def draw(
        self, box: Box, shift: tuple[int, int], shape: tuple[int, int], extended: tuple[bool, bool]
    ) -> np.ndarray:
        """The pixels moved by `-shift`, in a box; borders of a slice of `shape` are extended in some directions."""
        lines, inside = [], []
        for axis_range, own_range, moved, size, extend in zip(box, self.box, shift, shape, extended, strict=True):
            line = np.arange(axis_range.start, axis_range.stop) + moved
            line = (np.clip(line, 0, size - 1) if extend else line) - own_range.start
            inside.append((line >= 0) & (line < own_range.stop - own_range.start))
            lines.append(line[inside[-1]])
        result = np.zeros([axis_range.stop - axis_range.start for axis_range in box], dtype=bool)
        result[np.ix_(*inside)] = self.mask[np.ix_(*lines)]
        return result


def structures(before: np.ndarray, after: np.ndarray, labels: Sequence[int], reach: float) -> list[Structure]:
    """Match the structures of each label on two slices.

    Pixels of both slices that are connected when the slices are superimposed belong to one structure, also where it
    splits or merges. The remaining connected components are matched so that their distances are smallest.

    Parameters
    ----------
    before, after : integer ndarray, shape [h, w]
    labels : sequence of int
    reach : float
        Maximum distance in pixels between the centroids of components that are matched without being connected.
    """
    result = []
    for label in labels:
        of_label = [
            _structure(label, first, second, before.shape)
            for first, second in _matches(before == label, after == label, reach)
        ]
        for side, mask in enumerate((before, after)):
            if of_label and not (mask == label).any():
                depth = min(
                    MAX_DISTANCE_PIXELS, max(float(structure.distances[1 - side].max()) for structure in of_label)
                )
                for structure in of_label:
                    structure.distances[side].fill(-depth)
        result += of_label
    return result


def _matches(
    before: np.ndarray, after: np.ndarray, reach: float
) -> list[tuple[_Component | None, _Component | None]]:
    numbers, _ = scipy.ndimage.label(before | after, EIGHT_CONNECTED)
    matches: list[tuple[_Component | None, _Component | None]] = []
    lone: tuple[list[_Component], list[_Component]] = ([], [])
    for number, box in enumerate(scipy.ndimage.find_objects(numbers), start=1):
        is_component = numbers[box] == number
        sides = [_Component(box, mask[box] & is_component) for mask in (before, after)]
        if all(component.mask.any() for component in sides):
            matches.append((sides[0], sides[1]))
        else:
            lone[int(sides[1].mask.any())].append(sides[int(sides[1].mask.any())])
    pairs = _nearest(*lone, reach)
    matches += [(lone[0][first], lone[1][second]) for first, second in pairs]
    matches += [
        (component, None)
        for position, component in enumerate(lone[0])
        if position not in {first for first, _ in pairs}
    ]
    matches += [
        (None, component)
        for position, component in enumerate(lone[1])
        if position not in {second for _, second in pairs}
    ]
    return matches


def _nearest(before: Sequence[_Component], after: Sequence[_Component], reach: float) -> list[tuple[int, int]]:
    """Pairs of components, by position in the sequences, with the smallest sum of squared distances."""
    if not before or not after:
        return []
    first, second = (np.array([component.centroid() for component in components]) for components in (before, after))
    squared = ((first[:, None] - second) ** 2).sum(axis=2)
    within_reach = squared < reach**2
    if max(within_reach.sum(axis=0).max(), within_reach.sum(axis=1).max()) <= 1:
        return [(int(row), int(column)) for row, column in np.argwhere(within_reach)]
    # A pair out of reach costs as much as no pair, so that it does not prevent others from being matched.
    pairs = zip(*scipy.optimize.linear_sum_assignment(np.minimum(squared, reach**2)), strict=True)
    return [(int(row), int(column)) for row, column in pairs if within_reach[row, column]]


def _structure(label: int, before: _Component | None, after: _Component | None, shape: tuple[int, ...]) -> Structure:
    rows, columns = shape
    shift = _shift(before, after)
    boxes: list[Box] = [before.box] if before else []
    if after:
        boxes.append((_moved(after.box[0], -shift[0]), _moved(after.box[1], -shift[1])))
    box = (_around([box[0] for box in boxes]), _around([box[1] for box in boxes]))
    empty = np.zeros([axis_range.stop - axis_range.start for axis_range in box], dtype=bool)
    # A component that moves by its length or more leaves the border or comes from there; it does not continue beyond.
    tall, wide = (
        abs(moved)
        < min(component.box[axis].stop - component.box[axis].start for component in (before, after) if component)
        for axis, moved in enumerate(shift)
    )
    mask_before = before.draw(box, (0, 0), (rows, columns), (tall, wide)) if before else empty
    mask_after = after.draw(box, shift, (rows, columns), (tall, wide)) if after else empty
    return Structure(
        label=label,
        before=mask_before,
        after=mask_after,
        origin=(box[0].start, box[1].start),
        shift=shift,
        distances=(signed_distance(mask_before), signed_distance(mask_after)),
    )


def _moved(axis_range: slice, by: int) -> slice:
    return slice(axis_range.start + by, axis_range.stop + by)


def _around(axis_ranges: Sequence[slice]) -> slice:
    """Range that holds all ranges, with a margin."""
    margin = int(MAX_DISTANCE_PIXELS)
    return slice(
        min(axis_range.start for axis_range in axis_ranges) - margin,
        max(axis_range.stop for axis_range in axis_ranges) + margin,
    )


def _shift(before: _Component | None, after: _Component | None) -> tuple[int, int]:
    """Rounded translation between the centroids if it increases the overlap, else no translation."""
    if before is None or after is None:
        return 0, 0
    rows, columns = (int(moved) for moved in np.rint(after.centroid() - before.centroid()))
    return (rows, columns) if _overlap(before, after, (rows, columns)) > _overlap(before, after, (0, 0)) else (0, 0)


def _overlap(before: _Component, after: _Component, shift: tuple[int, int]) -> int:
    """Overlap in pixels of two components if the second is moved by `-shift`."""
    pixels = np.argwhere(before.mask) + [axis_range.start for axis_range in before.box] + np.array(shift)
    pixels -= [axis_range.start for axis_range in after.box]
    inside = ((pixels >= 0) & (pixels < after.mask.shape)).all(axis=1)
    return int(after.mask[tuple(pixels[inside].T)].sum())


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Signed distance in pixels to the outline of a bool mask `[h, w]`, float32, positive inside.

    The border of the slice does not count as outline. Without an outline it is plus or minus `MAX_DISTANCE_PIXELS`.
    """
    if mask.all() or not mask.any():
        return np.full(mask.shape, MAX_DISTANCE_PIXELS if mask.all() else -MAX_DISTANCE_PIXELS, dtype=np.float32)
    inside, outside = scipy.ndimage.distance_transform_edt(mask), scipy.ndimage.distance_transform_edt(~mask)
    distance: np.ndarray = np.where(mask, inside - 0.5, 0.5 - outside).astype(np.float32)
    return distance


def _clipped(origin: Sequence[int], size: Sequence[int], shape: Sequence[int]) -> tuple[Box, Box]:
    """Clip a box to a slice; returns the box on the slice, and the same relative to the origin of the box."""
    edges = [
        (max(0, start), max(0, min(start + length, limit)))
        for start, length, limit in zip(origin, size, shape, strict=True)
    ]
    rows, columns = (slice(first, max(first, last)) for first, last in edges)
    inner_rows, inner_columns = (
        slice(axis_range.start - start, axis_range.stop - start)
        for axis_range, start in zip((rows, columns), origin, strict=True)
    )
    return (rows, columns), (inner_rows, inner_columns)


@dataclass(frozen=True)
class Shape:
    """A structure on a slice between two labelled ones.

    Attributes
    ----------
    box : (slice, slice)
        Crop of the slice around it.
    distance : float32 ndarray, shape [h, w]
        Approximate signed distance in pixels to the outline, positive inside.
    outside : float
        Signed distance outside of the box.
    """

    box: Box
    distance: np.ndarray
    outside: float


def interpolate(structure: Structure, share: float, shape: tuple[int, int]) -> Shape | None:
    """A structure on a slice between two labelled ones.

    If both show it, its area is interpolated. If only one does, it shrinks; if the other does not show its label at
    all, it ends midway, where its signed distances are close to 0.

    Parameters
    ----------
    structure : Structure
    share : float
        Position between the slice before (0) and the slice after (1).
    shape : (h, w)

    Returns
    -------
    Shape or None
        None if the structure is outside of the slice.
    """
    # Both are shifted with the same rounding, so that they stay superimposed.
    origin = [start + round(share * moved) for start, moved in zip(structure.origin, structure.shift, strict=True)]
    box, inside = _clipped(origin, structure.before.shape, shape)
    areas = [int(np.count_nonzero(mask[inside])) for mask in (structure.before, structure.after)]
    if not any(areas):
        return None
    near = [np.clip(distance[inside], -MAX_DISTANCE_PIXELS, MAX_DISTANCE_PIXELS) for distance in structure.distances]
    weights = np.array([1 - share, share], dtype=np.float32)
    if structure.matched:
        return Shape(box, _matched(near, areas, weights), -MAX_DISTANCE_PIXELS)
    blend = weights[0] * near[0] + weights[1] * near[1]
    side = int(structure.after.any())
    absent = float(near[1 - side].max())
    return Shape(box, blend, float(weights[1 - side] * absent - weights[side] * MAX_DISTANCE_PIXELS))


def _matched(distances: Sequence[np.ndarray], areas: Sequence[int], weights: np.ndarray) -> np.ndarray:
    """Signed distance to an outline between two, of an area between theirs."""
    # Squared distances find the pixels midway between the two where they do not overlap.
    blend = weights[0] * distances[0] * np.abs(distances[0]) + weights[1] * distances[1] * np.abs(distances[1])
    area = max(1, round(float(weights @ areas)))
    level = np.partition(blend, -area, axis=None)[-area]
    distance: np.ndarray = np.clip(signed_distance(blend >= level), -MAX_DISTANCE_PIXELS, MAX_DISTANCE_PIXELS)
    return distance
