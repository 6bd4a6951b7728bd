"""Loss and weight averaging of the networks of `adapt`, and the distances of its shape interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fewshot_annotate.engines.adapt.fitting import average_weights, cross_entropy_and_dice
from fewshot_annotate.engines.propagate.shape_interpolation import MAX_DISTANCE_PIXELS, signed_distance


def test_the_loss_is_zero_for_a_certain_and_correct_prediction_and_large_for_a_wrong_one() -> None:
    target = torch.zeros(1, 2, 4, 4)
    target[:, 0, :2] = target[:, 1, 2:] = 1
    assert cross_entropy_and_dice(40 * target - 20, target).item() == pytest.approx(0, abs=1e-6)
    assert cross_entropy_and_dice(20 - 40 * target, target).item() > 1


def test_averages_follow_the_weights_quickly_at_first_and_slowly_later() -> None:
    early, late = [torch.zeros(1)], [torch.zeros(1)]
    average_weights(0.9, early, [torch.ones(1)], 1)
    average_weights(0.9, late, [torch.ones(1)], 1000)
    assert early[0].item() == pytest.approx(0.9)
    assert late[0].item() == pytest.approx(0.1)


def test_distances_are_positive_inside_and_the_border_of_the_slice_is_no_outline() -> None:
    mask = np.array([[True, True, False, False]])
    assert signed_distance(mask).tolist() == [[1.5, 0.5, -0.5, -1.5]]
    assert signed_distance(np.ones((1, 4), dtype=bool)).tolist() == [[MAX_DISTANCE_PIXELS] * 4]
