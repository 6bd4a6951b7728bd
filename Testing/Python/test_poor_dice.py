"""Labels with a low expected Dice, and what is said of them."""

from __future__ import annotations

import numpy as np
from fewshot_annotate.core.expected_dice import ExpectedDice
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap
from fewshot_annotate.guidance.poor_dice import PoorLabel, poor_labels

SLICES = list(range(1, 8))


def found(*dice: float) -> list[PoorLabel]:
    """Poor labels among labels 1 and 2, filled on slices 1 to 7; slice 5 is the least certain of label 2."""
    labels = np.zeros((9, 6, 6), dtype=np.uint8)
    labels[:, 1:3], labels[:, 4:] = 1, 2
    confidence = np.ones(labels.shape, dtype=np.float32)
    confidence[5, 4:] = 0.5
    support = Support.from_label_map(LabelMap(labels, Geometry(labels.shape)), SliceAxis(0), [0, 8])
    expected = [ExpectedDice(label, value, 0.0, 1.0) for label, value in enumerate(dice, start=1)]
    return poor_labels(support, expected, labels, confidence, SLICES)


def test_labels_below_the_limit_are_poor_and_the_slice_that_helps_them_is_named() -> None:
    assert found(0.9, 0.6) == [PoorLabel(2, 0.6, 5)]


def test_no_label_is_poor_at_the_limit() -> None:
    assert found(0.9, 0.7) == []


def test_a_label_that_is_no_label_of_the_support_is_passed_over() -> None:
    assert found(0.9, 0.9, 0.2) == []


def test_without_a_labelled_slice_the_least_certain_slice_of_the_label_is_named() -> None:
    labels = np.zeros((9, 6, 6), dtype=np.uint8)
    labels[3:6, 1:3] = 1
    confidence = np.ones(labels.shape, dtype=np.float32)
    confidence[4, 1:3] = 0.5
    confidence[7] = 0.1  # where the label is not
    support = Support(SliceAxis(0), (), np.zeros((0, 6, 6), dtype=np.uint8), (1, 2), np.zeros((0, 2), dtype=bool))
    expected = [ExpectedDice(label, 0.3, 0.1, 0.5) for label in support.labels]
    assert poor_labels(support, expected, labels, confidence, SLICES) == [
        PoorLabel(1, 0.3, 4),
        PoorLabel(2, 0.3, None),
    ]


def test_the_message_names_a_slice_only_where_there_is_one() -> None:
    assert str(PoorLabel(1, 0.61, 4).message("Liver")).endswith("only 0.61. Labelling slice 4 helps most.")
    assert str(PoorLabel(1, 0.61, None).message("Liver")).endswith("only 0.61.")
