"""Fusion of candidates, with weights per label that are chosen on held-out labelled slices.

The log-odds of each label against background are summed with weights (logarithmic opinion pool, Genest & Zidek 1986).
The weights are shrunk towards default weights: more if the gain on held-out slices is small, and more for query
slices that are nearer to a labelled slice than the held-out slices were. There, propagation is more accurate than it
was on held-out slices, which is no reason to trust a network more that was worse on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import product

import numpy as np

from .config import FusionConfig

NETWORK = 3  # position of this candidate


class LabelExtent(IntEnum):
    """Extent of a label around a query slice, which determines the factors of the weights, see `FusionConfig`.

    CONTINUES: both neighbouring labelled slices show it, or neither. ENDS: only one of them does, so it ends in the
    gap. SINGLE_SLICE: of all labelled slices a single one shows it, and it is very small there or region growing is
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
        Number of slices to the labelled slices before and after that it was predicted from; None where there is none.
    extents : int ndarray, shape [labels]
        Values of `LabelExtent`.
    copied : integer ndarray, shape [h, w]
        Label index of each pixel on the nearer of these labelled slices.
    showing_neighbours : int ndarray, shape [labels]
        Number of these labelled slices, 0 to 2, that show each label.
    annotated : bool ndarray, shape [labels]
        Labels that were annotated on this slice. The truth of the others is propagated, so nothing is fitted to it.
    """

    log_probs: np.ndarray
    truth: np.ndarray
    distances: tuple[int | None, int | None]
    extents: np.ndarray
    copied: np.ndarray
    showing_neighbours: np.ndarray
    annotated: np.ndarray


@dataclass(frozen=True)
class FusionWeights:
    """Fusion weights of the candidates.

    Attributes
    ----------
    near, far : float32 ndarrays, shape [candidates, labels]
        Weights beside a labelled slice, and at `distance` slices or more from the nearest one; interpolated between.
    distance : float
    config : FusionConfig
    """

    near: np.ndarray
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
        distance_share = min(1.0, nearest / self.distance)
        weights = self.near + distance_share * (self.far - self.near)
        if extents is not None:
            weights = weights * _extent_factors(extents, len(log_probs), self.config)
        return _pool(log_probs, weights)


def default_weights(candidates: int, labels: int, config: FusionConfig) -> FusionWeights:
    """Default weights, for use without held-out slices."""
    weights = np.repeat(_default(candidates, config)[:, None], labels, axis=1)
    return FusionWeights(weights, weights, 1.0, config)


def choose_weights(
    counts_per_slice: Sequence[WeightingCounts], candidates: int, labels: int, config: FusionConfig
) -> FusionWeights:
    """Weights with the best Dice on held-out slices, shrunk towards the default weights.

    The score of a label is an average of its own Dice and the mean Dice of all labels, so that a label on few
    held-out slices gets nearly the weights of the others.
    """
    default = default_weights(candidates, labels, config)
    if not counts_per_slice or not config.fitted_weights:
        return default
    options = _weightings(candidates, config)
    correct, sizes, shown = (
        np.sum([getattr(counts, name) for counts in counts_per_slice], axis=0)
        for name in ("correct", "sizes", "shown")
    )
    is_evaluated = sizes.min(axis=0) > 0
    if not is_evaluated.any():
        return default
    dice = 2 * correct[:, is_evaluated] / sizes[:, is_evaluated]
    share = shown[is_evaluated] / (shown[is_evaluated] + config.pooling_slices)
    score = share * dice + (1 - share) * dice.mean(axis=1, keepdims=True)
    far = default.far.copy()
    far[:, ~is_evaluated] = _blend(options, dice.mean(axis=1), config.half_blend_gain)[:, None]
    for label_index, column in zip(np.flatnonzero(is_evaluated), score.T, strict=True):
        far[:, label_index] = _blend(options, column, config.half_blend_gain)
    distance = float(np.median([counts.nearest for counts in counts_per_slice]))
    near = default.near.copy()
    near[NETWORK:] = np.minimum(near[NETWORK:], far[NETWORK:])
    return FusionWeights(near, far, distance, config)


@dataclass(frozen=True)
class WeightingCounts:
    """Pixel counts of one held-out slice for the Dice of every weighting.

    Attributes
    ----------
    correct, sizes : int ndarrays, shape [weightings, labels]
        Correctly predicted pixels, and predicted pixels plus true pixels.
    shown : int ndarray, shape [labels]
        1 for labels that the slice shows.
    nearest : int
        Number of slices to the nearest labelled slice.
    """

    correct: np.ndarray
    sizes: np.ndarray
    shown: np.ndarray
    nearest: int

    @classmethod
    def of(cls, held_out: HeldOutCandidates, config: FusionConfig) -> WeightingCounts:
        """Fuse a held-out slice with every weighting and count pixels."""
        count = len(held_out.log_probs)
        label_count = held_out.log_probs.shape[1]
        scale = _extent_factors(held_out.extents, count, config)
        default = _pool(held_out.log_probs, _default(count, config)[:, None] * scale)
        first = default.argmax(axis=0)
        default -= default.max(axis=0)
        certain = 1 / np.exp(default, out=default).sum(axis=0) > config.certain_probability
        true_sizes = np.bincount(held_out.truth.reshape(-1), minlength=label_count)
        certain_correct = np.bincount(held_out.truth[certain & (first == held_out.truth)], minlength=label_count)
        certain_all = np.bincount(first[certain], minlength=label_count)
        odds = held_out.log_probs[:, :, ~certain].astype(np.float32)
        truth = held_out.truth[~certain]
        correct, sizes = [], []
        for weights in _weightings(count, config):
            chosen = _pool(odds, weights[:, None] * scale).argmax(axis=0)
            correct.append(certain_correct + np.bincount(chosen[chosen == truth], minlength=label_count))
            sizes.append(certain_all + np.bincount(chosen, minlength=label_count) + true_sizes)
        judged = held_out.annotated
        shown = (true_sizes[1:] > 0) * judged
        nearest = min(side for side in held_out.distances if side is not None)
        return cls(np.array(correct)[:, 1:] * judged, np.array(sizes)[:, 1:] * judged, shown.astype(int), nearest)


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
