"""Dice and bounding boxes of small arrays that can be counted by eye."""

from __future__ import annotations

import numpy as np
import pytest
from fewshot_annotate.core.bounding_box import bounding_box
from fewshot_annotate.core.dice import dice, dice_of_labels, dice_of_masks

TRUTH = np.array([[0, 1, 1, 2], [0, 1, 1, 0]])
RESULT = np.array([[0, 1, 1, 0], [1, 1, 0, 0]])


def test_dice_is_twice_the_overlap_by_the_sum_of_both_sizes() -> None:
    """Label 1 has four pixels in both arrays, of which three coincide; label 2 is in one array, label 3 in none."""
    assert dice(TRUTH, RESULT, 1) == 2 * 3 / (4 + 4)
    assert dice(TRUTH, RESULT, 2) == 0.0
    assert np.isnan(dice(TRUTH, RESULT, 3))
    assert np.array_equal(dice_of_labels(TRUTH, RESULT, 3), [0.75, 0.0, np.nan], equal_nan=True)
    assert dice_of_masks(TRUTH == 2, TRUTH == 2) == 1.0


def test_dice_of_all_labels_is_that_of_each_one() -> None:
    random = np.random.default_rng(0)
    truth, result = random.integers(0, 6, (2, 5, 9, 7)).astype(np.uint8)
    assert dice_of_labels(truth, result, 5).tolist() == [dice(truth, result, label) for label in range(1, 6)]
    assert dice_of_labels(truth, result, 2).tolist() == [dice(truth, result, label) for label in (1, 2)]


@pytest.mark.parametrize(
    ("margin", "rows", "columns"),
    [
        (0, slice(1, 3), slice(2, 4)),
        (1, slice(0, 4), slice(1, 5)),
        (2, slice(0, 4), slice(0, 6)),  # as far as the array extends
        ([0, 1], slice(1, 3), slice(1, 5)),
    ],
)
def test_a_bounding_box_has_a_margin_within_the_array(margin: int | list[int], rows: slice, columns: slice) -> None:
    mask = np.array(
        [
            [0, 0, 0, 0, 0, 0],
            [0, 0, 0, 1, 0, 0],
            [0, 0, 1, 0, 0, 0],
            [0, 0, 0, 0, 0, 0],
        ],
        dtype=bool,
    )
    assert bounding_box(mask, margin) == (rows, columns)
    assert bounding_box(np.zeros_like(mask), margin) is None
    assert bounding_box(np.stack([mask, mask]), 0) == (slice(0, 2), slice(1, 3), slice(2, 4))
