"""Blend of the result with a specialist: networks trained on other patients of the task.

Both are pooled in log-odds, each the more the smaller its error is. The error of the specialist follows from the
labelled slices, which it has never seen, and from its cross-validation; that of the result grows with distance from
the labelled slices, at a rate that held-out slices show. A specialist that is wrong about this patient has no weight.
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

_TINY = 1e-4


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
    labelled : tuple of int
        Labelled slices.
    config : BlendConfig
    """

    predicted: Callable[[int], np.ndarray]
    error: np.ndarray
    growth: np.ndarray
    labelled: tuple[int, ...]
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
    ) -> SpecialistBlend:
        """Estimate both errors.

        Parameters
        ----------
        predicted : function
            As the attribute.
        expected : sequence of ExpectedDice
            Of the specialist on this volume; may lack labels.
        support : Support
        held_out : sequence of HeldOutPrediction
            The result on labelled slices, each fitted without that slice.
        calibration : Calibration
            Of these.
        config : BlendConfig
        """
        error = _specialist_error(predicted, expected, support, config)
        return cls(predicted, error, _growth(held_out, calibration, len(error), config), support.indices, config)

    def shares(self, distances: Distances) -> np.ndarray:
        """Weight, 0..1, of the specialist for each label at a distance from the labelled slices."""
        beyond = self.config.beyond_factor if None in distances else 1.0
        own = np.clip(beyond * self.growth * effective_distance(distances), self.config.min_error, 1.0)
        power = self.config.error_exponent
        shares = own**power / (own**power + self.error**power)
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
            To the labelled slices before and after.
        probabilities : float32 ndarray, shape [labels + 1, h, w]
        window : (slice, slice)
            Outside of it there are no labels on labelled slices, and the result is background without evidence.
        """
        shares = self.shares(distances)
        if not shares.any():
            return probabilities
        one = np.log(np.maximum(probabilities, _TINY))
        other = np.log(np.maximum(self.predicted(index), _TINY))
        spread = shares.astype(np.float32)[:, None, None]
        result = np.zeros_like(probabilities)
        own = np.full_like(result[1:], self.config.log_odds_outside)
        own[(slice(None), *window)] = (one[1:] - one[:1])[(slice(None), *window)]
        result[1:] = (1 - spread) * own + spread * (other[1:] - other[:1])
        blended: np.ndarray = scipy.special.softmax(result, axis=0)
        return blended

    def expected(self, own: Sequence[ExpectedDice], labels: Sequence[int]) -> tuple[ExpectedDice, ...]:
        """Expected Dice of the blend: the better of the result's own and of the specialist's, by label."""
        by_label = {one.label: one for one in own}
        found = []
        for label, error in zip(labels, self.error, strict=True):
            known = by_label.get(label)
            if error <= self.config.max_error and (known is None or known.dice < 1 - error):
                centre, reach = scipy.special.logit(1 - error), 1.645 * self.config.patient_log_odds_sd
                low, high = (float(scipy.special.expit(centre + side * reach)) for side in (-1, 1))
                known = ExpectedDice(int(label), float(1 - error), low, high)
            found += [known] if known is not None else []
        return tuple(found)


def _specialist_error(
    predicted: Callable[[int], np.ndarray],
    expected: Sequence[ExpectedDice],
    support: Support,
    config: BlendConfig,
) -> np.ndarray:
    """Error of the specialist per label: expected Dice and Dice on labelled slices, weighed by their precision."""
    labels = support.labels
    by_label = {one.label: one.dice for one in expected}
    prior = scipy.special.logit(np.clip([by_label.get(label, config.default_dice) for label in labels], 0.02, 0.98))
    both, each, shown = np.zeros((3, len(labels)))
    values = np.array([0, *labels])
    for row, index in enumerate(support.indices):
        filled = values[predicted(index).argmax(axis=0)]
        for at, label in enumerate(labels):
            if support.annotated[row, at]:
                truth, own = support.masks[row] == label, filled == label
                both[at] += np.count_nonzero(truth & own)
                each[at] += np.count_nonzero(truth) + np.count_nonzero(own)
                shown[at] += truth.any() or own.any()
    seen = scipy.special.logit(np.clip((2 * both + 1) / (each + 2), 0.02, 0.98))
    # A few voxels, as where a label ends, say little.
    precision = shown / config.slice_log_odds_sd**2 * each / (each + 2 * shown * config.half_weight_voxels + 1e-9)
    known = shown > 0
    common = float((precision * (seen - prior)).sum() / max(precision.sum(), 1e-9))
    # A label that no labelled slice shows is as much better or worse than expected as the others are.
    centre = np.where(known, prior, prior + common)
    strength = 1 / config.patient_log_odds_sd**2
    posterior = (strength * centre + precision * seen) / (strength + precision)
    result: np.ndarray = 1 - scipy.special.expit(posterior)
    return result


def _growth(
    held_out: Sequence[HeldOutPrediction], calibration: Calibration, labels: int, config: BlendConfig
) -> np.ndarray:
    """Error of the result per effective distance, from held-out slices and a prior."""
    both, each = np.zeros((2, labels + 1))
    distance = 0.0
    for one in held_out:
        filled = calibration.probabilities(one.logits, one.distances).argmax(axis=0)
        both += np.bincount(filled[filled == one.truth], minlength=labels + 1)
        each += np.bincount(filled.reshape(-1), minlength=labels + 1)
        each += np.bincount(one.truth.reshape(-1), minlength=labels + 1)
        distance += effective_distance(one.distances)
    count = len(held_out)
    if not count:
        return np.full(labels, config.prior_growth)
    error = 1 - (2 * both[1:] + 1) / (each[1:] + 1)
    seen = error / (distance / count)
    strength = np.where(each[1:] > 0, count, 0)
    grown = (strength * seen + config.prior_slices * config.prior_growth) / (strength + config.prior_slices)
    return np.asarray(grown)
