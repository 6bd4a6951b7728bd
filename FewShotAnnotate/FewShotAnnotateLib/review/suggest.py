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
    wrong, size, hidden = doubt.wrong.copy(), doubt.size.copy(), _hidden(doubt)
    bounds, found = list(doubt.labelled), []
    at = np.array(doubt.unlabelled, dtype=int)
    for _ in range(min(count, len(at))):
        gains = np.full((len(at), len(doubt.names) + 1), -np.inf)
        centred = np.zeros(len(at))
        for before, after, places in _gaps(at, bounds):
            gains[places] = _gains(_kept(at[places], before, after), places, wrong, size, hidden)
            if before is not None and after is not None:
                centred[places] = -np.abs(2 * at[places] - before - after)
        best = _best(gains.sum(axis=1), centred)
        found.append(_suggestion(doubt, int(at[best]), gains[best]))
        for before, after, places in _gaps(at, bounds):
            if best in places:
                kept = _kept(at[places], before, after)[int(np.flatnonzero(places == best)[0])]
                wrong[places] *= kept[:, None]
                hidden[places] *= kept
        size[best] = 0
        bounds = sorted([*bounds, int(at[best])])
        wrong, size, hidden, at = (np.delete(table, best, axis=0) for table in (wrong, size, hidden, at))
    return found


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
    return far / max(far.sum(), 1) * max(unseen + HIDDEN * seen, LEAST_HIDDEN)


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


def _gains(
    kept: np.ndarray, places: np.ndarray, wrong: np.ndarray, size: np.ndarray, hidden: np.ndarray
) -> np.ndarray:
    """Gain in mean Dice by each slice of a gap, for each label and at last for hidden ones: [slices, L + 1]."""
    errors, sizes = wrong.sum(axis=0), size.sum(axis=0)
    settled = 1 - kept
    left = _errors(errors - settled @ wrong[places], sizes - size[places])
    seen = _errors(errors, sizes) - left
    return np.column_stack([seen, settled @ hidden[places]]) / wrong.shape[1]


def _best(gains: np.ndarray, centred: np.ndarray) -> int:
    """Place of the greatest gain; of equal ones that nearest to the middle of its gap, then the first."""
    rounded = np.round(gains / max(np.abs(gains).max(), 1e-300), 9)
    return int(np.lexsort((-centred, -rounded))[0])


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
