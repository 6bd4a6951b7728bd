"""Confidence of a filled slice, from its labels and their probabilities."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# Pixels that count as wrong in each label: small structures are wrong more often than their probabilities say.
WRONG_PIXELS = 3
# Smaller probabilities that a background pixel has another label are ignored: every outline has some.
MIN_MISS_PROBABILITY = 0.2


def slice_confidence(labels: np.ndarray, confidence: np.ndarray, typical_area: float = 0.0) -> float:
    """Expected share of correct pixels on one slice, mean over its labels.

    Large labels do not hide small ones. A structure that may have been missed, background pixels that are uncertain
    over an area like that of the labels, counts as one more label without a correct pixel. On a slice without labels
    that area is compared with `typical_area`, so that a few uncertain pixels beyond the end of a structure matter as
    little as they do beside one.

    Parameters
    ----------
    labels : integer ndarray, shape [h, w]
        0 is background.
    confidence : float or uint8 ndarray, shape [h, w]
        Probability of each pixel's label, 0..1, or 0..255 if uint8.
    typical_area : float
        `mean_label_area` of the other slices, in pixels; if 0, any probable structure on an empty slice counts.

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
    if not missed and not shown.any():
        return 1.0
    missed_labels = (missed / (missed + (areas[shown].mean() if shown.any() else typical_area))) ** 2
    if not shown.any():
        return float(1 - missed_labels)
    shares = correct[shown] / (areas[shown] + WRONG_PIXELS)
    return float(shares.sum() / (shown.sum() + missed_labels))


def mean_label_area(slices: Iterable[np.ndarray]) -> float:
    """Mean area of a label on a slice that shows it, in pixels: the mean over the slices, 0 if none shows a label.

    Parameters
    ----------
    slices : iterable of integer ndarray [h, w]
        0 is background.
    """
    areas = []
    for labels in slices:
        counts = np.bincount(labels.reshape(-1))[1:]
        if counts.any():
            areas.append(float(counts[counts > 0].mean()))
    return float(np.mean(areas)) if areas else 0.0
