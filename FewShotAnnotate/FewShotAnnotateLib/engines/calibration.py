"""Calibration: probabilities that mean what they say, and the Dice to expect, learned from hidden labelled slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.expected import ExpectedDice

Distances = tuple[int | None, int | None]

# Logits differ in scale with what was fused, so they are measured by the margin of the surest pixel of a slice.
# Sharpness is what that margin becomes, in nats: its prior at distance 1, the spread of its logarithm from volume to
# volume, and how it falls with distance, as distance ** -FALL.
SHARPNESS = 10.0
SPREAD = 0.5
FALL = 0.1
GRID = np.linspace(0.8, 3.4, 53)
# Pixels that a hidden slice counts for at most: neighbours err together.
WORTH = 10
# A pixel is contested if its margin is less than this part of the surest pixel's; there sharpness is fitted.
CONTESTED = 0.85
# A truth less probable than this counts hardly more than one that is as probable: whole structures come and go, and
# how sharp boundaries are does not depend on it.
BLUNDER = 0.05
# Probabilities below this are left out of expected sizes: over all the background they would add up to a label.
FAINT = 0.01

# Pixels err together, so Dice is further from certain than single probabilities say: factor of its log-odds.
MODESTY = 0.9
# Where only one of the labelled slices around shows a label, nobody knows how far it goes, nor beyond the outermost
# ones. What the log-odds of a label's Dice lose if all its voxels are such.
UNKNOWN_END = 0.5

# Share of what expectations of hidden slices were wrong by, in log-odds of Dice, that is taken off: those slices are
# further from labelled ones. Of all labels together, as if as many more labels had come out as expected; and of one
# label by itself, as if it had been on as many more slices that were wrong by what all are.
TRUST = 0.5
MORE_LABELS = 5.0
MORE_SLICES = 10.0
# Voxels of a label on hidden slices that make it half as telling as very many, and fewer of which tell nothing.
TELLING_VOXELS = 200
LEAST_VOXELS = 30

# Dice is best if a voxel is filled with a label from half of that Dice on (Lipton et al. 2014). Never below this: of
# labels that may be missed altogether the expectation is too rough to fill far more than is probable.
LEAST_THRESHOLD = 0.25

# Half of the width of the range, in log-odds of Dice: WIDTH at least, and more the fewer voxels there were to learn
# from and to average over, as a standard error does.
WIDTH = 0.45
WIDTH_VOXELS = 300
FEWEST_VOXELS = 40


@dataclass(frozen=True)
class Hidden:
    """What was predicted for a labelled slice that was hidden, and what it really shows.

    Attributes
    ----------
    logits : float ndarray, shape [L + 1, h, w]
        Unnormalised logarithms of probabilities; row 0 is background.
    truth : integer ndarray, shape [h, w]
        Row of each pixel's label.
    distances : tuple of int or None
        Slices to the labelled slices before and after that the prediction stands on; None: there was none.
    open_ended : bool ndarray, shape [L], optional
        As in `DiceExpectation.add`.
    """

    logits: np.ndarray
    truth: np.ndarray
    distances: Distances
    open_ended: np.ndarray | None = None


class Calibration:
    """What hidden slices teach about predictions: how much to sharpen or soften logits, and to expect less or more.

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599), fitted where labels are contested and drawn towards a
    prior as far as there is little to learn from. Softer with distance from the labelled slices, by a fixed law,
    because a hidden slice is at least twice as far from them as the slices to be filled are.

    Attributes
    ----------
    sharpness : float
        At distance 1.
    evidence : float ndarray, shape [L + 1]
        Voxels of each label on hidden slices; empty without any.
    correction : float ndarray, shape [L + 1]
        What is added to the log-odds of the Dice to expect of each label; empty without hidden slices.
    """

    def __init__(
        self,
        sharpness: float = SHARPNESS,
        evidence: np.ndarray | None = None,
        correction: np.ndarray | None = None,
    ) -> None:
        self.sharpness = sharpness
        self.evidence = np.zeros(0) if evidence is None else evidence
        self.correction = np.zeros(0) if correction is None else correction

    @classmethod
    def fit(cls, hidden: Sequence[Hidden]) -> Calibration:
        """Learn from hidden slices; without any, the prior."""
        slices = [_Evidence.of(one) for one in hidden]
        if not slices:
            return cls()
        sharpness = _fit_sharpness(slices)
        evidence = np.sum([one.voxels for one in slices], axis=0)
        return cls(sharpness, evidence, _correction(cls(sharpness), hidden))

    def probabilities(self, logits: np.ndarray, distances: Distances) -> np.ndarray:
        """Calibrated probabilities of one slice, float32 of the same shape; the most probable label stays."""
        scaled = np.subtract(logits, logits.max(axis=0), dtype=np.float32)
        scaled *= np.float32(self.sharpness * reach(distances) ** -FALL / _margins(scaled).max())
        np.exp(scaled, out=scaled)
        scaled /= scaled.sum(axis=0)
        return scaled


class DiceExpectation:
    """Dice to expect over the predicted slices; they are added one by one and not kept.

    The Dice of a label follows from calibrated probabilities (soft Dice confidence, arXiv 2402.10665).
    """

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._sums = np.zeros((4, 0))

    def add(self, probabilities: np.ndarray, open_ended: np.ndarray | None = None) -> None:
        """Count one predicted slice.

        Parameters
        ----------
        probabilities : float ndarray, shape [L + 1, h, w]
            Calibrated; the same rows for each slice.
        open_ended : bool ndarray, shape [L], optional
            Labels of which nobody knows whether they reach this slice: only one of the labelled slices around shows
            them, or there is only one; default: none.
        """
        sums = _sums(probabilities, open_ended, self._thresholds(len(probabilities)))
        self._sums = sums if not self._sums.size else self._sums + sums

    def favoured(self, probabilities: np.ndarray) -> np.ndarray:
        """The same with those labels the most probable that fill best: the less of one is certain, the sooner it is.

        The threshold of a label against background is half of its Dice to expect over the slices added so far (Lipton
        et al., "Optimal thresholding of classifiers to maximize F1 measure", 2014). Where that is another label than
        the most probable one, the two change places; all else stays calibrated.

        Parameters
        ----------
        probabilities : float ndarray, shape [L + 1, h, w]
            Calibrated; the same rows as of the slices added.

        Returns
        -------
        ndarray of the same shape and dtype
        """
        filling = _filling(probabilities, self._thresholds(len(probabilities)))[None]
        most = probabilities.argmax(axis=0)[None]
        result = probabilities.copy()
        np.put_along_axis(result, most, np.take_along_axis(probabilities, filling, axis=0), axis=0)
        np.put_along_axis(result, filling, np.take_along_axis(probabilities, most, axis=0), axis=0)
        return result

    def _thresholds(self, rows: int) -> np.ndarray:
        """From which probability on a label fills a voxel; 0.5 for the background."""
        thresholds = np.full(rows, 0.5, dtype=np.float32)
        if self._sums.size:
            thresholds[1:] = np.clip(_sigmoid(self._log_odds()[1:]) / 2, LEAST_THRESHOLD, 0.5)
        return thresholds

    def _log_odds(self) -> np.ndarray:
        """Log-odds of the Dice to expect of each row."""
        found = _expected_log_odds(self._sums)
        found[: len(self._calibration.correction)] += self._calibration.correction
        return found

    def expected(self, labels: Sequence[int]) -> tuple[ExpectedDice, ...]:
        """Dice to expect of each label, but for those that are neither predicted nor likely anywhere.

        Parameters
        ----------
        labels : sequence of int
            Value of each row but the first.
        """
        if not self._sums.size:
            return ()
        found = []
        log_odds = self._log_odds()
        for row, label in enumerate(labels, start=1):
            _, likely, predicted, _ = self._sums[:, row]
            if likely + predicted > 0:
                evidence = self._calibration.evidence[row] if row < len(self._calibration.evidence) else 0.0
                width = _width(evidence, predicted) * np.array([-1, 0, 1])
                low, dice, high = (float(value) for value in _sigmoid(log_odds[row] + width))
                found.append(ExpectedDice(int(label), dice, low, high))
        return tuple(found)


def reach(distances: Distances) -> float:
    """Distance of a slice from the labelled ones: `a * b / (a + b)` between two, as the variance of a bridge."""
    sides = [side for side in distances if side is not None]
    if not sides:
        raise ValueError("a prediction stands on one labelled slice at least")
    return 1 / sum(1 / side for side in sides)


@dataclass(frozen=True)
class _Evidence:
    """A hidden slice, reduced to the pixels where labels are contested.

    Attributes
    ----------
    logits : float16 ndarray, shape [L + 1, n]
        0 for the most probable label, -1 for the second of the surest pixel.
    truth : ndarray, shape [n]
    voxels : float ndarray, shape [L + 1]
        Mean of the pixels of each label that are there and those predicted.
    distances : tuple of int or None
    """

    logits: np.ndarray
    truth: np.ndarray
    voxels: np.ndarray
    distances: Distances

    @classmethod
    def of(cls, hidden: Hidden) -> _Evidence:
        logits = hidden.logits.reshape(len(hidden.logits), -1).astype(np.float32)
        logits -= logits.max(axis=0)
        margins = _margins(logits)
        logits /= margins.max()
        truth = hidden.truth.reshape(-1)
        contested = margins < CONTESTED * margins.max()
        rows = len(logits)
        voxels = (np.bincount(logits.argmax(axis=0), minlength=rows) + np.bincount(truth, minlength=rows)) / 2
        # Where all margins are tiny, other logits are beyond float16; at its least value probabilities are 0 as well.
        kept = np.maximum(logits[:, contested], np.finfo(np.float16).min).astype(np.float16)
        return cls(kept, truth[contested], voxels, hidden.distances)

    def loss(self, log_sharpness: np.ndarray) -> np.ndarray:
        """Negative log-likelihood of the contested pixels at each sharpness, as if they were few, and bounded."""
        size = len(self.truth)
        if not size:
            return np.zeros(len(log_sharpness))
        logits = self.logits.astype(np.float32)
        of_truth = logits[self.truth, np.arange(size)]
        scales = np.exp(log_sharpness) * reach(self.distances) ** -FALL
        total = np.empty(len(scales))
        for place, scale in enumerate(scales.astype(np.float32)):
            right = np.exp(scale * of_truth) / np.exp(scale * logits).sum(axis=0)
            total[place] = -np.log(right + BLUNDER).sum()
        return total * WORTH / (size + WORTH)


def _margins(logits: np.ndarray) -> np.ndarray:
    """By how much the most probable label of each pixel, whose logit is 0, leads; above 0."""
    others = logits.copy()
    np.put_along_axis(others, logits.argmax(axis=0)[None], -np.inf, axis=0)
    lead = -others.max(axis=0)
    return np.clip(lead, np.float32(1e-6), np.float32(1e6))


def _sigmoid(log_odds: np.ndarray) -> np.ndarray:
    probabilities: np.ndarray = 1 / (1 + np.exp(-log_odds))
    return probabilities


def _filling(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Row that fills each voxel: the most probable one, but that a label counts for more from its threshold on.

    From its threshold t on its probability is multiplied by (1 - t) / t: at t it equals a background of 1 - t. That
    holds against other labels too: of a doubtful one a voxel is worth more than of a certain one.
    """
    thresholds = thresholds.reshape(-1, *(1,) * (probabilities.ndim - 1))
    scores = probabilities.copy()
    np.multiply(scores, (1 - thresholds) / thresholds, out=scores, where=probabilities >= thresholds)
    filling: np.ndarray = scores.argmax(axis=0)
    return filling


def _sizes(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Of each label the voxels expected to be rightly predicted, to be there, and predicted; shape [3, L + 1].

    Predicted is what `_filling` says.
    """
    rows = len(probabilities)
    best = _filling(probabilities, thresholds)
    of_best = np.take_along_axis(probabilities, best[None], axis=0)[0]
    right = np.bincount(best, of_best, rows)
    likely = np.where(probabilities >= FAINT, probabilities, 0).sum(axis=1, dtype=np.float64)
    return np.stack([right, likely, np.bincount(best, minlength=rows)])


def _sums(probabilities: np.ndarray, open_ended: np.ndarray | None, thresholds: np.ndarray) -> np.ndarray:
    """`_sizes` of a slice, and the voxels predicted of labels that are open-ended; shape [4, L + 1]."""
    sizes = _sizes(probabilities.reshape(len(probabilities), -1), thresholds)
    ending = np.zeros(len(probabilities)) if open_ended is None else np.append(0, open_ended) * sizes[2]
    return np.vstack([sizes, ending])


def _expected_log_odds(sums: np.ndarray) -> np.ndarray:
    """Log-odds of the Dice that `_sums` lead to expect."""
    right, likely, predicted, ending = sums
    wrong = likely + predicted - 2 * right + 1
    found: np.ndarray = MODESTY * np.log((2 * right + 1) / wrong) - UNKNOWN_END * ending / np.maximum(predicted, 1)
    return found


def _correction(calibration: Calibration, hidden: Sequence[Hidden]) -> np.ndarray:
    """By how much the log-odds of the Dice of each label were wrong on hidden slices, with all due doubt."""
    rows = len(hidden[0].logits)
    sums, hits, true, shown = np.zeros((4, rows)), np.zeros(rows), np.zeros(rows), np.zeros(rows)
    for one in hidden:
        probabilities = calibration.probabilities(one.logits, one.distances)
        sums += _sums(probabilities, one.open_ended, np.full(rows, 0.5, dtype=np.float32))
        filled = probabilities.argmax(axis=0)
        there = np.bincount(one.truth.reshape(-1), minlength=rows)
        hits += np.bincount(filled[filled == one.truth], minlength=rows)
        true += there
        shown += there > 0
    wrong_by = np.log((2 * hits + 1) / (true + sums[2] - 2 * hits + 1)) - _expected_log_odds(sums)
    tells = true > LEAST_VOXELS
    tells[0] = False
    weight = tells * true / (true + TELLING_VOXELS)
    common = (weight * wrong_by).sum() / (weight.sum() + MORE_LABELS)
    own = tells * shown / (shown + MORE_SLICES)
    result: np.ndarray = TRUST * (common + own * (wrong_by - common))
    return result


def _fit_sharpness(slices: Sequence[_Evidence]) -> float:
    """The most probable sharpness at distance 1, given a log-normal prior."""
    loss = (GRID - np.log(SHARPNESS)) ** 2 / (2 * SPREAD**2) + sum(one.loss(GRID) for one in slices)
    return float(np.exp(GRID[loss.argmin()]))


def _width(evidence: float, predicted: float) -> float:
    """Half of the width of the range, in log-odds of Dice."""
    voxels = min(evidence, predicted) + FEWEST_VOXELS
    return float(np.hypot(WIDTH, np.sqrt(WIDTH_VOXELS / voxels)))
