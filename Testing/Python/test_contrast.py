"""Equalised contrast within and around the labels, and which parts of the engine use it."""

from __future__ import annotations

import numpy as np
import pytest
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.engines.adapt.candidates import CANDIDATES, CandidatePool
from fewshot_annotate.engines.adapt.config import AdaptConfig
from fewshot_annotate.engines.adapt.engine import Adapt
from fewshot_annotate.engines.propagate.contrast import Contrast
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.data import load_case

CONFIG = AdaptConfig()
EQUALISED_SHARE = CONFIG.candidates.equalised_share
REGION_GROWING = CANDIDATES.index("region growing")
IMAGES = arrays(np.float32, (6, 7), elements=st.floats(0, 1, width=32))
MASKS = arrays(np.uint8, (6, 7), elements=st.integers(0, 3))


def largest_slice() -> tuple[np.ndarray, np.ndarray]:
    """The slice of a real case with the most labelled pixels, intensities 0..1, and its mask."""
    volume, label_map = load_case("ct_liver")
    axis = SliceAxis(0)
    masks = axis.slices(label_map.array)
    index = int((masks > 0).sum(axis=(1, 2)).argmax())
    image = axis.slices(volume.array)[index].astype(np.float32)
    low, high = np.percentile(image, [0.5, 99.5])
    return np.clip((image - low) / (high - low), 0, 1), masks[index]


@given(IMAGES, MASKS)
def test_order_and_range_of_intensities_are_kept(image: np.ndarray, mask: np.ndarray) -> None:
    contrast = Contrast([(image, mask)], EQUALISED_SHARE)
    levels = contrast(np.linspace(0, 1, 1001))
    assert (np.diff(levels) > 0).all()
    assert levels[0] == 0
    assert levels[-1] == pytest.approx(1, abs=1e-6)
    assert contrast(image).dtype == np.float32


@given(IMAGES)
def test_without_labels_intensities_are_unchanged(image: np.ndarray) -> None:
    np.testing.assert_allclose(
        Contrast([(image, np.zeros(image.shape, dtype=np.uint8))], EQUALISED_SHARE)(image), image, atol=1e-6
    )


def test_intensities_within_an_organ_spread_out() -> None:
    image, mask = largest_slice()
    equalised = Contrast([(image, mask)], EQUALISED_SHARE)(image)
    inside = image[mask > 0]
    usual = np.percentile(inside, 75) - np.percentile(inside, 25)
    spread = np.percentile(equalised[mask > 0], 75) - np.percentile(equalised[mask > 0], 25)
    assert spread > 2 * usual


def test_a_small_label_gets_as_much_contrast_as_a_large_one() -> None:
    image = np.full((64, 64), 0.2, dtype=np.float32)
    image[:, 40:] = 0.8
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[4:60, 4:30] = 1
    mask[30:34, 52:56] = 2
    contrast = Contrast([(image, mask)], EQUALISED_SHARE)
    dark, bright = (float(np.ptp(contrast(np.array([value - 0.05, value + 0.05])))) for value in (0.2, 0.8))
    assert dark == pytest.approx(bright, rel=0.05)
    assert dark > EQUALISED_SHARE / 3


def pools() -> tuple[CandidatePool, CandidatePool]:
    """Candidate pools of a real volume, with and without equalised contrast."""
    volume, label_map = load_case("ct_liver")
    labelled = np.flatnonzero(SliceAxis(0).slices(label_map.array).any(axis=(1, 2)))
    support = Support.from_label_map(
        label_map, SliceAxis(0), [int(labelled[len(labelled) // 2]) + step for step in (0, 4, 8)]
    )
    linear = CONFIG.replace("candidates.equalised_share", 0.0)
    return CandidatePool(volume, support, CONFIG.candidates), CandidatePool(volume, support, linear.candidates)


def test_region_growing_uses_the_equalised_contrast_and_propagation_does_not() -> None:
    usual, linear = pools()
    query = usual.support.indices[0] + 2
    ((_, log_probs),), ((_, others),) = usual.candidates([query]), linear.candidates([query])
    differ = [not np.array_equal(first, second) for first, second in zip(log_probs, others, strict=True)]
    assert differ == [number == REGION_GROWING for number in range(len(CANDIDATES))]
    np.testing.assert_allclose(linear.contrasted(query), linear.images(query), atol=1e-6)


def test_the_contrast_is_the_same_while_slices_are_held_out() -> None:
    usual, _ = pools()
    index = usual.support.indices[1]
    equalised = usual.contrasted(index)
    assert np.abs(equalised - usual.images(index)).max() > 0.05
    for pool in (usual.neighbours_of(1), usual.copy_for_thread()):
        np.testing.assert_array_equal(pool.contrasted(index), equalised)


def test_networks_use_the_equalised_contrast() -> None:
    usual, linear = pools()
    volume, _ = load_case("ct_liver")
    engine = Adapt()
    engine.prepare(volume, usual.support)
    stacks = [engine.input_stack(pool).slices for pool in (usual, linear)]
    assert float((stacks[0] - stacks[1]).abs().max()) > 0.1
