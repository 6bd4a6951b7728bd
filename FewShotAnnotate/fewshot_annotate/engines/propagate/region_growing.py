"""Region growing: each pixel takes the label of the seed at the smallest geodesic intensity distance.

The same distance as in Zhu et al., "An effective interactive medical image segmentation method using fast GrowCut"
(MICCAI workshop 2014), computed in sweeps along the stack instead of with a priority queue.
"""

from __future__ import annotations

from collections.abc import Sequence

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
# Intensity around each slice, so far from all others that no shortest path leads through it.
_OUTSIDE = 1e30


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
    growth = _Growth(images, seeds, seeded)
    count, fixed = len(images), set(seeded)
    for _ in range(STACK_SWEEPS):
        for step, path in ((1, range(1, count)), (-1, range(count - 2, -1, -1))):
            for index in path:
                if index not in fixed:
                    growth.advance(index, index - step)
    return growth.label_masks()


class _Growth:
    """Labels and distances of a stack during the sweeps.

    Slices are vectors, in which an adjacent pixel is at a constant shift. Operations on vectors take a third of the
    time of those on crops of slices. There is a border around each slice: a row before and after it, and a column,
    which is the one after a row and before the next. A further row keeps all shifts within the vector.
    """

    def __init__(self, images: np.ndarray, seeds: np.ndarray, seeded: Sequence[int]) -> None:
        self._height, width = seeds.shape[1:]
        self._line = width + 1
        self._start, self._stop = self._line + 1, (self._height + 1) * self._line
        self._images = self._flat(images, _OUTSIDE)
        self._labels = self._flat(np.zeros_like(seeds), 0)
        self._distances = np.full(self._labels.shape, np.inf, dtype=np.float32)
        for index in seeded:
            self._labels[index] = self._flat(seeds[index], 0)
            self._distances[index] = self._flat(np.zeros(seeds.shape[1:], dtype=np.float32), np.inf)

    def label_masks(self) -> np.ndarray:
        """Labels of all slices, `[n, h, w]`."""
        rows = self._labels.reshape(len(self._labels), -1, self._line)
        return np.ascontiguousarray(rows[:, 1 : self._height + 1, 1:])

    def advance(self, index: int, before: int) -> None:
        """Update slice `index` from the adjacent slice `before`, and then within it."""
        here, other = self._images[index], self._images[before]
        across, forward, backward = [], [], []
        for row, column in _NEIGHBOURS:
            shift, length = row * self._line + column, (row**2 + column**2 + 1) ** 0.5
            across.append((shift, _cost(self._pixels(here), self._pixels(other, shift), length)))
        for row, column in _HALF_OF_NEIGHBOURS:
            shift, length = row * self._line + column, (row**2 + column**2) ** 0.5
            # The cost of the step between two pixels of a slice is the same in both directions.
            start, stop = self._start, self._stop - shift
            cost = _cost(here[:, start:stop], here[:, start + shift : stop + shift], length)
            forward.append((shift, cost[:shift]))
            backward.append((-shift, cost[-shift:]))
        self._relax(index, before, across)
        for _ in range(SLICE_SWEEPS):
            self._relax(index, index, [*forward, *reversed(backward)])

    def _relax(self, index: int, other: int, costs: Sequence[tuple[int, np.ndarray]]) -> None:
        """Update labels and distances of slice `index` from adjacent pixels on slice `other`.

        `costs` are the shift to an adjacent pixel and the cost of the step from it to each pixel.
        """
        labels, distances = self._pixels(self._labels[index]), self._pixels(self._distances[index])
        for shift, cost in costs:
            distance_through = cost + self._pixels(self._distances[other], shift)
            nearer = distance_through < distances
            np.minimum(distances, distance_through, out=distances)
            change = self._pixels(self._labels[other], shift) - labels
            change *= nearer
            labels += change  # much faster than np.copyto with a mask

    def _flat(self, images: np.ndarray, outside: float) -> np.ndarray:
        """Images `[..., h, w]` as vectors `[..., pixels and border]`."""
        border = ((0, 0),) * (images.ndim - 2) + ((1, 2), (1, 0))
        return np.pad(images, border, constant_values=outside).reshape(*images.shape[:-2], -1)

    def _pixels(self, vectors: np.ndarray, shift: int = 0) -> np.ndarray:
        """View from the first to the last pixel of a slice, moved by a shift."""
        return vectors[..., self._start + shift : self._stop + shift]


def _cost(images: np.ndarray, others: np.ndarray, length: float) -> np.ndarray:
    """Cost of steps of a length in pixels between the pixels of two arrays `[channels, n]`."""
    differences = images - others
    np.abs(differences, out=differences)
    total: np.ndarray = differences[0]
    for difference in differences[1:]:
        total += difference
    total += np.float32(COST_PER_PIXEL * length)
    return total


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
