"""Neighbours: which labelled slices speak about a slice, and what they say about where labels end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from .fusion import End

# A label that one slice alone shows with fewer pixels than this is the tip of something: an outline to carry is not
# known, so it is grown whatever growing has proved.
TIP = 30


def gaps(wanted: Sequence[int], labelled: Sequence[int]) -> list[list[int]]:
    """Slices in groups that lie between the same labelled slices."""
    return [list(group) for _, group in groupby(wanted, lambda index: int(np.searchsorted(labelled, index)))]


def between(wanted: Sequence[int], labelled: Sequence[int]) -> list[int]:
    """Slices between the outermost labelled ones."""
    return [index for index in wanted if labelled[0] < index < labelled[-1]]


def labelled_around(index: int, labelled: Sequence[int]) -> tuple[int, ...]:
    """The labelled slices that speak about a slice: itself, or those around it."""
    after = int(np.searchsorted(labelled, index))
    return (index,) if index in labelled else tuple(labelled[max(0, after - 1) : after + 1])


def distances(index: int, labelled: Sequence[int]) -> tuple[int | None, int | None]:
    """Slices to the labelled slices before and after; None where there is none."""
    before = max((other for other in labelled if other < index), default=None)
    after = min((other for other in labelled if other > index), default=None)
    return (None if before is None else index - before), (None if after is None else after - index)


def nearest_and_ends(labelled: Sequence[int], areas: np.ndarray, index: int, grows: bool) -> tuple[int, np.ndarray]:
    """Slices to the nearest labelled slice, and the `End` of each label; `areas` as in `Pool`."""
    after = int(np.searchsorted(labelled, index))
    rows = [row for row in (after - 1, after) if 0 <= row < len(labelled)]
    shown = areas > 0
    ends = np.where(shown[rows[0]] ^ shown[rows[-1]], End.BETWEEN, End.SEEN)
    lone = (shown.sum(axis=0) == 1) & (grows | (areas.sum(axis=0) < TIP))
    ends[(ends == End.BETWEEN) & lone] = End.LONE
    return min(abs(index - labelled[row]) for row in rows), ends


def spread(values: Sequence[int], count: int) -> list[int]:
    """At most `count` of the values, evenly spread."""
    if len(values) <= count:
        return list(values)
    return [values[round(place)] for place in np.linspace(0, len(values) - 1, count)]
