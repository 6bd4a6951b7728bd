"""Slices of different brightness, as in MR images whose slices are acquired one by one."""

from __future__ import annotations

import numpy as np
import pytest
from fewshot_annotate.core.dice import dice_of_masks
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, Volume
from fewshot_annotate.engines.channels import ChannelSlices
from fewshot_annotate.engines.propagate.brightness import brightness_gains
from fewshot_annotate.engines.propagate.flow_propagation import FlowPropagation
from fewshot_annotate.engines.propagate.optical_flow import FULL_SLICE

SHAPE = (9, 64, 64)
# The slices are so far apart that adjacent ones are not compared.
GRID = Geometry(SHAPE, (1.0, 1.0, 8.0))
SLICES, ROWS, COLUMNS = np.indices(SHAPE)
DISTANCE = np.hypot(ROWS - 30, COLUMNS - 26 - 1.5 * SLICES)
RING = np.exp(-((DISTANCE - 16) ** 2) / 8)
# A disc, and around it a ring as bright.
EQUALLY_BRIGHT = (0.5 / (1 + np.exp(DISTANCE - 10)) + 0.5 * RING).astype(np.float32)
BRIGHTNESS = np.array([1.0, 0.9, 0.75, 0.6, 0.5, 0.4, 0.4, 0.45, 0.9], dtype=np.float32)
LABELS = LabelMap((DISTANCE < 10).astype(np.uint8), GRID, (Segment(value=1, name="disc"),))


def gains(array: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return brightness_gains(ChannelSlices(Volume(array, GRID), SliceAxis(0)), FULL_SLICE)


def propagation(brightness: np.ndarray) -> FlowPropagation:
    """Propagation from the first and last slice of the disc, multiplied by the brightness of each slice."""
    volume = Volume(EQUALLY_BRIGHT * brightness[:, None, None], GRID)
    return FlowPropagation(volume, Support.from_label_map(LABELS, SliceAxis(0), [0, 8]))


def middle_dice(flow: FlowPropagation) -> float:
    ((_, probabilities),) = flow.predict([4])
    return dice_of_masks(LABELS.array[4] == 1, probabilities.argmax(axis=0) == 1)


def test_gains_make_slices_equally_bright() -> None:
    (of_volume,) = gains(EQUALLY_BRIGHT * BRIGHTNESS[:, None, None])
    equalised = BRIGHTNESS * of_volume
    assert equalised == pytest.approx(np.full(len(BRIGHTNESS), equalised.mean()), rel=0.05)
    assert np.log(of_volume).mean() == pytest.approx(0)


def test_equally_bright_slices_have_no_gains() -> None:
    assert gains(EQUALLY_BRIGHT) == ()


def test_slices_without_signal_have_the_gain_of_their_neighbour() -> None:
    array = EQUALLY_BRIGHT * BRIGHTNESS[:, None, None]
    array[6:] = 0
    (of_volume,) = gains(array)
    assert of_volume[6:] == (of_volume[5],) * 3


def test_labels_follow_a_structure_through_slices_of_different_brightness() -> None:
    flow = propagation(BRIGHTNESS)
    assert flow.compared.gains
    assert middle_dice(flow) > middle_dice(propagation(np.ones_like(BRIGHTNESS))) - 0.02


def test_slices_stay_as_they_are_where_labels_follow_them_anyway() -> None:
    slightly = np.linspace(1, 0.93, SHAPE[0], dtype=np.float32)
    assert propagation(slightly).compared.gains == ()
