"""Fusion: how much each candidate counts, per label, as labelled slices that were hidden tell.

Candidates are pooled by their log-odds of each label against background (logarithmic opinion pool, Genest & Zidek
1986). Weights move away from the usual ones only as far as hidden slices ask for it, and only with the distance those
were hidden at: beside a labelled slice the usual weights hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import product

import numpy as np

# Usual weights of propagation, region growing, shape interpolation and the network.
USUAL = np.array([1.0, 0.1, 0.1, 0.8], dtype=np.float32)
# What they are multiplied by for each `End`: where a label ends, intensities know better than what lies straight
# across, and where one slice alone shows it, nothing else knows anything.
BY_END = np.array([[1.0, 1.0, 1.0, 1.0], [0.4, 3.5, 0.5, 1.0], [0.0, 10.0, 0.0, 0.0]], dtype=np.float32)
# Weightings that hidden slices may choose from: three of the simple candidates, times one of the network.
_SIMPLE = ((1, 0.5, 0.25), (1, 0, 0.25), (1, 0, 1), (1, 0.5, 0), (1, 1, 0.25), (0.5, 1, 0), (1, 0, 0))
_NETWORK = (0.0, 0.25, 0.5, 1.0)
# Hidden slices that show a label count as much as this many of all labels together.
SHARED_SLICES = 60.0
# Mean Dice by which a weighting must beat the usual one to take half of its place.
DOUBT = 0.01
# A pixel whose usual prediction is surer than this is not looked at again.
SURE = 0.98


class End(IntEnum):
    """What the labelled slices around a slice say about a label: row of `BY_END`.

    SEEN: both show it, or neither. BETWEEN: only one does, so it ends somewhere between. LONE: so it is, no other
    labelled slice shows it at all, and region growing has proved itself or all that is shown is a tip.
    """

    SEEN = 0
    BETWEEN = 1
    LONE = 2


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
    ends : int ndarray, shape [labels]
        Of `End`.
    """

    logs: np.ndarray
    truth: np.ndarray
    distances: tuple[int | None, int | None]
    ends: np.ndarray


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

    def fuse(self, logs: np.ndarray, nearest: int, ends: np.ndarray | None = None) -> np.ndarray:
        """Pool what the candidates say of a slice.

        Parameters
        ----------
        logs : float ndarray, shape [candidates, labels + 1, h, w]
        nearest : int
            Slices to the nearest labelled slice.
        ends : int ndarray, shape [labels], optional
            Of `End`; default: all are seen.

        Returns
        -------
        float32 ndarray, shape [labels + 1, h, w]
            Unnormalised log-probabilities; background is 0.
        """
        reach = min(1.0, nearest / self.distance)
        usual = USUAL[: len(logs), None]
        weights = usual + reach * (self.far - usual)
        if ends is not None:
            weights = weights * BY_END[ends, : len(logs)].T
        return _pool(logs, weights)


def usual_weights(candidates: int, labels: int) -> Weights:
    """The weights without any hidden slice."""
    return Weights(np.repeat(USUAL[:candidates, None], labels, axis=1), 1.0)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of unnormalised logarithms, float `[rows, ...]`, that sum to 1 over the rows."""
    result = logits - logits.max(axis=0)
    np.exp(result, out=result)
    result /= result.sum(axis=0)
    return result


def choose_weights(tallies: Sequence[Tally], candidates: int, labels: int) -> Weights:
    """Weights that would have filled the hidden slices best, shrunk towards the usual ones.

    Each label weighs the Dice of its own hidden slices against that of all labels, so that a label seen once is
    treated like the others.
    """
    usual = usual_weights(candidates, labels)
    if not tallies:
        return usual
    options = _options(candidates)
    right, sizes, shown = (
        np.sum([getattr(tally, name) for tally in tallies], axis=0) for name in ("right", "sizes", "shown")
    )
    seen = sizes.min(axis=0) > 0
    if not seen.any():
        return usual
    dice = 2 * right[:, seen] / sizes[:, seen]
    share = shown[seen] / (shown[seen] + SHARED_SLICES)
    score = share * dice + (1 - share) * dice.mean(axis=1, keepdims=True)
    far = usual.far.copy()
    far[:, ~seen] = _blend(options, dice.mean(axis=1))[:, None]
    for place, column in zip(np.flatnonzero(seen), score.T, strict=True):
        far[:, place] = _blend(options, column)
    return Weights(far, float(np.median([tally.nearest for tally in tallies])))


@dataclass(frozen=True)
class Tally:
    """How well each weighting fills one hidden slice.

    Attributes
    ----------
    right, sizes : int ndarrays, shape [weightings, labels]
        Pixels rightly predicted, and pixels predicted plus pixels there.
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
    def of(cls, hidden: Hidden) -> Tally:
        """Try every weighting on a hidden slice."""
        count = len(hidden.logs)
        rows = hidden.logs.shape[1]
        scale = BY_END[hidden.ends, :count].T
        usual = _pool(hidden.logs, USUAL[:count, None] * scale)
        first = usual.argmax(axis=0)
        usual -= usual.max(axis=0)
        sure = 1 / np.exp(usual, out=usual).sum(axis=0) > SURE
        true = np.bincount(hidden.truth.reshape(-1), minlength=rows)
        sure_right = np.bincount(hidden.truth[sure & (first == hidden.truth)], minlength=rows)
        sure_all = np.bincount(first[sure], minlength=rows)
        odds = hidden.logs[:, :, ~sure].astype(np.float32)
        truth = hidden.truth[~sure]
        right, sizes = [], []
        for weights in _options(count):
            chosen = _pool(odds, weights[:, None] * scale).argmax(axis=0)
            right.append(sure_right + np.bincount(chosen[chosen == truth], minlength=rows))
            sizes.append(sure_all + np.bincount(chosen, minlength=rows) + true)
        shown = (true[1:] > 0).astype(int)
        nearest = min(side for side in hidden.distances if side is not None)
        return cls(np.array(right)[:, 1:], np.array(sizes)[:, 1:], shown, nearest)


def _options(candidates: int) -> list[np.ndarray]:
    """The weightings to choose from, the usual one first."""
    options = [np.array([*simple, net], dtype=np.float32)[:candidates] for simple, net in product(_SIMPLE, _NETWORK)]
    return [USUAL[:candidates], *np.unique(options, axis=0)]


def _blend(options: Sequence[np.ndarray], score: np.ndarray) -> np.ndarray:
    """The best of the weightings, the nearer to the usual one (the first) the less it gains."""
    best = int(score.argmax())
    gain = max(0.0, float(score[best] - score[0]))
    share = gain / (gain + DOUBT)
    return (1 - share) * options[0] + share * options[best]


def _pool(logs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted log-odds of each label against background; `weights` is `[candidates, labels or 1]`."""
    result = np.zeros(logs.shape[1:], dtype=np.float32)
    spread = (..., *(None,) * (logs.ndim - 2))
    for candidate, own in zip(logs, weights, strict=True):
        odds = candidate[1:] - candidate[:1]
        result[1:] += own[spread] * odds.astype(np.float32)
    return result
