"""Removal of very small predictions, which are noise more often than the tip of a structure."""

from __future__ import annotations

import numpy as np


def reassign_small_components(probabilities: np.ndarray, smallest: np.ndarray, min_pixels: int) -> np.ndarray:
    """Reassign the pixels of labels with very few pixels to the next most probable label.

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
    for row, column in np.argwhere(small[best]):
        pixel = result[:, row, column]
        label, other = best[row, column], np.where(small, -1, pixel).argmax()
        pixel[[label, other]] = pixel[[other, label]]
    return result
