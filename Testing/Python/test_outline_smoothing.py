"""Thick structures get smooth outlines without small holes; thin ones and those beside them stay as they are."""

from __future__ import annotations

import numpy as np
import scipy
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.engines.propagate.engine import Propagate
from fewshot_annotate.engines.propagate.outline_smoothing import outline_sigmas, smooth_outlines
from support.data import load_case

SIDE = 64
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
DISC = np.hypot(ROWS - 32, COLUMNS - 32) < 20
LINE = (ROWS == 4) & (COLUMNS > 10)


def labels_of(disc: np.ndarray) -> np.ndarray:
    """Label 1 is a disc, 2 a line of one pixel, 5 the right part of the slice up to the disc."""
    result = np.where(COLUMNS > 44, 5, 0)
    result[LINE] = 2
    result[disc] = 1
    return result


def probabilities_of(labels: np.ndarray) -> np.ndarray:
    one_hot = labels == np.array([0, 1, 2, 5])[:, None, None]
    return np.asarray(np.where(one_hot, 0.7, 0.1), dtype=np.float32)


def sigmas() -> np.ndarray:
    return outline_sigmas([labels_of(DISC), np.zeros((SIDE, SIDE), dtype=int)], (1, 2, 5))


def test_thick_structures_are_smoothed_and_thin_ones_are_not() -> None:
    disc, line, _ = sigmas()
    assert disc > 1
    assert line == 0


def test_a_label_on_no_labelled_slice_is_not_smoothed() -> None:
    assert outline_sigmas([np.zeros((4, 4), dtype=int)], (3,)) == 0


def test_small_holes_and_ragged_edges_of_a_thick_structure_are_filled() -> None:
    ragged = DISC.copy()
    ragged[30:32, 30:32] = False
    ragged[32, 10:14] = False
    probabilities = probabilities_of(labels_of(ragged))
    assert (probabilities.argmax(axis=0) == 1)[DISC].sum() < DISC.sum() - 4
    smooth_outlines(probabilities, sigmas())
    filled = probabilities.argmax(axis=0) == 1
    assert filled[30:32, 30:32].all()
    assert filled[32, 13:51].all()
    assert np.sum(filled != DISC) < 0.02 * DISC.sum()


def test_other_labels_keep_their_pixels_and_probabilities_sum_to_one() -> None:
    labels = labels_of(DISC)
    probabilities = probabilities_of(labels)
    before = probabilities.copy()
    smooth_outlines(probabilities, np.array([1.4, 0.0, 0.0]))
    np.testing.assert_array_equal(probabilities[2:], before[2:])
    np.testing.assert_array_equal(probabilities.argmax(axis=0) == 3, labels == 5)
    np.testing.assert_array_equal(probabilities.argmax(axis=0) == 2, labels == 2)
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-6)


def test_a_heart_is_filled_without_holes() -> None:
    volume, label_map = load_case("mr_cardiac_sax")
    support = Support.from_label_map(label_map, SliceAxis(0), range(0, len(label_map.array), 8))
    engine = Propagate()
    engine.prepare(volume, support)
    for _, probabilities in engine.predict(support.unlabelled(support.labelled_range())):
        filled = probabilities.argmax(axis=0) > 0
        np.testing.assert_array_equal(scipy.ndimage.binary_fill_holes(filled), filled)
