"""Blend of the result with a specialist: networks trained on other patients of the task.

Their log-odds are averaged; the smaller an error is, the larger is the weight. The error of the specialist is
estimated on the labelled slices, before it is fine-tuned on them, and from its cross-validation. The error of the
result grows with the distance from the labelled slices, at a rate estimated on held-out slices. A specialist with a
large error on this patient has no weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from ...core.expected_dice import ExpectedDice
from ...core.support import Support
from ..calibration.temperature import Calibration, Distances, HeldOutPrediction, effective_distance
from .config import BlendConfig

# Smaller probabilities are set to this before the logarithm.
_MIN_PROBABILITY = 1e-4


@dataclass(frozen=True)
class SpecialistBlend:
    """Weights of a specialist by label.

    Attributes
    ----------
    predicted : function
        Slice index to the probabilities of the specialist, float32 `[labels + 1, h, w]`.
    error : float ndarray, shape [labels]
        Estimated error, 1 - Dice, of the specialist on this volume.
    growth : float ndarray, shape [labels]
        Error of the result per effective distance from the labelled slices.
    config : BlendConfig
    """

    predicted: Callable[[int], np.ndarray]
    error: np.ndarray
    growth: np.ndarray
    config: BlendConfig

    @classmethod
    def fit(
        cls,
        predicted: Callable[[int], np.ndarray],
        expected: Sequence[ExpectedDice],
        support: Support,
        held_out: Sequence[HeldOutPrediction],
        calibration: Calibration,
        config: BlendConfig,
        *,
        on_labelled: Callable[[int], np.ndarray] | None = None,
        error_ratio: float = 1.0,
    ) -> SpecialistBlend:
        """Estimate both errors.

        Parameters
        ----------
        predicted : function
            As the attribute.
        expected : sequence of ExpectedDice
            Expected Dice of the specialist on this volume; labels may be missing.
        support : Support
        held_out : sequence of HeldOutPrediction
            The result on labelled slices, each fitted without that slice.
        calibration : Calibration
            Calibration of the result.
        config : BlendConfig
        on_labelled : function, optional
            As `predicted`, for labelled slices and without influence of their labels. Default: `predicted`.
        error_ratio : float
            Error of `predicted` relative to that of `on_labelled`.
        """
        error = _specialist_error(on_labelled or predicted, error_ratio, expected, support, config)
        return cls(predicted, error, _growth(held_out, calibration, len(error), config), config)

    def shares(self, distances: Distances) -> np.ndarray:
        """Weight, 0..1, of the specialist for each label at a distance from the labelled slices, float `[labels]`."""
        beyond = self.config.beyond_factor if None in distances else 1.0
        result_error = np.clip(beyond * self.growth * effective_distance(distances), self.config.min_error, 1.0)
        power = self.config.error_exponent
        shares = result_error**power / (result_error**power + self.error**power)
        return np.where(self.error > self.config.max_error, 0.0, shares)

    def blend(
        self, index: int, distances: Distances, probabilities: np.ndarray, window: tuple[slice, slice]
    ) -> np.ndarray:
        """Blend the probabilities of a query slice with those of the specialist.

        Parameters
        ----------
        index : int
            Slice index.
        distances : tuple of int or None
            Number of slices to the labelled slices before and after.
        probabilities : float32 ndarray, shape [labels + 1, h, w]
        window : (slice, slice)
            Outside of it, no label is on a labelled slice, and the result is background by default.
        """
        shares = self.shares(distances)
        if not shares.any():
            return probabilities
        own_log_probs = np.log(np.maximum(probabilities, _MIN_PROBABILITY))
        specialist_log_probs = np.log(np.maximum(self.predicted(index), _MIN_PROBABILITY))
        spread = shares.astype(np.float32)[:, None, None]
        result = np.zeros_like(probabilities)
        log_odds = np.full_like(result[1:], self.config.log_odds_outside)
        log_odds[(slice(None), *window)] = (own_log_probs[1:] - own_log_probs[:1])[(slice(None), *window)]
        result[1:] = (1 - spread) * log_odds + spread * (specialist_log_probs[1:] - specialist_log_probs[:1])
        blended: np.ndarray = scipy.special.softmax(result, axis=0)
        return blended

    def expected(self, expected_result: Sequence[ExpectedDice], labels: Sequence[int]) -> tuple[ExpectedDice, ...]:
        """Expected Dice of the blend: by label, the higher one of the result's and the specialist's."""
        by_label = {expected.label: expected for expected in expected_result}
        result = []
        for label, error in zip(labels, self.error, strict=True):
            expected_dice = by_label.get(label)
            if error <= self.config.max_error and (expected_dice is None or expected_dice.dice < 1 - error):
                centre, reach = scipy.special.logit(1 - error), 1.645 * self.config.patient_log_odds_sd
                low, high = (float(scipy.special.expit(centre + side * reach)) for side in (-1, 1))
                expected_dice = ExpectedDice(int(label), float(1 - error), low, high)
            result += [expected_dice] if expected_dice is not None else []
        return tuple(result)


def _specialist_error(
    predicted: Callable[[int], np.ndarray],
    error_ratio: float,
    expected: Sequence[ExpectedDice],
    support: Support,
    config: BlendConfig,
) -> np.ndarray:
    """Error of the specialist per label: expected Dice and Dice on labelled slices, weighted by their precision."""
    labels = support.labels
    by_label = {expected_dice.label: expected_dice.dice for expected_dice in expected}
    prior = scipy.special.logit(np.clip([by_label.get(label, config.default_dice) for label in labels], 0.02, 0.98))
    overlap, sizes, shown = np.zeros((3, len(labels)))
    values = np.array([0, *labels])
    for support_index, index in enumerate(support.indices):
        filled = values[predicted(index).argmax(axis=0)]
        for label_index, label in enumerate(labels):
            if support.annotated[support_index, label_index]:
                truth, predicted_mask = support.masks[support_index] == label, filled == label
                overlap[label_index] += np.count_nonzero(truth & predicted_mask)
                sizes[label_index] += np.count_nonzero(truth) + np.count_nonzero(predicted_mask)
                shown[label_index] += truth.any() or predicted_mask.any()
    seen_dice = 1 - error_ratio * (1 - (2 * overlap + 1) / (sizes + 2))
    seen = scipy.special.logit(np.clip(seen_dice, 0.02, 0.98))
    # The Dice of a few voxels, as where a label ends, is imprecise.
    precision = shown / config.slice_log_odds_sd**2 * sizes / (sizes + 2 * shown * config.half_weight_voxels + 1e-9)
    is_shown = shown > 0
    common = float((precision * (seen - prior)).sum() / max(precision.sum(), 1e-9))
    # For a label on no labelled slice, the mean deviation of the others from the expected Dice is assumed.
    centre = np.where(is_shown, prior, prior + common)
    strength = 1 / config.patient_log_odds_sd**2
    posterior = (strength * centre + precision * seen) / (strength + precision)
    result: np.ndarray = 1 - scipy.special.expit(posterior)
    return result


def _growth(
    held_out: Sequence[HeldOutPrediction], calibration: Calibration, labels: int, config: BlendConfig
) -> np.ndarray:
    """Error of the result per effective distance, from held-out slices and a prior."""
    overlap, sizes = np.zeros((2, labels + 1))
    distance = 0.0
    for prediction in held_out:
        filled = calibration.probabilities(prediction.logits, prediction.distances).argmax(axis=0)
        judged = prediction.judged_labels()
        overlap += np.bincount(filled[filled == prediction.truth], minlength=labels + 1) * judged
        sizes += np.bincount(filled.reshape(-1), minlength=labels + 1) * judged
        sizes += np.bincount(prediction.truth.reshape(-1), minlength=labels + 1) * judged
        distance += effective_distance(prediction.distances)
    count = len(held_out)
    if not count:
        return np.full(labels, config.prior_growth)
    error = 1 - (2 * overlap[1:] + 1) / (sizes[1:] + 1)
    seen = error / (distance / count)
    strength = np.where(sizes[1:] > 0, count, 0)
    grown = (strength * seen + config.prior_slices * config.prior_growth) / (strength + config.prior_slices)
    return np.asarray(grown)
