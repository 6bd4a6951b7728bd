"""Fusion: how much each candidate counts, per label, as labelled slices that were hidden tell.

Candidates are pooled by their log-odds of each label against background (logarithmic opinion pool, Genest & Zidek
1986). Weights move away from the usual ones only as far as hidden slices ask for it, and only with the distance those
were hidden at: beside a labelled slice the usual weights hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

# Usual weights of propagation, region growing, shape interpolation and the network.
USUAL = np.array([1.0, 0.5, 0.25, 1.0], dtype=np.float32)
# What they are multiplied by for a label that only one of the labelled slices around shows: where it ends,
# intensities know better than what lies straight across.
ONE_SIDED = np.array([0.5, 2.0, 0.4, 1.0], dtype=np.float32)
# Weightings that hidden slices may choose from: three of the simple candidates, times one of the network.
_SIMPLE = ((1, 0.5, 0.25), (1, 0, 0.25), (1, 0, 1), (1, 0.5, 0), (1, 1, 0.25), (0.5, 1, 0), (1, 0, 0))
_NETWORK = (0.0, 0.5, 1.0, 2.0)
# Hidden slices that show a label count as much as this many of all labels together.
SHARED_SLICES = 6.0
# Mean Dice by which a weighting must beat the usual one to take half of its place.
DOUBT = 0.01
# A pixel whose usual prediction is surer than this is not looked at again.
SURE = 0.98


@dataclass(frozen=True)
class Hidden:
    """What the candidates say of a hidden labelled slice.

    Attributes
    ----------
    logs : float16 ndarray, shape [candidates, labels + 1, h, w]
        Logarithms of probabilities; row 0 is background.
    truth : ndarray, shape [h, w]
        Row of the label, 0 is background.
    distances : (int or None, int or None)
        Slices to the labelled slices before and after that were used; None where there was none.
    one_sided : bool ndarray, shape [labels]
        Labels that only one of those shows.
    """

    logs: np.ndarray
    truth: np.ndarray
    distances: tuple[int | None, int | None]
    one_sided: np.ndarray


@dataclass(frozen=True)
class Weights:
    """Weights of the candidates.

    Attributes
    ----------
    far : float32 ndarray, shape [candidates, labels]
        At `distance` slices from the nearest labelled slice and beyond.
    distance : float
    """

    far: np.ndarray
    distance: float

    def fuse(self, logs: np.ndarray, nearest: int, one_sided: np.ndarray | None = None) -> np.ndarray:
        """Pool what the candidates say of a slice.

        Parameters
        ----------
        logs : float ndarray, shape [candidates, labels + 1, h, w]
        nearest : int
            Slices to the nearest labelled slice.
        one_sided : bool ndarray, shape [labels], optional
            Labels that only one of the labelled slices around shows.

        Returns
        -------
        float32 ndarray, shape [labels + 1, h, w]
            Unnormalised log-probabilities; background is 0.
        """
        reach = min(1.0, nearest / self.distance)
        usual = USUAL[: len(logs), None]
        weights = usual + reach * (self.far - usual)
        if one_sided is not None:
            weights = np.where(one_sided, weights * ONE_SIDED[: len(logs), None], weights)
        return _pool(logs, weights)


def usual_weights(candidates: int, labels: int) -> Weights:
    """The weights without any hidden slice."""
    return Weights(np.repeat(USUAL[:candidates, None], labels, axis=1), 1.0)


def choose_weights(hidden: Sequence[Hidden], candidates: int, labels: int) -> Weights:
    """Weights that would have filled the hidden slices best, shrunk towards the usual ones.

    Each label weighs the Dice of its own hidden slices against that of all labels, so that a label seen once is
    treated like the others.
    """
    options = [np.array([*simple, net], dtype=np.float32)[:candidates] for simple, net in product(_SIMPLE, _NETWORK)]
    options = [USUAL[:candidates], *np.unique(options, axis=0)]
    both = np.zeros((len(options), labels))
    each = np.zeros((len(options), labels))
    shown = np.zeros(labels)
    for one in hidden:
        shown += np.bincount(one.truth.reshape(-1), minlength=labels + 1)[1:] > 0
        for number, (own_both, own_each) in enumerate(_overlaps(one, options, labels)):
            both[number] += own_both
            each[number] += own_each
    seen = each.min(axis=0) > 0
    if not seen.any():
        return usual_weights(candidates, labels)
    dice = 2 * both[:, seen] / each[:, seen]
    share = shown[seen] / (shown[seen] + SHARED_SLICES)
    score = share * dice + (1 - share) * dice.mean(axis=1, keepdims=True)
    far = np.repeat(USUAL[:candidates, None], labels, axis=1)
    far[:, ~seen] = _blend(options, dice.mean(axis=1))[:, None]
    for place, column in zip(np.flatnonzero(seen), score.T, strict=True):
        far[:, place] = _blend(options, column)
    nearest = [min(d for d in one.distances if d is not None) for one in hidden]
    return Weights(far.astype(np.float32), float(np.median(nearest)))


def _blend(options: Sequence[np.ndarray], score: np.ndarray) -> np.ndarray:
    """The best of the weightings, the nearer to the usual one (the first) the less it gains."""
    best = int(score.argmax())
    gain = max(0.0, float(score[best] - score[0]))
    share = gain / (gain + DOUBT)
    return (1 - share) * options[0] + share * options[best]


def _overlaps(one: Hidden, options: Sequence[np.ndarray], labels: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each weighting, per label: pixels right, and pixels predicted plus pixels true."""
    scale = np.where(one.one_sided, ONE_SIDED[: len(one.logs), None], 1)
    usual = _pool(one.logs, USUAL[: len(one.logs), None] * scale)
    usual -= usual.max(axis=0)
    sure = 1 / np.exp(usual).sum(axis=0) > SURE
    first = usual.argmax(axis=0)
    true = np.bincount(one.truth.reshape(-1), minlength=labels + 1)
    sure_right = np.bincount(one.truth[sure & (first == one.truth)], minlength=labels + 1)
    sure_all = np.bincount(first[sure], minlength=labels + 1)
    open_logs, open_truth = one.logs[:, :, ~sure], one.truth[~sure]
    result = []
    for weights in options:
        chosen = _pool(open_logs, weights[:, None] * scale).argmax(axis=0)
        right = sure_right + np.bincount(open_truth[chosen == open_truth], minlength=labels + 1)
        predicted = sure_all + np.bincount(chosen, minlength=labels + 1)
        result.append((right[1:], (predicted + true)[1:]))
    return result


def _pool(logs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted log-odds of each label against background; `weights` is `[candidates, labels or 1]`."""
    result = np.zeros(logs.shape[1:], dtype=np.float32)
    spread = (..., *(None,) * (logs.ndim - 2))
    for candidate, own in zip(logs, weights, strict=True):
        odds = candidate[1:] - candidate[:1]
        result[1:] += own[spread] * odds.astype(np.float32)
    return result
