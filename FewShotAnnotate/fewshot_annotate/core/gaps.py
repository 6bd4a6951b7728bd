"""Neighbours of slices among the labelled ones, and the gaps between labelled slices."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple


class SliceGap(NamedTuple):
    """Slices between two neighbouring labelled slices, or beyond the first or last one.

    Attributes
    ----------
    before, after : int or None
        Support indices of the labelled slices on both sides, None where there is none.
    slices : list of int, ascending
    """

    before: int | None
    after: int | None
    slices: list[int]

    @property
    def sides(self) -> tuple[int, ...]:
        """Support indices of the labelled slices that there are."""
        return tuple(side for side in (self.before, self.after) if side is not None)


def gaps(slices: Iterable[int], labelled: Sequence[int]) -> Iterator[SliceGap]:
    """Group slices by the gap they lie in, in ascending order; labelled slices are left out.

    Parameters
    ----------
    slices : iterable of int
    labelled : sequence of int, ascending
    """
    labelled_set = set(labelled)
    unlabelled = sorted(index for index in slices if index not in labelled_set)
    for after, group in groupby(unlabelled, lambda index: bisect_left(labelled, index)):
        yield SliceGap(after - 1 if after > 0 else None, after if after < len(labelled) else None, list(group))


def neighbours(index: int, labelled: Sequence[int]) -> tuple[int | None, int | None]:
    """Support indices of the labelled slices before and after a slice, None where there is none.

    Parameters
    ----------
    index : int
        Slice index; if it is labelled, it is not its own neighbour.
    labelled : sequence of int, ascending
    """
    before, after = bisect_left(labelled, index) - 1, bisect_right(labelled, index)
    return before if before >= 0 else None, after if after < len(labelled) else None


def neighbour_distances(index: int, labelled: Sequence[int]) -> tuple[int | None, int | None]:
    """Number of slices from a slice to the labelled slices before and after it, None where there is none."""
    before, after = neighbours(index, labelled)
    return None if before is None else index - labelled[before], None if after is None else labelled[after] - index


def support_indices_around(index: int, labelled: Sequence[int]) -> tuple[int, ...]:
    """Support indices of the neighbouring labelled slices that there are, in ascending order."""
    return tuple(side for side in neighbours(index, labelled) if side is not None)
