"""Specks: a label that fills a pixel or two of a slice is noise more often than the tip of something."""

from __future__ import annotations

import numpy as np

# Pixels of a slice that a label fills at least, unless a labelled slice shows as few.
LEAST_PIXELS = 3


def without_specks(probabilities: np.ndarray, smallest: np.ndarray) -> np.ndarray:
    """The same, but where a label is a speck, it changes places with the most probable one that is none.

    Parameters
    ----------
    probabilities : float ndarray, shape [labels + 1, h, w]
        Row 0 is background.
    smallest : int ndarray, shape [labels]
        Pixels of each label on the labelled slice that shows least of it.

    Returns
    -------
    ndarray of the same shape and dtype
    """
    best = probabilities.argmax(axis=0)
    sizes = np.bincount(best.reshape(-1), minlength=len(probabilities))
    few = (sizes > 0) & (sizes < LEAST_PIXELS)
    few[0] = False
    few[1:] &= smallest >= LEAST_PIXELS
    if not few.any():
        return probabilities
    result = probabilities.copy()
    for row, column in np.argwhere(few[best]):
        pixel = result[:, row, column]
        speck, other = best[row, column], np.where(few, -1, pixel).argmax()
        pixel[[speck, other]] = pixel[[other, speck]]
    return result
