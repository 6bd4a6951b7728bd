"""Calibration of probabilities and of the expected Dice, fitted on held-out labelled slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..threads import map_all
from .config import CalibrationConfig, CalibrationSections
from .soft_dice import expected_log_odds, slice_sums

Distances = tuple[int | None, int | None]

# Logarithms of the inverse temperatures that are tried.
LOG_INVERSE_TEMPERATURES = np.linspace(0.8, 3.4, 53)


@dataclass(frozen=True)
class HeldOutPrediction:
    """Fused prediction of a held-out slice, and its true labels.

    Attributes
    ----------
    logits : float ndarray, shape [L + 1, h, w]
        Unnormalised log-probabilities; label index 0 is background.
    truth : integer ndarray, shape [h, w]
        True label index of each pixel.
    distances : tuple of int or None
        Number of slices to the labelled slices before and after that the prediction used; None where there is none.
    open_ended : bool ndarray, shape [L], optional
        As in `DiceExpectation.add`.
    annotated : bool ndarray, shape [L], optional
        Labels whose truth is known; nothing is fitted on the others. Default: all.
    """

    logits: np.ndarray
    truth: np.ndarray
    distances: Distances
    open_ended: np.ndarray | None = None
    annotated: np.ndarray | None = None

    def judged_labels(self) -> np.ndarray:
        """Whether the truth of each label index is known, that of background always, bool `[L + 1]`."""
        count = len(self.logits)
        return np.ones(count, dtype=bool) if self.annotated is None else np.append(True, self.annotated)


class Calibration:
    """Temperature of the fused logits, and correction of the expected Dice.

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599), fitted on pixels with small margins and with a log-normal
    prior. The temperature rises with distance from the labelled slices by a fixed power law, because held-out
    slices are at least twice as far from them as query slices are.

    Attributes
    ----------
    config : CalibrationSections
    inverse_temperature : float
        Inverse temperature at distance 1.
    evidence : float ndarray, shape [L + 1]
        Voxels of each label on held-out slices; empty without any.
    correction : float ndarray, shape [L + 1]
        Added to the log-odds of the expected Dice of each label; empty without held-out slices.
    """

    def __init__(
        self,
        config: CalibrationSections,
        inverse_temperature: float | None = None,
        evidence: np.ndarray | None = None,
        correction: np.ndarray | None = None,
    ) -> None:
        self.config = config
        default = config.calibration.inverse_temperature
        self.inverse_temperature = default if inverse_temperature is None else inverse_temperature
        self.evidence = np.zeros(0) if evidence is None else evidence
        self.correction = np.zeros(0) if correction is None else correction

    @classmethod
    def fit(cls, held_out: Sequence[HeldOutPrediction], config: CalibrationSections) -> Calibration:
        """Fit on held-out slices; without any, the prior is returned."""
        slices = map_all(lambda prediction: _ContestedPixels.of(prediction, config.calibration), held_out)
        if not slices:
            return cls(config)
        fitted = (
            _fit_inverse_temperature(slices, config.calibration) if config.calibration.fitted_temperature else None
        )
        evidence = np.sum([contested.voxels for contested in slices], axis=0)
        calibration = cls(config, fitted, evidence)
        if config.expected_dice.correction:
            calibration.correction = _correction(calibration, held_out)
        return calibration

    def probabilities(self, logits: np.ndarray, distances: Distances) -> np.ndarray:
        """Calibrated probabilities of a slice, float32 of the same shape; the most probable label does not change."""
        scaled: np.ndarray = np.subtract(logits, logits.max(axis=0), dtype=np.float32)
        falling = effective_distance(distances) ** -self.config.calibration.distance_exponent
        scaled *= np.float32(self.inverse_temperature * falling / _margins(scaled).max())
        np.exp(scaled, out=scaled)
        scaled /= scaled.sum(axis=0)
        return scaled


def effective_distance(distances: Distances) -> float:
    """Effective distance from the labelled slices: `a * b / (a + b)` between two, as for a Brownian bridge."""
    sides = [side for side in distances if side is not None]
    if not sides:
        raise ValueError("a prediction needs at least one labelled slice")
    return 1 / sum(1 / side for side in sides)


@dataclass(frozen=True)
class _ContestedPixels:
    """The pixels of a held-out slice whose margin is small.

    Attributes
    ----------
    logits : float16 ndarray, shape [L + 1, n]
        Divided by the largest margin of the slice; 0 for the most probable label of each pixel.
    truth : ndarray, shape [n]
    voxels : float ndarray, shape [L + 1]
        Mean of the true and the predicted number of pixels of each label.
    distances : tuple of int or None
    """

    logits: np.ndarray
    truth: np.ndarray
    voxels: np.ndarray
    distances: Distances

    @classmethod
    def of(cls, held_out: HeldOutPrediction, config: CalibrationConfig) -> _ContestedPixels:
        logits = held_out.logits.reshape(len(held_out.logits), -1).astype(np.float32)
        logits -= logits.max(axis=0)
        margins = _margins(logits)
        logits /= margins.max()
        truth = held_out.truth.reshape(-1)
        judged, filled = held_out.judged_labels(), logits.argmax(axis=0)
        contested = (margins < config.max_relative_margin * margins.max()) & judged[truth] & judged[filled]
        count = len(logits)
        voxels = (np.bincount(filled, minlength=count) + np.bincount(truth, minlength=count)) / 2 * judged
        # If all margins are tiny, other logits are outside the range of float16; at its minimum, probabilities are 0.
        kept = np.maximum(logits[:, contested], np.finfo(np.float16).min).astype(np.float16)
        return cls(kept, truth[contested], voxels, held_out.distances)

    def loss(self, log_inverse_temperatures: np.ndarray, config: CalibrationConfig) -> np.ndarray:
        """Bounded negative log-likelihood at each inverse temperature, for the effective number of pixels."""
        size = len(self.truth)
        if not size:
            return np.zeros(len(log_inverse_temperatures))
        logits = self.logits.astype(np.float32)
        of_truth = logits[self.truth, np.arange(size)]
        scales = np.exp(log_inverse_temperatures) * effective_distance(self.distances) ** -config.distance_exponent
        total = np.empty(len(scales))
        for number, scale in enumerate(scales.astype(np.float32)):
            likelihood = np.exp(scale * of_truth) / np.exp(scale * logits).sum(axis=0)
            total[number] = -np.log(likelihood + config.likelihood_offset).sum()
        return total * config.max_effective_pixels / (size + config.max_effective_pixels)


def _margins(logits: np.ndarray) -> np.ndarray:
    """Margin, above 0, between the two most probable labels of each pixel; the largest logit must be 0."""
    others = logits.copy()
    np.put_along_axis(others, logits.argmax(axis=0)[None], -np.inf, axis=0)
    lead = -others.max(axis=0)
    clipped: np.ndarray = np.clip(lead, np.float32(1e-6), np.float32(1e6))
    return clipped


def _correction(calibration: Calibration, held_out: Sequence[HeldOutPrediction]) -> np.ndarray:
    """Error of the log-odds of the expected Dice of each label on held-out slices, shrunk towards 0."""
    config = calibration.config.expected_dice
    count = len(held_out[0].logits)
    thresholds = np.full(count, 0.5, dtype=np.float32)
    sums = np.zeros((4, count))
    correct, true_sizes, slices_of_label = np.zeros((3, count))
    for prediction in held_out:
        judged = prediction.judged_labels()
        probabilities = calibration.probabilities(prediction.logits, prediction.distances)
        sums += slice_sums(probabilities, prediction.open_ended, thresholds, config.min_probability) * judged
        filled = probabilities.argmax(axis=0)
        sizes = np.bincount(prediction.truth.reshape(-1), minlength=count) * judged
        correct += np.bincount(filled[filled == prediction.truth], minlength=count) * judged
        true_sizes += sizes
        slices_of_label += sizes > 0
    log_odds = np.log((2 * correct + 1) / (true_sizes + sums[2] - 2 * correct + 1))
    error = log_odds - expected_log_odds(sums, config)
    informative = true_sizes > config.min_voxels
    informative[0] = False
    weight = informative * true_sizes / (true_sizes + config.half_weight_voxels)
    mean_error = (weight * error).sum() / (weight.sum() + config.prior_labels)
    label_share = informative * slices_of_label / (slices_of_label + config.prior_slices)
    result: np.ndarray = config.correction_share * (mean_error + label_share * (error - mean_error))
    return result


def _fit_inverse_temperature(slices: Sequence[_ContestedPixels], config: CalibrationConfig) -> float:
    """The most probable inverse temperature at distance 1, given a log-normal prior."""
    deviation = LOG_INVERSE_TEMPERATURES - np.log(config.inverse_temperature)
    loss = deviation**2 / (2 * config.inverse_temperature_log_sd**2)
    loss = loss + sum(map_all(lambda contested: contested.loss(LOG_INVERSE_TEMPERATURES, config), slices))
    return float(np.exp(LOG_INVERSE_TEMPERATURES[loss.argmin()]))
