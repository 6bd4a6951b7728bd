"""Suggestion of slices to label next, by the expected gain in mean Dice on the remaining slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import Message
from ..core.gaps import gaps, neighbours
from ..core.text import all_of
from .uncertainty import Uncertainty

# Expected error that is not visible in predictions, as a fraction of the visible one; favours evenly spaced slices.
UNSEEN_ERROR_FRACTION = 0.3
# Its minimum, so that the widest gap comes first where predictions show no expected error.
MIN_UNSEEN_ERROR = 1e-6
# Maximum number of labels that a reason names, and their minimum gain relative to the first one.
MAX_NAMED_LABELS = 3
MIN_NAMED_GAIN_RATIO = 0.5


@dataclass(frozen=True)
class Suggestion:
    """A slice to label, with the expected gain and the reason.

    Attributes
    ----------
    index : int
    gain : float
        Expected gain in mean Dice on the remaining slices, 0..1, given that the earlier suggestions are labelled.
    reason : Message
        Reason for the user.
    labels : tuple of int
        Positions in `Uncertainty.names` of the labels with the largest gain, in descending order; empty if the gain
        comes from labels that are on no labelled slice yet.
    """

    index: int
    gain: float
    reason: Message
    labels: tuple[int, ...]


def suggest(uncertainty: Uncertainty, count: int) -> list[Suggestion]:
    """Slices to label next, in descending order of gain, each given that the earlier ones are labelled.

    Labelling a slice removes its expected errors and brings other slices nearer to a labelled one. The expected
    errors of a slice are modelled as proportional to x * y / (x + y), where x and y are its distances to the labelled
    slices before and after it.

    Parameters
    ----------
    uncertainty : Uncertainty
        Its unlabelled slices are the candidates; the gain is in their mean Dice.
    count : int
        Maximum number of suggestions.
    """
    selection, suggestions = _GreedySelection(uncertainty), []
    for _ in range(min(count, len(uncertainty.unlabelled))):
        gains = selection.gains()
        best = selection.best(gains.sum(axis=1))
        suggestions.append(_suggestion(uncertainty, int(selection.unlabelled[best]), gains[best]))
        selection.add_labelled(best)
    return suggestions


class _GreedySelection:
    """Expected errors of the unlabelled slices during a greedy selection.

    Arrays have one row per slice of `unlabelled`; positions are indices of rows.
    """

    def __init__(self, uncertainty: Uncertainty) -> None:
        self.labelled = list(uncertainty.labelled)
        self.unlabelled = np.array(uncertainty.unlabelled, dtype=int)
        self._expected_errors = uncertainty.expected_errors
        self._expected_sizes = uncertainty.expected_sizes
        self._unseen = _unseen(uncertainty)

    def gains(self) -> np.ndarray:
        """Gain in mean Dice by labelling each slice, per label and, last, for unseen labels: float64 [n, L + 1]."""
        count, labels = self._expected_errors.shape
        errors, sizes = self._expected_errors.sum(axis=0), self._expected_sizes.sum(axis=0)
        result = np.empty((count, labels + 1))
        for before, after, positions in _gaps(self.unlabelled, self.labelled):
            resolved = 1 - _remaining_fraction(self.unlabelled[positions], before, after)
            errors_after = errors - resolved @ self._expected_errors[positions]
            error_after = _one_minus_dice(errors_after, sizes - self._expected_sizes[positions])
            result[positions, :-1] = _one_minus_dice(errors, sizes) - error_after
            result[positions, -1] = resolved @ self._unseen[positions]
        mean: np.ndarray = result / labels
        return mean

    def best(self, gains: np.ndarray) -> int:
        """Position of the largest gain; ties go to the slice nearest to the middle of its gap, then to the first."""
        off_centre = np.zeros(len(gains))
        for before, after, positions in _gaps(self.unlabelled, self.labelled):
            if before is not None and after is not None:
                off_centre[positions] = np.abs(2 * self.unlabelled[positions] - before - after)
        rounded = np.round(gains / max(np.abs(gains).max(), 1e-300), 9)
        return int(np.lexsort((off_centre, -rounded))[0])

    def add_labelled(self, position: int) -> None:
        """Update the expected errors as if a slice had been labelled."""
        remaining = np.ones(len(self.unlabelled))
        for before, after, positions in _gaps(self.unlabelled, self.labelled):
            if position in positions:
                fractions = _remaining_fraction(self.unlabelled[positions], before, after)
                remaining[positions] = fractions[positions == position][0]
        self.labelled = sorted([*self.labelled, int(self.unlabelled[position])])
        self.unlabelled = np.delete(self.unlabelled, position)
        self._expected_errors = np.delete(self._expected_errors * remaining[:, None], position, axis=0)
        self._expected_sizes = np.delete(self._expected_sizes, position, axis=0)
        self._unseen = np.delete(self._unseen * remaining, position)


def _unseen(uncertainty: Uncertainty) -> np.ndarray:
    """Expected errors that are not visible in predictions, as a sum over labels of 1 - Dice: float64 [n].

    The number of labels on no labelled slice is estimated from the numbers of labels on exactly one and exactly two
    of them (Chao, Scandinavian Journal of Statistics 11, 1984), and limited to the number of labels on exactly one.
    They are assumed more likely far from labelled slices, but not beyond an outermost labelled slice that is empty.
    """
    times = uncertainty.present.sum(axis=0)
    on_one_slice, on_two_slices = np.count_nonzero(times == 1), np.count_nonzero(times == 2)
    unseen = min(on_one_slice * (on_one_slice - 1) / (2 * (on_two_slices + 1)), on_one_slice)
    seen = _one_minus_dice(uncertainty.expected_errors.sum(axis=0), uncertainty.expected_sizes.sum(axis=0)).sum()
    distance = np.zeros(len(uncertainty.unlabelled))
    slices = np.array(uncertainty.unlabelled, dtype=int)
    for before, after, positions in _gaps(slices, uncertainty.labelled):
        present = uncertainty.present
        nearest = present[0] if before is None else present[-1] if after is None else True
        if np.any(nearest):
            distance[positions] = _distance(slices[positions], before, after)
    errors: np.ndarray = (
        distance / max(distance.sum(), 1e-300) * max(unseen + UNSEEN_ERROR_FRACTION * seen, MIN_UNSEEN_ERROR)
    )
    return errors


def _one_minus_dice(expected_errors: np.ndarray, size: np.ndarray) -> np.ndarray:
    """1 - Dice, with sizes below one voxel taken as one voxel."""
    error: np.ndarray = np.clip(expected_errors / np.maximum(size, 1), 0, 1)
    return error


def _gaps(slices: np.ndarray, labelled: Sequence[int]) -> Iterator[tuple[int | None, int | None, np.ndarray]]:
    """Labelled slices before and after each gap, or None at the ends, and the positions in `slices` within it."""
    for gap in gaps(slices.tolist(), labelled):
        before, after = (None if side is None else labelled[side] for side in (gap.before, gap.after))
        yield before, after, np.flatnonzero(np.isin(slices, gap.slices))


def _distance(slices: np.ndarray, before: np.ndarray | int | None, after: np.ndarray | int | None) -> np.ndarray:
    """Distance of slices from the labelled slices before and after them; None where there is none."""
    if before is None:
        assert after is not None
        return np.asarray(after - slices, dtype=float)
    if after is None:
        return np.asarray(slices - before, dtype=float)
    distance: np.ndarray = (slices - before) * (after - slices) / (after - before)
    return distance


def _remaining_fraction(slices: np.ndarray, before: int | None, after: int | None) -> np.ndarray:
    """Fraction of the expected errors of each slice (column) that remains once another one (row) is labelled."""
    chosen, other = slices[:, None], slices[None, :]
    nearer = np.where(other < chosen, _distance(other, before, chosen), _distance(other, chosen, after))
    np.fill_diagonal(nearer, 0)
    fraction: np.ndarray = nearer / _distance(other, before, after)
    return fraction


def _suggestion(uncertainty: Uncertainty, index: int, gains: np.ndarray) -> Suggestion:
    """Suggestion of a slice, with the reason for its gain per label."""
    seen, unseen = gains[:-1], gains[-1]
    before, after = neighbours(index, uncertainty.labelled)
    support_indices = [support_index for support_index in (before, after) if support_index is not None]
    around = [uncertainty.labelled[support_index] for support_index in support_indices]
    ends = uncertainty.present[support_indices[0]] != uncertainty.present[support_indices[-1]]
    if len(support_indices) == 1:
        named = _labels_to_name(np.where(uncertainty.present[support_indices[0]], seen, 0), ends)
    else:
        named = _labels_to_name(seen if unseen <= seen.clip(min=0).sum() else 0 * seen, ends)
    names = all_of([uncertainty.names[position] for position in named])
    if len(support_indices) == 1:
        reason = _reason_at_an_end(around[0], before is not None, len(uncertainty.labelled) == 1, names, len(named))
    else:
        reason = _reason_in_a_gap(around[0], around[1], names, len(named), bool(named) and bool(ends[named[0]]))
    return Suggestion(index, float(np.clip(gains.sum(), 0, 1)), reason, named)


def _labels_to_name(gains: np.ndarray, ends: np.ndarray) -> tuple[int, ...]:
    """Labels with the largest gain; either all of them or none begin or end next to the slice."""
    order = np.argsort(-gains, kind="stable")
    first = order[0]
    if gains[first] <= 0:
        return ()
    worth = [int(position) for position in order if gains[position] >= MIN_NAMED_GAIN_RATIO * gains[first]]
    return tuple(position for position in worth if ends[position] == ends[first])[:MAX_NAMED_LABELS]


def _reason_at_an_end(labelled: int, after: bool, only: bool, names: Message | str, count: int) -> Message:
    """Reason for a slice before or after all labelled ones, of which `labelled` is the nearest."""
    if count == 0:
        return Message("suggest_unseen_after" if after else "suggest_unseen_before", labelled=labelled)
    if count == 1:
        if only:
            return Message("suggest_label_reaches_only", names=names, labelled=labelled)
        return Message(
            "suggest_label_reaches_last" if after else "suggest_label_reaches_first", names=names, labelled=labelled
        )
    if only:
        return Message("suggest_labels_reach_only", names=names, labelled=labelled)
    return Message(
        "suggest_labels_reach_last" if after else "suggest_labels_reach_first", names=names, labelled=labelled
    )


def _reason_in_a_gap(first: int, last: int, names: Message | str, count: int, ends: bool) -> Message:
    """Reason for a slice between two labelled ones; `ends` if the labels are on one of these only."""
    if count == 0:
        return Message("suggest_unseen_between", first=first, last=last)
    if ends:
        return Message(
            "suggest_label_ends" if count == 1 else "suggest_labels_end", first=first, last=last, names=names
        )
    return Message(
        "suggest_label_uncertain" if count == 1 else "suggest_labels_uncertain", first=first, last=last, names=names
    )
