"""Parts of the in-context engines, each on a small example made by hand."""

import numpy as np
import pytest
from fewshot_annotate.core.intensity import IntensityRange
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support

torch = pytest.importorskip("torch")

from fewshot_annotate.engines.in_context.example_pool import ExamplePool  # noqa: E402
from fewshot_annotate.engines.in_context.feature_maps import (  # noqa: E402
    UpsamplingConvolution,
    conv,
    pool,
    pool_into,
    upsample,
)
from fewshot_annotate.engines.in_context.window import Blend, Window, bounds, tiles  # noqa: E402


def test_a_window_beyond_the_slice_is_padded() -> None:
    image = np.arange(1, 5).reshape(2, 2)
    assert Window((-1, 2), (0, 2)).crop(image, outside=9).tolist() == [[9, 9], [1, 2], [3, 4]]


def test_a_label_thinner_than_a_pixel_of_the_network_does_not_vanish() -> None:
    line = np.zeros((64, 64), dtype=bool)
    line[30] = True
    assert Window((0, 64), (0, 64)).resample_mask(line, 8).sum() >= 8


def test_tiles_cover_a_box_and_overlap() -> None:
    windows = tiles([(0, 10), (0, 4)], side=4, overlap=0.25)
    assert [window.rows for window in windows] == [(0, 4), (3, 7), (6, 10)]
    assert {window.columns for window in windows} == {(0, 4)}


def test_where_windows_overlap_their_values_are_averaged() -> None:
    blend = Blend((1, 6))
    blend.add(Window((0, 1), (0, 4)), np.zeros((4, 4), dtype=np.float32))
    blend.add(Window((0, 1), (2, 6)), np.ones((4, 4), dtype=np.float32))
    out = np.full((1, 6), -1, dtype=np.float32)
    blend.write(out)
    assert out[0, [0, 1, 4, 5]].tolist() == [0, 0, 1, 1]
    assert 0 < out[0, 2] <= out[0, 3] < 1


def test_the_bounding_box_holds_the_masks_of_all_slices() -> None:
    masks = np.zeros((2, 5, 5), dtype=bool)
    masks[0, 1, 2] = masks[1, 3, 4] = True
    assert bounds(masks) == ((1, 4), (2, 5))
    assert bounds(masks & False) is None


def test_the_most_similar_labelled_slice_is_chosen_if_one_of_them_shows_the_label() -> None:
    slices = np.stack([np.full((8, 8), value, dtype=np.float32) for value in (0.0, 0.5, 1.0, 0.9)])
    masks = np.zeros((3, 8, 8), dtype=np.uint8)
    masks[0, 2:4, 2:4] = 1  # the darkest one shows the label
    masks[2, 2:4, 2:4] = 2
    support = Support(SliceAxis(0), (0, 1, 2), masks, (1, 2), np.ones((3, 2), dtype=bool))
    examples = ExamplePool(slices, IntensityRange(0, 1), (1.0, 1.0), support, ())
    window = Window((0, 8), (0, 8))
    candidates = examples.annotating(2, index=3)
    assert examples.most_similar(candidates, 2, slices[3], window, limit=1) == [2]
    assert examples.most_similar(candidates, 1, slices[3], window, limit=2) == [2, 0]


def test_the_faster_layers_equal_the_plain_ones() -> None:
    features = torch.rand(1, 4, 6, 3, generator=torch.Generator().manual_seed(0))
    kernel = torch.rand(5, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(UpsamplingConvolution(kernel)(features), conv(upsample(features), kernel))
    pooled = torch.empty(1, 2, 3, 3)
    pool_into(features, pooled)
    torch.testing.assert_close(pooled, pool(features))
