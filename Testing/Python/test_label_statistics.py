"""Statistics of labels: voxels, and the range of the volume that the expected Dice allows."""

import numpy as np
import pytest
from fewshot_annotate.core.expected_dice import ExpectedDice
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from fewshot_annotate.evaluation.label_statistics import label_statistics, statistics_csv

# Ten voxels of 0.5 ml on a painted slice, ten on a filled one.
LABELS = LabelMap(
    np.ones((2, 2, 5), dtype=np.uint8), Geometry((2, 2, 5), spacing=(10, 10, 5)), (Segment(value=1, name="liver"),)
)


def test_only_filled_voxels_make_the_volume_uncertain() -> None:
    expected = {"liver": ExpectedDice(label=1, dice=0.8, low=2 / 3, high=0.9)}
    (liver,) = label_statistics([LABELS], expected, SliceAxis(0), filled=[1])
    assert (liver.voxels, liver.filled, liver.dice) == (20, 10, 0.8)
    assert liver.ml == pytest.approx(10)
    # With a Dice of 2 / 3, the truth has from half to twice the filled 5 ml.
    assert (liver.least, liver.most) == (pytest.approx(5 + 2.5), pytest.approx(5 + 10))


def test_without_an_expected_dice_the_range_is_unknown() -> None:
    (liver,) = label_statistics([LABELS], {}, SliceAxis(0), filled=[1])
    assert liver.least is None
    assert statistics_csv([liver]).decode().splitlines()[1] == "1,liver,20,10,10,,,"
