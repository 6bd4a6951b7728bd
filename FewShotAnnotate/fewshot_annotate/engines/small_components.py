"""Removal of very small predictions: their pixels go to the next most probable label."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy

# A component is removed if it has fewer pixels than this fraction of the smallest component of its label on the
# neighbouring labelled slices, and than this fraction of the largest one on its slice. Larger ones may be correct, as
# where a structure splits.
MAX_RATIO_TO_LABELLED, MAX_RATIO_TO_LARGEST = 0.5, 0.02

# Pixels that share a corner are connected.
EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


class SmallestComponents:
    """Sizes of the smallest connected components of each label on labelled slices.

    Parameters
    ----------
    masks : function
        Support index to the labels of a labelled slice, integer ndarray `[h, w]`.
    values : sequence of int
        Value of each label in these masks.
    """

    def __init__(self, masks: Callable[[int], np.ndarray], values: Sequence[int]) -> None:
        self._masks = masks
        self._values = values
        self._sizes: dict[int, np.ndarray] = {}

    def around(self, support_indices: Sequence[int]) -> np.ndarray:
        """Pixels of each label's smallest component on some labelled slices, int `[labels]`; 0 if it is on none."""
        for support_index in set(support_indices) - set(self._sizes):
            mask = self._masks(support_index)
            self._sizes[support_index] = np.array([_smallest_component(mask == value) for value in self._values])
        sizes = np.array([self._sizes[support_index] for support_index in support_indices])
        smallest: np.ndarray = np.where(sizes > 0, sizes, sizes.max(initial=0)).min(axis=0) * sizes.any(axis=0)
        return smallest


def _smallest_component(mask: np.ndarray) -> int:
    """Pixels of the smallest connected component of a bool mask `[h, w]`; 0 for an empty one."""
    numbers, count = scipy.ndimage.label(mask, EIGHT_CONNECTED)
    return int(np.bincount(numbers.reshape(-1))[1:].min()) if count else 0


def remove_small_components(probabilities: np.ndarray, smallest: np.ndarray) -> None:
    """Remove small components of each label, which patch comparison leaves in noisy images; the largest one stays.

    Parameters
    ----------
    probabilities : float ndarray, shape [labels + 1, h, w]
        Label index 0 is background. Changed in place.
    smallest : int ndarray, shape [labels]
        Pixels of the smallest component of each label on the neighbouring labelled slices; 0 to keep all components.
    """
    filled = probabilities.argmax(axis=0)
    boxes = scipy.ndimage.find_objects(filled, max_label=len(smallest))
    for label_index, (box, min_pixels) in enumerate(zip(boxes, smallest, strict=True), start=1):
        if box is None or not min_pixels:
            continue
        numbers, count = scipy.ndimage.label(filled[box] == label_index, EIGHT_CONNECTED)
        areas = np.bincount(numbers.reshape(-1))
        small = areas < min(MAX_RATIO_TO_LABELLED * min_pixels, MAX_RATIO_TO_LARGEST * areas[1:].max())
        small[0] = False
        if count > 1 and small.any():
            _give_to_next_label(probabilities[(slice(None), *box)], small[numbers], [label_index])


def remove_small_labels(probabilities: np.ndarray, smallest: np.ndarray, min_pixels: int) -> np.ndarray:
    """Remove labels with very few pixels on a slice, which are noise more often than the tip of a structure.

    Parameters
    ----------
    probabilities : float ndarray, shape [labels + 1, h, w]
        Label index 0 is background.
    smallest : int ndarray, shape [labels]
        Smallest number of pixels of each label on the labelled slices that show it.
    min_pixels : int
        Minimum number of pixels of a label on a slice, unless a labelled slice shows fewer.

    Returns
    -------
    ndarray of the same shape and dtype
    """
    best = probabilities.argmax(axis=0)
    sizes = np.bincount(best.reshape(-1), minlength=len(probabilities))
    small = (sizes > 0) & (sizes < min_pixels)
    small[0] = False
    small[1:] &= smallest >= min_pixels
    if not small.any():
        return probabilities
    result = probabilities.copy()
    _give_to_next_label(result, small[best], np.flatnonzero(small))
    return result


def _give_to_next_label(probabilities: np.ndarray, pixels: np.ndarray, excluded: np.ndarray | list[int]) -> None:
    """Swap the largest probability of some pixels with the next largest of a label that is not excluded, in place."""
    values = probabilities[:, pixels]
    candidates = values.copy()
    candidates[excluded] = -1
    label_index, next_index, columns = values.argmax(axis=0), candidates.argmax(axis=0), np.arange(values.shape[1])
    largest = values[label_index, columns]
    values[label_index, columns] = values[next_index, columns]
    values[next_index, columns] = largest
    probabilities[:, pixels] = values
