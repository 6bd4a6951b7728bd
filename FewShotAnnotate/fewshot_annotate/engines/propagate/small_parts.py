"""Removal of small parts of a label beside its largest one, which patch comparison leaves in noisy images."""

from __future__ import annotations

import numpy as np
import scipy

# A part is removed if it has less than these many times the pixels of the smallest part on labelled slices around,
# and of the largest part on its own slice: larger ones may be where a structure splits.
MAX_RATIO_TO_LABELLED, MAX_RATIO_TO_LARGEST = 0.5, 0.01

_CONNECTED = np.ones((3, 3), dtype=bool)


def smallest_part(mask: np.ndarray) -> int:
    """Pixels of the smallest connected part of a bool mask `[h, w]`; 0 for an empty one."""
    numbers, count = scipy.ndimage.label(mask, _CONNECTED)
    return int(np.bincount(numbers.reshape(-1))[1:].min()) if count else 0


def remove_small_parts(probabilities: np.ndarray, smallest: np.ndarray) -> None:
    """Give small parts of each label to the next most probable label, in place; the largest part stays.

    Parameters
    ----------
    probabilities : float ndarray, shape [labels + 1, h, w]
        Label index 0 is background.
    smallest : int ndarray, shape [labels]
        Pixels of the smallest part of each label on the labelled slices around; 0 to keep all parts.
    """
    filled = probabilities.argmax(axis=0)
    boxes = scipy.ndimage.find_objects(filled, max_label=len(smallest))
    for label_index, (box, least) in enumerate(zip(boxes, smallest, strict=True), start=1):
        if box is None or not least:
            continue
        numbers, count = scipy.ndimage.label(filled[box] == label_index, _CONNECTED)
        areas = np.bincount(numbers.reshape(-1))
        small = areas < min(MAX_RATIO_TO_LABELLED * least, MAX_RATIO_TO_LARGEST * areas[1:].max())
        small[0] = False
        if count < 2 or not small.any():
            continue
        part = probabilities[(slice(None), *box)]
        for row, column in np.argwhere(small[numbers]):
            pixel = part[:, row, column]
            others = np.where(np.arange(len(pixel)) == label_index, -1, pixel)
            other = int(others.argmax())
            pixel[[label_index, other]] = pixel[[other, label_index]]
