"""Very small components: which are reassigned, and which are kept."""

from __future__ import annotations

import numpy as np
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.engines.adapt.config import AdaptConfig
from fewshot_annotate.engines.small_components import remove_small_labels
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.data import load_case

MIN_PIXELS = AdaptConfig().labelling.min_pixels


def spotted() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a real labelled slice in which label 1 has a pixel or two more; its true rows."""
    _, label_map = load_case("ct_vertebrae")
    slices = SliceAxis(0).slices(label_map.array)
    values, rows = np.unique(slices, return_inverse=True)
    rows = rows.reshape(slices.shape)
    truth = rows[max(range(len(rows)), key=lambda index: int((rows[index] == len(values) - 1).sum()))].copy()
    truth[truth == 1] = 0
    probabilities = np.full((len(values), *truth.shape), 0.1, dtype=np.float32)
    np.put_along_axis(probabilities, truth[None], 0.6, axis=0)
    probabilities[1, 0, :2] = 0.7
    return probabilities, truth


def test_only_very_small_components_are_reassigned() -> None:
    probabilities, truth = spotted()
    cleaned = remove_small_labels(probabilities, np.full(len(probabilities) - 1, MIN_PIXELS), MIN_PIXELS)
    np.testing.assert_array_equal(cleaned.argmax(axis=0), truth)
    np.testing.assert_array_equal(np.sort(cleaned, axis=0), np.sort(probabilities, axis=0))


def test_a_label_painted_as_small_is_kept() -> None:
    probabilities, _ = spotted()
    smallest = np.full(len(probabilities) - 1, MIN_PIXELS)
    smallest[0] = 2
    np.testing.assert_array_equal(remove_small_labels(probabilities, smallest, MIN_PIXELS), probabilities)


@given(arrays(np.int8, (4, 3, 5), elements=st.integers(0, 100)))
def test_no_very_small_component_is_left_and_no_other_label_loses_a_pixel(hundredths: np.ndarray) -> None:
    probabilities = hundredths / np.float32(100) + np.float32(1e-3) * np.arange(4, dtype=np.float32)[:, None, None]
    cleaned = remove_small_labels(probabilities, np.full(3, MIN_PIXELS), MIN_PIXELS)
    np.testing.assert_array_equal(np.sort(cleaned, axis=0), np.sort(probabilities, axis=0))
    before, after = (np.bincount(array.argmax(axis=0).reshape(-1), minlength=4) for array in (probabilities, cleaned))
    small = (before > 0) & (before < MIN_PIXELS) & (np.arange(4) > 0)
    assert not after[small].any()
    assert (after >= before)[~small].all()
