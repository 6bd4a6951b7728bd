"""Patch-based label fusion of warped labelled slices.

Non-local label fusion after Coupé et al., "Patch-based segmentation using expert priors" (NeuroImage 2011), after
alignment by optical flow, so that a search of a few pixels is enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from ..gaussian import smooth
from .optical_flow import warp

# Search radius in pixels, and standard deviation of the weight by distance. `ablation.py --parts
# propagate.label_vote` compares these and the next two with smaller and larger values.
SEARCH_RADIUS_PIXELS = 2
SEARCH_SIGMA_PIXELS = 2.0
# Standard deviation in pixels of the smoothing of intensity differences: the size of the compared patches.
PATCH_SIGMA_PIXELS = 0.6
# Lower limit of the typical difference (intensities from 0 to 1), because very small differences are due to noise.
MIN_INTENSITY_DIFFERENCE = 0.02

# Offsets whose weights are computed at a time.
OFFSETS_AT_A_TIME = 5

Box = tuple[slice, slice]


@dataclass(frozen=True)
class Source:
    """A labelled slice and the displacement field to it.

    Attributes
    ----------
    image : float32 ndarray, shape [channels, h, w]
        Intensities from 0 to 1, each channel multiplied by its weight.
    mask : integer ndarray, shape [h, w]
    boxes : mapping of label to two slices
        Bounding box of each label on the mask.
    field : float32 ndarray, shape [2, h, w]
        From the target slice to this one, in pixels.
    distance : int
        Number of slices from one to the other, at least 1.
    """

    image: np.ndarray
    mask: np.ndarray
    boxes: Mapping[int, Box]
    field: np.ndarray
    distance: int


def label_boxes(mask: np.ndarray) -> dict[int, Box]:
    """Bounding box of each label on an integer mask `[h, w]`."""
    found = scipy.ndimage.find_objects(mask.astype(np.int32))
    return {label: box for label, box in enumerate(found, start=1) if box is not None}


def vote(image: np.ndarray, sources: Sequence[Source], labels: Sequence[int]) -> np.ndarray:
    """Probability of each label at each pixel of a slice.

    Parameters
    ----------
    image : float32 ndarray, shape [channels, h, w]
        The target slice, with the same channels as the sources'.
    sources : sequence of Source
        At least one; they are weighted by inverse distance.
    labels : sequence of int

    Returns
    -------
    float32 ndarray, shape [len(labels), h, w]
        Their sum is at most 1; the rest is background.
    """
    shape = image.shape[1:]
    result = np.zeros((len(labels), *shape), dtype=np.float32)
    reached = [_reached_boxes(source, labels) for source in sources]
    boxes = [box for boxes_of_source in reached for box in boxes_of_source.values()]
    if not boxes:
        return result
    active = _grow(_union(boxes), shape)
    weights = _weights(image, sources, labels, active)
    offsets = _offsets()
    for label_index, label in enumerate(labels):
        for number, (source, boxes_of_source) in enumerate(zip(sources, reached, strict=True)):
            if label in boxes_of_source:
                one_hot = (source.mask == label).astype(np.float32)
                area = _grow(boxes_of_source[label], shape)
                warped = _padded(one_hot, source.field, area)
                inside = tuple(slice(a.start - w.start, a.stop - w.start) for a, w in zip(area, active, strict=True))
                votes = result[(label_index, *area)]
                vote_of_offset = np.empty_like(votes)
                for offset, weight in zip(offsets, weights[number], strict=True):
                    votes += np.multiply(weight[inside], _shifted(warped, offset), out=vote_of_offset)
    result[(slice(None), *active)] /= weights.sum(axis=(0, 1))
    return result


def _offsets() -> list[tuple[int, int]]:
    """Rows and columns within the search radius of a pixel, relative to it."""
    steps = range(-SEARCH_RADIUS_PIXELS, SEARCH_RADIUS_PIXELS + 1)
    return [(row, column) for row in steps for column in steps]


def _reached_boxes(source: Source, labels: Sequence[int]) -> dict[int, Box]:
    """Bounding box on the target slice of the pixels that the field maps into the box of each label."""
    rows = source.field[0] + np.arange(source.field.shape[1], dtype=np.float32)[:, None]
    columns = source.field[1] + np.arange(source.field.shape[2], dtype=np.float32)
    boxes = {}
    for label in labels:
        if label not in source.boxes:
            continue
        tall, wide = source.boxes[label]
        last_row, last_column = source.mask.shape[0] - 1, source.mask.shape[1] - 1
        # Borders are extended outwards, so pixels mapped beyond a border take the labels on it.
        is_mapped = rows > tall.start - 1 if tall.start else np.ones(rows.shape, dtype=bool)
        if tall.stop <= last_row:
            is_mapped &= rows < tall.stop
        if wide.start:
            is_mapped &= columns > wide.start - 1
        if wide.stop <= last_column:
            is_mapped &= columns < wide.stop
        found = scipy.ndimage.find_objects(is_mapped.view(np.uint8))
        if found:
            boxes[label] = found[0]
    return boxes


def _weights(image: np.ndarray, sources: Sequence[Source], labels: Sequence[int], active: Box) -> np.ndarray:
    """Weights of sources and offsets at each active pixel, not normalised: float32 [sources, offsets, h, w]."""
    target = image[(slice(None), *active)]
    offsets = _offsets()
    # A few offsets at a time, so that arrays stay in the processor's cache.
    groups = [slice(first, first + OFFSETS_AT_A_TIME) for first in range(0, len(offsets), OFFSETS_AT_A_TIME)]
    weights = np.empty((len(sources), len(offsets), *target.shape[1:]), dtype=np.float32)
    labelled = np.zeros(target.shape[1:], dtype=bool)
    for source_weights, source in zip(weights, sources, strict=True):
        warped = [_padded(channel, source.field, active) for channel in source.image]
        for group in groups:
            total = source_weights[group]
            total[...] = 0
            difference = np.empty_like(total)
            for channel, moved in zip(target, warped, strict=True):
                for of_offset, offset in zip(difference, offsets[group], strict=True):
                    np.subtract(channel, _shifted(moved, offset), out=of_offset)
                total += np.abs(difference, out=difference)
            total[...] = smooth(total, PATCH_SIGMA_PIXELS)
        mask = np.isin(source.mask, labels).astype(np.float32)
        labelled |= warp(mask, source.field, active) > 0
    typical = float(weights[:, len(offsets) // 2].min(axis=0)[labelled].mean()) if labelled.any() else 0.0
    least = weights.min(axis=(0, 1))
    scale = np.float32(-1 / max(typical, MIN_INTENSITY_DIFFERENCE))
    squared_lengths = np.array([down**2 + right**2 for down, right in offsets], dtype=np.float32)[:, None, None]
    factors = np.exp(squared_lengths / (-2 * SEARCH_SIGMA_PIXELS**2))
    for source_weights, source in zip(weights, sources, strict=True):
        for group in groups:
            weights_of_group = source_weights[group]
            weights_of_group -= least
            weights_of_group *= scale
            np.exp(weights_of_group, out=weights_of_group)
            weights_of_group *= factors[group] / np.float32(source.distance)
    return weights


def _padded(image: np.ndarray, field: np.ndarray, box: Box) -> np.ndarray:
    """`image` warped in a box with a margin of `SEARCH_RADIUS_PIXELS` pixels; the border is extended outwards."""
    outer = _grow(box, image.shape)
    missing = [
        (SEARCH_RADIUS_PIXELS - (b.start - o.start), SEARCH_RADIUS_PIXELS - (o.stop - b.stop))
        for b, o in zip(box, outer, strict=True)
    ]
    return np.pad(warp(image, field, outer), missing, mode="edge")


def _shifted(padded: np.ndarray, offset: tuple[int, int]) -> np.ndarray:
    rows, columns = (size - 2 * SEARCH_RADIUS_PIXELS for size in padded.shape)
    row, column = offset[0] + SEARCH_RADIUS_PIXELS, offset[1] + SEARCH_RADIUS_PIXELS
    return padded[row : row + rows, column : column + columns]


def _union(boxes: Sequence[Box]) -> Box:
    rows, columns = (
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)) for axis in (0, 1)
    )
    return rows, columns


def _grow(box: Box, shape: tuple[int, ...]) -> Box:
    rows, columns = (
        slice(max(0, axis_range.start - SEARCH_RADIUS_PIXELS), min(size, axis_range.stop + SEARCH_RADIUS_PIXELS))
        for axis_range, size in zip(box, shape, strict=True)
    )
    return rows, columns
