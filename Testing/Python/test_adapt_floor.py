"""`adapt` is not worse than simpler candidates where these are better on held-out slices."""

from __future__ import annotations

import numpy as np
import pytest
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.engines.adapt.config import AdaptConfig
from fewshot_annotate.engines.adapt.engine import Adapt
from fewshot_annotate.engines.adapt.floor import PropagationFloor
from fewshot_annotate.engines.adapt.fusion import HeldOutCandidates
from fewshot_annotate.engines.base import label_slice
from fewshot_annotate.engines.propagate.mixing import MixtureChoice
from support.speckle import walls_in_speckle

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch")
SPACING, STEPS = 5, 5
CONFIG = AdaptConfig()
SIDE = 30


def mean_dice(truth: np.ndarray, result: np.ndarray) -> float:
    pairs = [(truth == value, result == value) for value in np.unique(truth[truth > 0])]
    return float(np.mean([2 * np.sum(own & other) / (own.sum() + other.sum()) for own, other in pairs]))


def test_thin_walls_in_speckle_are_as_good_as_the_nearest_copy() -> None:
    volume, label_map = walls_in_speckle()
    support = Support.from_label_map(label_map, SliceAxis(0), range(0, len(label_map.array), SPACING))
    between = support.unlabelled(support.labelled_range())
    engine = Adapt(options={"steps": STEPS}, config=CONFIG.replace("orthogonal.enabled", False))
    engine.prepare(volume, support)
    found = dict(engine.predict(between))
    result = np.stack([label_slice(found[index], support.labels)[0] for index in between])
    nearest = np.abs(np.array(support.indices)[:, None] - np.array(between)).argmin(axis=0)
    truth = label_map.array[between]
    assert mean_dice(truth, result) > mean_dice(truth, support.masks[nearest]) - 0.01


def strip(first: int, last: int) -> np.ndarray:
    """Label indices of a slice with one label, which covers the rows from `first` to before `last`."""
    rows = np.zeros((SIDE, SIDE), dtype=int)
    rows[first:last] = 1
    return rows


def log_probs(filled: np.ndarray) -> np.ndarray:
    return np.log(np.where(filled == np.arange(2)[:, None, None], 0.9, 0.1)).astype(np.float32)


def held_out(flow: np.ndarray, network: np.ndarray, truth: np.ndarray, copied: np.ndarray) -> HeldOutCandidates:
    candidates = np.stack([log_probs(labels) for labels in (flow, flow, flow, network)])
    return HeldOutCandidates(
        log_probs=candidates,
        truth=truth,
        distances=(4, 4),
        extents=np.zeros(1, dtype=int),
        copied=copied,
        showing_neighbours=np.array([2]),
        annotated=np.array([True]),
    )


def filled_with_floor(flow: np.ndarray, network: np.ndarray, copied: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Labels of a slice whose fused logits are those of the network, after three such slices were held out."""
    slices = [held_out(flow, network, truth, copied)] * 3
    fused = log_probs(network) - log_probs(network)[:1]
    floor = PropagationFloor.choose(slices, [fused] * 3, np.full((5, 1), 100), CONFIG)
    mixed = floor.mixed(fused, slices[0].log_probs, copied, np.array([2]), beyond=False)
    return np.asarray(mixed.argmax(axis=0))


TRUTH, GOOD, POOR = strip(10, 20), strip(10, 21), strip(14, 24)


def test_the_fused_result_is_kept_where_propagation_is_not_clearly_better() -> None:
    np.testing.assert_array_equal(filled_with_floor(GOOD, TRUTH, POOR, TRUTH), TRUTH)
    np.testing.assert_array_equal(filled_with_floor(TRUTH, TRUTH, POOR, TRUTH), TRUTH)


def test_propagation_replaces_the_fused_result_where_it_is_clearly_better() -> None:
    np.testing.assert_array_equal(filled_with_floor(GOOD, POOR, POOR, TRUTH), GOOD)


def test_a_copy_replaces_both_where_it_is_clearly_better() -> None:
    np.testing.assert_array_equal(filled_with_floor(POOR, POOR, GOOD, TRUTH), GOOD)


def test_a_label_from_propagation_does_not_displace_one_from_the_fused_result_where_both_agree() -> None:
    flow_alone = np.float32([[1, 0, 0, 0]] * 2)
    from_propagation, from_fusion = (0, 1), (1, 0)
    shares = np.float32([from_propagation, from_fusion])
    floor = PropagationFloor(MixtureChoice(flow_alone, flow_alone), shares, shares, CONFIG)
    # Both prefer the second label, and the odds of propagation are larger.
    flow = np.log(np.float32([0.02, 0.36, 0.62]))[:, None, None]
    fused = np.float32([0, 1, 2])[:, None, None]
    mixed = floor.mixed(fused, np.stack([flow] * 4), np.array([[2]]), np.array([2, 2]), beyond=False)
    assert mixed.argmax(axis=0) == 2
