"""Confidence of a filled slice, from its labels and their probabilities."""

from __future__ import annotations

import numpy as np

# Smaller probabilities of a missed label are ignored: summed over the whole background they would be large.
MIN_MISS_PROBABILITY = 0.02


def slice_confidence(labels: np.ndarray, confidence: np.ndarray) -> float:
    """Expected Dice of all labels together on one slice (soft Dice confidence, arXiv 2402.10665).

    Parameters
    ----------
    labels : integer ndarray, shape [h, w]
        0 is background.
    confidence : float or uint8 ndarray, shape [h, w]
        Probability of each pixel's label, 0..1, or 0..255 if uint8.

    Returns
    -------
    float
        0..1; 1 if there is no label and none is probable.
    """
    probability = confidence / np.float32(255) if confidence.dtype == np.uint8 else confidence
    labelled = labels != 0
    true_positives = float(probability[labelled].sum(dtype=np.float64))
    missed = 1 - probability[~labelled]
    expected_size = true_positives + float(missed[missed >= MIN_MISS_PROBABILITY].sum(dtype=np.float64))
    total = np.count_nonzero(labelled) + expected_size
    return 2 * true_positives / total if total else 1.0
