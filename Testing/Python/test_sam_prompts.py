"""Inputs of promptable models: grey values as in their training, boxes and points from propagated labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.engines.pretrained.intensity import GreyscaleSlices, IntensityScale
from fewshot_annotate.engines.pretrained.joint_labels import joint
from fewshot_annotate.engines.pretrained.prompts import PropagatedPrompts, prompts_of, propagated_mask
from fewshot_annotate.engines.propagate.flow_propagation import FlowPropagation
from hypothesis import given
from hypothesis import strategies as st
from support.data import every_case, load_case
from support.labels import every_nth, small_case

AXIS = SliceAxis(0)
EVERYWHERE = (0.0, 0.0, 63.0, 63.0)


def disc(row: float, column: float, radius: float, size: int = 64) -> np.ndarray:
    rows, columns = np.indices((size, size))
    return np.hypot(rows - row, columns - column) <= radius


# --- grey values


@pytest.mark.parametrize("case", every_case())
def test_a_real_ct_is_shown_in_its_window_and_other_images_in_their_range(case: Path) -> None:
    greys = GreyscaleSlices(load_case(case)[0].array)
    assert greys.scale is (IntensityScale.CT if "ct" in case.name.split("_") else IntensityScale.RANGE)


def test_ct_is_shown_from_minus_160_to_240_hounsfield_units() -> None:
    values = np.array([-1000, -160, -60, 40, 140, 240, 3000], dtype=np.int16).reshape(1, 1, -1)
    assert GreyscaleSlices(values).grey(0).tolist() == [[0, 0, 63, 127, 191, 255, 255]]


def test_other_images_are_scaled_by_the_percentiles_of_what_is_not_0() -> None:
    volume, _ = load_case("mr_spine_cord_t2")
    array = volume.array
    low, high = np.percentile(array[array > 0], [0.5, 99.5])
    expected = np.uint8((np.clip(array, low, high) - low) / (high - low) * 255)
    expected[array == 0] = 0
    grey = np.stack([GreyscaleSlices(array).grey(index) for index in range(len(array))])
    assert np.abs(grey.astype(int) - expected).max() <= 1


def test_the_user_can_state_the_kind_of_image() -> None:
    volume, _ = small_case()
    assert GreyscaleSlices(volume.array, IntensityScale.CT).scale is IntensityScale.CT


@pytest.mark.parametrize("values", [[5, 5, 5, 5], [0, 0, 0, 0], [0, 0, 0, 7], [-3, -2, -1, 0]])
def test_constant_and_unusual_images_are_scaled_without_error(values: list[int]) -> None:
    grey = GreyscaleSlices(np.array(values, dtype=np.float32).reshape(1, 2, 2)).grey(0)
    assert grey.dtype == np.uint8


# --- boxes and points


def test_a_box_surrounds_each_part_and_points_lie_inside_and_outside() -> None:
    mask = disc(20, 15, 8) | disc(45, 45, 5)
    large, small = prompts_of(mask, EVERYWHERE, outside=2)
    assert large.box == (6, 11, 24, 29)
    assert small.box == (39, 39, 51, 51)
    for prompt in (large, small):
        assert prompt.inside.tolist() == [True, False, False]
        for (x, y), inside in zip(prompt.points.astype(int), prompt.inside, strict=True):
            assert mask[y, x] == inside
    assert large.points[0].tolist() == [15, 20]


def test_very_small_components_have_no_prompt() -> None:
    mask = disc(20, 15, 8)
    mask[60, 60] = True
    assert len(prompts_of(mask, EVERYWHERE)) == 1


@pytest.mark.parametrize(
    "mask", [np.zeros((64, 64), dtype=bool), disc(50, 50, 4)], ids=["empty", "outside the limit"]
)
def test_an_empty_mask_has_no_prompt(mask: np.ndarray) -> None:
    assert prompts_of(mask, (0.0, 0.0, 20.0, 20.0)) == []


def test_a_single_pixel_has_a_prompt() -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[0, 63] = True
    (prompt,) = prompts_of(mask, EVERYWHERE)
    assert prompt.box == (62, 0, 63, 1)
    assert prompt.points[0].tolist() == [63, 0]


def test_a_label_that_is_most_probable_nowhere_is_taken_from_its_most_probable_pixels() -> None:
    probability = np.zeros((8, 8), dtype=np.float32)
    probability[3, 3:5] = 0.4
    none = np.zeros((8, 8), dtype=bool)
    assert propagated_mask(none, probability).sum() == 2
    assert not propagated_mask(none, probability / 4).any()


@given(st.integers(0, 63), st.integers(0, 63), st.integers(1, 30), st.integers(0, 30), st.integers(0, 30))
def test_prompts_lie_within_the_given_limit(row: int, column: int, radius: int, left: int, top: int) -> None:
    limit = (float(left), float(top), 40.0, 45.0)
    for prompt in prompts_of(disc(row, column, radius), limit, outside=3):
        x0, y0, x1, y1 = prompt.box
        assert left <= x0 <= x1 <= 40
        assert top <= y0 <= y1 <= 45
        assert (prompt.points >= (left, top)).all()
        assert (prompt.points <= (40, 45)).all()


def test_propagated_boxes_fit_the_true_outline() -> None:
    volume, label_map = small_case()
    support = Support.from_label_map(label_map, AXIS, every_nth(label_map, AXIS, 6))
    propagate = FlowPropagation(volume, support)
    overlaps = []
    for index, found in PropagatedPrompts(propagate, support).prompts(support.unlabelled(support.labelled_range())):
        for label_number, prompts in found.items():
            rows, columns = np.nonzero(label_map.array[index] == support.labels[label_number])
            if len(rows) > 20:
                truth = (columns.min(), rows.min(), columns.max(), rows.max())
                overlaps.append(overlap(prompts[0].box, truth))
    assert len(overlaps) > 10
    assert np.median(overlaps) > 0.6


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes of pixels."""
    wide = min(one[2], other[2]) - max(one[0], other[0]) + 1
    tall = min(one[3], other[3]) - max(one[1], other[1]) + 1
    shared = max(0.0, wide) * max(0.0, tall)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (one, other)]
    return float(shared / (sum(areas) - shared))


# --- several labels


def test_probabilities_of_several_labels_are_in_proportion_to_their_odds() -> None:
    alone = np.array([[[0.0, 0.3, 0.5, 1.0]]], dtype=np.float32)
    np.testing.assert_allclose(joint(alone)[1], alone[0], atol=1e-5)
    two = joint(np.array([[[0.5, 0.9]], [[0.5, 0.5]]], dtype=np.float32))
    np.testing.assert_allclose(two.sum(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(two[:, 0, 0], 1 / 3, rtol=1e-5)
    np.testing.assert_allclose(two[:, 0, 1], np.array([1, 9, 1]) / 11, rtol=1e-4)
