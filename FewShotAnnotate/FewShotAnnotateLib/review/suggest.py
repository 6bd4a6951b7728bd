"""Suggest: which slice to label next, so that the mean Dice on the slices left rises most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .doubt import Doubt

# Doubt that no prediction shows, as a part of the doubt there is: it draws towards evenly spaced slices.
HIDDEN = 0.3
# The same where no doubt is seen at all, so that the widest gap comes first.
LEAST_HIDDEN = 1e-6
# A reason names at most so many labels, each with at least this part of the gain of the first.
MOST_NAMED = 3
WORTH_NAMING = 0.5


@dataclass(frozen=True)
class Suggestion:
    """A slice to label.

    Attributes
    ----------
    index : int
    gain : float
        Expected rise of the mean Dice on the slices left to fill, 0..1, once the suggestions before it are labelled.
    reason : str
        One plain sentence.
    labels : tuple of int
        Places in `Doubt.names` of the labels that gain most, the first one most; empty if what counts are labels
        that no labelled slice shows yet.
    """

    index: int
    gain: float
    reason: str
    labels: tuple[int, ...]


def suggest(doubt: Doubt, count: int) -> list[Suggestion]:
    """Slices to label next, best first, each as if those before it were labelled.

    Labelling a slice settles it, and brings its neighbours nearer to a labelled one. Expected wrong voxels grow with
    the distance x * y / (x + y) of a slice from the labelled ones x before and y after it.

    Parameters
    ----------
    doubt : Doubt
        Its unlabelled slices are those that may be suggested and that count.
    count : int
        At most so many.
    """
    outlook, found = _Outlook(doubt), []
    for _ in range(min(count, len(doubt.unlabelled))):
        gains = outlook.gains()
        best = outlook.best(gains.sum(axis=1))
        found.append(_suggestion(doubt, int(outlook.unlabelled[best]), gains[best]))
        outlook.label(best)
    return found


class _Outlook:
    """What is expected of the slices left, while one after the other is labelled.

    Tables have one row for each slice of `unlabelled`; a place is the number of a row.
    """

    def __init__(self, doubt: Doubt) -> None:
        self.labelled = list(doubt.labelled)
        self.unlabelled = np.array(doubt.unlabelled, dtype=int)
        self._wrong, self._size, self._hidden = doubt.wrong, doubt.size, _hidden(doubt)

    def gains(self) -> np.ndarray:
        """Gain in mean Dice by each slice, for each label and at last for hidden ones: float64 [n, L + 1]."""
        count, labels = self._wrong.shape
        errors, sizes = self._wrong.sum(axis=0), self._size.sum(axis=0)
        result = np.empty((count, labels + 1))
        for before, after, places in _gaps(self.unlabelled, self.labelled):
            settled = 1 - _kept(self.unlabelled[places], before, after)
            left = _errors(errors - settled @ self._wrong[places], sizes - self._size[places])
            result[places, :-1] = _errors(errors, sizes) - left
            result[places, -1] = settled @ self._hidden[places]
        return result / labels

    def best(self, gains: np.ndarray) -> int:
        """Place of the greatest gain; of equal ones that nearest to the middle of its gap, then the first."""
        off_centre = np.zeros(len(gains))
        for before, after, places in _gaps(self.unlabelled, self.labelled):
            if before is not None and after is not None:
                off_centre[places] = np.abs(2 * self.unlabelled[places] - before - after)
        rounded = np.round(gains / max(np.abs(gains).max(), 1e-300), 9)
        return int(np.lexsort((off_centre, -rounded))[0])

    def label(self, place: int) -> None:
        """Go on as if a slice were labelled."""
        kept = np.ones(len(self.unlabelled))
        for before, after, places in _gaps(self.unlabelled, self.labelled):
            if place in places:
                kept[places] = _kept(self.unlabelled[places], before, after)[places == place][0]
        self.labelled = sorted([*self.labelled, int(self.unlabelled[place])])
        self.unlabelled = np.delete(self.unlabelled, place)
        self._wrong = np.delete(self._wrong * kept[:, None], place, axis=0)
        self._size = np.delete(self._size, place, axis=0)
        self._hidden = np.delete(self._hidden * kept, place)


def _hidden(doubt: Doubt) -> np.ndarray:
    """Expected errors in labels that no prediction tells of, as a sum over labels of 1 - Dice: float64 [n].

    How many labels no labelled slice shows is estimated from how many are shown by just one and by two of them
    (Chao, Scandinavian Journal of Statistics 11, 1984), at most as many as are shown by one. They are more likely
    where labelled slices are far, but not beyond an outermost labelled slice that shows nothing.
    """
    times = doubt.shown.sum(axis=0)
    once, twice = np.count_nonzero(times == 1), np.count_nonzero(times == 2)
    unseen = min(once * (once - 1) / (2 * (twice + 1)), once)
    seen = _errors(doubt.wrong.sum(axis=0), doubt.size.sum(axis=0)).sum()
    far = np.zeros(len(doubt.unlabelled))
    at = np.array(doubt.unlabelled, dtype=int)
    for before, after, places in _gaps(at, doubt.labelled):
        edge = doubt.shown[0] if before is None else doubt.shown[-1] if after is None else True
        if np.any(edge):
            far[places] = _distance(at[places], before, after)
    return far / max(far.sum(), 1e-300) * max(unseen + HIDDEN * seen, LEAST_HIDDEN)


def _errors(wrong: np.ndarray, size: np.ndarray) -> np.ndarray:
    """1 - Dice; next to nothing for less than a voxel."""
    return np.clip(wrong / np.maximum(size, 1), 0, 1)


def _gaps(at: np.ndarray, bounds: Sequence[int]) -> Iterator[tuple[int | None, int | None, np.ndarray]]:
    """Labelled slices before and after each gap, one of which may not exist, and the places in `at` between."""
    gap = np.searchsorted(bounds, at)
    for number, (before, after) in enumerate(pairwise([None, *bounds, None])):
        places = np.flatnonzero(gap == number)
        if len(places):
            yield before, after, places


def _distance(at: np.ndarray, before: np.ndarray | int | None, after: np.ndarray | int | None) -> np.ndarray:
    """Distance of slices from the labelled ones around them."""
    if before is None:
        assert after is not None
        return np.asarray(after - at, dtype=float)
    if after is None:
        return np.asarray(at - before, dtype=float)
    return (at - before) * (after - at) / (after - before)


def _kept(at: np.ndarray, before: int | None, after: int | None) -> np.ndarray:
    """Part of the doubt on each slice of a gap (column) that is left when another one (row) is labelled."""
    chosen, other = at[:, None], at[None, :]
    nearer = np.where(other < chosen, _distance(other, before, chosen), _distance(other, chosen, after))
    np.fill_diagonal(nearer, 0)
    return nearer / _distance(other, before, after)


def _suggestion(doubt: Doubt, index: int, gains: np.ndarray) -> Suggestion:
    """Put a slice's gains into words."""
    seen, hidden = gains[:-1], gains[-1]
    after = int(np.searchsorted(doubt.labelled, index))
    rows = [row for row in (after - 1, after) if 0 <= row < len(doubt.labelled)]
    around = [doubt.labelled[row] for row in rows]
    ends = doubt.shown[rows[0]] != doubt.shown[rows[-1]]
    if len(rows) == 1:
        named = _worth_naming(np.where(doubt.shown[rows[0]], seen, 0), ends)
    else:
        named = _worth_naming(seen if hidden <= seen.clip(min=0).sum() else 0 * seen, ends)
    where = f"{'After' if after else 'Before'} slice {around[0]}"
    if len(rows) == 2:
        where = f"Between slices {around[0]} and {around[1]}"
    several = len(named) > 1
    names = _listed([doubt.names[place] for place in named])
    if not named:
        reason = f"{where} no slice is labelled: there may be structures that no labelled slice shows."
    elif len(rows) == 1:
        edge = "only" if len(doubt.labelled) == 1 else "last" if after else "first"
        reach, end = ("reach", "they end") if several else ("reaches", "it ends")
        reason = f"{names} {reach} slice {around[0]}, the {edge} labelled one: where {end} is unknown."
    elif ends[named[0]]:
        reason = f"{where} {names} {'begin or end' if several else 'begins or ends'}."
    else:
        reason = f"{where} {names} {'are' if several else 'is'} least certain."
    return Suggestion(index, max(0.0, float(gains.sum())), reason, named)


def _worth_naming(gains: np.ndarray, ends: np.ndarray) -> tuple[int, ...]:
    """Places of the labels that gain most, all of which end between the same labelled slices or none."""
    order = np.argsort(-gains, kind="stable")
    first = order[0]
    if gains[first] <= 0:
        return ()
    worth = [int(place) for place in order if gains[place] >= WORTH_NAMING * gains[first]]
    return tuple(place for place in worth if ends[place] == ends[first])[:MOST_NAMED]


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
