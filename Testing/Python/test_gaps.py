"""Neighbours of slices among the labelled ones, and the gaps between them."""

from __future__ import annotations

import numpy as np
from fewshot_annotate.core.gaps import SliceGap, gaps, neighbours, support_indices_around
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from hypothesis import given
from hypothesis import strategies as st

LABELLED = (2, 5, 6, 9)
labelled_slices = st.sets(st.integers(0, 20)).map(lambda slices: tuple(sorted(slices)))


def test_slices_are_grouped_by_gap() -> None:
    assert list(gaps([8, 0, 3, 1, 4, 6, 12, 7], LABELLED)) == [
        SliceGap(None, 0, [0, 1]),
        SliceGap(0, 1, [3, 4]),
        SliceGap(2, 3, [7, 8]),
        SliceGap(3, None, [12]),
    ]


def test_the_sides_of_a_gap_are_its_labelled_neighbours() -> None:
    assert [gap.sides for gap in gaps([0, 3, 12], LABELLED)] == [(0,), (0, 1), (3,)]
    assert [gap.sides for gap in gaps([0, 3], ())] == [()]


def test_neighbours_are_the_labelled_slices_before_and_after() -> None:
    assert [neighbours(index, LABELLED) for index in (0, 3, 7, 12)] == [(None, 0), (0, 1), (2, 3), (3, None)]
    assert neighbours(5, LABELLED) == (0, 2), "a labelled slice is not its own neighbour"
    assert neighbours(9, (9,)) == (None, None)


@given(st.sets(st.integers(0, 20)), labelled_slices)
def test_every_unlabelled_slice_is_in_one_gap_between_its_neighbours(
    slices: set[int], labelled: tuple[int, ...]
) -> None:
    found = list(gaps(slices, labelled))
    assert [index for gap in found for index in gap.slices] == sorted(slices - set(labelled))
    for gap in found:
        for index in gap.slices:
            assert (gap.before, gap.after) == neighbours(index, labelled)
            before = [number for number, other in enumerate(labelled) if other < index]
            after = [number for number, other in enumerate(labelled) if other > index]
            assert support_indices_around(index, labelled) == (*before[-1:], *after[:1])


def test_a_label_is_looked_up_on_the_nearest_slices_on_which_it_is_annotated() -> None:
    annotated = np.array([[True, True], [False, True], [True, False], [True, True]])
    support = Support(SliceAxis(0), LABELLED, np.ones((4, 2, 2), dtype=np.uint8), (1, 2), annotated)
    assert support.around(5) == (0, 2)
    assert [support.annotated_around(4, label) for label in (0, 1)] == [(0, 2), (0, 1)]
    assert [support.annotated_around(7, label) for label in (0, 1)] == [(2, 3), (1, 3)]
    assert [support.annotated_around(0, label) for label in (0, 1)] == [(0,), (0,)]
    assert [gap.slices for gap in support.gaps(range(11))] == [[0, 1], [3, 4], [7, 8], [10]]
