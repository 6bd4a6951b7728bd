"""Confidence of a slice, from the probability of each pixel's label."""

from __future__ import annotations

import numpy as np
import pytest
from fewshot_annotate.guidance.confidence import mean_label_area, slice_confidence


def test_confidence_of_a_slice_is_the_same_from_bytes_and_from_probabilities() -> None:
    labels = np.zeros((8, 8), dtype=np.uint16)
    labels[2:6, 2:6] = 3
    confidence = np.linspace(0.5, 1, 64, dtype=np.float32).reshape(8, 8)
    stored = np.round(255 * confidence).astype(np.uint8)
    assert slice_confidence(labels, stored) == pytest.approx(slice_confidence(labels, confidence), abs=0.01)


def test_a_certainly_empty_slice_has_a_high_confidence_and_a_possibly_empty_one_a_low_one() -> None:
    nothing = np.zeros((8, 8), dtype=np.uint8)
    assert slice_confidence(nothing, np.full((8, 8), 255, dtype=np.uint8)) == 1
    assert slice_confidence(nothing, np.full((8, 8), 150, dtype=np.uint8)) == 0


def test_a_few_uncertain_pixels_beyond_the_end_of_a_structure_do_not_come_before_a_poor_slice() -> None:
    end, poor = np.zeros((2, 64, 64), dtype=np.uint8)
    poor[10:50, 10:50] = 1
    area = mean_label_area([poor, end])
    assert area == 1600
    speck, doubtful = np.ones((2, 64, 64))
    speck[30:33, 30:33] = 0.7
    doubtful[poor == 1] = 0.6
    assert slice_confidence(poor, doubtful, area) < 0.9 < slice_confidence(end, speck, area) < 1
    whole = np.where(poor == 1, 0.55, 1.0)
    assert slice_confidence(end, whole, area) < slice_confidence(end, speck, area)


def test_the_mean_area_is_of_the_labels_on_the_slices_that_show_any() -> None:
    slices = np.zeros((3, 8, 8), dtype=np.uint16)
    slices[0, :2], slices[0, 4:], slices[2, 0] = 1, 2, 300
    assert mean_label_area(slices) == (24 + 8) / 2
    assert mean_label_area(slices[1:2]) == 0


def test_a_small_uncertain_label_counts_as_much_as_a_large_one() -> None:
    labels = np.zeros((32, 32), dtype=np.uint8)
    labels[:, :16], labels[:3, 20:23] = 1, 2
    certain = np.ones(labels.shape)
    uncertain = np.where(labels == 2, 0.5, certain)
    assert slice_confidence(labels, certain) - slice_confidence(labels, uncertain) == pytest.approx(
        0.5 * 0.5 * 9 / 12
    )


def test_a_possibly_missed_structure_lowers_the_confidence() -> None:
    labels = np.zeros((32, 32), dtype=np.uint8)
    labels[:16, :16] = 1
    missed = np.ones(labels.shape)
    missed[17:] = 0.55
    assert slice_confidence(labels, missed) < slice_confidence(labels, np.ones(labels.shape)) - 0.05
