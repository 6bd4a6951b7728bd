"""Dice of engines by support size, and the confidence interval of the difference of two engines."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.dice import dice_of_counts
from .confidence_interval import confidence_interval_95

RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class EngineScore:
    """Score of one engine at one support size.

    Attributes
    ----------
    engine : str
    size : int
    dice : float
        Dice, pooled over the voxels of all held-out slices; mean over labels and draws.
    least, most : float
        Range of `dice` over the draws.
    by_label : tuple of float
        Dice of each scored label; mean over draws.
    draws : int
    start_seconds, slice_seconds : float
        Time to the first slice, and per further slice; median over the trials of the first draw, because later ones
        may be faster thanks to files that an engine caches.
    """

    engine: str
    size: int
    dice: float
    least: float
    most: float
    by_label: tuple[float, ...]
    draws: int
    start_seconds: float
    slice_seconds: float

    def fill_seconds(self, slices: int) -> float:
        """Expected time for filling a number of slices, in seconds."""
        return self.start_seconds + self.slice_seconds * max(0, slices - 1)


def ranked_engines(points: Sequence[EngineScore], size: int) -> tuple[str, ...]:
    """Engines with a score at a support size, in descending order of Dice."""
    ranked = sorted((point for point in points if point.size == size), key=lambda point: -point.dice)
    return tuple(point.engine for point in ranked)


def score_at(points: Sequence[EngineScore], engine: str, size: int) -> EngineScore:
    """Score of an engine at a support size."""
    return next(point for point in points if (point.engine, point.size) == (engine, size))


# Quantile 0.8 of the standard normal distribution, and the width of its 95 % interval.
_LIKELY_DEVIATIONS, _INTERVAL_DEVIATIONS = 0.84, 3.92


@dataclass(frozen=True)
class DiceDifference:
    """Dice of one engine minus that of another on the same held-out slices, with its 95 % confidence interval."""

    dice: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether the confidence interval excludes 0."""
        return self.low > 0 or self.high < 0

    @property
    def likely(self) -> bool:
        """Whether the first engine is better with a probability of 0.8, the difference being normally distributed."""
        return self.dice >= _LIKELY_DEVIATIONS * (self.high - self.low) / _INTERVAL_DEVIATIONS


def mean_dice(counts: np.ndarray) -> np.ndarray:
    """Mean over labels of the Dice of each label, pooled over slices.

    Parameters
    ----------
    counts : ndarray, shape [..., slices, labels, 3]

    Returns
    -------
    float ndarray, shape [...]; NaN where no label has a voxel
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nanmean warns where all labels are empty
        mean: np.ndarray = np.nanmean(dice_of_counts(counts.sum(axis=-3)), axis=-1)
        return mean


def engine_score(engine: str, size: int, draws: np.ndarray, seconds: Sequence[tuple[float, float]]) -> EngineScore:
    """Score of one engine at one support size, from its trials.

    Parameters
    ----------
    engine : str
    size : int
        Number of support slices.
    draws : int ndarray, shape [draws, slices, labels, 3]
        Voxel counts of each draw, as in `TrialResult.counts`.
    seconds : sequence of (float, float)
        Time to the first slice and per further slice of each timed trial.
    """
    means = np.array([mean_dice(counts) for counts in draws])
    by_label = np.mean([dice_of_counts(counts.sum(axis=0)) for counts in draws], axis=0)
    start, step = np.median(np.array(seconds), axis=0)
    return EngineScore(
        engine=engine,
        size=size,
        dice=float(means.mean()),
        least=float(means.min()),
        most=float(means.max()),
        by_label=tuple(float(value) for value in by_label),
        draws=len(draws),
        start_seconds=float(start),
        slice_seconds=float(step),
    )


def dice_difference(first: np.ndarray, second: np.ndarray) -> DiceDifference:
    """Difference in Dice of two engines, with a paired bootstrap over held-out slices (Efron 1979).

    Parameters
    ----------
    first, second : int ndarrays, shape [slices, labels, 3]
        Voxel counts of the same slices, in the same order.
    """

    def difference(drawn: np.ndarray) -> np.ndarray:
        result: np.ndarray = mean_dice(first[drawn]) - mean_dice(second[drawn])
        return result

    low, high = confidence_interval_95(difference, len(first), RESAMPLES)
    return DiceDifference(float(mean_dice(first) - mean_dice(second)), low, high)


def scored_structures(counts: np.ndarray) -> list[int]:
    """Indices of the structures that the truth holds on any held-out slice.

    Parameters
    ----------
    counts : ndarray, shape [draws, slices, structures, 3]
    """
    return [int(index) for index in np.flatnonzero(counts[..., 0].any(axis=(0, 1)))]
