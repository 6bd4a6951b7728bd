"""Rules of `propagate` on slices of a few pixels: candidates, votes, the fused result and the expected time."""

from __future__ import annotations

import numpy as np
import pytest
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, Volume
from fewshot_annotate.engines.progress_counter import ProgressCounter
from fewshot_annotate.engines.propagate.candidates import SimpleCandidates
from fewshot_annotate.engines.propagate.expected_time import PropagationTime
from fewshot_annotate.engines.propagate.flow_propagation import FlowPropagation
from fewshot_annotate.engines.propagate.fusion import FusedPropagation
from fewshot_annotate.engines.propagate.label_vote import Source, label_boxes, vote

SIDE = 24
SQUARE = (slice(8, 16), slice(8, 16))


def square(columns: int = 0, value: float = 1.0) -> np.ndarray:
    """A slice with a square of eight pixels that is moved along the columns."""
    result = np.zeros((SIDE, SIDE), dtype=np.float32)
    result[SQUARE] = value
    return np.roll(result, columns, axis=1)


def support_of(masks: dict[int, np.ndarray]) -> Support:
    labels = np.stack(list(masks.values())).astype(np.uint8)
    return Support(SliceAxis(0), tuple(masks), labels, (1,), np.ones((len(masks), 1), dtype=bool))


def volume_of(slices: list[np.ndarray]) -> Volume:
    return Volume(np.stack(slices), Geometry((len(slices), SIDE, SIDE)))


def fused(volume: Volume, support: Support, query: list[int]) -> dict[int, np.ndarray]:
    """Probabilities `[2, h, w]` of query slices."""
    work = ProgressCounter(lambda fraction: None)
    return dict(FusedPropagation(volume, FlowPropagation(volume, support), work).predict(query))


def test_where_images_mislead_on_labelled_slices_the_copy_is_chosen() -> None:
    """A bright square moves by two pixels a slice; the labelled square stays where it is, which flow cannot know."""
    volume = volume_of([square(2 * (index % 4) - 3) for index in range(13)])
    support = support_of({index: square() for index in range(0, 13, 2)})
    flow = dict(FlowPropagation(volume, support).predict([5]))[5]
    assert not np.array_equal(flow.argmax(axis=0), square())
    assert np.array_equal(fused(volume, support, [5])[5].argmax(axis=0), square())


def test_the_nearest_copy_is_that_of_the_slice_before_where_two_are_as_near() -> None:
    volume = volume_of([square() for _ in range(5)])
    support = support_of({0: square(-4), 4: square(4)})
    candidates = SimpleCandidates(volume, FlowPropagation(volume, support))
    window = candidates.window
    for index, columns in ((1, -4), (2, -4), (3, 4)):
        assert np.array_equal(candidates.nearest_copy(index)[1], square(columns)[window])
    assert candidates.areas.tolist() == [[64], [64]]
    assert np.array_equal(candidates.label_indices(4), square(4)[window])


def test_pixels_take_the_label_of_the_source_that_looks_alike() -> None:
    """Two sources without displacement: one shows the bright square with its label, the other is empty."""
    still = np.zeros((2, SIDE, SIDE), dtype=np.float32)
    with_label = Source(square()[None], square().astype(np.uint8), {1: SQUARE}, still, 1)
    without = Source(square(value=0)[None], np.zeros((SIDE, SIDE), np.uint8), {}, still, 1)
    assert label_boxes(with_label.mask) == with_label.boxes
    bright = vote(square()[None], [with_label, without], [1])[0]
    dark = vote(square(value=0)[None], [with_label, without], [1])[0]
    middle = (slice(11, 13), slice(11, 13))
    assert bright[middle].min() > 0.9
    assert dark[middle].max() < 0.1
    equal = vote(square(value=0.5)[None], [with_label, without], [1])[0]
    assert equal[middle] == pytest.approx(0.5, abs=0.01)
    farther = Source(*(getattr(without, name) for name in ("image", "mask", "boxes", "field")), distance=3)
    assert vote(square(value=0.5)[None], [with_label, farther], [1])[0][middle] == pytest.approx(0.75, abs=0.01)


def test_expected_time_counts_the_flows_from_both_sides_and_the_slices() -> None:
    """From slices 0 and 4 there are three flows each to the three slices between; beyond 4, two flows to slice 6."""
    times = PropagationTime(pixels=1000, labels=2, images=1)
    support = support_of({0: square(), 4: square()})
    assert times.of(support, [1, 2, 3]) == pytest.approx(6 * times.flow + 3 * times.slice)
    assert times.of(support, [2]) == pytest.approx(4 * times.flow + times.slice)
    assert times.of(support, [6]) == pytest.approx(2 * times.flow + times.slice)
