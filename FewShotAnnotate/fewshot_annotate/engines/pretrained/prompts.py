"""Prompts for promptable models: boxes and points on a slice, from labels that were carried there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from ...core.support import Support
from ..base import label_slice
from ..propagate.engine import Propagate
from ..propagate.label_vote import label_boxes

# A box is this part of its sides larger than the carried label, and at least this many pixels.
MARGIN = 0.05
LEAST_MARGIN = 1.0
# Boxes stay within the label's boxes on the labelled slices around, grown by this part of their sides, or pixels.
REACH = 0.25
LEAST_REACH = 4.0
# Parts of a label that are smaller than this share of its largest, and all but the largest few, get no prompt.
LEAST_PART = 0.05
MOST_PARTS = 6
# A point outside lies at least this many pixels off the label.
LEAST_GAP = 2.0
# A label that is nowhere the most probable one is taken from half its highest probability, if that is this high.
LEAST_PROBABILITY = 0.25

# x0, y0, x1, y1: first and last pixel in each direction.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Prompt:
    """Where one part of a label lies on a slice.

    Attributes
    ----------
    box : (x0, y0, x1, y1)
        First and last column and row, in pixels.
    points : float64 ndarray, shape [n, 2]
        x and y in pixels.
    inside : bool ndarray, shape [n]
        Which points lie on the label; the others do not.
    """

    box: Box
    points: np.ndarray
    inside: np.ndarray

    def without_points(self) -> Prompt:
        """The box alone."""
        return Prompt(self.box, np.empty((0, 2)), np.empty(0, dtype=bool))


class Extents:
    """Where labels can be on the slices between and beyond the labelled ones."""

    def __init__(self, support: Support) -> None:
        self._support = support
        self._boxes = [label_boxes(mask) for mask in support.masks]

    def rows(self, index: int, place: int) -> list[int]:
        """The labelled slices, by number, next to a slice that speak about a label: at most one on each side."""
        return list(self._support.annotated_around(index, place))

    def showing(self, place: int) -> list[int]:
        """The labelled slices, by number, that show a label."""
        label = self._support.labels[place]
        return [
            row for row, boxes in enumerate(self._boxes) if label in boxes and self._support.annotated[row, place]
        ]

    def limit(self, index: int, place: int) -> Box | None:
        """Where a label may lie on a slice; None if the labelled slices around say that it is not there."""
        label = self._support.labels[place]
        boxes = [self._boxes[row][label] for row in self.rows(index, place) if label in self._boxes[row]]
        if not boxes:
            return None
        tall = min(box[0].start for box in boxes), max(box[0].stop for box in boxes) - 1
        wide = min(box[1].start for box in boxes), max(box[1].stop for box in boxes) - 1
        shape = self._support.masks.shape[1:]
        return grown((wide[0], tall[0], wide[1], tall[1]), REACH, LEAST_REACH, (0, 0, shape[1] - 1, shape[0] - 1))


class Carried:
    """Prompts carried from the labelled slices to others.

    Parameters
    ----------
    propagate : Propagate
        Prepared on the volume and `support`.
    support : Support
    outside : int
        Points to place outside each part of a label.
    """

    def __init__(self, propagate: Propagate, support: Support, outside: int = 1) -> None:
        self._propagate = propagate
        self._support = support
        self._outside = outside
        self.extents = Extents(support)

    def prompts(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, dict[int, list[Prompt]]]]:
        """For each slice, the prompts of each label that shows there, by the label's place in `support.labels`."""
        for index, probabilities in self._propagate.predict(slice_indices):
            found = {}
            labels, _ = label_slice(probabilities, self._support.labels)
            for place, label in enumerate(self._support.labels):
                limit = self.extents.limit(index, place)
                if limit is not None:
                    mask = carried_mask(labels == label, probabilities[place + 1])
                    parts = prompts_of(mask, limit, self._outside)
                    if parts:
                        found[place] = parts
            yield index, found


def carried_mask(mask: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """`mask`, or if it is empty the pixels `[h, w]` of at least half the highest probability, if that is enough."""
    most = probability.max()
    if mask.any() or most < LEAST_PROBABILITY:
        return mask
    found: np.ndarray = probability >= most / 2
    return found


def prompts_of(mask: np.ndarray, limit: Box, outside: int = 1) -> list[Prompt]:
    """A box, the deepest point and points outside for each sizable part of a mask; largest first.

    Parameters
    ----------
    mask : bool ndarray, shape [h, w]
    limit : (x0, y0, x1, y1)
        No box or point leaves this one.
    outside : int
        Points outside at most.
    """
    left, top, right, bottom = limit
    allowed = np.zeros_like(mask)
    allowed[int(np.ceil(top)) : int(bottom) + 1, int(np.ceil(left)) : int(right) + 1] = True
    shown = mask & allowed
    parts, count = scipy.ndimage.label(shown, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    order = [int(part) for part in np.argsort(-sizes, kind="stable")[:MOST_PARTS]]
    regions = scipy.ndimage.find_objects(parts)
    gap = scipy.ndimage.distance_transform_edt(~shown) if count and outside else None
    prompts = []
    for part in order:
        if sizes[part] < LEAST_PART * sizes[order[0]]:
            continue
        rows, columns = regions[part]
        tight = (columns.start, rows.start, columns.stop - 1, rows.stop - 1)
        box = grown(tight, MARGIN, LEAST_MARGIN, limit)
        points = [_deepest(parts[rows, columns] == part + 1, rows.start, columns.start)]
        inside = [True]
        if gap is not None:
            for point in _farthest(gap, allowed, grown(tight, REACH, LEAST_REACH, limit), outside):
                points.append(point)
                inside.append(False)
        prompts.append(Prompt(box, np.array(points, dtype=np.float64), np.array(inside)))
    return prompts


def grown(box: Box, part: float, least: float, limit: Box) -> Box:
    """A box made larger on each side by a part of its length, at least by so many pixels, but not beyond `limit`."""
    wide = max(least, part * (box[2] - box[0] + 1))
    tall = max(least, part * (box[3] - box[1] + 1))
    return (
        max(limit[0], box[0] - wide),
        max(limit[1], box[1] - tall),
        min(limit[2], box[2] + wide),
        min(limit[3], box[3] + tall),
    )


def _deepest(part: np.ndarray, top: int, left: int) -> tuple[float, float]:
    """Coordinates x and y of the pixel farthest from the outline."""
    depth = scipy.ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(column + left), float(row + top)


def _farthest(gap: np.ndarray, allowed: np.ndarray, box: Box, count: int) -> list[tuple[float, float]]:
    """Coordinates x and y of pixels in a box that lie far from the label and from each other."""
    left, top, right, bottom = (int(np.ceil(box[0])), int(np.ceil(box[1])), int(box[2]), int(box[3]))
    area = np.where(allowed, gap, 0)[top : bottom + 1, left : right + 1]
    rows, columns = np.indices(area.shape)
    points = []
    for _ in range(count):
        if not area.size or area.max() < LEAST_GAP:
            break
        row, column = np.unravel_index(int(area.argmax()), area.shape)
        points.append((float(column + left), float(row + top)))
        area = np.minimum(area, np.hypot(rows - row, columns - column))
    return points
