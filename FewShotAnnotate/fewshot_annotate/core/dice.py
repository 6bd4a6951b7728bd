"""Dice coefficient of labels (Dice 1945, Ecology 26), NaN where neither side holds the label."""

from __future__ import annotations

import numpy as np


def dice_of_counts(counts: np.ndarray) -> np.ndarray:
    """Dice from voxel counts `[..., 3]` (truth, result, both); NaN where the first two are 0."""
    total = counts[..., 0] + counts[..., 1]
    return np.where(total > 0, 2.0 * counts[..., 2] / np.maximum(total, 1), np.nan)


def dice_of_masks(truth: np.ndarray, result: np.ndarray) -> float:
    """Dice of two bool masks of the same shape, 0..1; NaN if both are empty."""
    counts = [np.count_nonzero(mask) for mask in (truth, result, truth & result)]
    return float(dice_of_counts(np.array(counts)))


def dice(truth: np.ndarray, result: np.ndarray, label: int) -> float:
    """Dice of one label value, voxels pooled over the whole arrays.

    Parameters
    ----------
    truth, result : integer ndarrays of the same shape
    label : int

    Returns
    -------
    float
        0..1; NaN if neither array holds the label.
    """
    return dice_of_masks(truth == label, result == label)


def dice_of_labels(truth: np.ndarray, result: np.ndarray, labels: int) -> np.ndarray:
    """Dice of the label values 1 to `labels`, in one pass over the arrays, float `[labels]`.

    Parameters
    ----------
    truth, result : integer ndarrays of the same shape, without negative values
    labels : int
    """
    arrays = (truth.reshape(-1), result.reshape(-1), truth[truth == result])
    counts = [np.bincount(array, minlength=labels + 1)[1 : labels + 1] for array in arrays]
    return dice_of_counts(np.stack(counts, axis=-1))
