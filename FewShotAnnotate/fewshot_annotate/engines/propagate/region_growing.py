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
                    across = {offset: _differences(here, before, offset) for offset in _NEIGHBOURS}
                    _relax(labels, distances, index, index - step, across)
                    # The difference between two pixels of a slice is the same in both directions.
                    within = {offset: _differences(here, here, offset) for offset in _HALF_OF_NEIGHBOURS}
                    within |= {(-down, -right): found for (down, right), found in within.items()}
                    for _ in range(SLICE_SWEEPS):
                        _relax(labels, distances, index, index, within)
    return labels


def _differences(images: np.ndarray, others: np.ndarray, offset: tuple[int, int]) -> np.ndarray:
    """Sum over channels of the difference of each pixel of a slice to that at an offset, where there is one."""
    height, width = images.shape[1:]
    (rows, from_rows), (columns, from_columns) = _overlap(offset[0], height), _overlap(offset[1], width)
    differences = images[:, rows, columns] - others[:, from_rows, from_columns]
    np.abs(differences, out=differences)
    total: np.ndarray = differences[0]
    for difference in differences[1:]:
        total += difference
    return total


def _relax(
    labels: np.ndarray,
    distances: np.ndarray,
    index: int,
    other: int,
    differences: Mapping[tuple[int, int], np.ndarray],
) -> None:
    """Update labels and distances of slice `index` from adjacent pixels on slice `other`, in place.

    `differences` are those of the intensities, by the offset of the adjacent pixel.
    """
    height, width = labels.shape[1:]
    for down, right in _NEIGHBOURS:
        length = down**2 + right**2 + (index != other)
        if not length:
            continue
        rows, from_rows = _overlap(down, height)
        columns, from_columns = _overlap(right, width)
        pixels, neighbours = (index, rows, columns), (other, from_rows, from_columns)
        distance_through = differences[down, right] + distances[neighbours]
        distance_through += np.float32(COST_PER_PIXEL * length**0.5)
        nearer = distance_through < distances[pixels]
        np.minimum(distances[pixels], distance_through, out=distances[pixels])
        np.copyto(labels[pixels], labels[neighbours], where=nearer)


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
