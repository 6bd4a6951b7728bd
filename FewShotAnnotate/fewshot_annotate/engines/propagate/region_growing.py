"""Region growing: each pixel takes the label of the seed at the smallest geodesic intensity distance.

The same distance as in Zhu et al., "An effective interactive medical image segmentation method using fast GrowCut"
(MICCAI workshop 2014), computed in sweeps along the stack instead of with a priority queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy

# `ablation.py --parts propagate.region_growing` compares these four with smaller and larger values.
# Cost of a step by one pixel at constant intensity (intensities from 0 to 1), which decides in homogeneous regions.
COST_PER_PIXEL = 1e-5
# Sweeps along the stack in both directions, and sweeps within each slice after each step along the stack.
STACK_SWEEPS = 2
SLICE_SWEEPS = 3
# Standard deviation in pixels of the smoothing that turns labels into probabilities.
SMOOTHING_SIGMA_PIXELS = 0.7

_NEIGHBOURS = tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1))
_HALF_OF_NEIGHBOURS = _NEIGHBOURS[:4]


def grow(images: np.ndarray, seeds: np.ndarray, seeded: Sequence[int]) -> np.ndarray:
    """Label all slices of a stack from the seeds on some of them.

    Parameters
    ----------
    images : float32 ndarray, shape [n, channels, h, w]
        Intensities from 0 to 1, each channel multiplied by its weight.
    seeds : integer ndarray, shape [n, h, w]
        Labels of the seeded slices, background among them; the others are ignored.
    seeded : sequence of int
        Indices of the slices on which every pixel is a seed.

    Returns
    -------
    ndarray, shape [n, h, w], dtype of `seeds`
    """
    labels = np.zeros_like(seeds)
    distances = np.full(seeds.shape, np.inf, dtype=np.float32)
    for index in seeded:
        labels[index] = seeds[index]
        distances[index] = 0
    fixed = set(seeded)
    count = len(images)
    for _ in range(STACK_SWEEPS):
        for step, path in ((1, range(1, count)), (-1, range(count - 2, -1, -1))):
            for index in path:
                if index not in fixed:
                    before, here = (images[other] for other in (index - step, index))
                    across = {offset: _costs(here, before, offset, 1) for offset in _NEIGHBOURS}
                    _relax(labels, distances, index, index - step, across)
                    # The cost between two pixels of a slice is the same in both directions.
                    half = {offset: _costs(here, here, offset, 0) for offset in _HALF_OF_NEIGHBOURS}
                    within = half | {(-down, -right): half[down, right] for down, right in reversed(half)}
                    for _ in range(SLICE_SWEEPS):
                        _relax(labels, distances, index, index, within)
    return labels


def _costs(images: np.ndarray, others: np.ndarray, offset: tuple[int, int], slices: int) -> np.ndarray:
    """Cost of the step to each pixel of a slice from that at an offset, where there is one.

    `slices` is 1 if the pixels `others` are those of a neighbouring slice, 0 if of the same one.
    """
    height, width = images.shape[1:]
    (rows, from_rows), (columns, from_columns) = _overlap(offset[0], height), _overlap(offset[1], width)
    differences = images[:, rows, columns] - others[:, from_rows, from_columns]
    np.abs(differences, out=differences)
    total: np.ndarray = differences[0]
    for difference in differences[1:]:
        total += difference
    total += np.float32(COST_PER_PIXEL * (offset[0] ** 2 + offset[1] ** 2 + slices) ** 0.5)
    return total


def _relax(
    labels: np.ndarray, distances: np.ndarray, index: int, other: int, costs: Mapping[tuple[int, int], np.ndarray]
) -> None:
    """Update labels and distances of slice `index` from adjacent pixels on slice `other`, in place.

    `costs` are those of the step from the adjacent pixel at each offset.
    """
    height, width = labels.shape[1:]
    for (down, right), cost in costs.items():
        rows, from_rows = _overlap(down, height)
        columns, from_columns = _overlap(right, width)
        pixels, neighbours = (index, rows, columns), (other, from_rows, from_columns)
        distance_through = cost + distances[neighbours]
        nearer = distance_through < distances[pixels]
        np.minimum(distances[pixels], distance_through, out=distances[pixels])
        change = labels[neighbours] - labels[pixels]
        change *= nearer
        labels[pixels] += change  # twice as fast as np.copyto with a mask


def _overlap(offset: int, size: int) -> tuple[slice, slice]:
    return slice(max(0, -offset), size - max(0, offset)), slice(max(0, offset), size - max(0, -offset))


def soften(mask: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Label probabilities of a mask, smoothed at its borders.

    Parameters
    ----------
    mask : integer ndarray, shape [h, w]
    labels : sequence of int

    Returns
    -------
    float32 ndarray, shape [len(labels) + 1, h, w]
        Label index 0 is background; the sum is 1.
    """
    result = np.zeros((len(labels) + 1, *mask.shape), dtype=np.float32)
    margin = 3
    for label_index, label in enumerate(labels, start=1):
        mask_of_label = mask == label
        boxes = scipy.ndimage.find_objects(mask_of_label.view(np.uint8))
        if boxes:
            rows, columns = (
                slice(max(0, axis_range.start - margin), axis_range.stop + margin) for axis_range in boxes[0]
            )
            one_hot = mask_of_label[rows, columns].astype(np.float32)
            result[label_index, rows, columns] = scipy.ndimage.gaussian_filter(
                one_hot, SMOOTHING_SIGMA_PIXELS, mode="nearest"
            )
    np.clip(1 - result[1:].sum(axis=0), 0, 1, out=result[0])
    result /= result.sum(axis=0)
    return result
