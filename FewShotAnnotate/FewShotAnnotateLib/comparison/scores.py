"""Dice by engine and support size, pooled over voxels, and how sure a difference of two engines is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
# The interval of a difference holds the true one 19 times of 20.
TAILS = (2.5, 97.5)


@dataclass(frozen=True)
class Point:
    """One engine at one support size.

    Attributes
    ----------
    engine : str
    size : int
    dice : float
        Mean over labels of the Dice whose voxels are pooled over all held-out slices; mean over draws.
    least, most : float
        Of the draws.
    by_label : tuple of float
        Mean over draws, in the order of the scored labels.
    draws : int
    start_seconds, slice_seconds : float
        Median over trials of the first draw: to the first slice, and each further one. Later ones may profit from
        what an engine keeps on disk.
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
        """What filling so many slices should take."""
        return self.start_seconds + self.slice_seconds * max(0, slices - 1)


@dataclass(frozen=True)
class Difference:
    """Dice of one engine less that of another on the same held-out slices, and the interval it lies in."""

    dice: float
    low: float
    high: float

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def dice(counts: np.ndarray) -> np.ndarray:
    """Dice of counts [..., 3] (truth, result, both), NaN where neither side has a voxel."""
    total = counts[..., 0] + counts[..., 1]
    return np.where(total > 0, 2.0 * counts[..., 2] / np.maximum(total, 1), np.nan)


def pooled(counts: np.ndarray) -> np.ndarray:
    """Mean over labels of the Dice pooled over slices.

    Parameters
    ----------
    counts : ndarray, shape [..., slices, labels, 3]

    Returns
    -------
    float ndarray, shape [...]; NaN where no label has a voxel
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nanmean: that nothing is there is what NaN says
        return np.nanmean(dice(counts.sum(axis=-3)), axis=-1)


def point(engine: str, size: int, draws: np.ndarray, seconds: Sequence[tuple[float, float]]) -> Point:
    """Sum up the trials of one engine and size.

    Parameters
    ----------
    draws : int ndarray, shape [draws, slices, labels, 3]
    seconds : sequence of (float, float)
        To the first slice and for each further one, of each trial that counts.
    """
    means = np.array([pooled(counts) for counts in draws])
    by_label = np.mean([dice(counts.sum(axis=0)) for counts in draws], axis=0)
    start, step = np.median(np.array(seconds), axis=0)
    return Point(
        engine,
        size,
        float(means.mean()),
        float(means.min()),
        float(means.max()),
        tuple(float(value) for value in by_label),
        len(draws),
        float(start),
        float(step),
    )


def difference(one: np.ndarray, other: np.ndarray, seed: int = 0) -> Difference:
    """Difference in Dice of two engines, with a paired bootstrap over held-out slices (Efron 1979).

    Parameters
    ----------
    one, other : int ndarrays, shape [slices, labels, 3]
        Counts of the same slices, in the same order.
    """
    random = np.random.default_rng(seed)
    slices = len(one)
    weights = random.multinomial(slices, np.full(slices, 1 / slices), RESAMPLES).astype(float)
    shape = (RESAMPLES, 1, *one.shape[1:])
    drawn = [pooled((weights @ counts.reshape(slices, -1)).reshape(shape)) for counts in (one, other)]
    low, high = np.nanpercentile(drawn[0] - drawn[1], TAILS)
    return Difference(float(pooled(one) - pooled(other)), float(low), float(high))


def scored_structures(counts: np.ndarray) -> list[int]:
    """Structures that the truth shows on a held-out slice: the same for all engines.

    Parameters
    ----------
    counts : ndarray, shape [draws, slices, structures, 3]
    """
    return [int(place) for place in np.flatnonzero(counts[..., 0].any(axis=(0, 1)))]
