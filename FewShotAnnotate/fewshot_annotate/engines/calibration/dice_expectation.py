"""Expected Dice of the filled slices, and the thresholds that maximise it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from ...core.expected_dice import ExpectedDice
from .soft_dice import expected_log_odds, filling_labels, slice_sums
from .temperature import Calibration


class DiceExpectation:
    """Expected Dice over predicted slices, accumulated slice by slice.

    The expected Dice of a label follows from calibrated probabilities (soft Dice confidence, arXiv 2402.10665).
    """

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._config = calibration.config.expected_dice
        self._labelling = calibration.config.labelling
        self._sums = np.zeros((4, 0))

    def add(self, probabilities: np.ndarray, open_ended: np.ndarray | None = None) -> None:
        """Add one predicted slice.

        Parameters
        ----------
        probabilities : float ndarray, shape [L + 1, h, w]
            Calibrated; the same labels for each slice.
        open_ended : bool ndarray, shape [L], optional
            Labels whose extent is unknown here: only one of the neighbouring labelled slices shows them, or the slice
            is outside of the labelled slices; default: none.
        """
        thresholds = self._thresholds(len(probabilities))
        sums = slice_sums(probabilities, open_ended, thresholds, self._config.min_probability)
        self._sums = sums if not self._sums.size else self._sums + sums

    def apply_dice_thresholds(self, probabilities: np.ndarray) -> np.ndarray:
        """Make the labels that maximise the expected Dice the most probable ones.

        The threshold of a label against background is half of its expected Dice over the slices added so far (Lipton
        et al., "Optimal thresholding of classifiers to maximize F1 measure", 2014). Where this selects another label
        than the most probable one, their probabilities are exchanged; all others stay calibrated.

        Parameters
        ----------
        probabilities : float ndarray, shape [L + 1, h, w]
            Calibrated; the same labels as of the slices added.

        Returns
        -------
        ndarray of the same shape and dtype
        """
        filling = filling_labels(probabilities, self._thresholds(len(probabilities)))[None]
        most_probable = probabilities.argmax(axis=0)[None]
        result = probabilities.copy()
        np.put_along_axis(result, most_probable, np.take_along_axis(probabilities, filling, axis=0), axis=0)
        np.put_along_axis(result, filling, np.take_along_axis(probabilities, most_probable, axis=0), axis=0)
        return result

    def _thresholds(self, label_count: int) -> np.ndarray:
        """Probability threshold of each label index; 0.5 for background."""
        thresholds = np.full(label_count, 0.5, dtype=np.float32)
        if self._sums.size and self._labelling.dice_thresholds:
            thresholds[1:] = np.clip(
                scipy.special.expit(self._log_odds()[1:]) / 2, self._labelling.min_threshold, 0.5
            )
        return thresholds

    def _log_odds(self) -> np.ndarray:
        """Log-odds of the expected Dice of each label index."""
        log_odds = expected_log_odds(self._sums, self._config)
        log_odds[: len(self._calibration.correction)] += self._calibration.correction
        return log_odds

    def expected(self, labels: Sequence[int]) -> tuple[ExpectedDice, ...]:
        """Expected Dice of each label that is predicted or probable in any voxel.

        Parameters
        ----------
        labels : sequence of int
            Label value of each label index from 1.
        """
        if not self._sums.size:
            return ()
        result = []
        log_odds = self._log_odds()
        evidence_of_labels = self._calibration.evidence
        for label_index, label in enumerate(labels, start=1):
            _, expected_size, predicted, _ = self._sums[:, label_index]
            if expected_size + predicted > 0:
                evidence = evidence_of_labels[label_index] if label_index < len(evidence_of_labels) else 0.0
                width = self._half_width(evidence, predicted) * np.array([-1, 0, 1])
                low, dice, high = (float(value) for value in scipy.special.expit(log_odds[label_index] + width))
                result.append(ExpectedDice(int(label), dice, low, high))
        return tuple(result)

    def _half_width(self, evidence: float, predicted: float) -> float:
        """Half-width of the interval of the expected Dice, in log-odds.

        It grows like a standard error where there were few voxels on held-out slices, or few predicted ones.
        """
        voxels = min(evidence, predicted) + self._config.interval_prior_voxels
        error = np.sqrt(self._config.interval_voxels / voxels)
        return float(np.hypot(self._config.interval_half_width_log_odds, error))
