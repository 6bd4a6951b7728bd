"""Correction of a slice by the slices next to it: a real volume with simulated errors."""

from __future__ import annotations

import numpy as np
from fewshot_annotate.core.dice import dice
from fewshot_annotate.engines.adapt.config import AdaptConfig
from fewshot_annotate.engines.adapt.through_plane import ThroughPlaneSmoother, labelled_logits
from support.labels import small_case

CERTAIN_LOG_ODDS = 2.0


def part_of_a_case() -> tuple[np.ndarray, np.ndarray, int]:
    """Image 0..1 and label indices, both `[n, h, w]`, of slices that all show labels, and the number of labels."""
    volume, label_map = small_case()
    middle = len(volume.array) // 2
    part = slice(middle - 5, middle + 6)
    image, labels = volume.array[part].astype(np.float32), label_map.array[part]
    values = np.unique(labels)
    return (image - image.min()) / np.ptp(image), np.searchsorted(values, labels), len(values) - 1


def mean_dice(truth: np.ndarray, logits: np.ndarray) -> float:
    return float(
        np.mean([dice(truth, logits.argmax(axis=0), label_index) for label_index in range(1, truth.max() + 1)])
    )


def smoothed_slices(
    image: np.ndarray, truth: np.ndarray, logits: dict[int, np.ndarray], labelled: tuple[int, ...] = ()
) -> dict[int, np.ndarray]:
    smoother = ThroughPlaneSmoother(
        (lambda index: image[index][None]), truth.__getitem__, labelled, AdaptConfig().through_plane
    )
    smoothed = [pair for index, slice_logits in logits.items() for pair in smoother.add(index, slice_logits)]
    return dict([*smoothed, *smoother.finish()])


def certain(truth: np.ndarray, labels: int) -> dict[int, np.ndarray]:
    return {
        index: labelled_logits(label_indices, labels + 1, CERTAIN_LOG_ODDS)
        for index, label_indices in enumerate(truth)
    }


def test_an_uncertain_slice_is_corrected_by_its_neighbours() -> None:
    image, truth, labels = part_of_a_case()
    logits = certain(truth, labels)
    logits[5] = np.where(np.roll(truth[5], 3, axis=0) == np.arange(labels + 1)[:, None, None], 0.4, -0.4)
    logits[5][0] = 0
    before = mean_dice(truth[5], logits[5])
    assert mean_dice(truth[5], smoothed_slices(image, truth, logits)[5]) > before + 0.05


def test_a_neighbouring_labelled_slice_is_used_too() -> None:
    image, truth, labels = part_of_a_case()
    alone = {5: labelled_logits(np.zeros_like(truth[5]), labels + 1, 0.01)}
    alone[5][1:] = -0.01
    smoothed = smoothed_slices(image, truth, alone, labelled=(4, 6))
    assert mean_dice(truth[5], smoothed[5]) > 0.4
    assert mean_dice(truth[5], alone[5]) == 0


def test_neighbours_that_are_neither_labelled_nor_filled_are_ignored() -> None:
    image, truth, labels = part_of_a_case()
    every_other = {index: one for index, one in certain(truth, labels).items() if index % 2}
    for index, logits in smoothed_slices(image, truth, every_other).items():
        np.testing.assert_array_equal(logits, every_other[index])


def test_slices_come_back_in_order_with_the_background_at_zero() -> None:
    image, truth, labels = part_of_a_case()
    result = smoothed_slices(image, truth, certain(truth, labels))
    assert list(result) == list(range(len(truth)))
    assert not any(logits[0].any() for logits in result.values())


def test_certain_correct_slices_are_unchanged() -> None:
    image, truth, labels = part_of_a_case()
    result = smoothed_slices(image, truth, certain(truth, labels))
    filled = np.stack([logits.argmax(axis=0) for logits in result.values()])
    assert min(dice(truth, filled, label_index) for label_index in range(1, labels + 1)) > 0.97
