"""Choice of the images that optical flow compares, on a disc that moves from slice to slice."""

from __future__ import annotations

import numpy as np
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, Volume
from fewshot_annotate.engines.channels import ChannelSlices
from fewshot_annotate.engines.propagate.compared_images import ComparedImages
from fewshot_annotate.engines.propagate.image_choice import choose_images
from fewshot_annotate.engines.propagate.label_vote import label_boxes
from fewshot_annotate.engines.propagate.optical_flow import FULL_SLICE

SHAPE = (9, 48, 48)
# The slices are so far apart that adjacent ones are not tried.
GRID = Geometry(SHAPE, (1.0, 1.0, 5.0))
SLICES, ROWS, COLUMNS = np.indices(SHAPE)
DISTANCE = np.hypot(ROWS - 24, COLUMNS - 16 - 2 * SLICES)
DISC = (1 / (1 + np.exp(DISTANCE - 8))).astype(np.float32)
NOISE = np.random.default_rng(0).random(SHAPE, dtype=np.float32)


def chosen(first: np.ndarray, second: np.ndarray) -> ComparedImages:
    """The choice for a volume of two channels, with the disc labelled on every fourth slice."""
    volume = Volume(first, GRID, (Volume(second, GRID),))
    labels = LabelMap((DISTANCE < 8).astype(np.uint8), GRID, (Segment(value=1, name="disc"),))
    support = Support.from_label_map(labels, SliceAxis(0), [0, 4, 8])
    boxes = [label_boxes(mask) for mask in support.masks]
    return choose_images(ChannelSlices(volume, support.axis), support, FULL_SLICE, boxes, GRID)


def test_a_channel_that_propagates_labels_better_is_compared_alone() -> None:
    assert chosen(DISC, NOISE) == ComparedImages((1.0, 0.0))
    assert chosen(NOISE, DISC) == ComparedImages((0.0, 1.0))


def test_equally_good_channels_are_compared_with_equal_weights() -> None:
    assert chosen(DISC, DISC) == ComparedImages.equally([0, 1], 2)
