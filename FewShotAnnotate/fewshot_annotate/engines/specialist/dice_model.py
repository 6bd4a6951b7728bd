"""Expected Dice of a specialist, from cross-validation over patients.

For each patient that a network did not see, there are the true Dice of each label and the one that the probabilities
promise (soft Dice confidence, arXiv 2402.10665). Their relation gives the expected Dice of a new patient, with and
without its image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy

from ...core.expected_dice import ExpectedDice

# Dice is kept this far from 0 and 1, so that log-odds are finite.
_MARGIN = 0.005
# Error of the ensemble relative to that of a network which did not see a patient: with more patients, the error
# falls by the first power of their number, with more networks by the second. Neither was measured yet.
PATIENTS_EXPONENT = 0.22
MEMBERS_EXPONENT = 0.06
# Patients that shrink the slope between promised and true log-odds towards `PRIOR_SLOPE`, and the spread towards
# `PRIOR_SPREAD`.
PRIOR_PATIENTS = 6.0
PRIOR_SLOPE = 0.7
PRIOR_SPREAD = 0.45
# Voxels whose probability of background is higher are left out of what probabilities promise: calibration raises the
# small probabilities of a large background, which would add up.
CERTAIN_BACKGROUND = 0.995
# Quantile of the 90 % interval.
_QUANTILE = 1.645


@dataclass(frozen=True, kw_only=True)
class DiceModel:
    """Relation of promised and true Dice over patients, per label.

    Attributes
    ----------
    dice : tuple of float
        Mean true Dice of each label, of the ensemble.
    promised : tuple of float
        Mean log-odds that the probabilities promise.
    slope : tuple of float
        Of the true over the promised log-odds.
    spread, residual : tuple of float
        Standard deviation of the true log-odds, and of what the promised ones do not explain.
    patients : int
    """

    dice: tuple[float, ...]
    promised: tuple[float, ...]
    slope: tuple[float, ...]
    spread: tuple[float, ...]
    residual: tuple[float, ...]
    patients: int

    @classmethod
    def fit(cls, true: np.ndarray, promised: np.ndarray, members: int) -> DiceModel:
        """Fit to patients that were not seen.

        Parameters
        ----------
        true, promised : float ndarray, shape [patients, labels]
            Dice; NaN for a label that a patient does not show.
        members : int
            Networks of the ensemble, each trained without as large a part of the patients.
        """
        ratio = ((members - 1) / members) ** PATIENTS_EXPONENT * members**-MEMBERS_EXPONENT
        columns = [_fit_label(true[:, label], promised[:, label], ratio) for label in range(true.shape[1])]
        dice, mean, slope, spread, residual = (tuple(column[at] for column in columns) for at in range(5))
        return cls(dice=dice, promised=mean, slope=slope, spread=spread, residual=residual, patients=len(true))

    def of_task(self) -> tuple[ExpectedDice, ...]:
        """Expected Dice of an unseen patient, by label index."""
        return tuple(
            _interval(label, float(_log_odds(dice)), spread)
            for label, (dice, spread) in enumerate(zip(self.dice, self.spread, strict=True), start=1)
        )

    def of_volume(self, promised: np.ndarray, labels: Sequence[int]) -> tuple[ExpectedDice, ...]:
        """Expected Dice on one volume.

        Parameters
        ----------
        promised : float ndarray, shape [labels]
            Dice of each label that its probabilities promise; NaN where it is nowhere.
        labels : sequence of int
            Label value of each label.
        """
        expected = []
        for at, label in enumerate(labels):
            if np.isnan(promised[at]):
                continue
            surplus = float(_log_odds(promised[at])) - self.promised[at]
            centre = float(_log_odds(self.dice[at])) + self.slope[at] * surplus
            expected.append(_interval(int(label), centre, self.residual[at]))
        return tuple(expected)

    def to_json(self) -> dict[str, Any]:
        """Dict of plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DiceModel:
        """The inverse of `to_json`; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
        lists = [tuple(float(value) for value in data[name]) for name in _LISTS]
        if len({len(values) for values in lists}) != 1 or not all(np.isfinite(values).all() for values in lists):
            raise ValueError("lists of different lengths")
        dice, promised, slope, spread, residual = lists
        return cls(
            dice=dice,
            promised=promised,
            slope=slope,
            spread=spread,
            residual=residual,
            patients=int(data["patients"]),
        )


_LISTS = ("dice", "promised", "slope", "spread", "residual")


def calibrated(probabilities: np.ndarray, inverse_temperature: float) -> np.ndarray:
    """Probabilities after temperature scaling (Guo et al. 2017), float32 `[labels + 1, ...]`."""
    scaled = np.maximum(probabilities.astype(np.float32), np.float32(1e-6)) ** np.float32(inverse_temperature)
    scaled /= scaled.sum(axis=0)
    return scaled


def promised_dice(probabilities: np.ndarray, inverse_temperature: float = 1.0) -> np.ndarray:
    """Dice that probabilities promise for the most probable labels; NaN for labels that are nowhere.

    Parameters
    ----------
    probabilities : float ndarray, shape [labels + 1, ...]
        Before calibration.
    inverse_temperature : float
        Of the calibration.
    """
    uncertain = probabilities[:, probabilities[0] < CERTAIN_BACKGROUND]
    probabilities = calibrated(uncertain, inverse_temperature)
    flat = probabilities.reshape(len(probabilities), -1)
    count = len(flat)
    best = flat.argmax(axis=0)
    overlap = np.bincount(best, np.take_along_axis(flat, best[None], axis=0)[0], count)[1:]
    filled = np.bincount(best, minlength=count)[1:]
    # Tiny probabilities of a large background would add up.
    likely = np.array(
        [float(np.where(probability > 0.01, probability, 0).sum(dtype=np.float64)) for probability in flat[1:]]
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(filled + likely > 0, 2 * overlap / (filled + likely), np.nan)


def true_dice(filled: np.ndarray, truth: np.ndarray, labels: int) -> np.ndarray:
    """Dice of each label index; NaN where neither shows it."""
    both = np.bincount(truth[filled == truth], minlength=labels + 1)[1 : labels + 1]
    each = np.bincount(filled.reshape(-1), minlength=labels + 1) + np.bincount(
        truth.reshape(-1), minlength=labels + 1
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(each[1 : labels + 1] > 0, 2 * both / each[1 : labels + 1], np.nan)


def _fit_label(
    true: np.ndarray, promised: np.ndarray, error_ratio: float
) -> tuple[float, float, float, float, float]:
    defined = ~np.isnan(true)
    if not defined.any():
        return 0.5, 0.0, PRIOR_SLOPE, 2.0, 2.0
    dice = 1 - error_ratio * (1 - float(true[defined].mean()))
    t = _log_odds(true[defined])
    s = _log_odds(np.where(np.isnan(promised[defined]), 0.0, promised[defined]))
    count, free = len(t), max(1, len(t) - 1)
    variance = float(np.var(s)) * count
    # Ridge towards the prior slope, with the variance of PRIOR_PATIENTS typical patients.
    prior = PRIOR_PATIENTS * PRIOR_SPREAD**2
    slope = (float(((s - s.mean()) * (t - t.mean())).sum()) + prior * PRIOR_SLOPE) / (variance + prior)
    spread = _spread(t - t.mean(), free)
    residual = _spread(t - t.mean() - slope * (s - s.mean()), free)
    return dice, float(s.mean()), float(np.clip(slope, 0.0, 1.5)), spread, residual


def _spread(deviations: np.ndarray, free: int) -> float:
    total = float((deviations**2).sum()) + PRIOR_PATIENTS * PRIOR_SPREAD**2
    return float(np.sqrt(total / (free + PRIOR_PATIENTS)) * np.sqrt(1 + 1 / (free + 1)))


def _log_odds(dice: Any) -> Any:
    return scipy.special.logit(np.clip(dice, _MARGIN, 1 - _MARGIN))


def _interval(label: int, centre: float, spread: float) -> ExpectedDice:
    low, dice, high = (float(scipy.special.expit(centre + side * _QUANTILE * spread)) for side in (-1, 0, 1))
    return ExpectedDice(label, dice, low, high)
