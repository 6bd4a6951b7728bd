"""Prompts of promptable models: boxes and points on a slice, derived from labels propagated to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from ...core.support import Support
from ..base import label_slice
from ..propagate.flow_propagation import FlowPropagation
from ..propagate.label_vote import label_boxes
from ..small_components import EIGHT_CONNECTED

# Margin of a box around the propagated label on each side, as a fraction of its length, and its minimum in pixels.
MARGIN_FRACTION = 0.05
MIN_MARGIN_PIXELS = 1.0
# The same margin of the label's bounding box on the neighbouring labelled slices, within which boxes stay.
REACH_FRACTION = 0.25
MIN_REACH_PIXELS = 4.0
# Connected components smaller than this fraction of the largest one get no prompt; maximum number of components.
MIN_COMPONENT_FRACTION = 0.05
MAX_COMPONENTS = 6
# Minimum distance of a background point from the label.
MIN_OUTSIDE_DISTANCE_PIXELS = 2.0
# If a label is nowhere the most probable one, the threshold is half of its highest probability, which must be at
# least this.
MIN_PROBABILITY = 0.25

# x0, y0, x1, y1: first and last pixel in each direction.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Prompt:
    """Prompt for one connected component of a label on a slice.

    Attributes
    ----------
    box : (x0, y0, x1, y1)
        First and last column and row, in pixels.
    points : float64 ndarray, shape [n, 2]
        x and y in pixels.
    inside : bool ndarray, shape [n]
        Whether each point is a foreground point; the others are background points.
    """

    box: Box
    points: np.ndarray
    inside: np.ndarray

    def without_points(self) -> Prompt:
        """Prompt with the box only."""
        return Prompt(self.box, np.empty((0, 2)), np.empty(0, dtype=bool))


class LabelExtents:
    """Boxes that labels may occupy on query slices, from the neighbouring labelled slices."""

    def __init__(self, support: Support) -> None:
        self._support = support
        self._boxes = [label_boxes(mask) for mask in support.masks]

    def neighbours(self, index: int, label_index: int) -> list[int]:
        """Support indices of the nearest labelled slices on which a label is annotated, at most one on each side."""
        return list(self._support.annotated_around(index, label_index))

    def slices_showing(self, label_index: int) -> list[int]:
        """Support indices of the labelled slices that show a label."""
        label = self._support.labels[label_index]
        return [
            support_index
            for support_index, boxes in enumerate(self._boxes)
            if label in boxes and self._support.annotated[support_index, label_index]
        ]

    def limit(self, index: int, label_index: int) -> Box | None:
        """Box that a label may occupy on a slice; None if it is absent from the neighbouring labelled slices."""
        label = self._support.labels[label_index]
        neighbours = [self._boxes[support_index] for support_index in self.neighbours(index, label_index)]
        boxes = [boxes_by_label[label] for boxes_by_label in neighbours if label in boxes_by_label]
        if not boxes:
            return None
        tall = min(box[0].start for box in boxes), max(box[0].stop for box in boxes) - 1
        wide = min(box[1].start for box in boxes), max(box[1].stop for box in boxes) - 1
        shape = self._support.masks.shape[1:]
        return enlarged(
            (wide[0], tall[0], wide[1], tall[1]), REACH_FRACTION, MIN_REACH_PIXELS, (0, 0, shape[1] - 1, shape[0] - 1)
        )


class PropagatedPrompts:
    """Prompts from labels propagated to query slices.

    Parameters
    ----------
    propagate : FlowPropagation
        Propagation on the volume from `support`.
    support : Support
    outside : int
        Number of background points per connected component.
    """

    def __init__(self, propagate: FlowPropagation, support: Support, outside: int = 1) -> None:
        self._propagate = propagate
        self._support = support
        self._outside = outside
        self.extents = LabelExtents(support)

    def prompts(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, dict[int, list[Prompt]]]]:
        """Yield each slice index with the prompts of the labels on it, by their index in `support.labels`."""
        for index, probabilities in self._propagate.predict(slice_indices):
            by_label = {}
            labels, _ = label_slice(probabilities, self._support.labels)
            for label_index, label in enumerate(self._support.labels):
                limit = self.extents.limit(index, label_index)
                if limit is not None:
                    mask = propagated_mask(labels == label, probabilities[label_index + 1])
                    prompts = prompts_of(mask, limit, self._outside)
                    if prompts:
                        by_label[label_index] = prompts
            yield index, by_label


def propagated_mask(mask: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """`mask` or, if it is empty, the pixels `[h, w]` with at least half of the highest probability."""
    highest = probability.max()
    if mask.any() or highest < MIN_PROBABILITY:
        return mask
    propagated: np.ndarray = probability >= highest / 2
    return propagated


def prompts_of(mask: np.ndarray, limit: Box, outside: int = 1) -> list[Prompt]:
    """A box, the innermost point and background points for each large component of a mask, largest first.

    Parameters
    ----------
    mask : bool ndarray, shape [h, w]
    limit : (x0, y0, x1, y1)
        Boxes and points stay within this box.
    outside : int
        Maximum number of background points.
    """
    left, top, right, bottom = limit
    allowed = np.zeros_like(mask)
    allowed[int(np.ceil(top)) : int(bottom) + 1, int(np.ceil(left)) : int(right) + 1] = True
    shown = mask & allowed
    components, count = scipy.ndimage.label(shown, EIGHT_CONNECTED)
    sizes = np.bincount(components.ravel(), minlength=count + 1)[1:]
    order = [int(number) for number in np.argsort(-sizes, kind="stable")[:MAX_COMPONENTS]]
    regions = scipy.ndimage.find_objects(components)
    gap = scipy.ndimage.distance_transform_edt(~shown) if count and outside else None
    prompts = []
    for number in order:
        if sizes[number] < MIN_COMPONENT_FRACTION * sizes[order[0]]:
            continue
        rows, columns = regions[number]
        tight = (columns.start, rows.start, columns.stop - 1, rows.stop - 1)
        box = enlarged(tight, MARGIN_FRACTION, MIN_MARGIN_PIXELS, limit)
        points = [_innermost(components[rows, columns] == number + 1, rows.start, columns.start)]
        inside = [True]
        if gap is not None:
            for point in _farthest(gap, allowed, enlarged(tight, REACH_FRACTION, MIN_REACH_PIXELS, limit), outside):
                points.append(point)
                inside.append(False)
        prompts.append(Prompt(box, np.array(points, dtype=np.float64), np.array(inside)))
    return prompts


def enlarged(box: Box, fraction: float, least: float, limit: Box) -> Box:
    """Enlarge a box on each side by a fraction of its length, at least by `least` pixels, clipped to `limit`."""
    wide = max(least, fraction * (box[2] - box[0] + 1))
    tall = max(least, fraction * (box[3] - box[1] + 1))
    return (
        max(limit[0], box[0] - wide),
        max(limit[1], box[1] - tall),
        min(limit[2], box[2] + wide),
        min(limit[3], box[3] + tall),
    )


def _innermost(component: np.ndarray, top: int, left: int) -> tuple[float, float]:
    """Coordinates x and y of the pixel farthest from the outline."""
    depth = scipy.ndimage.distance_transform_edt(np.pad(component, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(column + left), float(row + top)


def _farthest(gap: np.ndarray, allowed: np.ndarray, box: Box, count: int) -> list[tuple[float, float]]:
    """Coordinates x and y of pixels in a box that are far from the label and from each other."""
    left, top, right, bottom = (int(np.ceil(box[0])), int(np.ceil(box[1])), int(box[2]), int(box[3]))
    area = np.where(allowed, gap, 0)[top : bottom + 1, left : right + 1]
    rows, columns = np.indices(area.shape)
    points = []
    for _ in range(count):
        if not area.size or area.max() < MIN_OUTSIDE_DISTANCE_PIXELS:
            break
        row, column = np.unravel_index(int(area.argmax()), area.shape)
        points.append((float(column + left), float(row + top)))
        area = np.minimum(area, np.hypot(rows - row, columns - column))
    return points
