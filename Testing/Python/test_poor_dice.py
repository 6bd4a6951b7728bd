"""Labels with a low expected Dice, and their warnings: one for each label, and one line for a case."""

from __future__ import annotations

import numpy as np
from fewshot_annotate.core.expected_dice import ExpectedDice
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap
from fewshot_annotate.guidance.poor_dice import PoorLabel, poor_labels
from fewshot_annotate.guidance.poor_dice_warning import poor_dice_warning

SLICES = list(range(1, 8))


def poor_labels_for(*dice: float) -> list[PoorLabel]:
    """Poor labels among labels 1 and 2, filled on slices 1 to 7; slice 5 is the least certain of label 2."""
    labels = np.zeros((9, 6, 6), dtype=np.uint8)
    labels[:, 1:3], labels[:, 4:] = 1, 2
    confidence = np.ones(labels.shape, dtype=np.float32)
    confidence[5, 4:] = 0.5
    support = Support.from_label_map(LabelMap(labels, Geometry(labels.shape)), SliceAxis(0), [0, 8])
    expected = [ExpectedDice(label, value, 0.0, 1.0) for label, value in enumerate(dice, start=1)]
    return poor_labels(support, expected, labels, confidence, SLICES)


def test_labels_below_the_limit_are_poor_and_the_slice_that_helps_them_is_named() -> None:
    assert poor_labels_for(0.9, 0.6) == [PoorLabel(2, 0.6, 5)]


def test_no_label_is_poor_at_the_limit() -> None:
    assert poor_labels_for(0.9, 0.7) == []


def test_a_label_that_is_not_in_the_support_is_ignored() -> None:
    assert poor_labels_for(0.9, 0.9, 0.2) == []


def test_a_label_that_is_on_no_slice_may_be_in_the_support() -> None:
    """As one of a task that is not painted: the model may find it nowhere."""
    labels = np.zeros((9, 6, 6), dtype=np.uint8)
    labels[:, 1:3] = 1
    confidence = np.ones(labels.shape, dtype=np.float32)
    confidence[5, 1:3] = 0.5
    support = Support(SliceAxis(0), (0, 8), labels[[0, 8]], (1, 2, 7), np.ones((2, 3), dtype=bool))
    assert poor_labels(support, [ExpectedDice(1, 0.5, 0.4, 0.6)], labels, confidence, SLICES) == [
        PoorLabel(1, 0.5, 5)
    ]


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


def test_one_line_warns_of_all_labels_of_a_case_the_worst_first() -> None:
    poor = [PoorLabel(1, 0.61, 4), PoorLabel(2, 0.4, 7), PoorLabel(5, 0.5, None)]
    assert str(poor_dice_warning(poor, {1: "Liver", 2: "Pancreas"})) == (
        "The expected Dice of 3 labels is low (Pancreas 0.40, 5 0.50, Liver 0.61): check every slice. "
        "Labelling slice 7 helps Pancreas most."
    )
    without_slice = str(poor_dice_warning([*poor[2:], PoorLabel(1, 0.6, None)], {}))
    assert without_slice == "The expected Dice of 2 labels is low (5 0.50, 1 0.60): check every slice."


def test_a_case_with_one_poor_label_has_its_usual_message_and_one_without_has_none() -> None:
    assert poor_dice_warning([PoorLabel(1, 0.61, 4)], {1: "Liver"}) == PoorLabel(1, 0.61, 4).message("Liver")
    assert poor_dice_warning([], {}) is None


def test_the_line_is_short_for_many_and_long_names() -> None:
    poor = [PoorLabel(value, value / 100, 3) for value in range(1, 61)]
    line = str(poor_dice_warning(poor, {value: f"{'vertebra ' * 30}{value}" for value in range(1, 61)}))
    assert line.startswith("The expected Dice of 60 labels is low (")
    assert ", ...): check" in line
    assert len(line) < 250
