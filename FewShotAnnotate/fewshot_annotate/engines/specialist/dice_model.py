"""Expected Dice of a specialist, from cross-validation over patients.

For each held-out patient, the true Dice of each label is known, and so is the Dice estimated from the probabilities
alone (soft Dice confidence, arXiv 2402.10665). Regression of one on the other gives the expected Dice of a new
patient, with and without its image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy

from ...core.expected_dice import ExpectedDice

# Dice is kept this far from 0 and 1, so that log-odds are finite.
_DICE_MARGIN = 0.005
# The Dice of the ensemble is higher than that of its networks on held-out patients: 1 - Dice is assumed to be
# proportional to the number of patients trained on to the power -PATIENTS_EXPONENT, and to the number of networks to
# the power -MEMBERS_EXPONENT. For 4 networks this is 0.86 times the error of one; `Testing/Benchmarks/ensemble.py`
# measured 0.95 to 0.97 on hippocampi and 0.79 to 0.88 on hearts.
PATIENTS_EXPONENT = 0.22
MEMBERS_EXPONENT = 0.06
# Weight of the prior, in patients: with few held-out patients, the slope is shrunk towards PRIOR_SLOPE and the spread
# towards PRIOR_SPREAD.
PRIOR_PATIENTS = 6.0
PRIOR_SLOPE = 0.7
PRIOR_SPREAD = 0.45
# Voxels with a higher probability of background do not count for the soft Dice: calibration raises the small
# probabilities of labels there, which would add up over a large background.
CERTAIN_BACKGROUND = 0.995
# Smaller probabilities of a label do not count either.
_MIN_PROBABILITY = 0.01
# Quantile of the 90 % interval.
_QUANTILE = 1.645


@dataclass(frozen=True, kw_only=True)
class DiceModel:
    """Linear regression of the log-odds of the true Dice on those of the soft Dice over patients, for each label.

    Attributes
    ----------
    dice : tuple of float
        Mean true Dice, corrected for the ensemble.
    soft_log_odds : tuple of float
        Mean log-odds of the soft Dice; `promised` in files.
    slope : tuple of float
        Slope of the regression.
    spread, residual : tuple of float
        Standard deviation of the log-odds of the true Dice, and of the residuals of the regression.
    patients : int
    """

    dice: tuple[float, ...]
    soft_log_odds: tuple[float, ...]
    slope: tuple[float, ...]
    spread: tuple[float, ...]
    residual: tuple[float, ...]
    patients: int

    @classmethod
    def fit(cls, true: np.ndarray, soft: np.ndarray, members: int) -> DiceModel:
        """Fit to held-out patients.

        Parameters
        ----------
        true, soft : float ndarray, shape [patients, labels]
            True and soft Dice; NaN for a label that a patient does not show.
        members : int
            Number of networks of the ensemble, each of which is trained without 1 / `members` of the patients.
        """
        ratio = error_ratio(members)
        fits = [_fit_label(true[:, label], soft[:, label], ratio) for label in range(true.shape[1])]
        dice, mean, slope, spread, residual = zip(*fits, strict=True)
        return cls(dice=dice, soft_log_odds=mean, slope=slope, spread=spread, residual=residual, patients=len(true))

    def of_task(self) -> tuple[ExpectedDice, ...]:
        """Expected Dice of each label, by label index, on a new patient whose volume is not known yet."""
        return tuple(
            _interval(label, float(_log_odds(dice)), spread)
            for label, (dice, spread) in enumerate(zip(self.dice, self.spread, strict=True), start=1)
        )

    def of_volume(self, soft: np.ndarray, labels: Sequence[int]) -> tuple[ExpectedDice, ...]:
        """Expected Dice on one volume.

        Parameters
        ----------
        soft : float ndarray, shape [labels]
            Soft Dice of each label; NaN for a label that is absent.
        labels : sequence of int
            Label value of each label.
        """
        expected = []
        for index, label in enumerate(labels):
            if np.isnan(soft[index]):
                continue
            surplus = float(_log_odds(soft[index])) - self.soft_log_odds[index]
            centre = float(_log_odds(self.dice[index])) + self.slope[index] * surplus
            expected.append(_interval(int(label), centre, self.residual[index]))
        return tuple(expected)

    def to_json(self) -> dict[str, Any]:
        """Dict of plain values."""
        return {"promised" if name == "soft_log_odds" else name: value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DiceModel:
        """The inverse of `to_json`; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
        lists = [tuple(float(value) for value in data[name]) for name in _LISTS]
        if len({len(values) for values in lists}) != 1 or not all(np.isfinite(values).all() for values in lists):
            raise ValueError("lists of different lengths")
        dice, soft_log_odds, slope, spread, residual = lists
        return cls(
            dice=dice,
            soft_log_odds=soft_log_odds,
            slope=slope,
            spread=spread,
            residual=residual,
            patients=int(data["patients"]),
        )


_LISTS = ("dice", "promised", "slope", "spread", "residual")


def error_ratio(members: int) -> float:
    """Assumed error (1 - Dice) of an ensemble, relative to that of its networks on patients held out from each."""
    return float(((members - 1) / members) ** PATIENTS_EXPONENT * members**-MEMBERS_EXPONENT)


def calibrated(probabilities: np.ndarray, inverse_temperature: float) -> np.ndarray:
    """Probabilities after temperature scaling (Guo et al. 2017), float32 `[labels + 1, ...]`."""
    scaled = np.maximum(probabilities.astype(np.float32), np.float32(1e-6)) ** np.float32(inverse_temperature)
    scaled /= scaled.sum(axis=0)
    return scaled


class SoftDice:
    """Soft Dice between the most probable labels and the probabilities, summed over parts of a volume.

    Parameters
    ----------
    labels : int
        Without background.
    inverse_temperature : float
        Factor of the logarithms of the probabilities that calibrates them.
    """

    def __init__(self, labels: int, inverse_temperature: float = 1.0) -> None:
        self._inverse_temperature = inverse_temperature
        self._overlap, self._sizes = np.zeros((2, labels))

    def add(self, probabilities: np.ndarray) -> SoftDice:
        """Add a part: probabilities before calibration, float `[labels + 1, ...]`."""
        uncertain = probabilities[:, probabilities[0] < CERTAIN_BACKGROUND]
        flat = calibrated(uncertain, self._inverse_temperature)
        count = len(flat)
        best = flat.argmax(axis=0)
        self._overlap += np.bincount(best, np.take_along_axis(flat, best[None], axis=0)[0], count)[1:]
        expected = [float(np.where(label > _MIN_PROBABILITY, label, 0).sum(dtype=np.float64)) for label in flat[1:]]
        self._sizes += np.bincount(best, minlength=count)[1:] + np.array(expected)
        return self

    def dice(self) -> np.ndarray:
        """Soft Dice of each label, float `[labels]`; NaN for labels that are absent."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self._sizes > 0, 2 * self._overlap / self._sizes, np.nan)


def soft_dice(probabilities: np.ndarray, inverse_temperature: float = 1.0) -> np.ndarray:
    """Soft Dice `[labels]` of probabilities `[labels + 1, ...]` of a whole volume, see `SoftDice`."""
    return SoftDice(len(probabilities) - 1, inverse_temperature).add(probabilities).dice()


def mean_soft_dice(members: Sequence[SoftDice]) -> np.ndarray:
    """Mean `[labels]` of the soft Dice of an ensemble's networks, by log-odds; NaN for labels that all lack.

    In cross-validation, too, it is that of a single network. The mean probabilities of an ensemble have a lower soft
    Dice, because its networks differ.
    """
    dice = np.array([member.dice() for member in members])
    defined = ~np.isnan(dice)
    total = np.where(defined, _log_odds(np.where(defined, dice, 0.5)), 0).sum(axis=0)
    mean = scipy.special.expit(total / np.maximum(1, defined.sum(axis=0)))
    result: np.ndarray = np.where(defined.any(axis=0), mean, np.nan)
    return result


def _fit_label(true: np.ndarray, soft: np.ndarray, error_ratio: float) -> tuple[float, float, float, float, float]:
    """Fields of a `DiceModel` for one label, in their order."""
    defined = ~np.isnan(true)
    if not defined.any():
        return 0.5, 0.0, PRIOR_SLOPE, 2.0, 2.0
    dice = 1 - error_ratio * (1 - float(true[defined].mean()))
    t = _log_odds(true[defined])
    s = _log_odds(np.where(np.isnan(soft[defined]), 0.0, soft[defined]))
    count, degrees_of_freedom = len(t), max(1, len(t) - 1)
    variance = float(np.var(s)) * count
    # Ridge regression towards the prior slope, which counts as much as PRIOR_PATIENTS typical patients.
    prior = PRIOR_PATIENTS * PRIOR_SPREAD**2
    slope = (float(((s - s.mean()) * (t - t.mean())).sum()) + prior * PRIOR_SLOPE) / (variance + prior)
    spread = _spread(t - t.mean(), degrees_of_freedom)
    residual = _spread(t - t.mean() - slope * (s - s.mean()), degrees_of_freedom)
    return dice, float(s.mean()), float(np.clip(slope, 0.0, 1.5)), spread, residual


def _spread(deviations: np.ndarray, degrees_of_freedom: int) -> float:
    """Standard deviation of a new patient from the estimated mean, shrunk towards PRIOR_SPREAD."""
    total = float((deviations**2).sum()) + PRIOR_PATIENTS * PRIOR_SPREAD**2
    variance = total / (degrees_of_freedom + PRIOR_PATIENTS)
    return float(np.sqrt(variance) * np.sqrt(1 + 1 / (degrees_of_freedom + 1)))


def _log_odds(dice: Any) -> Any:
    return scipy.special.logit(np.clip(dice, _DICE_MARGIN, 1 - _DICE_MARGIN))


def _interval(label: int, centre: float, spread: float) -> ExpectedDice:
    low, dice, high = (float(scipy.special.expit(centre + side * _QUANTILE * spread)) for side in (-1, 0, 1))
    return ExpectedDice(label, dice, low, high)
