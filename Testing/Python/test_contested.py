"""Where a run was uncertain: levels by probability, and the position to review on each slice."""

from __future__ import annotations

import numpy as np
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.host.fill.contested import ContestedVoxels


def test_levels_rise_as_probabilities_fall_and_certain_voxels_are_left_out() -> None:
    probability = np.array([[1.0, 0.9, 0.7, 0.3]])
    found = ContestedVoxels.of(SliceAxis(0), [4], lambda index: probability)
    assert found.first_voxel == (4, 0, 1)
    assert found.values().tolist() == [[[1, 2, 3]]]


def test_slices_that_were_reviewed_are_left_out() -> None:
    found = ContestedVoxels.of(SliceAxis(0), [4, 6], lambda index: np.full((1, 1), 0.5))
    assert found.values(reviewed=[6]).ravel().tolist() == [3, 0, 0]


def test_the_position_to_review_is_the_contested_voxel_nearest_to_the_centre() -> None:
    probability = np.ones((5, 5))
    probability[0, 1] = probability[4, 1] = probability[3, 1] = 0.5
    assert ContestedVoxels.of(SliceAxis(0), [2], lambda index: probability).middles == {2: (3, 1)}


def test_other_axes_give_voxels_of_the_grid() -> None:
    found = ContestedVoxels.of(SliceAxis(2), [7], lambda index: np.array([[1.0, 1.0], [1.0, 0.5]]))
    assert found.first_voxel == (1, 1, 7)
    assert found.values().shape == (1, 1, 1)


def test_a_certain_run_has_no_position_to_review() -> None:
    found = ContestedVoxels.of(SliceAxis(0), [1], lambda index: np.ones((2, 2)))
    assert not found.values().size
    assert found.middles == {}
