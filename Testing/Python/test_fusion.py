"""Fusion weights of candidates: real held-out slices, and candidates that are displaced on them or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.engines.adapt.config import AdaptConfig, FusionConfig
from fewshot_annotate.engines.adapt.fusion import (
    FusionWeights,
    HeldOutCandidates,
    LabelExtent,
    WeightingCounts,
    choose_weights,
    default_weights,
)
from fewshot_annotate.engines.adapt.neighbours import nearest_and_extents
from support.labels import small_case

CONFIG = AdaptConfig().fusion
DEFAULT_WEIGHTS = np.array(CONFIG.default_weights)
MUCH_NETWORK = replace(CONFIG, default_weights=(1.0, 0.1, 0.1, 1.0))
PROPAGATION, GROWING, NETWORK = 0, 1, 3


def slices_with_all_labels(count: int) -> tuple[np.ndarray, int]:
    """Label indices `[count, h, w]` of slices of a real case that show all labels, and the number of labels."""
    _, label_map = small_case()
    slices = SliceAxis(0).slices(label_map.array)
    values, truths = np.unique(slices, return_inverse=True)
    truths = truths.reshape(slices.shape)
    complete = [index for index, truth in enumerate(truths) if len(np.unique(truth)) == len(values)]
    middle = len(complete) // 2
    return truths[complete[middle - count // 2 :][:count]], len(values) - 1


def shifted_log_probs(truth: np.ndarray, labels: int, shift: int) -> np.ndarray:
    """Log-probabilities of a candidate that is displaced by `shift` pixels."""
    moved = np.roll(truth, shift, axis=1)
    log_probs = np.full((labels + 1, *truth.shape), np.log(0.1), dtype=np.float16)
    np.put_along_axis(log_probs, moved[None], np.float16(np.log(0.8)), axis=0)
    return log_probs


def held_out(
    truth: np.ndarray, labels: int, shifts: list[int], distance: int = 6, extent: LabelExtent = LabelExtent.CONTINUES
) -> HeldOutCandidates:
    log_probs = np.stack([shifted_log_probs(truth, labels, shift) for shift in shifts])
    return HeldOutCandidates(
        log_probs=log_probs,
        truth=truth,
        distances=(distance, distance),
        extents=np.full(labels, extent),
        copied=truth,
        showing_neighbours=np.full(labels, 2),
        annotated=np.ones(labels, dtype=bool),
    )


def chosen(shifts: list[int], count: int = 5, config: FusionConfig = CONFIG) -> tuple[FusionWeights, int]:
    truths, labels = slices_with_all_labels(count)
    counts_per_slice = [WeightingCounts.of(held_out(truth, labels, shifts), config) for truth in truths]
    return choose_weights(counts_per_slice, len(shifts), labels, config), labels


def test_a_candidate_that_is_right_on_held_out_slices_has_more_weight() -> None:
    weights, _ = chosen([4, 0, 4, 4])
    assert (weights.far[GROWING] > 2 * DEFAULT_WEIGHTS[GROWING]).all()
    assert (weights.far[NETWORK] < DEFAULT_WEIGHTS[NETWORK]).all()


def test_a_network_that_is_wrong_on_held_out_slices_has_less_weight() -> None:
    weights, _ = chosen([0, 4, 4, 4], config=MUCH_NETWORK)
    assert (weights.far[NETWORK] < 0.5 * MUCH_NETWORK.default_weights[NETWORK]).all()


def test_labels_that_were_not_painted_on_a_held_out_slice_are_not_judged_by_it() -> None:
    truths, labels = slices_with_all_labels(1)
    slice_held_out = held_out(truths[0], labels, [0, 4, 4, 4])
    all_judged = WeightingCounts.of(slice_held_out, CONFIG)
    second_judged = WeightingCounts.of(replace(slice_held_out, annotated=np.arange(labels) == 1), CONFIG)
    for name in ("correct", "sizes", "shown"):
        every, second = getattr(all_judged, name), getattr(second_judged, name)
        assert every[..., 0].all()
        assert not second[..., np.arange(labels) != 1].any()
        np.testing.assert_array_equal(second[..., 1], every[..., 1])


def test_equally_good_candidates_keep_the_default_weights() -> None:
    weights, labels = chosen([1, 1, 1, 1])
    np.testing.assert_array_equal(weights.far, default_weights(4, labels, CONFIG).far)


def test_without_held_out_slices_the_default_weights_are_kept() -> None:
    np.testing.assert_array_equal(choose_weights([], 4, 3, CONFIG).far, default_weights(4, 3, CONFIG).far)


def test_a_label_on_no_held_out_slice_has_the_weights_of_all_labels() -> None:
    truths, labels = slices_with_all_labels(5)
    without_last_label = [np.where(truth == labels, 0, truth) for truth in truths]
    weights = choose_weights(
        [WeightingCounts.of(held_out(truth, labels, [4, 0, 4, 4]), CONFIG) for truth in without_last_label],
        4,
        labels,
        CONFIG,
    )
    assert weights.far[GROWING, -1] > 2 * DEFAULT_WEIGHTS[GROWING]


def test_a_small_gain_changes_weights_less_than_a_large_one() -> None:
    small, large = (chosen([shift, 0, shift, shift])[0].far[GROWING] for shift in (1, 4))
    assert (DEFAULT_WEIGHTS[GROWING] < small).all()
    assert (small < large).all()


def test_next_to_a_labelled_slice_weights_are_closer_to_the_defaults() -> None:
    truths, labels = slices_with_all_labels(1)
    log_probs = np.stack([shifted_log_probs(truths[0], labels, shift) for shift in (3, 0, 0, 0)])
    near = default_weights(4, labels, CONFIG).near
    far = near.copy()
    far[PROPAGATION] = 0
    weights = FusionWeights(near, far, 8.0, CONFIG)
    default = default_weights(4, labels, CONFIG).fuse(log_probs, 1)
    differences = [float(np.abs(weights.fuse(log_probs, nearest) - default).max()) for nearest in (1, 4, 8, 20)]
    assert differences[0] < differences[1] < differences[2] == pytest.approx(differences[3])


def test_a_network_that_is_worse_on_held_out_slices_is_not_trusted_more_next_to_labelled_ones() -> None:
    worse, better = chosen([0, 4, 4, 4], config=MUCH_NETWORK)[0], chosen([4, 4, 4, 0])[0]
    assert (worse.near[NETWORK] < MUCH_NETWORK.default_weights[NETWORK]).all()
    np.testing.assert_array_equal(worse.near[NETWORK], worse.far[NETWORK])
    assert (better.near[NETWORK] < better.far[NETWORK]).all(), "propagation is more accurate there"


def test_where_a_label_ends_region_growing_has_more_weight_than_propagation() -> None:
    truths, labels = slices_with_all_labels(1)
    log_probs = np.stack([shifted_log_probs(truths[0], labels, shift) for shift in (6, 0, 6)])
    extents = np.full(labels, LabelExtent.SINGLE_SLICE)
    fused = default_weights(3, labels, CONFIG).fuse(log_probs, 3, extents)
    np.testing.assert_array_equal(fused.argmax(axis=0), truths[0])
    assert (default_weights(3, labels, CONFIG).fuse(log_probs, 3).argmax(axis=0) != truths[0]).any()


def test_fusion_keeps_background_logits_at_zero_and_equal_candidates_unchanged() -> None:
    truths, labels = slices_with_all_labels(1)
    fused = default_weights(4, labels, CONFIG).fuse(np.stack([shifted_log_probs(truths[0], labels, 0)] * 4), 3)
    assert not fused[0].any()
    np.testing.assert_array_equal(fused.argmax(axis=0), truths[0])


def extents(index: int, growing_is_reliable: bool) -> list[LabelExtent]:
    """Extents of four labels around a slice, from their pixels on the labelled slices 0, 8 and 16."""
    areas = np.array([[200, 200, 200, 10], [200, 0, 0, 0], [200, 200, 0, 0]])
    nearest, found = nearest_and_extents((0, 8, 16), areas, index, growing_is_reliable, tip_pixels=30)
    assert nearest == 3
    return [LabelExtent(value) for value in found]


def test_the_extent_of_a_label_follows_from_the_labelled_slices_that_show_it() -> None:
    continues, ends, single = LabelExtent
    assert extents(3, True) == [continues, ends, single, single]
    assert extents(13, True) == [continues, ends, continues, continues]


def test_a_label_on_a_single_slice_is_only_grown_alone_if_it_is_a_tip_or_growing_is_reliable() -> None:
    continues, ends, single = LabelExtent
    assert extents(3, False) == [continues, ends, ends, single]


def test_beyond_the_outermost_labelled_slices_no_label_ends() -> None:
    assert set(extents(19, True)) == {LabelExtent.CONTINUES}
