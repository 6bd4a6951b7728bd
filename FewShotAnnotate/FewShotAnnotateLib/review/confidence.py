"""How sure a filled slice is, from its labels and their probabilities alone."""

from __future__ import annotations

import numpy as np

# Less probability than this of being missed counts nothing: over all the background it would add up to a label.
FAINT = 0.02


def slice_confidence(labels: np.ndarray, confidence: np.ndarray) -> float:
    """Dice to expect of all labels together on one slice (soft Dice confidence, arXiv 2402.10665).

    Parameters
    ----------
    labels : integer ndarray, shape [h, w]
        0 is background.
    confidence : float or uint8 ndarray, shape [h, w]
        Probability of each pixel's label, 0..1, or 0..255 if uint8.

    Returns
    -------
    float
        0..1; 1 where there is no label and none is likely.
    """
    sure = confidence / np.float32(255) if confidence.dtype == np.uint8 else confidence
    painted = labels != 0
    right = float(sure[painted].sum(dtype=np.float64))
    missed = 1 - sure[~painted]
    likely = right + float(missed[missed >= FAINT].sum(dtype=np.float64))
    total = np.count_nonzero(painted) + likely
    return 2 * right / total if total else 1.0
