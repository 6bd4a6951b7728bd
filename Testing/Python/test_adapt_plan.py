"""Plan of `adapt`: which labelled slices are held out, how long networks are fitted, and which slices are refined."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.engines.adapt.config import (
    AdaptConfig,
    HeldOutConfig,
    NetworkConfig,
    OrthogonalConfig,
    ScheduleConfig,
)
from fewshot_annotate.engines.adapt.held_out import expected_evaluations, fold_count, held_out_folds, held_out_indices
from fewshot_annotate.engines.adapt.schedule import network_size, refined_slab, scaled_steps, stretch_factor

torch = pytest.importorskip("torch")

from fewshot_annotate.engines.adapt.batches import Batches  # noqa: E402
from fewshot_annotate.engines.adapt.stack import Stack  # noqa: E402


def support_with(slices: tuple[int, ...], labels: int = 1) -> Support:
    """Empty labelled slices; the plan depends on their indices and the number of labels alone."""
    count = len(slices)
    return Support(
        SliceAxis(0),
        slices,
        np.zeros((count, 4, 4), dtype=np.uint8),
        tuple(range(1, labels + 1)),
        np.ones((count, labels), dtype=bool),
    )


def test_each_labelled_slice_but_the_outermost_is_held_out_once() -> None:
    assert held_out_folds(support_with((0, 4, 8, 12, 16, 20, 24)), HeldOutConfig(folds=3)) == [[1, 4], [2, 5], [3]]
    assert held_out_folds(support_with((0, 4)), HeldOutConfig(folds=3)) == []


def test_there_are_no_more_folds_than_slices_to_hold_out() -> None:
    config = HeldOutConfig(folds=3)
    assert [fold_count(support_with(tuple(range(count))), config) for count in (1, 2, 3, 4, 9)] == [0, 0, 1, 2, 3]


def test_held_out_slices_are_evenly_spread_and_show_every_label() -> None:
    areas = np.zeros((9, 2), dtype=int)
    areas[:, 0] = 10
    areas[3:5, 1] = 7, 20  # the second label is on support indices 3 and 4 alone
    pool: Any = SimpleNamespace(support=support_with(tuple(range(0, 36, 4)), labels=2), areas=areas)
    config = HeldOutConfig(max_slices=2)
    assert held_out_indices(pool, config, with_network=False) == [1, 4, 7]
    assert held_out_indices(pool, config, with_network=True) == [0, 4, 8]
    pool.support = support_with((0,), labels=2)
    assert held_out_indices(pool, config, with_network=False) == []


def test_fewer_held_out_slices_are_scored_where_memory_is_short() -> None:
    support = support_with(tuple(range(12)), labels=1)
    plenty, short = (HeldOutConfig(folds=3, max_slices=8, max_bytes=size) for size in (10**9, 1))
    assert expected_evaluations(support, (4, 4), plenty) == 8
    assert expected_evaluations(support, (4, 4), short) == 3


@pytest.mark.parametrize(
    ("slices", "side", "labels", "steps"),
    [(5, 64, 5, 100), (5, 64, 20, 200), (20, 64, 5, 200), (5, 128, 5, 200), (5, 64, 90, 300), (5, 512, 5, 300)],
)
def test_many_labels_or_a_large_labelled_area_take_more_steps_up_to_a_limit(
    slices: int, side: int, labels: int, steps: int
) -> None:
    schedule = ScheduleConfig(reference_labels=10, reference_crops=10, max_steps_factor=3.0)
    config = AdaptConfig(schedule=schedule, network=NetworkConfig(crop=64))
    assert scaled_steps(100, support_with(tuple(range(slices)), labels), (side, side), config) == steps


def test_consecutive_slices_between_labelled_ones_are_refined() -> None:
    config, support = OrthogonalConfig(min_slices=4), support_with((2, 8))
    assert refined_slab(range(12), support, (4, 4), config) == range(2, 9)
    assert refined_slab([4, 6], support, (4, 4), config) is None
    assert refined_slab([3], support, (4, 4), config) is None


def test_orthogonal_planes_are_stretched_to_square_pixels_up_to_a_limit() -> None:
    config = OrthogonalConfig(max_stretch=3)
    assert [stretch_factor((spacing, 1.0, 1.0), config) for spacing in (0.5, 1.0, 2.0, 8.0)] == [1, 1, 2, 3]


def test_large_slices_are_shrunk_to_the_longest_side_of_a_network() -> None:
    config = NetworkConfig(longest_side=50)
    assert network_size((100, 50), (1.0, 1.0), config) == (50, 25)
    assert network_size((20, 10), (2.0, 1.0), config) == (40, 10)


def test_a_label_of_a_few_pixels_is_on_half_of_the_crops() -> None:
    config = replace(NetworkConfig(), crop=16, batch=100, augmentation=0.0)
    stack = Stack(lambda _: np.zeros((1, 64, 64), dtype=np.float32), 1, (64, 64), torch.device("cpu"), config)
    label = np.zeros((64, 64), dtype=np.float32)
    label[5:8, 50:53] = 1
    target = np.stack([1 - label, label])
    _, targets, _ = Batches(stack, [stack.example(0, target, target, labelled=True)], seed=0).draw()
    shows_label = (targets[:, 1] > 0.5).any(dim=(1, 2))
    assert targets.shape == (100, 2, 16, 16)
    assert 40 < int(shows_label.sum()) < 75
