"""Agreement of two label maps."""

from __future__ import annotations

import numpy as np


def dice(truth: np.ndarray, result: np.ndarray, label: int) -> float:
    """Dice coefficient of one label, voxels pooled over the whole array (Dice 1945, Ecology 26).

    Parameters
    ----------
    truth, result : integer ndarrays of the same shape
    label : int

    Returns
    -------
    float
        0..1; NaN if neither array holds the label.
    """
    in_truth, in_result = truth == label, result == label
    total = np.count_nonzero(in_truth) + np.count_nonzero(in_result)
    return 2.0 * np.count_nonzero(in_truth & in_result) / total if total else float("nan")
