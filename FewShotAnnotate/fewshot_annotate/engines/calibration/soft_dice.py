"""Expected Dice of labels from calibrated probabilities (soft Dice confidence, arXiv 2402.10665)."""

from __future__ import annotations

import numpy as np

from .config import ExpectedDiceConfig


def filling_labels(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Label index that fills each voxel, int `[...]`, from probabilities and thresholds of `[labels + 1, ...]`.

    A probability that reaches its threshold t is multiplied by (1 - t) / t, so that at t it equals a background of
    1 - t; then the label with the largest product is chosen.
    """
    thresholds = thresholds.reshape(-1, *(1,) * (probabilities.ndim - 1))
    scores = probabilities.copy()
    np.multiply(scores, (1 - thresholds) / thresholds, out=scores, where=probabilities >= thresholds)
    filling: np.ndarray = scores.argmax(axis=0)
    return filling


def slice_sums(
    probabilities: np.ndarray, open_ended: np.ndarray | None, thresholds: np.ndarray, min_probability: float
) -> np.ndarray:
    """Sums over one slice from which the expected Dice is calculated; those of several slices can be added.

    Parameters
    ----------
    probabilities : float ndarray, shape [L + 1, h, w]
        Calibrated.
    open_ended : bool ndarray, shape [L], optional
        Labels whose extent is unknown on this slice.
    thresholds : float ndarray, shape [L + 1]
        Probability threshold of each label.
    min_probability : float
        Smaller probabilities are taken as 0.

    Returns
    -------
    float ndarray, shape [4, L + 1]
        Per label: expected correctly predicted voxels, expected true voxels, predicted voxels, and those of them that
        are open-ended.
    """
    probabilities = probabilities.reshape(len(probabilities), -1)
    count = len(probabilities)
    best = filling_labels(probabilities, thresholds)
    of_best = np.take_along_axis(probabilities, best[None], axis=0)[0]
    correct = np.bincount(best, of_best, count)
    expected_size = np.where(probabilities >= min_probability, probabilities, 0).sum(axis=1, dtype=np.float64)
    predicted = np.bincount(best, minlength=count)
    ending = np.zeros(count) if open_ended is None else np.append(0, open_ended) * predicted
    return np.stack([correct, expected_size, predicted, ending])


def expected_log_odds(sums: np.ndarray, config: ExpectedDiceConfig) -> np.ndarray:
    """Log-odds of the expected Dice of each label, shape [L + 1], from `slice_sums`."""
    correct, expected_size, predicted, ending = sums
    errors = expected_size + predicted - 2 * correct + 1
    penalty = config.open_end_penalty_log_odds * ending / np.maximum(predicted, 1)
    log_odds: np.ndarray = config.log_odds_factor * np.log((2 * correct + 1) / errors) - penalty
    return log_odds
