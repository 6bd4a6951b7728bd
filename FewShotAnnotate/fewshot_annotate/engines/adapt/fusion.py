"""Fusion of candidates, with weights per label that are chosen on held-out labelled slices.

The log-odds of each label against background are summed with weights (logarithmic opinion pool, Genest & Zidek 1986).
The weights are shrunk towards default weights: more if the gain on held-out slices is small, and more for slices that
are nearer to a labelled slice than the held-out slices were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import product

import numpy as np

from .config import FusionConfig


class LabelExtent(IntEnum):
    """Extent of a label around a query slice, which decides on the factors of the weights, see `FusionConfig`.

    CONTINUES: both neighbouring labelled slices show it, or neither. ENDS: only one of them does, so it ends in the
    gap. SINGLE_SLICE: only one labelled slice of all shows it, and it is very small there or region growing is
    reliable.
    """

    CONTINUES = 0
    ENDS = 1
    SINGLE_SLICE = 2


@dataclass(frozen=True, kw_only=True)
class HeldOutCandidates:
    """Predictions of the candidates for a held-out slice, and its true labels.

    Attributes
    ----------
    log_probs : float16 ndarray, shape [candidates, labels + 1, h, w]
        Log-probabilities; label index 0 is background.
    truth : integer ndarray, shape [h, w]
        True label index of each pixel.
    distances : (int or None, int or None)
        Number of slices to the labelled slices before and after that were used; None where there was none.
    extents : int ndarray, shape [labels]
        Of `LabelExtent`.
    copied : integer ndarray, shape [h, w]
        Label index of each pixel on the nearest of these labelled slices.
    sides : int ndarray, shape [labels]
        On how many of them each label is.
    """

    log_probs: np.ndarray
    truth: np.ndarray
    distances: tuple[int | None, int | None]
    extents: np.ndarray
    copied: np.ndarray
    sides: np.ndarray


@dataclass(frozen=True)
class FusionWeights:
    """Fusion weights of the candidates.

    Attributes
    ----------
    far : float32 ndarray, shape [candidates, labels]
        Weights at `distance` slices or more from the nearest labelled slice. Nearer, they are interpolated with the
        default weights.
    distance : float
    config : FusionConfig
    """

    far: np.ndarray
    distance: float
    config: FusionConfig

    def fuse(self, log_probs: np.ndarray, nearest: int, extents: np.ndarray | None = None) -> np.ndarray:
        """Fuse the candidates of a slice.

        Parameters
        ----------
        log_probs : float ndarray, shape [candidates, labels + 1, h, w]
        nearest : int
            Number of slices to the nearest labelled slice.
        extents : int ndarray, shape [labels], optional
            Values of `LabelExtent`; default: `CONTINUES`.

        Returns
        -------
        float32 ndarray, shape [labels + 1, h, w]
            Unnormalised log-probabilities; background is 0.
        """
        reach = min(1.0, nearest / self.distance)
        usual = _default(len(log_probs), self.config)[:, None]
        weights = usual + reach * (self.far - usual)
        if extents is not None:
            weights = weights * _extent_factors(extents, len(log_probs), self.config)
        return _pool(log_probs, weights)


def default_weights(candidates: int, labels: int, config: FusionConfig) -> FusionWeights:
    """Default weights, for use without held-out slices."""
    return FusionWeights(np.repeat(_default(candidates, config)[:, None], labels, axis=1), 1.0, config)


def choose_weights(
    counts_per_slice: Sequence[WeightingCounts], candidates: int, labels: int, config: FusionConfig
) -> FusionWeights:
    """Weights with the best Dice on held-out slices, shrunk towards the default weights.

    The score of a label averages its own Dice and the mean Dice of all labels, so that a label on few held-out slices
    gets about the weights of the others.
    """
    usual = default_weights(candidates, labels, config)
    if not counts_per_slice or not config.fitted_weights:
        return usual
    options = _weightings(candidates, config)
    right, sizes, shown = (
        np.sum([getattr(tally, name) for tally in counts_per_slice], axis=0) for name in ("right", "sizes", "shown")
    )
    seen = sizes.min(axis=0) > 0
    if not seen.any():
        return usual
    dice = 2 * right[:, seen] / sizes[:, seen]
    share = shown[seen] / (shown[seen] + config.pooling_slices)
    score = share * dice + (1 - share) * dice.mean(axis=1, keepdims=True)
    far = usual.far.copy()
    far[:, ~seen] = _blend(options, dice.mean(axis=1), config.half_blend_gain)[:, None]
    for place, column in zip(np.flatnonzero(seen), score.T, strict=True):
        far[:, place] = _blend(options, column, config.half_blend_gain)
    distance = float(np.median([tally.nearest for tally in counts_per_slice]))
    return FusionWeights(far, distance, config)


@dataclass(frozen=True)
class WeightingCounts:
    """Pixel counts of one held-out slice for the Dice of every weighting.

    Attributes
    ----------
    right, sizes : int ndarrays, shape [weightings, labels]
        Correctly predicted pixels, and predicted pixels plus true pixels.
    shown : int ndarray, shape [labels]
        1 for labels the slice shows.
    nearest : int
        Slices to the nearest labelled slice.
    """

    right: np.ndarray
    sizes: np.ndarray
    shown: np.ndarray
    nearest: int

    @classmethod
    def of(cls, held_out: HeldOutCandidates, config: FusionConfig) -> WeightingCounts:
        """Fuse a held-out slice with every weighting and count pixels."""
        count = len(held_out.log_probs)
        rows = held_out.log_probs.shape[1]
        scale = _extent_factors(held_out.extents, count, config)
        usual = _pool(held_out.log_probs, _default(count, config)[:, None] * scale)
        first = usual.argmax(axis=0)
        usual -= usual.max(axis=0)
        certain = 1 / np.exp(usual, out=usual).sum(axis=0) > config.certain_probability
        true = np.bincount(held_out.truth.reshape(-1), minlength=rows)
        certain_right = np.bincount(held_out.truth[certain & (first == held_out.truth)], minlength=rows)
        certain_all = np.bincount(first[certain], minlength=rows)
        odds = held_out.log_probs[:, :, ~certain].astype(np.float32)
        truth = held_out.truth[~certain]
        right, sizes = [], []
        for weights in _weightings(count, config):
            chosen = _pool(odds, weights[:, None] * scale).argmax(axis=0)
            right.append(certain_right + np.bincount(chosen[chosen == truth], minlength=rows))
            sizes.append(certain_all + np.bincount(chosen, minlength=rows) + true)
        shown = (true[1:] > 0).astype(int)
        nearest = min(side for side in held_out.distances if side is not None)
        return cls(np.array(right)[:, 1:], np.array(sizes)[:, 1:], shown, nearest)


def _default(candidates: int, config: FusionConfig) -> np.ndarray:
    return np.array(config.default_weights[:candidates], dtype=np.float32)


def _extent_factors(extents: np.ndarray, candidates: int, config: FusionConfig) -> np.ndarray:
    """Factors of the weights, float32 [candidates, labels], for the `LabelExtent` of each label."""
    continues = (1.0,) * len(config.factors_where_label_ends)
    factors = (continues, config.factors_where_label_ends, config.factors_on_single_slice)
    return np.array(factors, dtype=np.float32)[extents, :candidates].T


def _weightings(candidates: int, config: FusionConfig) -> list[np.ndarray]:
    """Weightings to choose from, the default first."""
    pairs = product(config.simple_weightings, config.network_weightings)
    weightings = [np.array([*simple, network], dtype=np.float32)[:candidates] for simple, network in pairs]
    return [_default(candidates, config), *np.unique(weightings, axis=0)]


def _blend(options: Sequence[np.ndarray], score: np.ndarray, half_blend_gain: float) -> np.ndarray:
    """Average of the best and the default (first) weighting; the share of the best grows with its gain."""
    best = int(score.argmax())
    gain = max(0.0, float(score[best] - score[0]))
    share = gain / (gain + half_blend_gain)
    return (1 - share) * options[0] + share * options[best]


def _pool(log_probs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted log-odds of each label against background; `weights` is `[candidates, labels or 1]`."""
    result = np.zeros(log_probs.shape[1:], dtype=np.float32)
    spread = (..., *(None,) * (log_probs.ndim - 2))
    for candidate, weight in zip(log_probs, weights, strict=True):
        odds = candidate[1:] - candidate[:1]
        result[1:] += weight[spread] * odds.astype(np.float32)
    return result
