"""`propagate` where simpler methods than optical flow are better, and its expected Dice."""

from __future__ import annotations

import numpy as np
import pytest
from fewshot_annotate.core.expected_dice import ExpectedDice
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.base import label_slice
from fewshot_annotate.engines.propagate.engine import Propagate
from fewshot_annotate.engines.propagate.flow_propagation import FlowPropagation
from fewshot_annotate.engines.propagate.mixing import COPY, FLOW, GROWING, MIXTURES, HeldOutCounts, MixtureChoice, mix
from fewshot_annotate.engines.small_components import remove_small_components
from support.data import load_case
from support.speckle import walls_in_speckle

AXIS = SliceAxis(0)
SPACING = 5


def every_nth(labels: np.ndarray, spacing: int) -> Support:
    return Support.from_label_map(LabelMap(labels, Geometry(labels.shape)), AXIS, range(0, len(labels), spacing))


def mean_dice(truth: np.ndarray, result: np.ndarray) -> float:
    values = np.unique(truth[truth > 0])
    both = [np.sum((truth == value) & (result == value)) for value in values]
    sizes = [np.sum(truth == value) + np.sum(result == value) for value in values]
    return float(np.mean(2 * np.array(both) / np.array(sizes)))


def filled(volume: Volume, support: Support) -> tuple[np.ndarray, tuple[ExpectedDice, ...]]:
    """Labels of the slices between the labelled ones, and the expected Dice."""
    engine = Propagate()
    engine.prepare(volume, support)
    found = dict(engine.predict(support.unlabelled(support.labelled_range())))
    result = np.stack([label_slice(found[index], support.labels)[0] for index in sorted(found)])
    return result, engine.expected_dice()


def test_thin_walls_in_speckle_are_as_good_as_the_nearest_copy() -> None:
    volume, label_map = walls_in_speckle()
    support = every_nth(label_map.array, SPACING)
    between = support.unlabelled(support.labelled_range())
    truth = label_map.array[between]
    nearest = np.abs(np.array(support.indices)[:, None] - np.array(between)).argmin(axis=0)
    copied = mean_dice(truth, support.masks[nearest])
    flow = dict(FlowPropagation(volume, support).predict(between))
    propagated = mean_dice(truth, np.stack([label_slice(flow[index], support.labels)[0] for index in between]))
    result, _ = filled(volume, support)
    assert copied > propagated + 0.1  # optical flow fails on this case
    assert mean_dice(truth, result) > copied - 0.01


def test_the_expected_dice_of_thin_walls_in_speckle_is_near_the_true_one() -> None:
    volume, label_map = walls_in_speckle()
    support = every_nth(label_map.array, SPACING)
    result, expected = filled(volume, support)
    truth = label_map.array[support.unlabelled(support.labelled_range())]
    for one in expected:
        own, true = result == one.label, truth == one.label
        assert one.dice == pytest.approx(2 * np.sum(own & true) / (own.sum() + true.sum()), abs=0.08)


@pytest.mark.parametrize("case", ["ct_vertebrae", "mr_spine_cord_t2"])
def test_the_expected_dice_of_a_case_is_near_the_true_one(case: str) -> None:
    volume, label_map = load_case(case)
    support = every_nth(label_map.array, 4)
    result, expected = filled(volume, support)
    truth = label_map.array[support.unlabelled(support.labelled_range())]
    assert [one.label for one in expected] == list(support.labels)
    errors = []
    for one in expected:
        own, true = result == one.label, truth == one.label
        errors.append(abs(one.dice - 2 * np.sum(own & true) / (own.sum() + true.sum())))
    assert np.mean(errors) < 0.08


def test_there_is_no_expected_dice_before_a_slice_is_filled() -> None:
    volume, label_map = walls_in_speckle()
    engine = Propagate()
    engine.prepare(volume, every_nth(label_map.array, SPACING))
    assert engine.expected_dice() == ()
    list(engine.predict([0]))  # a labelled slice
    assert engine.expected_dice() == ()


def test_without_slices_to_hold_out_there_is_an_expected_dice_too() -> None:
    volume, label_map = walls_in_speckle()
    _, expected = filled(volume, every_nth(label_map.array, len(label_map.array) - 1))
    assert {one.label for one in expected} == {1, 2}


def test_labels_that_were_not_annotated_everywhere_are_filled_with_an_expected_dice() -> None:
    volume, label_map = walls_in_speckle()
    support = every_nth(label_map.array, SPACING)
    annotated = support.annotated.copy()
    annotated[1, 0] = False
    partial = Support(AXIS, support.indices, support.masks, support.labels, annotated)
    _, expected = filled(volume, partial)
    assert {one.label for one in expected} == {1, 2}


def counts(errors: list[float], neighbours: int = 2) -> HeldOutCounts:
    """A held-out slice with one label of 1000 pixels, on which the mixtures have these errors."""
    right = np.array([[round(500 * (1 - error))] for error in errors])
    return HeldOutCounts(right, np.full_like(right, 1000), np.array([neighbours]))


def errors_with(position: int, error: float) -> list[float]:
    """Errors of 0.2 of each mixture but one."""
    return [error if mixture == position else 0.2 for mixture in range(len(MIXTURES.weights))]


COPIED = next(mixture for mixture, weights in enumerate(MIXTURES.weights) if weights[COPY] == 1)
AREAS = np.array([[100], [100], [100]])


def test_a_mixture_is_the_weighted_mean_and_the_background_the_rest() -> None:
    first, second = (np.array([[[1 - p - q]], [[p]], [[q]]]) for p, q in ((0.8, 0.2), (0.4, 0.2)))
    result = np.empty_like(first)
    mix([first, second, None, None], np.array([[0.5, 0.5, 0, 0], [0, 1, 0, 0]]), result)
    np.testing.assert_allclose(result.ravel(), [0.2, 0.6, 0.2])


def test_labels_that_add_up_to_more_than_one_leave_no_background() -> None:
    first, second = (np.array([[[0.0]], [[p]], [[1 - p]]]) for p in (0.9, 0.3))
    result = np.empty_like(first)
    mix([first, second, None, None], np.array([[1, 0, 0, 0], [0, 1, 0, 0]]), result)
    np.testing.assert_allclose(result.ravel(), [0, 0.9 / 1.6, 0.7 / 1.6])


def test_flow_counts_most_without_held_out_slices() -> None:
    assert MixtureChoice.on([], AREAS).weights(np.array([2]), beyond=False)[0].argmax() == FLOW


def test_one_candidate_alone_needs_three_held_out_slices() -> None:
    two, three = (MixtureChoice.on([counts(errors_with(COPIED, 0.05))] * number, AREAS) for number in (2, 3))
    assert two.weights(np.array([2]), beyond=False)[0].argmax() == FLOW
    assert three.weights(np.array([2]), beyond=False)[0].argmax() == COPY


def test_a_copy_replaces_flow_where_it_is_better_on_held_out_slices() -> None:
    better, worse = (MixtureChoice.on([counts(errors_with(COPIED, error))] * 3, AREAS) for error in (0.05, 0.3))
    assert better.weights(np.array([2]), beyond=False)[0, COPY] == 1
    assert worse.weights(np.array([2]), beyond=False)[0, COPY] == 0


def test_region_growing_replaces_flow_where_it_is_better_on_held_out_slices() -> None:
    grown = next(mixture for mixture, weights in enumerate(MIXTURES.weights) if weights[GROWING] == 1)
    choice = MixtureChoice.on([counts(errors_with(grown, 0.05), neighbours=1)] * 3, AREAS)
    assert choice.weights(np.array([1]), beyond=False)[0, GROWING] == 1


def test_a_copy_that_is_worse_on_hopeless_held_out_slices_does_not_replace_flow() -> None:
    """Near labelled slices a copy improves more than flow, but not from next to nothing."""
    errors = [0.8 if mixture == COPIED else 0.7 for mixture in range(len(MIXTURES.weights))]
    choice = MixtureChoice.on([counts(errors)] * 3, AREAS)
    assert choice.weights(np.array([2]), beyond=False)[0].argmax() == FLOW


def test_labels_that_end_in_a_gap_are_judged_on_held_out_slices_where_they_end() -> None:
    choice = MixtureChoice.on([counts(errors_with(COPIED, 0.05), neighbours=1)] * 3, AREAS)
    assert choice.weights(np.array([1]), beyond=False)[0, COPY] == 1
    assert choice.weights(np.array([2]), beyond=False)[0, COPY] == 0


def test_the_tip_of_a_structure_on_a_single_labelled_slice_is_grown() -> None:
    tip, outline = (MixtureChoice.on([], np.array([[0], [area], [0]])) for area in (12, 400))
    assert tip.weights(np.array([1]), beyond=False)[0, GROWING] == 1
    assert outline.weights(np.array([1]), beyond=False)[0].argmax() == FLOW


def test_nothing_is_grown_beyond_the_outermost_labelled_slices() -> None:
    assert MixtureChoice.on([], AREAS).weights(np.array([1]), beyond=True)[0, GROWING] == 0


def with_parts(*areas: int) -> np.ndarray:
    """Probabilities of a slice on which one label has components of these areas, in separate columns."""
    probabilities = np.zeros((2, max(areas), 2 * len(areas)), dtype=np.float32)
    probabilities[1] = 0.2
    for number, area in enumerate(areas):
        probabilities[1, :area, 2 * number] = 0.8
    probabilities[0] = 1 - probabilities[1]
    return probabilities


@pytest.mark.parametrize(
    ("areas", "smallest", "remaining"),
    [((400, 3), 10, 400), ((800, 6), 10, 806), ((400, 3), 3, 403), ((200, 5), 100, 205)],
)
def test_parts_far_smaller_than_on_the_labelled_slices_are_removed(
    areas: tuple[int, int], smallest: int, remaining: int
) -> None:
    probabilities = with_parts(*areas)
    remove_small_components(probabilities, np.array([smallest]))
    assert probabilities.argmax(axis=0).sum() == remaining
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-6)


def test_the_largest_part_is_kept_whatever_its_size() -> None:
    probabilities = with_parts(2)
    remove_small_components(probabilities, np.array([100]))
    assert probabilities.argmax(axis=0).sum() == 2
