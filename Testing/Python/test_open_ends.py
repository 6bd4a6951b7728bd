"""Certainty where labels of unknown extent may end."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.adapt.config import AdaptConfig
from fewshot_annotate.engines.adapt.engine import Adapt
from fewshot_annotate.engines.base import Engine
from fewshot_annotate.engines.calibration.open_ends import lower_certainty, open_end_distances
from fewshot_annotate.engines.propagate.engine import Propagate
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


def test_at_the_half_distance_the_log_odds_of_an_open_ended_label_are_halved() -> None:
    # Three pixels: label 1, background with label 1 next to it, background with label 2 next to it.
    probabilities = np.array([[[0.05, 0.9, 0.9]], [[0.9, 0.08, 0.02]], [[0.05, 0.02, 0.08]]], dtype=np.float32)
    result = lower_certainty(probabilities, np.array([True, False]), np.array([8, 8]), 8.0)
    np.testing.assert_allclose(result[1, 0, 0], 0.75, rtol=1e-5)  # the square root of 9 to 1 is 3 to 1
    np.testing.assert_allclose(result[0, 0, 1], 0.75, rtol=1e-5)
    np.testing.assert_allclose(result[1:, 0, 1], [0.2, 0.05], rtol=1e-5)  # the others keep their proportions
    np.testing.assert_array_equal(result[:, 0, 2], probabilities[:, 0, 2])


@given(
    arrays(np.float32, (4, 3, 5), elements=st.floats(0, 1, width=32)),
    arrays(bool, 3),
    arrays(np.int64, 3, elements=st.integers(1, 500)),
)
def test_no_pixel_changes_its_label_or_becomes_more_certain(
    weights: np.ndarray, open_ended: np.ndarray, distances: np.ndarray
) -> None:
    weights = weights + np.float32(1e-3)
    probabilities = (weights / weights.sum(axis=0)).astype(np.float32)
    given_probabilities = probabilities.copy()
    result = lower_certainty(probabilities, open_ended, distances, 8.0)
    np.testing.assert_array_equal(probabilities, given_probabilities)
    np.testing.assert_array_equal(result.argmax(axis=0), probabilities.argmax(axis=0))
    assert (result.max(axis=0) <= probabilities.max(axis=0) + 1e-6).all()
    np.testing.assert_allclose(result.sum(axis=0), 1, atol=1e-5)


def test_the_most_certain_pixels_are_lowered_too() -> None:
    probabilities = np.array([[[0.0, 1e-12]], [[1.0, 1.0]]], dtype=np.float32)
    result = lower_certainty(probabilities, np.array([True]), np.array([24]), 8.0)
    np.testing.assert_allclose(result[0, 0], [0, 1e-3], rtol=0.01)  # where nothing else is possible, nothing is added
    np.testing.assert_allclose(result.sum(axis=0), 1)


def test_the_distance_is_that_to_the_neighbouring_labelled_slice_with_the_label() -> None:
    shown = np.array([[True, False, False, True], [False, True, False, True], [True, True, True, True]])
    assert open_end_distances(5, [2, 9, 12], shown).tolist() == [3, 4, 3, 3]
    assert open_end_distances(14, [2, 9, 12], shown).tolist() == [2, 2, 2, 2]
    assert open_end_distances(0, [2, 9, 12], shown).tolist() == [2, 2, 2, 2]


def cylinder() -> tuple[Volume, Support]:
    """A disc on each of 24 slices, of which slices 2, 6 and 10 are labelled."""
    rows, columns = np.mgrid[:48, :48]
    labels = np.repeat(((rows - 24) ** 2 + (columns - 20) ** 2 < 12**2)[None], 24, axis=0).astype(np.uint8)
    image = labels * 100 + np.random.default_rng(0).normal(0, 5, labels.shape)
    geometry = Geometry(labels.shape)
    support = Support.from_label_map(LabelMap(labels, geometry), SliceAxis(0), [2, 6, 10])
    return Volume(image.astype(np.float32), geometry), support


@pytest.mark.parametrize("engine", [Propagate(), Adapt(options={"steps": 5})], ids=["propagate", "adapt"])
def test_slices_far_beyond_the_labelled_ones_are_less_certain(engine: Engine) -> None:
    volume, support = cylinder()
    engine.prepare(volume, support)
    certainty = {
        index: probabilities.max(axis=0)[16:32, 12:28].mean() for index, probabilities in engine.predict(range(24))
    }
    assert certainty[8] > certainty[12] > certainty[17] > certainty[23] > 0.5


def test_with_an_infinite_half_distance_nothing_is_lowered() -> None:
    volume, support = cylinder()
    usual, off = AdaptConfig(), AdaptConfig()
    off = replace(off, calibration=replace(off.calibration, open_end_half_distance=math.inf))
    results = []
    for config in (usual, off):
        engine = Adapt(options={"steps": 5}, config=config)
        engine.prepare(volume, support)
        results.append(dict(engine.predict([8, 20])))
    lowered, unchanged = results
    np.testing.assert_array_equal(lowered[8], unchanged[8])
    assert (lowered[20].max(axis=0) < unchanged[20].max(axis=0)).any()
    np.testing.assert_array_equal(lowered[20].argmax(axis=0), unchanged[20].argmax(axis=0))
