"""Confidence of a filled slice, from its labels and their probabilities."""

from __future__ import annotations

import numpy as np

# Pixels that count as wrong in each label: small structures are wrong more often than their probabilities say.
WRONG_PIXELS = 3
# Smaller probabilities that a background pixel has another label are ignored: every outline has some.
MIN_MISS_PROBABILITY = 0.2


def slice_confidence(labels: np.ndarray, confidence: np.ndarray) -> float:
    """Expected share of correct pixels on one slice, mean over its labels.

    Large labels do not hide small ones. A structure that may have been missed, background pixels that are uncertain
    over an area like that of the labels, counts as one more label without a correct pixel.

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
    flat = labels.reshape(-1)
    areas = np.bincount(flat)
    correct = np.bincount(flat, probability.reshape(-1), len(areas))
    shown = areas > 0
    shown[0] = False
    missed_probability = 1 - probability[labels == 0]
    missed = float(missed_probability[missed_probability >= MIN_MISS_PROBABILITY].sum(dtype=np.float64))
    if not shown.any():
        return 0.0 if missed else 1.0
    missed_labels = (missed / (missed + areas[shown].mean())) ** 2
    shares = correct[shown] / (areas[shown] + WRONG_PIXELS)
    return float(shares.sum() / (shown.sum() + missed_labels))
